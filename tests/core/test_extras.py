"""What is loaded beside a model, against llama.cpp's own allocator."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests import ggufs
from tests.ggufs import Array, Tensor, Typed, Writable
from tests.truth.recorded import headers, shape

from ggufctl.core.estimate import Basis
from ggufctl.core.extras import mmproj_terms, read_adapter
from ggufctl.core.header import Header, parse_header
from ggufctl.core.memory import Extras, ModelShape, estimate_memory
from ggufctl.core.runtime import Runtime
from ggufctl.core.vision import encoder_buffers
from ggufctl.errors import InvalidGguf, UnsupportedModel

RECORDED = json.loads((Path(__file__).parent.parent / "data" / "extras_runs.json").read_text())
PROJECTORS = RECORDED["projectors"]


def parsed(metadata: dict[str, Writable], tensors: list[Tensor]) -> Header:
    raw, size = ggufs.header(metadata, tensors)
    return parse_header(raw, size)


def n_gpus(device: str) -> int:
    return 0 if device == "cpu" else int(device.partition("x")[2] or 1)


def runtime(settings: dict[str, Any], **more: Any) -> Runtime:
    own = {name: value for name, value in settings.items() if name != "device"}
    return Runtime(**{"n_parallel": 1, "load_mode": "none", **own, **more})


# Projectors.


def stored(value: Any) -> Writable:
    if isinstance(value, list):
        return Array("float32" if isinstance(value[0], float) else "int32", value)
    kept: Writable = value
    return kept


def projector(name: str, drop: str = "", **more: Writable) -> Header:
    """A recorded projector, without the tensors and keys whose name contains `drop`."""
    recorded = PROJECTORS[name]
    metadata: dict[str, Writable] = {"general.architecture": "clip"}
    metadata |= {key: stored(value) for key, value in recorded["metadata"].items()}
    tensors = []
    for line in recorded["tensors"]:
        path, type_, extents = line.split(" ")
        of = tuple(int(n) for n in extents.split("x"))
        modality = "audio" if path.startswith("a.") else "vision"
        count = recorded["metadata"][f"clip.{modality}.block_count"] if "*" in path else 1
        tensors += [Tensor(path.replace("*", str(i)), type_, of) for i in range(count)]
    if drop:
        tensors = [t for t in tensors if drop not in t.name]
        metadata = {key: value for key, value in metadata.items() if drop not in key}
    return parsed(metadata | more, tensors)


@pytest.mark.parametrize("name", PROJECTORS)
def test_a_projector_takes_what_llama_cpp_allocates_to_the_byte(name):
    header, runs = projector(name), PROJECTORS[name]["runs"]

    on_gpu = mmproj_terms(header, 1)
    on_host = mmproj_terms(header, 0)

    assert [t.n_bytes for t in on_gpu] == runs["gpu"]
    assert [t.n_bytes for t in on_host] == runs["cpu"][1:]
    assert {t.basis for t in (*on_gpu, *on_host)} == {Basis.EXACT}


def test_a_projector_lies_on_the_first_of_several_gpus():
    name = "gemma3-4b"
    first, second, host = mmproj_terms(projector(name), 2)

    assert [first.n_bytes, host.n_bytes] == PROJECTORS[name]["runs"]["gpu"]
    assert second.n_bytes == 0


FIXED_SIZE = [
    name
    for name, recorded in PROJECTORS.items()
    if recorded["metadata"]["clip.projector_type"]
    in ("gemma3", "idefics3", "internvl", "janus_pro", "llama4", "mlp", "resampler")
]


@pytest.mark.parametrize("name", FIXED_SIZE)
def test_a_projector_without_a_graph_of_its_own_gets_a_range_that_holds_the_truth(name):
    # Taken for a type that has no graph here and encodes pictures of the same size.
    term = mmproj_terms(projector(name, **{"clip.projector_type": "step3vl"}), 1)[0]

    assert term.basis is Basis.ESTIMATED
    assert term.low_bytes <= PROJECTORS[name]["runs"]["gpu"][0] <= term.high_bytes


def test_a_graph_that_cannot_be_built_leaves_exact_weights_and_a_range():
    whole = mmproj_terms(projector("gemma3-4b"), 1)[0]
    term = mmproj_terms(projector("gemma3-4b", **{"clip.projector_type": "gemma3nv"}), 1)[0]

    assert term.basis is Basis.ESTIMATED
    assert term.low_bytes < whole.n_bytes < term.high_bytes


def test_larger_pictures_than_at_warm_up_are_mentioned():
    assert "larger pictures" in mmproj_terms(projector("qwen2.5-vl-7b"), 1)[0].note


def test_a_projector_of_fixed_picture_size_needs_no_such_note():
    assert mmproj_terms(projector("gemma3-4b"), 1)[0].note == ""


def test_a_type_that_the_pinned_llama_cpp_lacks_is_said_to_need_a_newer_one():
    with pytest.raises(UnsupportedModel, match="newer llama"):
        mmproj_terms(projector("gemma3-4b", **{"clip.projector_type": "gemma9"}), 1)


def test_a_projector_with_two_encoders_loads_shared_tensors_twice():
    both = projector("qwen2.5-omni-7b")
    n_bytes = sum(-(-t.n_bytes // 128) * 128 for t in both.tensors.values())
    shared = sum(t.n_bytes for name, t in both.tensors.items() if "patch_embd" in name)
    graphs = [encoder_buffers(both, m, on_gpu=True) for m in ("vision", "audio")]

    assert mmproj_terms(both, 1)[0].n_bytes == n_bytes + shared + sum(g.gpu for g in graphs if g)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"general.architecture": "llama"}, "not an mmproj"),
        ({"clip.has_vision_encoder": False}, "no encoder"),
        ({"clip.vision.image_size": 1 << 20}, "pixels wide"),
        ({"clip.vision.embedding_length": 0}, "embedding_length"),
        ({"clip.vision.patch_size": "wide"}, "patch_size"),
    ],
)
def test_a_broken_projector_gets_one_sentence(change, said):
    with pytest.raises(InvalidGguf, match=said):
        mmproj_terms(projector("gemma3-4b", **change), 1)


def test_a_projector_without_a_tensor_it_needs_is_refused():
    with pytest.raises(InvalidGguf, match="soft_emb_norm"):
        mmproj_terms(projector("gemma3-4b", drop="soft_emb"), 1)


# Adapters.


def adapter(
    base: Header, names: list[str], rank: int, type_: str, drop: str = "", **more: Writable
) -> Header:
    """A LoRA adapter for some weights of a model."""
    metadata: dict[str, Writable] = {
        "general.architecture": base.architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": Typed("float32", 16.0),
    }
    tensors = []
    for name in names:
        n_in, n_out, *experts = base.tensors[name].shape
        a, b = (n_in, rank, *experts), (rank, n_out, *experts)
        if name == "token_embd.weight":
            a, b = (rank, n_out), (rank, n_in)
        tensors += [Tensor(f"{name}.lora_a", type_, a), Tensor(f"{name}.lora_b", type_, b)]
    return parsed(metadata | more, [t for t in tensors if not drop or drop not in t.name])


@pytest.mark.parametrize(
    "run", RECORDED["lora"], ids=lambda r: f"{r['model']}-{r['rank']}-{r['settings']}"
)
def test_an_adapter_and_the_graph_with_it_take_what_llama_cpp_allocates(run):
    base = headers()[run["model"]]
    names = [name for name in base.tensors if re.search(run["weights"], name)]
    lora = adapter(base, names, run["rank"], run["type"])
    gpus = ["H100"] * n_gpus(run["settings"]["device"])

    estimate = estimate_memory(
        shape(run["model"]),
        runtime(run["settings"]),
        gpus,
        dry_run=True,
        extras=Extras(lora=(lora,)),
    )

    parts = [*estimate.devices, estimate.host]
    assert [p.extras[0].n_bytes for p in parts] == run["lora"]
    assert [p.compute_bytes for p in parts] == run["compute"]


def test_two_adapters_take_twice_the_memory_of_one():
    base = headers()["Llama-3.2-1B-Q8_0"]
    lora = adapter(base, ["blk.0.attn_q.weight"], 16, "f16")
    model, setting = shape("Llama-3.2-1B-Q8_0"), runtime({"n_ctx": 4096})

    one = estimate_memory(model, setting, ["H100"], extras=Extras(lora=(lora,)))
    two = estimate_memory(model, setting, ["H100"], extras=Extras(lora=(lora, lora)))

    assert two.devices[0].extras[0].n_bytes == 2 * one.devices[0].extras[0].n_bytes


def test_norms_in_an_adapter_are_passed_over():
    model = shape("Llama-3.2-1B-Q8_0")
    metadata = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
    }
    header = parsed({**metadata}, [Tensor("blk.0.attn_norm.weight", "f32", (2048,))])

    assert read_adapter(header, model.hp).pairs == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"general.type": "model"}, "is not one"),
        ({"adapter.type": "dora"}, "is not one"),
        ({"general.architecture": "qwen2"}, "the model is llama"),
        ({"drop": "lora_b"}, "does not match"),
        ({"names": ["blk.0.ffn_norm.weight"]}, "another shape"),
        ({"names": ["token_embd.weight"]}, "output matrix as well"),
        ({"base": "Llama-3.2-3B-Q4_K_M"}, "another shape"),
    ],
)
def test_an_adapter_that_llama_cpp_refuses_gets_one_sentence(change, said):
    model = "Llama-3.2-1B-Q8_0"
    base = headers()[change.pop("base", model)]
    names = change.pop("names", ["blk.0.attn_q.weight"])
    if names == ["blk.0.ffn_norm.weight"]:
        tensors = [Tensor(f"{names[0]}.lora_{x}", "f32", (2048,)) for x in "ab"]
        lora = parsed(
            {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"},
            tensors,
        )
    else:
        lora = adapter(base, names, 8, "f32", **change)

    with pytest.raises(InvalidGguf, match=said):
        estimate_memory(
            shape(model), runtime({"n_ctx": 4096}), ["H100"], extras=Extras(lora=(lora,))
        )


# Draft models.


@pytest.mark.parametrize(
    "run", RECORDED["draft"], ids=lambda r: f"{r['model']}-{r['draft_model']}-{r['settings']}"
)
def test_a_draft_model_and_its_target_take_what_llama_cpp_allocates(run):
    draft: ModelShape = shape(run["draft_model"])
    setting = runtime(run["settings"])

    estimate = estimate_memory(
        shape(run["model"]),
        setting,
        ["H100"] * n_gpus(run["settings"]["device"]),
        dry_run=True,
        extras=Extras(draft=draft),
    )

    host = estimate.host
    own_outputs = 4 * setting.n_seq_max * draft.hp.n_vocab
    assert [d.extras[0].n_bytes for d in estimate.devices] == run["draft"][:-1]
    assert host.extras[0].n_bytes - own_outputs == run["draft"][-1]
    assert [d.total_bytes - d.extras[0].n_bytes for d in estimate.devices] == run["target"][:-1]
    assert host.total_bytes - host.extras[0].n_bytes - host.output_bytes == run["target"][-1]


def test_a_target_hands_out_the_logits_of_all_drafted_tokens():
    model, setting = shape("Llama-3.2-1B-Q8_0"), runtime({"n_ctx": 4096, "n_parallel": 2})

    alone = estimate_memory(model, setting, ["H100"])
    drafted = estimate_memory(model, setting, ["H100"], extras=Extras(draft=model))

    assert drafted.host.output_bytes == 4 * alone.host.output_bytes


def test_everything_beside_a_model_is_a_term_of_its_own():
    base = headers()["Llama-3.2-1B-Q8_0"]
    model = shape("Llama-3.2-1B-Q8_0")
    lora = adapter(base, ["blk.0.attn_q.weight"], 16, "f16")
    extras = Extras(lora=(lora,), draft=model, mmproj=projector("gemma3-4b"))

    estimate = estimate_memory(model, runtime({"n_ctx": 4096}), ["H100"], extras=extras)

    names = [t.name for t in estimate.devices[0].extras]
    assert names == ["LoRA", "draft model", "projector"]
    assert estimate.is_exact
