"""llama-server, found on PATH."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence

from ggufctl.core.launch import KEY_VARIABLE, Launch, check_engine_settings, llama_server_args
from ggufctl.core.runtime import Runtime
from ggufctl.engines.base import Command, Found, parse_devices, run_for_text

__all__ = ["LlamaServer"]

_VERSION = re.compile(r"version: (?:.*\(build )?(\d+)(?:, commit | \()(\w+)")


class LlamaServer:
    """llama.cpp's own server as a program."""

    name = "llama-server"
    install_hint = "install llama.cpp, so that llama-server is on PATH"

    def find(self) -> Found | None:
        """The program on PATH with its build and the GPUs it sees, or None."""
        program = shutil.which("llama-server")
        if program is None:
            return None
        text = run_for_text((program, "--version"))
        if text is None:
            return None
        version = _VERSION.search(text)
        # Who compiles it outside a git checkout gets the number 0.
        build = f"b{version[1]}" if version and int(version[1]) else "unknown"
        devices = parse_devices(run_for_text((program, "--list-devices")) or "")
        return Found(self.name, (program,), build, devices)

    def check(self, runtime: Runtime, extra: Sequence[str]) -> None:
        """It has every option; what it does not know of the rest it says itself."""
        check_engine_settings(self.name, runtime)

    def command(self, found: Found, launch: Launch) -> Command:
        """How to start it."""
        return Command((*found.program, *llama_server_args(launch)), KEY_VARIABLE)
