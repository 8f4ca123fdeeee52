"""Everything that names say: models, files, quants, shards."""

from __future__ import annotations

from ggufctl.core.names.detect import Detected, Kind, Shard, detect, kind_of_file, names_experts
from ggufctl.core.names.quants import (
    QUANT_QUALITY_ORDER,
    UNQUANTIZED,
    bits_per_weight,
    find_quant,
    normalize_quant,
)
from ggufctl.core.names.variants import Variant, did_you_mean, pick, shard_paths, variants

__all__ = [
    "QUANT_QUALITY_ORDER",
    "UNQUANTIZED",
    "Detected",
    "Kind",
    "Shard",
    "Variant",
    "bits_per_weight",
    "detect",
    "did_you_mean",
    "find_quant",
    "kind_of_file",
    "names_experts",
    "normalize_quant",
    "pick",
    "shard_paths",
    "variants",
]
