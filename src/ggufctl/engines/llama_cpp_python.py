"""llama-cpp-python's server: one slot, written in Python around llama.cpp."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from ggufctl.core.launch import Launch, check_engine_settings, llama_cpp_python_args
from ggufctl.core.runtime import Runtime
from ggufctl.engines.base import Command, Found, run_python

__all__ = ["LlamaCppPython"]

_PROBE = """
import json, llama_cpp, llama_cpp.server.app
from llama_cpp.server.settings import Settings
print("PROBE" + json.dumps([llama_cpp.__version__, sorted(Settings.model_fields)]))
"""


class LlamaCppPython:
    """`python -m llama_cpp.server`."""

    name = "llama-cpp-python"
    install_hint = "pip install 'llama-cpp-python[server]'"

    def find(self) -> Found | None:
        """The package in this environment with its version, or None."""
        if find_spec("llama_cpp") is None:
            return None
        text = run_python(_PROBE)
        line = next((x for x in (text or "").splitlines() if x.startswith("PROBE")), None)
        if line is None:
            return None
        version, fields = json.loads(line.removeprefix("PROBE"))
        # Every setting is an environment variable as well, and HOST and PORT even win.
        variables = frozenset(str(field).upper() for field in fields) | {"CONFIG_FILE"}
        program = (sys.executable, "-P", "-m", "llama_cpp.server")
        return Found(self.name, program, str(version), variables=variables)

    def check(self, runtime: Runtime, extra: Sequence[str]) -> None:
        """Refuse what it lacks, naming the engines that have it."""
        check_engine_settings(self.name, runtime)

    def command(self, found: Found, launch: Launch) -> Command:
        """How to start it; it has no health check, but its list of models asks for the key."""
        argv = (*found.program, *llama_cpp_python_args(launch))
        return Command(argv, "API_KEY", ready_path="/v1/models", ready_needs_key=True)
