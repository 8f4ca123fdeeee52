"""Which device every weight goes to, and how many bytes it takes there.

Backends are numbered as in the scheduler: GPUs first, the host last.

Source: llama.cpp src/llama-model.cpp `load_tensors`, src/llama-model-loader.cpp
`create_tensor`, src/llama-arch.cpp `LLM_TENSOR_INFOS`, common/common.h
`LLM_FFN_EXPS_REGEX` (pin in core/_pins.py).
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from ggufctl.core.ggml import cuda
from ggufctl.core.ggml.types import TYPES, row_bytes
from ggufctl.core.header import TensorInfo
from ggufctl.core.hparams import HParams

__all__ = ["Placement", "Stock", "block_of"]

HOST_ALIGNMENT = 32

_BLOCK = re.compile(r"(?:(?:enc|dec)\.)?(?:blk|posnet|convnext)\.(\d+)\.(.+)")
_EXPERTS = re.compile(r"ffn_(up|down|gate|gate_up)_(ch|)exps")

_INPUT = frozenset(
    "token_embd position_embd token_types per_layer_token_embd masked_embd_centroids "
    "masked_embd_ordering".split()
)
"""Tensors of the input layer, which always stays on the host."""

_FIRST_LAYER = frozenset(
    "hrm.z_l_init token_embd_norm per_layer_model_proj per_layer_proj_norm conv1d "
    "nextn.pre_projection rope_freqs rope_factors_long rope_factors_short".split()
)
"""Tensors without a block number that go with block 0; all others go with the output."""

_MISNAMED = frozenset((("lfm2", "token_embd_norm"), ("lfm2moe", "token_embd_norm")))
"""Final norms that converters named like a tensor of the first layer."""

_UNSCANNED = frozenset(
    (
        "bailingmoe3",
        "clef",
        "glm5-next",
        "kimi-k3",
        "kimi-linear",
        "qwen35",
        "qwen35moe",
        "qwen3next",
        "qwen4exp",
    )
)
"""Architectures that only multiply by `ssm_a` (SSM_A_NOSCAN)."""

_ROPE = frozenset(("rope_freqs", "rope_factors_long", "rope_factors_short"))
"""Tensors that every device with blocks gets a copy of."""

_ADDED_OR_MULTIPLIED = re.compile(
    r"norm\d?$|_norm_|\.bias$|_scale$|lerp|time_mix_(ln|decay(?!_w)|[wav]0|k_k|k_a|r_k)"
    r"|exp_probs_b|_base$|ssm_d$|ssm_conv1d_[qkv]$|res_score|gamma|z_l_init|ffn\.act$"
)
_GATHERED = frozenset(
    "attn_compressor_ape indexer_compressor_ape ffn_gate_tid2eid attn_rel_b d2t markov_w1 "
    "selector_predecessor selector_successor".split()
)
"""Tensors whose rows are gathered."""
_REPACKED = frozenset(("q4_0", "q4_K", "iq4_nl", "mxfp4"))
_FUSED_EXPERTS = ("ffn_gate_exps", "ffn_up_exps", "ffn_gate_shexp", "ffn_up_shexp")
"""Weights whose types decide whether a shared expert is fused with the routed ones."""
_COPIED_TO_HOST = {"mistral4": "ffn_down_exps"}
"""By architecture: weights on a GPU by which CUDA cannot multiply in the precision asked for."""
_KERNELS = frozenset(("ssm_conv1d", "shortconv.conv", "ple_conv1d"))


@lru_cache(maxsize=1 << 15)
def split_block(name: str) -> tuple[int | None, str]:
    """Number of the block a tensor belongs to, or None, and the rest of its name."""
    if name.startswith("blk."):
        number, _, rest = name[4:].partition(".")
        if rest and number.isdecimal() and "\n" not in rest:
            return int(number), rest
    m = _BLOCK.match(name)
    return (int(m[1]), m[2]) if m else (None, name)


def block_of(name: str) -> int | None:
    """Number of the block a tensor belongs to, or None."""
    return split_block(name)[0]


class BlockTensor(NamedTuple):
    """One weight of a block."""

    rest: str
    """Its name after the block's number."""
    info: TensorInfo
    is_loaded: bool
    """Whether the loader keeps it (False = read over, as nextn blocks)."""


_Alike = tuple[str, str, tuple[int, ...], bool]
"""What two weights alike have in common: rest of the name, type, extents, `is_loaded`."""


class Stock:
    """The weights of a file by blocks, and which blocks are alike.

    Args:
        tensors: of the file.
        loads: whether the loader keeps a tensor.
        numbers: of signatures, where other files shall have the same.

    Attributes:
        blocks: their numbers.
        kinds: number of a block → a number that blocks with weights alike have in common.
        others: loaded weights that belong to no block.
        places: name of a weight → number of its block or None, and the rest of the name.
    """

    def __init__(
        self,
        tensors: Mapping[str, TensorInfo],
        loads: Callable[[str], bool] | None = None,
        numbers: dict[Hashable, int] | None = None,
    ) -> None:
        by_block: dict[int, tuple[list[TensorInfo], list[_Alike]]] = {}
        self.others: list[TensorInfo] = []
        self.places: dict[str, tuple[int | None, str]] = {}
        self._loads = loads
        for name, info in tensors.items():
            il, rest = self.places[name] = split_block(name)
            is_loaded = self.is_loaded(name) if loads or name[:4] == "dec." else True
            if il is not None:
                if (block := by_block.get(il)) is None:
                    block = by_block[il] = [], []
                block[0].append(info)
                block[1].append((rest, info.type, info.shape, is_loaded))
            elif is_loaded:
                self.others.append(info)
        self.blocks: Collection[int] = by_block.keys()
        self._by_block = by_block
        self.supported: dict[Hashable, bool] = {}
        """What CUDA can run, as placements find it out."""
        self.placed: dict[Hashable, tuple[PlacedBlock, int]] = {}
        """Blocks and their device, as the first placement has them."""
        self._numbers = {} if numbers is None else numbers
        self.kinds = {il: self.number(tuple(alike)) for il, (_, alike) in by_block.items()}

    def number(self, signature: Hashable) -> int:
        """A number for a signature, the same for equal ones."""
        return self._numbers.setdefault(signature, len(self._numbers))

    def is_loaded(self, name: str) -> bool:
        """Whether the loader keeps a tensor at all."""
        if name.startswith("dec.") and "cross_attn_rel_b" in name:
            return False
        return self._loads is None or self._loads(name)

    def weights(self, il: int) -> list[BlockTensor]:
        """Weights of a block, as in the file."""
        infos, alike = self._by_block.get(il, ((), ()))
        both = zip(infos, alike, strict=True)
        return [BlockTensor(rest, info, is_loaded) for info, (rest, _, _, is_loaded) in both]


class PlacedBlock(NamedTuple):
    """Where the weights of a block are."""

    weights_bytes: tuple[tuple[int, int], ...]
    """Backend, and bytes that the loaded ones take there.  [bytes]"""
    loaded: tuple[tuple[BlockTensor, int], ...]
    """Loaded weights, and their backends."""
    kind: int
    """A number that blocks alike have in common, wherever the device is that they are on."""


def _fuses_experts(tensors: Sequence[BlockTensor]) -> bool:
    """Whether a block's shared expert may be fused with the routed ones: all have one type.

    Source: ggml-cuda.cu `ggml_cuda_match_shared_expert`, `ggml_cuda_should_fuse_mul_mat`.
    """
    found = {tensor.rest: tensor.info.type for tensor in tensors}
    types = {found.get(f"{name}.weight") for name in _FUSED_EXPERTS}
    return len(types) == 1 and None not in types


def graph_classes(architecture: str, tensors: Mapping[str, TensorInfo]) -> Hashable:
    """What graphs that are wholly on GPUs depend on of a file's weights.

    That is their names and extents, and of their types only whether they are quantised and CUDA
    multiplies (or gathers) them, and whether all of a block's experts have the same. What the
    host multiplies by is copied there, as large as its type makes it.
    """
    weights = []
    experts: dict[int, list[BlockTensor]] = {}
    copied = _COPIED_TO_HOST.get(architecture)
    for name, info in tensors.items():
        shape, type_name = info.shape, info.type
        block, kind = _graph_class(name, type_name, shape[0] if shape else 1)
        if block is not None:
            experts.setdefault(block[0], []).append(BlockTensor(block[1], info, True))
        if copied is not None and copied in name:
            kind = type_name
        weights.append((name, shape, kind))
    return tuple(weights), tuple((il, _fuses_experts(found)) for il, found in experts.items())


@lru_cache(maxsize=1 << 16)
def _graph_class(name: str, type_name: str, row: int) -> tuple[tuple[int, str] | None, Hashable]:
    """What a graph depends on of a weight's type.

    Before it, of an expert's weight whose type decides what is fused, its block and the rest of
    its name.
    """
    il, rest = split_block(name)
    kind = rest.removesuffix(".weight")
    expert = (il, rest) if il is not None and kind in _FUSED_EXPERTS else None
    if not TYPES[type_name].is_quantized or not cuda.can_multiply(type_name):
        return expert, type_name
    return expert, kind in _GATHERED and cuda.can_gather(type_name, row)


def _f32(x: float) -> float:
    """Round to single precision, in which llama.cpp computes split points."""
    rounded: float = struct.unpack("f", struct.pack("f", x))[0]
    return rounded


@lru_cache(maxsize=256)
def _points(n: int) -> tuple[float, ...]:
    """Where each of `n` blocks begins, as a share of them."""
    return tuple(_f32(i / n) for i in range(n))


class Placement:
    """Devices of blocks and weights for one setting of `-ngl`, `-ncmoe`, `-ot` and `-sm`.

    Args:
        hp: hyper-parameters.
        n_gpus: GPUs taking part.
        n_gpu_layers: as `-ngl`; negative = all.
        n_cpu_moe: as `-ncmoe`.
        override_tensor: as `-ot`.
        kv_offload: whether caches and states lie with their blocks.
        proportions: share of the blocks per GPU, as `-ts` or, without it, each card's free
            memory; by default equal.
        ties_output: whether `token_embd` doubles as the output matrix when the model
            has none.
        stock: the weights by blocks, which placements of one model share.
    """

    def __init__(
        self,
        hp: HParams,
        n_gpus: int,
        *,
        n_gpu_layers: int = -1,
        n_cpu_moe: int = 0,
        override_tensor: Sequence[str] = (),
        kv_offload: bool = True,
        proportions: Sequence[float] | None = None,
        ties_output: bool = True,
        stock: Stock | None = None,
    ) -> None:
        self.hp = hp
        self.n_gpus = n_gpus
        self.host = n_gpus
        self.n_cpu_moe = n_cpu_moe
        self.kv_offload = kv_offload
        self.has_overrides = bool(n_cpu_moe or override_tensor)
        self._overrides = [self._override(entry) for entry in override_tensor]
        n_layer = hp.n_layer_all
        n_gpu_layers = n_layer + 1 if n_gpu_layers < 0 else n_gpu_layers
        self.full_offload = n_gpus > 0 and n_gpu_layers > n_layer
        self.stock = stock or Stock(hp.tensors)
        self._blocks: dict[Hashable, PlacedBlock] = {}
        self.layer_backends = self._split_layers(n_gpu_layers, proportions or [1.0] * n_gpus)
        self.output_backend = self.layer_backends[n_layer]
        self.is_tied = ties_output and "output.weight" not in hp.tensors
        self._cache: dict[str, int] = {}

    @classmethod
    def apart(cls, hp: HParams, stock: Stock, ties_output: bool) -> Placement:
        """Every block and the output on a GPU of its own, whose number is the block's."""
        n = hp.n_layer_all + 1
        found = cls(hp, n, ties_output=ties_output, stock=stock)
        found.layer_backends = list(range(n))
        found.output_backend = n - 1
        return found

    def _split_layers(self, n_gpu_layers: int, proportions: Sequence[float]) -> list[int]:
        n_layer = self.hp.n_layer_all
        if not self.n_gpus:
            return [self.host] * (n_layer + 1)
        total = 0.0
        sums = []
        for share in proportions:
            total = _f32(total + _f32(share))
            sums.append(total)
        splits = [_f32(s / total) for s in sums]
        first = max(n_layer + 1 - n_gpu_layers, 0)
        active = min(n_gpu_layers, n_layer + 1)
        last = self.n_gpus - 1
        homes = [min(bisect_right(splits, point), last) for point in _points(active)]
        return ([self.host] * first + homes + [self.host] * (n_layer + 1))[: n_layer + 1]

    def _override(self, entry: str) -> tuple[re.Pattern[str], int]:
        pattern, _, buffer = entry.partition("=")
        return re.compile(pattern), self.host if buffer == "CPU" else int(buffer[len("CUDA") :])

    @property
    def is_regular(self) -> bool:
        """Whether all is on GPUs that can take it, block after block, the output on the last."""
        last = self.n_gpus - 1
        regular = self.full_offload and self.kv_offload and not self.has_overrides
        return regular and self.output_backend == last

    def state_backend(self, il: int) -> int:
        """Backend of the caches and states of a block."""
        return self.layer_backends[il] if self.kv_offload else self.host

    def _overridden(self, name: str) -> int | None:
        """Backend that an override gives a tensor, None without one."""
        for pattern, backend in self._overrides:
            if pattern.search(name):
                return backend
        return None

    def is_loaded(self, name: str) -> bool:
        """Whether the loader keeps a tensor at all."""
        return self.stock.is_loaded(name)

    def backend(self, name: str) -> int:
        """Backend that holds a weight of the file."""
        found = self._cache.get(name)
        if found is None:
            found = self._cache[name] = self._backend(name, self.hp.tensors[name])
        return found

    def _backend(self, name: str, info: TensorInfo) -> int:
        overridden = self._overridden(name)
        if overridden is not None:
            return overridden
        il, rest = self.stock.places[name]
        if il is not None:
            return self._block_backend(rest, info, il)
        rest = name.removesuffix(".weight").removesuffix(".bias")
        if rest in _INPUT:
            return self.host
        is_first = rest in _FIRST_LAYER and (self.hp.arch, rest) not in _MISNAMED
        where = self.layer_backends[0] if is_first else self.output_backend
        return where if where == self.host or self._is_supported(rest, info) else self.host

    def _block_backend(self, rest: str, info: TensorInfo, il: int) -> int:
        where = self.layer_backends[min(il, self.hp.n_layer_all)]
        if il < self.n_cpu_moe and _EXPERTS.search(rest):
            return self.host
        return where if where == self.host or self._is_supported(rest, info) else self.host

    def block(self, il: int) -> PlacedBlock:
        """Weights of a block; blocks alike that are placed alike share the answer."""
        home = self.layer_backends[min(il, self.hp.n_layer_all)]
        key = (self.stock.kinds.get(il), home, il < self.n_cpu_moe)
        found = self._blocks.get(key)
        if found is None:
            # An override may name a single block.
            if self._overrides:
                return self._place_block(il, home)
            found = self._blocks[key] = self._placed_elsewhere(il, home)
        return found

    def _placed_elsewhere(self, il: int, home: int) -> PlacedBlock:
        """A block as another placement has it, on the device that is its own here."""
        is_on_host, host = home == self.host, self.host
        key = (self.stock.kinds.get(il), is_on_host, il < self.n_cpu_moe)
        known = self.stock.placed.get(key)
        if known is None:
            found = self._place_block(il, home)
            self.stock.placed[key] = (found, home)
            return found
        found, there = known
        if is_on_host:
            return PlacedBlock(
                tuple((host, n_bytes) for _, n_bytes in found.weights_bytes),
                tuple((tensor, host) for tensor, _ in found.loaded),
                found.kind,
            )
        return PlacedBlock(
            tuple((home if where == there else host, n) for where, n in found.weights_bytes),
            tuple((tensor, home if where == there else host) for tensor, where in found.loaded),
            found.kind,
        )

    def _place_block(self, il: int, home: int) -> PlacedBlock:
        tensors = self.stock.weights(il)
        totals: dict[int, int] = {}
        loaded: list[tuple[BlockTensor, int]] = []
        parts: list[Hashable] = []
        copied = _COPIED_TO_HOST.get(self.hp.arch)
        for tensor in tensors:
            info, where = tensor.info, self._overridden(tensor.info.name)
            if where is None:
                where = self._block_backend(tensor.rest, info, il)
            if tensor.is_loaded:
                totals[where] = totals.get(where, 0) + self.tensor_bytes(info, where)
                loaded.append((tensor, where))
            # On a GPU it does not matter which quantised type a weight has, but for the
            # fusion of shared experts and for what is copied from there.
            is_plain = where != self.host and TYPES[info.type].is_quantized
            if copied is not None and copied in tensor.rest:
                is_plain = False
            place = "own" if where == home else "host" if where == self.host else where
            parts.append((tensor.rest, "quantised" if is_plain else info.type, info.shape, place))
        is_on_host = home == self.host
        signature = (is_on_host, tuple(parts), _fuses_experts(tensors))
        return PlacedBlock(tuple(totals.items()), tuple(loaded), self.stock.number(signature))

    def _is_supported(self, rest: str, info: TensorInfo) -> bool:
        """Whether CUDA can run the operation this weight is used with (`weight_buft_supported`)."""
        known = self.stock.supported
        key = (rest, info.type, info.shape)
        found = known.get(key)
        if found is None:
            found = known[key] = self._find_supported(rest, info)
        return found

    def _find_supported(self, rest: str, info: TensorInfo) -> bool:
        kind = rest.removesuffix(".weight")
        shape = (*info.shape, 1, 1, 1)[:4]
        if kind in _KERNELS:
            return shape[1] % 128 == 0
        if kind == "ssm_a" and self.hp.arch not in _UNSCANNED:
            return self._can_scan(shape[0], shape[1])
        if kind.endswith("exps.bias"):
            return True  # ADD_ID is supported whatever the type.
        if _ADDED_OR_MULTIPLIED.search(kind) or kind == "ssm_a":
            return info.type in ("f32", "f16")
        if kind == "indexer_compressor_ape" and self.hp.arch != "deepseek4":
            return info.type in ("f32", "f16")  # Added there, as kpool's.
        if kind in _GATHERED:
            return cuda.can_gather(info.type, shape[0])
        if kind == "attn_sinks":
            return info.type in ("f32", "bf16")
        return cuda.can_multiply(info.type)

    def _can_scan(self, size: int, n_head: int) -> bool:
        """Whether CUDA scans with a matrix of `size` × `n_head` (1 × n_head: Mamba-2)."""
        hp = self.hp
        head = hp.ssm_d_inner // n_head
        if size == 1:
            return hp.ssm_d_state in (96, 128, 256) and head % 16 == 0
        return size == 16 and head == 1 and n_head % 128 == 0 and hp.ssm_n_group <= 1

    def weights_bytes(self) -> list[int]:
        """Bytes of all loaded weights per backend, padding and copies included.  [bytes]"""
        totals = [0] * (self.n_gpus + 1)
        for il, n_alike in self._blocks_alike():
            for where, n_bytes in self.block(il).weights_bytes:
                totals[where] += n_alike * n_bytes
        roped = self.hp.rope_layers
        if roped is None:
            roped = list(range(self.hp.n_layer or self.hp.n_layer_all))
        for info in self.stock.others:
            base = info.name.removesuffix(".weight")
            if base in _ROPE:
                for where in {self.rope_backend(info.name, il) for il in roped}:
                    totals[where] += self.tensor_bytes(info, where)
                continue
            where = self.backend(info.name)
            totals[where] += self.tensor_bytes(info, where)
            if base == "output" and self.hp.embeds_by_output:
                totals[where] += self.tensor_bytes(info, where)
            if base == "token_embd" and self.is_tied:
                output = self.tied_output_backend(info)
                if output != where or self.hp.loads_output_first or self._is_repacked(info):
                    totals[output] += self.tensor_bytes(info, output)
        return totals

    def _blocks_alike(self) -> Iterable[tuple[int, int]]:
        """Blocks, each for all that are alike and placed alike, and how many those are."""
        blocks, homes = self.stock.blocks, self.layer_backends
        if self._overrides:
            return dict.fromkeys(blocks, 1).items()
        last, kinds, n_cpu_moe = self.hp.n_layer_all, self.stock.kinds, self.n_cpu_moe
        keys = {il: (kinds[il], homes[min(il, last)], il < n_cpu_moe) for il in blocks}
        counts = Counter(keys.values())
        return [(il, counts[key]) for key, il in {key: il for il, key in keys.items()}.items()]

    def rope_backend(self, name: str, il: int) -> int:
        """Backend of the copy of rope factors that a block reads."""
        overridden = self._overridden(name)
        return self.layer_backends[il] if overridden is None else overridden

    def _is_repacked(self, info: TensorInfo) -> bool:
        """Whether a matrix on a host without a GPU is kept in an order fit for its CPU.

        Embeddings are read row by row and stay as they are, so a tied output is a copy.

        Source: ggml-cpu/repack.cpp `ggml_repack_get_optimal_repack_type`, AVX2.
        """
        return not self.n_gpus and info.type in _REPACKED and info.shape[1] % 8 == 0

    def tied_output_backend(self, info: TensorInfo) -> int:
        """Backend of the copy of `token_embd` that serves as the output matrix."""
        overridden = self._overridden(info.name)
        if overridden is not None:
            return overridden
        if self.output_backend != self.host and not self._is_supported("output", info):
            return self.host
        return self.output_backend

    def tensor_bytes(self, info: TensorInfo, backend: int) -> int:
        """Bytes one weight takes on a backend.  [bytes]

        Source: ggml-cuda.cu `ggml_backend_cuda_buffer_type_get_alloc_size`.
        """
        if backend == self.host:
            return (info.n_bytes + HOST_ALIGNMENT - 1) // HOST_ALIGNMENT * HOST_ALIGNMENT
        n = info.n_bytes
        rest = info.shape[0] % cuda.ROW_PADDING
        if rest and TYPES[info.type].is_quantized:
            n += row_bytes(info.type, cuda.ROW_PADDING - rest)
        return (n + cuda.ALIGNMENT - 1) // cuda.ALIGNMENT * cuda.ALIGNMENT
