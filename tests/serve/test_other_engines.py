"""The other engines, through the same command and the same supervisor, where they are installed."""

from __future__ import annotations

import os
import signal

import openai
import pytest

import serving
from serving import ggufctl, is_running

pytestmark = pytest.mark.xdist_group("engine")

ENGINES = [
    pytest.param(name, marks=pytest.mark.engine(name))
    for name in ("llama-server", "llama-cpp-python")
]


def is_refused(url: str, key: str) -> bool:
    with openai.OpenAI(base_url=url, api_key=key, max_retries=0) as client:
        try:
            client.models.list()
        except openai.AuthenticationError:
            return True
    return False


@pytest.mark.parametrize("engine", ENGINES)
def test_another_engine_streams_a_chat_with_our_key_and_stops(state, engine):
    args = ("-c", "1024", "--engine", engine)
    with serving.serving(*args, state=state) as running:
        with openai.OpenAI(base_url=running.url, api_key=running.key, max_retries=0) as client:
            chunks = list(
                client.chat.completions.create(
                    model=running.document["alias"],
                    messages=[{"role": "user", "content": "Say hello."}],
                    max_tokens=8,
                    stream=True,
                )
            )
        assert is_refused(running.url, "wrong")
        pid = running.document["engine_pid"]
        code, err = running.end(signal.SIGTERM)

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices).strip()
    assert running.document["engine"] == engine
    assert running.document["is_as_planned"] is True, running.document["memory"]
    assert code == 143
    assert "Traceback" not in err
    assert not is_running(pid)


@pytest.mark.engine("llama-server")
def test_a_llama_server_on_the_path_comes_first(state):
    found = ggufctl("serve", str(serving.model_path()), "--on", "local", "--dry-run", state=state)

    assert "engine   llama-server" in found.stdout


@pytest.mark.engine("llama-cpp-python")
def test_the_environment_cannot_move_llama_cpp_python_elsewhere(state):
    os.environ.update({"HOST": "0.0.0.0", "PORT": "1", "API_KEY": "guessed"})
    try:
        with serving.serving("-c", "512", "--engine", "llama-cpp-python", state=state) as running:
            assert running.url.startswith("http://127.0.0.1:")
            assert is_refused(running.url, "guessed")
    finally:
        for name in ("HOST", "PORT", "API_KEY"):
            del os.environ[name]


@pytest.mark.engine("llama-cpp-python")
def test_a_flag_that_llama_cpp_python_lacks_is_refused(state):
    found = ggufctl(
        "serve",
        str(serving.model_path()),
        "--on",
        "local",
        "--engine",
        "llama-cpp-python",
        "--n-cpu-moe",
        "4",
        state=state,
    )

    assert found.returncode == 2
    assert "llama-cpp-python has no -ncmoe/--n-cpu-moe." in found.stderr
    assert "--engine llama-server" in found.stderr
