"""The blocks that model graphs are made of, as llama.cpp's llm_graph_context has them.

A family's builder calls these in the order its C++ counterpart does: the order of
calls to `expand` decides the order of computation, and with it every offset.

Weights are named as in the GGUF file without their `.weight`: `b.w("attn_q", il)` is
`blk.<il>.attn_q.weight`, or None when the file has none.

Source: llama.cpp src/llama-graph.cpp, the `build_*` function of the same name
(pin in core/_pins.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ggufctl.core.extras import Adapter
from ggufctl.core.folding import LayerList
from ggufctl.core.ggml import ops
from ggufctl.core.ggml.graph import Graph
from ggufctl.core.ggml.tensor import Tensor
from ggufctl.core.ggml.types import TYPES, row_bytes
from ggufctl.core.hparams import HParams
from ggufctl.core.layout import ContextParams, Layout
from ggufctl.core.placement import Placement
from ggufctl.errors import InvalidGguf

__all__ = ["AttnInput", "Builder", "RecurrentInput"]

NORM_PIN_BATCH = 32
"""Below this many tokens norms are pinned to their block's device anyway."""


@dataclass(slots=True)
class AttnInput:
    """Inputs of attention over one cache (llm_graph_input_attn_kv and its relatives)."""

    cache: str
    k_idxs: Tensor
    v_idxs: Tensor
    mask: Tensor
    k_rot: Tensor | None
    v_rot: Tensor | None


@dataclass(slots=True)
class RecurrentInput:
    """Inputs of recurrent blocks (llm_graph_input_rs)."""

    s_copy: Tensor
    s_copy_main: Tensor
    s_copy_tail: Tensor


class Builder:
    """Builds one graph for a micro-batch.

    Args:
        hp: hyper-parameters.
        ctx: resolved settings.
        layout: caches and states of the context.
        placement: devices of blocks and weights.
        n_tokens: tokens of the batch, a multiple of `n_seqs`.
        n_seqs: sequences in it.
        n_outputs: rows of logits.
        flash_attn: whether attention is fused.
        pin_norms: keep norms on their block's device, as a real run does; llama.cpp's
            own dry run forgets to on several GPUs.
        mixed_batch: whether the architecture takes tokens and embeddings in one batch.
        layers: blocks of the trunk to build, by default all.
        adapters: LoRA adapters in use.
        unfused: operations that must be spelled out instead (see `Architecture.fused_ops`).
        in_use: build for a full cache where llama.cpp itself reserves for an empty one.

    Attributes:
        logits, embd: results, set by `head` or by the family (t_logits, t_embd).
        is_before_mixing: build as llama.cpp did before batches could mix tokens and
            embeddings (see `core.builds`).
    """

    def __init__(
        self,
        hp: HParams,
        ctx: ContextParams,
        layout: Layout,
        placement: Placement,
        *,
        n_tokens: int,
        n_seqs: int,
        n_outputs: int,
        flash_attn: bool,
        pin_norms: bool,
        mixed_batch: bool = True,
        layers: list[int] | None = None,
        adapters: Sequence[Adapter] = (),
        unfused: frozenset[str] = frozenset(),
        in_use: bool = False,
    ) -> None:
        self.hp = hp
        self.in_use = in_use
        self.is_before_mixing = False
        self.ctx = ctx
        self.layout = layout
        self.placement = placement
        self.arch = hp.arch
        self.n_tokens = n_tokens
        self.n_seqs = n_seqs
        self.n_outputs = n_outputs
        self.flash_attn = flash_attn
        self.graph = Graph()
        chosen = layers if layers is not None else self._all_layers()
        self.layers = LayerList(chosen, self.graph.nodes)
        self.logits: Tensor | None = None
        self.embd: Tensor | None = None
        self.fused_attention: list[tuple[Tensor, int]] = []
        self.fused_nodes: list[tuple[Tensor, int]] = []
        """Other fused nodes and their blocks (add_fused_node)."""
        self.unfused = unfused
        self._pins = pin_norms and (placement.full_offload or n_tokens < NORM_PIN_BATCH)
        self._pins_kqv = pin_norms and not placement.kv_offload
        self._mixed_batch = mixed_batch
        self._adapters = adapters
        self._lora: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self._weights: dict[str, Tensor | None] = {}
        self._kv: dict[tuple[str, int], tuple[Tensor, Tensor | None]] = {}
        self._states: dict[int, tuple[Tensor, Tensor]] = {}
        self._attn_inputs: dict[str, AttnInput] = {}
        self.inp_tokens: Tensor | None = None
        """Token ids of the batch (t_inp_tokens)."""
        self.inp_embd_rows: Tensor | None = None
        """Rows of the input embedding at full width, for deepstack models."""

    def _all_layers(self) -> list[int]:
        """Blocks of the graph: those of the trunk, or one that drafts, as each does alike."""
        hp = self.hp
        return [hp.n_layer] if self.ctx.drafts else list(range(hp.n_layer))

    @property
    def hands_over(self) -> bool:
        """Whether hidden states of all tokens are wanted (embeddings_nextn, not masked)."""
        speculation = self.ctx.speculation
        return speculation is not None and speculation.in_use and not speculation.drafts

    # Graph.

    def expand(self, t: Tensor) -> Tensor:
        """Append a tensor and what it needs to the graph (ggml_build_forward_expand)."""
        return self.graph.expand(t)

    @property
    def n_seq_tokens(self) -> int:
        """Tokens per sequence."""
        return self.n_tokens // self.n_seqs

    def is_last(self, il: int) -> bool:
        """Whether a block is the last one, after which only output rows are kept."""
        return il == self.layers[-1]

    def input(self, type_: str, *ne: int, name: str) -> Tensor:
        """Input of the graph, filled by the host for every batch."""
        return Tensor(type_, ne, name=name).as_input()

    # Weights.

    def w(self, name: str, il: int | None = None, suffix: str = "weight") -> Tensor | None:
        """Weight of the file, or None. An empty suffix means the bare name."""
        full = name if il is None else f"blk.{il}.{name}"
        if suffix:
            full = f"{full}.{suffix}"
        try:
            return self._weights[full]
        except KeyError:
            t = self._weights[full] = self._make_weight(full, None)
            return t

    def weight(self, full_name: str, backend: int | None = None) -> Tensor | None:
        """Weight by its full name in the file, or None; `backend` overrides its place."""
        key = full_name if backend is None else f"{full_name}@{backend}"
        if key not in self._weights:
            self._weights[key] = self._make_weight(full_name, backend)
        return self._weights[key]

    def _make_weight(self, full_name: str, backend: int | None) -> Tensor | None:
        info = self.hp.tensors.get(full_name)
        if info is None:
            return None
        t = Tensor(info.type, info.shape, name=full_name)
        t.buffer = self.placement.backend(full_name) if backend is None else backend
        t.is_weight = True
        return t

    def need(self, name: str, il: int | None = None, suffix: str = "weight") -> Tensor:
        """Weight that the architecture cannot do without.

        Raises:
            InvalidGguf: the file lacks it.
        """
        t = self.w(name, il, suffix)
        if t is None:
            full = name if il is None else f"blk.{il}.{name}"
            raise InvalidGguf(f"The file has no tensor {full}.{suffix}, which {self.arch} needs.")
        return t

    def bias(self, name: str, il: int | None = None) -> Tensor | None:
        """Bias of a weight, or None."""
        return self.w(name, il, "bias")

    @property
    def weights(self) -> Iterator[Tensor]:
        """Weights of the file that were asked for."""
        return (w for w in self._weights.values() if w is not None)

    def has(self, name: str, il: int | None = None) -> bool:
        """Whether the file has a weight."""
        full = name if il is None else f"blk.{il}.{name}"
        return f"{full}.weight" in self.hp.tensors

    def output_weight(self) -> Tensor:
        """Output matrix: its own, or the token embedding again."""
        t = self.w("output")
        if t is not None:
            return t
        info = self.hp.tensors.get("token_embd.weight")
        t = None
        if info is not None:
            t = self.weight("token_embd.weight", self.placement.tied_output_backend(info))
        if t is None:
            raise InvalidGguf("The file has neither output.weight nor token_embd.weight.")
        return t

    def rope_factors(self, il: int, name: str = "rope_freqs") -> Tensor | None:
        """Rope factors, of which every device with blocks holds a copy."""
        own, shared = self.w(name, il), f"{name}.weight"
        return own or self.weight(shared, self.placement.rope_backend(shared, il))

    def mm(
        self,
        weight: str | Tensor,
        x: Tensor,
        il: int | None = None,
        *,
        scale: bool = True,
        scale_il: int | None = None,
    ) -> Tensor:
        """Multiply by a weight, with its scale and its adapters (build_lora_mm).

        Args:
            weight: its name, or itself.
            x: what is multiplied.
            il: block of the weight.
            scale: whether the weight's scale is applied.
            scale_il: block of the scale, where it is not the weight's.

        Raises:
            InvalidGguf: the file lacks the weight.
        """
        w = weight if isinstance(weight, Tensor) else self.need(weight, il)
        result = ops.mul_mat(w, x)
        if scale and isinstance(weight, str):
            factor = self.w(weight, il if scale_il is None else scale_il, "scale")
            if factor is not None:
                result = ops.mul(result, factor)
        for a, b in self._lora_pairs(w):
            delta = ops.scale(ops.mul_mat(b, ops.mul_mat(a, x)))
            result = ops.add(result, delta)
        return result

    def _lora_pairs(self, w: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Adapter tensors (a, b) of a weight; they lie where it does."""
        if not self._adapters:
            return []
        found = self._lora.get(w.name)
        if found is None:
            found = self._lora[w.name] = []
            for adapter in self._adapters:
                infos = adapter.pairs.get(w.name)
                if infos is not None:
                    a, b = (Tensor(i.type, i.shape, name=i.name) for i in infos)
                    a.buffer = b.buffer = self.placement.backend(w.name)
                    found.append((a, b))
        return found

    def mm_bias(self, name: str, x: Tensor, il: int | None = None) -> Tensor:
        """Multiply by a weight and add its bias if the file has one."""
        return self.add_bias(self.mm(name, x, il), name, il)

    def add_bias(self, x: Tensor, name: str, il: int | None = None) -> Tensor:
        """Add a weight's bias if the file has one."""
        bias = self.bias(name, il)
        return x if bias is None else ops.add(x, bias)

    def mm_id(self, name: str, x: Tensor, ids: Tensor, il: int, *, scale: bool = True) -> Tensor:
        """Multiply by the selected experts, with their scales (build_lora_mm_id)."""
        w = self.need(name, il)
        result = ops.mul_mat_id(w, x, ids)
        factor = self.w(name, il, "scale") if scale else None
        if factor is not None:
            n_expert = factor.ne[0]
            s = ops.reshape(factor, 1, n_expert, 1)
            s = ops.get_rows(ops.repeat(s, 1, n_expert, x.ne[2], 1), ids)
            result = ops.mul(result, s)
        for a, b in self._lora_pairs(w):
            delta = ops.scale(ops.mul_mat_id(b, ops.mul_mat_id(a, x, ids), ids))
            result = ops.add(result, delta)
        return result

    # Inputs.

    def inp_embd(self, *, token_scale: bool = False) -> Tensor:
        """Input embeddings (n_embd × n_tokens).

        Three ways of feeding a batch are in every graph; only the first is computed,
        all are allocated.

        Args:
            token_scale: whether token rows are scaled apart (gemma3 and relatives).
        """
        hp, u, width = self.hp, self.n_tokens, self.hp.n_embd_inp
        table = self.need("output" if hp.embeds_by_output else "token_embd")

        def rows(ids: Tensor) -> Tensor:
            cur = ops.get_rows(table, ids)
            for a, b in self._lora_pairs(table):
                delta = ops.scale(ops.mul_mat(b, ops.get_rows(a, ids)))
                cur = ops.add(cur, delta)
            return cur if width == hp.n_embd else ops.pad(cur, width - hp.n_embd)

        tokens = self.inp_tokens = self.input("i32", u, name="inp_tokens")
        embd = self.input("f32", width, u, name="inp_embd")
        cur = rows(tokens)
        branches = [embd]
        if self._mixed_batch:
            mixed_tokens = self.input("i32", u, name="inp_mixed_tokens")
            slots = self.input("i64", u, name="inp_mixed_slots")
            mixed = self.input("f32", width, u, name="inp_mixed_embd")
            branches.append(ops.set_rows(ops.dup(mixed), rows(mixed_tokens), slots))
        self.graph.expand(cur)
        for branch in branches:
            self.graph.expand(branch, compute=False)
        self.inp_embd_rows = cur
        if width != hp.n_embd:
            cur = ops.view(cur, (hp.n_embd, u), (cur.nb[1],))
        scale_tokens_only = bool(hp.embedding_scale) and hp.n_deepstack_layers > 0
        if self.is_before_mixing and (token_scale or scale_tokens_only):
            return self.expand(ops.scale(cur if cur.is_contiguous() else ops.cont(cur)))
        if hp.embedding_scale and not scale_tokens_only:
            cur = ops.scale(cur if cur.is_contiguous() else ops.cont(cur))
        if token_scale or (scale_tokens_only and hp.embedding_scale != 1.0):
            factors = self.input("f32", 1, u, name="inp_scale_rows")
            cur = ops.mul(cur if cur.is_contiguous() else ops.cont(cur), factors)
        return self.expand(cur)

    def inp_pos(self) -> Tensor:
        """Positions; four per token with multi-dimensional rope."""
        n = self.n_tokens * (4 if self.hp.is_mrope else 1)
        return self.input("i32", n, name="inp_pos")

    def inp_out_ids(self) -> Tensor:
        """Indices of the tokens whose output is wanted."""
        return self.input("i32", self.n_outputs, name="out_ids")

    def inp_attn_scale(self) -> Tensor:
        """Temperature per token."""
        return self.input("f32", 1, 1, self.n_tokens, name="inp_attn_scale")

    def mask(self, n_kv: int, *, f16: bool | None = None) -> Tensor:
        """Attention mask over `n_kv` cells of each stream (build_attn_inp_kq_mask)."""
        is_f16 = self.flash_attn if f16 is None else f16
        streams = self.ctx.n_stream if self.ctx.kv_unified else self.n_seqs
        rows = self.n_tokens // streams
        return self.input("f16" if is_f16 else "f32", n_kv, rows, 1, streams, name="kq_mask")

    def mask_no_cache(self) -> Tensor:
        """Attention mask of a batch over itself (build_attn_inp_no_cache)."""
        u = self.n_tokens
        return self.input("f16" if self.flash_attn else "f32", u, u, 1, 1, name="kq_mask")

    def attn_input(self, cache: str = "base") -> AttnInput:
        """Inputs of attention over a cache, created once (build_attn_inp_kv, _k, _kv_iswa)."""
        found = self._attn_inputs.get(cache)
        if found is None:
            found = self._attn_inputs[cache] = self._make_attn_input(cache)
        return found

    def _make_attn_input(self, name: str) -> AttnInput:
        cache = self.layout.caches[name]
        u = self.n_tokens
        per_token = self.hp.n_embd_v_gqa_max() if cache.v_trans else 1
        return AttnInput(
            cache=name,
            k_idxs=self.input("i64", u, name="k_idxs"),
            v_idxs=self.input("i64", u * per_token, name="v_idxs"),
            mask=self.mask(cache.n_cells),
            k_rot=self._rotation(cache.n_rot_k, "k_rot"),
            v_rot=self._rotation(cache.n_rot_v, "v_rot"),
        )

    def _rotation(self, n: int, name: str) -> Tensor | None:
        return self.input("f32", n, n, name=name) if n else None

    def pin(self, x: Tensor, il: int) -> Tensor:
        """Keep the last node of a block on the block's device (cb with "l_last")."""
        if self._pins:
            x.backend = self.placement.layer_backends[il]
        return x

    # Norms and projections.

    def norm(
        self,
        x: Tensor,
        weight: str | Tensor | None = None,
        il: int = -1,
        *,
        kind: str = "rms",
        bias: bool = False,
        pin_il: int | None = None,
    ) -> Tensor:
        """Normalise, then multiply by a weight and add a bias (build_norm).

        Args:
            x: what to normalise.
            weight: name or tensor of the factor; a name the file lacks means none.
            il: block; also the block whose device the norm is kept on.
            kind: "rms", "layer" or "group".
            bias: add the weight's bias if the file has one.
            pin_il: block to keep the norm with, if it is not `il` (-1 = none): the
                `il` argument of the C++ call.
        """
        if isinstance(weight, str):
            name, block = weight, (None if il < 0 else il)
            weight = self.w(name, block)
            b = self.bias(name, block) if bias else None
        else:
            b = None
        if kind == "group":
            x = ops.group_norm(ops.reshape(x, x.ne[0], 1, x.ne[1]))
            x = ops.reshape(x, x.ne[0], x.ne[2])
        else:
            x = ops.rms_norm(x) if kind == "rms" else ops.norm(x)
        device = il if pin_il is None else pin_il
        if self._pins and device >= 0 and (weight is not None or b is not None):
            x.backend = self.placement.layer_backends[device]
        if weight is not None:
            x = ops.mul(x, weight)
        if b is not None:
            x = ops.add(x, b)
        return x

    def qkv(
        self,
        x: Tensor,
        il: int,
        *,
        n_embd_head: int | None = None,
        n_head: int | None = None,
        n_head_kv: int | None = None,
        n_embd_head_k: int | None = None,
        n_embd_head_v: int | None = None,
        reshape: bool = True,
        scale: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value (head × heads × n_tokens), fused or separate (build_qkv).

        Args:
            x: normed input.
            il: block.
            n_embd_head: width of a query head, by default the model's value head... as
                most C++ builders pass it; `n_embd_head_k` and `n_embd_head_v` override
                it for keys and values.
            n_head: query heads.
            n_head_kv: key/value heads.
            n_embd_head_k: width of a key head.
            n_embd_head_v: width of a value head.
            reshape: False leaves rows flat (n_embd × n_tokens) and contiguous.
            scale: apply the weights' `.scale` tensors.
        """
        hp, u = self.hp, self.n_tokens
        head_q = n_embd_head if n_embd_head is not None else hp.n_embd_head_k(il)
        head_k = n_embd_head_k if n_embd_head_k is not None else head_q
        head_v = n_embd_head_v
        if head_v is None:
            head_v = n_embd_head if n_embd_head is not None else hp.n_embd_head_v(il)
        heads = n_head if n_head is not None else hp.n_head(il)
        heads_kv = n_head_kv if n_head_kv is not None else hp.n_head_kv(il)
        fused = self.w("attn_qkv", il)
        if fused is not None:
            kv = (head_k, head_v, heads_kv)
            return self._fused_qkv(x, il, (head_q, heads), kv, reshape, scale)
        parts = []
        for name, size, n in (
            ("attn_q", head_q, heads),
            ("attn_k", head_k, heads_kv),
            ("attn_v", head_v, heads_kv),
        ):
            cur = self.add_bias(self.mm(name, x, il, scale=scale), name, il)
            if reshape and hp.clamp_kqv > 0:
                cur = ops.clamp(cur)
            parts.append((cur, size, n))
        if not reshape:
            q, k, v = (cur for cur, _, _ in parts)
        else:
            q, k, v = (ops.reshape(cur, size, n, u) for cur, size, n in parts)
        return q, k, v

    def _fused_qkv(
        self,
        x: Tensor,
        il: int,
        query: tuple[int, int],
        kv: tuple[int, int, int],
        reshape: bool,
        scale: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        (head_q, heads), (head_k, head_v, heads_kv), u = query, kv, self.n_tokens
        cur = self.mm("attn_qkv", x, il, scale=scale)
        bias = self.bias("attn_qkv", il)
        q_b, k_b, v_b = (self.bias(n, il) for n in ("attn_q", "attn_k", "attn_v"))
        if bias is not None:
            cur = ops.add(cur, bias)
        elif q_b is not None and k_b is not None and v_b is not None:
            cur = ops.add(cur, ops.concat(ops.concat(q_b, k_b), v_b))
        if reshape and self.hp.clamp_kqv > 0:
            cur = ops.clamp(cur)
        n_q, n_k = head_q * heads, head_k * heads_kv
        size = TYPES[cur.type].type_size
        starts = (0, n_q * size, (n_q + n_k) * size)
        sizes = ((head_q, heads), (head_k, heads_kv), (head_v, heads_kv))
        if reshape:
            q, k, v = (
                ops.view(cur, (head, n, u), (head * size, cur.nb[1]), start)
                for (head, n), start in zip(sizes, starts, strict=True)
            )
        else:
            q, k, v = (
                ops.view(cur, (head * n, u), (cur.nb[1],), start)
                for (head, n), start in zip(sizes, starts, strict=True)
            )
            q, k, v = ops.cont(q), ops.cont(k), ops.cont(v)
        return q, k, v

    # Attention.

    def kv_tensors(self, cache_name: str, il: int) -> tuple[Tensor, Tensor | None]:
        """Cache tensors of a block: K and, unless it keeps K only, V."""
        key = (cache_name, il)
        found = self._kv.get(key)
        if found is None:
            cache = self.layout.caches[cache_name]
            layer = cache.layers[il]
            where = self.placement.state_backend(il)
            if cache.is_shared:
                where = self._target_backend(il)
            k = Tensor(cache.type_k, (layer.n_k, cache.n_cells, cache.n_stream), name="cache_k")
            k.buffer = where
            v = None
            if layer.n_v:
                v = Tensor(cache.type_v, (layer.n_v, cache.n_cells, cache.n_stream), name="cache_v")
                v.buffer = where
            found = self._kv[key] = (k, v)
        return found

    def _target_backend(self, il: int) -> int:
        """Backend of a target's last block of a kind, offloaded as its drafter is unless known."""
        speculation = self.ctx.speculation
        if speculation is not None and speculation.target_backends:
            return speculation.target_backends[0 if self.hp.is_swa(il) else -1]
        backends = self.placement.layer_backends
        behind = 3 if self.hp.is_swa(il) else 2
        is_offloaded = backends[max(-behind, -len(backends))] != self.placement.host
        return backends[-1] if is_offloaded else self.placement.host

    def get_k(
        self,
        cache_name: str,
        il: int,
        n_embd_head: int | None = None,
        n_head_kv: int | None = None,
    ) -> Tensor:
        """View of a block's whole key cache (head × heads × cells × streams)."""
        k, _ = self.kv_tensors(cache_name, il)
        head = n_embd_head if n_embd_head is not None else self.hp.n_embd_head_k(il)
        heads = n_head_kv if n_head_kv is not None else self.hp.n_head_kv(il)
        _, cells, streams, _ = k.ne
        nb = (row_bytes(k.type, head), k.nb[1], k.nb[1] * cells)
        return ops.view(k, (head, heads, cells, streams), nb)

    def get_v(
        self,
        cache_name: str,
        il: int,
        n_embd_head: int | None = None,
        n_head_kv: int | None = None,
    ) -> Tensor:
        """View of a block's whole value cache, transposed without flash attention."""
        _, v = self.kv_tensors(cache_name, il)
        assert v is not None
        head = n_embd_head if n_embd_head is not None else self.hp.n_embd_head_v(il)
        heads = n_head_kv if n_head_kv is not None else self.hp.n_head_kv(il)
        row, cells, streams, _ = v.ne
        if not self.layout.caches[cache_name].v_trans:
            nb = (row_bytes(v.type, head), v.nb[1], v.nb[1] * cells)
            return ops.view(v, (head, heads, cells, streams), nb)
        nb = (
            row_bytes(v.type, cells * head),
            row_bytes(v.type, cells),
            row_bytes(v.type, cells * row),
        )
        return ops.view(v, (cells, heads, head, streams), nb)

    def cpy_k(self, cache_name: str, k_cur: Tensor, idxs: Tensor, il: int) -> Tensor:
        """Store keys in the cache."""
        k, _ = self.kv_tensors(cache_name, il)
        row, tokens = k_cur.ne[0] * k_cur.ne[1], k_cur.ne[2]
        k_cur = ops.view(k_cur, (row, tokens), (k_cur.nb[2],))
        if k.ne[2] > 1:
            k = ops.reshape(k, row, k.ne[1] * k.ne[2])
        return ops.set_rows(k, k_cur, idxs)

    def cpy_v(self, cache_name: str, v_cur: Tensor, idxs: Tensor, il: int) -> Tensor:
        """Store values in the cache."""
        _, v = self.kv_tensors(cache_name, il)
        assert v is not None
        row, tokens = v_cur.ne[0] * v_cur.ne[1], v_cur.ne[2]
        if not self.layout.caches[cache_name].v_trans:
            v_cur = ops.view(v_cur, (row, tokens), (v_cur.nb[2],))
            if v.ne[2] > 1:
                v = ops.reshape(v, row, v.ne[1] * v.ne[2])
            return ops.set_rows(v, v_cur, idxs)
        if row_bytes(v_cur.type, row) == v_cur.nb[2]:
            v_cur = ops.reshape(v_cur, row, tokens)
        else:
            v_cur = ops.cont(v_cur, row, tokens)
        if row < v.ne[0]:
            v_cur = ops.pad(v_cur, v.ne[0] - row)
        flat = ops.reshape(v_cur, 1, v_cur.n_elements)
        return ops.set_rows(ops.reshape(v, 1, v.n_elements), flat, idxs)

    @staticmethod
    def hadamard(x: Tensor, rotation: Tensor) -> Tensor:
        """Rotate rows block by block (llama_mul_mat_hadamard)."""
        n = rotation.ne[0]
        shape = (n, x.n_elements // n)
        flat = ops.reshape(x, *shape) if x.is_contiguous() else ops.cont(x, *shape)
        return ops.reshape(ops.mul_mat(rotation, flat), *x.ne)

    def mha(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        il: int,
        *,
        kq_b: Tensor | None = None,
        sinks: Tensor | None = None,
        v_mla: Tensor | None = None,
        soft_caps: int = 0,
    ) -> Tensor:
        """Attention proper, fused or not (build_attn_mha).

        Args:
            q: queries (head × heads × n_tokens).
            k: keys (head × heads × n_kv × streams).
            v: values.
            mask: attention mask.
            il: block.
            kq_b: bias added to the scores, which rules out fusion.
            sinks: attention sinks.
            v_mla: matrix that decompresses latent values.
            soft_caps: how many soft-cappings the architecture applies (gemma2 1, grok 1);
                their scale-tanh-scale chains appear only without flash attention.
        """
        v_trans = v.nb[1] > v.nb[2]
        streams = k.ne[3]
        per_stream = q.ne[2] // streams
        q = ops.view(
            q, (q.ne[0], q.ne[1], per_stream, streams), (q.nb[1], q.nb[2], q.nb[2] * per_stream)
        )
        q, k, v = (ops.permute(x, 0, 2, 1, 3) for x in (q, k, v))
        if self.flash_attn and kq_b is None:
            cur = self._flash_attention(q, k, v, mask, il, sinks, v_mla, v_trans)
        else:
            kq = ops.mul_mat(k, q)
            for _ in range(soft_caps):
                kq = ops.scale(ops.unary(ops.scale(kq), "tanh"))
            if kq_b is not None:
                kq = ops.add(kq, kq_b)
            kq = ops.soft_max(kq, mask, sinks)
            kq.param = True
            if not v_trans:
                v = ops.cont(ops.transpose(v))
            cur = ops.mul_mat(v, kq)
            if v_mla is not None:
                cur = ops.mul_mat(v_mla, cur)
            cur = ops.permute(cur, 0, 2, 1, 3)
            cur = ops.cont(cur, cur.ne[0] * cur.ne[1], cur.ne[2] * cur.ne[3])
            if self._pins_kqv:
                cur.backend = self.placement.host
        return self.expand(cur)

    def _flash_attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        il: int,
        sinks: Tensor | None,
        v_mla: Tensor | None,
        v_trans: bool,
    ) -> Tensor:
        if v_trans:
            v = ops.transpose(v)
        if k.type == "f32":
            k = ops.cast(k, "f16")
        if v.type == "f32":
            v = ops.cast(v, "f16")
        cur = ops.flash_attn_ext(q, k, v, mask)
        cur.src.append(sinks)
        cur.param = True if self.hp.use_alibi else None
        self.fused_attention.append((cur, il))
        if v_mla is not None:
            cur = ops.mul_mat(v_mla, ops.permute(cur, 0, 2, 1, 3))
            cur = ops.cont(ops.permute(cur, 0, 2, 1, 3))
        return ops.reshape(cur, cur.ne[0] * cur.ne[1], cur.ne[2] * cur.ne[3])

    def wo(
        self, cur: Tensor, il: int, name: str | None = "attn_output", *, bias: bool = True
    ) -> Tensor:
        """Output projection of attention, with its bias if the file has one."""
        if name is None:
            return cur
        cur = self.mm(name, cur, il)
        return self.add_bias(cur, name, il) if bias else cur

    def attn(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        il: int,
        *,
        wo: str | None = "attn_output",
        wo_bias: bool = True,
        sinks: Tensor | None = None,
        kq_b: Tensor | None = None,
        soft_caps: int = 0,
        cache: str | None = None,
        iswa: bool | None = None,
    ) -> Tensor:
        """Attention over the K/V cache (build_attn for attn_kv and attn_kv_iswa).

        Args:
            q: queries (head × heads × n_tokens).
            k: keys.
            v: values.
            il: block.
            wo: name of the output projection, None for none.
            wo_bias: add its bias if the file has one (False where the C++ passes NULL).
            sinks: attention sinks.
            kq_b: bias added to the scores.
            soft_caps: see `mha`.
            cache: name of the cache; None = by the block's kind.
            iswa: whether the C++ input is the iswa one, which expands k before v;
                None = as the model's memory is.
        """
        is_iswa = "swa" in self.layout.caches if iswa is None else iswa
        if cache is None:
            cache = "swa" if is_iswa and self.hp.is_swa(il) else "base"
        inp = self.attn_input(cache)
        if inp.k_rot is not None:
            q, k = self.hadamard(q, inp.k_rot), self.hadamard(k, inp.k_rot)
        if inp.v_rot is not None:
            v = self.hadamard(v, inp.v_rot)
        for t in (q, k, v) if is_iswa else (q, v, k):
            self.expand(t)
        self.expand(self.cpy_k(cache, k, inp.k_idxs, il))
        self.expand(self.cpy_v(cache, v, inp.v_idxs, il))
        cur = self.mha(
            q,
            self.get_k(cache, il),
            self.get_v(cache, il),
            inp.mask,
            il,
            kq_b=kq_b,
            sinks=sinks,
            soft_caps=soft_caps,
        )
        if inp.v_rot is not None:
            cur = self.hadamard(cur, inp.v_rot)
        return self.wo(cur, il, wo, bias=wo_bias)

    def attn_reuse(
        self,
        q: Tensor,
        il: int,
        source: int,
        *,
        wo: str | None = "attn_output",
        wo_bias: bool = True,
        soft_caps: int = 0,
    ) -> Tensor:
        """Attention over the cache of an earlier block (build_attn without k and v)."""
        cache = "swa" if self.hp.is_swa(il) else "base"
        inp = self.attn_input(cache)
        if inp.k_rot is not None:
            q = self.hadamard(q, inp.k_rot)
        self.expand(q)
        cur = self.mha(
            q,
            self.get_k(cache, source),
            self.get_v(cache, source),
            inp.mask,
            il,
            soft_caps=soft_caps,
        )
        if inp.v_rot is not None:
            cur = self.hadamard(cur, inp.v_rot)
        return self.wo(cur, il, wo, bias=wo_bias)

    def attn_k(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        il: int,
        *,
        v_mla: Tensor | None = None,
        wo: str | None = "attn_output",
        wo_bias: bool = False,
        sinks: Tensor | None = None,
        cache: str = "base",
    ) -> Tensor:
        """Attention over a cache of latent keys, whose first part is the value (attn_k)."""
        inp = self.attn_input(cache)
        for t in (q, v, k):
            self.expand(t)
        self.expand(self.cpy_k(cache, k, inp.k_idxs, il))
        keys = self.get_k(cache, il)
        values = ops.view(keys, (v.ne[0], *keys.ne[1:]), keys.nb[1:])
        cur = self.mha(q, keys, values, inp.mask, il, sinks=sinks, v_mla=v_mla)
        return self.wo(cur, il, wo, bias=wo_bias)

    def attn_no_cache(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor,
        il: int,
        *,
        wo: str | None = "attn_output",
        wo_bias: bool = True,
        kq_b: Tensor | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """Attention of a batch over itself, or over an encoder (no_cache, cross)."""
        for t in (q, k, v):
            self.expand(t)
        cur = self.mha(q, k, v, mask, il, kq_b=kq_b, sinks=sinks)
        return self.wo(cur, il, wo, bias=wo_bias)

    # Feed-forward.

    def ffn(
        self,
        x: Tensor,
        il: int,
        act: str = "silu",
        *,
        up: str | None = "ffn_up",
        gate: str | None = "ffn_gate",
        down: str | None = "ffn_down",
        parallel: bool = True,
        bias: bool = False,
        act_scales: Tensor | None = None,
        clamp_glu: bool = False,
        scales: bool = True,
    ) -> Tensor:
        """Feed-forward network (build_ffn).

        Args:
            x: normed input.
            il: block.
            act: silu, gelu, relu, relu_sqr, swiglu, geglu, reglu, swiglu_oai.
            up: name of the up projection, None for none.
            gate: name of the gate; a name the file lacks means none.
            down: name of the down projection, None for none.
            parallel: gate from the input (LLM_FFN_PAR) rather than from `up` (SEQ).
            bias: add the biases the file has (False where the C++ passes NULL).
            act_scales: divisor after an ungated gelu.
            clamp_glu: whether a clamp limit in the header makes one clamped GLU
                (deepseek4 and relatives) instead of clamp, silu, clamp, mul.
            scales: apply the weights' `.scale` tensors (False where the C++ passes NULL).
        """
        gated = gate is not None and self.has(gate, il)
        tmp = x if up is None else self.mm(up, x, il, scale=False)
        if up is not None:
            tmp = self._bias_scale(tmp, up, il, bias, scales)
        cur = tmp
        if gated:
            assert gate is not None
            cur = self.mm(gate, x if parallel else tmp, il, scale=False)
            cur = self._bias_scale(cur, gate, il, bias, scales)
        cur = self._activate(cur, tmp, act, gated, parallel, il, act_scales, clamp_glu)
        if down is not None:
            cur = self.mm(down, cur, il, scale=False)
            cur = self._bias_scale(cur, down, il, bias, scales)
        return cur

    def _bias_scale(self, x: Tensor, name: str, il: int, bias: bool, scale: bool) -> Tensor:
        if bias:
            x = self.add_bias(x, name, il)
        factor = self.w(name, il, "scale") if scale else None
        return x if factor is None else ops.mul(x, factor)

    def _activate(
        self,
        cur: Tensor,
        tmp: Tensor,
        act: str,
        gated: bool,
        parallel: bool,
        il: int,
        act_scales: Tensor | None,
        clamp_glu: bool,
    ) -> Tensor:
        """Activation of `ffn`: a fused GLU where llama.cpp has one."""
        if act in ("swiglu", "geglu", "reglu"):
            cur = ops.glu(cur, act)
        elif act == "swiglu_oai":
            return ops.glu_split(cur, tmp, "swiglu_oai")
        elif act == "relu_sqr":
            cur = ops.sqr(ops.unary(cur, "relu"))
        elif gated and parallel:
            if act == "silu" and il >= 0 and self.hp.swiglu_clamp_shexp[il] > 1e-6:
                if clamp_glu:
                    return ops.glu_split(cur, tmp, "swiglu_clamp")
                tmp = ops.clamp(tmp)
                return ops.mul(ops.clamp(ops.unary(cur, "silu")), tmp)
            return ops.glu_split(cur, tmp, GLU_OF[act])
        else:
            cur = ops.unary(cur, act)
            if act == "gelu" and act_scales is not None:
                cur = ops.div(cur, act_scales)
        # Only activations without a fused form leave the product to be taken here.
        if gated and parallel:
            cur = ops.mul(cur, tmp)
        return cur

    def moe(
        self,
        x: Tensor,
        il: int,
        act: str = "silu",
        *,
        gating: str = "softmax",
        norm_w: bool = False,
        w_scale: float = 0.0,
        n_expert: int | None = None,
        n_used: int | None = None,
        gate_inp: str = "ffn_gate_inp",
        up: str = "ffn_up_exps",
        gate: str | None = "ffn_gate_exps",
        down: str = "ffn_down_exps",
        gate_up: str | None = "ffn_gate_up_exps",
        bias: bool = False,
        probs_b: Tensor | None = None,
        probs_in: Tensor | None = None,
        selected: Tensor | None = None,
        weight_before_ffn: bool = False,
        scales: bool = True,
        clamp_glu: bool = False,
        select_from: Callable[[Tensor], Tensor] | None = None,
        remap: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        activate: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Mixture of experts (build_moe_ffn).

        Args:
            x: normed input (n_embd × n_tokens).
            il: block.
            act: silu, gelu, relu, relu_sqr, swiglu_oai.
            gating: softmax, sigmoid, softmax_weight or sqrt_softplus.
            norm_w: normalise the weights of the chosen experts.
            w_scale: factor on them; 0 and 1 mean none.
            n_expert: experts, by default the model's.
            n_used: experts per token, by default the block's.
            gate_inp: name of the router.
            up: name of the up experts.
            gate: name of the gate experts; a name the file lacks means none.
            down: name of the down experts.
            gate_up: name of merged gate and up experts, used when the file has them.
            bias: add router and expert biases the file has.
            probs_b: bias added for the selection only (exp_probs_b).
            probs_in: logits computed elsewhere.
            selected: experts chosen elsewhere.
            weight_before_ffn: apply the weights to the input (llama4).
            scales: apply the experts' `.scale` tensors.
            clamp_glu: see `ffn`.
            select_from: replaces what is sorted, given the logits (llama4, grovemoe).
            remap: replaces (selection, probabilities) before weights are gathered.
            activate: replaces the activation, given (gate, up).
        """
        hp, n_embd, tokens = self.hp, x.ne[0], x.ne[1]
        n_expert = hp.n_expert if n_expert is None else n_expert
        n_used = hp.n_expert_used_arr[il] if n_used is None else n_used
        logits = self.mm(gate_inp, x, il) if probs_in is None else probs_in
        router_bias = self.bias(gate_inp, il) if bias else None
        if router_bias is not None:
            logits = ops.add(logits, router_bias)
        probs = self._gate_probs(logits, gating)
        choice = probs if probs_b is None else ops.add(probs, probs_b)
        if select_from is not None:
            choice = select_from(logits)
        if hp.n_expert_groups > 1:
            choice = self._mask_groups(choice, n_expert, tokens)
        ids = ops.argsort_top_k(choice, n_used) if selected is None else selected
        if remap is not None:
            ids, probs = remap(ids, probs)
        else:
            probs = ops.reshape(probs, 1, n_expert, tokens)
        weights = self._expert_weights(probs, ids, gating, norm_w, w_scale, n_used, tokens)
        self.expand(weights)
        cur = ops.reshape(x, n_embd, 1, tokens)
        if weight_before_ffn:
            cur = ops.mul(ops.repeat(cur, n_embd, n_used, tokens, 1), weights)
        cur = self._expert_hidden(
            cur, ids, il, act, (up, gate, gate_up), bias, scales, clamp_glu, activate
        )
        experts = self.mm_id(down, cur, ids, il, scale=scales)
        if self.arch == "mistral4" and experts.op == "MUL_MAT_ID":
            experts.param = "f32"
        if bias:
            experts = self._add_expert_bias(experts, down, ids, il)
        if not weight_before_ffn:
            experts = ops.mul(experts, weights)
        return self._sum_experts(self.expand(experts), n_embd, tokens, n_used)

    @staticmethod
    def _gate_probs(logits: Tensor, gating: str) -> Tensor:
        if gating == "softmax":
            return ops.soft_max(logits)
        if gating == "sigmoid":
            return ops.unary(logits, "sigmoid")
        if gating == "sqrt_softplus":
            return ops.sqrt(ops.unary(logits, "softplus"))
        return logits

    def _mask_groups(self, choice: Tensor, n_expert: int, tokens: int) -> Tensor:
        """Leave only the experts of the best groups (DeepSeek-V3)."""
        groups = self.hp.n_expert_groups
        grouped = ops.reshape(choice, n_expert // groups, groups, tokens)
        best = ops.argsort_top_k(grouped, 2)
        flat = ops.reshape(grouped, 1, grouped.ne[0], grouped.ne[1], grouped.ne[2])
        scores = ops.get_rows(flat, best)
        scores = ops.reshape(scores, scores.ne[1], scores.ne[2], scores.ne[3])
        scores = ops.sum_rows(scores)
        scores = ops.reshape(scores, scores.ne[1], scores.ne[2])
        chosen = ops.argsort_top_k(scores, self.hp.n_group_used)
        kept = ops.get_rows(grouped, chosen)
        kept = ops.set_rows(ops.fill(grouped), kept, chosen)
        return ops.reshape(kept, n_expert, tokens)

    @staticmethod
    def _expert_weights(
        probs: Tensor,
        ids: Tensor,
        gating: str,
        norm_w: bool,
        w_scale: float,
        n_used: int,
        tokens: int,
    ) -> Tensor:
        weights = ops.get_rows(probs, ids)
        if gating == "softmax_weight":
            weights = ops.soft_max(ops.reshape(weights, n_used, tokens))
            weights = ops.reshape(weights, 1, n_used, tokens)
        if norm_w:
            weights = ops.reshape(weights, n_used, tokens)
            weights = ops.div(weights, ops.clamp(ops.sum_rows(weights)))
            weights = ops.reshape(weights, 1, n_used, tokens)
        return weights if w_scale in (0.0, 1.0) else ops.scale(weights)

    def _expert_hidden(
        self,
        x: Tensor,
        ids: Tensor,
        il: int,
        act: str,
        names: tuple[str, str | None, str | None],
        bias: bool,
        scales: bool,
        clamp_glu: bool,
        activate: Callable[[Tensor, Tensor], Tensor] | None,
    ) -> Tensor:
        up_name, gate_name, gate_up_name = names
        separate_gate = False
        if gate_up_name is not None and self.has(gate_up_name, il):
            both = self.mm_id(gate_up_name, x, ids, il, scale=scales)
            if bias:
                both = self._add_expert_bias(both, gate_up_name, ids, il)
            n_ff = both.ne[0] // 2
            ne, nb = (n_ff, both.ne[1], both.ne[2]), (both.nb[1], both.nb[2])
            cur = ops.view(both, ne, nb)
            up = ops.view(both, ne, nb, n_ff * both.nb[0])
            gated = True
        else:
            up = self.mm_id(up_name, x, ids, il, scale=scales)
            if bias:
                up = self._add_expert_bias(up, up_name, ids, il)
            gated = separate_gate = gate_name is not None and self.has(gate_name, il)
            cur = up
            if gated:
                assert gate_name is not None
                cur = self.mm_id(gate_name, x, ids, il, scale=scales)
                if bias:
                    cur = self._add_expert_bias(cur, gate_name, ids, il)
        if activate is not None:
            return activate(cur, up)
        if act == "silu" and separate_gate and self.hp.swiglu_clamp_exp[il] > 1e-6:
            if clamp_glu:
                return ops.glu_split(cur, up, "swiglu_clamp")
            up = ops.clamp(up)
            return ops.mul(ops.clamp(ops.unary(cur, "silu")), up)
        if act == "relu_sqr":
            return ops.sqr(ops.unary(cur, "relu"))
        if gated:
            return ops.glu_split(cur, up, GLU_OF[act])
        return ops.unary(cur, act)

    def _add_expert_bias(self, x: Tensor, name: str, ids: Tensor, il: int) -> Tensor:
        bias = self.bias(name, il)
        return x if bias is None else ops.add_id(x, bias, ids)

    def _sum_experts(self, experts: Tensor, n_embd: int, tokens: int, n_used: int) -> Tensor:
        views = [
            self.expand(ops.view(experts, (n_embd, tokens), (experts.nb[2],), i * experts.nb[1]))
            for i in range(n_used)
        ]
        total = views[0]
        for part in views[1:]:
            total = self.expand(ops.add(total, part))
        return ops.cont(total) if n_used == 1 else total

    # Recurrent blocks.

    def recurrent_input(self) -> RecurrentInput:
        """Inputs of recurrent blocks (build_rs_inp)."""
        n = self.layout.n_rs
        s_copy = self.input("i32", n, name="rs_s_copy")
        return RecurrentInput(
            s_copy,
            ops.view(s_copy, (self.n_seqs,)),
            ops.view(s_copy, (n - 1,), (), s_copy.nb[0]),
        )

    def states(self, il: int) -> tuple[Tensor, Tensor]:
        """Convolution and recurrent state of a block (n × sequences), as r and s."""
        found = self._states.get(il)
        if found is None:
            layout, where = self.layout, self.placement.state_backend(il)
            r = Tensor("f32", (layout.n_embd_r, layout.n_rs_rows), name="cache_r")
            s = Tensor("f32", (layout.n_embd_s, layout.n_rs_rows), name="cache_s")
            r.buffer = s.buffer = where
            found = self._states[il] = (r, s)
        return found

    def rs(
        self,
        inp: RecurrentInput,
        state: Tensor,
        size: int,
        get_rows: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """States of the batch's sequences, the others carried along (build_rs).

        Args:
            inp: recurrent inputs.
            state: state tensor of the block.
            size: elements per sequence.
            get_rows: reads the states itself, given (states, ids): a scan does.
        """
        n, n_rs = self.n_seqs, self.layout.n_rs
        rows = ops.reshape(state, size, state.ne[1])
        self.expand(ops.scale_inplace(ops.view(rows, (size,))))
        if self.is_before_mixing:
            return self._rs_in_two(inp, state, rows, get_rows or ops.get_rows)
        copy = inp.s_copy_tail if get_rows else inp.s_copy
        first = n_rs - copy.ne[0]
        gathered = ops.get_rows(rows, copy)
        if get_rows:
            result = get_rows(rows, inp.s_copy_main)
        else:
            result = ops.view(gathered, (size, n), (gathered.nb[1],))
        self.expand(result)
        extra = ops.view(
            gathered, (size, n_rs - n), (gathered.nb[1],), (n - first) * gathered.nb[1]
        )
        target = ops.view(state, (size, n_rs - n), (state.nb[1],), n * state.nb[1])
        self.expand(ops.cpy(extra, target))
        return result

    def _rs_in_two(
        self,
        inp: RecurrentInput,
        state: Tensor,
        rows: Tensor,
        get_rows: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """States of the batch's sequences and those of the others, gathered one by one."""
        n, n_rs = self.n_seqs, self.layout.n_rs
        result = self.expand(get_rows(rows, inp.s_copy_main))
        ids = ops.view(inp.s_copy, (n_rs - n,), (), n * inp.s_copy.nb[0])
        target = ops.view(state, (rows.ne[0], n_rs - n), (state.nb[1],), n * state.nb[1])
        self.expand(ops.cpy(ops.get_rows(rows, ids), target))
        return result

    # Ends.

    def head(
        self,
        x: Tensor,
        *,
        kind: str = "rms",
        bias: bool = False,
        norm: str = "output_norm",
        output_bias: bool = False,
    ) -> Tensor:
        """Final norm and output matrix; sets `embd` and returns the logits, not expanded.

        Args:
            x: last hidden state.
            kind: kind of norm.
            bias: add the norm's bias if the file has one.
            norm: name of the norm.
            output_bias: add the output matrix's bias if the file has one.
        """
        x = self.norm(x, norm, kind=kind, bias=bias)
        self.embd = x
        x = self.mm_output(x)
        return self.add_bias(x, "output") if output_bias else x

    def mm_output(self, x: Tensor) -> Tensor:
        """Multiply by the output matrix."""
        w = self.output_weight()
        result = ops.mul_mat(w, x) if self.arch in PLAIN_OUTPUT else self.mm(w, x)
        factor = self.w("output", None, "scale")
        return result if factor is None else ops.mul(result, factor)

    def finish(self, logits: Tensor | None) -> None:
        """Take the logits as the graph's result (t_logits) and expand them."""
        if logits is not None:
            self.logits = logits
            self.expand(logits)

    def pool(self) -> None:
        """Append pooling of embeddings and dense heads (build_pooling, build_dense_out)."""
        if not self.ctx.embeddings or self.embd is None:
            return
        x, kind = self.embd, self.hp.pooling_type
        if kind == POOL_MEAN:
            x = self._mean(x)
        elif kind in (POOL_CLS, POOL_LAST):
            x = ops.get_rows(x, self.input("i32", self.n_seqs, name="cls"))
        elif kind == POOL_RANK:
            x = self._rank(x)
        pooled = self.expand(x)
        for name in ("dense_2", "dense_3"):
            w = self.w(name)
            if w is not None:
                pooled = ops.mul_mat(w, pooled)
                pooled = self.add_bias(pooled, name) if name == "dense_2" else pooled
        self.expand(pooled).as_output()

    def _mean(self, x: Tensor) -> Tensor:
        means = self.input("f32", self.n_tokens, self.n_seqs, name="mean")
        return ops.mul_mat(ops.cont(ops.transpose(x)), means)

    def _rank(self, x: Tensor) -> Tensor:
        default = POOL_MEAN if self.arch == "modern-bert" else None
        if self.hp.key("classifier.pooling_type", default) == POOL_MEAN:
            x = self._mean(x)
        else:
            x = ops.get_rows(x, self.input("i32", self.n_seqs, name="cls"))
        cls = self.w("cls")
        if cls is not None:
            x = self.add_bias(ops.mul_mat(cls, x), "cls")
            x = ops.unary(x, "gelu" if self.arch == "modern-bert" else "tanh")
            if self.has("cls.norm"):
                x = self.norm(x, "cls.norm", kind="layer")
        out = self.w("cls.output")
        if out is not None:
            x = self.add_bias(ops.mul_mat(out, x), "cls.output")
        return ops.soft_max(x) if self.arch in ("qwen3", "qwen3vl") else x

    def mark_outputs(self) -> None:
        """Keep results alive to the end (llm_graph_result::set_outputs)."""
        for t in (self.logits, self.embd):
            if t is not None:
                t.as_output()


POOL_MEAN, POOL_CLS, POOL_LAST, POOL_RANK = 1, 2, 3, 4

PLAIN_OUTPUT = frozenset(
    (
        "bailingmoe3",
        "deepseek2",
        "deepseek2-ocr",
        "deepseek32",
        "deepseek4",
        "dots3note",
        "glm-dsa",
        "glm5-next",
        "hy_v4",
        "kimi-k3",
        "kimi-linear",
        "mistral4",
    )
)
"""Architectures whose output matrix passes over adapters."""

GLU_OF = {
    "silu": "swiglu",
    "gelu": "geglu",
    "relu": "reglu",
    "swiglu_oai": "swiglu_oai",
}
"""Activation → the GLU that fuses it with a parallel gate."""
