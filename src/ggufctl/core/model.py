"""A model as plans see it: where it came from, its files, and what its header says."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ggufctl.core.header import Header
from ggufctl.core.memory import ModelShape
from ggufctl.core.names import detect, find_quant

__all__ = ["File", "Model", "quant_of"]

_FILE_TYPES = (
    "0:F32 1:F16 2:Q4_0 3:Q4_1 7:Q8_0 8:Q5_0 9:Q5_1 10:Q2_K 11:Q3_K_S 12:Q3_K_M 13:Q3_K_L "
    "14:Q4_K_S 15:Q4_K_M 16:Q5_K_S 17:Q5_K_M 18:Q6_K 19:IQ2_XXS 20:IQ2_XS 21:Q2_K_S 22:IQ3_XS "
    "23:IQ3_XXS 24:IQ1_S 25:IQ4_NL 26:IQ3_S 27:IQ3_M 28:IQ2_S 29:IQ2_M 30:IQ4_XS 31:IQ1_M "
    "32:BF16 36:TQ1_0 37:TQ2_0 38:MXFP4_MOE 39:NVFP4 40:Q1_0 41:Q2_0"
)
FILE_TYPES = {int(n): label for n, _, label in (p.partition(":") for p in _FILE_TYPES.split())}
"""`general.file_type` → label.

Source: llama.cpp include/llama.h `llama_ftype`.
"""

_GUESSED = 1024


@dataclass(frozen=True, slots=True)
class File:
    """One file of a model."""

    path: str
    size_bytes: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model whose header was read; build one with `read_model`."""

    ref: str
    """As the user named it, safe to print."""
    source: str
    """`local`, `url` or `hub`."""
    files: tuple[File, ...]
    """In shard order."""
    header: Header
    shape: ModelShape
    quant: str | None = None
    """Label of the file's name, else of its header."""
    repo: str = ""
    commit: str = ""
    is_named_by_quant: bool = True
    """Whether `repo:QUANT` brings llama-server to just these files."""
    has_projector: bool = False
    """Whether its repository holds an mmproj, which llama-server's `-hf` loads unasked."""

    @property
    def architecture(self) -> str:
        """`general.architecture`."""
        return self.header.architecture

    @property
    def size_bytes(self) -> int:
        """Of all files together.  [bytes]"""
        return sum(file.size_bytes for file in self.files)

    @property
    def is_sharded(self) -> bool:
        """Whether the model has more than one file."""
        return len(self.files) > 1

    @property
    def is_moe(self) -> bool:
        """Whether it has experts."""
        return self.shape.hp.n_expert > 1

    @property
    def n_ctx_train(self) -> int:
        """Context the model was made for; 0 when the header does not say.  [tokens]"""
        return self.shape.hp.n_ctx_train

    @property
    def n_layer(self) -> int:
        """Blocks of the trunk."""
        return self.shape.hp.n_layer

    @property
    def n_params(self) -> int:
        """Weights in all tensors."""
        return sum(prod(tensor.shape) for tensor in self.header.tensors.values())

    @property
    def n_active_params(self) -> int:
        """Weights that one token meets: experts count by the share that is used."""
        hp = self.shape.hp
        if not self.is_moe:
            return self.n_params
        total = 0
        for name, tensor in self.header.tensors.items():
            n = prod(tensor.shape)
            total += n * hp.n_expert_used // hp.n_expert if "_exps." in name else n
        return total

    @property
    def launch_args(self) -> tuple[str, ...]:
        """What llama-server takes to load exactly this model.

        Source: llama.cpp common/arg.cpp.
        """
        first = self.files[0].path
        if self.source == "url":
            return ("-mu", first)
        if self.source != "hub":
            return ("-m", first)
        is_file = self.ref.lower().endswith(".gguf") or not self.quant
        if is_file or not self.is_named_by_quant:
            return ("-hf", self.repo, "-hff", first)
        return ("-hf", f"{self.repo}:{self.quant}")


def quant_of(header: Header, *names: str) -> str | None:
    """The quant label of a model: of the first name that has one, else of its header."""
    for name in names:
        label = find_quant(name.rpartition("/")[2]) or detect(name).quant
        if label:
            return label
    value = header.metadata.get("general.file_type")
    if isinstance(value, int) and not isinstance(value, bool):
        return FILE_TYPES.get(value & ~_GUESSED)
    return None
