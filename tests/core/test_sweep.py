import random

import pytest
from tests.sweep import check


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ["Llama-3.2-1B-Q8_0", "Gemma-3-12B-Q4_K_M", "LFM2-1.2B-Q8_0"])
def test_what_is_taken_from_a_line_is_what_an_estimate_of_its_own_says(name, seed):
    _, n_wrong = check(name, random.Random(seed), n_contexts=9)

    assert n_wrong == 0
