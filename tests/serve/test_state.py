"""Keys, deployments and reductions: what is kept on disk, and what is tried next."""

from __future__ import annotations

import stat
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ggufctl
import serving
from ggufctl import Runtime
from ggufctl.core.engine_log import FailureKind
from ggufctl.core.escape import redact
from ggufctl.core.reduce import Reduction, reductions
from ggufctl.errors import UsageError
from ggufctl.services import deployments
from ggufctl.services.deployments import DeploymentNotFound
from ggufctl.services.keys import open_key
from ggufctl.services.machine import free_port, host_memory, is_port_free, read_rate
from serving import put


def test_a_new_key_is_long_private_and_hidden_by_messages(tmp_path):
    key = open_key(tmp_path / "key")

    assert key.is_new
    assert len(key.value) >= 43
    assert stat.S_IMODE(key.path.stat().st_mode) == 0o600
    assert key.value not in redact(f"the key is {key.value}")
    assert key.value not in repr(key)
    assert open_key(tmp_path / "key").value == key.value
    assert open_key(tmp_path / "other").value != key.value


def test_the_first_key_of_a_file_counts_and_its_mode_is_noticed(tmp_path):
    path = tmp_path / "key"
    path.write_text("# ours\n\n  abc-123  \nsecond\n")
    path.chmod(0o644)

    key = open_key(path)

    assert (key.value, key.is_new, key.is_shared) == ("abc-123", False, True)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "two words\n", "a,b\n", "\x1b[31m\n"])
def test_a_file_without_a_usable_key_is_refused(tmp_path, text):
    path = tmp_path / "key"
    path.write_text(text)

    with pytest.raises(UsageError):
        open_key(path)


def test_a_key_file_that_cannot_be_made_is_said(tmp_path):
    with pytest.raises(UsageError):
        open_key(tmp_path / "no" / "key")


def test_what_is_saved_is_found_again_and_listed(state):
    made = put("one")

    assert deployments.find("one") == made
    assert deployments.listed() == (made,)


def test_the_state_is_private(state):
    made = put("one")

    assert stat.S_IMODE(made.directory.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in made.directory.iterdir())


def test_a_name_in_use_gets_a_number_or_is_refused(state):
    put("one")

    assert deployments.claim("one", exactly=False) == "one-2"
    with pytest.raises(UsageError, match="running already"):
        deployments.claim("one", exactly=True)


def test_a_name_that_was_claimed_a_moment_ago_is_not_taken_away(state):
    deployments.claim("one", exactly=True)

    assert deployments.claim("one", exactly=False) == "one-2"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "-x", "a b", "x" * 81, "é"])
def test_what_is_no_name_is_refused_and_not_found(state, name):
    with pytest.raises(UsageError):
        deployments.claim(name, exactly=True)
    with pytest.raises(DeploymentNotFound):
        deployments.find(name)


def test_a_deployment_whose_process_is_gone_is_lost_and_can_be_replaced(state):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(60)
    put("one", pid=process.pid, pid_start="12345")

    assert deployments.find("one").status == "lost"
    assert deployments.claim("one", exactly=True) == "one"


def test_a_process_that_only_has_the_same_number_is_left_alone(state):
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        put("one", pid=bystander.pid, pid_start="another time")

        assert deployments.stop("one").status == "stopped"
        assert serving.is_running(bystander.pid)
    finally:
        bystander.kill()
        bystander.wait(60)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"name": "one"}', "\0"])
def test_a_state_that_cannot_be_read_is_no_deployment(state, text):
    made = put("one")
    (made.directory / "state.json").write_text(text)

    assert deployments.listed() == ()
    with pytest.raises(DeploymentNotFound):
        deployments.find("one")


def test_a_state_with_values_of_other_types_is_no_deployment(state):
    made = put("one")
    path = made.directory / "state.json"
    path.write_text(path.read_text().replace('"pid": ', '"pid": "x", "was": '))

    assert deployments.listed() == ()


def test_this_machine_has_memory_and_ports_and_a_disk(tmp_path):
    memory = host_memory()
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100_000)

    assert 0 < memory.available_bytes <= memory.total_bytes
    assert is_port_free("127.0.0.1", free_port("127.0.0.1"))
    assert read_rate(path) > 0


MODEL = ggufctl.read_model(str(serving.model_path()))


@settings(max_examples=30, deadline=None)
@given(
    n_ctx=st.sampled_from([512, 1024, 8192, 65536]),
    n_ubatch=st.sampled_from([64, 128, 512]),
    cache=st.sampled_from(["f16", "q8_0"]),
    kind=st.sampled_from([kind for kind in FailureKind if kind.is_out_of_memory]),
)
def test_a_reduction_never_asks_for_more(n_ctx, n_ubatch, cache, kind):
    runtime = Runtime(n_ctx=n_ctx, n_ubatch=n_ubatch, cache_type_k=cache, cache_type_v=cache)
    before = ggufctl.estimate(MODEL, runtime, gpus=()).host.total_bytes

    for step in reductions(MODEL.shape, runtime, kind, n_gpus=0):
        after = ggufctl.estimate(MODEL, step.runtime, gpus=()).host.total_bytes

        assert step.runtime != runtime
        assert after <= before


def test_reductions_come_to_an_end():
    runtime, n = Runtime(n_ctx=1 << 20), 0

    def following() -> Reduction | None:
        return next(reductions(MODEL.shape, runtime, FailureKind.OOM_KV, n_gpus=0), None)

    while step := following():
        runtime, n = step.runtime, n + 1

    assert runtime.cache_type_k == "q8_0"
    assert runtime.n_ctx == 512
    assert n < 20


def test_other_failures_are_not_answered_with_less_memory():
    assert not list(reductions(MODEL.shape, Runtime(n_ctx=512), FailureKind.PORT, n_gpus=1))
