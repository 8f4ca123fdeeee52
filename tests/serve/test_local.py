"""The whole of `serve --on local`, `ps`, `logs`, `stop` and `demo` with the real engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

import ggufs
import serving
from serving import Serving, ggufctl, is_gone, is_running

pytestmark = pytest.mark.xdist_group("engine")

N_REQUESTS = 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One server for the tests that only talk to it."""
    state = tmp_path_factory.mktemp("state")
    with serving.serving("-c", "2048", "-np", "4", "--name", "shared", state=state) as running:
        yield running


def test_the_official_client_streams_a_chat_with_our_key(server):
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        chunks = list(
            client.chat.completions.create(
                model=server.document["alias"],
                messages=[{"role": "user", "content": "Say hello."}],
                max_tokens=12,
                stream=True,
            )
        )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(chunks) > 2
    assert text.strip()


def test_the_official_client_is_refused_without_our_key(server):
    with openai.OpenAI(base_url=server.url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Hello"}], max_tokens=1
            )
        with pytest.raises(openai.AuthenticationError):
            client.models.list()


def test_the_alias_is_all_that_clients_learn_of_the_model(server):
    with openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        names = [model.id for model in client.models.list()]

    assert names == [server.document["alias"]]
    assert "/" not in names[0]


def test_many_requests_at_once_are_all_answered_with_text(server):
    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        found = await client.completions.create(
            model=server.document["alias"], prompt=f"{number}, {number + 1},", max_tokens=3
        )
        return found.choices[0].text

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=server.url, api_key=server.key, max_retries=0, timeout=600
        ) as client:
            return await asyncio.gather(*(one(client, number) for number in range(N_REQUESTS)))

    texts = asyncio.run(all_of_them())

    assert len(texts) == N_REQUESTS
    assert all(text.strip() for text in texts)


@pytest.mark.parametrize("path", ["/slots", "/props", "/"])
def test_nothing_else_is_open(server, path):
    url = server.url.removesuffix("/v1") + path

    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url, timeout=30)

    assert caught.value.code in (401, 404)
    caught.value.close()


def test_planned_and_actual_memory_agree_within_a_hundredth(server):
    rows = server.document["memory"]

    assert {row["term"] for row in rows} == {"weights", "KV cache", "compute", "outputs"}
    assert server.document["is_as_planned"] is True
    planned = sum(row["planned_bytes"] for row in rows)
    assert abs(sum(row["difference_bytes"] for row in rows)) <= planned // 100


def test_the_build_that_runs_is_said(server):
    document = server.document

    assert document["engine"] == "xllamacpp"
    assert document["engine_build"].startswith("b1")
    assert any(document["engine_build"] in text for text in document["warnings"])


def test_the_key_is_in_a_private_file_and_nowhere_else(server):
    path = Path(server.document["key_file"])
    pids = (server.document["pid"], server.document["engine_pid"])

    assert len(server.key) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    others = [p for p in server.state.rglob("*") if p.is_file() and p != path]
    everything = "".join(p.read_text(errors="replace") for p in others)
    everything += json.dumps(server.document) + serving.command_lines(pids)
    assert server.key not in everything
    assert server.key[-4:] not in serving.command_lines(pids)
    assert f"****{server.key[-4:]}" not in everything


def test_ps_shows_it_and_logs_shows_its_log(server):
    listed = ggufctl("ps", "--json", state=server.state)
    log = ggufctl("logs", "shared", state=server.state)

    (row,) = json.loads(listed.stdout)["deployments"]
    assert row["name"] == "shared"
    assert row["status"] == "running"
    assert row["usd_per_hour"] == 0
    assert "model loaded" in log.stdout
    assert server.key not in listed.stdout + log.stdout


def test_a_name_in_use_is_refused(server):
    again = ggufctl(
        "serve",
        str(serving.model_path()),
        "--on",
        "local",
        "--port",
        "0",
        "--name",
        "shared",
        state=server.state,
    )

    assert again.returncode == 2
    assert "running already" in again.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"]
)
def test_a_signal_stops_it_cleanly(state, number, code):
    with serving.serving("-c", "512", "-np", "1", state=state) as running:
        engine = running.document["engine_pid"]
        key_file = Path(running.document["key_file"])

        found, err = running.end(number)

        assert found == code
        assert "Traceback" not in err
        assert not is_running(engine)
        assert not key_file.exists()
    listed = ggufctl("ps", "--all", "--json", state=state)
    (row,) = json.loads(listed.stdout)["deployments"]
    assert row["status"] == "stopped"


def test_stop_ends_it_from_elsewhere(state):
    with serving.serving("-c", "512", "-np", "1", "--name", "one", state=state) as running:
        stopped = ggufctl("stop", "one", "--json", state=state)

        assert stopped.returncode == 0
        assert json.loads(stopped.stdout)["status"] == "stopped"
        assert is_gone(running.document["engine_pid"])
        running.process.communicate(timeout=60)
        assert running.process.returncode == 143
    assert ggufctl("stop", "one", state=state).returncode == 3
    assert "model loaded" in ggufctl("logs", "one", "-f", state=state).stdout


def test_a_supervisor_killed_outright_leaves_no_engine(state):
    with serving.serving("-c", "512", "-np", "1", "--name", "one", state=state) as running:
        running.process.kill()
        running.process.communicate(timeout=60)

        assert is_gone(running.document["engine_pid"])
        (row,) = json.loads(ggufctl("ps", "--json", state=state).stdout)["deployments"]
        assert row["status"] == "lost"
        assert ggufctl("stop", "one", state=state).returncode == 0
        assert json.loads(ggufctl("ps", "--json", state=state).stdout)["deployments"] == []


def test_an_engine_that_dies_is_explained(state):
    with serving.serving("-c", "512", "-np", "1", "--name", "one", state=state) as running:
        os.kill(running.document["engine_pid"], signal.SIGKILL)
        _, err = running.process.communicate(timeout=60)

    assert running.process.returncode == 9
    assert "killed (signal 9)" in err
    shown = ggufctl("status", "one", state=state)
    asked = ggufctl("chat", "one", "Hi", state=state)

    assert shown.returncode == 11
    assert "failed" in shown.stdout
    assert asked.returncode == 3
    assert "has failed" in asked.stderr
    assert "Start it again: ggufctl serve " in asked.stderr


def test_a_signal_while_it_starts_leaves_nothing(state):
    process = serving.start(
        str(serving.model_path()), "--on", "local", "--port", "0", "--events", state=state
    )
    assert process.stdout is not None
    engine = 0
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "start":
            engine = event["pid"]
        if event["event"] == "phase" and event["text"] == "weights":
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)

    assert process.returncode == 130
    assert engine
    assert not is_running(engine)
    (row,) = json.loads(ggufctl("ps", "--all", "--json", state=state).stdout)["deployments"]
    assert row["status"] == "stopped"


def test_events_are_json_lines_that_tell_the_start(state):
    process = serving.start(
        str(serving.model_path()),
        "--on",
        "local",
        "--port",
        "0",
        "-c",
        "512",
        "--events",
        state=state,
    )
    assert process.stdout is not None
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "ready":
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    phases = [event["text"] for event in events if event["event"] == "phase"]
    assert phases == ["weights", "cache", "graph", "warm-up", "health", "first token", "serving"]
    assert [event["event"] for event in events if event["event"] in ("healthy", "token")] == [
        "healthy",
        "token",
    ]
    assert events[-1]["is_as_planned"] is True


def test_a_key_file_of_the_users_is_made_once_and_used_again(state, tmp_path):
    path = tmp_path / "my.key"
    args = ("-c", "512", "-np", "1", "--api-key-file", str(path))

    with serving.serving(*args, state=state) as running:
        first = running.key
        running.end(signal.SIGTERM)
    with serving.serving(*args, state=state) as running:
        second = running.key
        with openai.OpenAI(base_url=running.url, api_key=first, max_retries=0) as client:
            assert list(client.models.list())

    assert first == second
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_key_is_shown_once_and_only_on_a_terminal(state, tmp_path):
    path = tmp_path / "my.key"
    shown = []
    for _ in range(2):
        terminal, stderr = os.openpty()
        process = subprocess.Popen(
            (
                sys.executable,
                "-m",
                "ggufctl",
                "serve",
                str(serving.model_path()),
                "--on",
                "local",
                "--port",
                "0",
                "-c",
                "512",
                "-np",
                "1",
                "--json",
                "--api-key-file",
                str(path),
            ),
            env=serving.environment(state),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        os.close(stderr)
        text = b""
        with contextlib.suppress(OSError):
            while b"serving (after" not in text:
                text += os.read(terminal, 65536)
        serving.read_document(process)
        process.terminate()
        with contextlib.suppress(OSError):
            while part := os.read(terminal, 65536):
                text += part
        process.communicate(timeout=60)
        os.close(terminal)
        shown.append(text.decode().count(path.read_text().strip()))

    assert shown == [1, 0]


def test_no_key_is_needed_where_none_was_asked_for(state):
    with serving.serving("-c", "512", "-np", "1", "--auth", "none", state=state) as running:
        assert running.document["key_file"] is None
        assert running.url.startswith("http://127.0.0.1:")
        with openai.OpenAI(base_url=running.url, api_key="none", max_retries=0) as client:
            assert list(client.models.list())


def test_memory_that_runs_out_is_reduced_step_by_step_and_said(state):
    process = limited(state, "-c", "65536", "--json")

    document = serving.read_document(process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)

    assert document["attempts"] > 1
    assert document["tried"][0].startswith("a q8_0 cache")
    assert document["is_as_planned"] is True
    assert "Trying a q8_0 cache (-ctk q8_0 -ctv q8_0), still $0 per hour." in err


@pytest.mark.parametrize("bound", [["--no-fallback"], ["--max-attempts", "1"]])
def test_no_more_is_tried_than_was_allowed(state, bound):
    process = limited(state, "-c", "65536", "--events", *bound)

    out, err = process.communicate(timeout=300)

    events = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 9
    assert [event["event"] for event in events].count("start") == 1
    assert "Not enough memory for the cache." in err
    assert is_gone(next(event["pid"] for event in events if event["event"] == "start"))


def limited(state: Path, *args: str) -> subprocess.Popen[str]:
    """A server whose processes may use 1.5 GiB of address space each."""
    command = [sys.executable, "-m", "ggufctl", "serve", str(serving.model_path())]
    command += ["--on", "local", "--port", "0", "-np", "1", *args]
    return subprocess.Popen(
        ["/bin/sh", "-c", 'ulimit -v 1500000; exec "$0" "$@"', *command],
        env=serving.environment(state),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_port_that_is_taken_is_refused_before_anything_starts(state):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        found = ggufctl(
            "serve", str(serving.model_path()), "--on", "local", "--port", port, state=state
        )

    assert found.returncode == 9
    assert f"Port {port}" in found.stderr
    assert not (state / "deployments").exists()


def test_a_broken_model_is_refused_with_its_own_exit_code(state, tmp_path):
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(serving.model_path().read_bytes()[: 40 << 20])
    metadata, tensors = ggufs.llama()
    for number, (raw, size) in enumerate(ggufs.shards(metadata, tensors, 2), 1):
        ggufs.write(tmp_path / f"split-{number:05}-of-00002.gguf", raw, size)
    (tmp_path / "split-00002-of-00002.gguf").unlink()

    for path in (truncated, tmp_path / "split-00001-of-00002.gguf"):
        found = ggufctl("serve", str(path), "--on", "local", state=state)

        assert found.returncode == 6
        assert found.stdout == ""
        assert "Traceback" not in found.stderr


def test_a_dry_run_says_everything_and_does_nothing(state):
    found = ggufctl(
        "serve",
        str(serving.model_path()),
        "--on",
        "local",
        "--dry-run",
        "--json",
        "-c",
        "4096",
        "--",
        "--temp",
        "0.2",
        state=state,
    )

    document = json.loads(found.stdout)
    assert found.returncode == 0
    assert document["dry_run"] is True
    assert document["argv"][-2:] == ["--temp", "0.2"]
    assert document["argv"][document["argv"].index("--host") + 1] == "127.0.0.1"
    assert document["usd_per_hour"] == 0
    assert not state.exists()


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ([], 4, "--on local"),
        (["--on", "moon"], 2, "modal or local"),
        (["--on", "local", "--auth", "proxy"], 2, "--auth proxy"),
        (["--on", "local", "--", "--host", "0.0.0.0"], 2, "--host"),
        (["--on", "local", "--", "--api_key", "x"], 2, "--api_key"),
        (["--on", "local", "--", "--frobnicate"], 2, "llama-server"),
        (["--on", "local", "--engine", "nope"], 2, "xllamacpp"),
        (["--on", "local", "-c", "much"], 2, "-c/--ctx-size"),
        (["--on", "local", "--max-attempts", "0"], 2, "--max-attempts"),
        (["--on", "local", "stray"], 2, "after --"),
        (["--on", "local", "-c", "999999999"], 5, "It fits with -c 8192."),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_at_once(state, args, code, words):
    found = ggufctl("serve", str(serving.model_path()), *args, state=state)

    assert found.returncode == code
    assert words in found.stderr
    assert found.stdout == ""
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("command", [["logs", "nobody"], ["stop", "nobody"]])
def test_a_name_that_nothing_has_is_not_found(state, command):
    found = ggufctl(*command, "--json", state=state)

    assert found.returncode == 3
    assert json.loads(found.stderr.splitlines()[-1])["error"]["code"] == "deployment_not_found"


def test_a_name_cannot_leave_the_state_directory(state):
    assert ggufctl("logs", "../../etc", state=state).returncode == 3


def test_the_demonstration_plans_serves_asks_and_stops(state):
    found = ggufctl("demo", "--json", state=state)

    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    assert document["answer"].strip()
    assert document["tokens_per_second"] > 0
    assert document["is_as_planned"] is True
    assert json.loads(ggufctl("ps", "--json", state=state).stdout)["deployments"] == []
