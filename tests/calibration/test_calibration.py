"""What runs say about estimates, and how they are kept."""

from __future__ import annotations

import io
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ggufs import header, llama, write
from tests.test_cli import MODEL, SHAPE, ggufctl

from ggufctl.catalog import shipped_catalogue
from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.calibration import (
    MAX_LINE_BYTES,
    Run,
    calibrated,
    calibrated_names,
    gpu_name,
    parse_run,
    summarize,
)
from ggufctl.core.cold_start import predict_cold_start
from ggufctl.core.header import parse_header
from ggufctl.core.memory import Extras, ModelShape
from ggufctl.core.planner import Constraints
from ggufctl.core.runtime import Runtime
from ggufctl.documents.calibration import (
    CalibrationClearDocument,
    CalibrationDocument,
    CalibrationExportDocument,
)
from ggufctl.engines.base import Device, Found
from ggufctl.render.calibration import show_runs
from ggufctl.render.plan import summary
from ggufctl.services import calibration
from ggufctl.services.plan import plan_reference
from ggufctl.services.serve import estimate_here

CATALOGUE = shipped_catalogue()
L4 = Run(
    at="2026-11-22T20:00:00Z",
    where="modal",
    gpu="L4",
    count=1,
    build=LLAMA_CPP_BUILD,
    engine="llama-server",
    model="acme/Big-GGUF:Q4_K_M",
    planned_bytes=4 << 30,
    actual_bytes=4 << 30,
    overhead_bytes=500 << 20,
    compute_bytes=100 << 20,
    load_seconds=12.5,
    planned_tokens_per_s=50.0,
    tokens_per_s=55.0,
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("GGUFCTL_STATE_DIR", str(folder))
    return folder


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_leaves_out_figures_and_not_what_they_are_of(width):
    shown = io.StringIO()
    show_runs(summarize([L4]), shown, width=width)

    heads = shown.getvalue().split("\n")[0].split()
    assert heads[:4] == ["GPU", "build", "model", "runs"]
    assert ("speed" in heads) == (width >= 60)


def test_runs_tighten_speed_and_overhead_of_their_gpu_and_build_alone():
    found = calibrated(CATALOGUE, [L4, replace(L4, tokens_per_s=52.0)], LLAMA_CPP_BUILD)
    own, before = found.find("L4"), CATALOGUE.find("L4")

    assert own.speed is not None
    assert before.speed is not None
    spread = own.speed.spread
    assert spread.low < 52 / 50 < spread.best < 55 / 50 < spread.high
    assert spread.high - spread.low < 2 * (before.speed.spread.high - before.speed.spread.low)
    assert own.overhead.is_calibrated
    low, high = own.overhead.term(100 << 20).low_bytes, own.overhead.term(100 << 20).high_bytes
    assert low <= 500 << 20 <= high
    wide = before.overhead.term(100 << 20)
    assert high - low < wide.high_bytes - wide.low_bytes
    assert calibrated_names(found) == {
        "L4": "speed calibrated by 2 of your own runs; "
        "CUDA overhead calibrated by 2 of your own runs"
    }
    for gpu in CATALOGUE:
        if gpu.name != "L4":
            assert found.find(gpu.name) == gpu


def test_own_starts_tighten_the_start_and_never_its_limit():
    gpu = CATALOGUE.find("L4")
    runs = [replace(L4, planned_load_seconds=20.0, load_seconds=s) for s in (22.0, 24.0, 30.0)]
    own = calibrated(CATALOGUE, runs, LLAMA_CPP_BUILD).find("L4")

    before = predict_cold_start(20 << 30, gpu)
    after = predict_cold_start(20 << 30, own)

    assert after.phases[:2] == before.phases[:2]
    (_, was), (_, now) = before.phases[2], after.phases[2]
    assert now.best == pytest.approx(1.2 * was.best)
    assert (now.low, now.high) == pytest.approx((0.77 * was.best, 1.95 * was.best))
    assert now.high - now.low < was.high - was.low
    assert after.limit_seconds >= before.limit_seconds
    assert any("calibrated by 3 of your own runs" in line for line in after.basis)
    assert "start calibrated by 3" in calibrated_names([own])["L4"]


def test_starts_on_this_machine_and_absurd_ones_say_nothing_of_a_start_on_modal():
    runs = [
        replace(L4, where="local", planned_load_seconds=20.0, load_seconds=22.0),
        replace(L4, planned_load_seconds=20.0, load_seconds=2200.0),
        replace(L4, planned_load_seconds=0.0, load_seconds=22.0),
    ]

    own = calibrated(CATALOGUE, runs, LLAMA_CPP_BUILD).find("L4")

    assert own.speed is not None
    assert own.speed.start_spread is None


def test_runs_of_another_build_change_nothing():
    assert calibrated(CATALOGUE, [replace(L4, build="b1")], LLAMA_CPP_BUILD) is CATALOGUE
    assert calibrated(CATALOGUE, [], LLAMA_CPP_BUILD) is CATALOGUE
    same = calibrated(CATALOGUE, [replace(L4, build=f"{LLAMA_CPP_BUILD}-0a1b2c3")], LLAMA_CPP_BUILD)
    assert same is not CATALOGUE


def test_a_gpu_is_known_by_what_its_driver_calls_it():
    for gpu in CATALOGUE:
        for name in gpu.device_name.split(" / "):
            assert gpu_name(CATALOGUE, name) == gpu.name
    assert gpu_name(CATALOGUE, "NVIDIA GeForce RTX 4090") == "NVIDIA GeForce RTX 4090"


def test_a_plan_says_whose_runs_tightened_it(tmp_path):
    path = tmp_path / MODEL
    write(path, *header(*llama(**SHAPE)))

    def l4() -> tuple[list[str], object]:
        found = plan_reference(str(path), Runtime(), Constraints(gpus=("L4",)), n_ctx=4096)
        return summary(found), found.gpus[0].estimate

    before, _ = l4()
    calibration.remember(L4)
    after, estimate = l4()

    assert not any("your own run" in line for line in before)
    assert any(line.startswith("own runs: L4: ") for line in after)
    assert estimate is not None
    assert estimate.devices[0].overhead.note == "calibrated by 1 of your own runs"


def test_what_is_kept_is_read_again(state):
    for n in range(3):
        calibration.remember(replace(L4, n_ctx=n))

    assert [run.n_ctx for run in calibration.load_runs()] == [0, 1, 2]
    assert calibration.calibration_path().stat().st_mode & 0o777 == 0o600
    assert calibration.load_runs()[0] == replace(L4, n_ctx=0)


def test_a_file_cut_anywhere_loses_what_was_cut_and_nothing_after_it():
    for n in range(2):
        calibration.remember(replace(L4, n_ctx=n + 1))
    whole = calibration.calibration_path().read_bytes()
    for length in range(len(whole)):
        calibration.calibration_path().write_bytes(whole[:length])
        n_whole = whole[: length + 1].count(b"}")
        calibration.remember(replace(L4, n_ctx=9))

        runs = calibration.load_runs()
        assert runs[-1].n_ctx == 9
        assert len(runs) <= n_whole + 1
        assert [run.n_ctx for run in runs[:-1]] == [1, 2][: len(runs) - 1]


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.sampled_from(["at", "gpu", "count", "n_ctx", "x"]), inner)
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
        st.sampled_from(["at", "gpu", "count", "tokens_per_s", "n_ctx", "overhead_bytes"]).flatmap(
            lambda name: st.one_of(
                st.none(), st.booleans(), st.floats(), st.integers(), st.text(), st.just([])
            ).map(lambda value: json.dumps({**json.loads(L4.to_line()), name: value}).encode())
        ),
    )
)
def test_no_line_crashes_anything_and_only_sane_runs_are_taken(line):
    run = parse_run(line)
    if run is None:
        return

    assert run.count >= 0
    found = calibrated(CATALOGUE, [run], LLAMA_CPP_BUILD)
    for gpu in found:
        assert gpu.overhead.term(1 << 20).low_bytes <= gpu.overhead.term(1 << 20).high_bytes
    summarize([run])


def test_a_hostile_file_is_passed_over():
    path = calibration.calibration_path()
    path.parent.mkdir(parents=True)
    deep = b"[" * 3000 + b"]" * 3000
    escape = json.dumps({**json.loads(L4.to_line()), "gpu": "L4\x1b[2J"}).encode()
    long = json.dumps({**json.loads(L4.to_line()), "model": "x" * MAX_LINE_BYTES}).encode()
    path.write_bytes(b"\n".join((b"\x00\xff", deep, escape, long, L4.to_line().encode())) + b"\n")

    assert calibration.load_runs() == (L4,)
    path.unlink()
    path.mkdir()
    assert calibration.load_runs() == ()


def test_only_so_many_runs_are_kept():
    path = calibration.calibration_path()
    path.parent.mkdir(parents=True)
    line = L4.to_line() + "\n"
    n = calibration.MAX_BYTES // 2 // len(line) + 2
    path.write_text(line * n)
    calibration.remember(replace(L4, n_ctx=7))

    assert len(calibration.load_runs()) == calibration.MAX_RUNS
    assert len(path.read_text().splitlines()) == calibration.MAX_RUNS
    assert calibration.load_runs()[-1].n_ctx == 7


def test_two_that_write_at_once_lose_nothing():
    def write_some(number: int) -> None:
        for _ in range(20):
            calibration.remember(replace(L4, n_ctx=number))

    threads = [threading.Thread(target=write_some, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(calibration.load_runs()) == 80


def environment(state: Path) -> dict[str, str]:
    return {"GGUFCTL_STATE_DIR": str(state)}


def test_the_commands_show_export_and_clear(tmp_path, state):
    for speed in (50.0, 60.0):
        calibration.remember(replace(L4, tokens_per_s=speed))
    shown = ggufctl(tmp_path, "calibration", "show", "--json", **environment(state))
    table = ggufctl(tmp_path, "calibration", "show", **environment(state))
    exported = ggufctl(tmp_path, "calibration", "export", **environment(state))
    whole = ggufctl(tmp_path, "calibration", "export", "--json", **environment(state))
    cleared = ggufctl(tmp_path, "calibration", "clear", "--yes", "--json", **environment(state))
    empty = ggufctl(tmp_path, "calibration", "show", **environment(state))

    document = CalibrationDocument.model_validate_json(shown.stdout)
    assert [each.n_runs for each in document.runs] == [2]
    assert document.runs[0].speed_ratio == 1.1
    assert [each.gpu for each in document.calibrated] == ["L4"]
    assert table.stdout.splitlines()[0].split("\t")[:4] == ["gpu", "build", "model", "n_runs"]
    assert [json.loads(line)["tokens_per_s"] for line in exported.stdout.splitlines()] == [50, 60]
    runs = CalibrationExportDocument.model_validate_json(whole.stdout).runs
    assert [run.model_dump() for run in runs] == [
        json.loads(line) for line in exported.stdout.splitlines()
    ]
    assert CalibrationClearDocument.model_validate_json(cleared.stdout).n_runs == 2
    assert empty.returncode == 0
    assert not os.path.exists(calibration.calibration_path())


def test_a_server_on_this_machine_is_planned_with_its_own_runs():
    calibration.remember(L4)
    card = CATALOGUE.find("L4")
    seen = Device("CUDA0", card.device_name, 24 << 30, 22 << 30)
    engine = Found("llama-server", ("llama-server",), LLAMA_CPP_BUILD, (seen,))
    shape = ModelShape(parse_header(*header(*llama(**SHAPE))))

    found = estimate_here(shape, Runtime(n_ctx=512), engine, (seen,), Extras())

    (device,) = found.devices
    assert "calibrated by 1 of your own runs" in device.overhead.note


def test_absurd_runs_tighten_nothing():
    absurd = replace(L4, tokens_per_s=1e9, overhead_bytes=1 << 50)

    assert calibrated(CATALOGUE, [absurd], LLAMA_CPP_BUILD) == CATALOGUE
    assert not calibrated_names(calibrated(CATALOGUE, [absurd], LLAMA_CPP_BUILD))
