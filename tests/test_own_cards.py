"""Cards that people have, beside the GPUs that can be rented."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import serving
from fakehub import FakeFile
from ggufctl.catalog import all_known, load_cards, load_catalogue, with_cards
from ggufctl.core.calibration import Run, calibrated, gpu_name
from ggufctl.core.goal import Goal, Limits, Objective
from ggufctl.core.gpus import is_called
from ggufctl.core.memory import Extras
from ggufctl.core.money import Load
from ggufctl.core.planner import Constraints
from ggufctl.core.runtime import Runtime
from ggufctl.core.units import GIB
from ggufctl.documents.plan import GpusDocument, PlanDocument
from ggufctl.engines.base import Device, Found
from ggufctl.errors import DoesNotFit, UsageError
from ggufctl.report.plan import plan_report
from ggufctl.services.download import choose_files
from ggufctl.services.local_gpus import on_gpus
from ggufctl.services.modal.plan import ModalRequest, plan_modal
from ggufctl.services.picture import picture
from ggufctl.services.plan import estimate, plan_reference, read_model
from ggufctl.services.serve import estimate_here
from tests.ggufs import header as gguf
from tests.ggufs import llama, write

CARDS = load_cards()
SHAPE = {"n_layer": 32, "n_embd": 4096, "n_vocab": 32000, "n_merges": 10, "type_": "q4_K"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    metadata, tensors = llama(llama__context_length=32768, **SHAPE)
    raw, size = gguf(metadata, tensors)
    return write(tmp_path / "Mine-7B-Q4_K_M.gguf", raw, size)


@pytest.fixture
def config(tmp_path: Path, monkeypatch) -> Path:
    """A configuration file of one's own."""
    path = tmp_path / "config.toml"
    path.write_text("")
    monkeypatch.setenv("GGUFCTL_CONFIG", str(path))
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "ggufctl", *map(str, arguments)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_a_card_has_what_a_plan_needs(card):
    assert card.is_own
    assert card.cuda_bytes is not None
    # What the driver keeps for itself is never counted as free, and never more than a tenth.
    assert 0.90 * card.nominal_gb * GIB < card.cuda_bytes < card.nominal_gb * GIB
    assert card.has_bf16 == (card.capability >= (8, 0))
    assert 100 < card.bandwidth_gb_s < 10_000
    assert card.speed is not None
    assert card.usd_per_hour == 0


def test_no_name_means_two_cards():
    everything = all_known()

    for card in CARDS:
        for name in (card.name, *card.device_name.split(" / "), *card.aliases):
            assert [other.name for other in CARDS if is_called(other, name)] == [card.name]
        assert everything.find(card.name) == card
        assert not load_catalogue().has(card.name)


@pytest.mark.parametrize("name", ["RTX-4090", "rtx 4090", "RTX4090", "NVIDIA GeForce RTX 4090"])
def test_a_card_is_known_by_the_names_people_give_it(name):
    assert with_cards(load_catalogue(), (f"{name}:2",)).find(name).name == "RTX-4090"


def test_cards_are_planned_with_only_where_they_are_asked_for(model):
    rented = plan_reference(str(model), Runtime(), Constraints())
    both = plan_reference(str(model), Runtime(), Constraints(gpus=("L4", "RTX 4090")))

    assert not any(row.gpu.is_own for row in rented.gpus)
    assert {row.gpu.name for row in both.gpus} == {"L4", "RTX-4090"}


def test_a_card_of_ones_own_is_planned_to_the_byte_as_any_other(model):
    plan = plan_reference(str(model), Runtime(), Constraints(gpus=("RTX-4090",)))
    row = plan.require_choice().row
    held = read_model(str(model))

    (card,) = estimate(held, plan.runtime, "RTX-4090").devices
    (rented,) = estimate(held, plan.runtime, "L40S").devices

    assert row.used_bytes == card.total_bytes
    buffers = [term.n_bytes for term in card.terms[:-1]]
    assert buffers == [term.n_bytes for term in rented.terms[:-1]]


def test_a_card_of_ones_own_has_a_speed_and_no_price(model):
    plan = plan_reference(str(model), Runtime(), Constraints(gpus=("RTX-4090",)))
    choice = plan.require_choice()
    found = plan.economics_of(choice.row)

    assert choice.modal_gpu == ()
    assert found is not None
    assert found.speed.decode_tokens_per_s.best > 0
    assert (found.cold_start, found.cost) == (None, None)
    assert choice.row.in_use_usd_per_hour == 0
    assert any("as if nothing else used the card" in text for text in plan.warnings)
    PlanDocument.model_validate_json(json.dumps(plan_report(plan)))


def test_one_card_is_meant_where_no_number_is_said(model):
    constraints = Constraints(gpus=("RTX-3060-12GB",))
    alone = plan_reference(str(model), Runtime(), constraints, n_ctx=32768)
    two = plan_reference(str(model), Runtime(), Constraints(gpus=("RTX-3060-12GB:2",)), n_ctx=32768)

    assert {row.count for row in alone.gpus} == {1}
    assert alone.choice is None
    assert any(step.gpu == "RTX-3060-12GB" for step in alone.ladder)
    assert two.require_choice().row.count == 2


def test_a_card_of_ones_own_comes_before_what_costs_money(model):
    plan = plan_reference(str(model), Runtime(), Constraints(gpus=("T4", "L4", "RTX-4090")))

    assert plan.require_choice().row.gpu.name == "RTX-4090"
    assert plan.require_choice().modal_gpu == ()
    assert "cheapest" not in plan.require_choice().reason


def test_what_is_rented_falls_back_to_nothing_of_ones_own(model):
    gpus = ("L4", "L40S", "RTX-3060-12GB")
    plan = plan_reference(str(model), Runtime(), Constraints(gpus=gpus), n_ctx=32768)

    assert plan.require_choice().modal_gpu == ("L4", "L40S")


def test_the_search_knows_cards_of_ones_own(model):
    goal = Goal(objective=Objective.LATENCY)
    constraints = Constraints(gpus=("RTX-4090",), goal=goal)
    plan = plan_reference(str(model), Runtime(), constraints)

    assert plan.optimization is not None
    assert plan.optimization.pick is not None
    assert plan.optimization.pick.label == "RTX-4090"
    assert plan.optimization.pick.usd_per_hour == 0
    assert "no rent" in plan.require_choice().reason


def test_a_load_has_no_month_on_a_card_of_ones_own(model):
    load = Load(requests_per_day=100)
    plan = plan_reference(str(model), Runtime(), Constraints(gpus=("RTX-4090",), load=load))
    found = plan.economics_of(plan.require_choice().row)

    assert found is not None
    assert found.cost is None
    assert found.speed.prompt_tokens == load.prompt_tokens


def test_the_month_of_a_card_of_ones_own_is_compared_with_what_modal_bills(model, config):
    load = Load(requests_per_day=1000)
    constraints = Constraints(gpus=("L4", "RTX-4090"), load=load)
    goal = Goal(objective=Objective.COST)

    free = plan_reference(str(model), Runtime(), constraints).require_choice()
    assert free.row.gpu.name == "RTX-4090"
    assert "$" not in free.reason

    config.write_text("[cards.RTX-4090]\nusd-per-hour = 0.34\n")
    for asked in (constraints, replace(constraints, goal=goal)):
        priced = plan_reference(str(model), Runtime(), asked).require_choice()
        assert priced.row.gpu.name == "RTX-4090"
        assert "$248 a month" in priced.reason
        assert "never stopped" in priced.reason

    rare = replace(constraints, load=Load(requests_per_day=1), goal=goal)
    assert plan_reference(str(model), Runtime(), rare).require_choice().row.gpu.name == "L4"


def test_no_start_of_a_container_is_held_against_a_card_of_ones_own(model):
    limits = Limits(max_cold_start_seconds=0.1)
    for objective in (None, Objective.LATENCY):
        goal = Goal(objective=objective, limits=limits)
        plan = plan_reference(
            str(model), Runtime(), Constraints(gpus=("L4", "RTX-4090"), goal=goal)
        )

        assert plan.require_choice().row.gpu.name == "RTX-4090"
    (pick,) = plan_report(plan)["optimization"]["front"]
    assert pick["cold_start_seconds"] is None


def test_no_rent_is_never_a_price(model):
    gpus = ("RTX-4090", "H100")
    goal = Goal(objective=Objective.LATENCY)
    plan = plan_reference(str(model), Runtime(), Constraints(gpus=gpus, goal=goal))

    assert "times as long at no rent" in plan.require_choice().reason
    found = run("plan", model, "--gpu", ",".join(gpus), "--optimize", "latency")
    rows = [line.split("\t") for line in found.stdout.splitlines()]
    starts = {row[2]: row[10] for row in rows}
    assert starts["RTX-4090"] == ""
    assert float(starts["H100"]) > 0


def test_runs_from_before_a_card_was_known_tighten_its_plans():
    run = Run(
        at="2026-11-23T00:00:00Z",
        where="local",
        gpu="NVIDIA GeForce RTX 4090",
        count=1,
        build="b11434",
        engine="llama-server",
        model="m.gguf",
        overhead_bytes=700 << 20,
    )
    card = calibrated(with_cards(load_catalogue(), ("RTX-4090",)), [run], "b11434").find("RTX-4090")

    assert card.overhead.is_calibrated


def test_a_picture_has_limits_of_cards_and_no_prices(model):
    plan = plan_reference(str(model), Runtime(), Constraints(gpus=("RTX-4090", "L4")))
    drawn = picture(plan)

    assert {limit.gpu for limit in drawn.limits} == {"RTX-4090", "L4"}
    assert [point.label for point in drawn.points] == ["L4"]


@pytest.mark.parametrize("kind", ["svg", "html"])
def test_a_plot_of_cards_alone_is_drawn(model, tmp_path, kind):
    found = run("plan", model, "--gpu", "RTX-4090", "--plot", tmp_path / f"plan.{kind}")

    assert found.returncode == 0, found.stderr
    assert "RTX-4090" in (tmp_path / f"plan.{kind}").read_text()


def test_modal_rents_none_of_them(model):
    with pytest.raises(UsageError, match="Modal rents no RTX-4090"):
        plan_modal(ModalRequest(model=str(model), gpus=("RTX-4090",)))


def test_the_command_line_says_whose_the_card_is(model):
    found = run("plan", model, "--gpu", "rtx 4090")

    assert found.returncode == 0, found.stderr
    assert "pick: RTX-4090: holds everything on the GPU" in found.stderr
    assert "modal:" not in found.stderr
    assert "$" not in found.stderr


def test_a_typo_is_told_with_the_card_that_is_meant(model):
    found = run("plan", model, "--gpu", "RTX-4900")

    assert found.returncode == 2
    assert "Did you mean RTX-4090" in found.stderr


def test_several_models_are_compared_on_them(model):
    found = run("plan", "--compare", model, model, "--gpu", "RTX-4090")

    assert found.returncode == 0, found.stderr
    assert found.stdout.count("RTX-4090\t1\t0.0000") == 2


def test_lines_of_a_batch_may_name_them(model, tmp_path):
    rows = [{"model": str(model), "gpu": gpu} for gpu in ("RTX 4090", "L4", "RTX-4090:2", "auto")]
    path = tmp_path / "rows"
    path.write_text("\n".join(map(json.dumps, rows)))

    found = run("plan", "--batch", path)

    lines = [json.loads(line)["summary"] for line in found.stdout.splitlines()]
    assert [line["gpu"] for line in lines] == ["RTX-4090", "L4", "RTX-4090", "T4"]
    assert lines[0]["usd_per_million_tokens"] is None
    assert lines[2]["count"] == 2


def test_files_are_chosen_for_them(hub):
    metadata, tensors = llama(llama__context_length=32768, **SHAPE)
    hub.add("org/Mine-7B-GGUF", {"Mine-7B-Q4_K_M.gguf": FakeFile(*gguf(metadata, tensors))})

    selection = choose_files("org/Mine-7B-GGUF", gpu="RTX-3080")

    assert selection.quant == "Q4_K_M"
    assert "RTX-3080-10GB" in selection.reason


def test_this_machines_card_is_found_by_the_name_that_a_plan_says():
    device = Device("CUDA0", "NVIDIA GeForce RTX 4060 Ti", 16 * GIB, 15 * GIB)
    found = Found("llama-server", ("llama-server",), "b11434", (device,))

    assert on_gpus(found, "RTX-4060-Ti-16GB", {}).devices == (device,)
    with pytest.raises(DoesNotFit, match="no GPU RTX-5070-Ti"):
        on_gpus(found, "RTX-5070-Ti", {})


def test_they_are_listed_apart(config):
    found = run("gpus", "--own", "--json")

    listed = GpusDocument.model_validate_json(found.stdout)
    assert [gpu.name for gpu in listed.gpus] == [card.name for card in CARDS]
    assert all(gpu.is_own and not gpu.modal_names for gpu in listed.gpus)
    assert run("gpus", "--own", "--refresh").returncode == 2


@pytest.mark.parametrize("load", [None, Load(requests_per_day=100)])
@pytest.mark.parametrize(("n_layer", "count"), [(60, 2), (130, 3)])
def test_several_that_are_there_come_before_one_that_is_rented(
    config, tmp_path, n_layer, count, load
):
    metadata, tensors = llama(n_layer=n_layer, n_embd=8192, n_vocab=32000, type_="q4_K")
    raw, size = gguf(metadata, tensors)
    large = str(write(tmp_path / "Large-Q4_K_M.gguf", raw, size))
    config.write_text(f"[cards.RTX-4090]\ncount = {count}\n")
    constraints = Constraints(gpus=("RTX-4090", "A100-80GB"), load=load)

    there = plan_reference(large, Runtime(), constraints, n_ctx=4096).require_choice()
    assert there.row.label == f"{count}×RTX-4090"
    assert not there.modal_gpu

    # Paid for by the hour, they are as any other.
    config.write_text(f"[cards.RTX-4090]\ncount = {count}\nusd-per-hour = 0.01\n")
    paid = plan_reference(large, Runtime(), constraints, n_ctx=4096).require_choice()
    assert paid.row.label == "A100-80GB"


def test_the_quant_of_a_repository_may_be_one_for_several_that_are_there(config, hub):
    metadata, tensors = llama(n_layer=60, n_embd=8192, n_vocab=32000, type_="q4_K")
    hub.add("org/large-GGUF", {"large-Q4_K_M.gguf": FakeFile(*gguf(metadata, tensors))})
    config.write_text("[cards.RTX-4090]\ncount = 2\n")

    plan = plan_reference(
        "org/large-GGUF", Runtime(), Constraints(gpus=("RTX-4090", "A100-80GB")), n_ctx=4096
    )

    assert plan.require_choice().row.label == "2×RTX-4090"
    assert [quant.choice.label for quant in plan.quants if quant.choice] == ["2×RTX-4090"]


# Of the configuration file.


def test_a_card_may_be_corrected_and_given_a_price(config, model):
    config.write_text('[cards."RTX 4090"]\nmemory-gib = 22.5\ncount = 4\nusd-per-hour = 0.34\n')
    (card,) = [card for card in load_cards() if card.name == "RTX-4090"]

    plan = plan_reference(str(model), Runtime(), Constraints(gpus=("RTX-4090",)))

    assert card.cuda_bytes == int(22.5 * GIB)
    assert plan.require_choice().row.usd_per_hour == 0.34
    assert plan.require_choice().row.gpu.counts == (1, 2, 3, 4)


def test_a_price_of_less_than_nothing_is_none(config):
    config.write_text("[cards.RTX-4090]\nusd-per-hour = -0.0\n")

    (card,) = [card for card in load_cards() if card.name == "RTX-4090"]
    assert str(card.usd_per_hour) == "0.0"


def test_a_card_that_was_added_is_known_as_its_driver_calls_it(config):
    config.write_text(
        "[cards.RTX-4090-D]\nmemory-gib = 47\nbandwidth-gb-s = 1008\nfp16-tflops = 150\n"
        "compute-capability = 8.9\n"
    )

    assert gpu_name(all_known(), "NVIDIA GeForce RTX 4090 D") == "RTX-4090-D"


def test_a_card_may_be_added(config, model):
    config.write_text(
        "[cards.Thing-48]\nmemory-gib = 47\nbandwidth-gb-s = 960\nfp16-tflops = 180\n"
        "compute-capability = 8.9\n"
    )

    plan = plan_reference(str(model), Runtime(), Constraints(gpus=("thing-48",)))

    assert plan.require_choice().row.gpu.cuda_bytes == 47 * GIB
    assert plan.require_choice().row.gpu.has_bf16


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[cards.X]\nmemory-gib = 10\n", "lacks bandwidth-gb-s and fp16-tflops"),
        ("[cards.RTX-4090]\nmemory = 10\n", "has no 'memory'"),
        ("[cards.RTX-4090]\nmemory-gib = 'many'\n", "memory-gib must be a number"),
        ("[cards.RTX-4090]\nmemory-gib = nan\n", "memory-gib must be from 1 to 4096"),
        ("[cards.RTX-4090]\nusd-per-hour = -1\n", "usd-per-hour must be from 0 to 1000"),
        ("[cards.RTX-4090]\ncount = 0\n", "count must be from 1 to 16"),
        ("[cards.RTX-4090]\ncount = true\n", "count must be a number"),
        ("[cards.RTX-4090]\ncount = 2.5\n", "count must be a whole number"),
        ("[cards.RTX-4090]\n[cards.'rtx 4090']\n", "a table for RTX-4090 already"),
        ("[cards.L4]\nmemory-gib = 10\n", "L4 is what Modal rents"),
        ("[cards.'NVIDIA H100 80GB HBM3']\n", "H100 is what Modal rents"),
        ("[cards.'']\n", "is no name for --gpu"),
        ("[cards.auto]\n", "is no name for --gpu"),
        ("[cards.'!!!']\n", "is no name for --gpu"),
        ("[cards.NVIDIA]\n", "is no name for --gpu"),
        ("[cards.'[/b]48']\n", "is no name for --gpu"),
        ("[cards.'a:2,b']\n", "is no name for --gpu"),
        ('[cards."a\\nb"]\n', "is no name for --gpu"),
        (f"[cards.{'x' * 99}]\n", "is no name for --gpu"),
        ("cards = 3\n", "cards must hold one table for each card"),
        ("[cards]\nRTX-4090 = 1\n", "cards must hold one table for each card"),
    ],
)
def test_a_card_that_is_none_is_refused_with_the_file_and_the_key(config, model, text, said):
    config.write_text(text)

    found = run("plan", model, "--gpu", "RTX-4090")

    assert found.returncode == 2
    assert said in found.stderr
    assert config.name in found.stderr


def test_the_settings_and_the_doctor_know_of_them(config):
    config.write_text("[cards.RTX-4090]\ncount = 2\n")
    shown = run("config").stdout
    assert f"cards.RTX-4090\tcount\t2\t{config}" in shown

    config.write_text("[cards.RTX-4090]\ncount = 0\n")
    assert run("config").returncode == 2
    checks = json.loads(run("diagnose", "--json").stdout)["checks"]
    (found,) = [check for check in checks if check["id"] == "config"]
    assert found["status"] == "FAIL"
    assert "count must be from 1 to 16" in found["text"]


def test_what_can_be_rented_needs_no_word_of_the_cards(config, model):
    config.write_text("[cards.X]\nmemory-gib = 10\n")

    assert run("plan", model, "--gpu", "L4").returncode == 0


def test_a_machine_without_such_a_card_serves_whatever_is_said_of_them(config, model):
    config.write_text("[cards.X]\nmemory-gib = 10\n")
    shape = read_model(str(model)).shape

    def planned(*descriptions: str) -> list[str]:
        devices = [Device(f"CUDA{i}", text, 0, 0) for i, text in enumerate(descriptions)]
        found = Found("llama-server", ("llama-server",), "b11434", tuple(devices))
        here = estimate_here(shape, Runtime(n_ctx=512), found, devices, Extras())
        return [device.gpu for device in here.devices]

    assert planned() == []
    assert planned("NVIDIA L4", "NVIDIA H100 80GB HBM3") == ["L4", "H100"]
    with pytest.raises(UsageError, match="lacks bandwidth"):
        planned("NVIDIA L4", "NVIDIA GeForce RTX 4090")


@pytest.mark.xdist_group("engine")
def test_serving_on_the_processor_needs_no_word_of_them(config):
    config.write_text("[cards.X]\nmemory-gib = 10\n")

    found = run("serve", serving.model_path(), "--on", "local", "--gpu", "cpu", "--dry-run")

    assert found.returncode == 0, found.stderr
