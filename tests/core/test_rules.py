from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufctl.core.rules import get_gpu_config_llamacpp

NOT_GGUF = "Only GGUF models are supported in llama-cpp mode"
DARK_CHAMPION = (
    "DavidAU/Llama-3.2-8X3B-MOE-Dark-Champion-Instruct-uncensored-abliterated-18.4B-GGUF"
)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("135M", ("T4", 0.70, "")),
        ("0.9B", ("T4", 0.70, "")),
        ("1B", ("L4", 0.70, "")),
        ("2.9B", ("L4", 0.70, "")),
        ("3B", ("A10G", 0.75, "")),
        ("6.9B", ("A10G", 0.75, "")),
        ("7B", ("L40S", 0.85, "")),
        ("12.9B", ("L40S", 0.85, "")),
        ("13B", ("A100-80GB", 0.90, "")),
        ("29.9B", ("A100-80GB", 0.90, "")),
        ("30B", ("H100", 0.85, "")),
        ("64B", ("H100", 0.85, "")),
        ("65B", ("H100", 0.85, "")),
        ("70B", ("H100", 0.85, "")),
        ("72B", ("H100", 0.85, "")),
        ("72.1B", ("H200", 0.95, "")),
        ("120B", ("H200", 0.95, "")),
        ("232B", ("H200", 0.95, "")),
        ("233B", ("B200", 0.95, "")),
        ("405B", ("B200", 0.95, "")),
    ],
)
def test_a_quantised_model_goes_by_its_size(size: str, expected: tuple[str, float, str]) -> None:
    assert get_gpu_config_llamacpp(f"org/Zorblax-{size}-GGUF") == expected
    assert get_gpu_config_llamacpp(f"org/Zorblax-{size}-GGUF:Q4_K_M") == expected


@pytest.mark.parametrize("label", ["F16", "BF16", "F32", "fp16"])
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("0.5B", ("T4", 0.70, "")),
        ("1B", ("L4", 0.70, "")),
        ("3B", ("A10G", 0.75, "")),
        ("7B", ("L40S", 0.75, "")),
        ("13B", ("A100-80GB", 0.80, "")),
        ("30B", ("H100", 0.85, "")),
        ("64.9B", ("H100", 0.85, "")),
        ("65B", ("H200", 0.95, "")),
        ("70B", ("H200", 0.95, "")),
        ("70.4B", ("H200", 0.95, "")),
        ("70.5B", ("B200", 0.95, "")),
        ("72B", ("B200", 0.95, "")),
    ],
)
def test_an_unquantised_model_needs_more(
    size: str, label: str, expected: tuple[str, float, str]
) -> None:
    assert get_gpu_config_llamacpp(f"org/Zorblax-{size}-GGUF/Z-{size}-{label}.gguf") == expected


def test_the_quant_decides_whether_a_large_model_stays_on_an_h200() -> None:
    name = "org/Zorblax-140B-GGUF:"

    assert get_gpu_config_llamacpp(name + "Q4_K_M") == ("H200", 0.95, "")
    assert get_gpu_config_llamacpp(name + "Q8_0") == ("B200", 0.95, "")


@pytest.mark.parametrize(
    "name",
    [
        DARK_CHAMPION,
        "DavidAU/Llama-3.2-8X3B-MOE-Dark-Champion-Instruct-uncensored-abliterated-GGUF",
        "org/Zorblax-MoE-18B-GGUF",
        "org/Zorblax-moe-18.4b-q4_k_m.gguf",
        "org/Zorblax-6x3B-18B-GGUF",
    ],
)
def test_the_18b_mixtures_keep_experts_on_the_host(name: str) -> None:
    assert get_gpu_config_llamacpp(name) == ("H100", 0.95, "--n-cpu-moe 80")


def test_other_sizes_and_dense_models_do_not() -> None:
    assert get_gpu_config_llamacpp("org/Zorblax-18.4B-GGUF") == ("A100-80GB", 0.90, "")
    assert get_gpu_config_llamacpp("org/Zorblax-MoE-19B-GGUF") == ("A100-80GB", 0.90, "")
    assert get_gpu_config_llamacpp("org/Mixtral-8x7B-GGUF") == ("H100", 0.85, "")


@pytest.mark.parametrize(
    "name", ["org/assistant-GGUF", "org/assistant.gguf", "org/Big-397B-GGUF/mmproj-F16.gguf"]
)
def test_nothing_known_is_the_middle_of_the_road(name: str) -> None:
    assert get_gpu_config_llamacpp(name) == ("L4", 0.85, "")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "meta-llama/Llama-3.1-8B-Instruct",
        "TheBloke/Llama-2-7B-GPTQ",
        "TheBloke/Llama-2-7B-AWQ",
        "org/repo/model.safetensors",
        "org/repo-GGUF/model.safetensors",
        "unsloth/llama-3-8b-bnb-4bit",
        "mlx-community/Llama-3-8B-4bit",
        "org/Llama-3-8B-bf16",
    ],
)
def test_a_name_that_is_not_gguf_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(NOT_GGUF)}$") as error:
        get_gpu_config_llamacpp(name)

    assert type(error.value) is ValueError


@given(st.floats(0.1, 900.0), st.floats(0.1, 900.0))
def test_a_larger_model_never_gets_a_smaller_gpu(one: float, other: float) -> None:
    order = ["T4", "L4", "A10G", "L40S", "A100-80GB", "H100", "H200", "B200"]
    small, large = sorted((round(one, 2), round(other, 2)))

    first, second = (
        order.index(get_gpu_config_llamacpp(f"org/Zorblax-{size}B-Q4_K_M.gguf")[0])
        for size in (small, large)
    )
    assert first <= second
