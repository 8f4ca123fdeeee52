"""`diagnose`: a deployment from outside and from inside, and the account it is in."""

from __future__ import annotations

import pytest

from ggufctl.core.checks import Check, Status
from ggufctl.documents.diagnose import DiagnoseDocument
from ggufctl.report.diagnose import app_report
from ggufctl.services.app_check import check_app
from ggufctl.services.deployments import DeploymentNotFound
from ggufctl.services.doctor import run_doctor
from ggufctl.services.modal import modal_deployments, serve_modal
from ggufctl.services.modal.live_check import check_live
from tests.on_modal.conftest import NAME

pytestmark = pytest.mark.xdist_group("modal")


def test_a_deployment_that_answers_passes(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    server = serve_modal(request_for(), heard)

    found = check_app(server.spec.name)

    assert [check.status for check in found.checks] == [Status.PASS, Status.PASS]
    assert found.facts["n_containers"] == 1
    document = app_report(found.log, found.checks, found.facts)
    assert DiagnoseDocument.model_validate(document).diagnoses == []


@pytest.fixture
def serving(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    return serve_modal(request_for(), heard)


def live(name, heard) -> dict[str, Check]:
    """What is found inside, by the check's name."""
    return {check.id: check for check in check_live(name, heard, queue_seconds=30)}


def test_a_look_inside_starts_one_container_and_says_its_price_first(serving, modal, heard):
    heard.clear()
    n_before = len(modal.state.requests)
    found = live(NAME, heard)

    assert {check.status for check in found.values()} == {Status.PASS}
    assert set(found) == {"container", "gpu", "engine", "files", "key"}
    assert "14.6 of 15.0 GiB free, driver 570.86.15" in found["gpu"].text
    assert "11434" in found["engine"].text
    assert "per hour" in heard.of("price")[0]
    (task,) = modal.tasks_of("look")
    assert (task.gpu, task.is_live) == ("T4", False)
    assert len(modal.state.requests) == n_before
    assert [each.name for each in modal_deployments()] == [NAME]
    assert len(modal.live_tasks()) == 1
    assert modal.holds(serving.key.value) == []


def test_a_look_inside_finds_files_that_are_not_whole(serving, modal, heard):
    (volume,) = modal.state.volumes.values()
    (file,) = serving.spec.files
    (volume.path / serving.spec.folder / file.path).write_bytes(b"GGUF")
    check = live(NAME, heard)["files"]

    assert check.status is Status.FAIL
    assert "has 4 bytes" in check.details[0]


def test_a_look_inside_finds_a_gpu_that_is_not_there_or_is_full(serving, modal, heard):
    modal.faults.environment = {"STANDIN_FREE_MIB": "12"}
    assert "The plan needs" in live(NAME, heard)["gpu"].text

    modal.faults.environment = {"STANDIN_GPU": ""}
    check = live(NAME, heard)["gpu"]
    assert (check.status, "has no GPU" in check.text) == (Status.FAIL, True)


def test_a_look_inside_that_gets_no_gpu_ends(serving, modal, heard, monkeypatch):
    monkeypatch.setattr("ggufctl.modal_app.live.LOOK_SECONDS", 1)
    modal.faults.gpu_unavailable = {"T4", "L4", "A10"}
    (check,) = check_live(NAME, heard, queue_seconds=1)

    assert (check.id, check.status) == ("container", Status.FAIL)
    assert "became free" in check.text
    assert [task.function_id for task in modal.live_tasks()] == [
        modal.function(serving.spec.app, "llama").id
    ]


def test_the_report_of_a_look_inside_is_as_published(serving, modal, heard):
    found = check_app(NAME, live=True, on_event=heard)

    document = app_report(found.log, found.checks, found.facts)
    assert len(DiagnoseDocument.model_validate(document).checks) == 7


def modal_checks(tmp_path) -> dict[str, Check]:
    """What the doctor says of Modal, by the check's name."""
    found = run_doctor(tmp_path / "config.toml", deadline_seconds=5.0)
    return {check.id: check for check in found if check.id.startswith("modal")}


def test_the_doctor_signs_in_to_modal(modal, tmp_path):
    found = modal_checks(tmp_path)

    assert {check.status for check in found.values()} == {Status.PASS}
    assert "workspace stand-in" in found["modal"].text
    assert modal.requests_of("WorkspaceNameLookup")


def test_the_doctor_notices_a_token_that_was_revoked(modal, tmp_path):
    modal.faults.revoked_tokens.add("ak-test")
    found = modal_checks(tmp_path)

    assert found["modal"].status is Status.FAIL
    assert "modal setup" in found["modal"].fix
    assert "as-test" not in found["modal"].text


def test_the_doctor_waits_for_modal_no_longer_than_it_says(modal, tmp_path, monkeypatch):
    monkeypatch.setattr("ggufctl.services.doctor._MODAL_SECONDS", 0.1)
    modal.faults.hello_seconds = 5.0
    found = run_doctor(tmp_path / "config.toml", deadline_seconds=1.0)

    late = {check.id: check for check in found}["modal"]
    assert (late.status, "took longer" in late.text) == (Status.WARN, True)


def test_what_is_not_deployed_is_not_found(modal):
    with pytest.raises(DeploymentNotFound):
        check_app("nothing")
