"""`ggufctl chat` and `ggufctl bench` with the real engine and a real model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.documents import schema_of
from tests import projector
from tests.chat.terminal import on_terminal
from tests.projector import write_picture, write_projector
from tests.serving import Serving, environment, ggufctl, is_gone, model_path, serving

SMALL = ("-c", "512", "-np", "2", "-no-kvu")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    state = tmp_path_factory.mktemp("state")
    with serving("--name", "small", *SMALL, state=state) as running:
        yield running


def chat(server: Serving, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    return ggufctl("chat", *args, state=server.state, **more)


def test_a_deployment_is_asked_by_its_name_with_its_own_key(server):
    args = ("small", "What is gravity?", "-n", "12", "--temp", "0", "--seed", "7")
    first = chat(server, *args)
    again = chat(server, *args, "--json")

    assert first.returncode == 0, first.stderr
    found = json.loads(again.stdout)
    schema_of("chat").model_validate(found)
    assert found["answer"] == first.stdout.removesuffix("\n")
    assert (found["n_tokens"], found["finish_reason"]) == (12, "length")
    assert found["tokens_per_second"] > 0
    assert found["first_token_seconds"] <= found["seconds"]
    assert "cut at the limit" in first.stderr
    assert server.key not in first.stdout + first.stderr + again.stdout + again.stderr


def test_its_address_is_enough_too_and_knows_the_key(server):
    done = chat(server, server.url, "Hi", "-n", "2")

    assert done.returncode == 0, done.stderr


def test_a_server_without_a_projector_takes_no_image(server, tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\nrest")

    done = chat(server, "small", "What is it?", "--image", str(path))

    assert done.returncode == 2
    assert "takes no images" in done.stderr


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("seeing")
    file = write_projector(folder / "mmproj-tiny.gguf")
    args = ("--name", "eye", "--mmproj", str(file), "-c", "512", "-np", "1", "--gpu", "cpu")
    with serving(*args, state=folder / "state") as running:
        yield running


def test_a_server_with_a_projector_is_asked_about_a_picture(seeing, tmp_path):
    picture = write_picture(tmp_path / "pic.png")
    args = ("eye", "What is it?", "-n", "8", "--temp", "0", "--json")

    without = json.loads(chat(seeing, *args).stdout)
    done = chat(seeing, *args, "--image", str(picture))

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    schema_of("chat").model_validate(found)
    assert found["answer"].strip()
    assert found["n_tokens"] == 8
    # A token for every patch of the picture.
    assert found["n_prompt"] - without["n_prompt"] >= (projector.IMAGE // projector.PATCH) ** 2


def test_a_projector_takes_what_was_planned_for_it(seeing):
    rows = {row["term"]: row for row in seeing.document["memory"]}

    assert seeing.document["is_as_planned"]
    assert all(row["is_as_planned"] for row in rows.values())
    # Two figures of the log, each to the nearest hundredth of a MiB.
    assert abs(rows["projector"]["difference_bytes"]) <= (1 << 20) // 100


def test_a_prompt_that_is_too_long_is_refused_in_the_servers_words(server):
    done = chat(server, "small", "word " * 600)

    assert done.returncode == 2
    assert "context size" in done.stderr


def test_a_benchmark_reads_every_prompt_in_full(server):
    args = ("-p", "16", "-n", "4", "--json")
    done = ggufctl("bench", "small", *args, state=server.state)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    schema_of("bench").model_validate(found)
    assert found["is_llama_server"]
    assert [row["n_streams"] for row in found["levels"]] == [1, 2]
    for row in found["levels"]:
        assert (row["n_ok"], row["n_errors"], row["n_cached"]) == (4, 0, 0)
        assert (row["n_prompt"], row["n_tokens"]) == (16, 4)
        assert 0 < row["first_token_p50_seconds"] <= row["latency_p50_seconds"]
        assert row["latency_p50_seconds"] <= row["latency_p99_seconds"]
    assert found["llama_cpp_build"] == LLAMA_CPP_BUILD
    assert (found["usd_per_hour"], found["usd"]) == (0.0, 0.0)


def test_a_model_is_served_for_the_chat_alone(tmp_path):
    state = tmp_path / "state"
    done = ggufctl(
        *("chat", str(model_path()), "Hi", "-n", "4", "--temp", "0", "-c", "256", "--json"),
        *("--chat-template", "{{ messages[-1].content }} SAID"),
        state=state,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["where"], found["n_tokens"]) == ("local", 4)
    # Its own template alone takes some twenty tokens more.
    assert found["n_prompt"] < 8
    assert "$0.00 per hour" in done.stderr
    (row,) = json.loads(ggufctl("ps", "--all", "--json", state=state).stdout)["deployments"]
    assert row["status"] == "stopped"
    assert is_gone(row["engine_pid"])


def test_a_template_of_llama_cpp_s_is_used_by_its_name(tmp_path):
    args = ("chat", str(model_path()), "Hi", "-n", "2", "--temp", "0", "-c", "256", "--json")
    found = {}
    for name in ("vicuna", "{% for m in messages %}USER: {{ m.content }}\nASSISTANT:{% endfor %}"):
        done = ggufctl(*args, "--chat-template", name, state=tmp_path / "state")
        assert done.returncode == 0, done.stderr
        found[name] = json.loads(done.stdout)

    named, written = found.values()
    assert named["n_prompt"] == written["n_prompt"] > 5
    assert named["answer"] == written["answer"]


def test_ctrl_c_on_a_terminal_leaves_no_server_behind(tmp_path):
    state = tmp_path / "state"
    with on_terminal(
        *("chat", str(model_path()), "-c", "512", "--temp", "0", "--seed", "1"), state=state
    ) as terminal:
        terminal.expect("/help")
        (row,) = json.loads(ggufctl("ps", "--json", state=state).stdout)["deployments"]
        terminal.expect("> ")
        terminal.type("Write a long story.")
        terminal.expect("story.\n")
        terminal.expect("e")
        terminal.interrupt()
        terminal.expect("first after")
        terminal.expect("> ")
        terminal.interrupt_prompt()

        assert terminal.wait() == 130
    assert is_gone(row["engine_pid"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_the_server_started_for_it_is_gone(tmp_path, number):
    state = tmp_path / "state"
    process = subprocess.Popen(
        (sys.executable, "-m", "ggufctl", "chat", str(model_path()), "Write a long story."),
        env=environment(state),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 1)
    (path,) = Path(state).glob("deployments/*/state.json")
    engine = json.loads(path.read_text())["engine_pid"]

    process.send_signal(number)
    process.communicate(timeout=120)

    assert is_gone(engine)
