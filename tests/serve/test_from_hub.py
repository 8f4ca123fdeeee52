"""Serving from a repository: weights fetched at one commit, whole, and only once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest

import ggufs
import serving
from fakehub import FakeFile
from serving import ggufctl

pytestmark = pytest.mark.xdist_group("engine")

REPO = "someone/SmolLM2-135M-Instruct-GGUF"


@pytest.fixture
def home(tmp_path, hub):
    """The environment of a user who has never used the Hub."""
    return {
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub.url,
        "GGUFCTL_CACHE_DIR": str(tmp_path / "cache"),
    }


def test_a_model_of_the_hub_is_fetched_once_and_served(state, home, hub, monkeypatch):
    hub.add(REPO, {"SmolLM2-135M-Instruct.Q4_1.gguf": serving.model_path().read_bytes()})
    for name, value in home.items():
        monkeypatch.setenv(name, value)
    ref = f"{REPO}:Q4_1"

    dry = ggufctl("serve", ref, "--on", "local", "--dry-run", "--json", state=state)
    moved = []
    for _ in range(2):
        before = hub.n_file_bytes()
        process = serving.start(
            ref, "--on", "local", "--port", "0", "-c", "512", "--json", state=state
        )
        document = serving.read_document(process)
        with openai.OpenAI(
            base_url=document["url"],
            api_key=Path(document["key_file"]).read_text().strip(),
            max_retries=0,
        ) as client:
            answer = client.completions.create(
                model=document["alias"], prompt="One, two,", max_tokens=2
            )
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        moved.append(hub.n_file_bytes() - before)
        assert answer.choices[0].text.strip()

    size = serving.model_path().stat().st_size
    assert json.loads(dry.stdout)["download_bytes"] == size
    assert size <= moved[0] < size + (2 << 20)
    assert moved[1] == 0
    assert document["model"] == ref
    assert document["is_as_planned"] is True


def test_weights_that_are_not_what_the_hub_says_are_refused(state, home, hub):
    # The stand-in names every large file by a digest that is not its content's.
    hub.add(REPO, {"tiny.Q8_0.gguf": FakeFile(ggufs.whole(*ggufs.llama()), lfs=True)})

    for _ in range(2):
        found = ggufctl(
            "serve", f"{REPO}:Q8_0", "--on", "local", "--port", "0", state=state, **home
        )

        assert found.returncode == 6
        assert "sha256" in found.stderr
        assert "Traceback" not in found.stderr


def test_a_model_that_this_machine_cannot_hold_is_not_fetched(state, home, hub):
    metadata, tensors = ggufs.llama(n_embd=1 << 16, n_vocab=1 << 20, n_layer=200, type_="q2_K")
    hub.add(REPO, {"huge.Q2_K.gguf": FakeFile(*ggufs.header(metadata, tensors))})

    found = ggufctl("serve", f"{REPO}:Q2_K", "--on", "local", "--port", "0", state=state, **home)

    assert found.returncode == 5
    assert "GiB of host memory" in found.stderr
    assert hub.n_file_bytes() < 32 << 20


def test_a_set_with_a_missing_shard_is_refused_before_anything_is_fetched(state, home, hub):
    first, _ = ggufs.shards(*ggufs.llama(), 2)
    hub.add(REPO, {"tiny-Q8_0-00001-of-00002.gguf": FakeFile(*first)})

    found = ggufctl("serve", REPO, "--on", "local", "--port", "0", state=state, **home)

    assert found.returncode == 6
    assert not os.path.exists(home["HF_HOME"] + "/hub")


def test_when_nothing_more_can_be_saved_other_quants_are_named(state, home, hub):
    content = serving.model_path().read_bytes()
    hub.add(
        REPO,
        {"SmolLM2.Q4_1.gguf": content, "SmolLM2.Q2_K.gguf": FakeFile(content[:1024], 50 << 20)},
    )
    command = [sys.executable, "-m", "ggufctl", "serve", f"{REPO}:Q4_1", "--on", "local"]
    command += ["--port", "0", "-np", "1", "-c", "262144", "--max-attempts", "2"]
    found = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -v 1500000; exec "$0" "$@"', *command],
        env=serving.environment(state, **home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=serving.START_SECONDS,
        check=False,
    )

    assert found.returncode == 9
    assert "Tried as well: a q8_0 cache" in found.stderr
    assert f"{REPO}:Q2_K" in found.stderr


def test_the_demonstration_uses_the_hub_when_it_is_there(state, home, hub):
    hub.add(
        "bartowski/SmolLM2-135M-Instruct-GGUF",
        {"SmolLM2-135M-Instruct-Q8_0.gguf": serving.model_path().read_bytes()},
    )

    found = ggufctl("demo", "--json", state=state, **home)

    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    assert document["source"] == "the Hugging Face Hub"
    assert document["answer"].strip()
