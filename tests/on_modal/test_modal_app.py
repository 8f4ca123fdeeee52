"""The app as plain data, the emitted file, and the download, against the stand-in."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from fakehub import FakeFile
from ggufctl import modal_app
from ggufctl.catalog import load_catalogue
from ggufctl.core.deployment import (
    DeploymentSpec,
    engine_image,
    secret_name,
    startup_limits,
    tag_value,
)
from ggufctl.core.runtime import Runtime
from ggufctl.errors import InvalidGguf, LaunchFailed, ModelNotFound, UsageError
from ggufctl.services.emit import emit
from ggufctl.services.modal import plan_modal, serve_modal, start_modal
from tests.ggufs import llama, whole


def modal_deploy(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Modal's own command line on an emitted app, with nothing of ours to import."""
    path = folder / "app.py"
    path.write_text(source)
    return subprocess.run(
        (sys.executable, "-m", "modal", "deploy", str(path)),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_one_builder_makes_the_server_of_every_gpu(modal, request_for):
    spec = plan_modal(request_for(auth="none", allow_public=True)).spec
    catalogue = load_catalogue()
    makers = modal_app.function_map(spec, catalogue)

    assert set(makers) == {gpu.name for gpu in catalogue if gpu.modal_names}
    for name, make in makers.items():
        make().deploy(name=f"on-{tag_value(name.lower())}")
        function = modal.function(f"on-{tag_value(name.lower())}", "llama")
        assert function.gpus == [catalogue.find(name).modal_gpu(1).upper()]
    assert modal.tasks_of("llama") == []


def test_an_emitted_app_deploys_as_ours_does(modal, request_for, heard, tmp_path):
    modal.faults.engine["*"] = "healthy"
    request = request_for(gpus=("L40S", "A100-80GB"), max_containers=3)
    server = serve_modal(request, heard)
    ours = modal.function(server.spec.app, "llama")
    key = server.key.value
    done = modal_deploy(emit(server.spec), tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    theirs = modal.function(server.spec.app, "llama")
    assert key not in emit(server.spec)
    assert theirs.gpus == ours.gpus == ["L40S", "A100-80GB"]
    a, b = ours.definition, theirs.definition
    assert a.autoscaler_settings == b.autoscaler_settings
    assert a.http_config == b.http_config
    assert a.startup_timeout_secs == b.startup_timeout_secs
    assert a.secret_ids == b.secret_ids
    assert a.volume_mounts == b.volume_mounts
    assert a.resources == b.resources


@pytest.mark.parametrize("hold", [False, True])
def test_the_server_of_an_emitted_app_answers(modal, request_for, heard, tmp_path, hold):
    modal.faults.engine["*"] = "healthy"
    server = serve_modal(request_for(hold_requests=hold), heard)
    modal_app.stop_app(server.spec.app)
    done = modal_deploy(emit(server.spec), tmp_path)
    function = modal.function(server.spec.app, "llama")
    body = json.dumps({"model": server.spec.alias, "prompt": "Hello", "max_tokens": 1}).encode()
    headers = {"Authorization": f"Bearer {server.key.value}"}
    status, end = 503, time.monotonic() + 60
    while status != 200 and time.monotonic() < end:
        question = urllib.request.Request(f"{function.url}/v1/completions", body, headers)
        try:
            with urllib.request.urlopen(question, timeout=60) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            error.close()
            status = error.code
            time.sleep(0.2)

    assert done.returncode == 0, done.stdout + done.stderr
    assert status == 200, modal.text()
    assert len([task for task in modal.tasks_of("llama") if task.is_live]) == 1


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("auth", ["key", "proxy", "none"])
@pytest.mark.parametrize("engine", ["llama-server", "llama-cpp-python"])
def test_an_emitted_app_is_a_program(request_for, hold, auth, engine):
    runtime = Runtime() if engine == "llama-cpp-python" else Runtime(n_parallel=2)
    request = request_for(
        hold_requests=hold, auth=auth, allow_public=True, engine=engine, runtime=runtime
    )
    source = emit(plan_modal(request).spec)

    compile(source, "app.py", "exec")
    assert "ggufctl" not in [line.split()[1] for line in source.splitlines() if "import " in line]
    assert ("Secret.from_name" in source) == (auth == "key")


def test_llama_cpp_python_gets_its_own_image_arguments_and_environment(modal, request_for):
    plan = plan_modal(request_for(engine="llama-cpp-python", runtime=Runtime()))
    modal_app.store_key(plan.spec.name, "k")
    modal_app.deploy(plan.spec)
    function = modal.function(plan.spec.app, "llama")

    assert "llama-cpp-python[server]" in modal.dockerfile(function)
    assert dict(plan.spec.env)["GGML_CUDA_F16"] == "1"
    assert "--n_gpu_layers" in plan.spec.argv
    with pytest.raises(UsageError) as error:
        plan_modal(request_for(engine="llama-cpp-python", runtime=Runtime(n_cpu_moe=1)))
    assert "llama-server" in error.value.hint


def add_tiny(hub):
    file = FakeFile(whole(*llama()))
    file.sha256 = hashlib.sha256(file.head).hexdigest()
    hub.add("org/tiny-GGUF", {"tiny-Q8_0.gguf": file})
    return file


def test_weights_that_are_not_what_the_hub_says_are_refused(modal, hub, heard, request_for):
    file = add_tiny(hub)
    file.sha256 = "0" * 64
    with pytest.raises(InvalidGguf) as error:
        serve_modal(request_for(model="org/tiny-GGUF:Q8_0"), heard)

    assert "sha256" in error.value.message
    (volume,) = modal.state.volumes.values()
    assert not [p for p in volume.path.rglob("*.gguf") if ".ggufctl" not in p.parts]
    modal.assert_nothing_is_left()


def test_weights_from_the_hub_are_fetched_by_a_container_without_a_gpu(
    modal, hub, heard, request_for
):
    modal.faults.engine["*"] = "healthy"
    add_tiny(hub)
    server = serve_modal(request_for(model="org/tiny-GGUF:Q8_0"), heard)

    (task,) = modal.tasks_of("download")
    assert task.gpu == ""
    assert not task.is_live
    assert next(iter(modal.state.volumes.values())).commits >= 1
    folder = next(v.path for v in modal.state.volumes.values()) / server.spec.folder
    (file,) = server.spec.files
    assert sorted(p.name for p in folder.iterdir()) == [".ggufctl", file.path]
    assert not list(folder.rglob("*.partial"))
    assert (folder / file.path).stat().st_size == file.size_bytes
    assert server.spec.commit in server.spec.folder
    assert any("complete" in text for text in heard.of("download"))


def test_a_download_that_fails_leaves_nothing_running(modal, hub, heard, request_for):
    add_tiny(hub)
    plan = plan_modal(request_for(model="org/tiny-GGUF:Q8_0"))
    hub.repos.clear()
    with pytest.raises(ModelNotFound) as error:
        start_modal(plan, heard)

    assert error.value.exit_code == 3
    assert modal.tasks_of("llama") == []
    modal.assert_nothing_is_left()


def test_gpus_of_another_generation_get_another_image():
    catalogue = load_catalogue()

    assert engine_image([]).endswith(":server-b11434")
    assert engine_image([catalogue.find("T4")]).endswith(":server-cuda-b11434")
    assert engine_image([catalogue.find("H100")]).endswith(":server-cuda-b11434")
    newest = [gpu for gpu in catalogue if gpu.capability >= (10, 3)]
    for gpu in newest:
        assert engine_image([catalogue.find("T4"), gpu]).endswith(":server-cuda13-b11434")


def test_limits_of_a_start_grow_with_what_is_read():
    small, _ = startup_limits(10**8)
    large, own = startup_limits(140 * 10**9)
    faster, _ = startup_limits(140 * 10**9, 2e9)

    assert 120 < small < 300 < own < large
    assert faster < large


def test_a_spec_survives_json(request_for):

    spec = plan_modal(request_for()).spec
    assert DeploymentSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    with pytest.raises(UsageError):
        DeploymentSpec.from_dict({"name": "x"})


@pytest.mark.parametrize(
    "changes",
    [
        {"scaledown": 1},
        {"scaledown": 3601},
        {"max_containers": 0},
        {"max_attempts": 0},
        {"port": 0},
        {"auth": "nonesuch"},
        {"engine": "xllamacpp"},
        {"engine_args": ("--host", "0.0.0.0")},
        {"engine_args": ("--api-key", "x")},
        {"gpus": ("NONESUCH",)},
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(modal, request_for, changes):
    with pytest.raises(UsageError):
        plan_modal(request_for(**changes))

    assert modal.records == []


def test_a_name_is_one_that_modal_takes(request_for):
    plan = plan_modal(request_for(name="A Very Long Name " * 9))

    assert len(plan.spec.app) <= 63
    assert len(secret_name(plan.spec.name)) <= 63
    assert all(len(value) <= 63 for value in plan.spec.tags.values())


def test_snapshots_are_off_unless_asked_for(modal, request_for):
    for snapshot in (False, True):
        request = request_for(snapshot=snapshot, auth="none", allow_public=True)
        plan = plan_modal(request)
        modal_app.deploy(plan.spec)
        definition = modal.function(plan.spec.app, "llama").definition
        assert definition.checkpointing_enabled is snapshot
        assert any("experimental" in text for text in plan.warnings) is snapshot


def test_prices_of_the_workspace_can_be_read(modal):
    assert modal_app.live_rates()["gpu_hour_cost_l4"] == "0.80"


def test_a_container_refuses_weights_that_are_not_whole(modal, request_for, heard):

    plan = plan_modal(request_for())

    def cut(event):
        heard(event)
        if event.kind == "deploy":
            (volume,) = modal.state.volumes.values()
            (volume.path / plan.spec.folder / plan.spec.files[0].path).write_bytes(b"GGUF")

    with pytest.raises(LaunchFailed) as error:
        start_modal(plan, cut)

    assert "has 4 bytes on the Volume" in error.value.message
    assert len(modal.tasks_of("llama")) == 1
    modal.assert_nothing_is_left()


def test_a_token_of_the_hub_goes_to_the_download_alone(modal, hub, heard, request_for, monkeypatch):
    modal.faults.engine["*"] = "healthy"
    token = "hf_standInTokenOfAGatedRepository"
    monkeypatch.setenv("HF_TOKEN", token)
    add_tiny(hub)
    hub.repos["org/tiny-GGUF"].token = token
    server = serve_modal(request_for(model="org/tiny-GGUF:Q8_0"), heard)

    assert modal.holds(token) == []
    secrets = {i: s.env for i, s in modal.state.secrets.items()}
    function = modal.function(server.spec.app, "llama")
    assert [sorted(secrets[i]) for i in function.definition.secret_ids] == [["LLAMA_API_KEY"]]
    assert [env for env in secrets.values() if "HF_TOKEN" in env] == [{"HF_TOKEN": token}]


def test_no_token_leaves_this_machine_for_a_public_repository(
    modal, hub, heard, request_for, monkeypatch
):
    modal.faults.engine["*"] = "healthy"
    monkeypatch.setenv("HF_TOKEN", "hf_standInTokenThatNobodyNeeds")
    add_tiny(hub)
    serve_modal(request_for(model="org/tiny-GGUF:Q8_0"), heard)

    assert not [s for s in modal.state.secrets.values() if "HF_TOKEN" in s.env]
