from __future__ import annotations

import pytest

from ggufctl.catalog import load_cards, load_catalogue
from ggufctl.completion import CACHE_TYPES as COMPLETED_CACHE_TYPES
from ggufctl.completion import CARD_NAMES, GPU_NAMES, QUANTS, SCHEMAS, gpus, quants
from ggufctl.core.estimate import Basis
from ggufctl.core.names import normalize_quant
from ggufctl.core.runtime import CACHE_TYPES
from ggufctl.errors import UsageError

MIB = 1 << 20


def test_every_gpu_that_modal_rents_is_there():
    names = [gpu.name for gpu in load_catalogue()]

    expected = "T4 L4 A10 L40S A100-40GB A100-80GB RTX-PRO-6000 H100 H200 B200 B300"
    assert " ".join(names) == expected


def test_a_gpu_is_found_by_any_of_its_names_in_any_case():
    catalogue = load_catalogue()

    assert catalogue.find("A10G").name == catalogue.find("a10").name == "A10"
    assert catalogue.find("H100!").name == "H100"


def test_a_name_that_may_bring_a_larger_card_means_the_smaller_one():
    catalogue = load_catalogue()

    assert catalogue.find("A100").name == "A100-40GB"
    assert catalogue.find("B200+").name == "B200"


def test_an_unknown_gpu_is_an_error_that_names_the_known_ones():
    with pytest.raises(UsageError) as caught:
        load_catalogue().find("H9000")

    assert "H9000" in caught.value.message
    assert "L40S" in caught.value.hint


def test_memory_is_what_cuda_sees_and_less_than_the_name_of_the_card_says():
    for gpu in load_catalogue():
        assert gpu.cuda_bytes is None or 0.85 < gpu.cuda_bytes / (gpu.nominal_gb * 10**9) < 1.08

    assert load_catalogue().find("H100").cuda_bytes == 81081 * MIB


def test_a_gpu_whose_memory_nobody_published_is_kept_without_a_guess():
    assert load_catalogue().find("B300").cuda_bytes is None


def test_prices_are_dated_and_rise_with_the_number_of_cards():
    for gpu in load_catalogue():
        assert gpu.price_as_of >= "2026-01-01"
        assert gpu.price_source
        assert gpu.price(1) == gpu.usd_per_hour < gpu.price(2)


def test_modal_gets_its_own_name_and_the_count():
    h100 = load_catalogue().find("H100")

    assert h100.modal_gpu(1) == "H100"
    assert h100.modal_gpu(4) == "H100:4"


def test_overhead_is_an_estimate_with_a_range_and_a_source():
    for gpu in load_catalogue():
        term = gpu.overhead.term(256 * MIB)

        assert term.basis is Basis.ESTIMATED
        assert 0 < term.low_bytes < term.n_bytes < term.high_bytes
        assert term.note


def test_overhead_grows_with_the_compute_buffer_and_with_the_workspace_of_new_cards():
    catalogue = load_catalogue()
    t4, h100 = catalogue.find("T4").overhead, catalogue.find("H100").overhead

    assert h100.term(0).n_bytes - t4.term(0).n_bytes == 28 * MIB
    assert h100.term(1000 * MIB).n_bytes - h100.term(0).n_bytes == 100 * MIB


def test_completion_knows_every_name_of_the_catalogue_and_no_other():
    names = {name for gpu in load_catalogue() for name in (gpu.name, *gpu.modal_names)}

    assert set(GPU_NAMES) == names
    assert [card.name for card in load_cards()] == CARD_NAMES


def test_completion_continues_the_last_gpu_of_a_list():
    assert gpus("L") == ["L4", "L40S", "L20"]
    assert gpus("T4,h2") == ["T4,H200", "T4,H20"]
    assert "RTX-4090" in gpus("rtx")
    assert "RTX-4090" not in gpus("")
    assert "auto" in gpus("")
    assert not any("auto" in name for name in gpus("T4,"))


def test_completed_quants_are_labels_and_completed_cache_types_are_those_of_llama_server():
    assert all(normalize_quant(label) == label for label in QUANTS if label != "auto")
    assert quants("q4_k") == ["Q4_K_M", "Q4_K_S"]
    assert COMPLETED_CACHE_TYPES == CACHE_TYPES


def test_completed_schemas_are_the_documents_there_are():
    from ggufctl.documents import SCHEMAS as documents

    assert set(SCHEMAS) == set(documents)
