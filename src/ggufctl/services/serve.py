"""Serving on this machine: plan, weights, engine, first token; less memory where it runs out."""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from ggufctl.catalog import known_by
from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.builds import PINNED, as_built_by, build_of, with_bindings, with_range
from ggufctl.core.calibration import gpu_name
from ggufctl.core.compat import check_gpus, check_settings
from ggufctl.core.engine_log import (
    HOST,
    Comparison,
    EngineLog,
    Failure,
    FailureKind,
    compare,
)
from ggufctl.core.escape import escape, redact
from ggufctl.core.estimate import Estimate
from ggufctl.core.ggml.cuda import ADA_LOVELACE
from ggufctl.core.gpus import with_overhead
from ggufctl.core.header import Header
from ggufctl.core.launch import (
    PLANNED_BYTES_PER_SECOND,
    Files,
    Launch,
    alias_of,
    cache_ram_mib,
    check_passthrough,
    engine_runtime,
    planned_again,
    slug,
    startup_seconds,
)
from ggufctl.core.layout import CONTEXT_PADDING
from ggufctl.core.memory import Extras, ModelShape, estimate_memory
from ggufctl.core.model import File, Model
from ggufctl.core.progress import Tenths, progress_text
from ggufctl.core.reduce import Reduction, reductions
from ggufctl.core.runtime import Runtime
from ggufctl.core.units import format_gib, n_of
from ggufctl.engines.base import Command, Device, Engine, Found
from ggufctl.engines.choose import choose_engine
from ggufctl.errors import DoesNotFit, GgufctlError, LaunchFailed, UsageError
from ggufctl.remote.supervisor import EngineFailed, Event, OnEvent, Spec, Supervisor
from ggufctl.remote.transfer import TransferEvent
from ggufctl.services import deployments
from ggufctl.services.alternatives import alternatives
from ggufctl.services.calibration import calibrated_catalogue, note_local
from ggufctl.services.deployments import Deployment, StateUnwritable
from ggufctl.services.front import Front, Held, port_of_our_own
from ggufctl.services.keys import Key, make_key, open_key
from ggufctl.services.local_gpus import on_gpus
from ggufctl.services.local_switch import Replies, Switch, pending
from ggufctl.services.machine import (
    HostMemory,
    host_memory,
    oom_kills,
    read_rate,
)
from ggufctl.services.plan import DEFAULT_N_CTX, read_model
from ggufctl.sources.base import ModelFile, SourceEvent
from ggufctl.sources.fetch import fetch_files, missing_bytes
from ggufctl.sources.references import ReferenceKind, parse_reference
from ggufctl.sources.resolve import Role, open_model

__all__ = [
    "DEFAULT_PORT",
    "LOOPBACK",
    "LocalPlan",
    "LocalRequest",
    "LocalServer",
    "estimate_here",
    "plan_local",
    "start_local",
]

LOOPBACK = "127.0.0.1"
"""The only address a server on this machine listens on."""

DEFAULT_PORT = 8080

MAX_FILL_PERMILLE = 950
"""Of what is free, `-c max` plans to take at most this much."""

MEASURING_SECONDS = 10.0
"""How long the measurement of a server that has ended may take to notice it."""

DRAIN_SECONDS = 30.0
"""How long a switch waits for requests that are being answered."""

LAST_ANSWERS_SECONDS = 10.0
"""How long an end waits for them."""

EXPECTED_SECONDS = 5.0
"""What a start takes where none was seen yet."""

SourceListener: TypeAlias = Callable[[SourceEvent], None]


def _ignore(event: Event) -> None:
    """Hear nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRequest:
    """What is to be served on this machine.

    Attributes:
        model: reference, as plans take it.
        runtime: settings, but for the context.
        n_ctx: context, 0 for the model's own, None for the default.  [tokens]
        max_context: the largest context that fits what is free here, instead of `n_ctx`.
        gpu: which of this machine's GPUs, as `--gpu` names them.
        quant: label to take from a repository; empty or `auto` for the default one.
        name: of the deployment; empty for the model's.
        port: to listen on; 0 for any that is free.
        auth: `key` or `none`.
        api_key_file: where the key is, or is to be put; None for the state directory.
        engine: `auto`, or one of `core.launch.ENGINES`.
        engine_args: further arguments of the engine's.
        n_threads: to compute with; 0 for the engine's own choice.
        chat_format: of llama-cpp-python.
        max_attempts: most starts of an engine.
        fallback: whether less memory is tried when it runs out.
        startup_timeout_seconds: instead of the computed limit.
        is_recorded: whether what the start shows is kept to calibrate later plans.
    """

    model: str
    runtime: Runtime = field(default_factory=Runtime)
    n_ctx: int | None = None
    max_context: bool = False
    gpu: str = "auto"
    quant: str = ""
    name: str = ""
    port: int = DEFAULT_PORT
    auth: str = "key"
    api_key_file: Path | None = None
    engine: str = "auto"
    engine_args: tuple[str, ...] = ()
    n_threads: int = 0
    chat_format: str = ""
    max_attempts: int = 4
    fallback: bool = True
    startup_timeout_seconds: float | None = None
    is_recorded: bool = True


@dataclass(frozen=True, slots=True)
class _Part:
    """One set of files that is loaded."""

    role: Role
    source: str
    repo: str
    commit: str
    files: tuple[ModelFile, ...]
    header: Header | None = None

    @property
    def missing_bytes(self) -> int:
        """What would have to be downloaded of it.  [bytes]"""
        return missing_bytes(self.repo, self.commit, self.files)


@dataclass(frozen=True, slots=True)
class LocalPlan:
    """Everything that would happen, before any of it does."""

    request: LocalRequest
    model: Model
    runtime: Runtime
    estimate: Estimate
    engine: Engine
    found: Found
    devices: tuple[Device, ...]
    """GPUs that take part; none means the CPU."""
    host: HostMemory
    alias: str
    name: str
    """Of the deployment, unless it is taken."""
    command: Command
    """With the model's files where they are now, or where they will be."""
    deadline_seconds: float
    download_bytes: int
    extras: Extras
    beside: tuple[_Part, ...]
    warnings: tuple[str, ...]

    @property
    def usd_per_hour(self) -> float:
        """This machine is not rented."""
        return 0.0

    @property
    def memory_bytes(self) -> int:
        """Planned, of all devices and the host.  [bytes]"""
        return sum(d.total_bytes for d in self.estimate.devices) + self.estimate.host.total_bytes

    @property
    def n_slots(self) -> int:
        """Requests that are answered at once."""
        is_python = self.found.engine == "llama-cpp-python"
        return 1 if is_python else self.estimate.n_seq_max

    @property
    def where(self) -> str:
        """What it runs on, in words."""
        if self.devices:
            return ", ".join(device.description for device in self.devices)
        return "CPU"


def plan_local(
    request: LocalRequest,
    on_event: OnEvent = _ignore,
    *,
    credit: Mapping[str, int] | None = None,
) -> LocalPlan:
    """What serving a model here takes: memory by term, the engine, its arguments. Starts nothing.

    Args:
        request: what is wanted.
        on_event: hears of progress.
        credit: bytes that are in use now and free by then, by device, `host` among them.

    Raises:
        UsageError: settings or arguments that make no sense, or that the engine lacks.
        DoesNotFit: this machine does not have the memory.
        GgufctlError: as reading the model does.
    """
    extra = check_passthrough(request.engine_args)
    if request.auth not in ("key", "none"):
        raise UsageError(
            f"--auth {request.auth} is not for a server on this machine.", "Use key or none."
        )
    if request.max_attempts < 1:
        raise UsageError("--max-attempts must be at least 1.")
    if request.name:
        deployments.check_name(request.name)
    engine, found = choose_engine(request.engine)
    found = on_gpus(_credited(found, credit or {}), request.gpu)
    engine.check(request.runtime, extra)
    hear = _source_listener(on_event)
    model = read_model(_reference(request), on_event=hear)
    runtime = _with_context(request, model, found)
    beside = _beside(runtime, hear)
    extras = _extras(beside)
    devices = found.devices if runtime.n_gpu_layers != 0 else ()
    host = host_memory()
    freed = (credit or {}).get(HOST, 0)
    host = replace(host, available_bytes=min(host.total_bytes, host.available_bytes + freed))
    if request.max_context:
        runtime = _longest(model.shape, runtime, found, devices, extras, host)
    estimate = estimate_here(model.shape, runtime, found, devices, extras)
    warnings = _warnings(request, found, estimate)
    plan = LocalPlan(
        request=request,
        model=model,
        runtime=runtime,
        estimate=estimate,
        engine=engine,
        found=found,
        devices=devices,
        host=host,
        alias=alias_of(model.files[0].path),
        name=slug(request.name or alias_of(model.files[0].path)),
        command=Command((), ""),
        deadline_seconds=request.startup_timeout_seconds
        or startup_seconds(model.size_bytes, PLANNED_BYTES_PER_SECOND),
        download_bytes=sum(part.missing_bytes for part in (_part(model), *beside)),
        extras=extras,
        beside=beside,
        warnings=warnings,
    )
    _require_fit(plan)
    return replace(plan, command=engine.command(found, _launch(plan, _named_files(plan))))


def _credited(found: Found, credit: Mapping[str, int]) -> Found:
    """The engine's GPUs with what a server that ends before gives back."""
    devices = tuple(
        replace(d, free_bytes=min(d.total_bytes, d.free_bytes + credit.get(d.name, 0)))
        for d in found.devices
    )
    return replace(found, devices=devices)


def _longest(
    shape: ModelShape,
    runtime: Runtime,
    found: Found,
    devices: Sequence[Device],
    extras: Extras,
    host: HostMemory,
) -> Runtime:
    """The settings with the longest context that fits what is free; the shortest where none does.

    Memory grows with the context, so half of what is left is ruled out at each step.
    """
    n_streams = 1 if runtime.is_unified else runtime.n_seq_max
    step = CONTEXT_PADDING * n_streams
    most = max(1, shape.hp.n_ctx_train * n_streams // step)
    free = [
        replace(device, free_bytes=device.free_bytes * MAX_FILL_PERMILLE // 1000)
        for device in devices
    ]
    available = max(1, host.available_bytes * MAX_FILL_PERMILLE // 1000)
    limit = HostMemory(available, available)

    def fits(count: int) -> bool:
        longer = runtime.with_(n_ctx=count * step)
        estimate = estimate_here(shape, longer, found, devices, extras)
        return not _short_by(estimate, free, limit)

    low, high = 1, most
    if fits(most):
        low = most
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return runtime.with_(n_ctx=low * step)


def _reference(request: LocalRequest) -> str:
    if not request.quant or request.quant.casefold() == "auto":
        return request.model
    ref = parse_reference(request.model)
    if ref.kind is not ReferenceKind.HUB or ref.path:
        raise UsageError(f"{ref.text!r} is one file: --quant picks from a repository.")
    if ref.quant and ref.quant.casefold() != request.quant.casefold():
        raise UsageError(f"The reference says {ref.quant} and --quant says {request.quant}.")
    return request.model if ref.quant else f"{request.model}:{request.quant}"


def _with_context(request: LocalRequest, model: Model, found: Found) -> Runtime:
    n_ctx = request.n_ctx
    if n_ctx is None:
        n_ctx = min(DEFAULT_N_CTX, model.n_ctx_train or DEFAULT_N_CTX)
    runtime = request.runtime.with_(n_ctx=n_ctx or model.n_ctx_train)
    return engine_runtime(found.engine, runtime)


def _part(model: Model) -> _Part:
    return _Part(Role.MODEL, model.source, model.repo, model.commit, _files(model.files))


def _beside(runtime: Runtime, on_event: SourceListener) -> tuple[_Part, ...]:
    """What is loaded beside the model, each with its header."""
    wanted = [
        *([(Role.MMPROJ, runtime.mmproj)] if runtime.mmproj else []),
        *([(Role.DRAFT, runtime.draft_model)] if runtime.draft_model else []),
        *((Role.LORA, ref) for ref in runtime.lora),
    ]
    found = []
    for role, ref in wanted:
        opened = open_model(ref, role=role, on_event=on_event)
        source, files = opened.source.value, tuple(opened.files)
        found.append(_Part(role, source, opened.repo, opened.commit, files, opened.header))
    return tuple(found)


def _extras(beside: Sequence[_Part]) -> Extras:
    headers: dict[Role, list[Header]] = {}
    for part in beside:
        if part.header is not None:
            headers.setdefault(part.role, []).append(part.header)
    draft = next(iter(headers.get(Role.DRAFT, ())), None)
    return Extras(
        lora=tuple(headers.get(Role.LORA, ())),
        draft=None if draft is None else ModelShape(draft),
        mmproj=next(iter(headers.get(Role.MMPROJ, ())), None),
    )


def _estimate_of(plan: LocalPlan, runtime: Runtime) -> Estimate:
    """The estimate of a plan's model with other settings."""
    return estimate_here(plan.model.shape, runtime, plan.found, plan.devices, plan.extras)


def estimate_here(
    shape: ModelShape,
    runtime: Runtime,
    found: Found,
    devices: Sequence[Device],
    extras: Extras,
) -> Estimate:
    """Memory on the GPUs the engine sees, each given its share by `-ts` or what it has free."""
    check_settings(shape, runtime)
    check_gpus(runtime, len(devices))
    build = build_of(found.engine, found.build)
    catalogue = calibrated_catalogue(known_by(device.description for device in devices))
    cards = {card.name: card for card in catalogue}
    known = [cards.get(gpu_name(catalogue, device.description)) for device in devices]
    shares = [float(device.free_bytes) for device in devices] if len(devices) > 1 else None
    if shares is not None and not any(shares):
        # Where none says that anything is free, none can be told from the others.
        shares = None
    names = tuple(device.description for device in devices)
    estimate = estimate_memory(
        as_built_by(build, shape),
        runtime,
        names,
        proportions=shares,
        extras=extras,
        capabilities=[card.capability if card else ADA_LOVELACE for card in known],
    )
    named = zip(estimate.devices, devices, strict=False)
    estimate = replace(
        estimate, devices=tuple(replace(planned, name=seen.name) for planned, seen in named)
    )
    if build is not PINNED:
        estimate = with_bindings(with_range(build, shape, estimate), shape, runtime)
    gpus = [card for card in known if card is not None]
    return with_overhead(estimate, gpus) if len(gpus) == len(devices) else estimate


def _warnings(request: LocalRequest, found: Found, estimate: Estimate) -> tuple[str, ...]:
    said = list(estimate.warnings)
    build = build_of(found.engine, found.build)
    if found.build != LLAMA_CPP_BUILD and (build is PINNED or not build.is_known):
        said.append(
            f"The engine is {found.label}; the plan is made for llama.cpp {LLAMA_CPP_BUILD}."
        )
    if not found.devices and request.runtime.n_gpu_layers > 0:
        said.append(f"-ngl {request.runtime.n_gpu_layers} has no effect: there is no GPU to use.")
    if request.runtime.n_shares and len(found.devices) == 1:
        said.append(f"-ts {request.runtime.tensor_split_text} has no effect on one GPU.")
    again = planned_again(request.engine_args)
    if again:
        said.append(
            f"What is planned does not count in {', '.join(again)} after --: memory will differ."
        )
    return tuple(said)


def _require_fit(plan: LocalPlan) -> None:
    """Refuse what cannot be: more than a GPU has free, or than the host has at all."""
    short = _short_by(plan.estimate, plan.devices, plan.host)
    if not short:
        return
    kind = FailureKind.OOM_KV
    hint = ""
    for option in _less(plan, kind):
        smaller = _estimate_of(plan, option.runtime)
        if not _short_by(smaller, plan.devices, plan.host):
            hint = f"It fits with {' '.join(option.flags)}: {option.text}."
            shorter = plan.runtime.with_(n_ctx=option.runtime.n_ctx)
            if not _short_by(_estimate_of(plan, shorter), plan.devices, plan.host):
                # Whoever asked for too long a context need not give up anything else.
                hint = f"It fits with -c {shorter.n_ctx}."
            break
    else:
        model = shlex.quote(escape(plan.model.ref))
        hint = (
            "No other settings make it fit either: take a smaller quant, or rent what holds it "
            f"(ggufctl plan {model}, then serve it without --on local)."
        )
    raise DoesNotFit(f"{plan.alias} does not fit this machine: {short}.", hint)


def _less(plan: LocalPlan, kind: FailureKind) -> list[Reduction]:
    """Ever smaller settings, each applied on top of the one before."""
    found: list[Reduction] = []
    runtime = plan.runtime
    flags: tuple[str, ...] = ()
    for _ in range(16):
        n_gpus, engine = len(plan.devices), plan.found.engine
        steps = reductions(plan.model.shape, runtime, kind, n_gpus=n_gpus, engine=engine)
        step = next((step for step in steps if not _divides_worse(plan, step)), None)
        if step is None:
            break
        runtime, flags = step.runtime, (*flags, *step.flags)
        found.append(replace(step, flags=_merged(flags)))
    return found


def _divides_worse(plan: LocalPlan, step: Reduction) -> bool:
    """Whether a step only divides the layers anew, and fills a GPU as far as the plan does."""
    if step.flags[0] != "-ts":
        return False
    return _fills(plan, _estimate_of(plan, step.runtime)) >= _fills(plan, plan.estimate)


def _fills(plan: LocalPlan, estimate: Estimate) -> float:
    """Share of what is free that the fullest GPU is to hold."""
    return max(
        planned.total_bytes / max(1, device.free_bytes)
        for planned, device in zip(estimate.devices, plan.devices, strict=True)
    )


def _merged(flags: Sequence[str]) -> tuple[str, ...]:
    """Pairs of an option and its value, the last value of each."""
    pairs = dict(zip(flags[::2], flags[1::2], strict=True))
    return tuple(part for pair in pairs.items() for part in pair)


def _short_by(estimate: Estimate, devices: Sequence[Device], host: HostMemory) -> str:
    """What is missing, in words; empty when all is there."""
    for device, planned in zip(devices, estimate.devices, strict=False):
        if device.free_bytes and planned.total_bytes > device.free_bytes:
            return (
                f"{planned.name} needs {format_gib(planned.total_bytes)} GiB and has "
                f"{format_gib(device.free_bytes)} GiB free"
            )
    needed = estimate.host.total_bytes
    if host.total_bytes and needed > host.total_bytes:
        return (
            f"it needs {format_gib(needed)} GiB of host memory and there are "
            f"{format_gib(host.total_bytes)} GiB"
        )
    return ""


def _named_files(plan: LocalPlan) -> Files:
    """The files by the names they have now, on this machine or in their repository."""
    return _as_files(plan, lambda part: part.files[0].path)


def _as_files(plan: LocalPlan, place: Callable[[_Part], str]) -> Files:
    by_role: dict[Role, list[str]] = {}
    for part in plan.beside:
        by_role.setdefault(part.role, []).append(place(part))
    return Files(
        model=place(_part(plan.model)),
        mmproj=next(iter(by_role.get(Role.MMPROJ, ())), ""),
        draft=next(iter(by_role.get(Role.DRAFT, ())), ""),
        lora=tuple(by_role.get(Role.LORA, ())),
    )


def _launch(plan: LocalPlan, files: Files) -> Launch:
    request = plan.request
    left = plan.host.available_bytes - plan.estimate.host.total_bytes
    return Launch(
        files=files,
        runtime=plan.runtime,
        alias=plan.alias,
        host=LOOPBACK,
        port=request.port,
        cache_ram_mib=cache_ram_mib(left),
        n_threads=request.n_threads,
        use_gpu=bool(plan.devices),
        # They tell nothing of a prompt, and nothing at all to who has no key.
        slots=request.auth == "key",
        chat_format=request.chat_format,
        extra=request.engine_args,
    )


def _files(files: Sequence[File]) -> tuple[ModelFile, ...]:
    return tuple(ModelFile(f.path, f.size_bytes, f.sha256) for f in files)


def _source_listener(on_event: OnEvent) -> SourceListener:
    def hear(event: SourceEvent) -> None:
        on_event(Event("source", 0.0, f"{event.kind}: {event.text}", {"n_bytes": event.n_bytes}))

    return hear


def start_local(plan: LocalPlan, on_event: OnEvent = _ignore) -> LocalServer:
    """A server that has answered with one token; it runs until `LocalServer.stop`.

    Raises:
        LaunchFailed: it did not come up, also with less memory where that was allowed.
        GgufctlError: as fetching the weights and claiming the name do.
    """
    request = plan.request
    # From here on nobody else can have the port.
    front = Front(LOOPBACK, request.port)
    try:
        plan = replace(plan, request=replace(request, port=front.port))
        # Before anything is fetched: what serves has to be kept note of.
        deployments.require_room()
        files = _fetch(plan, on_event)
        if request.startup_timeout_seconds is None:
            rate = read_rate(Path(files.model))
            seconds = startup_seconds(plan.model.size_bytes, rate)
            plan = replace(plan, deadline_seconds=seconds)
        name = deployments.claim(plan.name, exactly=bool(request.name))
    except BaseException:
        front.close()
        raise
    server = LocalServer(plan, files, name, on_event, front)
    try:
        server.start()
    except (KeyboardInterrupt, SystemExit):
        # Nothing failed: somebody changed their mind.
        server.stop()
        raise
    except BaseException as error:
        server.stop(status="failed", reason=getattr(error, "message", ""))
        raise
    return server


def _fetch(plan: LocalPlan, on_event: OnEvent) -> Files:
    hear = _source_listener(on_event)
    runtime = plan.runtime
    refs = (plan.request.model, runtime.mmproj, runtime.draft_model, *runtime.lora)

    def place(part: _Part) -> str:
        tenths = Tenths()

        def moved(event: TransferEvent) -> None:
            done, total = event.all_done_bytes, event.all_bytes
            if event.state != "present" and tenths.is_new(done, total):
                text = progress_text(done, total, event.bytes_per_second)
                on_event(Event("source", 0.0, f"downloading: {text}", event.as_dict()))

        found = fetch_files(
            part.source,
            part.repo,
            part.commit,
            part.files,
            on_event=hear,
            on_transfer=moved,
            refs=[ref for ref in refs if ref],
        )
        return str(found[0])

    return _as_files(plan, place)


def _held_text(held: Held) -> str:
    text = f"{n_of(held.n_requests, 'request')} waited for it, {held.longest_seconds:.1f} s at most"
    return f"{text}; {n_of(held.n_refused, 'request')} refused" if held.n_refused else text


class LocalServer:
    """One engine on this machine, from its start to its end; made by `start_local`."""

    def __init__(
        self, plan: LocalPlan, files: Files, name: str, on_event: OnEvent, front: Front
    ) -> None:
        self.plan = plan
        self.files = files
        self.name = name
        self.attempts = 0
        self.steps: list[str] = []
        """What was reduced on the way, in words."""
        self.supervisor: Supervisor | None = None
        self._front = front
        self._engine_port = 0
        self._measuring: threading.Thread | None = None
        self._oom_kills: int | None = None
        self.key: Key | None = None
        self.deployment = self._new_deployment()
        self._on_event = on_event

    @property
    def base_url(self) -> str:
        """Where it listens, whichever engine answers there."""
        return f"http://{LOOPBACK}:{self._front.port}"

    @property
    def log(self) -> EngineLog:
        """What the engine said."""
        if self.supervisor is None:
            raise RuntimeError("the server was not started")
        return self.supervisor.log

    @property
    def comparison(self) -> tuple[Comparison, ...]:
        """Planned and actual memory, term by term."""
        return compare(self.plan.estimate, self.log.buffers)

    @property
    def replanned(self) -> tuple[str, ...]:
        """Arguments after `--` that change what was planned: the plan cannot be held to them."""
        return planned_again(self.plan.request.engine_args)

    @property
    def build(self) -> str:
        """The build that really runs: as the engine's log has it, else as it said when asked."""
        return self.plan.found.build or self.log.build

    def start(self) -> None:
        """Run the engine, with less memory where it runs out of it and that is allowed.

        Raises: LaunchFailed; UsageError for a key's file that cannot be.
        """
        request = self.plan.request
        if request.auth == "key":
            if request.api_key_file is not None:
                self.key = open_key(request.api_key_file)
            else:
                with deployments.writing():
                    self.key = make_key(self.deployment.own_key_path)
            if self.key.is_shared:
                self._say("warning", f"{self.key.path} can be read by other users.")
        path = str(self.key.path.absolute()) if self.key else ""
        self._save(key_file=path)
        self._front.start()
        self._run()

    def _run(self) -> None:
        """Start the engine until it runs, each time with less memory than before."""
        self._save(**self._as_planned())
        while True:
            self.attempts += 1
            try:
                self._attempt()
            except EngineFailed as error:
                self._reduce_or_give_up(self._judged(error))
            else:
                break
        held = self._front.open(self._engine_port)
        if held.n_requests:
            self._say("switch", _held_text(held), **asdict(held))
        changes = {"engine_pid": self._engine_pid(), "build": self.build, **self._as_planned()}
        self._save(status="running", **changes)
        if self.plan.request.is_recorded and not self.replanned:
            self._measuring = note_local(self)

    def _judged(self, error: EngineFailed) -> EngineFailed:
        """The same; where all that is known is that it was killed, with what memory says of it."""
        failure = error.failure
        if failure.line or failure.kind is not FailureKind.OOM_HOST:
            return error
        memory, now = host_memory(), oom_kills()
        n_killed = None if now is None or self._oom_kills is None else now - self._oom_kills
        if n_killed:
            text = "The engine was killed (signal 9): the host ran out of memory."
            return EngineFailed(replace(failure, text=text), error.tail, error.exit_code)
        if n_killed is None and memory.available_bytes < 2 * self.plan.estimate.host.total_bytes:
            return error
        text = (
            "The engine was killed (signal 9), and not for memory, it seems: "
            f"{format_gib(memory.available_bytes)} of {format_gib(memory.total_bytes)} GiB are free"
        )
        text += "." if n_killed is None else ", and the system has ended nothing for want of it."
        killed = Failure(FailureKind.CRASH, text, f"The whole log: ggufctl logs {self.name}")
        return EngineFailed(killed, error.tail, error.exit_code)

    def _reduce_or_give_up(self, error: EngineFailed) -> None:
        step = self._next_step(error.failure)
        if step is None:
            raise self._launch_failed(error) from None
        self._reduce(step, error.failure)

    def wait(self, describe: Callable[[LocalServer], Mapping[str, Any]] | None = None) -> None:
        """Stay until something interrupts it; an engine that runs out of memory is started again.

        Args:
            describe: makes the document that who asks for a switch is answered with.

        Raises: LaunchFailed when it ended by itself, and not for memory that could be saved.
        """
        asked: list[Replies] = []

        def is_asked() -> bool:
            if self._front.mend():
                self._say("warning", "What passed requests on had ended; it was started again.")
            found = pending(self.deployment.directory) if describe is not None else None
            asked.extend([found] if found is not None else [])
            return bool(asked)

        while (supervisor := self.supervisor) is not None:
            if supervisor.wait_until(is_asked):
                self._switch(asked.pop(), describe or (lambda server: {}))
                continue
            # Who asks now is answered once it runs again, if it does.
            self._front.hold(self._expected_seconds(supervisor))
            error = self._judged(supervisor.failed())
            supervisor.stop()
            if not error.failure.line:
                # Only an exit code: it may as well have been killed on purpose.
                raise LaunchFailed(error.failure.text, error.failure.hint)
            self._reduce_or_give_up(error)
            self._run()

    def _switch(
        self, replies: Replies, describe: Callable[[LocalServer], Mapping[str, Any]]
    ) -> None:
        """Go on with other settings on the same port, with the same key and name.

        What does not fit is refused while the former engine runs; one that does not come up is
        followed by the former one.

        Raises: LaunchFailed when the former does not come up again either.
        """
        before, hear = self.plan, self._on_event

        def tell(event: Event) -> None:
            hear(event)
            replies.hear(event)

        self._on_event = tell
        try:
            try:
                plan = self._switched(replies.switch, tell)
            except GgufctlError as error:
                replies.refuse(error)
                return
            self._restart(plan)
        except LaunchFailed as error:
            self._go_back(before, error, replies)
        except BaseException:
            replies.refuse(LaunchFailed(f"{self.name} was stopped while it was being switched."))
            raise
        else:
            replies.done(describe(self))
        finally:
            self._on_event = hear

    def _switched(self, switch: Switch, on_event: OnEvent) -> LocalPlan:
        """The plan with other settings, as if the engine that runs were gone.

        Raises: GgufctlError for what makes no sense or does not fit.
        """
        now = self.plan
        credit = {HOST: now.estimate.host.total_bytes}
        for planned, device in zip(now.estimate.devices, now.devices, strict=False):
            credit[device.seen_as or device.name] = planned.total_bytes
        request = replace(
            now.request,
            engine=now.found.engine,
            gpu=now.request.gpu if switch.gpu is None else switch.gpu,
            runtime=now.request.runtime.with_(**switch.runtime),
        )
        if switch.max_context or switch.n_ctx is not None:
            request = replace(request, n_ctx=switch.n_ctx, max_context=switch.max_context)
        plan = plan_local(request, on_event, credit=credit)
        return replace(plan, deadline_seconds=max(plan.deadline_seconds, now.deadline_seconds))

    def _restart(self, plan: LocalPlan) -> None:
        """End the engine and start it as planned; who asks meanwhile is answered by the next."""
        before = self.supervisor
        self._front.hold(self._expected_seconds(before))
        if not self._front.drained(DRAIN_SECONDS):
            self._say("warning", f"Some answers take longer than {DRAIN_SECONDS:.0f} s: cut off.")
        if before is not None:
            before.stop()
        self.plan, self.attempts, self.steps = plan, 0, []
        self._save(status="starting")
        self._run()

    @staticmethod
    def _expected_seconds(supervisor: Supervisor | None) -> float:
        """What the next start takes: about as long as the former.  [s]"""
        seconds = supervisor.ready_seconds if supervisor is not None else 0.0
        return seconds or EXPECTED_SECONDS

    def _go_back(self, before: LocalPlan, error: LaunchFailed, replies: Replies) -> None:
        """Start the engine as it was.

        Raises: LaunchFailed when it does not come up.
        """
        self._say("fallback", f"{error.message} The former settings come back.")
        try:
            self._restart(before)
        except LaunchFailed as again:
            replies.refuse(
                LaunchFailed(f"{error.message} The former settings do not come up either.")
            )
            raise again
        except BaseException:
            replies.refuse(error)
            raise
        replies.refuse(
            LaunchFailed(f"{error.message} {self.name} runs again as before.", error.hint)
        )

    def stop(self, status: str = "stopped", reason: str = "") -> None:
        """End the engine; nothing of it stays but its log and what it was.

        Args:
            status: that is kept of it.
            reason: why it failed, kept as well: nobody may be in front to read it.
        """
        try:
            self._front.leave()
            # An engine that is told to end does not end while it is asked, and answers no more.
            if not self._front.drained(0.0):
                self._say(
                    "stopping",
                    "Answers that are being written are finished first, for "
                    f"{LAST_ANSWERS_SECONDS:.0f} s at most.",
                )
                self._front.drained(LAST_ANSWERS_SECONDS)
        finally:
            self._end_engine(status, reason)
        if self._measuring is not None:
            self._measuring.join(MEASURING_SECONDS)

    def _end_engine(self, status: str, reason: str) -> None:
        try:
            self._front.close()
        finally:
            self._stop_engine(status, reason)

    def _stop_engine(self, status: str, reason: str) -> None:
        try:
            if self.supervisor is not None:
                self.supervisor.stop()
        finally:
            # Also where somebody cannot wait: the engine is gone all the same.
            self._note_end(status, reason)

    def _note_end(self, status: str, reason: str) -> None:
        with contextlib.suppress(OSError):
            # A key of ours serves nobody once its server is gone.
            self.deployment.own_key_path.unlink()
        if deployments.discard(self.deployment):
            return
        if self.deployment.status in ("starting", "running"):
            # A disk that is full by now is no reason to fail at the end.
            with contextlib.suppress(StateUnwritable):
                self._save(status=status, reason=reason)
            if reason:
                with contextlib.suppress(OSError), self.deployment.log_path.open("a") as log:
                    log.write(f"ggufctl: {redact(reason)}\n")

    def _attempt(self) -> None:
        with port_of_our_own(LOOPBACK) as port:
            self._engine_port = port
            self._start_engine(port)

    def _start_engine(self, port: int) -> None:
        plan = self.plan
        launch = replace(_launch(plan, self.files), port=port)
        command = plan.engine.command(plan.found, launch)
        env = plan.found.environment(os.environ)
        key = self.key.value if self.key else ""
        if key:
            env[command.key_variable] = key
        spec = Spec(
            argv=command.argv,
            env=env,
            base_url=f"http://{LOOPBACK}:{port}",
            model=plan.alias,
            deadline_seconds=plan.deadline_seconds,
            key=key,
            ready_path=command.ready_path,
            ready_needs_key=command.ready_needs_key,
            is_embedding=plan.runtime.embeddings,
            expected_layers=plan.estimate.offloaded_layers if plan.devices else 0,
            weights_bytes=plan.model.size_bytes,
            log_path=self.deployment.log_path,
        )
        self._oom_kills = oom_kills()
        self.supervisor = Supervisor(spec, self._hear)
        self.supervisor.start()

    def _hear(self, event: Event) -> None:
        """Pass an event on; where the engine itself listens is nobody else's business."""
        is_address = event.kind == "healthy"
        self._on_event(replace(event, text=self.base_url) if is_address else event)

    def _next_step(self, failure: Failure) -> Reduction | None:
        request = self.plan.request
        if not (failure.kind.is_out_of_memory and request.fallback):
            return None
        if self.attempts >= request.max_attempts:
            return None
        shape, now = self.plan.model.shape, self.plan.memory_bytes
        n_gpus, engine = len(self.plan.devices), self.plan.found.engine
        runtime, kind = self.plan.runtime, failure.kind
        for step in reductions(shape, runtime, kind, n_gpus=n_gpus, engine=engine):
            if _divides_worse(self.plan, step):
                continue
            smaller = _estimate_of(self.plan, step.runtime)
            total = sum(d.total_bytes for d in smaller.devices) + smaller.host.total_bytes
            moves = step.flags[0] in ("-ncmoe", "-ngl", "-ts")
            if moves or total < now:
                return step
        return None

    def _reduce(self, step: Reduction, failure: Failure) -> None:
        plan = self.plan
        estimate = _estimate_of(plan, step.runtime)
        self.plan = replace(plan, runtime=step.runtime, estimate=estimate)
        text = f"{failure.text} Trying {step.text} ({' '.join(step.flags)}), still $0 per hour."
        self.steps.append(f"{step.text} ({' '.join(step.flags)})")
        self._say("fallback", text, flags=list(step.flags), attempt=self.attempts + 1)

    def _launch_failed(self, error: EngineFailed) -> LaunchFailed:
        failure = error.failure
        text = failure.text
        if failure.line:
            text += f" The engine's words: {failure.line[:300]}"
        hint = failure.hint
        if failure.kind.is_out_of_memory:
            others = alternatives(self.plan.model)
            if self.steps:
                text += f" Tried as well: {'; '.join(self.steps)}."
            if others:
                hint = f"Smaller quants of this model: {', '.join(others)}."
        return LaunchFailed(text, hint or f"The whole log: ggufctl logs {self.name}")

    def _engine_pid(self) -> int:
        return self.supervisor.pid if self.supervisor is not None else 0

    def _say(self, kind: str, text: str, **data: object) -> None:
        seconds = self.supervisor.seconds if self.supervisor is not None else 0.0
        self._on_event(Event(kind, round(seconds, 3), text, data))

    def _save(self, **changes: object) -> None:
        self.deployment = deployments.save(
            replace(self.deployment, **changes)  # type: ignore[arg-type]  # our own fields
        )

    def _as_planned(self) -> dict[str, Any]:
        """What the state says of the plan."""
        plan = self.plan
        estimate = plan.estimate
        return {
            "memory_bytes": plan.memory_bytes,
            "planned": {
                **{device.name: device.total_bytes for device in estimate.devices},
                HOST: estimate.host.total_bytes,
            },
            "devices": {device.name: device.description for device in plan.devices},
            "n_ctx": estimate.n_ctx,
            "n_slots": plan.n_slots,
        }

    def _new_deployment(self) -> Deployment:
        plan = self.plan
        return Deployment(
            name=self.name,
            status="starting",
            model=plan.model.ref,
            alias=plan.alias,
            engine=plan.found.engine,
            build=plan.found.build,
            url=f"{self.base_url}/v1",
            auth=plan.request.auth,
            key_file="",
            pid=os.getpid(),
            pid_start=deployments.process_start(os.getpid()),
            started_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        )
