"""What serving on Modal takes and costs, before anything is done."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any

from ggufctl.catalog import load_catalogue, load_prices, with_cards
from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.cold_start import predict_cold_start
from ggufctl.core.deployment import (
    DeploymentSpec,
    WeightFile,
    app_name,
    checked_windows,
    cpu_and_memory,
    engine_image,
    host_usd_per_hour,
    idle_usd,
    secret_name,
    startup_limits,
    weights_folder,
)
from ggufctl.core.economics import Economics, economics_of
from ggufctl.core.escape import quoted
from ggufctl.core.goal import Goal
from ggufctl.core.launch import (
    Files,
    Launch,
    alias_of,
    cache_ram_mib,
    check_engine_settings,
    check_passthrough,
    engine_runtime,
    llama_cpp_python_args,
    llama_server_args,
    planned_again,
    slug,
)
from ggufctl.core.money import MAX_CONTAINER_MIB, Load, Prices
from ggufctl.core.plan import Plan
from ggufctl.core.planner import Allowed, Constraints, GpuPlan
from ggufctl.core.runtime import Runtime
from ggufctl.errors import UsageError
from ggufctl.remote.supervisor import Event, OnEvent
from ggufctl.services.deployments import state_dir
from ggufctl.services.modal.urls import UrlFile, is_url_path, url_file
from ggufctl.services.plan import plan_reference
from ggufctl.sources.references import parse_reference
from ggufctl.sources.resolve import Role, open_model

__all__ = [
    "ModalPlan",
    "ModalRequest",
    "ignore",
    "measured_rate",
    "plan_modal",
    "with_row",
]

DEFAULT_PORT = 8000
DEFAULT_QUEUE_SECONDS = 900.0
"""How long is waited for a GPU before the attempt is given up."""

RATE_FILE = "volume.rate"
"""Of the state: how fast a Volume was read last."""

FASTEST_VOLUME = 1_000_000_000.0
"""Reading a Volume is never planned faster than this.  [bytes/s]"""

MAX_START_SECONDS = 86_000
"""Modal lets nothing take longer than a day."""

OWN_NAMES = frozenset({"download", "look", "verify"})
"""Of apps that work for a while and end."""

_PYTHON_ENV = (("GGML_CUDA_ENABLE", "1"), ("GGML_CUDA_F16", "1"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalRequest:
    """What is to be served on Modal.

    Attributes:
        model: reference, as plans take it.
        runtime: settings, but for the context.
        n_ctx: context, 0 for the model's own, None for the default.  [tokens]
        quant: label to take from a repository; empty or `auto` lets the plan pick.
        gpus: names to choose from; none = all; `none` alone = CPU.
        max_usd_per_hour: budget, of every fallback as well.
        name: of the deployment; empty for the model's.
        auth: `key`, `proxy` or `none`.
        allow_public: the second flag that `none` needs.
        api_key_file: where the key is, or is to be put; None for the state directory.
        engine: `llama-server` or `llama-cpp-python`.
        engine_args: further arguments of the engine's.
        chat_format: of llama-cpp-python.
        max_containers: at once.
        scaledown: seconds without requests before a container ends.
        hold_requests: a web function that holds requests while it starts.
        snapshot: GPU memory snapshots, experimental.
        region: where containers may run; empty = anywhere.
        max_attempts: most starts of a server.
        fallback: whether less memory or another GPU is tried.
        startup_timeout_seconds: instead of the computed limit.
        queue_seconds: longest wait for a GPU.
        port: in the container.
        volume: name of the Volume.
        mount_path: where it is mounted.
        load: what will be asked of it, for the estimate of a month's bill.
        goal: what GPU, quant and settings are searched for, and limits of speed.
    """

    model: str
    runtime: Runtime = field(default_factory=Runtime)
    n_ctx: int | None = None
    quant: str = ""
    gpus: tuple[str, ...] = ()
    max_usd_per_hour: float | None = None
    name: str = ""
    auth: str = "key"
    allow_public: bool = False
    api_key_file: Path | None = None
    engine: str = "llama-server"
    engine_args: tuple[str, ...] = ()
    chat_format: str = ""
    max_containers: int = 1
    scaledown: int = 300
    hold_requests: bool = False
    snapshot: bool = False
    region: str = ""
    max_attempts: int = 3
    fallback: bool = True
    startup_timeout_seconds: float | None = None
    queue_seconds: float = DEFAULT_QUEUE_SECONDS
    port: int = DEFAULT_PORT
    volume: str = "ggufctl-models"
    mount_path: str = "/models"
    load: Load | None = None
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class ModalPlan:
    """Everything that would happen, before any of it does."""

    request: ModalRequest
    plan: Plan
    runtime: Runtime
    row: GpuPlan
    spec: DeploymentSpec
    local_paths: tuple[tuple[str, Path], ...]
    """Files of this machine that the Volume needs, by their names there."""
    warnings: tuple[str, ...]
    economics: Economics | None = None
    """Estimates of its speed, start and cost."""
    urls: tuple[UrlFile, ...] = field(default=(), repr=False)
    """Files that the Volume gets from plain URLs."""

    @property
    def prices(self) -> Prices:
        """Of cores and memory: those that the GPUs were planned with."""
        return self.plan.prices or load_prices()

    @property
    def usd_per_hour(self) -> float:
        """While a container runs: GPU, cores and memory."""
        return self.spec.usd_per_hour + host_usd_per_hour(self.spec, self.prices)

    @property
    def other_usd_per_hour(self) -> tuple[tuple[str, float], ...]:
        """What may come in place of the first GPU, and its price with cores and memory."""
        prices = {
            row.gpu.modal_gpu(row.count): row.usd_per_hour
            for row in self.plan.gpus
            if row.gpu.modal_names
        }
        host = host_usd_per_hour(self.spec, self.prices)
        return tuple((n, prices[n] + host) for n in self.spec.gpus[1:] if n in prices)

    @property
    def summary(self) -> str:
        """What will run, in one line."""
        spec = self.spec
        return (
            f"{spec.alias} ({spec.size_bytes / 1e9:.2f} GB) on {' or '.join(spec.gpus) or 'CPU'}: "
            f"{spec.n_ctx} tokens in {spec.slots} slots, {spec.planned_bytes / 2**30:.2f} GiB "
            f"planned on the GPU, {spec.engine} {LLAMA_CPP_BUILD}"
        )

    @property
    def price_text(self) -> str:
        """What it costs, in one line."""
        spec = self.spec
        where = spec.gpus[0] if spec.gpus else "CPU"
        others = [f"${usd:.2f} on {name}" for name, usd in self.other_usd_per_hour]
        if others:
            where += f" ({' or '.join(others)} where that is not free)"
        if spec.region:
            where += f" in {spec.region}, which Modal may charge {_region_text()} for"
        several = f", each of at most {spec.max_containers}" if spec.max_containers > 1 else ""
        idle = idle_usd(spec, self.prices)
        return (
            f"about ${self.usd_per_hour:.2f} per hour while it runs on {where}{several}; after the "
            f"last request it stays up {spec.scaledown_window} s (${idle:.2f}); "
            "$0 while nobody asks it"
        )


def _region_text() -> str:
    factor = load_prices().region_factor
    return f"{factor.low:g} to {factor.high:g} times that"


def ignore(event: Event) -> None:
    """Hear nothing."""


def plan_modal(request: ModalRequest, on_event: OnEvent = ignore) -> ModalPlan:
    """What serving a model on Modal takes and costs. Nothing is deployed, nothing is spent.

    Raises:
        UsageError: settings that make no sense, or that the engine lacks.
        DoesNotFit: no allowed GPU holds it.
        GgufctlError: as reading the model does.
    """
    _check(request)
    extra = check_passthrough(request.engine_args)
    runtime, goal = request.runtime, request.goal
    if runtime.load_mode == "auto":
        # Mapping a file over the network is several times slower than reading it.
        runtime = runtime.with_(load_mode="none")
    if request.engine == "llama-cpp-python":
        check_engine_settings(request.engine, runtime)
        runtime = engine_runtime(request.engine, runtime)
        if goal is not None:
            goal = replace(goal, fixed=(*goal.fixed, "n_parallel", "n_cpu_moe"))
    constraints = Constraints(
        gpus=request.gpus,
        max_usd_per_hour=request.max_usd_per_hour,
        goal=goal,
        load=request.load,
    )

    def hear(event: Any) -> None:
        on_event(Event("source", 0.0, f"{event.kind}: {event.text}", {"n_bytes": event.n_bytes}))

    _check_rented(constraints)
    found = plan_reference(
        request.model,
        runtime,
        constraints,
        n_ctx=request.n_ctx,
        quant=request.quant,
        on_event=hear,
    )
    choice = found.require_choice()
    said = list(found.warnings)
    again = planned_again(extra)
    if again:
        said.append(f"The plan does not know of {', '.join(again)} after --.")
    if request.snapshot:
        said.append("GPU memory snapshots are experimental: a restore may fail.")
    planned = with_row(request, found, found.runtime, choice.row, choice.modal_gpu, tuple(said))
    few = _too_few_containers(request, planned.economics)
    return replace(planned, warnings=(*planned.warnings, *few))


def _check_rented(constraints: Constraints) -> None:
    """Refuse GPUs that Modal does not have, cards of one's own among them."""
    catalogue = load_catalogue()
    known = with_cards(catalogue, constraints.gpus)
    Allowed.by(constraints, known)
    for text in constraints.gpus:
        gpu = known.find(text.partition(":")[0])
        if gpu.is_own:
            raise UsageError(
                f"Modal rents no {gpu.name}.",
                "Serve on this machine with --on local, or take a GPU of `ggufctl gpus`.",
            )


def _check(request: ModalRequest) -> None:
    if request.auth not in ("key", "proxy", "none"):
        raise UsageError(f"There is no --auth {request.auth}.", "Use key, proxy or none.")
    if request.auth == "none" and not request.allow_public:
        raise UsageError(
            "--auth none on Modal lets anybody on the internet use the GPU you pay for.",
            "Use --auth key.",
        )
    if request.engine not in ("llama-server", "llama-cpp-python"):
        raise UsageError(
            f"The engine {request.engine!r} does not run on Modal.",
            "Use llama-server or llama-cpp-python.",
        )
    if request.max_attempts < 1:
        raise UsageError("--max-attempts must be at least 1.")
    limit, queue = request.startup_timeout_seconds, request.queue_seconds
    if limit is not None and not 1 <= limit <= MAX_START_SECONDS:
        raise UsageError(f"--startup-timeout is from 1 to {MAX_START_SECONDS} seconds.")
    if not 1 <= queue <= MAX_START_SECONDS:
        raise UsageError(f"--queue-timeout is from 1 to {MAX_START_SECONDS} seconds.")
    if slug(request.name) in OWN_NAMES:
        raise UsageError(
            f"{quoted(request.name)} is the name of an app that ggufctl itself makes.",
            "Give it another --name.",
        )
    if not 1 <= request.port <= 65535:
        raise UsageError(f"{request.port} is no port.")
    checked_windows(request.scaledown, request.max_containers)


def with_row(
    request: ModalRequest,
    found: Plan,
    runtime: Runtime,
    row: GpuPlan,
    gpus: Sequence[str],
    warnings: tuple[str, ...],
) -> ModalPlan:
    """The plan of one row of GPUs, with its app as plain data."""
    model, estimate = found.model, row.estimate
    if estimate is None:
        raise UsageError(f"{row.gpu.name} cannot be planned with.")
    weights, roles, paths, urls = _weights(request, found, runtime)
    folder = weights_folder(model.repo, model.commit, weights)
    place = {role: [f"{request.mount_path}/{folder}/{p}" for p in ps] for role, ps in roles.items()}
    cpu, memory_mib = cpu_and_memory(model.size_bytes, estimate.host.total_bytes, row.count)
    memory_mib = min(memory_mib, MAX_CONTAINER_MIB)
    spare = (memory_mib << 20) - estimate.host.total_bytes - (2 << 30)
    alias = alias_of(model.files[0].path)
    launch = Launch(
        files=Files(
            model=place[Role.MODEL][0],
            mmproj=next(iter(place.get(Role.MMPROJ, ())), ""),
            draft=next(iter(place.get(Role.DRAFT, ())), ""),
            lora=tuple(place.get(Role.LORA, ())),
        ),
        runtime=runtime,
        alias=alias,
        host="0.0.0.0",
        port=request.port,
        cache_ram_mib=cache_ram_mib(spare),
        chat_format=request.chat_format,
        extra=request.engine_args,
    )
    is_python = request.engine == "llama-cpp-python"
    n_bytes = sum(file.size_bytes for file in weights)
    start = None
    if row.gpu.speed is not None:
        start = predict_cold_start(n_bytes, row.gpu, row.count, snapshot=request.snapshot)
    startup, deadline = startup_limits(n_bytes, measured_rate(), start)
    if request.startup_timeout_seconds is not None:
        deadline = max(1, int(request.startup_timeout_seconds))
        startup = deadline + 60
    catalogue = load_catalogue()
    cards = [catalogue.find(name.partition(":")[0]) for name in gpus]
    name = slug(request.name or alias)[:50].strip("-.")
    app_name(name)
    spec = DeploymentSpec(
        name=name,
        model=model.ref,
        files=weights,
        argv=llama_cpp_python_args(launch) if is_python else llama_server_args(launch),
        alias=alias,
        gpus=tuple(gpus),
        quant=model.quant or "",
        repo=model.repo,
        commit=model.commit,
        engine=request.engine,
        image=engine_image(cards),
        env=_python_env(row.count) if is_python else (),
        port=request.port,
        slots=1 if is_python else runtime.n_seq_max,
        n_ctx=runtime.n_ctx,
        startup_timeout=startup,
        deadline=deadline,
        scaledown_window=request.scaledown,
        max_containers=request.max_containers,
        cpu=cpu,
        memory_mib=memory_mib,
        volume=request.volume,
        mount_path=request.mount_path,
        secret=secret_name(name) if request.auth == "key" else "",
        auth=request.auth,
        hold_requests=request.hold_requests,
        snapshot=request.snapshot,
        expected_layers=estimate.offloaded_layers,
        is_embedding=runtime.embeddings,
        region=request.region,
        usd_per_hour=row.usd_per_hour,
        planned_bytes=sum(device.total_bytes for device in estimate.devices),
    )
    economics = None
    if found.prices is not None:
        economics = economics_of(
            model,
            row,
            runtime,
            found.prices,
            load=request.load,
            scaledown_seconds=request.scaledown,
            has_region=bool(request.region),
        )
    return ModalPlan(request, found, runtime, row, spec, paths, warnings, economics, urls)


def _too_few_containers(request: ModalRequest, economics: Economics | None) -> tuple[str, ...]:
    """What is to be said of a load that keeps more containers busy than there may be."""
    cost = economics.cost if economics is not None else None
    month = cost.month if cost is not None else None
    if month is None or month.containers.best <= request.max_containers:
        return ()
    busy = month.containers.best
    return (
        f"That load keeps about {busy:.1f} containers busy at once: requests wait longer and "
        f"longer without --max-containers {ceil(busy)}.",
    )


def _python_env(n_gpus: int) -> tuple[tuple[str, str], ...]:
    devices = ",".join(map(str, range(max(1, n_gpus))))
    return (("CUDA_VISIBLE_DEVICES", devices), *_PYTHON_ENV)


def _weights(
    request: ModalRequest, found: Plan, runtime: Runtime
) -> tuple[
    tuple[WeightFile, ...],
    dict[Role, list[str]],
    tuple[tuple[str, Path], ...],
    tuple[UrlFile, ...],
]:
    """Everything to load, each role's first file, and where what is not the Hub's comes from."""
    model = found.model
    sets = [(Role.MODEL, model.repo, model.commit, model.files)]
    beside = [
        *([(Role.MMPROJ, runtime.mmproj)] if runtime.mmproj else []),
        *([(Role.DRAFT, runtime.draft_model)] if runtime.draft_model else []),
        *((Role.LORA, ref) for ref in runtime.lora),
    ]
    for role, ref in beside:
        opened = open_model(ref, role=role)
        if (opened.repo, opened.commit) != (model.repo, model.commit):
            raise UsageError(
                f"{quoted(ref)} is not from the same place as the model.",
                "On Modal, everything that is loaded comes from one repository, or from this "
                "machine.",
            )
        files = tuple(opened.files)
        sets.append((role, opened.repo, opened.commit, files))  # type: ignore[arg-type]  # alike
    weights: list[WeightFile] = []
    roles: dict[Role, list[str]] = {}
    paths: list[tuple[str, Path]] = []
    urls: list[UrlFile] = []
    refs = [parse_reference(each) for each in (request.model, *(ref for _, ref in beside))]
    for role, repo, _, group in sets:
        for index, file in enumerate(group):
            is_url = not repo and is_url_path(file.path)
            name = file.path if repo else Path(file.path).name
            changed = 0
            if is_url:
                source = url_file(file.path, file.size_bytes, refs)
                name, changed = source.name, source.mark
                urls.append(source)
            elif not repo:
                path = Path(os.path.expanduser(file.path)).absolute()
                paths.append((name, path))
                changed = path.stat().st_mtime_ns
            weights.append(WeightFile(name, file.size_bytes, file.sha256 or "", changed))
            if index == 0:
                roles.setdefault(role, []).append(name)
    return tuple(weights), roles, tuple(paths), tuple(urls)


def measured_rate() -> float:
    """How fast a Volume was read at the last start of a large model; 0 = never seen.  [bytes/s]"""
    try:
        rate = json.loads((state_dir() / "modal" / RATE_FILE).read_text())["bytes_per_second"]
        return min(float(rate), FASTEST_VOLUME)
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
