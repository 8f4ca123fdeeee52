"""The other engines, through the same command and the same supervisor, where they are installed."""

from __future__ import annotations

import os
import signal

import openai
import pytest
from tests.truth.llama_cpp_python import SETTINGS, compared

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


def assert_within_a_hundredth(document):
    """Every term that the engine's log names, whatever range the plan states."""
    rows = document["memory"]
    assert {row["term"] for row in rows} >= {"weights", "KV cache", "compute", "outputs"}
    for row in rows:
        # The log is in hundredths of a MiB.
        slack = row["planned_bytes"] // 100 + 5244
        assert abs(row["difference_bytes"]) <= slack, row
    assert document["is_as_planned"] is True


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
    assert_within_a_hundredth(running.document)
    assert code == 143
    assert "Traceback" not in err
    assert not is_running(pid)


@pytest.mark.engine("llama-server")
def test_a_llama_server_on_the_path_comes_first(state):
    found = ggufctl("serve", str(serving.model_path()), "--on", "local", "--dry-run", state=state)

    assert "engine   llama-server" in found.stdout


@pytest.mark.engine("llama-cpp-python")
@pytest.mark.parametrize(
    "args",
    [
        ("-c", "8192"),
        ("-c", "2048", "-fa", "off", "-ub", "256"),
        ("-c", "4096", "-ctk", "q8_0", "-ctv", "q8_0"),
        ("-c", "1024", "--embedding"),
    ],
    ids=" ".join,
)
def test_llama_cpp_python_takes_the_memory_that_was_planned(state, args):
    with serving.serving("--engine", "llama-cpp-python", *args, state=state) as running:
        assert_within_a_hundredth(running.document)
        assert running.document["n_parallel"] == 1


@pytest.mark.engine("llama-cpp-python")
@pytest.mark.parametrize(
    "model",
    [
        pytest.param("Gemma-3-1B-F16", id="sliding window"),
        pytest.param("gpt-oss-20b-MXFP4", id="sliding window and experts"),
        pytest.param("Qwen3-30B-A3B-Q4_K_M", id="experts"),
        pytest.param("DeepSeek-V2-Lite-Q4_K_M", id="latent attention and shared experts"),
        pytest.param("Mamba-2.8B-F16", id="recurrent"),
        pytest.param("Falcon-H1-0.5B-F16", id="hybrid"),
        pytest.param("bge-large-en-v1.5-F16", id="encoder"),
        pytest.param("Flan-T5-base-F16", id="encoder and decoder"),
        pytest.param("Granite-4-H-1B-Q4_K_M", id="scaled embeddings"),
    ],
)
def test_llama_cpp_python_would_reserve_what_is_planned_for_many_families(model):
    rows = list(compared([model]))

    assert len(rows) == 3 * len(SETTINGS)
    assert [row for row in rows if not row.is_exact] == []


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
