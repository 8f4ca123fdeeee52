"""Two GPUs of this machine under `-ts`, with an engine that stands in for one on them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

import serving

ENGINE = Path(__file__).parent.parent / "modal_standin" / "fake_engine.py"

LLAMA_SERVER = """#!/bin/sh
case " $* " in
*" --list-devices "*)
    echo "Available devices:"
    echo "  CUDA0: NVIDIA L4 (22563 MiB, 700 MiB free)"
    echo "  CUDA1: NVIDIA L4 (22563 MiB, 20000 MiB free)"
    exit;;
*" -ts "*) export STANDIN_SCENARIO=oom-weights;;
*) export STANDIN_SCENARIO=healthy;;
esac
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """PATH with a llama-server that sees two GPUs, and runs out of memory under `-ts`."""
    program = tmp_path / "bin" / "llama-server"
    program.parent.mkdir()
    program.write_text(f"{LLAMA_SERVER}exec '{sys.executable}' -S '{ENGINE}' \"$@\"\n")
    program.chmod(0o755)
    return os.pathsep.join((str(program.parent), os.environ["PATH"]))


def test_shares_that_run_out_of_memory_are_given_up_before_anything_else(state, path):
    args = ("--on", "local", "--port", "0", "--json", "-c", "512", "-ts", "1,0")
    process = serving.start(str(serving.model_path()), *args, state=state, PATH=path)
    document = serving.read_document(process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)

    assert document["attempts"] == 2
    assert document["tried"] == ["layers divided by what GPUs have free (-ts 0)"]
    assert "Trying layers divided by what GPUs have free (-ts 0)" in err
    assert process.returncode == 143


def test_shares_that_do_not_fit_what_is_free_are_what_the_hint_names(state, path):
    args = ("--on", "local", "--dry-run", "-c", "8192", "-ts", "1,0")
    found = serving.ggufctl("serve", str(serving.model_path()), *args, state=state, PATH=path)

    assert found.returncode == 5
    assert "It fits with -ts 0: layers divided by what GPUs have free." in found.stderr
