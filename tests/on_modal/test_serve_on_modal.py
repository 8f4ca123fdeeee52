"""The path of `serve --on modal`, from the plan to an answer at the server's address."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from grpclib import Status

from ggufctl.core.money import Load
from ggufctl.core.runtime import Runtime
from ggufctl.errors import AccessDenied, GgufctlError, LaunchFailed, RemoteError, UsageError
from ggufctl.services.deployments import DeploymentNotFound, state_dir
from ggufctl.services.modal import (
    ModalRequest,
    key_file,
    modal_deployments,
    modal_log,
    plan_modal,
    serve_modal,
    stop_modal,
    switch_modal,
    watch,
)
from tests.modal_standin.state import RpcFault
from tests.on_modal.conftest import NAME, free_port, streamed_chat
from tests.serving import model_path


@pytest.fixture
def serving(modal, request_for, heard):
    """A deployment that answers, with the fake engine."""
    modal.faults.engine["*"] = "healthy"
    return serve_modal(request_for(), heard)


def status(url: str, **headers: str) -> int:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_the_real_engine_answers_a_streamed_chat_at_the_servers_address(modal, heard):
    request = ModalRequest(
        model=str(model_path()), n_ctx=2048, runtime=Runtime(n_parallel=2), port=free_port()
    )
    server = serve_modal(request, heard)

    assert streamed_chat(server).strip()
    assert status(f"{server.base_url}/models") == 401
    assert status(f"{server.url}/health") == 200
    assert len(modal.tasks_of("llama")) == 1
    assert server.found["build"].startswith("b")
    assert {"weights", "warm-up", "first token"} <= set(server.durations)
    assert server.comparison
    assert modal.holds(server.key.value) == []
    stop_modal(server.spec.name)
    modal.assert_nothing_is_left()


def test_what_is_deployed_is_what_was_planned(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    request = request_for(
        gpus=("L40S", "A100-80GB"), max_containers=4, scaledown=120, runtime=Runtime(n_parallel=8)
    )
    server = serve_modal(request, heard)

    function = modal.function(server.spec.app, "llama")
    definition = function.definition
    image = modal.dockerfile(function)
    assert function.gpus == ["L40S", "A100-80GB"]
    assert definition.autoscaler_settings.max_containers == 4
    assert definition.autoscaler_settings.min_containers == 0
    assert definition.autoscaler_settings.scaledown_window == 120
    assert definition.autoscaler_settings.target_concurrency_float == 8
    assert definition.startup_timeout_secs == server.spec.startup_timeout
    assert definition.http_config.unauthenticated
    assert definition.http_config.exit_grace_period == 20
    assert [(m.mount_path, m.read_only) for m in definition.volume_mounts] == [("/models", True)]
    assert [modal.state.secrets[i].name for i in definition.secret_ids] == [server.spec.secret]
    assert "ghcr.io/ggml-org/llama.cpp:server-cuda-b11434" in image
    assert "ENTRYPOINT []" in image
    assert {v.version for v in modal.state.volumes.values()} == {2}
    assert modal.state.app_named(server.spec.app).tags["ggufctl"] == NAME


def test_the_price_is_said_before_anything_is_made(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    server = serve_modal(request_for(), heard)

    kinds = [event.kind for event in heard]
    assert kinds.index("price") < kinds.index("weights") < kinds.index("deploy")
    assert "per hour" in heard.of("price")[0] and "nobody asks" in heard.of("price")[0]
    assert server.plan.usd_per_hour > server.spec.usd_per_hour


def test_the_price_of_every_gpu_that_may_come_is_said(request_for):
    plan = plan_modal(request_for(gpus=("L40S", "A100-80GB"), region="us-east"))
    alone = plan_modal(request_for(gpus=("L40S",)))

    ((name, usd),) = plan.other_usd_per_hour
    assert name == "A100-80GB"
    assert usd > plan.usd_per_hour > 0
    assert f"${usd:.2f} on A100-80GB" in plan.price_text
    assert "1.5 to 1.75 times" in plan.price_text
    assert "where that is not free" not in alone.price_text


def test_what_a_region_costs_is_in_every_estimate(request_for):
    anywhere, pinned = (plan_modal(request_for(region=name)).economics for name in ("", "eu-west"))

    assert anywhere is not None and pinned is not None
    for name in ("usd_per_hour", "idle_window_usd", "usd_per_million_tokens"):
        before, after = getattr(anywhere.cost, name), getattr(pinned.cost, name)
        assert after.low >= 1.4 * before.low
        assert after.best == pytest.approx(1.6 * before.best)


def test_a_load_for_more_containers_than_there_may_be_is_said(request_for):
    load = Load(20_000_000)
    few = plan_modal(request_for(load=load))
    assert few.economics is not None and few.economics.cost.month is not None
    busy = few.economics.cost.month.containers.best
    enough = plan_modal(request_for(load=load, max_containers=int(busy) + 1))

    (said,) = [text for text in few.warnings if "--max-containers" in text]
    assert f"{busy:.1f} containers" in said
    assert f"--max-containers {int(busy) + 1}." in said
    assert not any("--max-containers" in text for text in enough.warnings)


@pytest.mark.parametrize(
    "changes",
    [
        {"startup_timeout_seconds": float("nan")},
        {"startup_timeout_seconds": float("inf")},
        {"startup_timeout_seconds": 0.0},
        {"queue_seconds": float("nan")},
        {"queue_seconds": -1.0},
        {"name": "download"},
        {"name": "Look"},
    ],
)
def test_limits_and_names_that_make_no_sense_are_refused(request_for, changes):
    with pytest.raises(UsageError):
        plan_modal(request_for(**changes))


def test_the_key_is_nowhere_but_in_its_secret(serving, modal):
    key = serving.key.value

    assert modal.holds(key) == []
    assert [s.env for s in modal.state.secrets.values() if s.name] == [{"LLAMA_API_KEY": key}]
    assert serving.key.path.stat().st_mode & 0o777 == 0o600
    assert key not in json.dumps(serving.spec.to_dict())
    assert key not in "\n".join(modal_log(NAME))
    assert key_file(NAME) == str(serving.key.path)


def test_the_container_says_which_gpu_it_has(serving):
    assert serving.gpu["name"].startswith("Stand-in")
    assert serving.gpu["driver"] == "570.86.15"


def test_deployments_are_listed_and_stopped(serving, modal):
    (found,) = modal_deployments()
    assert (found.name, found.n_containers, found.url) == (NAME, 1, serving.url)
    assert found.tags["model"] == serving.spec.alias

    stop_modal(NAME)

    modal.assert_nothing_is_left()
    assert modal_deployments() == ()
    assert not [s for s in modal.state.secrets.values() if s.name]
    assert not serving.key.path.exists()


def test_a_deployment_is_never_called_stopped_because_modal_falters(serving, modal):
    modal.faults.rpcs.append(RpcFault("FunctionGet", Status.INTERNAL, "injected", times=50))
    with pytest.raises(RemoteError):
        modal_deployments()
    modal.faults.rpcs.clear()

    assert modal_deployments()[0].status == "running"


def test_a_stop_that_cannot_remove_the_secret_forgets_what_is_here(serving, modal):
    modal.faults.rpcs.append(RpcFault("SecretDelete", Status.INTERNAL, "injected", times=50))
    with pytest.raises(RemoteError) as error:
        stop_modal(NAME)
    modal.faults.rpcs.clear()

    modal.assert_nothing_is_left()
    assert "removing the key" in error.value.message
    assert not serving.key.path.exists()
    assert key_file(NAME) == ""


def test_a_log_has_the_engines_lines_and_none_of_our_events(serving):
    lines = list(modal_log(NAME))

    assert any("model loaded" in line for line in lines)
    assert not any(line.startswith("ggufctl-event") for line in lines)


def test_an_unknown_name_is_not_found(modal):
    for act in (stop_modal, lambda name: list(modal_log(name)), lambda n: switch_modal(n, ("L4",))):
        with pytest.raises(DeploymentNotFound) as error:
            act("nonesuch")
        assert error.value.exit_code == 3


def test_a_name_in_use_is_refused_and_left_alone(serving, modal, request_for):
    with pytest.raises(UsageError):
        serve_modal(request_for())

    assert len(modal.tasks_of("llama")) == 1
    assert status(f"{serving.base_url}/models", Authorization=f"Bearer {serving.key.value}") == 200


def note_on_the_volume(modal) -> Path:
    (volume,) = modal.state.volumes.values()
    return volume.path / ".ggufctl" / "deployments" / f"{NAME}.json"


def settled(modal, n: int) -> list:
    """The containers that run, once there are so many."""
    end = time.monotonic() + 30
    while len(found := modal.live_tasks()) != n and time.monotonic() < end:
        time.sleep(0.05)
    return found


class Asking(threading.Thread):
    """Somebody who goes on asking a server, one request after the other."""

    def __init__(self, server) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.seen: list[int] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        key = f"Bearer {self.server.key.value}"
        while not self.is_over.is_set():
            try:
                found = status(f"{self.server.base_url}/models", Authorization=key)
            except OSError:
                found = 0
            self.seen.append(found)

    def __enter__(self) -> Asking:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.is_over.set()
        self.join(30)


def test_a_switch_keeps_the_key_and_the_url_and_drops_no_request(serving, modal, heard):
    key = serving.key.value
    secrets = {i: s.env for i, s in modal.state.secrets.items()}
    with Asking(serving) as asking:
        server = switch_modal(NAME, ("H100",), heard)
        (left,) = settled(modal, 1)
        n_during = len(asking.seen)
        end = time.monotonic() + 60
        while len(asking.seen) < n_during + 5 and time.monotonic() < end:
            time.sleep(0.01)
    assert len(asking.seen) >= n_during + 5

    assert modal.function(server.spec.app, "llama").gpus == ["H100"]
    assert (left.gpu, server.key.value, server.url) == ("H100", key, serving.url)
    assert {i: s.env for i, s in modal.state.secrets.items()} == secrets
    assert set(asking.seen) == {200}
    assert key_file(NAME) == str(serving.key.path)


def test_the_former_is_never_stopped_before_the_new_one_is_healthy(serving, modal, heard):
    switch_modal(NAME, ("H100",), heard)
    settled(modal, 1)

    former, new = modal.tasks_of("llama")
    assert 0 < new.ready_at <= former.stopped_at
    assert not heard.of("stopped")
    assert modal.requests_of("AppStop") == []
    assert modal.requests_of("ContainerStop") == []


def test_a_former_that_answers_everything_does_not_keep_the_new_one_away(
    serving, modal, heard, monkeypatch
):
    monkeypatch.setattr(watch, "WAKE_AGAIN_SECONDS", 1.0)
    monkeypatch.setattr(watch, "SILENCE_SECONDS", 0.5)
    modal.faults.former_serve_on = True
    server = switch_modal(NAME, ("H100",), heard)

    function = modal.function(server.spec.app, "llama")
    assert [task.gpu for task in settled(modal, 1)] == ["H100"]
    assert function.settings.min_containers == 0


def test_a_web_function_rolls_over_as_well(modal, request_for, heard, monkeypatch):
    monkeypatch.setattr(watch, "WAKE_AGAIN_SECONDS", 1.0)
    monkeypatch.setattr(watch, "SILENCE_SECONDS", 0.5)
    modal.faults.engine["*"] = "healthy"
    modal.faults.former_serve_on = True
    former = serve_modal(request_for(hold_requests=True), heard)
    with Asking(former) as asking:
        server = switch_modal(NAME, ("H100",), heard)

    assert server.url == former.url
    assert [task.gpu for task in settled(modal, 1)] == ["H100"]
    assert set(asking.seen) == {200}
    assert modal.function(server.spec.app, "llama").settings.min_containers == 0


def test_a_switch_that_fails_leaves_the_former_serving(serving, modal, heard):
    modal.faults.engine["H100"] = "unknown-model"
    before = modal.function(serving.spec.app, "llama").gpus
    kept = (state_dir() / "modal" / f"{NAME}.json").read_text()

    with Asking(serving) as asking, pytest.raises(LaunchFailed) as error:
        switch_modal(NAME, ("H100",), heard)

    assert "former deployment serves on" in error.value.message
    assert modal.function(serving.spec.app, "llama").gpus == before
    assert not [task for task in settled(modal, 1) if task.gpu == "H100"]
    assert set(asking.seen) == {200}
    assert heard.of("restored")
    assert (state_dir() / "modal" / f"{NAME}.json").read_text() == kept
    assert serving.key.path.exists()


def test_a_switch_of_a_cold_deployment_starts_it_once(serving, modal, heard):
    (task,) = modal.live_tasks()
    modal.run(modal.containers.stop(task))
    server = switch_modal(NAME, ("L4",), heard)

    assert [task.gpu for task in modal.tasks_of("llama")] == ["T4", "L4"]
    assert server.url == serving.url


@pytest.mark.parametrize(
    ("gpus", "code"), [(("T4:8",), 5), (("H100:9",), 2), (("nonesuch",), 2)], ids=str
)
def test_a_switch_to_what_does_not_fit_changes_nothing(modal, request_for, heard, gpus, code):
    modal.faults.engine["*"] = "healthy"
    serve_modal(request_for(max_usd_per_hour=3.0), heard)
    n = len(modal.records)
    with pytest.raises(GgufctlError) as error:
        switch_modal(NAME, gpus, heard)

    assert error.value.exit_code == code
    changing = ("AppPublish", "FunctionCreate", "AppStop", "SecretGetOrCreate", "ContainerStop")
    assert not [record.rpc for record in modal.records[n:] if record.rpc in changing]
    assert len(modal.live_tasks()) == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"spec": {}, "request": {}}', '{"spec": 1'])
def test_what_is_remembered_may_be_cut_off_anywhere(serving, modal, text):
    (state_dir() / "modal" / f"{NAME}.json").write_text(text)
    assert key_file(NAME) == ""
    server = switch_modal(NAME, ("H100",))

    assert modal_deployments()[0].name == NAME
    assert server.key.value == serving.key.value
    assert key_file(NAME) == str(serving.key.path)


@pytest.mark.parametrize("text", ["", "[]", '{"spec": {}, "request": {}}'])
def test_without_anything_to_go_by_a_switch_is_refused(serving, modal, text):
    for path in (state_dir() / "modal" / f"{NAME}.json", note_on_the_volume(modal)):
        path.write_text(text)
    with pytest.raises(UsageError):
        switch_modal(NAME, ("H100",))

    assert modal_deployments()[0].name == NAME
    assert len(modal.live_tasks()) == 1


def test_a_key_that_is_gone_is_noticed_before_anything_is_changed(serving, modal, heard):
    serving.key.path.unlink()
    n = len(modal.requests_of("AppPublish"))
    with pytest.raises(AccessDenied):
        switch_modal(NAME, ("H100",), heard)

    assert len(modal.requests_of("AppPublish")) == n
    assert not serving.key.path.exists()
    assert len(modal.live_tasks()) == 1


def test_weights_that_are_there_are_not_moved_again(serving, modal, request_for, heard):
    stop_modal(NAME)
    modal.records.clear()
    serve_modal(request_for(), heard)

    put = [file.path for r in modal.requests_of("VolumePutFiles2") for file in r.files]
    assert not [path for path in put if path.endswith(".gguf")]


def test_proxy_auth_asks_for_modals_own_tokens(modal, request_for, heard, monkeypatch):
    modal.faults.engine["*"] = "healthy"
    monkeypatch.setenv("MODAL_KEY", "wk-test")
    monkeypatch.setenv("MODAL_SECRET", "ws-test")
    server = serve_modal(request_for(auth="proxy"), heard)

    assert not modal.function(server.spec.app, "llama").definition.http_config.unauthenticated
    assert status(f"{server.url}/v1/models") == 401
    assert not [s for s in modal.state.secrets.values() if s.name]


def test_proxy_auth_without_a_proxy_token_does_nothing(modal, request_for):
    with pytest.raises(UsageError):
        serve_modal(request_for(auth="proxy"))

    assert modal.requests_of("AppCreate") == []


def test_an_open_server_needs_a_second_flag(modal, request_for):
    with pytest.raises(UsageError):
        plan_modal(request_for(auth="none"))


def test_a_web_function_holds_requests_while_it_starts(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    server = serve_modal(request_for(hold_requests=True), heard)

    function = modal.function(server.spec.app, "llama")
    assert function.is_web_server
    assert not function.definition.is_server
    assert function.definition.target_concurrent_inputs == 2
    assert not any(r.status == 503 for r in modal.state.requests)


def test_ctrl_c_stops_what_was_started_unless_it_is_to_be_left(modal, request_for, heard):
    modal.faults.engine["*"] = "slow"

    def interrupt(event):
        heard(event)
        if event.kind == "container":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve_modal(request_for(), interrupt)
    modal.assert_nothing_is_left()

    with pytest.raises(KeyboardInterrupt):
        serve_modal(request_for(), interrupt, leave=lambda: True)
    assert modal.live_apps() == [f"ggufctl-{NAME}"]


def test_a_plan_alone_touches_nothing(modal, request_for):
    plan = plan_modal(request_for())

    assert modal.records == []
    assert plan.spec.gpus and "per hour" in plan.price_text
    assert "LLAMA_API_KEY" not in os.environ


def test_a_free_choice_of_gpus_is_planned_in_order_of_price(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    modal.faults.gpu_unavailable = {"T4"}
    server = serve_modal(request_for(), heard)

    assert modal.function(server.spec.app, "llama").gpus == list(server.spec.gpus)
    assert [task.gpu for task in modal.tasks_of("llama")] == [server.spec.gpus[1]]


def test_a_deployment_without_a_token_is_refused_at_once(modal, request_for, monkeypatch):
    from modal.client import _Client

    monkeypatch.delenv("MODAL_TOKEN_ID")
    monkeypatch.delenv("MODAL_TOKEN_SECRET")
    monkeypatch.setattr(_Client, "_client_from_env", None)
    with pytest.raises(AccessDenied) as error:
        serve_modal(request_for())
    with pytest.raises(AccessDenied):
        modal_deployments()

    assert error.value.exit_code == 4
    assert "--on local" in error.value.hint
    assert modal.records == []


def test_nothing_of_the_current_folders_repository_is_told(
    modal, request_for, heard, tmp_path, monkeypatch
):
    for command in ("init -q", "commit -q --allow-empty -m secret-message"):
        identity = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
        subprocess.run(("git", *identity, *command.split()), cwd=tmp_path, check=True, timeout=60)
    monkeypatch.chdir(tmp_path)
    modal.faults.engine["*"] = "healthy"
    serve_modal(request_for(), heard)

    assert [r.HasField("commit_info") for r in modal.requests_of("AppPublish")] == [False]
    assert modal.holds("somebody@example.org") == []
    assert "GIT_DIR" not in os.environ
