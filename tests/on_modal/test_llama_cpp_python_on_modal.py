"""llama-cpp-python through the whole of `serve --on modal`, where it is installed."""

from __future__ import annotations

import pytest

from ggufctl.core.runtime import Runtime
from ggufctl.errors import LaunchFailed
from ggufctl.services.modal import ModalRequest, serve_modal, stop_modal
from tests.on_modal.conftest import free_port, streamed_chat
from tests.on_modal.test_serve_on_modal import status
from tests.serving import model_path

pytestmark = [pytest.mark.xdist_group("engine"), pytest.mark.engine("llama-cpp-python")]


def test_llama_cpp_python_answers_a_streamed_chat_at_the_servers_address(modal, heard):
    # The container's own would move it, if it were let.
    modal.faults.environment = {"HOST": "192.0.2.1", "PORT": "9"}
    request = ModalRequest(
        model=str(model_path()),
        engine="llama-cpp-python",
        n_ctx=2048,
        runtime=Runtime(),
        port=free_port(),
    )
    server = serve_modal(request, heard)

    assert streamed_chat(server).strip()
    assert status(f"{server.base_url}/models") == 401
    assert len(modal.tasks_of("llama")) == 1
    assert server.spec.slots == 1
    assert {"weights", "first token"} <= set(server.durations)
    rows = {row.term: row for row in server.comparison if row.device == "host"}
    assert rows["outputs"].is_as_planned
    assert modal.holds(server.key.value) == []
    stop_modal(server.spec.name)
    modal.assert_nothing_is_left()


def test_a_wheel_that_leaves_the_gpu_alone_is_a_failure(modal, heard):
    modal.faults.environment = {"STANDIN_LAYERS": ""}
    request = ModalRequest(
        model=str(model_path()),
        engine="llama-cpp-python",
        n_ctx=512,
        port=free_port(),
        max_attempts=3,
    )
    with pytest.raises(LaunchFailed) as error:
        serve_modal(request, heard)

    assert "layers are on the GPU" in error.value.message
    assert len(modal.tasks_of("llama")) == 1
    modal.assert_nothing_is_left()
