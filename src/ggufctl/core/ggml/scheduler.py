"""The backend scheduler: which device computes each node, and what is copied where.

Backends are numbered: GPUs first, the host last. The compute buffer of the host is
pinned memory (`CUDA_Host`) when there is a GPU.

Source: llama.cpp ggml/src/ggml-backend.cpp `ggml_backend_sched_split_graph`
(pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ggufctl.core.ggml import cuda
from ggufctl.core.ggml.graph import Graph
from ggufctl.core.ggml.ops import VIEW_OPS
from ggufctl.core.ggml.tensor import Tensor

__all__ = ["MAX_COPIES", "Placed", "Schedule", "Scheduler", "keep_alive"]

MAX_COPIES = 4
"""Copies of inputs in flight under pipeline parallelism (GGML_SCHED_MAX_COPIES)."""

OP_OFFLOAD_MIN_BATCH = 32
"""Rows from which the CUDA backend takes over an operation on host weights."""

MAX_DEPENDENCIES = 10
"""Sources of one dependency node (GGML_MAX_SRC)."""

Placed = tuple[Tensor, int]
"""A tensor and the backend it is on."""

Supports = Callable[[int, Tensor], bool]


@dataclass(slots=True)
class _Split:
    backend: int
    start: int
    end: int = 0
    inputs: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the allocator works through: leafs, then nodes with their copies."""

    leafs: list[Placed]
    nodes: list[Placed]
    n_splits: int


def _offload_batch(t: Tensor) -> int:
    """Rows the CUDA backend counts when it decides whether offloading pays.

    Source: ggml-cuda.cu `get_op_batch_size`.
    """
    if t.op == "GET_ROWS":
        return 0
    if t.op == "MUL_MAT":
        return t.ne[1]
    if t.op in ("MUL_MAT_ID", "ROPE"):
        return t.ne[2]
    return t.ne[1] * t.ne[2] * t.ne[3]


class Scheduler:
    """Splits a graph over `n_gpus` GPUs and the host.

    Args:
        n_gpus: GPUs taking part, 0 for a host without one.
        n_copies: copies of inputs: 1, or MAX_COPIES under pipeline parallelism.
        op_offload: whether large batches on host weights go to the GPU.
    """

    def __init__(self, n_gpus: int, n_copies: int = 1, op_offload: bool = True) -> None:
        self.n_backends = n_gpus + 1
        self.host = n_gpus
        self.n_copies = n_copies
        self.op_offload = op_offload and n_gpus > 0

    def schedule(self, graph: Graph) -> Schedule:
        """Assign backends, split, insert copies, and let CUDA reorder its splits."""
        self.assign(graph)
        splits = self._split(graph)
        graph_inputs = self._pipeline_inputs(graph)
        dependencies: dict[int, list[Tensor]] = {}
        for split in splits:
            if split.backend != self.host:
                start, end = split.start, split.end
                following = graph.nodes[end] if end < len(graph.nodes) else None
                graph.nodes[start:end] = cuda.optimize(
                    graph.nodes[start:end], dependencies, following
                )
        return Schedule(
            leafs=self._leafs(graph, splits, graph_inputs),
            nodes=self._nodes(graph, splits, dependencies),
            n_splits=len(splits),
        )

    def assign(self, graph: Graph) -> None:
        """Give every tensor a backend (passes 1 to 4 of the source)."""
        for leaf in graph.leafs:
            if leaf.buffer != -1:
                leaf.backend = leaf.buffer
            elif leaf.backend == -1:
                leaf.backend = self._backend_from_current(leaf)
        for node in graph.nodes:
            if node.backend == -1:
                node.backend = self._backend_from_current(node)
        nodes = [t for t in graph.nodes if t.op not in VIEW_OPS]
        if any(t.backend == -1 for t in nodes):
            self._expand(nodes, gpus_only=True)
            self._expand(reversed(nodes), gpus_only=True)
            self._expand(nodes, gpus_only=False)
            self._expand(reversed(nodes), gpus_only=False)
            self._assign_by_inputs(nodes)
        self._inherit(graph)

    def assign_in_order(self, graph: Graph) -> bool:
        """Give every tensor a backend, as `assign` does where each stage of it is on GPUs.

        Returns:
            Whether all nodes but the first few are on GPUs, those that nothing places where the
            one before them is, and on the host only what CUDA cannot compute. It does not depend
            on which of them are the same GPU then.
        """
        for leaf in graph.leafs:
            leaf.backend = leaf.buffer if leaf.buffer != -1 else self._backend_from_current(leaf)
        for node in graph.nodes:
            if node.backend == -1:
                node.backend = self._backend_from_current(node)
        nodes = [t for t in graph.nodes if t.op not in VIEW_OPS]
        self._expand(nodes, gpus_only=True)
        first = next((i for i, t in enumerate(nodes) if -1 < t.backend < self.host), None)
        if first is None:
            return False
        for t in nodes[first:]:
            if t.backend == -1 and not cuda.supports(t):
                t.backend = self.host
            elif not -1 < t.backend < self.host:
                return False
        self._expand(reversed(nodes[: first + 1]), gpus_only=True)
        self._expand(nodes[:first], gpus_only=False)
        if any(t.backend == -1 for t in nodes[:first]):
            return False
        self._inherit(graph)
        return True

    def _supports(self, backend: int, t: Tensor) -> bool:
        host = self.host
        if backend == host:
            return True
        if host > 1:
            for s in t.src:
                if s is not None and -1 < s.buffer != backend and s.buffer != host:
                    return False
        return cuda.supports(t)

    def _buffer_supported(self, t: Tensor, backend: int) -> bool:
        """Whether `backend` can read `t` where it is."""
        root = t.view_src if t.view_src is not None else t
        where = root.buffer
        if where == -1:
            where = t.backend
            if where == -1 and t.view_src is not None:
                where = t.view_src.backend
        return where == backend

    def _backend_from_buffer(self, t: Tensor, op: Tensor) -> int:
        where = (t.view_src if t.view_src is not None else t).buffer
        return where if where != -1 and self._supports(where, op) else -1

    def _backend_from_current(self, t: Tensor) -> int:
        root = t.view_src
        if root is not None and root.buffer != -1:
            where = self._backend_from_buffer(t, t)
            if where != -1:
                return where
        if t.is_input:
            return self.host
        if t.op in ("ROPE", "FLASH_ATTN_EXT"):
            return -1
        for s in t.src:
            if s is not None and s.is_weight:
                where = s.buffer
                if where != -1 and not self._supports(where, t):
                    where = -1
                if self.op_offload and where == self.host:
                    for gpu in range(self.host):
                        if self._supports(gpu, t) and _offload_batch(t) >= OP_OFFLOAD_MIN_BATCH:
                            return gpu
                return where
        return -1

    def _expand(self, nodes: Iterable[Tensor], *, gpus_only: bool) -> None:
        current = -1
        for t in nodes:
            if t.backend != -1:
                current = -1 if gpus_only and t.backend == self.host else t.backend
            elif current != -1 and self._supports(current, t):
                t.backend = current

    def _assign_by_inputs(self, nodes: list[Tensor]) -> None:
        for t in nodes:
            if t.backend != -1:
                continue
            best = -1
            for backend in range(self.n_backends):
                if not self._supports(backend, t):
                    continue
                n = sum(
                    1
                    for s in t.src
                    if s is not None
                    and (s.backend != -1 or (s.view_src is not None and s.view_src.backend != -1))
                    and self._buffer_supported(s, backend)
                )
                if n > best:
                    best, t.backend = n, backend

    def _inherit(self, graph: Graph) -> None:
        for t in graph.nodes:
            if t.backend == -1 and t.view_src is not None:
                t.backend = t.view_src.backend
            for s in t.src:
                if s is not None and s.backend == -1:
                    s.backend = s.view_src.backend if s.view_src is not None else t.backend
            if t.backend == -1:
                t.backend = next(b for b in range(self.n_backends) if self._supports(b, t))

    def _split(self, graph: Graph) -> list[_Split]:
        nodes = graph.nodes
        first = next((i for i, t in enumerate(nodes) if t.op not in VIEW_OPS), 0)
        split = _Split(nodes[first].backend, 0)
        splits = [split]
        for i in range(first, len(nodes)):
            t = nodes[i]
            if t.op in VIEW_OPS:
                continue
            current = split.backend
            if t.backend != current or (split.inputs and self._has_foreign_weight(t, current)):
                split.end = i
                current = t.backend
                split = _Split(current, i)
                splits.append(split)
            src = t.src
            for j, s in enumerate(src):
                if s is None or s.backend == current or self._buffer_supported(s, current):
                    continue
                if s.copies is None:
                    s.copies = {}
                if current not in s.copies:
                    s.copies[current] = self._make_copies(s, current)
                    split.inputs.append(s)
                src[j] = s.copies[current][0]
        split.end = len(nodes)
        return splits

    def _has_foreign_weight(self, t: Tensor, backend: int) -> bool:
        for s in t.src:
            if (
                s is not None
                and s.is_weight
                and s.backend != backend
                and s.buffer != -1
                and not self._buffer_supported(s, backend)
            ):
                return True
        return False

    def _make_copies(self, t: Tensor, backend: int) -> list[Tensor]:
        copies = []
        for _ in range(self.n_copies):
            copy = Tensor(t.type, t.ne, nb=t.nb, name=t.name)
            copy.backend = backend
            if self.n_copies > 1:
                copy.is_input = copy.is_output = True
            copies.append(copy)
        return copies

    def _pipeline_inputs(self, graph: Graph) -> list[Tensor]:
        """Copy every graph input as well, which keeps batches in flight apart."""
        if self.n_copies == 1:
            return []
        inputs = [leaf for leaf in graph.leafs if leaf.is_input]
        for leaf in inputs:
            if leaf.copies is None:
                leaf.copies = {}
            if leaf.backend not in leaf.copies:
                copies = [leaf]
                copies += [
                    Tensor(leaf.type, leaf.ne, nb=leaf.nb, name=leaf.name)
                    for _ in range(self.n_copies - 1)
                ]
                for copy in copies:
                    copy.is_input = copy.is_output = True
                leaf.copies[leaf.backend] = copies
        return inputs

    def _leafs(
        self, graph: Graph, splits: list[_Split], graph_inputs: list[Tensor]
    ) -> list[Placed]:
        leafs: list[Placed] = []
        if self.n_copies > 1:
            for leaf in graph_inputs:
                assert leaf.copies is not None
                leafs += [(copy, leaf.backend) for copy in leaf.copies[leaf.backend]]
            for split in splits:
                for t in split.inputs:
                    assert t.copies is not None
                    leafs += [(copy, split.backend) for copy in t.copies[split.backend]]
        leafs += [(leaf, leaf.backend) for leaf in graph.leafs]
        return leafs

    def _nodes(
        self, graph: Graph, splits: list[_Split], dependencies: dict[int, list[Tensor]]
    ) -> list[Placed]:
        nodes: list[Placed] = []
        for split in splits:
            backend = split.backend
            for t in split.inputs:
                assert t.copies is not None
                nodes.append((keep_alive([t]), t.backend))
                nodes.append((t.copies[backend][0], backend))
            for t in graph.nodes[split.start : split.end]:
                nodes.append((t, t.backend))
                kept = dependencies.get(id(t))
                if kept:
                    nodes += [
                        (keep_alive(kept[i : i + MAX_DEPENDENCIES]), backend)
                        for i in range(0, len(kept), MAX_DEPENDENCIES)
                    ]
        return nodes


def keep_alive(tensors: list[Tensor]) -> Tensor:
    """Return a no-op that uses `tensors`, so that they live until here."""
    first = tensors[0]
    return Tensor(first.type, first.ne, src=tuple(tensors), nb=first.nb, view_src=first)
