"""`ggufctl chat` and `ggufctl bench` of a deployment on Modal, asleep and awake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ggufctl.documents import schema_of
from tests.on_modal.conftest import NAME
from tests.on_modal.test_commands_on_modal import run, serve_args

__all__ = ["run"]


@pytest.fixture
def deployed(modal, run, tiny):
    """A deployment of the fake engine whose container has gone to sleep; its key."""
    modal.faults.engine["*"] = "healthy"
    served = run(*serve_args(tiny), "--json", "--gpu", "T4", "--scaledown", "60")
    assert served.returncode == 0, served.stderr
    sleep(modal)
    return Path(json.loads(served.stdout)["key_file"]).read_text().strip()


def sleep(modal):
    for task in modal.live_tasks():
        modal.run(modal.containers.stop(task))


def test_a_sleeping_deployment_is_woken_and_its_start_told_with_its_price(deployed, run):
    done = run("chat", NAME, "Hello", "--json")

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["where"], found["answer"]) == ("modal", " world")
    assert found["waited_seconds"] > 0
    assert "per hour from now until it idles again" in done.stderr
    assert "cold start: " in done.stderr
    assert deployed not in done.stdout + done.stderr


def test_a_container_that_ends_at_once_is_not_started_forever(modal, deployed, run):
    modal.faults.die_at_start = True

    done = run("chat", NAME, "Hello", "--wait", "5")

    assert done.returncode == 9
    assert "Traceback" not in done.stderr


def test_a_key_that_is_not_here_can_be_given(deployed, run, own_state):
    (own_state / "modal" / f"{NAME}.json").unlink()

    without = run("chat", NAME, "Hello")
    given = run("chat", NAME, "Hello", GGUFCTL_API_KEY=deployed)

    assert without.returncode == 4
    assert "is not on this machine" in without.stderr
    assert given.returncode == 0, given.stderr


def test_a_benchmark_says_its_price_first_and_keeps_to_its_limit(modal, deployed, run):
    refused = run("bench", NAME, "-n", "2", "-p", "4", "--max-usd", "0.0001")
    n_awake = len(modal.live_tasks())
    done = run("bench", NAME, "-n", "2", "-p", "4", "--json", "--cold", "--max-usd", "1")

    assert refused.returncode == 2
    assert "costs at least $" in refused.stderr
    assert n_awake == 0
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    schema_of("bench").model_validate(found)
    assert found["cold_start_seconds"] > 0
    assert found["gpus"] == ["T4"]
    assert found["usd"] > 0
    assert done.stderr.startswith("about $")


def test_a_cold_benchmark_of_a_warm_deployment_waits_until_it_sleeps(modal, deployed, run):
    args = ("bench", NAME, "-n", "2", "-p", "4", "--concurrency", "1", "--requests", "2", "--json")
    run("chat", NAME, "Hello")
    awake = run(*args)
    (warm,) = modal.live_tasks()
    modal.faults.idle_seconds = 20.0

    done = run(*args, "--cold")

    assert awake.returncode == 0, awake.stderr
    assert json.loads(awake.stdout)["cold_start_seconds"] is None
    assert done.returncode == 0, done.stderr
    assert "until the container ends, which takes about 60 s" in done.stderr
    assert json.loads(done.stdout)["cold_start_seconds"] > 0
    assert warm not in modal.live_tasks()


def test_a_name_that_nobody_knows_is_said(deployed, run):
    done = run("chat", "nonesuch", "Hello")

    assert done.returncode == 3
    assert "Nothing called 'nonesuch' is deployed" in done.stderr
