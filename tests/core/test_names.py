from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufctl.core.names import (
    QUANT_QUALITY_ORDER,
    Kind,
    bits_per_weight,
    detect,
    did_you_mean,
    find_quant,
    kind_of_file,
    normalize_quant,
    pick,
    shard_paths,
    variants,
)
from ggufctl.errors import AmbiguousReference, ModelNotFound

DATA = Path(__file__).parent.parent / "data"
BILLION = 1e9


def rows(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / file).read_text().splitlines()]


def name_of(row: dict[str, Any]) -> str:
    return row.get("name") or "/".join(p for p in (row["ref"], row["filename"]) if p)


def wanted_quant(text: str | None) -> str | None:
    """The label of a row: notes in brackets go, `i1-` is where the file comes from."""
    if text is None:
        return None
    named = re.search(r"name says (\w+)", text)
    label = named.group(1) if named else text.split(maxsplit=1)[0]
    return label.upper().removeprefix("I1-")


def miss(row: dict[str, Any]) -> str | None:
    got = detect(name_of(row))
    total = row["total_params_b"]
    if total is not None and (
        got.n_params is None or abs(got.n_params / BILLION - total) > 0.15 * total
    ):
        return f"{name_of(row)}: total {got.n_params}, not {total}B"
    if row["is_moe"] is not None and got.is_moe is not row["is_moe"]:
        return f"{name_of(row)}: is_moe {got.is_moe}"
    if got.quant != wanted_quant(row["quant"]):
        return f"{name_of(row)}: quant {got.quant}, not {row['quant']}"
    return None


@pytest.mark.parametrize("file", ["model_names.jsonl", "model_names_more.jsonl"])
def test_at_least_95_of_100_real_names_are_read_right(file: str) -> None:
    names = rows(file)
    misses = [text for row in names if (text := miss(row))]
    sized = [row for row in names if row["total_params_b"] is not None]
    given_ = [row for row in sized if detect(name_of(row)).n_params is not None]

    assert len(misses) <= 0.05 * len(names), "\n".join(misses)
    assert len(given_) >= 0.8 * len(sized)


@pytest.mark.parametrize(
    "name",
    [
        "org/assistant-v0.3-GGUF",
        "org/assistant-128k-instruct-2407-GGUF",
        "org/assistant-3.2-1M-GGUF",
        "org/assistant-R1-0528-i1-GGUF",
        "org/assistant-K2.5-4bit-GGUF",
        "org/assistant-4.19bpw-GGUF",
        "org/assistant-2025-03-Q8_0-GGUF",
        "org/assistant-100B-tokens-GGUF",
        "70B-lab/assistant-GGUF",
        "assistant-e5a06688.gguf",
        "assistant-Q4_K_M-00001-of-00070.gguf",
        "",
        "/",
        "gguf",
    ],
)
def test_versions_dates_contexts_and_bits_are_not_sizes(name: str) -> None:
    assert detect(name).n_params is None


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("org/Thing-70b-GGUF", 70.0, None),
        ("org/Thing-1_5b-chat-GGUF", 1.5, None),
        ("org/Thing-7b1-GGUF", 7.1, None),
        ("org/thing7b.gguf", 7.0, None),
        ("org/Thing-135M-GGUF", 0.135, None),
        ("org/Thing-1T-GGUF", 1000.0, None),
        ("org/Thing-1.1B-3T-GGUF", 1.1, None),
        ("org/Thing-13b64k-GGUF", 13.0, None),
        ("org/Thing-99B-A7B-GGUF", 99.0, 7.0),
        ("org/Thing-3b-a800m-GGUF", 3.0, 0.8),
        ("org/Mixtral-8x7B-GGUF", 46.703, 12.9),
        ("org/Thing-2x8B-GGUF", 13.667, None),
        ("org/Thing-34Bx2-MoE-GGUF", 60.81, None),
        ("org/Thing-4x8B-25B-GGUF", 25.0, None),
        ("org/Thing-40x8B-GGUF", None, None),
        ("org/Thing-8B-Distill-70B-GGUF", 8.0, None),
        ("org/Student-4B-Teacher-480B-Distill-GGUF", 4.0, None),
        ("org/Student-4B-480B-A35B-Distill-GGUF", 4.0, None),
        ("org/Thing-GGUF:Q4_K_M", None, None),
        ("org/Thing-7B-GGUF/other-3B-Q8_0.gguf", 3.0, None),
        ("ollama.com/library/thing:8b-instruct-q4_K_M", 8.0, None),
    ],
)
def test_sizes_are_read_by_general_rules(
    name: str, total: float | None, active: float | None
) -> None:
    got = detect(name)

    assert got.n_params == (None if total is None else pytest.approx(total * BILLION, rel=1e-3))
    assert got.n_active_params == (None if active is None else round(active * BILLION))


def test_effective_size_is_not_the_total() -> None:
    got = detect("google/gemma-3n-E4B-it-GGUF")

    assert got.n_params == 6_866_000_000
    assert got.n_active_params == 4_000_000_000
    assert not got.is_moe


def test_experts_are_counted() -> None:
    assert detect("a/Mixtral-8x7B-GGUF").n_experts == 8
    assert detect("a/Llama-4-Scout-17B-16E-Instruct-GGUF").n_experts == 16
    assert detect("a/gpt-oss-120b-GGUF").n_experts == 128


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("m-Q4_K_M.gguf", "Q4_K_M"),
        ("m.q5_k_s.gguf", "Q5_K_S"),
        ("m-UD-Q4_K_XL-00001-of-00003.gguf", "UD-Q4_K_XL"),
        ("m.i1-IQ3_XXS.gguf", "IQ3_XXS"),
        ("m-UD-TQ1_0.gguf", "UD-TQ1_0"),
        ("m-mxfp4.gguf", "MXFP4"),
        ("m-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("m-NVFP4.gguf", "NVFP4"),
        ("m-fp16.gguf", "F16"),
        ("m-bf16.gguf", "BF16"),
        ("m-f32.gguf", "F32"),
        ("m.f16.q6_k.gguf", "Q6_K"),
        ("m-Q4_0_4_8.gguf", "Q4_0_4_8"),
        ("m-IQ2_KL.gguf", "IQ2_KL"),
        ("m-IQ4_KSS.gguf", "IQ4_KSS"),
        ("m-iq2_bn_r4.gguf", "IQ2_BN_R4"),
        ("m-Q8_KV_R8.gguf", "Q8_KV_R8"),
        ("m-Q4KM.gguf", "Q4_K_M"),
        ("m-Q6-K.gguf", "Q6_K"),
        ("m-q4.gguf", "Q4"),
        ("m-i2_s.gguf", "I2_S"),
        ("Gated-IQ-Multi-Tier", None),
        ("m-4bit", None),
        ("m-FP8", None),
    ],
)
def test_quant_labels_are_found_and_spelled_as_llama_cpp_does(text: str, label: str | None) -> None:
    assert find_quant(text) == label


def test_every_quant_of_the_quality_order_is_known_and_weighed() -> None:
    assert len(set(QUANT_QUALITY_ORDER)) == len(QUANT_QUALITY_ORDER)
    for label in QUANT_QUALITY_ORDER:
        assert normalize_quant(label) == label
        assert normalize_quant(label.lower()) == label
        bits = bits_per_weight(label)
        assert bits is not None
        # No type of ggml packs a weight into one bit, and none is wider than F32.
        assert 1.0 < bits <= 32.0


def test_a_better_quant_is_never_much_smaller() -> None:
    bits = [bits_per_weight(label) or 0.0 for label in QUANT_QUALITY_ORDER]

    assert all(later <= earlier * 1.35 for earlier, later in pairwise(bits))
    assert bits_per_weight("i1-q4_k_m") == bits_per_weight("Q4_K_M") == 4.85
    assert bits_per_weight("Q4_K") == bits_per_weight("Q4_K_M")
    assert bits_per_weight("potato") is None


def test_a_shard_is_a_pair() -> None:
    got = detect("org/repo-GGUF/Q8_0/m-Q8_0-00002-of-00008.gguf")

    assert got.shard == (2, 8)
    assert got.shard is not None
    assert (got.shard.index, got.shard.count) == (2, 8)
    assert detect("m.shard-00001-of-00005.gguf").shard == (1, 5)
    assert detect("m.Q8_0.gguf.part1of2").shard == (1, 2)
    assert detect("m-00009-of-00003.gguf").shard is None


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("mmproj-model-f16.gguf", Kind.MMPROJ),
        ("Thing-8B-mmproj-BF16.gguf", Kind.MMPROJ),
        ("imatrix.gguf", Kind.IMATRIX),
        ("imatrix_unsloth.dat", Kind.IMATRIX),
        ("Thing-8B.imatrix.gguf", Kind.IMATRIX),
        ("Thing-8B-imatrix-Q4_K_M.gguf", Kind.MODEL),
        ("Thing-lora-f16.gguf", Kind.LORA),
        ("Thing-8B-qlora.Q4_K_M.gguf", Kind.MODEL),
        ("Thing-8B-lora-merged-f16.gguf", Kind.MODEL),
        ("Thing-70B-DRAFT-0.5B-Q4_0.gguf", Kind.DRAFT),
        ("eagle3-Thing-70B-F16.gguf", Kind.DRAFT),
        ("Thing-27B-DFlash-IQ4_XS.gguf", Kind.DRAFT),
        ("mtp-Thing-27B-Q8_0.gguf", Kind.DRAFT),
        ("Thing-27B-MTP-Q8_0.gguf", Kind.MODEL),
        ("ggml-vocab-llama-bpe.gguf", Kind.VOCAB),
        ("control_vector-happy.gguf", Kind.CONTROL_VECTOR),
        ("Eagle-7B-Q8_0.gguf", Kind.MODEL),
    ],
)
def test_side_files_are_never_taken_for_the_model(file: str, kind: Kind) -> None:
    assert kind_of_file(file) is kind
    if kind not in (Kind.MODEL, Kind.DRAFT):
        assert detect(f"org/Big-397B-GGUF/{file}").n_params is None


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("TheBloke/Llama-2-7B-GPTQ", "GPTQ"),
        ("TheBloke/Llama-2-7B-AWQ", "AWQ"),
        ("turboderp/Llama-3-8B-exl2", "EXL2"),
        ("mlx-community/Llama-3-8B-4bit", "MLX"),
        ("unsloth/llama-3-8b-bnb-4bit", "bitsandbytes"),
        ("nvidia/Llama-3-8B-NVFP4", "NVFP4"),
        ("Qwen/Qwen3-8B-FP8", "FP8"),
        ("org/repo/model-00001-of-00004.safetensors", "safetensors"),
        ("org/repo-GGUF/model.safetensors", "safetensors"),
        ("org/repo/pytorch_model.bin", "PyTorch .bin"),
        ("TheBloke/Llama-2-7B-GGML/llama-2-7b.ggmlv3.q4_K_M.bin", "GGML"),
        ("meta-llama/Llama-3.1-8B-Instruct", None),
        ("microsoft/phi-4-onnx", "ONNX"),
    ],
)
def test_other_formats_are_named_and_not_gguf(name: str, format_: str | None) -> None:
    got = detect(name)

    assert not got.is_gguf
    assert got.format == format_


@pytest.mark.parametrize(
    "name",
    [
        "org/Thing-GGUF",
        "org/thing-gguf",
        "org/thing:Q4_K_M",
        "org/thing/model.gguf",
        "./model-00001-of-00003.gguf",
        "https://host/path/model.gguf?download=true",
        "Kimi-K2-safetensors-BF16-00001-of-00045.gguf",
        "org/Llama-3-8B-Q4_K_M",
        "model.Q8_0.gguf.part1of2",
    ],
)
def test_gguf_names_are_recognised(name: str) -> None:
    got = detect(name)

    assert got.is_gguf
    assert got.format is None


@pytest.mark.parametrize(
    "name",
    [
        "unsloth/Qwen3-32B-GGUF/Qwen3-32B-Q4_K_M.gguf",
        "hf://unsloth/Qwen3-32B-GGUF/Qwen3-32B-Q4_K_M.gguf",
        "hf://unsloth/Qwen3-32B-GGUF@main/Qwen3-32B-Q4_K_M.gguf",
        "https://huggingface.co/unsloth/Qwen3-32B-GGUF/resolve/main/Qwen3-32B-Q4_K_M.gguf",
        "https://huggingface.co/unsloth/Qwen3-32B-GGUF/blob/main/Qwen3-32B-Q4_K_M.gguf?x=1#y",
        "unsloth/Qwen3-32B-GGUF:q4_k_m",
        "unsloth/Qwen3-32B-GGUF@main:Q4_K_M",
        "/models/Qwen3-32B/Qwen3-32B-Q4_K_M.gguf",
        "C:\\models\\Qwen3-32B-Q4_K_M.gguf",
    ],
)
def test_every_way_to_write_a_reference_says_the_same(name: str) -> None:
    got = detect(name)

    assert (got.n_params, got.quant, got.is_gguf) == (32_000_000_000, "Q4_K_M", True)


@given(st.text(max_size=200) | st.from_regex(r"[\w./:@x-]{0,120}(?:gguf)?", fullmatch=True))
def test_no_name_breaks_the_detector(name: str) -> None:
    got = detect(name)

    assert got.n_params is None or got.n_params > 0
    assert got.n_active_params is None or got.n_active_params > 0
    assert got.quant is None or normalize_quant(got.quant) == got.quant


@given(st.integers(2, 999), st.sampled_from(["Q4_K_M", "UD-IQ2_M", "BF16", "IQ4_KS"]))
def test_a_plain_size_and_quant_come_back_as_written(size: int, quant: str) -> None:
    got = detect(f"owner/Zorblax-{size}B-GGUF/Zorblax-{size}B-{quant}.gguf")

    # 671B and 685B are how DeepSeek-V3's one size is written
    assert got.n_params == (671_026_000_000 if size in (671, 685) else size * 10**9)
    assert got.quant == quant


def test_a_huge_name_is_no_trouble() -> None:
    assert detect("9" * 50_000 + "b-gguf").n_params is None
    assert detect("gemma-3n-" * 5_000 + "gguf").is_gguf
    assert detect("a.part" + "9" * 5_000 + "of" + "9" * 5_000).shard is None


def test_importing_the_detector_loads_nothing_heavy() -> None:
    code = "import sys, ggufctl.core.names.detect as _; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not {"json", "typer", "rich", "pydantic", "huggingface_hub"} & set(loaded)


LISTING = (
    ("README.md", 10),
    ("imatrix.gguf", 5),
    ("m-Q4_K_M.gguf", 400),
    ("m-UD-Q4_K_M.gguf", 410),
    ("m-Q8_0.gguf", 800),
    ("m-lora-f16.gguf", 3),
    ("mmproj-F16.gguf", 7),
    ("BF16/m-BF16-00002-of-00003.gguf", 20),
    ("BF16/m-BF16-00001-of-00003.gguf", 10),
    ("BF16/m-BF16-00003-of-00003.gguf", 30),
    ("Q6_K/model-00001-of-00002.gguf", 11),
    ("m.Q2_K.gguf.part1of2", 1),
    ("m.Q2_K.gguf.part2of2", 2),
)


def test_a_listing_becomes_its_loadable_models() -> None:
    found = {v.paths[0]: v for v in variants(LISTING)}

    whole = found["BF16/m-BF16-00001-of-00003.gguf"]
    assert whole.paths == shard_paths("BF16/m-BF16.gguf", 3)
    assert (whole.size_bytes, whole.complete, whole.quant) == (60, True, "BF16")
    part = found["Q6_K/model-00001-of-00002.gguf"]
    assert (part.quant, part.complete) == ("Q6_K", False)
    assert part.missing == ("Q6_K/model-00002-of-00002.gguf",)
    cut = found["m.Q2_K.gguf.part1of2"]
    assert (cut.size_bytes, cut.complete, cut.missing) == (3, False, ("m.Q2_K.gguf",))
    assert found["mmproj-F16.gguf"].kind is Kind.MMPROJ
    assert found["imatrix.gguf"].kind is Kind.IMATRIX
    assert found["m-lora-f16.gguf"].kind is Kind.LORA
    assert "README.md" not in found


def test_shards_of_different_sets_stay_apart() -> None:
    found = variants(
        [("a-00001-of-00002.gguf", 1), ("a-00001-of-00003.gguf", 1), ("a-00002-of-00002.gguf", 1)]
    )

    assert [(len(v.paths), v.complete) for v in found] == [(2, True), (1, False)]


@pytest.mark.parametrize(
    ("quant", "path"),
    [
        ("Q4_K_M", "m-Q4_K_M.gguf"),
        ("q4_k_m", "m-Q4_K_M.gguf"),
        ("i1-Q4_K_M", "m-Q4_K_M.gguf"),
        ("ud-q4_k_m", "m-UD-Q4_K_M.gguf"),
        ("bf16", "BF16/m-BF16-00001-of-00003.gguf"),
        (None, "m-Q4_K_M.gguf"),
    ],
)
def test_a_quant_picks_the_variant_with_exactly_that_label(quant: str | None, path: str) -> None:
    assert pick(variants(LISTING), quant).paths[0] == path


def test_without_a_quant_llama_cpps_order_holds() -> None:
    assert pick(variants([("m-Q2_K.gguf", 1), ("m-Q8_0.gguf", 1)])).quant == "Q8_0"
    assert pick(variants([("m-Q2_K.gguf", 1), ("m-Q3_K_S.gguf", 1)])).quant == "Q2_K"


def test_a_wrong_quant_is_answered_with_the_nearest() -> None:
    with pytest.raises(ModelNotFound) as error:
        pick(variants(LISTING), "Q4_K_N")

    assert "Q4_K_M" in error.value.hint


def test_one_label_on_two_models_is_ambiguous() -> None:
    found = variants([("a-8B-Q8_0.gguf", 1), ("b-3B-Q8_0.gguf", 1)])

    with pytest.raises(AmbiguousReference) as error:
        pick(found, "Q8_0")
    assert error.value.choices == ("a-8B-Q8_0.gguf", "b-3B-Q8_0.gguf")
    assert pick(found, "a-8B-Q8_0").paths == ("a-8B-Q8_0.gguf",)


def test_side_files_alone_are_no_model() -> None:
    with pytest.raises(ModelNotFound):
        pick(variants([("mmproj-F16.gguf", 1)]), "F16")


def test_shard_paths_start_from_any_shard() -> None:
    expected = ("d/m-00001-of-00002.gguf", "d/m-00002-of-00002.gguf")

    assert shard_paths("d/m-00002-of-00002.gguf", 2) == expected
    assert shard_paths("d/m.gguf", 2) == expected
    for count in (0, 100_000):
        with pytest.raises(ValueError, match="shards"):
            shard_paths("m.gguf", count)


def test_a_typo_finds_its_neighbours() -> None:
    assert did_you_mean("h10", ("T4", "H100", "H200")) == ("H100",)
    assert did_you_mean("q4_k_n", ("Q4_K_M", "BF16"))[0] == "Q4_K_M"
    assert did_you_mean("zzz", ("T4",)) == ()
