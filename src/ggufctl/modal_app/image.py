"""Container images, with those of our modules in them that run there."""

from __future__ import annotations

import ast
import sys
import threading
from functools import cache
from pathlib import Path

import modal

from ggufctl.core.deployment import DeploymentSpec

__all__ = ["engine_image", "python_version", "with_source"]

LLAMA_CPP_PYTHON_IMAGE = "nvidia/cuda:12.4.1-runtime-ubuntu22.04"
LLAMA_CPP_PYTHON_WHEELS = "https://abetlen.github.io/llama-cpp-python/whl/cu124"
_ENTRY_POINTS = (
    "remote.container",
    "remote.probe",
    "remote.volume_work",
    "remote.embedded_server",
    "remote.tether",
)

# ast.parse of CPython 3.11 fails now and then when two threads are in it (gh-106905).
_PARSING = threading.Lock()


def python_version() -> str:
    """Of this interpreter, without the last number: what is sent by value needs the same."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def engine_image(spec: DeploymentSpec) -> modal.Image:
    """What a server runs in."""
    if spec.engine == "llama-cpp-python":
        image = modal.Image.from_registry(LLAMA_CPP_PYTHON_IMAGE, add_python=python_version())
        # Its wheels need OpenMP. Without the option pip takes the newest version there is, which
        # PyPI has as source alone, and what it would compile here knows no GPU.
        image = image.entrypoint([]).apt_install("libgomp1")
        image = image.pip_install(
            "llama-cpp-python[server]",
            extra_index_url=LLAMA_CPP_PYTHON_WHEELS,
            extra_options="--only-binary=llama-cpp-python",
        )
    else:
        # Without this the image's own program would start instead of Modal's.
        image = modal.Image.from_registry(spec.image, add_python=python_version()).entrypoint([])
    return with_source(image)


def with_source(image: modal.Image) -> modal.Image:
    """The image with those of our modules beside it that run in a container, and no other."""
    package = Path(__file__).parents[1]
    with _PARSING:
        needed = _needed_modules(package)

    def ignored(path: Path) -> bool:
        local = path.relative_to(package) if path.is_absolute() else path
        return local.as_posix() not in needed

    return image.add_local_python_source("ggufctl", ignore=ignored)


@cache
def _needed_modules(package: Path) -> frozenset[str]:
    """Files of the package that what runs in a container imports, directly or not."""
    found: set[str] = set()
    wanted = list(_ENTRY_POINTS)
    while wanted:
        parts = wanted.pop().split(".")
        candidates = [Path(*parts[:n], "__init__.py") for n in range(len(parts) + 1)]
        for path in (*candidates, Path(*parts).with_suffix(".py") if parts[0] else candidates[0]):
            if path.as_posix() in found or not (package / path).is_file():
                continue
            found.add(path.as_posix())
            if len(path.parts) > 1:
                # The package's own __init__ imports nothing until it is asked for something.
                wanted += _imports((package / path).read_text("utf-8"))
    return frozenset(found)


def _imports(source: str) -> list[str]:
    """Modules of ours that a source names, without the package in front."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name.removeprefix("ggufctl.") for name in names if name.startswith("ggufctl.")]
