"""A forward graph: the order in which ggml would compute, leafs apart from nodes.

Source: llama.cpp ggml/src/ggml.c `ggml_build_forward_expand` and
`ggml_visit_parents_graph` (pin in core/_pins.py).
"""

from __future__ import annotations

from ggufctl.core.ggml.tensor import Tensor

__all__ = ["Graph"]


class Graph:
    """Nodes in order of computation, and the leafs they start from."""

    __slots__ = ("leafs", "nodes")

    def __init__(self) -> None:
        self.nodes: list[Tensor] = []
        self.leafs: list[Tensor] = []

    def expand(self, tensor: Tensor, *, compute: bool = True) -> Tensor:
        """Append everything `tensor` needs and that is not there yet; returns `tensor`.

        `compute=False` adds the branches of a selection that are not taken
        (`ggml_build_forward_select`): never computed, yet allocated.
        """
        self._visit(tensor, compute)
        return tensor

    def _visit(self, root: Tensor, compute: bool) -> None:
        # Depth-first without recursion: graphs are deeper than Python's stack.
        if root.is_visited:
            if compute:
                self._mark_compute(root)
            return
        root.is_visited = True
        if compute and root.op != "NONE":
            root.is_compute = True
        nodes, leafs = self.nodes, self.leafs
        tensor, i = root, 0
        stack: list[tuple[Tensor, int]] = []
        while True:
            src = tensor.src
            n = len(src)
            child = None
            while i < n:
                s = src[i]
                i += 1
                if s is None:
                    continue
                s.n_uses += 1
                if s.is_visited:
                    if compute and not s.is_compute and s.op != "NONE":
                        self._mark_compute(s)
                    continue
                s.is_visited = True
                if s.op == "NONE" and not s.src:
                    leafs.append(s)
                    continue
                if compute:
                    s.is_compute = True
                child = s
                break
            if child is not None:
                stack.append((tensor, i))
                tensor, i = child, 0
                continue
            (leafs if tensor.op == "NONE" else nodes).append(tensor)
            if not stack:
                return
            tensor, i = stack.pop()

    @staticmethod
    def _mark_compute(root: Tensor) -> None:
        stack = [root]
        while stack:
            tensor = stack.pop()
            if tensor.op == "NONE" or tensor.is_compute:
                continue
            tensor.is_compute = True
            stack.extend(s for s in tensor.src if s is not None)
