"""The supervisor with the real engine, and with small programs that misbehave as engines may."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path

import pytest

import serving
from ggufctl import Runtime
from ggufctl.core.engine_log import FailureKind
from ggufctl.core.launch import Files, Launch, clean_environment, llama_server_args
from ggufctl.remote.supervisor import EngineFailed, Event, Spec, Supervisor, ask
from ggufctl.services.machine import free_port

pytestmark = pytest.mark.xdist_group("engine")

KEY = "sk-ggufctl-test-0123456789abcdefghij"


def environment() -> dict[str, str]:
    env = clean_environment(os.environ)
    env["PYTHONPATH"] = str(serving.SOURCE)
    env["LLAMA_API_KEY"] = KEY
    return env


def real(**changes: object) -> Spec:
    port = free_port("127.0.0.1")
    launch = Launch(
        files=Files(str(serving.model_path())),
        runtime=Runtime(n_ctx=512, n_parallel=1),
        alias="m",
        port=port,
        n_threads=1,
        use_gpu=False,
        cache_ram_mib=0,
    )
    settings: dict[str, object] = {
        "argv": (
            sys.executable,
            "-m",
            "ggufctl.remote.embedded_server",
            *llama_server_args(launch),
        ),
        "env": environment(),
        "base_url": f"http://127.0.0.1:{port}",
        "model": "m",
        "deadline_seconds": 300.0,
        "key": KEY,
        **changes,
    }
    return Spec(**settings)  # type: ignore[arg-type]  # as a test names them


def program(code: str, **changes: object) -> Spec:
    """A program that says what an engine would say at a moment of a test's choice."""
    return real(argv=(sys.executable, "-u", "-c", textwrap.dedent(code)), **changes)


def failure(spec: Spec) -> tuple[EngineFailed, list[Event], Supervisor]:
    events: list[Event] = []
    supervisor = Supervisor(spec, events.append)
    with pytest.raises(EngineFailed) as caught:
        supervisor.start()
    pid = next(event.data["pid"] for event in events if event.kind == "start")
    assert not serving.is_running(pid)
    return caught.value, events, supervisor


def test_the_real_engine_starts_answers_and_stops(tmp_path):
    events: list[Event] = []
    supervisor = Supervisor(real(log_path=tmp_path / "log"), events.append)

    supervisor.start()
    answer = ask(supervisor.spec.base_url, "m", "One, two,", key=KEY, n_predict=3)
    pid = supervisor.pid
    supervisor.stop()
    supervisor.stop()

    assert answer.n_tokens == 3
    assert not serving.is_running(pid)
    assert [event.kind for event in events if event.kind in ("healthy", "token", "stopped")] == [
        "healthy",
        "token",
        "stopped",
    ]
    assert all(json.loads(event.to_json())["event"] == event.kind for event in events)
    assert KEY not in "".join(event.to_json() for event in events)
    log = tmp_path / "log"
    assert KEY[-4:] not in log.read_text().split("api_keys")[1].splitlines()[0]
    assert log.stat().st_mode & 0o077 == 0


def test_layers_that_stay_on_the_cpu_are_a_failure_not_a_success():
    error, _, _ = failure(real(expected_layers=31))

    assert error.failure.kind is FailureKind.CPU_FALLBACK
    assert "0 of 31 layers" in error.failure.text


def test_a_start_that_takes_too_long_is_ended():
    error, _, _ = failure(program("import time; time.sleep(600)", deadline_seconds=0.5))

    assert error.failure.kind is FailureKind.TIMEOUT
    assert error.exit_code is None


def test_an_engine_that_says_it_gives_up_is_not_waited_for():
    code = """
        import time
        print("E llama_model_load: error loading model: unknown model architecture: 'x'")
        print("E srv load_model: failed to load model, '/m.gguf'")
        time.sleep(600)
    """

    error, _, _ = failure(program(code))

    assert error.failure.kind is FailureKind.UNKNOWN_MODEL


def test_a_process_that_is_killed_is_explained_by_its_exit_code():
    error, _, _ = failure(program("import os; os.kill(os.getpid(), 9)"))

    assert error.failure.kind is FailureKind.OOM_HOST
    assert error.exit_code == -9


def test_an_engine_that_will_not_stop_is_killed_with_all_it_started(tmp_path):
    code = f"""
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
        print("E srv load_model: failed to load model, '/m.gguf'")
        time.sleep(600)
    """

    failure(program(code, grace_seconds=0.5))

    assert serving.is_gone(int((tmp_path / "child").read_text()))


def test_somebody_else_who_answers_on_the_port_is_not_taken_for_the_engine(tmp_path):
    healthy = Supervisor(real())
    healthy.start()
    try:
        error, _, _ = failure(
            program(
                "import time; time.sleep(600)",
                base_url=healthy.spec.base_url,
                deadline_seconds=2.0,
            )
        )
    finally:
        healthy.stop()

    assert error.failure.kind is FailureKind.TIMEOUT


def test_a_program_that_is_not_there_is_said():
    error, _, _ = failure(real(argv=("/nowhere/llama-server",)))

    assert error.exit_code == 127


def test_a_line_that_never_ends_and_is_not_text_does_no_harm():
    code = """
        import sys
        sys.stdout.buffer.write(b"\\xff\\xfe" * 100_000 + b"\\n\\x1b[31m\\n")
        print("error: invalid argument: --x")
        sys.exit(1)
    """

    error, _, supervisor = failure(program(code))

    assert error.failure.kind is FailureKind.SETTINGS
    assert all(len(line) <= 4096 for line in supervisor.tail)


def test_a_log_that_cannot_be_kept_is_said_before_anything_runs(tmp_path: Path):
    events: list[Event] = []
    path = tmp_path / "no" / "such" / "log"

    with pytest.raises(EngineFailed, match="No such file"):
        Supervisor(real(log_path=path), events.append).start()

    assert events == []


def test_a_listener_that_is_gone_ends_the_engine():
    pids = []

    def listener(event: Event) -> None:
        if event.kind == "start":
            pids.append(event.data["pid"])
        if event.kind == "log":
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Supervisor(program("import time; print('x'); time.sleep(600)"), listener).start()

    assert not serving.is_running(pids[0])


def test_an_engine_that_has_said_why_it_fails_is_not_waited_for_because_it_lives_on(monkeypatch):
    monkeypatch.setattr("ggufctl.remote.supervisor.LINGER_SECONDS", 0.5)
    code = """
        import time
        print("llama_model_load: error loading model: unable to allocate CUDA0 buffer")
        time.sleep(3600)
    """
    error, _, _ = failure(program(code, deadline_seconds=120.0))

    assert error.failure.kind is FailureKind.OOM_WEIGHTS


def test_what_it_said_is_forgotten_where_an_engine_recovers(monkeypatch):
    monkeypatch.setattr("ggufctl.remote.supervisor.LINGER_SECONDS", 0.5)
    code = """
        import time
        print("llama_init_from_model: failed to allocate compute pp buffers")
        print("sched_reserve: retrying without pipeline parallelism")
        time.sleep(1.5)
        raise SystemExit(3)
    """
    error, _, _ = failure(program(code, deadline_seconds=120.0))

    assert error.failure.text == "The engine ended with exit code 3."
