"""A start on Modal leaves a run too, and serves what a search has picked."""

from __future__ import annotations

from dataclasses import replace

from ggufctl.core.goal import Goal, Objective
from ggufctl.services.calibration import load_runs
from ggufctl.services.modal import plan_modal, serve_modal
from ggufctl.services.modal.state import remembered


def test_a_start_leaves_a_run(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    server = serve_modal(request_for(), heard)

    (run,) = load_runs()
    assert run.where == "modal"
    assert run.count == server.plan.row.count
    assert run.engine == "llama-server"
    assert run.gpu
    assert run.model == "tiny-Q8_0.gguf"


def test_what_is_served_is_what_was_picked(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    request = replace(request_for(), goal=Goal(objective=Objective.COST))
    server = serve_modal(request, heard)

    optimization = server.plan.plan.optimization
    assert optimization is not None
    pick = optimization.pick
    assert pick is not None
    assert server.spec.gpus[0] == pick.gpu.modal_gpu(pick.count)
    assert server.plan.runtime == pick.runtime
    kept = remembered(server.spec.name)["request"]
    assert kept["goal"] is None
    assert plan_modal(request).spec.argv == server.spec.argv
