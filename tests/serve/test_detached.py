"""`serve -d`: the command ends once what it serves answers, and that goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import serving
from ggufctl.services import deployments
from serving import ggufctl, is_gone

pytestmark = pytest.mark.xdist_group("engine")

MODEL = str(serving.model_path())
HERE = ("--on", "local", "--port", "0", "-c", "512", "-np", "1", "--name", "one")


def supervisors() -> list[int]:
    return [found.pid for found in deployments.listed() if found.is_alive]


def run(*command: str, state: Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command of a shell's, from start to end."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=serving.environment(state),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=serving.START_SECONDS,
        check=False,
    )


def test_it_answers_after_the_command_has_ended_until_it_is_stopped(state):
    done = ggufctl("serve", MODEL, *HERE, "-d", "--json", state=state)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (pid,) = supervisors()
    try:
        assert os.getsid(pid) == pid
        key = Path(document["key_file"]).read_text().strip()
        request = urllib.request.Request(
            f"{document['url']}/models", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            assert reply.status == 200
        assert ggufctl("status", "one", state=state).returncode == 0
        assert ggufctl("logs", "one", state=state).stdout
    finally:
        ended = ggufctl("stop", "one", state=state)

    assert ended.returncode == 0
    assert is_gone(pid)
    assert is_gone(document["engine_pid"])
    assert not Path(document["key_file"]).exists()


def test_for_a_person_it_says_how_to_end_it_once_it_answers(state):
    done = ggufctl("serve", MODEL, *HERE, "--detach", state=state)
    ggufctl("stop", "one", state=state)

    assert "one answers at http://127.0.0.1:" in done.stdout
    assert done.stdout.splitlines()[-1].split() == ["stop", "ggufctl", "stop", "one"]
    assert "serving (after" in done.stderr
    assert "warning: GGUFCTL_" not in done.stderr


def test_its_settings_can_be_changed_while_nobody_is_in_front(state):
    ggufctl("serve", MODEL, *HERE, "-d", state=state)
    try:
        done = ggufctl("switch", "one", "-c", "1024", "--json", state=state)
        assert done.returncode == 0, done.stderr
        assert deployments.find("one").n_ctx == 1024
    finally:
        ggufctl("stop", "one", state=state)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("./no-such-file.gguf",), 3, "no-such-file.gguf"),
        ((MODEL, "-c", "999999999"), 5, "fit"),
        ((MODEL, "--threads", "-1"), 2, "--threads"),
        ((MODEL, "--", "--no-such-option"), 2, "no-such-option"),
        ((MODEL, "--startup-timeout", "0.01"), 9, "not ready"),
    ],
)
def test_what_does_not_come_up_is_said_with_its_exit_code(state, arguments, code, said):
    done = ggufctl("serve", "--on", "local", "--port", "0", "-d", *arguments, state=state)

    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stdout == ""
    assert supervisors() == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_command_that_is_ended_before_it_answers_leaves_nothing(state, number, code, seconds):
    process = serving.start(MODEL, *HERE, "-d", state=state)
    assert process.stderr is not None
    assert "this machine" in process.stderr.readline()
    behind = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    time.sleep(seconds)
    process.send_signal(number)
    process.communicate(timeout=60)
    if process.returncode == 0:
        # It was quicker: what answers by now is there to be stopped.
        assert ggufctl("stop", "one", state=state).returncode == 0

    assert process.returncode in (code, 0)
    assert len(behind) == 1
    assert is_gone(int(behind[0]))
    assert supervisors() == []


def test_why_it_failed_when_nobody_was_in_front_is_kept(state):
    done = ggufctl("serve", MODEL, *HERE, "-d", "--json", state=state)
    os.kill(json.loads(done.stdout)["engine_pid"], signal.SIGKILL)
    (pid,) = supervisors() or (0,)
    assert is_gone(pid)

    status = ggufctl("status", "one", state=state)
    assert status.returncode == 11
    assert "signal 9" in status.stdout
    log = ggufctl("logs", "one", state=state).stdout
    assert "signal 9" in log.splitlines()[-1]
    (state / "last.log").write_text(log)
    found = ggufctl("diagnose", str(state / "last.log"), "--json", state=state)
    assert json.loads(found.stdout)["diagnoses"], found.stdout


def test_who_has_read_enough_of_the_start_has_the_server_all_the_same(state):
    line = f"set -o pipefail; {sys.executable} -m ggufctl serve {MODEL} {' '.join(HERE)} -d 2>&1"
    done = run("bash", "-c", f"{line} | head -n 2", state=state)

    assert done.returncode == 0, done.stderr
    assert ggufctl("stop", "one", state=state).returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        *(f"serve {MODEL} {' '.join(HERE)} -d", f"serve {MODEL} {' '.join(HERE)} -d --json"),
        *(f"serve {MODEL} {' '.join(HERE)}", f"serve {MODEL} --name one", "switch one -c 512"),
        "demo --no-hub",
    ],
)
@pytest.mark.parametrize("inputs", ["", "<&-"])
def test_where_its_output_would_be_lost_nothing_is_begun(state, command, inputs):
    done = run("sh", "-c", f"{sys.executable} -m ggufctl {command} {inputs} >&-", state=state)

    assert done.stderr == "error: The output cannot be written: standard output is closed.\n"
    assert done.returncode == 1
    assert not state.exists()


def test_a_key_that_a_shell_hands_over_as_a_file_is_read(state):
    key = "sk-handed-over-0123456789abcdef0123456789"
    line = f"{sys.executable} -m ggufctl serve {MODEL} {' '.join(HERE)} -d --json"
    done = run("bash", "-c", f"{line} --api-key-file <(echo {key})", state=state)
    assert done.returncode == 0, done.stderr
    url = f"{json.loads(done.stdout)['url']}/models"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.status == 200
    assert ggufctl("stop", "one", state=state).returncode == 0
    assert key not in done.stdout + done.stderr


@pytest.mark.parametrize("text", ["99999999999999999999", "99", "1x", "\u0663", "1"])
def test_a_variable_that_names_no_pipe_of_ours_is_no_reason_to_stay_in_front(state, text):
    done = ggufctl("serve", MODEL, *HERE, "-d", "-q", state=state, GGUFCTL_RELEASE_FD=text)

    assert done.returncode == 0, done.stderr
    assert ggufctl("stop", "one", state=state).returncode == 0


def test_files_called_as_modules_in_the_folder_it_is_started_in_are_not_run(state, tmp_path):
    for name in ("json", "queue", "types", "aiohttp", "ctypes", "signal", "ggufctl"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is not what was meant')\n")
    command = (sys.executable, "-P", "-m", "ggufctl", "serve", MODEL, *HERE, "-d", "--json")
    done = run(*command, state=state, cwd=tmp_path)
    ggufctl("stop", "one", state=state)

    assert done.returncode == 0, done.stderr
    assert is_gone(json.loads(done.stdout)["engine_pid"])
