"""Live prices of a workspace: read through the real Modal client, checked, kept, and said."""

from __future__ import annotations

import json

import pytest

from ggufctl import catalog
from ggufctl.core.rates import Rates
from ggufctl.errors import GgufctlError, RemoteError
from ggufctl.services import prices
from ggufctl.sources import cache as disk
from tests.on_modal.test_commands_on_modal import run

__all__ = ["run"]


@pytest.fixture(autouse=True)
def fresh_catalogue():
    catalog.load_catalogue.cache_clear()
    yield
    catalog.load_catalogue.cache_clear()


def test_a_refresh_is_used_from_then_on_with_its_date_and_source(modal):
    modal.state.rates["gpu_hour_cost_l4"] = "0.95"
    modal.state.rates["cpu_hour_cost"] = "0.05"
    found = prices.refresh()

    gpu = catalog.load_catalogue().find("L4")
    assert (gpu.usd_per_hour, gpu.price_source) == (0.95, "your workspace")
    assert gpu.price_as_of == found.rates.as_of
    assert catalog.load_prices().usd_per_core_hour == 0.05
    assert {"L4", "core"} == {change.name for change in found.changes}
    assert found.rates.missing == ()
    assert catalog.load_catalogue().find("B300").price_source != "your workspace"

    assert prices.reset().find("L4").usd_per_hour == 0.7992
    assert catalog.load_catalogue().find("L4").usd_per_hour == 0.7992


def test_a_gpu_that_modal_does_not_name_keeps_its_price_and_is_told(modal):
    del modal.state.rates["gpu_hour_cost_rtx_pro_6000"]
    found = prices.refresh()

    assert found.rates.missing == ("RTX-PRO-6000",)
    assert catalog.load_catalogue().find("RTX-PRO-6000").usd_per_hour == 3.0312


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "free", "79.9", "0.01", ""])
def test_a_price_that_cannot_be_right_changes_nothing(modal, text):
    modal.state.rates["gpu_hour_cost_l4"] = text
    with pytest.raises(RemoteError) as error:
        # Modal's own client refuses what is no number at all.
        prices.refresh()

    assert "L4" in error.value.message or "prices" in error.value.message
    assert catalog.load_catalogue().find("L4").usd_per_hour == 0.7992


def test_an_answer_without_known_names_changes_nothing(modal):
    modal.state.rates.clear()
    modal.state.rates["something"] = "1"
    with pytest.raises(RemoteError, match="no prices"):
        prices.refresh()

    assert catalog.load_catalogue() == catalog.shipped_catalogue()


@pytest.mark.parametrize("kept", [None, [], {"gpus": {}}, {"gpus": {"L4": "x"}}, "text"])
def test_a_spoilt_cache_is_as_good_as_none(kept):
    assert Rates.from_dict(kept) is None


@pytest.mark.parametrize(
    "spoilt",
    [
        {"gpus": {"L4": float("nan")}},
        {"gpus": {"L4": -0.8}},
        {"gpus": {"L4": 80.0}},
        {"gpus": {}},
        {"gpus": {"L5": 0.8}},
        {"usd_per_core_hour": 0.0},
        {"as_of": "yesterday\x1b[2J"},
    ],
)
def test_kept_prices_that_cannot_be_right_are_not_used(spoilt):
    known = {
        "gpus": {"L4": 0.9},
        "usd_per_core_hour": 0.05,
        "usd_per_gib_hour": 0.008,
        "as_of": "2026-11-01",
        "missing": [],
    }
    disk.store(known, "prices", "modal")
    assert catalog.load_catalogue().find("L4").usd_per_hour == 0.9
    disk.store({**known, **spoilt}, "prices", "modal")
    catalog.load_catalogue.cache_clear()

    assert catalog.load_catalogue() == catalog.shipped_catalogue()


def test_prices_that_cannot_be_kept_are_an_error_and_not_silence(modal, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GGUFCTL_CACHE_DIR", str(tmp_path / "file"))
    modal.state.rates["gpu_hour_cost_l4"] = "0.95"

    with pytest.raises(GgufctlError, match="cannot be kept"):
        prices.refresh()


def test_a_plan_to_serve_has_the_prices_of_the_workspace_for_cores_as_well(modal, run, tiny):
    modal.state.rates["cpu_hour_cost"] = "0.09"
    assert run("gpus", "--refresh").returncode == 0
    found = run("serve", str(tiny), "-c", "512", "--gpu", "T4", "--dry-run", "--json")

    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    assert document["host_usd_per_hour"] == pytest.approx(4 * 0.09 + 5 * 0.008, abs=0.02)


def test_the_command_shows_what_changed_and_plans_with_it(modal, run, tiny):
    modal.state.rates["gpu_hour_cost_t4"] = "0.61"
    refreshed = run("gpus", "--refresh", "--json")

    assert refreshed.returncode == 0, refreshed.stderr
    assert "T4: $0.5904 to $0.6100 per hour" in refreshed.stderr
    rows = {row["name"]: row for row in json.loads(refreshed.stdout)["gpus"]}
    assert rows["T4"]["usd_per_hour"] == 0.61
    assert rows["T4"]["price_source"] == "your workspace"

    planned = run("plan", str(tiny), "-c", "512", "--gpu", "T4")
    assert "$0.61/h" in planned.stderr
    assert ", your workspace" in planned.stderr

    assert run("gpus", "--reset").returncode == 0
    assert "your workspace" not in run("plan", str(tiny), "-c", "512").stderr


def test_without_a_token_it_exits_with_access_denied(modal, run):
    found = run("gpus", "--refresh", MODAL_TOKEN_ID=None, MODAL_TOKEN_SECRET=None)

    assert found.returncode == 4
    assert found.stderr == (
        "error: There is no Modal token on this machine, so nothing can be asked of Modal.\n\n"
        "hint: Run modal setup.\n"
    )
    assert found.stdout == ""


def test_refreshing_and_resetting_exclude_each_other(run):
    assert run("gpus", "--refresh", "--reset").returncode == 2
