from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ggufctl.core.ggml import cuda, ops
from ggufctl.core.ggml.alloc import Allocator, _Arena
from ggufctl.core.ggml.graph import Graph
from ggufctl.core.ggml.scheduler import Scheduler


def reserve(result, *, n_gpus=0, explain=False):
    graph = Graph()
    graph.expand(result)
    result.as_output()
    allocator = Allocator(n_gpus, explain=explain)
    allocator.reserve(Scheduler(n_gpus).schedule(graph))
    return allocator


def weight(type_, *ne, backend):
    w = ops.new_tensor(type_, *ne)
    w.is_weight, w.buffer = True, backend
    return w


def test_an_elementwise_operation_reuses_its_only_source():
    x = ops.new_tensor("f32", 1024).as_input()

    allocator = reserve(ops.sqr(ops.scale(ops.dup(x))))

    assert allocator.sizes == [2 * 4096]


def test_a_source_needed_later_is_not_reused():
    kept = ops.new_tensor("f32", 1024).as_input().as_output()
    x = ops.dup(kept)

    allocator = reserve(ops.add(ops.sqr(x), x))

    assert allocator.sizes == [3 * 4096]


def test_weights_take_no_compute_memory():
    x = ops.new_tensor("f32", 64, 32).as_input()
    w = weight("q8_0", 64, 128, backend=0)

    allocator = reserve(ops.mul_mat(w, x), n_gpus=1)

    copied_input, result = 64 * 32 * 4, 128 * 32 * 4
    assert allocator.sizes == [copied_input + result, 64 * 32 * 4]


def test_a_host_weight_is_staged_on_the_gpu_for_a_large_batch():
    x = ops.new_tensor("f32", 512, 32).as_input()
    w = weight("q8_0", 512, 128, backend=1)

    device, _ = reserve(ops.mul_mat(w, x), n_gpus=1).sizes

    assert device == w.n_bytes + 512 * 32 * 4 + 128 * 32 * 4


def test_a_small_batch_on_a_host_weight_stays_on_the_host():
    x = ops.new_tensor("f32", 512, 31).as_input()
    w = weight("q8_0", 512, 128, backend=1)

    assert reserve(ops.mul_mat(w, x), n_gpus=1).sizes[0] == 0


def test_the_peak_is_explained_by_what_is_alive_then():
    x = ops.dup(ops.new_tensor("f32", 1024).as_input())

    allocator = reserve(ops.add(ops.sqr(x), x), explain=True)

    assert sum(live.n_bytes for live in allocator.peaks[0]) == allocator.sizes[0]


def test_quantised_rows_are_padded_on_the_gpu():
    odd = ops.new_tensor("q8_0", 32, 4)

    assert cuda.alloc_size(odd) == odd.n_bytes + (512 - 32) // 32 * 34


@given(st.lists(st.one_of(st.integers(0, 5000), st.just(None)), max_size=80), st.randoms())
def test_blocks_in_use_never_overlap_and_the_buffer_covers_them(requests, random):
    arena = _Arena(32)
    used: list[tuple[int, int]] = []
    for size in requests:
        if size is None:
            if used:
                arena.free(*used.pop(random.randrange(len(used))))
        else:
            used.append((arena.alloc(size), size))
        spans = sorted((start, start + (n + 31) // 32 * 32) for start, n in used if n)

        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        assert all(end <= arena.max_size for _, end in spans)
    for start, size in used:
        arena.free(start, size)

    assert sum(block[1] for block in arena.free_blocks) == 1 << 62
