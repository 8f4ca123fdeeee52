"""`diagnose --app`: the state of a deployment and what its log shows, without waking it."""

from __future__ import annotations

import pytest

from ggufctl.core.checks import Status
from ggufctl.documents.diagnose import DiagnoseDocument
from ggufctl.report.diagnose import app_report
from ggufctl.services.app_check import check_app
from ggufctl.services.deploy import serve_modal
from ggufctl.services.deployments import DeploymentNotFound

pytestmark = pytest.mark.xdist_group("modal")


def test_a_deployment_that_answers_passes(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    server = serve_modal(request_for(), heard)

    found = check_app(server.spec.name)

    assert [check.status for check in found.checks] == [Status.PASS, Status.PASS]
    assert found.facts["n_containers"] == 1
    document = app_report(found.log, found.checks, found.facts)
    assert DiagnoseDocument.model_validate(document).diagnoses == []


def test_what_is_not_deployed_is_not_found(modal):
    with pytest.raises(DeploymentNotFound):
        check_app("nothing")
