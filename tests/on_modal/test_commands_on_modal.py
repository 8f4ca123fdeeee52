"""The command line for deployments on Modal: stdout, stderr and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakehub import FakeFile
from ggufctl.documents import schema_of
from ggufctl.modal_app import stop_app
from ggufctl.services.modal.ask import ask
from tests.ggufs import llama, whole
from tests.on_modal.conftest import NAME, free_port

SOURCE = Path(__file__).parents[2] / "src"


def environment(state: Path, **changes: str | None) -> dict[str, str]:
    env = {**os.environ, "GGUFCTL_STATE_DIR": str(state), "PYTHONPATH": str(SOURCE)}
    for name, value in changes.items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    return env


@pytest.fixture
def run(modal, own_state):
    """Runs one command."""

    def call(*args: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (sys.executable, "-m", "ggufctl", *args),
            env=environment(own_state, **changes),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return call


def published(document: str, text: str) -> dict[str, Any]:
    """A document as its published schema describes it."""
    found = json.loads(text)
    schema_of(document).model_validate(found)
    return found


def wait_for(
    is_so: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120.0
) -> None:
    """Until something is so, while a command goes on."""
    end = time.monotonic() + seconds
    while not is_so():
        assert process.poll() is None, "the command has ended"
        assert time.monotonic() < end, f"not so after {seconds:.0f} s"
        time.sleep(0.1)


def serve_args(tiny: Path) -> tuple[str, ...]:
    port = str(free_port())
    return ("serve", str(tiny), "--name", NAME, "-c", "512", "-np", "2", "--port", port)


def test_a_deployment_from_serve_to_stop(modal, run, tiny):
    modal.faults.engine["*"] = "healthy"
    served = run(*serve_args(tiny), "--json", "--gpu", "T4,L4")

    assert served.returncode == 0, served.stderr
    document = published("serve", served.stdout)
    key = Path(document["key_file"]).read_text().strip()
    assert document["gpus"] == ["T4", "L4"]
    assert document["url"].endswith("/v1")
    assert document["usd_per_hour"] > 0
    assert "per hour" in served.stderr
    assert key not in served.stdout + served.stderr

    (row,) = published("ps", run("ps", "--json").stdout)["deployments"]
    assert (row["name"], row["where"], row["status"]) == (NAME, "modal", "running")
    assert NAME in run("ps").stdout
    assert "model loaded" in run("logs", NAME).stdout
    lines = [json.loads(line) for line in run("logs", NAME, "--json").stdout.splitlines()]
    assert {line["name"] for line in lines} == {NAME}

    switched = run("switch", NAME, "--gpu", "H100", "--json")
    assert switched.returncode == 0, switched.stderr
    assert published("serve", switched.stdout)["gpus"] == ["H100"]
    assert modal.function(f"ggufctl-{NAME}", "llama").gpus == ["H100"]

    stopped = run("stop", NAME, "--json")
    assert published("stop", stopped.stdout)["status"] == "stopped"
    modal.assert_nothing_is_left()
    assert json.loads(run("ps", "--json").stdout)["deployments"] == []


def test_a_failed_start_has_exit_code_9_and_nothing_on_stdout(modal, run, tiny):
    modal.faults.engine["*"] = "unknown-model"
    done = run(*serve_args(tiny), "--json")

    assert done.returncode == 9
    assert done.stdout == ""
    assert "nonesuch" in done.stderr
    modal.assert_nothing_is_left()


def test_events_are_json_lines(modal, run, tiny):
    modal.faults.engine["*"] = "healthy"
    done = run(*serve_args(tiny), "--events")

    kinds = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert kinds[-1] == "ready"
    assert {"price", "deploy", "container", "phase", "healthy", "token"} <= set(kinds)


@pytest.mark.parametrize("command", [("logs",), ("stop",), ("switch",)])
def test_an_unknown_name_has_exit_code_3(run, command):
    done = run(*command, "nonesuch", "--json")

    assert (done.returncode, done.stdout) == (3, "")


@pytest.mark.parametrize(
    "command",
    [
        ("ps", "--on", "modal"),
        ("logs", "x", "--on", "modal"),
        ("stop", "x", "--on", "modal"),
        ("serve", "org/repo"),
    ],
)
def test_no_token_has_exit_code_4(modal, run, command):
    done = run(*command, MODAL_TOKEN_ID=None, MODAL_TOKEN_SECRET=None)

    assert (done.returncode, done.stdout) == (4, "")
    assert "--on local" in done.stderr
    assert modal.records == []


@pytest.mark.parametrize(
    "command", [("ps",), ("logs", NAME), ("stop", NAME), ("switch", NAME, "-c", "512")]
)
def test_what_was_deployed_from_here_needs_a_token_without_being_told_where_it_is(
    modal, run, own_state, command
):
    (own_state / "modal").mkdir(parents=True)
    (own_state / "modal" / f"{NAME}.json").write_text("{}")
    done = run(*command, MODAL_TOKEN_ID=None, MODAL_TOKEN_SECRET=None)

    assert (done.returncode, done.stdout) == (4, "")
    assert run("ps", "--on", "local", MODAL_TOKEN_ID=None).returncode == 0
    assert run("logs", "nonesuch", MODAL_TOKEN_ID=None).returncode == 3


def test_a_dry_run_and_an_emitted_app_touch_nothing(modal, run, tiny, tmp_path):
    serve = serve_args(tiny)
    planned = run(*serve, "--dry-run", "--json")
    document = published("serve-plan", planned.stdout)
    assert document["dry_run"] and document["image"].startswith("ghcr.io/ggml-org/llama.cpp:")

    path = tmp_path / "app.py"
    assert run(*serve, "--emit", str(path)).returncode == 0
    assert "modal.App(" in path.read_text()
    assert run(*serve, "--emit", str(path)).returncode == 2
    assert run(*serve, "--emit", "-").stdout == path.read_text()
    assert modal.records == []


def test_an_open_server_has_to_be_asked_for_twice(modal, run, tiny):
    done = run(*serve_args(tiny), "--auth", "none")
    assert done.returncode == 2

    modal.faults.engine["*"] = "healthy"
    assert run(*serve_args(tiny), "--auth", "none", "--allow-anyone").returncode == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_start_that_is_interrupted_leaves_nothing(modal, own_state, tiny, number, code):
    modal.faults.engine["*"] = "slow"
    process = subprocess.Popen(
        (sys.executable, "-m", "ggufctl", *serve_args(tiny)),
        env=environment(own_state),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests under nohup would have it ignored here as well.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    try:
        wait_for(lambda: modal.says("load_model"), process)
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate(timeout=60)

    assert process.returncode == code
    modal.assert_nothing_is_left()


def test_a_second_ctrl_c_does_not_cut_the_end_short(modal, own_state, tiny):
    modal.faults.engine["*"] = "slow"
    modal.faults.rpc_seconds["AppStop"] = 3.0
    process = subprocess.Popen(
        (sys.executable, "-m", "ggufctl", *serve_args(tiny), "-q"),
        env=environment(own_state),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: modal.says("load_model"), process)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.8)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Still stopping" in err
    modal.assert_nothing_is_left()


@pytest.mark.parametrize("shape", [(), ("--hold-requests",)])
def test_an_emitted_app_is_deployed_by_its_own_instructions(modal, run, tiny, tmp_path, shape):
    modal.faults.engine["*"] = "healthy"
    path = tmp_path / "app.py"
    done = run(*serve_args(tiny), *shape, "--emit", str(path))
    assert done.returncode == 0, done.stderr
    words = path.read_text().split('"""')[1].splitlines()
    steps = "\n".join(line.strip() for line in words if line.startswith("    "))
    env = environment(tmp_path, PYTHONPATH=None)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    did = subprocess.run(
        ("sh", "-ec", steps),
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert did.returncode == 0, did.stdout + did.stderr

    url = modal.function(f"ggufctl-{NAME}", "llama").url
    key = json.loads((tmp_path / "key.json").read_text())["LLAMA_API_KEY"]
    headers = {"Authorization": f"Bearer {key}"}
    statuses: list[int] = []
    while statuses[-1:] != [200] and len(statuses) < 120:
        statuses.append(ask(f"{url}/v1/models", headers, None, 90.0)[0])
        time.sleep(0.2)
    assert statuses[-1] == 200
    assert ask(f"{url}/v1/models", {})[0] == 401
    assert (tmp_path / "key.json").stat().st_mode & 0o777 == 0o600
    assert modal.holds(key) == []
    assert len(modal.tasks_of("llama")) == 1
    stop_app(f"ggufctl-{NAME}")
    modal.assert_nothing_is_left()


@pytest.fixture
def published_tiny(hub):
    """A repository with one small model, that `run` finds on its Hub."""
    hub.add("org/tiny-GGUF", {"tiny-Q8_0.gguf": FakeFile.whole(whole(*llama()))})
    return "org/tiny-GGUF:Q8_0"


def test_a_model_from_the_hub_to_the_volume_and_away_again(modal, run, published_tiny):
    planned = run("download", published_tiny, "--to", "modal", "--dry-run", "--json")
    assert published("download", planned.stdout)["is_dry_run"]
    assert modal.state.tasks == {}

    assert json.loads(planned.stdout)["price"]["usd_per_hour"] > 0
    quiet = run("download", published_tiny, "--to", "modal", "--dry-run", "-q", "--json")
    assert (quiet.stderr, json.loads(quiet.stdout)["price"]["usd"] > 0) == ("", True)

    # A price is said before it is spent, whoever is to be quiet.
    done = run("download", published_tiny, "--to", "modal", "-q", "--json")
    assert done.returncode == 0, done.stderr
    document = published("download", done.stdout)
    assert document["to"] == "modal" and document["price"]["usd_per_month"] >= 0
    assert "per hour" in done.stderr
    again = run("download", published_tiny, "--to", "modal", "-q", "--json")
    assert (again.stderr, json.loads(again.stdout)["price"]) == ("", None)

    (row,) = published("models", run("models", "ls", "--on", "modal", "--json").stdout)["models"]
    assert row["state"] == "verified"
    hashed = run("models", "verify", "org/tiny-GGUF", "--on", "modal")
    assert hashed.returncode == 0
    assert "per hour" in hashed.stderr
    assert run("models", "rm", published_tiny, "--on", "modal").returncode == 2
    assert run("models", "rm", published_tiny, "--on", "modal", "--yes").returncode == 0
    listed = published("models", run("models", "ls", "--on", "modal", "--json").stdout)
    assert listed["models"] == []
    modal.assert_nothing_is_left()


def test_a_deployment_is_moved_looked_at_and_diagnosed(modal, run, published_tiny):
    modal.faults.engine["*"] = "healthy"
    served = run("serve", published_tiny, "--name", NAME, "-c", "512", "--json")
    assert served.returncode == 0, served.stderr

    moved = run("switch", NAME, "-c", "1024", "-np", "2", "--json")
    document = published("serve", moved.stdout)
    assert (document["n_ctx"], document["n_parallel"]) == (1024, 2)
    assert document["url"] == json.loads(served.stdout)["url"]
    assert run("switch", NAME).returncode == 2
    assert run("switch", NAME, "-c", "900000000").returncode == 5

    (state,) = published("status", run("status", NAME, "--json").stdout)["deployments"]
    assert (state["where"], state["status"], state["n_ctx"]) == ("modal", "running", 1024)

    looked = run("diagnose", "--app", NAME, "--live", "--json")
    assert looked.returncode == 0, looked.stderr
    found = {
        check["id"]: check["status"] for check in published("diagnose", looked.stdout)["checks"]
    }
    assert found["gpu"] == found["engine"] == found["files"] == "PASS"
    assert "per hour" in looked.stderr
    assert run("diagnose", "--live").returncode == 2


def test_a_switch_that_is_interrupted_brings_the_former_back(modal, own_state, run, tiny):
    modal.faults.engine = {"*": "healthy", "H100": "slow"}
    assert run(*serve_args(tiny), "--gpu", "T4").returncode == 0
    process = subprocess.Popen(
        (sys.executable, "-m", "ggufctl", "switch", NAME, "--gpu", "H100"),
        env=environment(own_state),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: any(t.gpu == "H100" and t.started_at for t in modal.live_tasks()), process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate(timeout=60)

    assert process.returncode == 130
    assert modal.function(f"ggufctl-{NAME}", "llama").gpus == ["T4"]
    assert [task.gpu for task in modal.live_tasks() if task.is_ready and not task.is_stopping] == [
        "T4"
    ]
