"""Which engine runs a model on this machine."""

from __future__ import annotations

from ggufctl.core.launch import ENGINES
from ggufctl.engines.base import Engine, Found
from ggufctl.engines.embedded import Embedded
from ggufctl.engines.llama_cpp_python import LlamaCppPython
from ggufctl.engines.llama_server import LlamaServer
from ggufctl.errors import UsageError

__all__ = ["choose_engine"]

_ALL: tuple[Engine, ...] = (LlamaServer(), Embedded(), LlamaCppPython())


def choose_engine(name: str = "auto") -> tuple[Engine, Found]:
    """The engine of this name, or the first that is here, with what it says of itself.

    Raises: UsageError when there is no such engine, or none here.
    """
    if name == "auto":
        for engine in _ALL:
            found = engine.find()
            if found is not None:
                return engine, found
        raise UsageError(
            "No engine is installed that could run a model here.",
            "Run pip install 'ggufctl[local]'.",
        )
    for engine in _ALL:
        if engine.name == name:
            found = engine.find()
            if found is None:
                raise UsageError(
                    f"{name} is not installed here, or does not start.",
                    f"To get it: {engine.install_hint}.",
                )
            return engine, found
    raise UsageError(f"There is no engine {name!r}.", f"Use auto, {', '.join(ENGINES)}.")
