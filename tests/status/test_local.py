"""`status` with the real engine, on and off a terminal, and with engines that are not well."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import stat
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pyte
import pytest
from prometheus_client.parser import text_string_to_metric_families

import serving
from ggufctl.core.status import Health
from ggufctl.documents.status import StatusDocument
from ggufctl.remote.supervisor import ask
from ggufctl.services import deployments
from ggufctl.services.deployments import DeploymentNotFound
from ggufctl.services.status import LocalWatch, _LogReader
from serving import Serving, ggufctl, put

pytestmark = pytest.mark.xdist_group("engine")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    state = tmp_path_factory.mktemp("state")
    with serving.serving("-c", "2048", "-np", "2", "--name", "one", state=state) as running:
        yield running


@pytest.fixture
def here(server, monkeypatch):
    monkeypatch.setenv("GGUFCTL_STATE_DIR", str(server.state))
    return server


def _halt(pid: int) -> None:
    """Stop a process, all threads of it: each runs on until it sees the signal."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 30
    while not all(map(_is_stopped, Path(f"/proc/{pid}/task").iterdir())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_stopped(task: Path) -> bool:
    return "\nState:\tT" in (task / "status").read_text()


def document(*args: str, state: Path) -> StatusDocument:
    found = ggufctl("status", *args, "--json", state=state)
    assert found.returncode == 0, found.stderr
    return StatusDocument.model_validate(json.loads(found.stdout))


def test_one_look_says_what_is_served_and_how_it_does(server):
    (one,) = document(state=server.state).deployments

    assert (one.name, one.where, one.status, one.health) == ("one", "local", "running", "ok")
    assert (one.n_parallel, one.n_busy, one.n_queued, one.n_ctx) == (2, 0, 0, 2048)
    assert [p.role for p in one.processes if p.is_alive] == ["supervisor", "engine"]
    (host,) = one.memory
    assert host.planned_bytes == server.document["memory_bytes"]
    # Its own libraries and the stacks of its threads come on top of what is planned.
    assert host.used_bytes is not None
    assert 0.5 * host.planned_bytes < host.used_bytes < host.planned_bytes + (256 << 20)
    assert host.total_bytes and host.busy_bytes
    assert one.prompt_tokens and one.predicted_tokens
    assert (one.n_errors, one.problems) == (0, [])
    assert (one.usd_per_hour, one.usd_so_far) == (0, 0)


def test_the_key_is_nowhere_in_it(server):
    found = ggufctl("status", "--json", state=server.state)

    assert server.key not in found.stdout + found.stderr


def test_of_two_looks_one_sees_the_speed_of_an_answer_being_written(here):
    watch = LocalWatch()
    base_url = here.url.removesuffix("/v1")
    thread = threading.Thread(
        target=ask,
        args=(base_url, here.document["alias"], "1 2 3"),
        kwargs={"key": here.key, "n_predict": 200},
    )
    thread.start()
    speeds = []
    busy = 0
    while thread.is_alive():
        (one,) = watch.look("one")
        busy = max(busy, one.n_busy or 0)
        if one.rates is not None and one.rates.window_seconds:
            speeds.append(one.rates.predicted_tokens_per_second)
        thread.join(0.2)

    assert busy == 1
    assert max(speeds) > 1
    (one,) = watch.look()
    assert one.n_ctx_used and one.n_ctx_used > 100
    assert one.processes[1].cpu_percent is not None


def test_what_an_engine_refuses_is_counted_as_an_error(here):
    before = LocalWatch().look("one")[0]

    with pytest.raises(HTTPError, match="400") as caught:
        ask(here.url.removesuffix("/v1"), here.document["alias"], "word " * 3000, key=here.key)
    caught.value.close()

    # The engine answers before its log is read.
    deadline = time.monotonic() + 20
    while (after := LocalWatch().look("one")[0]).n_errors == before.n_errors:
        assert time.monotonic() < deadline, "the error is not counted"
        time.sleep(0.05)
    assert after.n_errors == (before.n_errors or 0) + 1
    assert "context" in after.last_error


def test_a_pipe_gets_a_row_for_each_look(server):
    found = ggufctl("status", "--watch", "--every", "0.2", "--count", "3", state=server.state)

    titles, *rows = [line.split("\t") for line in found.stdout.splitlines()]
    assert len(rows) == 3
    assert all(len(row) == len(titles) for row in rows)
    assert dict(zip(titles, rows[0], strict=True))["slots"] == "2"


def test_a_program_gets_a_document_for_each_look(server):
    found = ggufctl(
        "status", "one", "-w", "--every", "0.2", "--count", "2", "--json", state=server.state
    )

    lines = [StatusDocument.model_validate(json.loads(line)) for line in found.stdout.splitlines()]
    assert [len(line.deployments) for line in lines] == [1, 1]


def test_prometheus_gets_a_whole_file_that_everybody_reads(server, tmp_path):
    path = tmp_path / "ggufctl.prom"

    found = ggufctl("status", "-q", "--prometheus", str(path), state=server.state)

    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    names = {family.name for family in text_string_to_metric_families(path.read_text())}
    assert {"ggufctl_up", "ggufctl_predicted_tokens", "ggufctl_memory_planned_bytes"} <= names
    assert [p.name for p in tmp_path.iterdir() if "prom" in p.name] == ["ggufctl.prom"]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("nonesuch",), 3),
        (("--on", "modal"), 4),
        (("--on", "moon"), 2),
        (("--every", "0"), 2),
        (("--every", "nan"), 2),
        (("--count", "-1"), 2),
        (("--count", "3"), 2),
        (("--prometheus", "/nonesuch/x.prom"), 2),
    ],
)
def test_what_makes_no_sense_has_its_exit_code(server, args, code):
    found = ggufctl("status", *args, "--json", state=server.state)

    assert (found.returncode, found.stdout) == (code, "")
    assert "Traceback" not in found.stderr


def test_looks_are_counted_only_where_there_is_more_than_one(server, tmp_path):
    found = ggufctl("status", "--count", "3", state=server.state)
    assert found.returncode == 2
    assert "hint: Say --watch --count 3." in found.stderr

    # Said in advance, it waits for a --watch.
    (tmp_path / "config.toml").write_text("[status]\ncount = 3\n")
    settings = {"GGUFCTL_CONFIG": str(tmp_path / "config.toml")}
    assert ggufctl("status", state=server.state, **settings).returncode == 0
    watched = ggufctl("status", "-w", "--every", "0.2", "--json", state=server.state, **settings)
    assert len(watched.stdout.splitlines()) == 3


def on_terminal(*args: str, state: Path, columns: int, lines: int = 40, **more: str) -> bytes:
    """What a command writes to a terminal of this size."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    env = {**serving.environment(state), "TERM": "xterm-256color", **more}
    for name in ("COLUMNS", "LINES"):
        env.pop(name, None)
    process = subprocess.Popen(
        (sys.executable, "-m", "ggufctl", *args),
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    data = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:
            break
        if not part:
            break
        data += part
    process.wait()
    os.close(ours)
    assert process.returncode == 0
    return data


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
@pytest.mark.parametrize("colour", [{}, {"NO_COLOR": "1"}], ids=["colour", "no colour"])
def test_a_terminal_shows_one_live_screen_of_its_width(server, columns, colour):
    args = ("status", "one", "--watch", "--every", "0.2", "--count", "3")
    data = on_terminal(*args, state=server.state, columns=columns, **colour)
    begin, end = b"\x1b[?1049h", b"\x1b[?1049l"
    assert data.count(begin) == data.count(end) == 1
    before, _, rest = data.partition(begin)
    live, _, after = rest.partition(end)
    assert before.strip(b"\r\n") == b""
    assert (b"\x1b[32m" in live or b"\x1b[1;32m" in live) is not bool(colour)

    screen = pyte.Screen(columns, 40)
    stream = pyte.ByteStream(screen)
    for part in (live, b"\x1b[2J\x1b[H" + after):
        stream.feed(part)
        shown = [line.rstrip() for line in screen.display if line.strip()]
        assert shown[0].startswith("one · running for ")
        assert sum(line.startswith("one · running") for line in shown) == 1
        text = "".join("".join(line.split()) for line in shown)
        assert f"{server.url}host" in text
        assert "0of2busy,0waiting" in text
        assert "$0perhournow,$0sofar" in text
        assert str(serving.model_path()) in text
        assert "…" not in text


def test_a_low_window_gets_one_line_for_each(server):
    args = ("status", "one", "--watch", "--every", "0.2", "--count", "2")
    data = on_terminal(*args, state=server.state, columns=100, lines=8)

    live = data.partition(b"\x1b[?1049l")[0].decode()
    assert "one line each" in live
    assert "waiting" not in live
    assert "waiting" in data.decode().rpartition("\x1b[?1049l")[2]


def test_ctrl_c_ends_the_live_screen_and_leaves_the_terminal_as_it_was(server):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        (sys.executable, "-m", "ggufctl", "status", "--watch", "--every", "0.2"),
        env={**serving.environment(server.state), "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    data = b""
    while b"0 of 2 busy" not in data:
        data += os.read(ours, 1 << 16)
    process.send_signal(signal.SIGINT)
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:
            break
        if not part:
            break
        data += part
    os.close(ours)

    assert process.wait() == 130
    assert data.rindex(b"\x1b[?1049l") > data.rindex(b"\x1b[?1049h")
    assert b"\x1b[?25h" in data
    assert b"Traceback" not in data


def test_a_dead_engine_and_a_dead_supervisor_are_shown_as_such(state):
    with serving.serving("-c", "512", "-np", "1", "--name", "one", state=state) as running:
        _halt(running.process.pid)
        os.kill(running.document["engine_pid"], signal.SIGKILL)
        serving.is_gone(running.document["engine_pid"])

        (one,) = LocalWatch().look("one")

        assert (one.status, one.health) == ("running", Health.NO_ANSWER)
        assert one.problems == ("The engine's process is gone.",)
        running.process.kill()
        running.process.communicate()
        (one,) = LocalWatch().look("one")
        assert one.status == "lost"
        assert "gone" in one.problems[0]


def test_an_engine_that_hangs_is_not_waited_for_long(state):
    with serving.serving("-c", "512", "-np", "1", "--name", "one", state=state) as running:
        _halt(running.document["engine_pid"])
        (one,) = LocalWatch().look("one")
        os.kill(running.document["engine_pid"], signal.SIGCONT)

        assert one.health is Health.NO_ANSWER
        assert one.problems == ("The engine does not answer.",)
        assert one.memory[0].used_bytes


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "nonsense"},
        {"url": "http://[::1/v1"},
        {"url": "http://127.0.0.1:99999999/v1"},
        {"key_file": "/nonesuch/key", "started_at": "yesterday"},
        {"engine": "llama-cpp-python", "engine_pid": 2**31 - 2},
        {"status": "starting"},
        {"planned": {"CUDA0": 5, "host": 7}, "devices": {"CUDA0": "NVIDIA H100"}},
    ],
)
def test_a_state_that_makes_little_sense_is_shown_as_far_as_it_goes(state, changes):
    put("one", **changes)

    (one,) = LocalWatch().look()

    assert one.name == "one"
    assert one.health is not Health.OK


def test_half_a_state_file_is_nobody(state):
    text = (put("one").directory / "state.json").read_text()
    for length in range(0, len(text), 7):
        (state / "deployments" / "one" / "state.json").write_text(text[:length])

        assert LocalWatch().look() == ()
        with pytest.raises(DeploymentNotFound):
            LocalWatch().look("one")


def test_a_log_is_counted_once_also_when_it_begins_anew(tmp_path):
    path = tmp_path / "engine.log"
    line = "slot      release: id  0 | task 2 | stop processing: n_tokens = 8\n"
    path.write_text(2 * line)
    reader = _LogReader(path)
    assert reader.read().n_requests == 2
    with path.open("a") as file:
        file.write(line + line[:20])
    assert reader.read().n_requests == 3
    with path.open("a") as file:
        file.write(line[20:])
    path.rename(tmp_path / "engine.log.1")
    path.write_text(line)

    assert reader.read().n_requests == 5
    assert _LogReader(path).read().n_requests == 5


NVIDIA_SMI = """#!/bin/sh
case "$1" in
--query-gpu=*)
  echo 'GPU-a, NVIDIA H100, 100, 81559, 7'
  echo 'GPU-b, NVIDIA H100, 9000, 81559, [N/A]' ;;
*) echo "GPU-b, $ENGINE_PID, 8192" ;;
esac
"""


def test_the_gpu_that_holds_the_engine_is_the_one_that_is_shown(state, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("ENGINE_PID", str(os.getpid()))
    put(
        "one",
        engine_pid=os.getpid(),
        planned={"CUDA0": 8 << 30, "host": 1 << 30},
        devices={"CUDA0": "NVIDIA H100"},
    )

    gpu, host = LocalWatch().look()[0].memory

    assert (gpu.where, gpu.planned_bytes) == ("CUDA0", 8 << 30)
    assert (gpu.used_bytes, gpu.busy_bytes) == (8192 << 20, 9000 << 20)
    assert (gpu.total_bytes, gpu.utilization_percent) == (81559 << 20, None)
    assert host.where == "host"


def test_a_driver_that_says_nonsense_is_no_reason_to_fail(state, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed, because, of, the driver'\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    put("one", planned={"CUDA0": 8 << 30, "host": 1 << 30}, devices={"CUDA0": "NVIDIA H100"})

    gpu, _ = LocalWatch().look()[0].memory

    assert (gpu.planned_bytes, gpu.used_bytes, gpu.busy_bytes) == (8 << 30, None, None)


def test_what_is_kept_is_private(state):
    put("one")

    assert stat.S_IMODE(deployments.find("one").directory.stat().st_mode) == 0o700
