from __future__ import annotations

from pathlib import Path

import pytest
from tests import projector
from tests.ggufs import header, llama, shards, write

from fakehub import FakeFile, FakeHub
from ggufctl.core.planner import Constraints
from ggufctl.core.runtime import Runtime
from ggufctl.errors import (
    InvalidGguf,
    RefusedSettings,
    RemoteError,
    UnsupportedModel,
    UsageError,
)
from ggufctl.services.plan import (
    NamePlan,
    estimate,
    explain,
    plan_by_name,
    plan_or_name,
    plan_reference,
    read_model,
)

BIG = {
    "n_layer": 60,
    "n_embd": 4096,
    "n_vocab": 32000,
    "n_merges": 10,
    "llama__context_length": 32768,
    "llama__attention__head_count": 32,
    "llama__attention__head_count_kv": 16,
}
TYPES = {"Q2_K": "q2_K", "Q3_K_M": "q3_K", "Q4_K_M": "q4_K", "Q6_K": "q6_K", "Q8_0": "q8_0"}


def files(*labels: str, **shape: int) -> dict[str, FakeFile | bytes]:
    return {
        f"Big-{label}.gguf": FakeFile(
            *header(*llama(**{**BIG, **shape, "type_": TYPES.get(label, "f16")}))
        )
        for label in labels
    }


def plan(ref: str, gpus: tuple[str, ...] = (), quant: str = "", n_ctx: int | None = 2048):
    return plan_reference(ref, Runtime(), Constraints(gpus=gpus), n_ctx=n_ctx, quant=quant)


def test_auto_takes_the_best_quant_that_fits_what_q4_k_m_needs(hub: FakeHub):
    hub.add("acme/Big-GGUF", files(*TYPES, n_layer=80))

    found = plan("acme/Big-GGUF")

    assert found.require_choice().row.gpu.name == "T4"
    assert found.model.quant == "Q6_K"
    by_quant = {quant.quant: quant.choice for quant in found.quants}
    assert by_quant["Q8_0"] is not None
    assert by_quant["Q8_0"].gpu.name != "T4"
    assert "the best quant on the GPU that Q4_K_M needs" in found.require_choice().reason


def test_auto_never_takes_more_than_q8_0(hub: FakeHub):
    hub.add("acme/Big-GGUF", files("Q4_K_M", "F16", n_layer=2))

    assert plan("acme/Big-GGUF").model.quant == "Q4_K_M"


def test_without_q4_k_m_the_quant_closest_to_it_sets_the_gpu(hub: FakeHub):
    hub.add("acme/Big-GGUF", files("Q2_K", "Q3_K_M", "Q8_0", n_layer=2))

    found = plan("acme/Big-GGUF")

    assert found.model.quant == "Q8_0"
    assert "Q3_K_M needs" in found.require_choice().reason


def test_a_table_of_many_quants_costs_two_headers(hub: FakeHub):
    hub.add("acme/Big-GGUF", files(*TYPES, "F16", n_layer=80))

    found = plan("acme/Big-GGUF")

    read = {request.path for request in hub.requests() if ".gguf" in request.path}
    assert len(read) == 2
    assert len(found.quants) == 6


def test_the_table_says_nearly_what_the_header_of_each_quant_says(hub: FakeHub):
    hub.add("acme/Big-GGUF", files(*TYPES))

    for quant in plan("acme/Big-GGUF").quants:
        own = plan(f"acme/Big-GGUF:{quant.quant}")
        for scaled, exact in zip(quant.rows, own.gpus, strict=False):
            if (scaled.gpu, scaled.count) == (exact.gpu, exact.count):
                assert scaled.used_bytes == pytest.approx(exact.used_bytes, rel=0.02)


def test_a_named_quant_is_taken_and_smaller_ones_are_what_is_offered(hub: FakeHub):
    hub.add("acme/Big-GGUF", files(*TYPES, n_layer=140))

    found = plan("acme/Big-GGUF", gpus=("T4:1",), quant="Q6_K")

    assert found.choice is None
    step = next(step for step in found.ladder if step.quant)
    assert step.quant == "Q3_K_M"
    assert step.used_bytes <= step.usable_bytes


def test_the_command_loads_exactly_what_was_planned(hub: FakeHub):
    hub.add("acme/Big-GGUF", files("Q4_K_M", "Q8_0", n_layer=2))

    assert plan("acme/Big-GGUF").model.launch_args == ("-hf", "acme/Big-GGUF:Q8_0")
    named = plan("acme/Big-GGUF/Big-Q4_K_M.gguf")
    assert named.model.launch_args == ("-hf", "acme/Big-GGUF", "-hff", "Big-Q4_K_M.gguf")


def test_a_projector_that_was_not_planned_is_not_loaded_by_the_command_either(hub: FakeHub):
    projector = {"mmproj-F16.gguf": FakeFile(b"GGUF")}
    hub.add("acme/Big-GGUF", {**files("Q4_K_M", n_layer=2), **projector})

    found = plan("acme/Big-GGUF")

    assert "--no-mmproj" in found.require_choice().engine_args
    assert any("mmproj" in text for text in found.warnings)


def test_a_quant_twice_must_be_the_same(hub: FakeHub):
    hub.add("acme/Big-GGUF", files("Q4_K_M", "Q8_0"))

    assert plan("acme/Big-GGUF:Q8_0", quant="q8_0").model.quant == "Q8_0"
    with pytest.raises(UsageError):
        plan("acme/Big-GGUF:Q8_0", quant="Q4_K_M")


def test_a_sharded_quant_of_a_repository_is_planned_as_a_whole(hub: FakeHub):
    parts = shards(*llama(**{**BIG, "type_": "q8_0"}), 3)
    hub.add(
        "acme/Big-GGUF",
        {f"Big-Q8_0-{i:05d}-of-00003.gguf": FakeFile(*part) for i, part in enumerate(parts, 1)},
    )

    found = plan("acme/Big-GGUF")

    assert len(found.model.files) == 3
    assert found.model.size_bytes == sum(size for _, size in parts)
    assert found.require_choice().memory_utilization == 0.93


def test_a_model_without_a_quant_in_its_name_is_planned_too(hub: FakeHub):
    hub.add("acme/Big-GGUF", {"model.gguf": FakeFile(*header(*llama(**BIG)))})

    found = plan("acme/Big-GGUF")

    assert found.quants == ()
    assert found.model.quant == "Q8_0"


def test_a_repository_of_another_format_is_refused(hub: FakeHub):
    hub.add("acme/Big", {"model.safetensors": b"x"})

    with pytest.raises(UnsupportedModel) as caught:
        plan("acme/Big")

    assert "safetensors" in caught.value.message


def test_refused_settings_are_refused_before_better_quants_are_looked_at(hub: FakeHub):
    hub.add("acme/Big-GGUF", files(*TYPES))

    with pytest.raises(RefusedSettings):
        plan_reference("acme/Big-GGUF", Runtime(split_mode="row"), Constraints())


def test_a_plan_of_what_was_seen_before_works_without_the_hub(hub: FakeHub):
    hub.add("acme/Big-GGUF", files("Q4_K_M", "Q8_0"))
    before = plan("acme/Big-GGUF")
    hub.fail_with = 503

    after = plan("acme/Big-GGUF")

    assert after.gpus == before.gpus
    assert any("last seen" in text for text in after.warnings)


def test_without_the_hub_the_name_still_says_something(hub: FakeHub):
    hub.fail_with = 503

    found = plan_or_name("acme/Big-7B-GGUF", Runtime(), Constraints())

    assert isinstance(found, NamePlan)
    assert found.rule.gpu == "L40S"
    assert isinstance(found.error, RemoteError)


def test_a_name_that_is_not_of_a_gguf_has_no_rule():
    with pytest.raises(UnsupportedModel):
        plan_by_name("acme/Big-7B-AWQ")


def test_a_draft_model_and_a_file_that_is_not_one_are_told_apart(tmp_path: Path):
    main = write(tmp_path / "main-Q8_0.gguf", *header(*llama(**BIG)))
    draft = write(tmp_path / "small-Q8_0.gguf", *header(*llama(n_layer=4)))
    model = read_model(str(main))
    alone = estimate(model, Runtime(n_ctx=2048, n_parallel=1))
    both = estimate(model, Runtime(n_ctx=2048, n_parallel=1, draft_model=str(draft)))

    assert both.devices[0].total_bytes > alone.devices[0].total_bytes
    assert [term.name for term in both.devices[0].extras] == ["draft model"]
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises((InvalidGguf, UnsupportedModel)):
        estimate(model, Runtime(n_ctx=2048, mmproj=str(tmp_path / "text.gguf")))


def test_an_explanation_names_what_is_alive_at_the_peak(tmp_path: Path):
    path = write(tmp_path / "main-Q8_0.gguf", *header(*llama(**BIG)))

    found = explain(plan(str(path)))

    assert found is not None
    peak = found.devices[0].peak
    assert sum(live.n_bytes for live in peak) <= found.devices[0].compute_bytes
    assert len(peak) > 1


def test_a_revision_that_llama_server_cannot_be_told_is_a_warning(hub: FakeHub):
    hub.add("acme/Big-GGUF", files("Q4_K_M", n_layer=2), revisions=("main", "v2"))

    told = [plan(f"acme/Big-GGUF@{name}").warnings for name in ("main", "v2")]
    named = plan("acme/Big-GGUF@v2:Q4_K_M").warnings

    assert told[0] == ()
    assert all("v2" in said[0] for said in (told[1], named))


def test_a_quant_that_several_files_have_is_loaded_by_its_file(hub: FakeHub):
    hub.add("acme/Two-GGUF", {f"{n}/{k}": v for n in "ab" for k, v in files("Q8_0").items()})

    found = plan("acme/Two-GGUF/b")

    assert found.model.launch_args[:3] == ("-hf", "acme/Two-GGUF", "-hff")
    assert found.model.launch_args[3].startswith("b/")


def clip() -> FakeFile:
    return FakeFile(*header(projector.metadata(), projector.tensors()))


@pytest.mark.parametrize("ref", ["acme/Eye-GGUF", "hf://acme/Eye-GGUF/mmproj-F16.gguf"])
def test_a_projector_of_the_hub_is_named_by_the_url_that_llama_server_takes(hub: FakeHub, ref):
    hub.add("acme/Big-GGUF", files("Q4_K_M", "Q8_0", n_layer=2))
    eye = hub.add("acme/Eye-GGUF", {"mmproj-F16.gguf": clip()})
    url = f"{hub.url}/acme/Eye-GGUF/resolve/{eye.commit}/mmproj-F16.gguf"

    for model in ("acme/Big-GGUF", "acme/Big-GGUF:Q4_K_M"):
        found = plan_reference(model, Runtime(mmproj=ref), Constraints(), n_ctx=2048)
        args = found.require_choice().engine_args
        assert args[args.index("--mmproj-url") + 1] == url
        assert "--mmproj" not in args
        assert found.warnings == ()


def test_what_llama_server_only_takes_as_a_file_is_named_as_one_and_how_it_gets_there(
    hub: FakeHub, tmp_path: Path
):
    hub.add("acme/Big-GGUF", files("Q4_K_M", n_layer=2))
    hub.add("acme/Small-GGUF", files("Q8_0", n_layer=1))
    hub.add("acme/Two-GGUF", {f"{n}/{k}": v for n in "ab" for k, v in files("Q8_0").items()})
    hub.plain["draft-Q8_0.gguf"] = files("Q8_0", n_layer=1)["Big-Q8_0.gguf"]
    local = write(tmp_path / "draft-Q8_0.gguf", *header(*llama(n_layer=4)))

    def flags(draft: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        runtime = Runtime(n_parallel=1, draft_model=draft)
        found = plan_reference("acme/Big-GGUF", runtime, Constraints(), n_ctx=2048)
        args = found.require_choice().engine_args
        first = min(args.index(flag) for flag in ("-hfd", "-md") if flag in args)
        *said, last = found.warnings
        assert last.startswith("Speculation is not modelled")
        return args[first : args.index("-fit")], tuple(said)

    assert flags("acme/Small-GGUF") == (("-hfd", "acme/Small-GGUF:Q8_0"), ())
    assert flags("acme/Two-GGUF/b")[0] == ("-hfd", "acme/Two-GGUF", "-md", "b/Big-Q8_0.gguf")
    assert flags(str(local)) == (("-md", str(local)), ())
    args, (warning,) = flags(f"{hub.url}/plain/draft-Q8_0.gguf?sig=s3cret")
    assert args == ("-md", "draft-Q8_0.gguf")
    assert warning.startswith("llama-server's -md takes a file: fetch ")
    assert "s3cret" not in warning


def test_one_unnamed_model_of_a_repository_is_planned_with_all_its_warnings(hub: FakeHub):
    made = {"thing.gguf": FakeFile(*header(*llama(**BIG)))}
    hub.add("acme/Plain-GGUF", made, revisions=("main", "v2"))

    said = plan("acme/Plain-GGUF@v2").warnings

    assert len(said) == 1
    assert "v2" in said[0]


@pytest.mark.parametrize("ref", ["acme/Big-GGUF", "acme/Big-GGUF:Q4_K_M"])
def test_a_plan_without_the_hub_says_that_the_repository_may_have_changed(hub: FakeHub, ref):
    hub.add("acme/Big-GGUF", files("Q4_K_M", n_layer=2))
    plan(ref)
    hub.fail_with = 503

    assert any("as it was last seen" in text for text in plan(ref).warnings)
