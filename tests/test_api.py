from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ggufctl
from tests.ggufs import header, llama, write


def test_public_names_are_sorted_there_and_documented():
    assert list(ggufctl.__all__) == sorted(ggufctl.__all__)
    for name in ggufctl.__all__:
        assert getattr(ggufctl, name).__doc__, name


def test_a_name_that_is_not_public_is_not_there():
    with pytest.raises(AttributeError):
        ggufctl.Planner  # noqa: B018  # the access is the test

    assert set(ggufctl.__all__) < set(dir(ggufctl))


def test_every_error_derives_from_one():
    classes = [getattr(ggufctl, name) for name in ggufctl.__all__]
    errors = [c for c in classes if isinstance(c, type) and issubclass(c, Exception)]

    assert len(errors) > 10
    assert all(issubclass(error, ggufctl.GgufctlError) for error in errors)


def test_detecting_a_name_needs_neither_network_nor_anything_heavy():
    code = (
        "import sys, ggufctl; ggufctl.detect('org/Model-7B-GGUF');"
        "ggufctl.get_gpu_config_llamacpp('org/Model-7B-GGUF');"
        "heavy = 'huggingface_hub typer rich pydantic modal ggufctl.sources'.split();"
        "print([m for m in heavy if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


@pytest.fixture
def model(tmp_path: Path) -> ggufctl.Model:
    path = write(tmp_path / "tiny-Q8_0.gguf", *header(*llama()))
    return ggufctl.read_model(str(path))


def test_a_model_is_read_from_its_header(model):
    assert model.architecture == "llama"
    assert model.quant == "Q8_0"
    assert model.source == "local"
    assert model.n_params == model.n_active_params > 0
    assert model.n_ctx_train == 4096


def test_an_estimate_names_its_devices_and_adds_up(model):
    found = ggufctl.estimate(model, ggufctl.Runtime(n_ctx=512), gpus=("A10G", "A10G"))

    assert [device.gpu for device in found.devices] == ["A10", "A10"]
    for device in found.devices:
        assert device.total_bytes == (
            device.weights_bytes
            + device.kv_cache_bytes
            + device.recurrent_bytes
            + device.compute_bytes
            + device.overhead_bytes
        )
        assert device.overhead_bytes > 0


def test_without_gpus_everything_is_on_the_host(model):
    found = ggufctl.estimate(model, ggufctl.Runtime(n_ctx=512), gpus=())

    assert found.devices == ()
    assert found.host.weights_bytes >= model.header.tensor_bytes


def test_an_estimate_of_an_unknown_gpu_is_a_usage_error(model):
    with pytest.raises(ggufctl.UsageError):
        ggufctl.estimate(model, ggufctl.Runtime(), gpus=("H9000",))


def test_a_context_of_zero_is_the_models_own(model):
    assert ggufctl.plan(model, ggufctl.Runtime()).runtime.n_ctx == 4096


def test_a_plan_that_fits_nowhere_has_no_choice_and_says_so_when_asked(model):
    constraints = ggufctl.Constraints(max_usd_per_hour=0.01)
    found = ggufctl.plan(model, ggufctl.Runtime(n_ctx=512), constraints)

    assert found.choice is None
    with pytest.raises(ggufctl.DoesNotFit):
        found.require_choice()


def test_a_path_object_is_as_good_as_its_text(tmp_path):
    path = write(tmp_path / "tiny-Q8_0.gguf", *header(*llama()))

    assert ggufctl.read_model(path).files == ggufctl.read_model(str(path)).files


@pytest.mark.parametrize(
    "misuse",
    [
        lambda model: ggufctl.read_model(None),
        lambda model: ggufctl.read_model(5),
        lambda model: ggufctl.detect(None),
        lambda model: ggufctl.detect(b"Qwen3-8B-GGUF"),
        lambda model: ggufctl.get_gpu_config_llamacpp(None),
        lambda model: ggufctl.plan(model, "-c 8192"),
        lambda model: ggufctl.plan(model, None, ("H100",)),
        lambda model: ggufctl.estimate(None, ggufctl.Runtime()),
        lambda model: ggufctl.estimate(model, "-c 8192"),
        lambda model: ggufctl.estimate(model, ggufctl.Runtime(), (1,)),
        lambda model: ggufctl.estimate(model, ggufctl.Runtime(), 5),
        lambda model: ggufctl.plan(model, ggufctl.Runtime(), ggufctl.Constraints(gpus=(5,))),
        lambda model: ggufctl.Constraints(max_usd_per_hour="3"),
        lambda model: ggufctl.Constraints(max_usd_per_hour=True),
        lambda model: ggufctl.Runtime(mmproj=5),
        lambda model: ggufctl.Runtime(kv_unified="yes"),
        lambda model: ggufctl.Runtime(n_ctx="8192"),
    ],
)
def test_arguments_of_the_wrong_type_are_usage_errors(model, misuse):
    with pytest.raises(ggufctl.UsageError):
        misuse(model)


def test_nothing_is_as_good_as_an_empty_list(model):
    assert ggufctl.Runtime(lora=None) == ggufctl.Runtime()
    assert ggufctl.Constraints(gpus=None) == ggufctl.Constraints()
    assert ggufctl.estimate(model, ggufctl.Runtime(), None).devices == ()


def test_a_plan_of_something_that_is_no_model_is_a_usage_error():
    with pytest.raises(ggufctl.UsageError, match="not for NoneType"):
        ggufctl.plan(None)
