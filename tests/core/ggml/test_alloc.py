from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ggufctl.core.ggml import cuda, ops
from ggufctl.core.ggml.alloc import Arena, Loop, Mark, Recorder, Tape
from ggufctl.core.ggml.graph import Graph
from ggufctl.core.ggml.scheduler import Scheduler


def record(result, *, n_gpus=0, explain=False):
    graph = Graph()
    graph.expand(result)
    result.as_output()
    recorder = Recorder(n_gpus, explain=explain)
    recorder.record(Scheduler(n_gpus).schedule(graph))
    return recorder.tapes


def sizes(result, **kwargs):
    return [tape.play().size for tape in record(result, **kwargs)]


def weight(type_, *ne, backend):
    w = ops.new_tensor(type_, *ne)
    w.is_weight, w.buffer = True, backend
    return w


def test_an_elementwise_operation_reuses_its_only_source():
    x = ops.new_tensor("f32", 1024).as_input()

    assert sizes(ops.sqr(ops.scale(ops.dup(x)))) == [2 * 4096]


def test_a_source_needed_later_is_not_reused():
    kept = ops.new_tensor("f32", 1024).as_input().as_output()
    x = ops.dup(kept)

    assert sizes(ops.add(ops.sqr(x), x)) == [3 * 4096]


def test_weights_take_no_compute_memory():
    x = ops.new_tensor("f32", 64, 32).as_input()
    w = weight("q8_0", 64, 128, backend=0)

    copied_input, result = 64 * 32 * 4, 128 * 32 * 4

    assert sizes(ops.mul_mat(w, x), n_gpus=1) == [copied_input + result, 64 * 32 * 4]


def test_a_host_weight_is_staged_on_the_gpu_for_a_large_batch():
    x = ops.new_tensor("f32", 512, 32).as_input()
    w = weight("q8_0", 512, 128, backend=1)

    device, _ = sizes(ops.mul_mat(w, x), n_gpus=1)

    assert device == w.n_bytes + 512 * 32 * 4 + 128 * 32 * 4


def test_a_small_batch_on_a_host_weight_stays_on_the_host():
    x = ops.new_tensor("f32", 512, 31).as_input()
    w = weight("q8_0", 512, 128, backend=1)

    assert sizes(ops.mul_mat(w, x), n_gpus=1)[0] == 0


def test_the_peak_is_explained_by_what_is_alive_then():
    x = ops.dup(ops.new_tensor("f32", 1024).as_input())

    (tape,) = record(ops.add(ops.sqr(x), x), explain=True)
    played = tape.play()

    assert sum(live.n_bytes for live in played.peak) == played.size


def test_quantised_rows_are_padded_on_the_gpu():
    odd = ops.new_tensor("q8_0", 32, 4)

    assert cuda.alloc_size(odd) == odd.n_bytes + (512 - 32) // 32 * 34


@given(st.lists(st.one_of(st.integers(0, 5000), st.just(None)), max_size=80), st.randoms())
def test_blocks_in_use_never_overlap_and_the_buffer_covers_them(requests, random):
    arena = Arena()
    used: list[tuple[int, int]] = []
    for size in requests:
        if size is None:
            if used:
                arena.free(*used.pop(random.randrange(len(used))))
        else:
            used.append((arena.alloc(32 * size), 32 * size))
        spans = sorted((start, start + n) for start, n in used if n)

        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        assert all(end <= arena.max_size for _, end in spans)
    for start, size in used:
        arena.free(start, size)

    assert sum(block[1] for block in arena.free_blocks) == 1 << 62


class Stretch:
    """Requests of one repetition: it takes over `handed` slots and hands as many on."""

    def __init__(self, random, handed):
        self.handed, self.sizes, self.requests = handed, [], []
        alive = list(range(-handed, 0))
        for _ in range(random.randint(handed, 12)):
            self.requests.append(len(self.sizes))
            alive.append(len(self.sizes))
            self.sizes.append(random.choice((32, 64, 96, 320, 1024, random.randint(1, 5000))))
            if random.random() < 0.7:
                self.requests.append(~alive.pop(random.randrange(len(alive))))
        kept = list(range(len(self.sizes) - handed, len(self.sizes)))
        for slot in (~x for x in list(self.requests) if x < 0):
            if slot in kept:
                self.requests.remove(~slot)
        self.requests += [~slot for slot in alive if slot not in kept]


def repeated(stretch, times):
    """A tape of as many repetitions, and where each begins."""
    tape, marks = Tape(32), []
    for _ in range(stretch.handed):
        tape.requests.append(len(tape.sizes))
        tape.sizes.append(stretch.sizes[-1])
    for _ in range(times):
        marks.append(tape.mark)
        first = len(tape.sizes)
        # What was handed on are the last slots of the repetition before.
        tape.requests += [x + first if x >= 0 else ~(~x + first) for x in stretch.requests]
        tape.sizes += stretch.sizes
    return tape, [*marks, tape.mark]


@given(st.randoms(), st.integers(0, 2), st.integers(0, 60))
def test_playing_a_stretch_again_is_as_if_it_were_there_as_often(random, handed, n_more):
    stretch = Stretch(random, handed)
    whole, _ = repeated(stretch, 2 + n_more)
    short, (before, start, end) = repeated(stretch, 2)
    short.loops.append(Loop(before, start, end, 0))

    assert short.play(left_out=(n_more,)) == whole.play()


def test_a_mark_says_how_far_a_tape_is():
    tape = Tape(32, requests=[0, 1, ~0], sizes=[8, 8])

    assert tape.mark == Mark(3, 2)
