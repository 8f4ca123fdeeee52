from ggufctl.core.ggml import ops
from ggufctl.core.ggml.graph import Graph


def leaf(*ne):
    return ops.new_tensor("f32", *ne)


def test_nodes_come_in_the_order_of_their_sources():
    a, b, c = leaf(4), leaf(4), leaf(4)
    left, right = ops.mul(a, b), ops.add(b, c)
    total = ops.add(left, right)

    graph = Graph()
    graph.expand(total)

    assert graph.nodes == [left, right, total]
    assert graph.leafs == [a, b, c]


def test_expanding_early_moves_a_node_forward():
    a, b = leaf(4), leaf(4)
    left, right = ops.sqr(a), ops.sqr(b)

    graph = Graph()
    graph.expand(right)
    graph.expand(ops.add(left, right))

    assert graph.nodes[:2] == [right, left]


def test_every_use_of_a_tensor_is_counted():
    a = leaf(4)
    b = ops.sqr(a)

    graph = Graph()
    graph.expand(ops.add(b, b))

    assert b.n_uses == 2


def test_a_branch_not_taken_is_in_the_graph_but_not_computed():
    a, b = leaf(4), leaf(4)
    taken, other = ops.sqr(a), ops.sqr(b)

    graph = Graph()
    graph.expand(taken)
    graph.expand(other, compute=False)

    assert (taken.is_compute, other.is_compute) == (True, False)
    assert graph.nodes == [taken, other]


def test_a_branch_becomes_computed_when_something_needs_it_later():
    a = leaf(4)
    inner = ops.sqr(a)
    outer = ops.sqrt(inner)

    graph = Graph()
    graph.expand(outer, compute=False)
    graph.expand(ops.scale(outer))

    assert inner.is_compute
    assert outer.is_compute


def test_a_deep_graph_needs_no_recursion():
    t = leaf(4)
    for _ in range(20_000):
        t = ops.scale(t)

    graph = Graph()
    graph.expand(t)

    assert len(graph.nodes) == 20_000
