"""Keeps what starts of servers have shown: one line each, on this machine only.

Lines are appended whole; what a crash has cut is passed over when it is read, and never joined
to the next line. Nothing here can make a server fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ggufctl.catalog import all_known, known_by
from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.calibration import MAX_LINE_BYTES, Run, calibrated, gpu_name, parse_run
from ggufctl.core.cold_start import predict_cold_start
from ggufctl.core.gpus import Gpu, GpuCatalogue
from ggufctl.core.memory import ModelShape
from ggufctl.core.model import Model
from ggufctl.core.runtime import Runtime
from ggufctl.core.speed import predict_speed
from ggufctl.errors import GgufctlError
from ggufctl.services.state import calibration_path

if TYPE_CHECKING:
    from ggufctl.core.engine_log import Comparison
    from ggufctl.services.modal.launch import ModalServer
    from ggufctl.services.modal.plan import ModalPlan
    from ggufctl.services.serve import LocalServer

__all__ = [
    "calibrated_catalogue",
    "calibration_path",
    "clear",
    "load_runs",
    "note_local",
    "note_modal",
    "remember",
]

MAX_RUNS = 1000
"""Kept; older ones are dropped."""

MAX_BYTES = 2 * MAX_RUNS * MAX_LINE_BYTES
"""Read of the file at most, from its end."""

MEASURED_TOKENS = 24
"""A server is asked for so many once it is up, to see how fast it is.  [tokens]"""

MEASURE_SECONDS = 5.0
QUICK_SECONDS = 1.0
"""A server that took longer for one token is not asked for more: it is in use by now.  [s]"""

_MIB = 1 << 20


def load_runs() -> tuple[Run, ...]:
    """Runs, the oldest first; lines that are cut or not ours are passed over."""
    path = calibration_path()
    if not path.is_file():
        # A pipe in its place would be waited for without end.
        return ()
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - MAX_BYTES))
            raw = file.read(MAX_BYTES)
    except OSError:
        return ()
    found = (parse_run(line) for line in raw.split(b"\n") if line)
    return tuple(run for run in found if run is not None)[-MAX_RUNS:]


def remember(run: Run) -> None:
    """Keep a run.

    Raises: OSError.
    """
    path = calibration_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    line = run.to_line().encode()
    if parse_run(line) is None:
        return
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(handle).st_size
        is_cut = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        # One write, so that two servers that start at once do not mix their lines.
        os.write(handle, b"\n" * is_cut + line + b"\n")
    finally:
        os.close(handle)
    if size > MAX_BYTES // 2:
        _rewrite(load_runs())


def _rewrite(runs: Sequence[Run]) -> None:
    path = calibration_path()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "w") as file:
            file.writelines(f"{run.to_line()}\n" for run in runs)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def clear() -> int:
    """Forget all runs; how many there were.

    Raises: GgufctlError when the file cannot be removed.
    """
    n = len(load_runs())
    try:
        calibration_path().unlink(missing_ok=True)
    except OSError as error:
        raise GgufctlError(f"The runs cannot be removed: {error.strerror}.") from None
    return n


def calibrated_catalogue(base: GpuCatalogue | None = None) -> GpuCatalogue:
    """The catalogue with ranges tightened by the user's own runs of the build of plans.

    Args:
        base: it, without them; None = of what can be rented and of all cards known.
    """
    base = base or all_known()
    try:
        seen = calibration_path().stat()
    except OSError:
        return base
    key = (str(calibration_path()), seen.st_mtime_ns, seen.st_size)
    kept = _KEPT.get(key)
    if kept is None or kept[0] is not base:
        _KEPT.clear()
        kept = _KEPT[key] = (base, calibrated(base, load_runs(), LLAMA_CPP_BUILD))
    return kept[1]


_KEPT: dict[tuple[str, int, int], tuple[GpuCatalogue, GpuCatalogue]] = {}
"""The last catalogue and what was made of it: plans of a long batch ask for it each time."""


def note_local(server: LocalServer) -> threading.Thread | None:
    """Keep what a start on this machine has shown; a disk that is full loses only this.

    Returns: what still measures how fast it is, where that can be held against a plan.
    """
    supervisor, devices = server.supervisor, server.plan.devices
    if supervisor is None:
        return None
    ready_seconds = supervisor.ready_seconds
    if not devices:
        # No plan says how fast a CPU is, so that there is nothing to be learned.
        _note_local(server, ready_seconds, is_measured=False)
        return None
    # Whoever started it does not wait for this.
    thread = threading.Thread(
        target=_note_local,
        args=(server, ready_seconds),
        kwargs={"is_measured": True},
        name="measure",
        daemon=True,
    )
    thread.start()
    return thread


def _note_local(server: LocalServer, ready_seconds: float, *, is_measured: bool) -> None:
    from ggufctl.core.engine_log import Phase

    # All that a switch changes is read before anything that takes time.
    plan, comparison, build = server.plan, server.comparison, server.build
    devices = plan.devices
    description = devices[0].description if devices else "CPU"
    free = devices[0].free_bytes if len(devices) == 1 else 0
    # Before anything is asked of it: an answer may take memory that no plan counts.
    free_bytes = (free, _free_bytes(len(devices)))
    speed = None
    took = server.supervisor.durations.get(Phase.FIRST_TOKEN.value) if server.supervisor else None
    is_quick = took is not None and took <= QUICK_SECONDS
    if is_measured and is_quick and not plan.runtime.embeddings:
        key = server.key.value if server.key else ""
        speed = _measure(server.base_url, plan.alias, {"Authorization": f"Bearer {key}"})
    with contextlib.suppress(OSError, GgufctlError):
        remember(
            _run(
                where="local",
                description=description,
                count=max(1, len(devices)),
                build=build,
                engine=plan.found.engine,
                model=plan.model,
                runtime=plan.runtime,
                comparison=comparison,
                free_bytes=free_bytes,
                load_seconds=ready_seconds,
                planned_load_seconds=None,
                tokens_per_s=speed,
            )
        )


def note_modal(server: ModalServer) -> None:
    """Keep what a start on Modal has shown; a disk that is full loses only this."""
    from ggufctl.services.modal.ask import headers_of

    plan, spec = server.plan, server.spec
    speed = None
    if not spec.is_embedding:
        headers = headers_of(spec, server.key.value if server.key else "")
        speed = _measure(server.url, spec.alias, headers)
    outside = {"queued", "deployment", "weights on the volume"}
    took = sum(seconds for phase, seconds in server.durations.items() if phase not in outside)
    told = server.found.get("free_mib")
    free_after = told if isinstance(told, list) else []
    one = len(free_after) == 1
    with contextlib.suppress(OSError, GgufctlError):
        remember(
            _run(
                where="modal",
                description=server.gpu.get("name") or plan.row.gpu.name,
                count=plan.row.count,
                build=str(server.found.get("build") or LLAMA_CPP_BUILD),
                engine=spec.engine,
                model=plan.plan.model,
                runtime=plan.runtime,
                comparison=server.comparison,
                free_bytes=(
                    _mib(server.gpu.get("free_mib")) if one else 0,
                    _mib(free_after[0]) if one else 0,
                ),
                load_seconds=took or None,
                planned_load_seconds=None if spec.snapshot else _predicted_start(plan),
                tokens_per_s=speed,
            )
        )


def _run(
    *,
    where: str,
    description: str,
    count: int,
    build: str,
    engine: str,
    model: Model,
    runtime: Runtime,
    comparison: Iterable[Comparison],
    free_bytes: tuple[int, int],
    load_seconds: float | None,
    planned_load_seconds: float | None,
    tokens_per_s: float | None,
) -> Run:
    from ggufctl.core.engine_log import HOST

    catalogue = known_by((description,))
    name = gpu_name(catalogue, description)
    terms = tuple(comparison)
    gpu = next((each for each in catalogue if each.name == name), None)
    on_gpu = [term for term in terms if term.device != HOST]
    before, after = free_bytes
    overhead = None
    if before > after > 0 and on_gpu and count == 1:
        overhead = max(0, before - after - sum(term.actual_bytes for term in on_gpu))
    return Run(
        at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        where=where,
        gpu=_plain(name),
        count=count,
        build=_plain(build or "unknown"),
        engine=_plain(engine),
        model=_plain(model.ref if model.source == "hub" else Path(model.files[0].path).name),
        quant=_plain(model.quant or ""),
        n_ctx=runtime.n_ctx,
        planned_bytes=sum(term.planned_bytes for term in terms) if terms else None,
        actual_bytes=sum(term.actual_bytes for term in terms) if terms else None,
        overhead_bytes=overhead,
        compute_bytes=sum(term.actual_bytes for term in on_gpu if term.term == "compute"),
        planned_load_seconds=planned_load_seconds,
        load_seconds=None if load_seconds is None else round(load_seconds, 3),
        planned_tokens_per_s=_predicted(model.shape, gpu, count, runtime),
        tokens_per_s=tokens_per_s,
    )


def _plain(text: str) -> str:
    """Text that a line can hold."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def _predicted(shape: ModelShape, gpu: Gpu | None, count: int, runtime: Runtime) -> float | None:
    """Tokens/s that are expected at the short context of the question asked."""
    if gpu is None or gpu.speed is None or runtime.embeddings:
        return None
    speed = predict_speed(shape, None, gpu, count, runtime, depth_tokens=MEASURED_TOKENS)
    return round(speed.decode_tokens_per_s.best, 4)


def _predicted_start(plan: ModalPlan) -> float | None:
    """Seconds from reading weights to an answer, as they are expected without calibration."""
    row, size_bytes = plan.row, plan.plan.model.size_bytes
    if row.gpu.speed is None or row.estimate is None:
        return None
    gpu = replace(row.gpu, speed=replace(row.gpu.speed, start_spread=None))
    on_gpus = min(sum(device.weights_bytes for device in row.estimate.devices), size_bytes)
    start = predict_cold_start(size_bytes, gpu, row.count, device_bytes=on_gpus)
    return round(sum(seconds.best for _, seconds in start.phases[2:]), 3)


def _measure(base_url: str, alias: str, headers: dict[str, str]) -> float | None:
    """Tokens/s of one stream as the server itself says; None when it does not."""
    from ggufctl.services.modal.ask import ask

    body = {
        "model": alias,
        "prompt": "Count from one to twenty:",
        "max_tokens": MEASURED_TOKENS,
        "temperature": 0,
        # Else some models end at once, and nothing is measured.
        "ignore_eos": True,
    }
    status, text = ask(f"{base_url}/v1/completions", headers, body, MEASURE_SECONDS)
    if status != 200:
        return None
    try:
        timings = json.loads(text)["timings"]
        n_tokens, speed = int(timings["predicted_n"]), float(timings["predicted_per_second"])
    except (ValueError, KeyError, TypeError):
        return None
    # The first token comes with the prompt: few tokens say nothing of speed.
    return round(speed, 4) if n_tokens >= MEASURED_TOKENS // 2 and 0 < speed < 1e6 else None


def _free_bytes(n_devices: int) -> int:
    """Free memory of the only GPU now; 0 where there is none or another.  [bytes]"""
    from ggufctl.remote.surroundings import gpus

    found = (gpus() or ()) if n_devices == 1 else ()
    return _mib(found[0][3]) if len(found) == 1 else 0


def _mib(text: object) -> int:
    try:
        return int(float(str(text))) * _MIB
    except (ValueError, OverflowError):
        return 0
