import gguf
import pytest

from ggufctl.core.ggml.types import TYPES_BY_ID, row_bytes, tensor_bytes

# The reference package still has q8_1 with two floats per block where ggml-common.h has
# two halves; the type never stands in a file.
Q8_1 = 9
KNOWN_BY_BOTH = sorted(set(TYPES_BY_ID) & {t.value for t in gguf.GGMLQuantizationType} - {Q8_1})


@pytest.mark.parametrize("type_id", KNOWN_BY_BOTH)
def test_block_sizes_are_those_of_the_reference_package(type_id):
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(type_id)]

    assert (TYPES_BY_ID[type_id].block_size, TYPES_BY_ID[type_id].type_size) == (block, size)


def test_a_row_is_a_whole_number_of_blocks():
    assert row_bytes("q4_K", 4096) == 4096 // 256 * 144


def test_a_tensor_is_its_rows():
    assert tensor_bytes("q8_0", (64, 3, 5)) == 2 * 34 * 3 * 5
