"""Which format a repository that is not GGUF holds."""

from __future__ import annotations

from collections.abc import Iterable

from ggufctl.core.names import detect

__all__ = ["foreign_format"]

_BY_TAG = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "bitsandbytes": "bitsandbytes",
    "mlx": "MLX",
    "exl2": "EXL2",
    "exl3": "EXL3",
    "hqq": "HQQ",
    "aqlm": "AQLM",
    "compressed-tensors": "compressed-tensors",
}
_BY_FILE = {"quantize_config.json": "GPTQ", "quant_config.json": "AWQ"}
_BY_ENDING = {
    ".safetensors": "safetensors",
    ".bin": "PyTorch .bin",
    ".pt": "PyTorch",
    ".pth": "PyTorch",
    ".onnx": "ONNX",
    ".npz": "MLX",
    ".nemo": "NeMo",
    ".tflite": "TFLite",
    ".mlmodel": "Core ML",
    ".h5": "Keras",
    ".msgpack": "Flax",
}


def foreign_format(repo: str, paths: Iterable[str], tags: Iterable[str] = ()) -> str:
    """The format of a repository or file without a GGUF, or the empty string when unknown.

    What the repository says of itself comes first, then its name, then the endings of its files.
    """
    lowered = [path.lower() for path in paths]
    said = {tag.lower() for tag in tags}
    for tag, name in _BY_TAG.items():
        if tag in said:
            return name
    for path in lowered:
        if (name := _BY_FILE.get(path.rpartition("/")[2], "")) != "":
            return name
    if repo and (named := detect(repo).format):
        return named
    endings = {path[path.rfind(".") :] for path in lowered if "." in path}
    return next((name for ending, name in _BY_ENDING.items() if ending in endings), "")
