"""Finds out what a target is and what is wrong with it: a log, a model, or this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from ggufctl.catalog import known_by
from ggufctl.core.calibration import gpu_name
from ggufctl.core.diagnosis import Diagnosis, LogReport, diagnose_chunks
from ggufctl.core.engine_log import HOST
from ggufctl.core.escape import quoted
from ggufctl.core.ggml.cuda import ADA_LOVELACE, Capability
from ggufctl.core.logfacts import LogFacts
from ggufctl.core.memory import estimate_memory
from ggufctl.core.runtime import CACHE_TYPES, Runtime
from ggufctl.errors import GgufctlError, UsageError
from ggufctl.services.plan import read_model

__all__ = ["TargetKind", "capability_of", "diagnose_log", "kind_of"]

_STEP = 1024
_RESERVE_BYTES = 512 << 20
_GGUF = b"GGUF"
_LOG_ENDINGS = frozenset(
    {".log", ".txt", ".out", ".err", ".json", ".jsonl", ".gz", ".bz2", ".xz", ".zst"}
)

OnDiagnosis = Callable[[Diagnosis], None]
"""Called with a cause as soon as it is read."""

OnNote = Callable[[str], None]
"""Called with a sentence."""


class TargetKind(StrEnum):
    """What there is to be diagnosed."""

    LOG = "log"
    MODEL = "model"
    MACHINE = "machine"


class _FitsAsItIs(Exception):
    """What did not fit does, by the plan."""


def kind_of(target: str) -> TargetKind:
    """What a target is: a file of text is a log, everything else that is named a model."""
    if target == "":
        return TargetKind.MACHINE
    if target == "-":
        return TargetKind.LOG
    path = Path(os.path.expanduser(target))
    try:
        if path.suffix.lower() in _LOG_ENDINGS and not path.exists():
            raise UsageError(f"There is no file {quoted(target)}.")
        if not path.exists() or path.is_dir():
            return TargetKind.MODEL
        if path.name.lower().endswith(".gguf"):
            return TargetKind.MODEL
        if not path.is_file():
            return TargetKind.LOG
        with path.open("rb") as file:
            return TargetKind.MODEL if file.read(4) == _GGUF else TargetKind.LOG
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{quoted(target)} cannot be read: {reason}.") from None


def diagnose_log(
    chunks: Iterable[bytes],
    *,
    model: str = "",
    on_diagnosis: OnDiagnosis | None = None,
    on_note: OnNote | None = None,
) -> LogReport:
    """Everything a log shows; numbers come from the planner where the model can be read.

    Args:
        chunks: the log, in pieces of any size.
        model: reference of the model that the log is about; by default the file that it names,
            if it is here.
        on_diagnosis: hears of causes while the log is read.
        on_note: hears why a model that was named could not be planned with.
    """
    report: LogReport | None = None
    for item in diagnose_chunks(chunks):
        if isinstance(item, LogReport):
            report = item
        elif on_diagnosis is not None:
            on_diagnosis(item)
    if report is None:
        raise UsageError("There is no log.")
    return _planned(report, model, on_note)


def _planned(report: LogReport, ref: str, on_note: OnNote | None) -> LogReport:
    """The report with the context that fits, by the planner, where the cache was too large."""
    facts = report.facts
    if not report.diagnoses or report.diagnoses[0].id not in ("oom-kv", "oom-compute"):
        return report
    tell = on_note if ref and on_note is not None else _nobody
    ref = ref or _local_model(facts.path)
    if not ref:
        return report
    try:
        advice = _fitting(ref, facts) if facts.free_bytes else ""
    except GgufctlError as error:
        # The log alone still says what is wrong.
        tell(f"Nothing is planned for {quoted(ref)}: {error.message}")
        return report
    except _FitsAsItIs as found:
        tell(str(found))
        return report
    if not advice:
        tell("The log does not say enough for a plan of what would fit.")
        return report
    first = report.diagnoses[0]
    kept = tuple(text for text in first.fix if "would fit" not in text)
    return replace(report, diagnoses=(replace(first, fix=(advice, *kept)), *report.diagnoses[1:]))


def _nobody(_text: str) -> None:
    return


def _local_model(path: str) -> str:
    """The file that a log names, if it is a file of this machine."""
    is_here = path.lower().endswith(".gguf") and os.path.isabs(path) and os.path.isfile(path)
    return path if is_here else ""


def _fitting(ref: str, facts: LogFacts) -> str:
    """Contexts that fit into what was free, for the cache as it was and as q8_0."""
    shape = read_model(ref).shape
    devices = sorted(device for device in facts.free_bytes if device != HOST)
    free = [facts.free_bytes[device] - _RESERVE_BYTES for device in devices or (HOST,)]
    capabilities = [capability_of(device, facts) for device in devices]
    n_ctx = facts.n_ctx or shape.hp.n_ctx_train

    def fits(n: int, types: tuple[str, str]) -> bool:
        runtime = Runtime(
            n_ctx=n,
            n_parallel=facts.n_slots or None,
            cache_type_k=types[0],
            cache_type_v=types[1],
            n_ubatch=facts.n_ubatch or 512,
        )
        estimate = estimate_memory(shape, runtime, devices, capabilities=capabilities)
        needs = [device.total_bytes for device in estimate.devices or (estimate.host,)]
        return all(need <= room for need, room in zip(needs, free, strict=True))

    def largest(types: tuple[str, str]) -> int:
        low, high = 0, max(n_ctx // _STEP, 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle * _STEP, types) else (low, middle - 1)
        return low * _STEP

    now = (_known(facts.cache_type_k), _known(facts.cache_type_v))
    as_it_was, quantised = largest(now), largest(("q8_0", "q8_0"))
    if as_it_was >= n_ctx // _STEP * _STEP:
        # What the log says was free is not what could be had.
        raise _FitsAsItIs(
            f"By the plan, -c {n_ctx} fits what the log says was free: look for a limit (of a "
            "container, or ulimit -v), or for another program that took it."
        )
    found = []
    if as_it_was:
        found.append(f"-c {as_it_was}")
    if quantised > as_it_was:
        found.append(f"-c {quantised} with -fa on -ctk q8_0 -ctv q8_0")
    return f"{' or '.join(found)} would fit, by the plan of this model." if found else ""


def capability_of(device: str, facts: LogFacts) -> Capability:
    """Compute capability of a device: as the log says it, else by its name."""
    said = facts.capabilities.get(device)
    if said is not None:
        return said
    names = dict(entry.partition(": ")[::2] for entry in facts.devices)
    description = names.get(device, "")
    catalogue = known_by((description,))
    name = gpu_name(catalogue, description)
    return next((gpu.capability for gpu in catalogue if gpu.name == name), ADA_LOVELACE)


def _known(name: str) -> str:
    return name if name in CACHE_TYPES else "f16"
