"""What can go wrong on Modal: the right exit code, the right words, and nothing left running."""

from __future__ import annotations

import pytest
from grpclib import Status

from ggufctl.errors import AccessDenied, LaunchFailed, RemoteError, UsageError
from ggufctl.modal_app import stop_app
from ggufctl.services.deployments import state_dir
from ggufctl.services.modal import launch, serve_modal
from ggufctl.services.modal.one import only_one
from tests.modal_standin.state import RpcFault
from tests.on_modal.conftest import NAME


def failing(modal, request, heard, kind=LaunchFailed):
    """The error of a start that fails, once nothing is left of it."""
    with pytest.raises(kind) as error:
        serve_modal(request, heard)
    modal.assert_nothing_is_left()
    assert not [secret for secret in modal.state.secrets.values() if secret.name]
    return error.value


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("unknown-model", "does not know the architecture nonesuch"),
        ("crash", "segmentation fault"),
        ("cpu-fallback", "layers are on the GPU"),
    ],
)
def test_a_server_that_cannot_come_up_is_started_once(modal, request_for, heard, scenario, words):
    modal.faults.engine["*"] = scenario
    error = failing(modal, request_for(max_attempts=3), heard)

    assert error.exit_code == 9
    assert words in error.message
    assert len(modal.tasks_of("llama")) == 1


@pytest.mark.parametrize(
    "scenario", ["oom-weights", "oom-kv", "oom-compute", "oom-runtime", "oom-bare", "killed"]
)
@pytest.mark.parametrize("attempts", [1, 2])
def test_running_out_of_memory_is_tried_no_more_often_than_allowed(
    modal, request_for, heard, scenario, attempts
):
    modal.faults.engine["*"] = scenario
    error = failing(modal, request_for(max_attempts=attempts), heard)

    assert error.exit_code == 9
    assert "memory" in error.message
    assert len(modal.tasks_of("llama")) == attempts
    assert all("per hour" in text for text in heard.of("fallback"))
    assert len(heard.of("fallback")) == attempts - 1


def test_weights_that_do_not_fit_move_to_a_larger_gpu(modal, request_for, heard):
    modal.faults.engine = {"T4": "oom-weights", "*": "healthy"}
    server = serve_modal(request_for(), heard)

    assert server.attempts == 2
    assert [task.gpu for task in modal.tasks_of("llama")] == ["T4", "L4"]
    assert modal.function(server.spec.app, "llama").gpus[0] == "L4"
    assert len(modal.live_tasks()) == 1


def test_a_cache_that_does_not_fit_is_made_smaller_first(modal, request_for, heard):
    modal.faults.engine["*"] = "oom-kv"
    failing(modal, request_for(max_attempts=2), heard)

    assert "-ctk q8_0" in heard.of("fallback")[0]


def test_a_host_that_runs_out_of_memory_gets_more_of_it(modal, request_for, heard):
    modal.faults.engine["*"] = "killed"
    failing(modal, request_for(max_attempts=2), heard)

    first, second = (
        r.function_data.ranked_functions[0].function.resources.memory_mb
        for r in modal.requests_of("FunctionCreate")
    )
    assert second == 2 * first


def test_nothing_else_is_tried_without_fallback(modal, request_for, heard):
    modal.faults.engine["*"] = "oom-weights"
    failing(modal, request_for(fallback=False), heard)

    assert len(modal.tasks_of("llama")) == 1


def test_a_budget_bounds_the_fallback(modal, request_for, heard):
    modal.faults.engine["*"] = "oom-weights"
    failing(modal, request_for(max_usd_per_hour=0.6, max_attempts=4), heard)

    gpus = [task.gpu for task in modal.tasks_of("llama")]
    assert set(gpus) == {"T4"}


def test_an_image_that_cannot_be_built_is_explained(modal, request_for, heard):
    modal.faults.image_build["llama.cpp:server-cuda"] = "manifest unknown"
    error = failing(modal, request_for(), heard)

    assert error.exit_code == 9
    assert error.code == "image_build_failed"
    assert modal.tasks_of("llama") == []


def test_the_builders_own_words_are_told(modal, request_for, heard):
    modal.faults.image_build["llama.cpp:server-cuda"] = "manifest unknown: no such tag"
    error = failing(modal, request_for(), heard)

    assert "manifest unknown: no such tag" in error.message
    assert "modal image logs im-" in error.hint


@pytest.mark.parametrize("scenario", ["taciturn", "chats-only"])
def test_a_server_that_says_less_or_answers_less_is_healthy_all_the_same(
    modal, request_for, heard, scenario
):
    modal.faults.engine["*"] = scenario
    server = serve_modal(request_for(max_attempts=1), heard)

    assert heard.of("answer") == [" world"]
    assert modal.holds(server.key.value) == []
    assert len(modal.tasks_of("llama")) == 1


SHAPES = [
    ("joined",),
    ("parts", "no end"),
    ("twice", "no task"),
    ("no time", "no source"),
    ("no replay", "silent"),
    ("no first", "silent"),
    ("late",),
]


@pytest.mark.parametrize("counts_nothing", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=" + ".join)
def test_logs_of_any_shape_tell_of_a_start(modal, request_for, heard, shape, counts_nothing):
    modal.faults.engine["*"] = "healthy"
    modal.faults.logs, modal.faults.counts_nothing = set(shape), counts_nothing
    server = serve_modal(request_for(max_attempts=1), heard)

    assert server.gpu["name"].startswith("Stand-in")
    assert len(modal.tasks_of("llama")) == 1


@pytest.mark.parametrize("shape", SHAPES, ids=" + ".join)
def test_logs_of_any_shape_tell_of_a_failure(modal, request_for, heard, shape):
    modal.faults.engine["*"] = "oom-weights"
    modal.faults.logs = set(shape)
    error = failing(modal, request_for(max_attempts=2), heard)

    assert "Not enough memory for the weights" in error.message
    assert len(modal.tasks_of("llama")) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("Container exited with non-zero exit code 1", "exit code 1"),
        ("Task ta-1 terminated with exit status: 137", "memory"),
        ("Runner exited with code -11", "segmentation fault"),
        ("Container was OOM-killed", "memory"),
        ("Runner has been initializing for too long", "not ready after"),
    ],
)
def test_the_end_of_a_container_is_told_in_many_words(modal, request_for, heard, words, said):
    modal.faults.die_at_start = True
    modal.faults.end_words = words
    error = failing(modal, request_for(max_attempts=1), heard)

    assert error.exit_code == 9
    assert said in error.message
    assert len(modal.tasks_of("llama")) == 1


def test_no_gpu_in_time_ends_the_wait(modal, request_for, heard):
    modal.faults.gpu_unavailable = {"T4", "L4", "A10"}
    error = failing(modal, request_for(gpus=("T4", "L4"), queue_seconds=4), heard)

    assert error.exit_code == 9
    assert "became free" in error.message
    assert any("T4" in text for text in heard.of("queued"))
    assert len(modal.tasks_of("llama")) == 1


def test_a_slow_queue_is_waited_for(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    modal.faults.queue_seconds = 7.0
    server = serve_modal(request_for(), heard)

    assert len(modal.tasks_of("llama")) == 1
    assert server.durations["queued"] >= 7.0


def test_a_start_that_takes_too_long_is_ended(modal, request_for, heard):
    modal.faults.engine["*"] = "slow"
    error = failing(modal, request_for(startup_timeout_seconds=2), heard)

    assert error.exit_code == 9
    assert "not ready after 2 seconds" in error.message
    assert "--startup-timeout" in error.hint
    assert len(modal.tasks_of("llama")) == 1


def test_a_container_that_dies_at_once_is_not_started_again(modal, request_for, heard):
    modal.faults.die_at_start = True
    error = failing(modal, request_for(), heard)

    assert error.exit_code == 9
    assert "exit code 1" in error.message
    assert len(modal.tasks_of("llama")) == 1


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 4.0), (3, 12.0)])
def test_a_server_that_dies_unseen_is_not_started_again_and_again(
    modal, request_for, heard, monkeypatch, attempts, seconds
):
    # It has answered inside; then its container ends without a word.
    monkeypatch.setattr(launch, "OUTSIDE_SECONDS", seconds)
    modal.faults.engine["*"] = "healthy"
    modal.faults.rpcs.append(
        RpcFault("ContainerServerLifecycleReady", Status.INTERNAL, times=10**6)
    )
    error = failing(modal, request_for(max_attempts=attempts), heard)

    assert error.exit_code == 9
    # The question whether it answers may meet one that has just died, which starts it once more.
    assert len(modal.tasks_of("llama")) <= attempts + 1


def test_containers_that_modal_itself_starts_again_are_counted(modal, request_for, heard):
    modal.faults.engine["*"] = "crash"
    modal.faults.restarts = 50
    failing(modal, request_for(max_attempts=2), heard)
    modal.faults.restarts = 0

    assert len(modal.tasks_of("llama")) <= 2


def test_an_app_that_somebody_else_stops_is_not_waited_for(modal, request_for, heard):
    modal.faults.engine["*"] = "slow"

    def stop(event):
        heard(event)
        if event.kind == "container":
            stop_app(f"ggufctl-{NAME}")

    error = failing(modal, request_for(), stop)

    assert "was stopped" in error.message
    assert len(modal.tasks_of("llama")) == 1


@pytest.mark.parametrize(("status", "word"), [(401, "proxy token"), (402, "budget")])
def test_what_modal_answers_in_the_servers_place_ends_the_wait(
    modal, request_for, heard, status, word
):
    modal.faults.url_status = status
    error = failing(modal, request_for(), heard)

    assert word in error.message
    assert modal.tasks_of("llama") == []


def test_a_key_stays_while_what_it_opens_cannot_be_stopped(modal, request_for, heard, monkeypatch):
    monkeypatch.setattr(launch.time, "sleep", lambda seconds: None)
    modal.faults.engine["*"] = "unknown-model"
    modal.faults.rpcs.append(RpcFault("AppStop", Status.INTERNAL, "injected", times=10**6))
    with pytest.raises(RemoteError) as error:
        serve_modal(request_for(), heard)
    modal.faults.rpcs.clear()

    assert "may cost money" in error.value.message
    assert any("may cost money" in text for text in heard.of("left"))
    assert [secret.name for secret in modal.state.secrets.values()] == [f"ggufctl-{NAME}-key"]
    assert (state_dir() / "modal" / f"{NAME}.key").exists()


def test_two_starts_of_one_name_do_not_end_each_other(modal, request_for, heard):
    with only_one(NAME), pytest.raises(UsageError) as error:
        serve_modal(request_for(), heard)

    assert "is starting" in error.value.message
    assert modal.requests_of("AppCreate") == []


def test_a_reader_that_goes_away_leaves_nothing(modal, request_for):
    modal.faults.engine["*"] = "slow"

    def gone(event):
        if event.kind in ("container", "stopped", "left"):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        serve_modal(request_for(), gone)
    modal.assert_nothing_is_left()
    assert not [secret for secret in modal.state.secrets.values() if secret.name]


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_log_stream_that_breaks_does_not_end_a_start(modal, request_for, heard, after):
    modal.faults.engine["*"] = "healthy"
    modal.faults.cut_logs_after = after
    serve_modal(request_for(), heard)

    assert len(modal.tasks_of("llama")) == 1


@pytest.mark.parametrize("after", [0, 1])
def test_a_failure_is_seen_through_a_log_stream_that_breaks(modal, request_for, heard, after):
    modal.faults.engine["*"] = "unknown-model"
    modal.faults.cut_logs_after = after
    error = failing(modal, request_for(), heard)

    assert "nonesuch" in error.message
    assert len(modal.tasks_of("llama")) == 1


@pytest.mark.parametrize(
    ("rpc", "status", "kind"),
    [
        ("AppCreate", Status.PERMISSION_DENIED, AccessDenied),
        ("FunctionCreate", Status.RESOURCE_EXHAUSTED, RemoteError),
        ("FunctionCreate", Status.FAILED_PRECONDITION, RemoteError),
        ("AppPublish", Status.UNAVAILABLE, RemoteError),
        ("SecretGetOrCreate", Status.INTERNAL, RemoteError),
        ("VolumeListFiles2", Status.PERMISSION_DENIED, AccessDenied),
        ("ClientHello", Status.UNAUTHENTICATED, AccessDenied),
    ],
)
def test_errors_of_modal_are_told_as_what_they_are(modal, request_for, heard, rpc, status, kind):
    modal.faults.rpcs.append(RpcFault(rpc, status, "injected", times=50))
    try:
        error = failing(modal, request_for(), heard, kind)
    finally:
        modal.faults.rpcs.clear()

    assert "injected" in error.message
    assert modal.tasks_of("llama") == []


def test_a_passing_error_of_modal_is_not_even_noticed(modal, request_for, heard):
    modal.faults.engine["*"] = "healthy"
    modal.faults.rpcs += [
        RpcFault("FunctionCreate", Status.UNAVAILABLE),
        RpcFault("AppPublish", Status.UNAVAILABLE),
    ]
    serve_modal(request_for(), heard)

    assert len(modal.live_tasks()) == 1


def test_an_app_is_stopped_even_when_modal_falters(modal, request_for, heard):
    modal.faults.engine["*"] = "unknown-model"
    modal.faults.rpcs.append(RpcFault("AppStop", Status.UNAVAILABLE, times=5))
    failing(modal, request_for(), heard)
