"""llama.cpp's own server inside the xllamacpp wheel: no program to install, nothing to compile."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from ggufctl.core.launch import KEY_VARIABLE, Launch, check_engine_settings, llama_server_args
from ggufctl.core.runtime import Runtime
from ggufctl.engines.base import Command, Device, Found, run_python
from ggufctl.errors import UsageError
from ggufctl.remote.embedded_server import UnknownArgument, parse

__all__ = ["Embedded"]

_PROBE = """
import json, re, sys, xllamacpp
from importlib.metadata import version
v = version("xllamacpp")
n = re.search(r"(\\d{4,})$", v)
gpu = lambda d: d["type"].name.endswith("GPU")
devices = [
    [d["name"], d["description"], int(d["memory_total"]), int(d["memory_free"])]
    for d in xllamacpp.get_device_info() if gpu(d)
]
print("PROBE" + json.dumps([f"b{n[1]}" if n else v, devices]))
"""


class Embedded:
    """The xllamacpp wheel, run as a process of its own."""

    name = "xllamacpp"
    install_hint = "pip install 'ggufctl[local]'"

    def find(self) -> Found | None:
        """The wheel in this environment with its build of llama.cpp, or None."""
        if find_spec("xllamacpp") is None:
            return None
        text = run_python(_PROBE)
        line = next((x for x in (text or "").splitlines() if x.startswith("PROBE")), None)
        if line is None:
            return None
        build, rows = json.loads(line.removeprefix("PROBE"))
        devices = tuple(
            Device(str(name), str(description), int(total), int(free))
            for name, description, total, free in rows
        )
        program = (sys.executable, "-P", "-m", "ggufctl.remote.embedded_server")
        return Found(self.name, program, str(build), devices)

    def check(self, runtime: Runtime, extra: Sequence[str]) -> None:
        """Refuse arguments that only llama-server itself takes."""
        check_engine_settings(self.name, runtime)
        try:
            parse(extra)
        except UnknownArgument as error:
            raise UsageError(
                f"xllamacpp's server cannot take this argument: {error}.",
                "Use --engine llama-server, which has all of llama.cpp's options.",
            ) from None

    def command(self, found: Found, launch: Launch) -> Command:
        """How to start it."""
        return Command((*found.program, *llama_server_args(launch)), KEY_VARIABLE)
