"""How deployments on Modal are doing, without waking them."""

from __future__ import annotations

import pytest

from ggufctl.core.status import Health
from ggufctl.services.deployments import DeploymentNotFound
from ggufctl.services.modal import serve_modal
from ggufctl.services.modal.state import forget
from ggufctl.services.modal.status import modal_status, modal_statuses
from tests.on_modal.conftest import NAME


@pytest.fixture
def serving(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    return serve_modal(request_for(), heard)


def test_a_running_deployment_is_seen_without_a_question_to_it(serving, modal):
    n = len(modal.state.requests)
    found = modal_status(NAME)

    assert (found.where, found.status, found.health) == ("modal", "running", Health.OK)
    (process,) = found.processes
    assert process.id == modal.live_tasks()[0].id
    assert found.usd_per_hour == round(serving.plan.usd_per_hour, 4)
    assert 0 <= found.usd_so_far < 1
    assert found.uptime_seconds > 0
    assert (found.n_slots, found.n_ctx) == (2, 512)
    assert found.build.startswith("b11434")
    assert found.problems == ()
    assert len(modal.state.requests) == n
    assert modal_statuses()[0].name == NAME


def test_an_idle_deployment_is_not_woken(serving, modal):
    (task,) = modal.live_tasks()
    modal.run(modal.containers.stop(task))
    n = len(modal.state.requests)
    found = modal_status(NAME, ask_server=True)

    assert (found.status, found.health) == ("idle", Health.NOT_ASKED)
    assert (found.usd_per_hour, found.usd_so_far, found.processes) == (0.0, 0.0, ())
    assert (modal.live_tasks(), len(modal.state.requests)) == ([], n)


def test_a_server_is_asked_only_when_that_is_wanted(serving, modal):
    n = len(modal.state.requests)
    found = modal_status(NAME, ask_server=True)

    assert found.health is Health.OK
    assert [request.path for request in modal.state.requests[n:]] == [
        "/health",
        "/metrics",
        "/slots",
    ]
    assert serving.key.value not in repr(found)


def test_a_deployment_from_elsewhere_is_seen_by_what_modal_knows(serving, modal):
    forget(NAME)
    (volume,) = modal.state.volumes.values()
    note = volume.path / ".ggufctl" / "deployments" / f"{NAME}.json"
    assert (modal_status(NAME).n_slots, modal_status(NAME).problems) == (2, ())
    note.unlink()
    found = modal_status(NAME)

    assert found.status == "running"
    assert found.usd_per_hour == pytest.approx(serving.spec.usd_per_hour, abs=1e-3)
    assert "another machine" in found.problems[0]


def test_an_unknown_deployment_is_not_found(modal):
    with pytest.raises(DeploymentNotFound):
        modal_status("nonesuch")
