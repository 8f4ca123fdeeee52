"""A real server on this machine leaves a run; a disk that takes nothing changes nothing."""

from __future__ import annotations

import json
import signal

import pytest
from tests import serving
from tests.serving import ggufctl

from ggufctl.core.calibration import parse_run

pytestmark = pytest.mark.xdist_group("engine")


def test_every_start_leaves_a_run_with_planned_and_actual_memory(tmp_path):
    state = tmp_path / "state"
    with serving.serving("-c", "512", "-np", "1", state=state) as running:
        code, err = running.end(signal.SIGTERM)
    assert code == 143, err

    (line,) = (state / "calibration.jsonl").read_text().splitlines()
    run = parse_run(line)
    assert run is not None
    assert (run.where, run.gpu, run.engine) == ("local", "CPU", "xllamacpp")
    assert run.model == serving.model_path().name
    assert run.actual_bytes == pytest.approx(run.planned_bytes, rel=0.02)
    phases = running.document["phases"]
    assert run.load_seconds == pytest.approx(sum(p["seconds"] for p in phases), abs=0.01)
    assert str(serving.model_path().parent) not in line

    shown = ggufctl("calibration", "show", "--json", state=state)
    (row,) = json.loads(shown.stdout)["runs"]
    assert row["n_runs"] == 1
    assert row["memory_ratio"] == pytest.approx(1.0, abs=0.02)


def test_a_run_with_arguments_that_nobody_planned_is_not_kept(tmp_path):
    state = tmp_path / "state"
    with serving.serving("-c", "512", "-np", "1", "--", "-c", "1024", state=state) as running:
        running.end(signal.SIGTERM)

    assert not (state / "calibration.jsonl").exists()


def test_a_place_that_takes_no_runs_stops_no_server(tmp_path):
    state = tmp_path / "state"
    (state / "calibration.jsonl").mkdir(parents=True)
    with serving.serving("-c", "512", "-np", "1", state=state) as running:
        code, err = running.end(signal.SIGTERM)

    assert code == 143, err
    assert "Traceback" not in err
