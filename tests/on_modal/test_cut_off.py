"""What a client leaves that is killed outright, and two machines that want the same name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grpclib import Status

from ggufctl import modal_app
from ggufctl.core.deployment import UNTIL_TAG, claim_name
from ggufctl.errors import LaunchFailed, RemoteError, UsageError
from ggufctl.modal_app import NameTaken, server
from ggufctl.services.deployments import DeploymentNotFound, state_dir
from ggufctl.services.modal import (
    launch,
    modal_deployments,
    serve_modal,
    stop_modal,
    switch_modal,
    watch,
)
from ggufctl.services.modal.ask import ask
from ggufctl.services.modal.state import begin, begun
from tests.modal_standin.state import RpcFault
from tests.on_modal.conftest import NAME, free_port
from tests.on_modal.kills import SOURCE, run_kills

APP = f"ggufctl-{NAME}"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Go to a machine by its name: each has a state directory of its own."""

    def go(name: str) -> None:
        monkeypatch.setenv("GGUFCTL_STATE_DIR", str(tmp_path / f"state-{name}"))

    go("a")
    return go


@pytest.fixture
def impatient(monkeypatch):
    """A container that is to be wanted by number is wanted soon."""
    monkeypatch.setattr(watch, "WAKE_AGAIN_SECONDS", 1.0)
    monkeypatch.setattr(watch, "SILENCE_SECONDS", 0.5)


@pytest.fixture
def serving(modal, machine, request_for, heard):
    """A deployment that answers, made on machine a."""
    modal.faults.engine["*"] = "healthy"
    return serve_modal(request_for(), heard)


class Killed(BaseException):
    """Stands for the end of a process: nothing is taken back."""


def killed_at(kind, monkeypatch):
    """A listener that ends a start at an event, as SIGKILL does."""
    monkeypatch.setattr(launch.ModalServer, "clean_up", lambda self: None)
    monkeypatch.setattr(watch.Watch, "close", lambda self: None)

    def hear(event):
        if event.kind == kind:
            raise Killed

    return hear


def named_secrets(modal):
    return {secret.name for secret in modal.state.secrets.values() if secret.name}


def wait_until(is_so, seconds=30.0):
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.05)
    assert is_so()


def settings(modal):
    return modal.function(APP, "llama").settings


def tags(modal):
    return modal.state.app_named(APP).tags


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_clients_killed_at_any_point_leave_nothing_that_is_paid_for(modal, tiny, tmp_path, seed):
    kills = run_kills(modal, tiny, tmp_path / "state", free_port(), 3, seed)

    assert kills.problems == []
    assert kills.done["serve: killed"] + kills.done["switch: killed"] >= 1


def test_a_container_that_is_wanted_by_number_lets_itself_go(
    serving, modal, heard, impatient, monkeypatch
):
    modal.faults.former_serve_on = True
    monkeypatch.setattr(server, "LET_GO_SECONDS", 0.5)
    with pytest.raises(Killed):
        switch_modal(NAME, ("H100",), killed_at("container", monkeypatch))

    changes = [r for r in modal.records if r.rpc == "FunctionUpdateSchedulingParams"]
    assert changes[0].request.settings.min_containers == 1
    wait_until(lambda: settings(modal).min_containers == 0)
    changes = [r for r in modal.records if r.rpc == "FunctionUpdateSchedulingParams"]
    # Nobody but a container has done that; and again, if it is wanted late.
    assert [bool(change.task_id) for change in changes] == [False, True]
    modal_app.set_min_containers(APP, 1)
    wait_until(lambda: settings(modal).min_containers == 0)


def test_a_number_that_the_user_wants_is_left_alone(serving, modal, heard, monkeypatch):
    monkeypatch.setattr(server, "LET_GO_SECONDS", 0.2)
    switch_modal(NAME, ("H100",), heard)
    modal_app.set_min_containers(APP, 1)
    n_looks = len(modal.requests_of("FunctionGetSchedulingParams"))
    wait_until(lambda: len(modal.requests_of("FunctionGetSchedulingParams")) > n_looks + 2)
    modal_deployments()

    assert settings(modal).min_containers == 1


def test_a_container_that_fails_before_it_is_up_is_not_started_for_ever(
    serving, modal, impatient, monkeypatch
):
    modal.faults.engine["H100"] = "unknown-model"
    modal.faults.former_serve_on = True
    with pytest.raises(Killed):
        switch_modal(NAME, ("H100",), killed_at("container", monkeypatch))
    wait_until(lambda: settings(modal).min_containers == 0)
    wait_until(lambda: not [t for t in modal.live_tasks() if t.gpu == "H100"])
    n_started = len(modal.tasks_of("llama"))

    assert n_started <= 3
    told = []
    (found,) = modal_deployments(told.append)
    assert found.tags["gpu"] == "T4"
    assert "as before" in told[0]
    assert len(modal.tasks_of("llama")) <= n_started + 1


def test_another_machine_lets_go_what_must_be_over(serving, modal, machine, monkeypatch):
    spec = serving.spec
    modal_app.deploy(spec, "0123456789ab", until=int(time.time()) - 1000, roll_over=True)
    modal_app.set_min_containers(APP, 1)
    wait_until(lambda: settings(modal).min_containers == 1)
    machine("b")
    told = []
    modal_deployments(told.append)

    assert settings(modal).min_containers == 0
    assert UNTIL_TAG not in tags(modal)
    assert "holds no container" in told[0]


def test_a_start_that_answered_before_the_kill_is_kept(modal, request_for, monkeypatch):
    modal.faults.engine["*"] = "healthy"
    with pytest.raises(Killed):
        serve_modal(request_for(), killed_at("answer", monkeypatch))
    assert claim_name(NAME) in named_secrets(modal)
    told = []
    (found,) = modal_deployments(told.append)

    assert "had answered" in told[0]
    assert named_secrets(modal) == {f"{APP}-key"}
    key = (state_dir() / "modal" / f"{NAME}.key").read_text().strip()
    assert ask(f"{found.url}/v1/models", {"Authorization": f"Bearer {key}"})[0] == 200
    assert not begun(NAME)
    assert modal_deployments(told.append) and len(told) == 1


def test_a_start_that_did_not_answer_before_the_kill_is_stopped(modal, request_for, monkeypatch):
    modal.faults.engine["*"] = "slow"
    with pytest.raises(Killed):
        serve_modal(request_for(), killed_at("container", monkeypatch))
    told = []

    assert modal_deployments(told.append) == ()
    assert "is stopped" in told[0]
    assert named_secrets(modal) == set()
    assert list((state_dir() / "modal").glob(f"{NAME}.key")) == []
    modal.assert_nothing_is_left()


def test_the_same_command_once_more_is_enough_after_a_kill(modal, request_for, heard, monkeypatch):
    modal.faults.engine["*"] = "slow"
    for kind in ("deploy", "deployed", "container"):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            serve_modal(request_for(), killed_at(kind, patched))
    modal.faults.engine["*"] = "healthy"
    found = serve_modal(request_for(), heard)

    assert ask(found.url + "/v1/models", {"Authorization": f"Bearer {found.key.value}"})[0] == 200
    assert named_secrets(modal) == {f"{APP}-key"}


def test_what_modal_does_not_end_now_is_ended_the_next_time(modal, request_for, heard, monkeypatch):
    monkeypatch.setattr(launch.time, "sleep", lambda seconds: None)
    modal.faults.engine["*"] = "unknown-model"
    modal.faults.rpcs.append(RpcFault("AppStop", Status.INTERNAL, "injected", times=10**6))
    with pytest.raises(RemoteError):
        serve_modal(request_for(), heard)
    told = []
    modal_deployments(told.append)
    assert "is not ended yet" in told[0]
    modal.faults.rpcs.clear()
    modal_deployments(told.append)

    assert "is stopped" in told[1]
    assert named_secrets(modal) == set()
    modal.assert_nothing_is_left()


def test_what_another_host_has_begun_is_left_alone(serving, modal):
    begin(NAME, attempt=tags(modal)["attempt"], host="elsewhere")
    modal_deployments()

    assert begun(NAME)["host"] == "elsewhere"
    assert modal.state.app_named(APP) is not None


def test_a_note_that_could_not_be_made_does_not_stand_in_the_way(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    modal.faults.rpcs.append(RpcFault("AppSetTags", Status.INTERNAL, "injected", times=50))
    serve_modal(request_for(), heard)
    modal.faults.rpcs.clear()
    assert UNTIL_TAG in tags(modal)
    switch_modal(NAME, ("H100",), heard)

    assert modal.function(APP, "llama").gpus == ["H100"]
    assert UNTIL_TAG not in tags(modal)


def test_what_is_left_on_ctrl_c_is_known_afterwards(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"

    def interrupt(event):
        if event.kind == "container":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve_modal(request_for(), interrupt, leave=lambda: True)
    (found,) = modal_deployments()

    assert named_secrets(modal) == {f"{APP}-key"}
    key = (state_dir() / "modal" / f"{NAME}.key").read_text().strip()
    wait_until(lambda: ask(f"{found.url}/v1/models", {"Authorization": f"Bearer {key}"})[0] == 200)
    switch_modal(NAME, ("H100",), heard)
    assert modal.function(APP, "llama").gpus == ["H100"]


def test_a_stop_that_was_cut_off_can_be_done_again(serving, modal, monkeypatch):
    modal_app.stop_app(APP)
    stop_modal(NAME)

    assert named_secrets(modal) == set()
    assert not list((state_dir() / "modal").glob(f"{NAME}.*e*"))
    with pytest.raises(DeploymentNotFound):
        stop_modal(NAME)


# Two machines, one workspace


def test_of_two_machines_that_serve_one_name_at_once_one_does(modal, tiny, tmp_path):
    modal.faults.engine["*"] = "healthy"
    # Both have looked, and found the name free, before either has deployed.
    modal.faults.rpc_seconds = {"AppGetTags": 0.2, "AppPublish": 3.0, "VolumePutFiles2": 0.5}
    processes = []
    for name in ("a", "b"):
        args = ("serve", str(tiny), "--name", NAME, "-c", "512", "--port", str(free_port()))
        env = {
            **os.environ,
            "GGUFCTL_STATE_DIR": str(tmp_path / f"state-{name}"),
            "PYTHONPATH": str(SOURCE),
        }
        processes.append(
            subprocess.Popen(
                (sys.executable, "-m", "ggufctl", *args, "--json"),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said = [process.communicate(timeout=120) for process in processes]

    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 2], said
    assert "Another machine is starting" in said[codes.index(2)][1]
    assert len(modal.requests_of("AppPublish")) == 1
    assert named_secrets(modal) == {f"{APP}-key"}
    document = json.loads(said[codes.index(0)][0])
    key = Path(document["key_file"]).read_text().strip()
    assert ask(f"{document['url']}/models", {"Authorization": f"Bearer {key}"})[0] == 200
    other = tmp_path / f"state-{'ab'[codes.index(2)]}" / "modal"
    assert not list(other.glob("*.key")) and not list(other.glob("*.begun"))


def test_a_name_that_is_taken_elsewhere_is_refused_until_it_is_given_back(
    modal, request_for, machine, heard
):
    modal.faults.engine["*"] = "healthy"
    modal_app.claim(NAME)
    machine("b")
    with pytest.raises(NameTaken) as error:
        serve_modal(request_for(), heard)
    assert "Another machine" in error.value.message and error.value.exit_code == 2
    assert f"ggufctl stop {NAME}" in error.value.hint
    assert modal.requests_of("AppPublish") == []
    assert named_secrets(modal) == {claim_name(NAME)}

    stop_modal(NAME)
    serve_modal(request_for(), heard)
    assert named_secrets(modal) == {f"{APP}-key"}


def test_a_claim_that_was_left_an_hour_ago_is_taken_over(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    modal_app.claim(NAME)
    for secret in modal.state.secrets.values():
        secret.created_at -= 3700
    serve_modal(request_for(), heard)

    assert named_secrets(modal) == {f"{APP}-key"}


def test_another_machine_switches_and_the_first_knows_it(serving, modal, machine, heard):
    machine("b")
    server = switch_modal(NAME, ("H100",), heard, n_ctx=1024)

    assert (server.key, server.spec.n_ctx, server.url) == (None, 1024, serving.url)
    assert any("is not on this machine" in text for text in heard.of("warning"))
    assert modal.function(APP, "llama").gpus == ["H100"]
    machine("a")
    again = switch_modal(NAME, ("L4",), heard)
    assert (again.spec.n_ctx, again.key.value) == (1024, serving.key.value)
    assert ask(f"{again.url}/v1/models", {"Authorization": f"Bearer {again.key.value}"})[0] == 200
    note = (modal.state.volumes[next(iter(modal.state.volumes))].path) / (
        f".ggufctl/deployments/{NAME}.json"
    )
    assert json.loads(note.read_text())["request"]["api_key_file"] == ""
    assert serving.key.value not in note.read_text()
    machine("b")
    stop_modal(NAME)
    assert not note.exists()
    assert named_secrets(modal) == set()
    modal.assert_nothing_is_left()


def test_a_switch_from_another_machine_that_fails_brings_the_former_back(
    serving, modal, machine, heard
):
    modal.faults.engine["H100"] = "unknown-model"
    machine("b")
    with pytest.raises(LaunchFailed):
        switch_modal(NAME, ("H100",), heard)

    assert modal.function(APP, "llama").gpus[0] == "T4"
    machine("a")
    assert switch_modal(NAME, ("L4",), heard).key.value == serving.key.value


def test_a_file_that_only_the_other_machine_has_is_named(serving, modal, machine, tiny, heard):
    tiny.unlink()
    machine("b")
    with pytest.raises(UsageError) as error:
        switch_modal(NAME, ("H100",), heard)

    assert "is not on this machine" in error.value.message
    assert len(modal.requests_of("AppPublish")) == 1


def test_a_switch_of_what_another_has_switched_meanwhile_is_refused(serving, modal, machine, heard):
    def meanwhile(event):
        heard(event)
        if event.kind == "price":
            machine("b")
            modal_app.deploy(serving.spec, "0123456789ab", roll_over=True)
            machine("a")

    with pytest.raises(UsageError) as error:
        switch_modal(NAME, ("H100",), meanwhile)

    assert "meanwhile" in error.value.message
    assert len(modal.requests_of("AppPublish")) == 2
    assert named_secrets(modal) == {f"{APP}-key"}


def test_a_switch_that_is_under_way_elsewhere_is_not_disturbed(serving, modal, machine, heard):
    modal_app.deploy(serving.spec, "0123456789ab", until=int(time.time()) + 900, roll_over=True)
    n = len(modal.requests_of("AppPublish"))
    machine("b")
    with pytest.raises(UsageError) as error:
        switch_modal(NAME, ("H100",), heard)

    assert isinstance(error.value, NameTaken) or "settings" in error.value.message
    assert len(modal.requests_of("AppPublish")) == n
