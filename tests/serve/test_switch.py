"""`switch` of a deployment on this machine, with the real engine; and what it is told through."""

from __future__ import annotations

import json
import resource
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from tests.serve.switching import switched

import serving
from ggufctl.documents.serve import DemoDocument, PsDocument, ServeDocument, ServePlanDocument
from ggufctl.errors import LaunchFailed, UsageError
from ggufctl.remote.supervisor import Event, ask
from ggufctl.services import deployments
from ggufctl.services.local_switch import (
    Replies,
    Switch,
    SwitchRefused,
    ask_for_switch,
    pending,
)
from serving import ggufctl, is_running, put

pytestmark = pytest.mark.xdist_group("engine")

SECONDS = 120.0
"""Nothing that a test here waits for takes so long."""


def ended(thread: threading.Thread) -> None:
    """Wait for a thread, but not for ever."""
    thread.join(SECONDS)
    assert not thread.is_alive(), f"still running after {SECONDS:.0f} s"


def request_in(directory: Path, asking: threading.Thread) -> Replies:
    """The request that somebody is about to make there."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if (found := pending(directory)) is not None:
            return found
        assert asking.is_alive(), "who asked has ended"
        time.sleep(0.01)
    raise AssertionError(f"no request after {SECONDS:.0f} s")


def n_ctx(running: serving.Serving) -> int:
    request = urllib.request.Request(
        running.url.removesuffix("/v1") + "/props",
        headers={"Authorization": f"Bearer {running.key}"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return int(json.load(response)["default_generation_settings"]["n_ctx"])


def test_it_goes_on_with_other_settings_at_the_same_url_with_the_same_key(state):
    with serving.serving("-c", "1024", "-np", "1", "--name", "one", state=state) as running:
        before = running.key

        done = ggufctl("switch", "one", "-c", "2048", "-np", "2", "--json", state=state)

        assert done.returncode == 0, done.stderr
        document = ServeDocument.model_validate(json.loads(done.stdout))
        assert (document.n_ctx, document.n_parallel) == (2048, 2)
        assert document.url == running.url
        assert document.pid == running.document["pid"]
        assert document.is_as_planned
        assert running.key == before
        assert n_ctx(running) == 1024  # of each of the two slots
        assert not is_running(running.document["engine_pid"])
        (row,) = json.loads(ggufctl("ps", "--json", state=state).stdout)["deployments"]
        assert row["engine_pid"] == document.engine_pid
        assert row["memory_bytes"] == document.memory_bytes
        code, err = running.end(signal.SIGTERM)
        assert code == 143, err
        assert not is_running(document.engine_pid or 0)


def test_what_does_not_fit_is_refused_and_the_former_serves_on(state):
    with serving.serving("-c", "1024", "-np", "1", "--name", "one", state=state) as running:
        engine = running.document["engine_pid"]

        too_large = ggufctl("switch", "one", "-c", "99999999", state=state)
        no_gpu = ggufctl("switch", "one", "--gpu", "7", state=state)
        nothing = ggufctl("switch", "one", state=state)

        assert too_large.returncode == 5
        assert "does not fit" in too_large.stderr
        assert (no_gpu.returncode, nothing.returncode) == (5, 2)
        assert is_running(engine)
        assert n_ctx(running) == 1024
        assert [p.name for p in (state / "deployments" / "one").glob("switch*")] == []


def test_one_that_does_not_come_up_is_followed_by_the_former(state):
    args = ("-c", "1024", "-np", "1", "--name", "one", "--no-fallback")
    with serving.serving(*args, state=state) as running:
        # Less than the plan can know of: what the new engine is to hold, its process may not.
        used = psutil.Process(running.document["engine_pid"]).memory_info().vms
        limit = used + (300 << 20)
        resource.prlimit(running.process.pid, resource.RLIMIT_AS, (limit, limit))

        done = ggufctl("switch", "one", "-c", "65536", "-np", "8", state=state)

        assert done.returncode == 9, done.stderr
        assert "one runs again as before" in done.stderr
        assert n_ctx(running) == 1024
        (row,) = json.loads(ggufctl("ps", "--json", state=state).stdout)["deployments"]
        assert row["status"] == "running"
        assert row["memory_bytes"] == running.document["memory_bytes"]


def test_answers_that_are_being_written_are_finished_first(state):
    with serving.serving("-c", "1024", "-np", "1", "--name", "one", state=state) as running:
        found = []

        def question() -> None:
            base_url, model = running.url.removesuffix("/v1"), running.document["alias"]
            found.append(ask(base_url, model, "One, two,", key=running.key, n_predict=64))

        thread = threading.Thread(target=question, daemon=True)
        thread.start()
        done = ggufctl("switch", "one", "-c", "512", state=state)
        ended(thread)

        assert done.returncode == 0, done.stderr
        assert found[0].n_tokens > 8 or found[0].finish_reason == "stop"


def test_largest_context_is_the_models_own_where_memory_allows_it(state):
    model = str(serving.model_path())

    found = ggufctl(
        "serve", model, "--on", "local", "-c", "max", "--dry-run", "--json", state=state
    )

    document = ServePlanDocument.model_validate(json.loads(found.stdout))
    assert document.n_ctx == 8192
    assert document.argv[document.argv.index("-c") + 1] == "8192"
    assert "--metrics" in document.argv and "--slots" in document.argv


def test_gpus_of_a_variable_are_those_to_rent(state):
    args = ("serve", str(serving.model_path()), "--on", "local", "--dry-run")

    found = ggufctl(*args, state=state, GGUFCTL_GPU="L40S,H100")

    assert found.returncode == 0, found.stderr
    assert "for Modal" in found.stderr
    assert ggufctl(*args, "--gpu", "H100", state=state).returncode == 5


def test_without_a_key_nobody_may_look_at_slots(state):
    args = ("serve", str(serving.model_path()), "--on", "local", "--auth", "none", "--dry-run")

    assert "--no-slots" in ggufctl(*args, state=state).stdout


def test_every_document_is_as_published(state):
    with serving.serving("-c", "512", "-np", "1", "--name", "one", state=state) as running:
        ServeDocument.model_validate(running.document)
        PsDocument.model_validate(json.loads(ggufctl("ps", "--json", state=state).stdout))
    demo = ggufctl("demo", "--no-hub", "--json", state=state)
    assert demo.returncode == 0, demo.stderr
    DemoDocument.model_validate(json.loads(demo.stdout))


def test_clients_of_all_kinds_see_nothing_of_a_switch_but_that_it_takes_a_moment(state):
    figures, problems = switched(2, state, n_kills=1)

    assert problems == []
    assert figures.problems == []
    assert figures.n_failed == 0
    assert figures.n_requests > 20
    assert {"200", "503"} == set(figures.health)


def test_requests_outlive_a_front_that_is_killed(state):
    with serving.serving("-c", "512", "-np", "1", "--name", "one", state=state) as running:
        children = psutil.Process(running.process.pid).children()
        (front,) = [child for child in children if "ggufctl.front.proxy" in child.cmdline()]
        front.kill()

        assert n_ctx(running) == 512
        assert ggufctl("switch", "one", "-c", "1024", state=state).returncode == 0
        assert n_ctx(running) == 1024
        code, err = running.end(signal.SIGTERM)
        assert code == 143, err
        assert "it was started again" in err


def test_a_request_reaches_who_serves_and_its_answers_who_asked(state):
    deployment = put("one")
    heard: list[Event | dict[str, object]] = []

    def ask_for_it() -> None:
        heard.extend(ask_for_switch(deployment, Switch(n_ctx=4096, runtime={"n_batch": 64})))

    thread = threading.Thread(target=ask_for_it, daemon=True)
    thread.start()
    replies = request_in(deployment.directory, thread)
    assert replies.switch == Switch(n_ctx=4096, runtime={"n_batch": 64})
    replies.hear(Event("phase", 1.0, "weights"))
    replies.hear(Event("log", 1.0, "a line of the engine's"))
    replies.done({"n_ctx": 4096})
    ended(thread)

    assert [e.kind for e in heard if isinstance(e, Event)] == ["switch", "phase"]
    assert heard[-1] == {"n_ctx": 4096}
    assert pending(deployment.directory) is None
    assert [p.name for p in deployment.directory.iterdir()] == ["state.json"]


def test_a_refusal_keeps_its_words_and_its_exit_code(state):
    deployment = put("one")
    caught: list[SwitchRefused] = []

    def ask_for_it() -> None:
        with pytest.raises(SwitchRefused) as error:
            list(ask_for_switch(deployment, Switch(gpu="1")))
        caught.append(error.value)

    thread = threading.Thread(target=ask_for_it, daemon=True)
    thread.start()
    replies = request_in(deployment.directory, thread)
    replies.refuse(UsageError("It cannot be.", "Do not."))
    ended(thread)

    (error,) = caught
    assert (error.message, error.hint, error.exit_code) == ("It cannot be.", "Do not.", 2)


def test_two_at_once_are_one_too_many(state):
    deployment = put("one")
    (deployment.directory / "switch.json").write_text("{}")

    with pytest.raises(UsageError, match="already"):
        list(ask_for_switch(deployment, Switch(gpu="1")))


def test_what_killed_commands_left_is_removed_by_the_next(state):
    directory = put("one").directory
    (directory / "switch-0123.jsonl").write_text("")
    (directory / ".x.switch-part").write_text("")
    (directory / "switch.json").write_text(json.dumps({"id": "4567", "switch": {}}))

    replies = pending(directory)

    assert replies is not None
    assert sorted(path.name for path in directory.glob("*switch*")) == [
        "switch-4567.jsonl",
        "switch.json",
    ]
    replies.done({})


def test_a_request_of_nobody_is_thrown_away(state):
    deployment = put("one")
    for text in ("", "[]", '{"id": "../x", "switch": {}}', '{"id": "a", "switch": {"b": 1}}'):
        (deployment.directory / "switch.json").write_text(text)

        assert pending(deployment.directory) is None
        assert not (deployment.directory / "switch.json").exists()


def test_who_is_gone_answers_nobody(state):
    deployment = put("one", pid_start="long ago")

    with pytest.raises(LaunchFailed, match="ended"):
        list(ask_for_switch(deployment, Switch(gpu="1")))
    assert [p.name for p in deployment.directory.iterdir()] == ["state.json"]


def test_names_are_completed_from_what_is_kept(state):
    from ggufctl.completion import deployments as completed

    put("alpha")
    put("beta", status="stopped")
    (deployments.state_dir() / "modal").mkdir()
    (deployments.state_dir() / "modal" / "away.json").write_text("{}")

    assert completed("") == ["alpha", "away", "beta"]
    assert completed("a") == ["alpha", "away"]
    assert completed("x") == []
