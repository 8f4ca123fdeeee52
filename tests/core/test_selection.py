from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufctl.core.names import QUANT_QUALITY_ORDER, Kind, variants
from ggufctl.core.progress import Tenths, format_bytes, format_seconds, progress_text
from ggufctl.core.selection import best_projector, best_quant, quality_rank, select
from ggufctl.errors import InvalidGguf, ModelNotFound, UsageError

FILES = {
    "m-Q4_K_M.gguf": 10,
    "m-Q8_0-00001-of-00002.gguf": 20,
    "m-Q8_0-00002-of-00002.gguf": 21,
    "UD-Q4_K_M/m-UD-Q4_K_M.gguf": 11,
    "mmproj-F32.gguf": 4,
    "mmproj-BF16.gguf": 2,
    "mmproj-F16.gguf": 2,
    "m-IQ2_M-00001-of-00003.gguf": 5,
    "imatrix.gguf": 1,
    "README.md": 1,
}
FOUND = variants(FILES.items())
SIZES = {path: (size, "ab" * 32) for path, size in FILES.items()}


def variant(quant: str):
    return next(v for v in FOUND if v.quant == quant and v.kind is Kind.MODEL)


def test_all_shards_of_one_quant_are_taken_and_nothing_else():
    files = select(variant("Q8_0"), FOUND, SIZES)

    assert [file.path for file in files] == [
        "m-Q8_0-00001-of-00002.gguf",
        "m-Q8_0-00002-of-00002.gguf",
    ]
    assert sum(file.size_bytes for file in files) == 41


def test_a_quant_is_never_the_one_whose_name_holds_it():
    assert [f.path for f in select(variant("Q4_K_M"), FOUND, SIZES)] == ["m-Q4_K_M.gguf"]


def test_the_projector_comes_when_asked_for_and_is_the_best():
    files = select(variant("Q4_K_M"), FOUND, SIZES, ["mmproj"])

    assert [(file.path, file.role) for file in files] == [
        ("m-Q4_K_M.gguf", "model"),
        ("mmproj-F16.gguf", "mmproj"),
    ]


def test_a_projector_in_the_folder_of_the_model_is_nearer():
    found = variants([("mmproj-F16.gguf", 1), ("a/mmproj-F32.gguf", 1), ("b/mmproj-F16.gguf", 1)])

    assert best_projector(found, "a/m.gguf").paths == ("a/mmproj-F32.gguf",)
    assert best_projector(found, "c/m.gguf").paths == ("mmproj-F16.gguf",)


def test_what_is_not_there_is_said():
    with pytest.raises(ModelNotFound, match="no multimodal projector"):
        best_projector(variants([("m.gguf", 1)]), "m.gguf")
    with pytest.raises(InvalidGguf, match="lacks 2 of the files"):
        select(variant("IQ2_M"), FOUND, SIZES)
    with pytest.raises(UsageError, match="takes mmproj"):
        select(variant("Q4_K_M"), FOUND, SIZES, ["vae"])


@given(st.lists(st.sampled_from(QUANT_QUALITY_ORDER), min_size=1))
def test_the_best_quant_is_one_of_them_and_none_is_better(quants):
    best = best_quant(quants)

    assert best in quants
    assert all(quality_rank(best) <= quality_rank(other) for other in quants)


@pytest.mark.parametrize(
    ("better", "worse"), [("Q8_0", "Q6_K"), ("Q6_K", "Q5_K_M"), ("Q5_K_M", "Q4_K_M")]
)
def test_the_order_is_that_of_the_original_system(better, worse):
    assert best_quant([worse, "unheard-of", better]) == better


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_every_tenth_is_said_once(step, total):
    tenths = Tenths()

    said = sum(tenths.is_new(min(done, total), total) for done in range(0, total + 1))

    assert said == min(total, 10)
    assert not tenths.is_new(total, total)


def test_progress_reads_well():
    assert progress_text(4_000_000_000, 10_000_000_000, 100_000_000) == (
        "40% of 10.00 GB, 100.00 MB/s, 60 s left"
    )
    assert progress_text(0, 10, 0) == "0% of 10 B"
    assert progress_text(0, 0, 0) == "100% of 0 B"
    assert [format_seconds(s) for s in (0.44, 45, 180, 4800)] == [
        "0.4 s",
        "45 s",
        "3 min",
        "1 h 20 min",
    ]
    assert format_bytes(999) == "999 B"
