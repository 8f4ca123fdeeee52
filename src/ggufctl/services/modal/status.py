"""How deployments on Modal are doing, from Modal's own counts and from their logs.

Nothing here asks a server at its address unless that is wanted: a question starts a container
where none runs, and keeps one up, and paid for, where one does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ggufctl import modal_app
from ggufctl.catalog import load_prices
from ggufctl.core.deployment import DeploymentSpec, app_name, host_usd_per_hour
from ggufctl.core.escape import escape
from ggufctl.core.status import (
    Health,
    LogCount,
    MemoryUse,
    ProcessUse,
    ServerStatus,
    parse_metrics,
    parse_slots,
    with_rates,
)
from ggufctl.errors import GgufctlError
from ggufctl.modal_app import LogLine, ModalDeployment
from ggufctl.remote.container import EVENT_PREFIX
from ggufctl.services.keys import kept_key
from ggufctl.services.modal.ask import ask, headers_of
from ggufctl.services.modal.deployments import find_modal, modal_deployments
from ggufctl.services.modal.state import key_file, recalled

__all__ = ["modal_status", "modal_statuses"]

N_LINES = 2000
"""How much of a log is read."""


def modal_status(name: str, *, ask_server: bool = False) -> ServerStatus:
    """How one deployment is doing.

    Args:
        name: as `ps` shows it.
        ask_server: ask a server that runs for its counters and slots as well; that keeps its
            container up for another idle time.

    Raises: DeploymentNotFound; AccessDenied without a token; RemoteError.
    """
    return _status(find_modal(name), ask_server=ask_server)


def modal_statuses(*, ask_server: bool = False) -> tuple[ServerStatus, ...]:
    """How all deployments are doing, by name.

    Raises: AccessDenied without a token; RemoteError.
    """
    return tuple(_status(each, ask_server=ask_server) for each in modal_deployments())


@dataclass(slots=True)
class _Seen:
    """What the log tells of one container."""

    id: str
    last_at: datetime
    started_at: datetime | None = None
    gpu: Mapping[str, Any] = field(default_factory=dict)
    ready: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""
    count: LogCount = field(default_factory=LogCount)


def _status(found: ModalDeployment, *, ask_server: bool) -> ServerStatus:
    spec = _spec(found)
    seen = _containers(modal_app.recent_log(app_name(found.name), N_LINES))
    latest = sorted(seen.values(), key=lambda each: each.last_at)
    alive = latest[-found.n_containers :] if found.n_containers else []
    status = ServerStatus(
        name=found.name,
        where="modal",
        status=found.status,
        health=_health(found, alive),
        at=_text(datetime.now(UTC)),
        at_seconds=time.monotonic(),
        model=found.tags.get("model", ""),
        engine=spec.engine if spec is not None else "",
        build=escape(str(next((e.ready.get("build", "") for e in alive if e.ready), "")), 80),
        url=f"{found.url}/v1" if found.url else "",
        started_at=_text(found.deployed_at),
        processes=tuple(ProcessUse(role="container", id=each.id, is_alive=True) for each in alive),
        memory=_memory(spec, alive),
        n_slots=spec.slots if spec is not None else None,
        n_ctx=spec.n_ctx if spec is not None else None,
        problems=_problems(found, spec, alive, latest),
    )
    status = _with_cost(status, found, spec, alive)
    status = _with_counts(status, alive)
    return _asked(status, spec, found.url) if ask_server and alive and spec is not None else status


def _spec(found: ModalDeployment) -> DeploymentSpec | None:
    try:
        return DeploymentSpec.from_dict(recalled(found)["spec"])
    except (KeyError, TypeError, GgufctlError):
        return None


def _containers(lines: Iterable[LogLine]) -> dict[str, _Seen]:
    seen: dict[str, _Seen] = {}
    for line in lines:
        for container in line.containers:
            each = seen.setdefault(container, _Seen(container, line.at))
            each.last_at = max(each.last_at, line.at)
            _hear(each, line)
    return seen


def _hear(seen: _Seen, line: LogLine) -> None:
    if not line.text.startswith(EVENT_PREFIX):
        seen.count.feed(line.text)
        return
    try:
        event = json.loads(line.text[len(EVENT_PREFIX) :])
        kind = event["event"]
    except (ValueError, TypeError, KeyError):
        return
    if kind == "container":
        seen.started_at = line.at
        seen.gpu = next((gpu for gpu in event.get("gpus") or () if isinstance(gpu, dict)), {})
    elif kind == "ready":
        seen.ready = event
    elif kind in ("failed", "died"):
        seen.failure = escape(str(event.get("text", "")), 300)


def _health(found: ModalDeployment, alive: Iterable[_Seen]) -> Health:
    """As its log has it: nobody is asked."""
    if not found.n_containers:
        return Health.NOT_ASKED
    return Health.OK if any(each.ready for each in alive) else Health.LOADING


def _memory(spec: DeploymentSpec | None, alive: Iterable[_Seen]) -> tuple[MemoryUse, ...]:
    """What the engine has allocated on each GPU, as its log has it; of one container."""
    first = next((each for each in alive if each.ready), None)
    if first is None:
        return ()
    used: dict[str, int] = {}
    for row in first.ready.get("buffers") or ():
        try:
            device, _, n_bytes = row
            used[str(device)] = used.get(str(device), 0) + int(n_bytes)
        except (TypeError, ValueError):
            continue
    devices = [device for device in used if not device.casefold().startswith(("cpu", "host"))]
    planned = spec.planned_bytes if spec is not None and len(devices) == 1 else None
    try:
        total = int(str(first.gpu.get("memory_mib", ""))) << 20
    except ValueError:
        total = None
    return tuple(
        MemoryUse(
            where=escape(device, 40),
            description=escape(str(first.gpu.get("name", "")), 80),
            planned_bytes=planned,
            used_bytes=used[device],
            total_bytes=total,
        )
        for device in devices
    )


def _with_cost(
    status: ServerStatus,
    found: ModalDeployment,
    spec: DeploymentSpec | None,
    alive: list[_Seen],
) -> ServerStatus:
    try:
        each_usd = float(found.tags.get("usd-per-hour", "0"))
    except ValueError:
        each_usd = 0.0
    if spec is not None:
        each_usd = spec.usd_per_hour + host_usd_per_hour(spec, load_prices())
    now = datetime.now(UTC)
    started = [each.started_at for each in alive if each.started_at is not None]
    hours = [(now - at).total_seconds() / 3600 for at in started]
    is_known = len(started) == found.n_containers
    return replace(
        status,
        usd_per_hour=round(each_usd * found.n_containers, 4),
        usd_so_far=round(sum(hours) * each_usd, 4) if is_known else None,
        uptime_seconds=max(hours) * 3600 if hours else None,
    )


def _with_counts(status: ServerStatus, alive: list[_Seen]) -> ServerStatus:
    known = [each.count for each in alive if each.started_at is not None]
    if len(known) < len(alive) or not alive:
        return status
    return replace(
        status,
        n_requests=sum(count.n_requests for count in known),
        n_errors=sum(count.n_errors for count in known),
        last_error=next((escape(c.last_error, 300) for c in known if c.last_error), ""),
    )


def _problems(
    found: ModalDeployment,
    spec: DeploymentSpec | None,
    alive: list[_Seen],
    latest: list[_Seen],
) -> tuple[str, ...]:
    said = []
    if spec is None:
        said.append(
            "It was deployed from another machine: its plan is known neither here nor there."
        )
    if found.n_containers > len(alive):
        said.append("A container runs that has not said anything yet.")
    if alive and any(each.started_at is None for each in alive):
        said.append("The log does not reach back to the start: the cost so far is not known.")
    if latest and latest[-1].failure:
        said.append(f"The last container failed: {latest[-1].failure}")
    return tuple(said)


def _asked(status: ServerStatus, spec: DeploymentSpec, url: str) -> ServerStatus:
    """The status with what the server says of itself."""
    try:
        path = key_file(spec.name)
        key = kept_key(Path(path)).value if spec.auth == "key" and path else ""
        headers = headers_of(spec, key)
    except GgufctlError as error:
        return replace(status, problems=(*status.problems, error.message))
    code, _ = ask(f"{url}/health", headers)
    health = Health.OK if code == 200 else Health.LOADING if code == 503 else Health.NO_ANSWER
    status = replace(status, health=health)
    if health is not Health.OK or spec.engine != "llama-server":
        return status
    code, text = ask(f"{url}/metrics", headers)
    counters = parse_metrics(text) if code == 200 else None
    code, text = ask(f"{url}/slots", headers)
    slots = parse_slots(text) if code == 200 else ()
    return with_rates(replace(status, counters=counters, slots=slots), None)


def _text(at: datetime | None) -> str:
    if at is None:
        return ""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
