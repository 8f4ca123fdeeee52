"""The operations of ggml as shapes: each returns the tensor that ggml.c would create.

Names and argument orders are ggml's, less the `ggml_` prefix and the arguments that
only change values. `param` keeps the few values that decide fusion or support
(a unary operator's name, a GLU's flavour, a concatenation's dimension).

Source: llama.cpp ggml/src/ggml.c, the function of the same name (pin in core/_pins.py).
"""

from __future__ import annotations

from math import isqrt

from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.ggml.types import TYPES

VIEW_OPS = frozenset({"VIEW", "RESHAPE", "PERMUTE", "TRANSPOSE"})
"""Operations that only reinterpret their source."""


def new_tensor(type_: str, *ne: int, name: str = "") -> Tensor:
    """Return a fresh leaf."""
    return Tensor(type_, ne, name=name)


def _like(a: Tensor, op: str, *src: Tensor | None, param: object = None) -> Tensor:
    """Return a contiguous tensor of `a`'s type and shape whose first source is `a`."""
    return Tensor(a.type, a.ne, op, (a, *src), param=param)


def _view_like(a: Tensor, op: str, *src: Tensor | None) -> Tensor:
    """Return an operation that writes into `a`."""
    return Tensor(a.type, a.ne, op, src, nb=a.nb, view_src=a)


# Element-wise, same shape as the first source.


def dup(a: Tensor) -> Tensor:
    """Copy `a`."""
    return _like(a, "DUP")


def add(a: Tensor, b: Tensor) -> Tensor:
    """Add, broadcasting `b`."""
    return _like(a, "ADD", b)


def add_inplace(a: Tensor, b: Tensor) -> Tensor:
    """Add, broadcasting `b`, in place."""
    return _view_like(a, "ADD", a, b)


def add_id(a: Tensor, b: Tensor, ids: Tensor) -> Tensor:
    """Add the rows of `b` that `ids` selects."""
    return _like(a, "ADD_ID", b, ids)


def sub(a: Tensor, b: Tensor) -> Tensor:
    """Subtract, broadcasting `b`."""
    return _like(a, "SUB", b)


def mul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply, broadcasting `b`."""
    return _like(a, "MUL", b)


def div(a: Tensor, b: Tensor) -> Tensor:
    """Divide, broadcasting `b`."""
    return _like(a, "DIV", b)


def sqr(a: Tensor) -> Tensor:
    """Square."""
    return _like(a, "SQR")


def sqrt(a: Tensor) -> Tensor:
    """Square root."""
    return _like(a, "SQRT")


def sin(a: Tensor) -> Tensor:
    """Sine."""
    return _like(a, "SIN")


def cos(a: Tensor) -> Tensor:
    """Cosine."""
    return _like(a, "COS")


def log(a: Tensor) -> Tensor:
    """Logarithm."""
    return _like(a, "LOG")


def scale(a: Tensor) -> Tensor:
    """Multiply by a constant (also ggml_scale_bias)."""
    return _like(a, "SCALE")


def scale_inplace(a: Tensor) -> Tensor:
    """Multiply by a constant, in place."""
    return _view_like(a, "SCALE", a)


def clamp(a: Tensor) -> Tensor:
    """Clamp."""
    return _like(a, "CLAMP")


def fill(a: Tensor) -> Tensor:
    """Fill with a constant."""
    return _like(a, "FILL")


def unary(a: Tensor, function: str) -> Tensor:
    """Apply an activation: silu, gelu, sigmoid, tanh, relu, softplus, exp, neg …"""
    return _like(a, "UNARY", param=function)


def cumsum(a: Tensor) -> Tensor:
    """Cumulative sum along rows."""
    return _like(a, "CUMSUM")


def tri(a: Tensor) -> Tensor:
    """Keep a triangle."""
    return _like(a, "TRI")


def roll(a: Tensor) -> Tensor:
    """Roll elements around."""
    return _like(a, "ROLL")


def norm(a: Tensor) -> Tensor:
    """Layer norm."""
    return _like(a, "NORM")


def rms_norm(a: Tensor) -> Tensor:
    """RMS norm."""
    return _like(a, "RMS_NORM")


def l2_norm(a: Tensor) -> Tensor:
    """L2 norm."""
    return _like(a, "L2_NORM")


def group_norm(a: Tensor) -> Tensor:
    """Group norm."""
    return _like(a, "GROUP_NORM")


def rope(a: Tensor, positions: Tensor, factors: Tensor | None = None) -> Tensor:
    """Rotary embedding (rope_ext and rope_multi)."""
    return _like(a, "ROPE", positions, factors)


def rope_back(a: Tensor, positions: Tensor, factors: Tensor | None = None) -> Tensor:
    """Inverse rotary embedding (rope_ext_back)."""
    return _like(a, "ROPE_BACK", positions, factors)


def soft_max(a: Tensor, mask: Tensor | None = None, sinks: Tensor | None = None) -> Tensor:
    """Soft-max of rows, with mask and attention sinks."""
    return _like(a, "SOFT_MAX", mask, sinks)


def argsort(a: Tensor) -> Tensor:
    """Sort indices of each row."""
    return Tensor("i32", a.ne, "ARGSORT", (a,))


# Gated units.


def glu(a: Tensor, flavour: str) -> Tensor:
    """Gate one half of each row with the other: swiglu, geglu, reglu …"""
    return Tensor(a.type, (a.ne[0] // 2, *a.ne[1:]), "GLU", (a, None), param=flavour)


def glu_split(gate: Tensor, up: Tensor, flavour: str) -> Tensor:
    """Gate `up` with `gate`: swiglu, geglu, reglu, swiglu_oai, swiglu_clamp."""
    return Tensor(gate.type, gate.ne, "GLU", (gate, up), param=flavour)


# Reductions.


def sum_rows(a: Tensor) -> Tensor:
    """Sum each row."""
    return Tensor(a.type, (1, *a.ne[1:]), "SUM_ROWS", (a,))


def sum_all(a: Tensor) -> Tensor:
    """Sum everything (ggml_sum)."""
    return Tensor(a.type, (1, 1, 1, 1), "SUM", (a,))


def mean(a: Tensor) -> Tensor:
    """Mean of each row."""
    return Tensor("f32", (1, *a.ne[1:]), "MEAN", (a,))


def argmax(a: Tensor) -> Tensor:
    """Index of each row's largest element."""
    return Tensor("i32", (a.ne[1], 1, 1, 1), "ARGMAX", (a,))


def top_k(a: Tensor, k: int) -> Tensor:
    """Indices of the k largest of each row, as an operation of its own."""
    return Tensor("i32", (k, *a.ne[1:]), "TOP_K", (a,))


# Matrix products and look-ups.


def mul_mat(a: Tensor, b: Tensor) -> Tensor:
    """Multiply (k × m) by (k × n): (m × n), f32."""
    return Tensor("f32", (a.ne[1], b.ne[1], b.ne[2], b.ne[3]), "MUL_MAT", (a, b))


def mul_mat_id(experts: Tensor, b: Tensor, ids: Tensor) -> Tensor:
    """Multiply by the expert matrices that `ids` selects."""
    ne = (experts.ne[1], ids.ne[0], b.ne[2], 1)
    return Tensor("f32", ne, "MUL_MAT_ID", (experts, b, ids))


def get_rows(a: Tensor, ids: Tensor) -> Tensor:
    """Gather rows of `a`."""
    type_ = "i32" if a.type == "i32" else "f32"
    return Tensor(type_, (a.ne[0], ids.ne[0], ids.ne[1], ids.ne[2]), "GET_ROWS", (a, ids))


def set_rows(a: Tensor, b: Tensor, ids: Tensor) -> Tensor:
    """Scatter the rows of `b` into `a`, in place."""
    return _view_like(a, "SET_ROWS", b, ids, a)


# Layout.


def view(a: Tensor, ne: tuple[int, ...], nb: tuple[int, ...] = (), offset: int = 0) -> Tensor:
    """View `ne` elements of `a` with strides `nb` of dimensions 1.., from byte `offset`."""
    t = TYPES[a.type]
    full = (*ne, 1, 1, 1)[:4]
    strides = [t.type_size, *nb]
    if len(strides) == 1:
        strides.append(full[0] // t.block_size * t.type_size)
    while len(strides) < 4:
        strides.append(strides[-1] * full[len(strides) - 1])
    return Tensor(a.type, full, "VIEW", (a,), nb=tuple(strides), view_src=a, view_offs=offset)


def argsort_top_k(a: Tensor, k: int) -> Tensor:
    """Indices of the k largest of each row, as a view of the whole sort."""
    order = argsort(a)
    return view(order, (k, *order.ne[1:]), order.nb[1:])


def reshape(a: Tensor, *ne: int) -> Tensor:
    """Reinterpret a contiguous tensor."""
    return Tensor(a.type, ne, "RESHAPE", (a,), view_src=a)


def permute(a: Tensor, axis0: int, axis1: int, axis2: int, axis3: int) -> Tensor:
    """Move dimension i to position axis_i."""
    ne, nb = [0] * 4, [0] * 4
    for i, axis in enumerate((axis0, axis1, axis2, axis3)):
        ne[axis], nb[axis] = a.ne[i], a.nb[i]
    return Tensor(a.type, tuple(ne), "PERMUTE", (a,), nb=tuple(nb), view_src=a)


def transpose(a: Tensor) -> Tensor:
    """Swap the first two dimensions."""
    ne = (a.ne[1], a.ne[0], a.ne[2], a.ne[3])
    nb = (a.nb[1], a.nb[0], a.nb[2], a.nb[3])
    return Tensor(a.type, ne, "TRANSPOSE", (a,), nb=nb, view_src=a)


def cont(a: Tensor, *ne: int) -> Tensor:
    """Make contiguous, optionally reshaped."""
    return Tensor(a.type, ne or a.ne, "CONT", (a,))


def cpy(a: Tensor, b: Tensor) -> Tensor:
    """Copy `a` into `b`."""
    return _view_like(b, "CPY", a, b)


def cast(a: Tensor, type_: str) -> Tensor:
    """Convert to another type. Lists itself as its second source, as ggml.c does."""
    result = Tensor(type_, a.ne, "CPY", (a,))
    result.src.append(result)
    return result


def concat(a: Tensor, b: Tensor, dim: int = 0) -> Tensor:
    """Concatenate along a dimension."""
    ne = list(a.ne)
    ne[dim] += b.ne[dim]
    return Tensor(a.type, tuple(ne), "CONCAT", (a, b), param=dim)


def repeat(a: Tensor, *ne: int) -> Tensor:
    """Repeat to the given shape (ggml_repeat and ggml_repeat_4d)."""
    return Tensor(a.type, ne, "REPEAT", (a,))


def pad(a: Tensor, p0: int, p1: int = 0, p2: int = 0, p3: int = 0) -> Tensor:
    """Zero-pad each dimension."""
    ne = (a.ne[0] + p0, a.ne[1] + p1, a.ne[2] + p2, a.ne[3] + p3)
    return Tensor(a.type, ne, "PAD", (a,))


def set_into(a: Tensor, b: Tensor, *, inplace: bool = False) -> Tensor:
    """Write `b` into (a copy of) `a` (ggml_set and its in-place form)."""
    return _view_like(a, "SET", a, b) if inplace else _like(a, "SET", b)


def arange(n: int) -> Tensor:
    """Count from zero."""
    return Tensor("f32", (n,), "ARANGE")


# Attention and recurrent kernels.


def flash_attn_ext(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Fused attention of permuted q, k, v."""
    ne = (v.ne[0], q.ne[2], q.ne[1], q.ne[3])
    return Tensor("f32", ne, "FLASH_ATTN_EXT", (q, k, v, mask))


def ssm_conv(sx: Tensor, kernel: Tensor) -> Tensor:
    """Depth-wise convolution of a state-space layer."""
    ne = (kernel.ne[1], sx.ne[0] - kernel.ne[0] + 1, sx.ne[2])
    return Tensor("f32", ne, "SSM_CONV", (sx, kernel))


def ssm_scan(
    s: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, ids: Tensor, k: int = 1
) -> Tensor:
    """Selective scan: outputs followed by the new states."""
    n = x.n_elements + k * s.ne[0] * s.ne[1] * s.ne[2] * ids.ne[0]
    return Tensor("f32", (n,), "SSM_SCAN", (s, x, dt, a, b, c, ids), param=k)


def gated_delta_net(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: Tensor, n_slots: int = 1
) -> Tensor:
    """Gated delta rule: outputs followed by `n_slots` new states."""
    size, heads, tokens, seqs = v.ne
    ne = (size * heads, tokens * seqs + n_slots * size * seqs)
    return Tensor("f32", ne, "GATED_DELTA_NET", (q, k, v, g, beta, state))


def _wkv(op: str, k: Tensor, state: Tensor, src: tuple[Tensor, ...]) -> Tensor:
    size, heads, tokens = k.ne[:3]
    return Tensor("f32", (size * heads, tokens + size * state.ne[1]), op, src)


def rwkv_wkv6(k: Tensor, v: Tensor, r: Tensor, tf: Tensor, td: Tensor, state: Tensor) -> Tensor:
    """RWKV-6 kernel: outputs followed by the new states."""
    return _wkv("RWKV_WKV6", k, state, (k, v, r, tf, td, state))


def rwkv_wkv7(
    r: Tensor, w: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, state: Tensor
) -> Tensor:
    """RWKV-7 kernel: outputs followed by the new states."""
    return _wkv("RWKV_WKV7", k, state, (r, w, k, v, a, b, state))


def gated_linear_attn(k: Tensor, v: Tensor, q: Tensor, g: Tensor, state: Tensor) -> Tensor:
    """Gated linear attention: outputs followed by the new states."""
    return _wkv("GATED_LINEAR_ATTN", k, state, (k, v, q, g, state))


def solve_tri(a: Tensor, b: Tensor) -> Tensor:
    """Solve a triangular system."""
    return Tensor("f32", b.ne, "SOLVE_TRI", (a, b))


def lightning_indexer(q: Tensor, k: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
    """Scores of the sparse-attention indexer."""
    return Tensor("f32", (k.ne[2], q.ne[2], 1, q.ne[3]), "LIGHTNING_INDEXER", (q, k, weights, mask))


def dsv4_hc_comb(mixes: Tensor, scale_: Tensor, base: Tensor) -> Tensor:
    """Combination matrices of hyper-connections, from mixes of hc·(hc+2) rows."""
    hc = isqrt(mixes.ne[0] + 1) - 1
    return Tensor("f32", (hc, hc, mixes.ne[1]), "DSV4_HC_COMB", (mixes, scale_, base))


def dsv4_hc_pre(x: Tensor, weights: Tensor) -> Tensor:
    """Mix the hyper-connection streams into one (also the gated form)."""
    return Tensor("f32", (x.ne[0], x.ne[2]), "DSV4_HC_PRE", (x, weights))


def dsv4_hc_post(x: Tensor, residual: Tensor, post: Tensor, comb: Tensor | None) -> Tensor:
    """Spread one stream over the hyper-connection streams."""
    ne = (x.ne[0], residual.ne[1], x.ne[1])
    return Tensor("f32", ne, "DSV4_HC_POST", (x, residual, post, comb))


# Convolutions of audio decoders.


def im2col(
    a: Tensor,
    b: Tensor,
    stride: int,
    padding: int,
    dilation: int,
    *,
    two_dimensional: bool = False,
    type_: str = "f16",
) -> Tensor:
    """Unfold `b` for a convolution with `a`."""

    def extent(n: int, kernel: int) -> int:
        return (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1

    width = extent(b.ne[0], a.ne[0])
    if two_dimensional:
        ne = (a.ne[2] * a.ne[1] * a.ne[0], width, extent(b.ne[1], a.ne[1]), b.ne[3])
    else:
        ne = (a.ne[1] * a.ne[0], width, b.ne[2], 1)
    return Tensor(type_, ne, "IM2COL", (a, b))


def pool_2d(a: Tensor, k0: int, k1: int, s0: int, s1: int, p0: int = 0, p1: int = 0) -> Tensor:
    """Pool in two dimensions."""
    ne = ((a.ne[0] + 2 * p0 - k0) // s0 + 1, (a.ne[1] + 2 * p1 - k1) // s1 + 1, *a.ne[2:])
    return Tensor("f32", ne, "POOL_2D", (a,))
