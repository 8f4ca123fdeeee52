"""`--spec-type draft-mtp` against what llama.cpp's own allocator did, and what it refuses.

`GGUFCTL_TRUTH=full` takes every recorded run, else every tenth.
"""

from __future__ import annotations

import os

import pytest
from tests.oracle.drafts import nextn_alone
from tests.truth import drafts

from ggufctl.catalog import load_catalogue
from ggufctl.core.compat import check_settings, setting_warnings
from ggufctl.core.engine_log import FailureKind
from ggufctl.core.ladder import ladder
from ggufctl.core.memory import Extras, ModelShape, estimate_memory
from ggufctl.core.plan import engine_args
from ggufctl.core.planner import Allowed, Constraints, Planner
from ggufctl.core.reduce import reductions
from ggufctl.core.runtime import Runtime
from ggufctl.errors import GgufctlError, RefusedSettings, UnsupportedModel, UsageError

EVERY = 1 if os.environ.get("GGUFCTL_TRUTH") == "full" else 10

PARTS = 4
"""Into how many tests the runs are cut."""

MTP = Runtime(n_ctx=4096, spec_type="draft-mtp")


@pytest.mark.parametrize("part", range(PARTS))
def test_a_model_that_drafts_for_itself_is_planned_to_the_byte(part):
    chosen = [row for row in list(drafts.rows(EVERY))[part::PARTS] if "error" not in row]

    wrong = {str(row): found for row in chosen if (found := list(drafts.differences(row)))}

    assert len(chosen) >= 20
    assert not wrong, "\n".join(f"{row}\n    {found}" for row, found in wrong.items())


def test_what_llama_cpp_refuses_is_refused():
    refused = [row for row in drafts.rows() if "error" in row]

    for row in refused:
        run, runtime = drafts.runtime_of(row)
        extras = drafts.extras_of(row)
        with pytest.raises(GgufctlError) as error:
            check_settings(drafts.shape(run.model), runtime)
            estimate_memory(drafts.shape(run.model), runtime, run.gpus, extras=extras)
        assert isinstance(error.value, UnsupportedModel | RefusedSettings), row
    assert len({row["model"] for row in refused}) >= 3


@pytest.mark.parametrize("n_gpus", [1, 2, 3])
@pytest.mark.parametrize("model", ["Qwen3.5-4B-Q4_K_M", "GLM-4.5-Air-Q4_K_M"])
def test_leaving_out_repeating_blocks_changes_nothing(model, n_gpus):
    shape = drafts.shape(model)

    folded = estimate_memory(shape, MTP, ["H100"] * n_gpus)

    assert folded == estimate_memory(shape, MTP, ["H100"] * n_gpus, fold=False)


def test_what_is_allocated_is_the_larger_of_the_start_and_of_use():
    shape, runtime = drafts.shape("tiny-glm4moe-mtp"), MTP.with_(n_parallel=2)

    start = estimate_memory(shape, runtime, ["H100"], dry_run=True).devices[0]
    in_use = estimate_memory(shape, runtime, ["H100"], dry_run=True, in_use=True).devices[0]
    both = estimate_memory(shape, runtime, ["H100"]).devices[0]

    assert start.compute_bytes < in_use.compute_bytes == both.compute_bytes


def test_the_draft_context_is_a_term_of_its_own():
    shape = drafts.shape("Qwen3.5-4B-Q4_K_M")

    alone = estimate_memory(shape, Runtime(n_ctx=4096), ["L4"]).devices[0]
    drafting = estimate_memory(shape, MTP, ["L4"]).devices[0]

    (term,) = drafting.extras
    assert (term.name, term.basis) == ("draft context", "exact")
    assert drafting.weights_bytes > alone.weights_bytes
    assert drafting.recurrent_bytes == 4 * alone.recurrent_bytes
    assert alone.extras == ()


def test_more_tokens_at_a_time_keep_more_states_of_recurrent_models():
    shape = drafts.shape("Qwen3.5-4B-Q4_K_M")

    sizes = [
        estimate_memory(shape, MTP.with_(spec_draft_n_max=n), ["L4"]).devices[0].recurrent_bytes
        for n in (0, 1, 7)
    ]

    assert sizes == [sizes[0], 2 * sizes[0], 8 * sizes[0]]


def test_models_without_nextn_blocks_are_refused_as_unsupported():
    with pytest.raises(UnsupportedModel, match="this llama file has none"):
        check_settings(drafts.shape("tiny-llama-dense"), MTP)


def test_a_conversion_without_the_blocks_weights_is_refused():
    header = drafts.headers()["tiny-qwen35-mtp"]
    without = {n: t for n, t in header.tensors.items() if ".nextn." not in n}
    shape = ModelShape(type(header)(**{**_fields(header), "tensors": without}))

    with pytest.raises(UnsupportedModel, match=r"lacks \(blk\.2\.nextn\.eh_proj\.weight\)"):
        check_settings(shape, MTP)


def _fields(header):
    return {name: getattr(header, name) for name in header.__dataclass_fields__}


def test_a_drafter_of_another_width_is_refused():
    extras = Extras(draft=drafts.shape("Qwen3.5-4B-Q4_K_M"))

    with pytest.raises(RefusedSettings, match="hidden states of 2560, and the model has 256"):
        estimate_memory(drafts.shape("tiny-llama-dense"), MTP, ["L4"], extras=extras)


@pytest.mark.parametrize("model", ["tiny-qwen35-mtp", "tiny-gemma4-assistant-dense"])
def test_nextn_blocks_alone_are_no_model_that_drafts_by_itself(model):
    header = drafts.headers()[model]
    draft = ModelShape(nextn_alone(header) if model.endswith("-mtp") else header)
    runtime = Runtime(n_ctx=4096, draft_model="blocks.gguf")

    with pytest.raises(RefusedSettings, match=r"has nextn/MTP blocks of .* only") as error:
        estimate_memory(drafts.shape(model), runtime, ["L4"], extras=Extras(draft=draft))
    assert error.value.hint == "Add --spec-type draft-mtp."


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"spec_draft_type_v": "q8_0", "flash_attn": "off"}, "needs flash attention"),
        ({"spec_type": "draft-simple"}, "needs a draft model"),
    ],
)
def test_settings_that_llama_server_refuses_are_refused(changed, said):
    with pytest.raises(RefusedSettings, match=said):
        check_settings(drafts.shape("tiny-qwen35-mtp"), MTP.with_(**changed))


def test_keys_and_values_of_a_latent_draft_have_one_type():
    with pytest.raises(RefusedSettings, match="takes no different cache types"):
        check_settings(drafts.shape("tiny-deepseek2-mtp"), MTP.with_(spec_draft_type_k="q8_0"))


@pytest.mark.parametrize(
    "wrong",
    [{"spec_type": "eagle"}, {"spec_draft_n_max": -1}, {"spec_draft_type_k": "q3"}],
)
def test_values_that_make_no_sense_are_usage_errors(wrong):
    with pytest.raises(UsageError):
        Runtime(**wrong)


def test_llama_server_is_told_how_to_draft():
    plain = Runtime(n_ctx=4096)
    assert "--spec-type" not in engine_args(plain)

    args = engine_args(MTP.with_(spec_draft_n_max=5, spec_draft_type_k="q8_0"))
    at = args.index("--spec-type")
    assert args[at : at + 6] == (
        *("--spec-type", "draft-mtp"),
        *("--spec-draft-n-max", "5"),
        *("-ctkd", "q8_0"),
    )


def test_a_draft_model_of_which_nothing_is_said_is_told_to_draft():
    args = engine_args(Runtime(n_ctx=4096, draft_model="small.gguf"))

    at = args.index("--spec-type")
    assert args[at : at + 4] == ("--spec-type", "draft-simple", "-md", "small.gguf")


def test_more_tokens_than_trained_heads_are_warned_of():
    shape = drafts.shape("tiny-step35-mtp")

    said = setting_warnings(shape, MTP.with_(spec_draft_n_max=5))

    assert any("drafts 2 tokens at a time" in text for text in said)
    said = setting_warnings(shape, MTP.with_(spec_draft_n_max=2))
    assert not any("tokens at a time" in text for text in said)


def test_a_model_that_fits_without_drafts_is_offered_so():
    shape = drafts.shape("Qwen3.5-4B-Q4_K_M")
    planner = Planner(shape, load_catalogue())
    runtime = MTP.with_(n_ctx=262144, n_parallel=64, kv_unified=True, spec_draft_n_max=8)
    allowed = Allowed.by(Constraints(gpus=("A100-80GB",)), load_catalogue())

    steps = ladder(planner, runtime, allowed, allowed)

    step = next(step for step in steps if step.kind == "spec_type")
    assert step.changes == ("--spec-type", "none")
    assert step.text == "without drafts by nextn/MTP blocks it fits A100-80GB"


def test_an_engine_out_of_memory_is_tried_without_drafts_first():
    shape = drafts.shape("Qwen3.5-4B-Q4_K_M")

    first = next(reductions(shape, MTP, FailureKind.OOM_KV, n_gpus=1))

    assert first.runtime == MTP.with_(spec_type="none")
    assert first.flags == ("--spec-type", "none")
