"""Thirty cycles of the soak, and one process that starts servers again and again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ggufctl.remote.logfile import LogFile, former_log
from ggufctl.services.deployments import Deployment, claim, follow_log, listed, save

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.xdist_group("engine")
@pytest.mark.timeout(1200)
def test_thirty_cycles_of_serving_leave_nothing_behind(tmp_path):
    process = subprocess.Popen(
        (sys.executable, "-m", "tests.soak", "30"),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        out, err = process.communicate(timeout=1100)
    finally:
        # The servers of a cycle that hangs would go on without their soak.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    assert process.returncode == 0, out + err
    assert "30 cycles, 0 problems" in out


def deployment(name: str) -> Deployment:
    return Deployment(
        name=name,
        status="stopped",
        model="m",
        alias="m",
        engine="e",
        build="b1",
        url="http://127.0.0.1:1/v1",
        auth="none",
        key_file="",
        pid=0,
        pid_start="ended",
    )


def test_a_log_never_exceeds_its_limit_and_keeps_the_end(tmp_path):
    path = tmp_path / "engine.log"
    log = LogFile(path, max_bytes=1000)

    for number in range(500):
        log.write(f"line {number}")
    log.close()

    kept = former_log(path).read_text() + path.read_text()
    lines = [f"line {number}" for number in range(500)]
    assert max(path.stat().st_size, former_log(path).stat().st_size) <= 1000
    assert kept.splitlines() == lines[-len(kept.splitlines()) :]
    assert len(kept) > 1000


def test_a_log_is_read_across_its_new_beginning(state):
    claim("busy", exactly=True)
    busy = save(deployment("busy"))
    log = LogFile(busy.log_path, max_bytes=60)

    for number in range(9):
        log.write(f"line {number}")
    log.close()

    assert list(follow_log(busy, follow=False))[-2:] == ["line 7", "line 8"]


def test_a_line_that_no_disk_takes_is_lost_and_the_next_is_written(tmp_path):
    log = LogFile(tmp_path / "engine.log")
    whole = log._file

    with open("/dev/full", "wb", buffering=0) as log._file:
        log.write("lost")
    log._file = whole
    log.write("written")
    log.close()

    assert (tmp_path / "engine.log").read_text() == "written\n"


def test_only_the_last_ended_deployments_are_remembered(state, monkeypatch):
    monkeypatch.setattr("ggufctl.services.deployments.MAX_ENDED", 3)
    for number in range(6):
        claim(f"d{number}", exactly=True)
        save(deployment(f"d{number}"))
        folder = state / "deployments" / f"d{number}"
        os.utime(folder, (1_000_000 + number, 1_000_000 + number))

    claim("new", exactly=True)

    assert [d.name for d in listed(ended=True)] == ["d3", "d4", "d5"]
