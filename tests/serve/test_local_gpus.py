"""`--gpu` on this machine: which cards an engine is shown, and what is said of others."""

from __future__ import annotations

import pytest
from tests.ggufs import header, llama

from ggufctl.core.header import parse_header
from ggufctl.core.memory import Extras, ModelShape
from ggufctl.core.runtime import Runtime
from ggufctl.engines.base import Device, Found
from ggufctl.errors import DoesNotFit, UsageError
from ggufctl.services.local_gpus import on_gpus
from ggufctl.services.serve import estimate_here

GIB = 1 << 30


def device(number: int, description: str, free: int = 20, backend: str = "CUDA") -> Device:
    return Device(f"{backend}{number}", description, 24 * GIB, free * GIB)


FOUR = (
    device(0, "NVIDIA GeForce RTX 4090"),
    device(1, "NVIDIA GeForce RTX 4090", free=23),
    device(2, "NVIDIA A100-SXM4-80GB"),
    device(3, "NVIDIA A10"),
)


def found(*devices: Device) -> Found:
    return Found("llama-server", ("llama-server",), "b11434", devices)


def chosen(wanted: str, **environ: str) -> tuple[list[str], str]:
    seen = on_gpus(found(*FOUR), wanted, environ)
    ((name, value),) = seen.settings
    assert name == "CUDA_VISIBLE_DEVICES"
    assert seen.environment(environ)[name] == value
    return [d.seen_as for d in seen.devices], value


@pytest.mark.parametrize("wanted", ["auto", "", "all", "0,1,2,3"])
def test_all_of_them_are_left_as_they_are(wanted):
    assert on_gpus(found(*FOUR), wanted, {}) == found(*FOUR)


@pytest.mark.parametrize(
    ("wanted", "names", "value"),
    [
        ("1", ["CUDA1"], "1"),
        ("cuda2", ["CUDA2"], "2"),
        ("3,0", ["CUDA3", "CUDA0"], "3,0"),
        ("A10", ["CUDA3"], "3"),
        ("a100", ["CUDA2"], "2"),
        ("A100-80GB", ["CUDA2"], "2"),
        ("rtx4090", ["CUDA1"], "1"),
        ("RTX 4090:2", ["CUDA1", "CUDA0"], "1,0"),
        ("4090,4090,a10", ["CUDA1", "CUDA0", "CUDA3"], "1,0,3"),
    ],
)
def test_a_number_a_name_or_a_card_is_found_the_emptiest_first(wanted, names, value):
    assert chosen(wanted) == (names, value)


def test_the_engine_numbers_anew_what_it_is_shown():
    seen = on_gpus(found(*FOUR), "2,3", {})

    assert [d.name for d in seen.devices] == ["CUDA0", "CUDA1"]


def test_numbers_are_of_what_was_visible_before():
    _, value = chosen("1,3", CUDA_VISIBLE_DEVICES="GPU-a,GPU-b,GPU-c,GPU-d")

    assert value == "GPU-b,GPU-d"


def test_no_gpu_is_shown_to_an_engine_that_is_to_use_the_processor():
    seen = on_gpus(found(*FOUR), "cpu", {})

    assert seen.devices == ()
    assert seen.settings == (("CUDA_VISIBLE_DEVICES", "-1"),)
    assert on_gpus(found(), "cpu", {}) == found()


@pytest.mark.parametrize("wanted", ["H100", "4", "A10:2", "CUDA0,0"])
def test_a_gpu_that_is_not_here_does_not_fit_and_those_that_are_here_are_named(wanted):
    with pytest.raises(DoesNotFit) as caught:
        on_gpus(found(*FOUR), wanted, {})

    assert "0 = CUDA0, NVIDIA GeForce RTX 4090, 20.0 GiB free" in caught.value.hint


@pytest.mark.parametrize("wanted", ["bogus", "A10:x", ":2", "A10:0"])
def test_what_is_no_gpu_is_a_wrong_use(wanted):
    with pytest.raises(UsageError):
        on_gpus(found(*FOUR), wanted, {})


def test_without_any_gpu_that_is_what_is_said():
    with pytest.raises(DoesNotFit, match="sees no GPU on this machine"):
        on_gpus(found(), "0", {})


def test_a_backend_that_cannot_be_told_is_named():
    vulkan = found(device(0, "a", backend="Vulkan"), device(1, "b", backend="Vulkan"))

    with pytest.raises(UsageError, match="cannot be told"):
        on_gpus(vulkan, "0", {})


def test_blocks_are_divided_by_free_memory_unless_shares_are_given():
    shape = ModelShape(parse_header(*header(*llama(n_layer=32, n_embd=512, type_="q8_0"))))
    here = found(device(0, "A10", free=5), device(1, "A10", free=15))

    def layers(**settings: object) -> list[int]:
        runtime = Runtime(n_ctx=512, **settings)
        estimate = estimate_here(shape, runtime, here, here.devices, Extras())
        # A block has as much cache as any other.
        caches = [each.kv_cache_bytes for each in estimate.devices]
        return [32 * n // sum(caches) for n in caches]

    assert layers() == [9, 23]
    assert layers(tensor_split="3,1") == [25, 7]
    assert layers(tensor_split="0,0") == layers()
    assert layers(tensor_split="1") == [32, 0]
