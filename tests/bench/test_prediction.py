"""What the plan expects of a deployment, beside what is measured."""

from dataclasses import asdict

from ggufctl.client import Endpoint
from ggufctl.core.bench import Settings
from ggufctl.core.deployment import DeploymentSpec, WeightFile
from ggufctl.core.runtime import Runtime
from ggufctl.services import calibration
from ggufctl.services.bench import _predicted
from ggufctl.services.target import Place, Target
from ggufctl.sources.resolve import open_model
from tests.calibration.test_calibration import L4
from tests.ggufs import llama, whole

NAME = "tiny-Q8_0.gguf"


def target(**changes):
    runtime = Runtime(n_ctx=2048, n_parallel=4)
    found = open_model(f"org/tiny-GGUF/{NAME}")
    values = {
        "name": "tiny",
        "model": "org/tiny-GGUF",
        "files": (WeightFile(NAME, found.files[0].size_bytes),),
        "argv": (),
        "alias": "tiny",
        "gpus": ("L4", "A10"),
        "repo": "org/tiny-GGUF",
        "commit": found.commit,
        "slots": 4,
    }
    spec = DeploymentSpec(**{**values, **changes})
    # As it is remembered: through JSON, where there are no tuples.
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(runtime).items()}
    return Target(
        name="tiny",
        place=Place.MODAL,
        endpoint=Endpoint("http://127.0.0.1:9/v1"),
        spec=spec,
        runtime=plain,
    )


def test_a_deployment_is_measured_against_the_estimate_of_its_own_plan(hub):
    hub.add("org/tiny-GGUF", {NAME: whole(*llama())})

    found = _predicted(target(), Settings(n_prompt=64))

    assert found is not None
    assert (found.gpu, found.count, found.n_slots) == ("L4", 1, 4)
    assert found.total_tokens_per_second.best >= found.tokens_per_second.best > 0
    assert found.first_token_seconds.low > 0
    assert found.cold_start_seconds is not None


def test_without_a_plan_there_is_no_estimate(hub):
    hub.add("org/tiny-GGUF", {NAME: whole(*llama())})

    assert _predicted(target(gpus=()), Settings()) is None
    assert _predicted(target(repo=""), Settings()) is None
    assert _predicted(target(gpus=("L4:x",)), Settings()) is None
    assert _predicted(target(commit="0" * 40), Settings()) is None


def test_runs_of_ones_own_tighten_the_estimate_as_they_tighten_plans(hub):
    hub.add("org/tiny-GGUF", {NAME: whole(*llama())})
    before = _predicted(target(), Settings(n_prompt=64))
    calibration.remember(L4)

    after = _predicted(target(), Settings(n_prompt=64))

    assert before is not None
    assert after is not None
    was, now = before.tokens_per_second, after.tokens_per_second
    assert now.high - now.low < was.high - was.low
