"""Checks of a deployment from the inside of one container that is started for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ggufctl import modal_app
from ggufctl.catalog import load_prices
from ggufctl.core._pins import LLAMA_CPP_BUILD, OLDEST_DRIVER, WANTED_DRIVER
from ggufctl.core.checks import Check, Status
from ggufctl.core.deployment import DeploymentSpec, host_usd_per_hour
from ggufctl.core.escape import escape, quoted
from ggufctl.core.units import format_gib
from ggufctl.errors import UsageError
from ggufctl.modal_app import LOOK_SECONDS, NoContainer
from ggufctl.remote.supervisor import Event, OnEvent
from ggufctl.services.modal.deployments import find_modal
from ggufctl.services.modal.plan import DEFAULT_QUEUE_SECONDS, ignore
from ggufctl.services.modal.state import recalled

__all__ = ["check_live", "price_of_look"]

_BUILD = re.compile(r"version:? (?:.*\(build )?b?(\d+)")
TYPICAL_SECONDS = 60
"""What a look takes with its container's start, for the price that is said."""


def price_of_look(spec: DeploymentSpec) -> str:
    """What looking inside costs, in words."""
    hourly = spec.usd_per_hour + host_usd_per_hour(spec, load_prices())
    where = spec.gpus[0] if spec.gpus else "a CPU"
    return (
        f"one container on {where} is started, about ${hourly:.2f} per hour: about "
        f"${hourly * TYPICAL_SECONDS / 3600:.2f} for {TYPICAL_SECONDS} s, at most "
        f"${hourly * 2 * LOOK_SECONDS / 3600:.2f}"
    )


def check_live(
    name: str, on_event: OnEvent = ignore, *, queue_seconds: float = DEFAULT_QUEUE_SECONDS
) -> tuple[Check, ...]:
    """Start one container as the deployment has them, and check what it finds there.

    The deployment itself is left alone; the price is told before anything is started.

    Raises:
        DeploymentNotFound: nothing of this name is deployed.
        UsageError: its settings are not known, here or on its Volume.
        AccessDenied, RemoteError: as Modal answers.
    """
    document = recalled(find_modal(name))
    if not document:
        raise UsageError(
            f"{quoted(name)} was deployed from another machine: its settings are neither here nor "
            "on its Volume.",
            "Run this where it was deployed.",
        )
    spec = DeploymentSpec.from_dict(document["spec"])
    on_event(Event("price", 0.0, price_of_look(spec), {}))
    try:
        found = modal_app.look_inside(spec, queue_seconds)
    except NoContainer as error:
        return (Check("container", Status.FAIL, error.message, error.hint),)
    text = f"A container starts: Python {found['python']}, {found['cores']} cores"
    text += f", {escape(str(found['region']), 40)}." if found["region"] else "."
    return (
        Check("container", Status.PASS, text),
        *_gpu_checks(spec, found["gpus"]),
        _engine_check(spec, found),
        _files_check(spec, found["files"]),
        *_key_checks(spec, found),
    )


def _gpu_checks(spec: DeploymentSpec, rows: list[list[str]] | None) -> tuple[Check, ...]:
    if not spec.gpus:
        return ()
    if not rows:
        return (
            Check(
                "gpu",
                Status.FAIL,
                "NVIDIA's driver does not answer in the container: it has no GPU.",
                f"Switch to another GPU with ggufctl switch {spec.name} --gpu.",
            ),
        )
    wanted = int(spec.gpus[0].partition(":")[2] or 1)
    checks = [_gpu_check(spec, row, len(rows)) for row in rows]
    if len(rows) < wanted:
        text = f"{len(rows)} GPUs were found and {wanted} are planned with."
        checks.append(Check("gpu", Status.FAIL, text, "Try again; if it stays, tell Modal."))
    return tuple(checks)


def _gpu_check(spec: DeploymentSpec, row: list[str], n: int) -> Check:
    name, driver, total, free = (escape(part, 80) for part in row)
    free_bytes = int(free) << 20 if free.isdecimal() else 0
    total_bytes = int(total) << 20 if total.isdecimal() else 0
    text = (
        f"{name}: {format_gib(free_bytes)} of {format_gib(total_bytes)} GiB free, driver {driver}."
    )
    needed = spec.planned_bytes // n
    if needed > free_bytes:
        return Check(
            "gpu",
            Status.FAIL,
            f"{text} The plan needs {format_gib(needed)} GiB.",
            f"Switch to a larger GPU with ggufctl switch {spec.name} --gpu.",
        )
    major = driver.partition(".")[0]
    if major.isdecimal() and int(major) < OLDEST_DRIVER:
        return Check("gpu", Status.FAIL, f"{text} It is too old for CUDA 12.", "Tell Modal.")
    if major.isdecimal() and int(major) < WANTED_DRIVER:
        text += f" The image is made with CUDA 12.8, which came with driver {WANTED_DRIVER}."
        return Check("gpu", Status.WARN, text, "Look at the log if the engine refuses it.")
    return Check("gpu", Status.PASS, text)


def _engine_check(spec: DeploymentSpec, found: Mapping[str, Any]) -> Check:
    if found["engine_error"]:
        return Check(
            "engine",
            Status.FAIL,
            f"{spec.engine} does not start in the image {spec.image}.",
            "Deploy it again; see ggufctl logs.",
            (escape(str(found["engine_error"]), 300),),
        )
    said = escape(str(found["engine"]), 200)
    text = f"{spec.engine} is there: {said or 'it does not say its version'}."
    build = _BUILD.search(said)
    if spec.engine == "llama-server" and (build is None or f"b{build[1]}" != LLAMA_CPP_BUILD):
        text += f" The plan is made for {LLAMA_CPP_BUILD}."
        return Check("engine", Status.WARN, text, "Serve it again to have the pinned image.")
    return Check("engine", Status.PASS, text)


def _files_check(spec: DeploymentSpec, files: list[list[Any]]) -> Check:
    wrong = []
    for path, size, actual in files:
        name = escape(str(path).rpartition("/")[2], 200)
        if actual < 0:
            wrong.append(f"{name} is not there")
        elif actual != size:
            wrong.append(f"{name} has {actual} bytes and should have {size}")
    if wrong:
        return Check(
            "files",
            Status.FAIL,
            f"{len(wrong)} of {len(files)} files are not whole on the Volume {spec.volume}.",
            f"Fetch them again: ggufctl download {spec.model} --to modal.",
            tuple(wrong[:5]),
        )
    text = f"{len(files)} files, {spec.size_bytes / 1e9:.2f} GB, are on the Volume {spec.volume}."
    return Check("files", Status.PASS, text)


def _key_checks(spec: DeploymentSpec, found: Mapping[str, Any]) -> tuple[Check, ...]:
    if spec.auth != "key":
        return ()
    if found["has_key"]:
        return (Check("key", Status.PASS, "The Secret holds a key."),)
    text = f"The Secret {spec.secret} holds no key, so the server would not start."
    return (Check("key", Status.FAIL, text, "Stop it and serve it again."),)
