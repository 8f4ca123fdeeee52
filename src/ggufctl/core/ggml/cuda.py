"""What the CUDA backend of ggml adds to a plan: sizes, supported operations, reordering.

Of all that depends on the compute capability, only the choice of a flash-attention kernel
changes a buffer, and only between cards before and since Ada Lovelace: the others decide
which kernel runs, or choose scratch that comes out of the pool.

Source: llama.cpp ggml/src/ggml-cuda/ggml-cuda.cu and fattn.cu (pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.ggml.types import TYPES, row_bytes

__all__ = [
    "ADA_LOVELACE",
    "ALIGNMENT",
    "ROW_PADDING",
    "alloc_size",
    "can_gather",
    "can_multiply",
    "optimize",
    "supports",
]

ADA_LOVELACE = (8, 9)
"""Compute capability from which attention over few tokens prefers vector kernels."""

Capability = tuple[int, int]

ALIGNMENT = 128
"""Alignment of tensors in a CUDA buffer.  [bytes]"""

ROW_PADDING = 512
"""Quantised rows are padded to a multiple of this many elements (MATRIX_ROW_PADDING)."""

KQ_STRIDE = 256
"""Cells the flash-attention kernels read at a time (FATTN_KQ_STRIDE)."""

MAX_REDUCED_EXPERTS = 15
"""Most experts whose weighted sum is fused (MOE_WEIGHTED_REDUCTION_MAX_EXPERTS)."""


# Sizes.


def alloc_size(t: Tensor, capability: Capability = ADA_LOVELACE) -> int:
    """Bytes to allocate for a tensor on a CUDA device, before alignment.  [bytes]

    Source: `ggml_backend_cuda_buffer_type_get_alloc_size`.
    """
    n = t.n_bytes
    if t.op == "FLASH_ATTN_EXT":
        n = _flash_attn_size(t, n, capability)
    if TYPES[t.type].is_quantized and t.ne[0] % ROW_PADDING:
        n += row_bytes(t.type, ROW_PADDING - t.ne[0] % ROW_PADDING)
    return n


def _flash_attn_size(t: Tensor, n: int, capability: Capability) -> int:
    """Add the f16 copies of K and V that the chosen kernel reads.

    Source: fattn.cu `ggml_cuda_flash_attn_ext_get_alloc_size`.
    """
    k, v = t.src[1], t.src[2]
    assert k is not None and v is not None
    kernel = _flash_attn_kernel(t, capability)
    if kernel == "none":
        return n
    if kernel == "vec":
        compiled = k.type == v.type and k.type in ("f16", "bf16", "q4_0", "q8_0")
        copy_k = k.type == "f32" or not compiled
        copy_v = v.type == "f32" or not compiled
    else:
        copy_k = copy_v = True
    if copy_k and k.type != "f16":
        n = (n + 127) // 128 * 128 + 2 * k.n_elements
    if copy_v and v.type != "f16" and not _is_view_of(v, k):
        n = (n + 127) // 128 * 128 + 2 * v.n_elements
    return n


def _is_view_of(v: Tensor, k: Tensor) -> bool:
    return v.view_src is not None and (
        v.view_src is k or (v.view_src is k.view_src and v.view_offs == k.view_offs)
    )


_FLASH_KV_TYPES = frozenset("f32 f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0".split())


def _flash_attn_kernel(t: Tensor, capability: Capability = ADA_LOVELACE) -> str:
    """Kernel for a flash-attention node: none, vec, tile or mma.

    Source: fattn.cu `ggml_cuda_get_best_fattn_kernel`, cards from Turing on.
    """
    q, k, v, mask = t.src[0], t.src[1], t.src[2], t.src[3]
    assert q is not None and k is not None and v is not None
    gqa = q.ne[2] // k.ne[2]
    has_alibi = t.param is True
    grouped = (
        gqa >= 2 and mask is not None and not has_alibi and k.ne[1] % KQ_STRIDE == 0
    ) and not any(
        s is not None and not TYPES[s.type].is_quantized and any(n % 16 for n in s.nb[1:])
        for s in (q, k, v, mask)
    )
    dk, dv = k.ne[0], v.ne[0]
    if dk in (40, 64, 72, 80, 96, 112, 128, 256):
        ok = dv == dk
    elif dk == 192:
        ok = dv == 128 and grouped and gqa % 8 == 0
    elif dk == 320:
        ok = dv == 256 and grouped and gqa % 32 == 0
    elif dk == 512:
        ok = dv == dk and grouped
    elif dk == 576:
        ok = dv == 512 and grouped
    else:
        ok = False
    if not ok or k.type not in _FLASH_KV_TYPES or v.type not in _FLASH_KV_TYPES:
        return "none"
    if mask is not None and mask.ne[2] != 1:
        return "none"
    if dk in (40, 72):
        return "tile"
    if dk <= 256 and dk % 64 == 0 and dk != 192 and k.ne[1] % KQ_STRIDE == 0:
        since_ada = capability >= ADA_LOVELACE
        if TYPES[k.type].is_quantized or TYPES[v.type].is_quantized:
            if q.ne[1] <= (2 if since_ada else 1):
                return "vec"
        elif (
            since_ada
            and q.ne[1] == 1
            and q.ne[3] == 1
            and not (gqa > 4 and (dk >= 256 or k.ne[1] >= 8192))
        ):
            return "vec"
        if not grouped and q.ne[1] == 1:
            return "vec"
    return "mma"


# Supported operations.

_UNARY = frozenset(
    "abs sgn neg step gelu silu relu sigmoid hardsigmoid hardswish gelu_erf gelu_quick tanh exp "
    "expm1 softplus elu xielu floor ceil round trunc".split()
)
_GLU = frozenset("reglu geglu swiglu swiglu_oai geglu_erf geglu_quick swiglu_clamp".split())
_MUL_MAT_TYPES = frozenset(
    "f32 f16 bf16 q1_0 q2_0 q4_0 q4_1 q5_0 q5_1 q8_0 mxfp4 nvfp4 q2_K q3_K q4_K q5_K q6_K q8_K "
    "iq1_m iq1_s iq2_s iq2_xs iq2_xxs iq3_s iq3_xxs iq4_nl iq4_xs".split()
)
_GET_ROWS_TYPES = frozenset(
    "f16 f32 bf16 i32 q1_0 q2_0 q4_0 q4_1 q5_0 q5_1 q8_0 q2_K q3_K q4_K q5_K q6_K iq2_xxs iq2_xs "
    "iq2_s iq3_xxs iq3_s iq1_s iq1_m iq4_xs".split()
)
_SET_ROWS_TYPES = frozenset("f32 f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl".split())
_FLOATS = frozenset(("f32", "f16", "bf16"))
_CPY_FROM_F32 = frozenset("q8_0 q4_0 q4_1 q5_0 q5_1 iq4_nl i32".split())
_CPY_TO_F32 = frozenset("q8_0 q4_0 q4_1 q5_0 q5_1 i32".split())


def can_multiply(type_name: str) -> bool:
    """Whether CUDA multiplies by matrices of a type."""
    return type_name in _MUL_MAT_TYPES


def _arg(t: Tensor, i: int) -> Tensor:
    s = t.src[i]
    assert s is not None
    return s


def _supports_unary(t: Tensor) -> bool:
    return t.param in _UNARY and _arg(t, 0).is_contiguous()


def _supports_glu(t: Tensor) -> bool:
    return t.param in _GLU and _arg(t, 0).is_contiguous(1)


def _supports_mul_mat(t: Tensor) -> bool:
    a, b = _arg(t, 0), _arg(t, 1)
    if a.nb[0] != TYPES[a.type].type_size or b.nb[0] != TYPES[b.type].type_size:
        return False
    if b.type == "f16" and a.type != "f16":
        return False
    if t.op == "MUL_MAT_ID" and t.param == "f32":
        return False  # Full precision of the second operand was asked for (mistral4).
    return a.type in _MUL_MAT_TYPES


def can_gather(type_name: str, row: int) -> bool:
    """Whether CUDA gathers rows of `row` elements of a type."""
    return type_name in _GET_ROWS_TYPES or (type_name in ("iq4_nl", "mxfp4") and row % 256 == 0)


def _supports_get_rows(t: Tensor) -> bool:
    a = _arg(t, 0)
    return can_gather(a.type, a.ne[0])


def _supports_set_rows(t: Tensor) -> bool:
    rows, ids = _arg(t, 0), _arg(t, 1)
    typed = (t.type in _SET_ROWS_TYPES and rows.type == "f32") or (t.type == rows.type == "f16")
    return typed and ids.type in ("i64", "i32")


def _supports_cpy(t: Tensor) -> bool:
    a, b = _arg(t, 0), _arg(t, 1)
    if a.type in _FLOATS and b.type in _FLOATS:
        return True
    if (a.type == "f32" and b.type in _CPY_FROM_F32) or (b.type == "f32" and a.type in _CPY_TO_F32):
        return True
    if a.type == b.type == "i32":
        return True
    return a.type == b.type and a.is_contiguous() and b.is_contiguous()


def _supports_norm(t: Tensor) -> bool:
    return _arg(t, 0).has_contiguous_rows


def _supports_binary(t: Tensor) -> bool:
    a, b = _arg(t, 0), _arg(t, 1)
    if "bf16" in (a.type, b.type, t.type):
        return a.type == t.type == "bf16" and b.type in ("bf16", "f32")
    return all(s.type in ("f32", "f16") for s in (a, b, t))


def _supports_scale(t: Tensor) -> bool:
    a = _arg(t, 0)
    return a.type in ("f32", "bf16") and t.type == a.type


def _supports_ssm_scan(t: Tensor) -> bool:
    state, a, b = _arg(t, 0), _arg(t, 3), _arg(t, 4)
    if a.ne[0] == 1:
        return state.ne[0] in (96, 128, 256) and state.ne[1] % 16 == 0
    if isinstance(t.param, int) and t.param > 1:
        return False
    return state.ne[0] == 16 and state.ne[1] == 1 and state.ne[2] % 128 == 0 and b.ne[1] == 1


def _supports_ssm_conv(t: Tensor) -> bool:
    return _arg(t, 0).ne[1] % 128 == 0


def _supports_rope(t: Tensor) -> bool:
    a = _arg(t, 0)
    return a.nb[0] == TYPES[a.type].type_size and a.is_contiguous(2)


def _supports_contiguous(t: Tensor) -> bool:
    return _arg(t, 0).is_contiguous()


def _supports_contiguous_pair(t: Tensor) -> bool:
    return _arg(t, 0).is_contiguous() and _arg(t, 1).is_contiguous()


def _supports_sum_rows(t: Tensor) -> bool:
    a = _arg(t, 0)
    return a.type == "f32" and t.type == "f32" and a.has_contiguous_rows


def _supports_repeat(t: Tensor) -> bool:
    return _arg(t, 0).type in ("f32", "f16")


def _supports_concat(t: Tensor) -> bool:
    a, b = _arg(t, 0), _arg(t, 1)
    if a.type != b.type or a.type != t.type:
        return False
    if not TYPES[a.type].is_quantized:
        return True
    block = TYPES[a.type].block_size
    return a.is_contiguous() and b.is_contiguous() and not (a.ne[0] % block or b.ne[0] % block)


def _supports_set(t: Tensor) -> bool:
    return t.type in ("f32", "i32") and t.type == _arg(t, 0).type == _arg(t, 1).type


def _supports_flash_attn(t: Tensor) -> bool:
    return _flash_attn_kernel(t) != "none"


def _supports_lightning_indexer(t: Tensor) -> bool:
    q, k = _arg(t, 0), _arg(t, 1)
    if q.ne[0] != 128 or q.ne[1] not in (64, 32, 4) or k.type not in _FLASH_KV_TYPES:
        return False
    return not any(not TYPES[s.type].is_quantized and any(n % 16 for n in s.nb[1:]) for s in (q, k))


_SUPPORTS: dict[str, Callable[[Tensor], bool]] = {
    "UNARY": _supports_unary,
    "GLU": _supports_glu,
    "MUL_MAT": _supports_mul_mat,
    "MUL_MAT_ID": _supports_mul_mat,
    "GET_ROWS": _supports_get_rows,
    "SET_ROWS": _supports_set_rows,
    "SET": _supports_set,
    "CPY": _supports_cpy,
    "REPEAT": _supports_repeat,
    "CONCAT": _supports_concat,
    "NORM": _supports_norm,
    "RMS_NORM": _supports_norm,
    "L2_NORM": _supports_norm,
    "GROUP_NORM": _supports_contiguous,
    "ADD": _supports_binary,
    "SUB": _supports_binary,
    "MUL": _supports_binary,
    "DIV": _supports_binary,
    "SCALE": _supports_scale,
    "SSM_SCAN": _supports_ssm_scan,
    "SSM_CONV": _supports_ssm_conv,
    "ROPE": _supports_rope,
    "ROPE_BACK": _supports_rope,
    "IM2COL": _supports_contiguous_pair,
    "ROLL": _supports_contiguous,
    "SUM": _supports_norm,
    "SUM_ROWS": _supports_sum_rows,
    "MEAN": _supports_sum_rows,
    "FLASH_ATTN_EXT": _supports_flash_attn,
    "LIGHTNING_INDEXER": _supports_lightning_indexer,
}


def supports(t: Tensor) -> bool:
    """Whether the CUDA backend has a kernel for this operation on these types and layouts.

    Source: `ggml_backend_cuda_device_supports_op`.
    """
    check = _SUPPORTS.get(t.op)
    return check is None or check(t)


# Reordering and keeping alive.


def optimize(
    nodes: list[Tensor],
    dependencies: dict[int, list[Tensor]],
    following: Tensor | None = None,
) -> list[Tensor]:
    """Reorder one split for fusion and record what must outlive its last use.

    Args:
        nodes: the nodes of one GPU split, in order.
        dependencies: id of a node → tensors that stay allocated until it; extended here.
        following: first node of the next split, which a group at the end is kept for.

    Returns:
        The nodes in their new order.

    Source: `ggml_backend_cuda_graph_optimize`.
    """

    def keep(tensor: Tensor, until: Tensor) -> None:
        kept = dependencies.setdefault(id(until), [])
        if not any(t is tensor for t in kept):
            kept.append(tensor)

    if any(t.op == "MUL_MAT_ID" for t in nodes):
        nodes = _group_shared_experts(list(nodes), keep)
    i = 0
    while i < len(nodes):
        op = nodes[i].op
        if op == "MUL":
            reduction = _match_weighted_reduction(nodes, i)
            if reduction is not None:
                for tensor in reduction.kept:
                    keep(tensor, reduction.result)
                i += reduction.n_nodes - 1
                op = nodes[i].op
        if op in ("UNARY", "SOFT_MAX"):
            length = _match_top_k(nodes, i)
            until = nodes[i + length] if i + length < len(nodes) else following
            if length and until is not None:
                for t in nodes[i : i + length]:
                    keep(t, until)
                    for s in t.src:
                        if s is not None:
                            keep(s, until)
                i += length - 1
        i += 1
    return nodes


def _can_fuse(nodes: list[Tensor], ops: tuple[str, ...], outputs: tuple[int, ...]) -> bool:
    """Whether `nodes` form a closed group: inner results are used inside only.

    Source: ggml.c `ggml_can_fuse_subgraph_ext`; `outputs` are positions in the group.
    """
    members = {id(t) for t in nodes}
    for i, t in enumerate(nodes):
        if t.op != ops[i] or not t.is_compute:
            return False
        if i in outputs:
            continue
        if t.is_output:
            return False
        uses = sum(1 for other in nodes[i + 1 :] for s in other.src if s is t)
        if uses != t.n_uses:
            return False
        root = t.view_src
        if root is not None and id(root) not in members and not root.is_weight:
            return False
    return True


Keep = Callable[[Tensor, Tensor], None]

_FUSED_GLU = frozenset(("swiglu", "geglu", "swiglu_oai", "swiglu_clamp"))
_EXPERT_OPS = ("MUL_MAT_ID", "MUL_MAT_ID", "GLU", "MUL_MAT", "MUL_MAT", "GLU")


def _group_shared_experts(nodes: list[Tensor], keep: Keep) -> list[Tensor]:
    """Move a shared expert's three nodes behind the routed ones they can be fused with."""
    i = 0
    while i + 5 < len(nodes):
        if nodes[i].op == "MUL_MAT_ID" and _is_routed(nodes, i):
            j = i + 3
            while j + 2 < len(nodes):
                op = nodes[j].op
                if op == "MUL_MAT_ID" and nodes[j + 1].op == "MUL_MAT_ID":
                    break
                if op == "MUL_MAT" and _match_shared_expert(nodes, i, j):
                    nodes[i + 3 : j + 3] = nodes[j : j + 3] + nodes[i + 3 : j]
                    up = _arg(nodes[i + 2], 1)
                    keep(_arg(up, 1), nodes[i + 5])
                    keep(_arg(up, 2), nodes[i + 5])
                    i += 5
                    break
                j += 1
        i += 1
    return nodes


def _is_routed(nodes: list[Tensor], i: int) -> bool:
    """Whether two products and what gates one with the other begin here."""
    glu = nodes[i + 2]
    return glu.op == "GLU" and {id(s) for s in glu.src} == {id(nodes[i]), id(nodes[i + 1])}


def _is_fused_pair(up: Tensor, gate: Tensor, glu: Tensor) -> bool:
    """Whether two products and their GLU run as one kernel (ggml_cuda_should_fuse_mul_mat)."""
    if up.op != gate.op or up.op not in ("MUL_MAT", "MUL_MAT_ID"):
        return False
    a, b = _arg(up, 0), _arg(gate, 0)
    return (
        glu.src[0] is gate
        and glu.src[1] is up
        and glu.param in _FUSED_GLU
        and a.type == b.type
        and a.ne == b.ne
        and a.nb == b.nb
        and up.src[1] is gate.src[1]
        and (up.op == "MUL_MAT" or up.src[2] is gate.src[2])
    )


def _match_shared_expert(nodes: list[Tensor], routed: int, shared: int) -> bool:
    """Source: ggml-cuda.cu `ggml_cuda_match_shared_expert`."""
    glu, shared_glu = nodes[routed + 2], nodes[shared + 2]
    if glu.op != "GLU" or shared_glu.op != "GLU" or nodes[shared + 1].op != "MUL_MAT":
        return False
    gate, up, shared_gate, shared_up = glu.src[0], glu.src[1], shared_glu.src[0], shared_glu.src[1]
    if gate is None or up is None or shared_gate is None or shared_up is None:
        return False
    if {id(gate), id(up)} != {id(nodes[routed]), id(nodes[routed + 1])}:
        return False
    if {id(shared_gate), id(shared_up)} != {id(nodes[shared]), id(nodes[shared + 1])}:
        return False
    group = [*nodes[routed : routed + 3], *nodes[shared : shared + 3]]
    if not _can_fuse(group, _EXPERT_OPS, (2, 5)):
        return False
    if not _is_fused_pair(up, gate, glu) or not _is_fused_pair(shared_up, shared_gate, shared_glu):
        return False
    weight, shared_weight = _arg(up, 0), _arg(shared_up, 0)
    x, shared_x = _arg(up, 1), _arg(shared_up, 1)
    return (
        weight.buffer != -1
        and TYPES[weight.type].is_quantized
        and x.op == "RESHAPE"
        and x.src[0] is shared_x
        and x.ne[1] == 1
        and x.ne[3] == 1
        and x.is_contiguous()
        and shared_x.is_contiguous()
        and shared_x.ne[2] == shared_x.ne[3] == 1
        and weight.type == shared_weight.type
        and weight.ne[:2] == shared_weight.ne[:2]
        and weight.nb[1] == shared_weight.nb[1]
        and weight.ne[3] == 1
        and shared_weight.ne[2] == shared_weight.ne[3] == 1
        and glu.param == shared_glu.param
        and shared_weight.op == "NONE"
        and _arg(shared_gate, 0).op == "NONE"
    )


class _Reduction(NamedTuple):
    kept: tuple[Tensor, ...]
    result: Tensor
    n_nodes: int


def _split_product(t: Tensor) -> tuple[Tensor, Tensor] | None:
    """Split a product into (full, one factor per expert and token)."""

    def is_full(s: Tensor) -> bool:
        return s.type == "f32" and s.is_contiguous() and s.ne == t.ne

    def is_factor(s: Tensor) -> bool:
        return s.type == "f32" and s.is_contiguous() and s.ne[0] == 1 and s.ne[1:] == t.ne[1:]

    a, b = _arg(t, 0), _arg(t, 1)
    if is_full(a) and is_factor(b):
        return a, b
    if is_full(b) and is_factor(a):
        return b, a
    return None


def _match_weighted_reduction(nodes: list[Tensor], i: int) -> _Reduction | None:
    """Match the sum of weighted experts: MUL [MUL], then a VIEW per expert and the ADDs.

    Source: ggml-cuda.cu `ggml_cuda_match_moe_weighted_reduction`.
    """
    first = nodes[i]
    if first.type != "f32" or first.ne[1] < 2 or not first.is_contiguous():
        return None
    parts = _split_product(first)
    if parts is None:
        return None
    weighted, kept, n_products = first, parts, 1
    kept_all: tuple[Tensor, ...] = kept
    if i + 1 < len(nodes):
        second = nodes[i + 1]
        if second.op == "MUL" and second.type == "f32" and second.is_contiguous():
            outer = _split_product(second)
            if outer is not None and outer[0] is first:
                weighted, n_products = second, 2
                kept_all = (kept[0], outer[1], kept[1])
    n_used, n_tokens = weighted.ne[1], weighted.ne[2] * weighted.ne[3]
    if not 2 <= n_used <= MAX_REDUCED_EXPERTS:
        return None
    length = 2 * n_used + n_products - 1
    if i + length > len(nodes):
        return None
    group = nodes[i : i + length]
    views: list[Tensor] = []
    total: Tensor | None = None
    n_adds = 0
    for t in group[n_products:]:
        if t.op == "VIEW":
            if (
                len(views) >= n_used
                or t.src[0] is not weighted
                or t.view_src is not weighted
                or t.ne != (weighted.ne[0], n_tokens, 1, 1)
                or t.nb[1] != weighted.nb[2]
                or t.view_offs != len(views) * weighted.nb[1]
            ):
                return None
            views.append(t)
            continue
        if t.op != "ADD" or len(views) < 2 or n_adds + 1 >= len(views):
            return None
        left = views[0] if n_adds == 0 else total
        if t.src[0] is not left or t.src[1] is not views[n_adds + 1]:
            return None
        total = t
        n_adds += 1
    if len(views) != n_used or n_adds != n_used - 1 or total is None or not total.is_contiguous():
        return None
    if not _can_fuse(group, tuple(t.op for t in group), (length - 1,)):
        return None
    return _Reduction(kept_all, total, length)


def _match_top_k(nodes: list[Tensor], start: int) -> int:
    """Length of the expert selection that starts here and runs as one kernel, or 0.

    Source: ggml-cuda.cu `ggml_cuda_topk_moe_fusion` and topk-moe.cu
    `ggml_cuda_should_use_topk_moe`.
    """
    n = len(nodes)
    first = nodes[start]
    i = start
    if first.op == "UNARY":
        if first.param == "softplus":
            if i + 1 >= n or nodes[i + 1].op != "SQRT" or nodes[i + 1].src[0] is not first:
                return 0
            i += 1
        elif first.param != "sigmoid":
            return 0
    elif first.src[1] is not None or first.src[2] is not None or first.param:
        return 0

    def follows(op: str, at: int) -> bool:
        return at < n and nodes[at].op == op and nodes[at].src[0] is nodes[at - 1]

    probs = i
    i += 1
    if not follows("RESHAPE", i):
        return 0
    reshaped = nodes[i]
    i += 1
    if i < n and nodes[i].op == "ADD" and nodes[i].src[0] is nodes[probs]:
        i += 1
        if not follows("ARGSORT", i):
            return 0
    elif i >= n or nodes[i].op != "ARGSORT" or nodes[i].src[0] is not nodes[probs]:
        return 0
    i += 1
    if not follows("VIEW", i):
        return 0
    ids = i
    i += 1
    if i >= n or nodes[i].op != "GET_ROWS":
        return 0
    if nodes[i].src[0] is not reshaped or nodes[i].src[1] is not nodes[ids]:
        return 0
    i += 1
    if (
        follows("RESHAPE", i)
        and follows("SUM_ROWS", i + 1)
        and follows("CLAMP", i + 2)
        and i + 4 < n
        and nodes[i + 3].op == "DIV"
        and nodes[i + 3].src[1] is nodes[i + 2]
        and nodes[i + 3].src[0] is nodes[i]
        and follows("RESHAPE", i + 4)
    ):
        i += 5
    normed = nodes[i - 1].op == "RESHAPE"
    # Without normalisation a stray RESHAPE ends the group before any scale.
    if (normed or nodes[i - 1].op == "GET_ROWS") and follows("SCALE", i):
        i += 1
    group = nodes[start:i]
    n_expert = nodes[ids].nb[1] // nodes[ids].nb[0]
    power_of_two = n_expert & (n_expert - 1) == 0 and n_expert <= 512
    if not power_of_two and n_expert not in (288, 576):
        return 0
    logits = _arg(first, 0)
    if not logits.is_contiguous() or not group[-1].is_contiguous():
        return 0
    if not _can_fuse(group, tuple(t.op for t in group), (ids - start, len(group) - 1)):
        return 0
    return len(group)
