"""Serving on Modal: plan, price, weights, app, the start as it happens, and what to do about it.

A server that fails is started again, and paid for, whenever somebody asks its address. So an
attempt asks once to wake it, then watches its log and its containers; the first line that says
that it does not come up ends the attempt, and the app is stopped before anything else is tried.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ggufctl import modal_app
from ggufctl.catalog import load_catalogue
from ggufctl.core._pins import LLAMA_CPP_BUILD
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
from ggufctl.core.engine_log import (
    Buffer,
    Comparison,
    EngineLog,
    Failure,
    FailureKind,
    compare,
    hide_keys,
)
from ggufctl.core.escape import escape, quoted
from ggufctl.core.launch import (
    Files,
    Launch,
    alias_of,
    cache_ram_mib,
    check_engine_settings,
    check_passthrough,
    llama_cpp_python_args,
    llama_server_args,
    planned_again,
    slug,
)
from ggufctl.core.plan import Plan
from ggufctl.core.planner import Constraints, GpuPlan
from ggufctl.core.reduce import reductions
from ggufctl.core.runtime import Runtime
from ggufctl.errors import AccessDenied, GgufctlError, LaunchFailed, RemoteError, UsageError
from ggufctl.modal_app import LogLine, LogReader, ModalDeployment
from ggufctl.remote.container import EVENT_PREFIX
from ggufctl.remote.supervisor import Event, OnEvent
from ggufctl.services.deployments import DeploymentNotFound, state_dir
from ggufctl.services.emit import emit
from ggufctl.services.keys import Key, open_key
from ggufctl.services.plan import plan_reference
from ggufctl.services.serve import alternatives
from ggufctl.sources.hub import hub_token
from ggufctl.sources.references import hub_endpoint
from ggufctl.sources.resolve import Role, open_model

__all__ = [
    "ModalPlan",
    "ModalRequest",
    "ModalServer",
    "emit",
    "find_modal",
    "key_file",
    "modal_deployments",
    "modal_log",
    "plan_modal",
    "serve_modal",
    "start_modal",
    "stop_modal",
    "switch_modal",
]


DEFAULT_PORT = 8000
DEFAULT_QUEUE_SECONDS = 900.0
"""How long is waited for a GPU before the attempt is given up."""

WAKE_AGAIN_SECONDS = 20.0
"""Without any sign of a container after this long, the server is asked once more."""

GONE_SECONDS = 45.0
"""A container that says nothing and is not counted for so long has ended."""

SILENCE_SECONDS = 5.0
"""After this long without a line, Modal is asked whether the container still is there."""

LARGE_BYTES = 1_000_000_000
"""Loading at least so much takes long enough to be a measurement."""

FASTEST_VOLUME = 1_000_000_000.0
"""Reading a Volume is never planned faster than this.  [bytes/s]"""

_RATE_FILE = "volume.rate"

MAX_MEMORY_MIB = 344_064
"""Most host memory that a container of Modal's may have."""

HTTP_TIMEOUT_SECONDS = 10.0
OUTSIDE_SECONDS = 60.0
"""How long a server that has answered inside may take to be reached from outside."""

PROXY_HEADERS = (("MODAL_KEY", "Modal-Key"), ("MODAL_SECRET", "Modal-Secret"))
"""Environment variables that hold a proxy token, and the headers they are sent in."""

_CONTAINER_ENDED = (
    (
        re.compile(r"initializing for too long: (\d+)"),
        FailureKind.TIMEOUT,
        "Modal ended the container: it was not ready after {0} seconds.",
        "Allow it longer with --startup-timeout.",
    ),
    (
        re.compile(r"SIGSEGV|exit code:? 139"),
        FailureKind.CRASH,
        "The engine crashed with a segmentation fault.",
        "",
    ),
    (
        re.compile(r"exit code:? 137|Runner terminated|out of memory|OOM"),
        FailureKind.OOM_HOST,
        "Modal killed the container, most likely because host memory ran out.",
        "Use a smaller -c or quant.",
    ),
    (
        re.compile(r"Runner failed with exception: (.+)"),
        FailureKind.OTHER,
        "The container failed: {0}",
        "",
    ),
    (
        re.compile(r"(?:Runner failed with|exited with|status:?) (?:exit )?code:? (\d+)"),
        FailureKind.CRASH,
        "The container ended with exit code {0}.",
        "",
    ),
    (
        re.compile(r"(DeserializationError.*)"),
        FailureKind.OTHER,
        "The container cannot read what was deployed: {0}",
        "Use the same minor version of Python as when it was deployed.",
    ),
)
_QUEUED = re.compile(r"waiting to be scheduled on an? (?:GPU_)?(\S+)")

_PYTHON_ENV = (("CUDA_VISIBLE_DEVICES", "0"), ("GGML_CUDA_ENABLE", "1"), ("GGML_CUDA_F16", "1"))


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

    @property
    def usd_per_hour(self) -> float:
        """While a container runs: GPU, cores and memory."""
        return self.spec.usd_per_hour + host_usd_per_hour(self.spec)

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
        several = f", each of at most {spec.max_containers}" if spec.max_containers > 1 else ""
        return (
            f"about ${self.usd_per_hour:.2f} per hour while it runs on {where}{several}; after the "
            f"last request it stays up {spec.scaledown_window} s (${idle_usd(spec):.2f}); "
            "$0 while nobody asks it"
        )


def _ignore(event: Event) -> None:
    """Hear nothing."""


def plan_modal(request: ModalRequest, on_event: OnEvent = _ignore) -> ModalPlan:
    """What serving a model on Modal takes and costs. Nothing is deployed, nothing is spent.

    Raises:
        UsageError: settings that make no sense, or that the engine lacks.
        DoesNotFit: no allowed GPU holds it.
        GgufctlError: as reading the model does.
    """
    _check(request)
    extra = check_passthrough(request.engine_args)
    runtime = request.runtime
    if runtime.load_mode == "auto":
        # Mapping a file over the network is several times slower than reading it.
        runtime = runtime.with_(load_mode="none")
    if request.engine == "llama-cpp-python":
        check_engine_settings(request.engine, runtime)
        runtime = runtime.with_(n_parallel=1, n_outputs=0)
    constraints = Constraints(gpus=request.gpus, max_usd_per_hour=request.max_usd_per_hour)

    def hear(event: Any) -> None:
        on_event(Event("source", 0.0, f"{event.kind}: {event.text}", {"n_bytes": event.n_bytes}))

    found = plan_reference(
        request.model,
        runtime,
        constraints,
        n_ctx=request.n_ctx,
        quant=request.quant,
        on_event=hear,
    )
    choice = found.require_choice()
    if found.model.source == "url":
        raise UsageError(
            "A model behind a plain URL cannot be served yet.",
            "Download the file and serve its path.",
        )
    said = list(found.warnings)
    again = planned_again(extra)
    if again:
        said.append(f"The plan does not know of {', '.join(again)} after --.")
    if request.snapshot:
        said.append("GPU memory snapshots are experimental: a restore may fail.")
    return _with_row(request, found, found.runtime, choice.row, choice.modal_gpu, tuple(said))


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
    if not 1 <= request.port <= 65535:
        raise UsageError(f"{request.port} is no port.")
    checked_windows(request.scaledown, request.max_containers)


def _with_row(
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
    weights, roles, paths = _weights(found, runtime)
    folder = weights_folder(model.repo, model.commit, weights)
    place = {role: [f"{request.mount_path}/{folder}/{p}" for p in ps] for role, ps in roles.items()}
    cpu, memory_mib = cpu_and_memory(model.size_bytes, estimate.host.total_bytes, row.count)
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
    startup, deadline = startup_limits(sum(file.size_bytes for file in weights), _measured_rate())
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
        env=_PYTHON_ENV if is_python else (),
        port=request.port,
        slots=runtime.n_seq_max,
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
        expected_layers=0 if is_python else estimate.offloaded_layers,
        is_embedding=runtime.embeddings,
        region=request.region,
        usd_per_hour=row.usd_per_hour,
        planned_bytes=sum(device.total_bytes for device in estimate.devices),
    )
    return ModalPlan(request, found, runtime, row, spec, paths, warnings)


def _weights(
    found: Plan, runtime: Runtime
) -> tuple[tuple[WeightFile, ...], dict[Role, list[str]], tuple[tuple[str, Path], ...]]:
    """Everything to load, each role's first file, and where files of this machine lie."""
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
    for role, repo, _, group in sets:
        for index, file in enumerate(group):
            name = file.path if repo else Path(file.path).name
            weights.append(WeightFile(name, file.size_bytes, file.sha256 or ""))
            if not repo:
                paths.append((name, Path(os.path.expanduser(file.path)).absolute()))
            if index == 0:
                roles.setdefault(role, []).append(name)
    return tuple(weights), roles, tuple(paths)


# Starting


def start_modal(
    plan: ModalPlan,
    on_event: OnEvent = _ignore,
    *,
    leave: Callable[[], bool] = lambda: False,
    show_output: bool = False,
) -> ModalServer:
    """A server on Modal that has answered, also from outside.

    Args:
        plan: from `plan_modal`.
        on_event: hears of everything.
        leave: asked on Ctrl-C during the start: whether to leave what was started.
        show_output: Modal's own progress on stderr.

    Raises:
        AccessDenied: no token, or a wrong one; nothing was done.
        LaunchFailed: it did not come up, also with what may be tried instead; nothing runs.
        GgufctlError: what Modal or the Hub say; nothing runs.
    """
    server = ModalServer(plan, on_event, show_output)
    try:
        server.start()
    except KeyboardInterrupt:
        if not leave():
            server.clean_up()
        raise
    except BaseException:
        server.clean_up()
        raise
    return server


def serve_modal(
    request: ModalRequest,
    on_event: OnEvent = _ignore,
    *,
    leave: Callable[[], bool] = lambda: False,
    show_output: bool = False,
) -> ModalServer:
    """Plan and start in one; without a token it fails before the model is looked at.

    Raises: as `plan_modal` and `start_modal`.
    """
    modal_app.check_token()
    plan = plan_modal(request, on_event)
    return start_modal(plan, on_event, leave=leave, show_output=show_output)


class _AttemptFailed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class ModalServer:
    """One deployment on Modal, from its first attempt on; made by `start_modal`."""

    def __init__(self, plan: ModalPlan, on_event: OnEvent, show_output: bool) -> None:
        self.plan = plan
        self.attempts = 0
        self.steps: list[str] = []
        """What was tried instead, in words."""
        self.key: Key | None = None
        self.url = ""
        self.found: dict[str, Any] = {}
        """What the container said of itself once it was ready."""
        self.durations: dict[str, float] = {}
        """Phase → seconds it took."""
        self.gpu: dict[str, str] = {}
        """Name, driver and memory of the first GPU as found."""
        self._on_event = on_event
        self._show_output = show_output
        self._started = time.monotonic()
        self._is_deployed = False

    @property
    def spec(self) -> DeploymentSpec:
        """As it was last deployed."""
        return self.plan.spec

    @property
    def base_url(self) -> str:
        """For clients of OpenAI's API."""
        return f"{self.url}/v1"

    @property
    def comparison(self) -> tuple[Comparison, ...]:
        """Planned and actual memory, term by term; empty when the engine did not tell."""
        estimate = self.plan.row.estimate
        buffers = [Buffer(str(d), str(t), int(n)) for d, t, n in self.found.get("buffers", ())]
        return compare(estimate, buffers) if estimate is not None and buffers else ()

    def start(self) -> None:
        """Deploy and watch, with less memory or other GPUs where it runs out and may."""
        spec = self.spec
        headers_of(spec, "")
        modal_app.check_token()
        if modal_app.is_deployed(spec.app):
            raise UsageError(
                f"{quoted(spec.name)} is deployed on Modal already.",
                f"Run ggufctl stop {spec.name} first, or give this one another --name.",
            )
        self._say("price", self.plan.price_text, usd_per_hour=round(self.plan.usd_per_hour, 4))
        self._say("plan", self.plan.summary, n_ctx=spec.n_ctx, n_parallel=spec.slots)
        for text in self.plan.warnings:
            self._say("warning", text)
        self._bring_weights()
        if spec.auth == "key":
            self._make_key()
        while True:
            self.attempts += 1
            try:
                self._attempt()
            except _AttemptFailed as error:
                self._stop_app()
                step = self._next_plan(error.failure)
                if step is None:
                    raise self._launch_failed(error.failure) from None
                self.plan = step
            else:
                break
        _save(self.plan, self.url, self.key)
        _remember_rate(spec.size_bytes, self.durations.get("weights", 0.0))

    def clean_up(self) -> None:
        """Leave nothing running, and no key that opens nothing; say so where that fails."""
        try:
            self._stop_app()
        except GgufctlError as error:
            self._say("warning", f"{error.message} {error.hint}")
        if self.key is not None:
            with contextlib.suppress(GgufctlError):
                modal_app.delete_secret(self.spec.name)
            if self.plan.request.api_key_file is None:
                with contextlib.suppress(OSError):
                    self.key.path.unlink()

    def _say(self, kind: str, text: str, **data: Any) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        self._on_event(Event(kind, seconds, text, data))

    def _bring_weights(self) -> None:
        spec = self.spec
        began = time.monotonic()
        missing = modal_app.missing_files(spec)
        if missing:
            gigabytes = sum(f.size_bytes for f in spec.files if f.path in missing) / 1e9
            self._say("weights", f"{len(missing)} files ({gigabytes:.2f} GB) go to the Volume")
            if spec.repo:
                self._download()
            else:
                modal_app.upload(spec, dict(self.plan.local_paths))
            missing = modal_app.missing_files(spec)
        if missing:
            raise RemoteError(
                f"{quoted(missing[0])} is not whole on the Volume after it was put there.",
                "Try again: what is there is not fetched twice.",
            )
        self._say("weights", f"complete on the Volume {spec.volume}")
        self.durations["weights on the volume"] = time.monotonic() - began

    def _download(self) -> None:
        def hear(progress: Mapping[str, Any]) -> None:
            text = f"{escape(str(progress['file']), 200)}: {progress['state']}"
            self._say("download", text, n_bytes=progress["bytes"])

        spec = self.spec
        endpoint = hub_endpoint()
        address = f"{endpoint}/{spec.repo}/resolve/{spec.commit}/{quote(spec.files[0].path)}"
        status, _ = _request(address, {"Range": "bytes=0-0"})
        modal_app.download(
            spec,
            endpoint=endpoint,
            # It leaves this machine only for a repository that asks for it.
            token=hub_token() if status in (401, 403, 404) else "",
            on_progress=hear,
            show_output=self._show_output,
        )

    def _make_key(self) -> None:
        path = self.plan.request.api_key_file
        if path is None:
            folder = _state_folder()
            path = folder / f"{self.spec.name}.key"
        self.key = open_key(path)
        if self.key.is_shared:
            self._say("warning", f"{self.key.path} can be read by other users.")
        modal_app.store_key(self.spec.name, self.key.value)

    def _attempt(self) -> None:
        attempt = secrets.token_hex(6)
        spec = self.spec
        gpus = ", ".join(spec.gpus) or "CPU"
        self._say("deploy", f"{spec.app} on {gpus}", attempt=self.attempts)
        began = time.monotonic()
        self._is_deployed = True
        self.url = modal_app.deploy(spec, attempt, show_output=self._show_output)
        self.durations["deployment"] = time.monotonic() - began
        self._say("deployed", self.url)
        reader = LogReader(spec.app)
        try:
            watch = _Watch(self, reader, attempt)
            watch.run()
            self._check_outside(watch)
        finally:
            reader.close()

    def _check_outside(self, watch: _Watch) -> None:
        """The server answers at its address, with the key and not without."""
        spec = self.spec
        key = self.key.value if self.key else ""
        headers = headers_of(spec, key)
        end = time.monotonic() + OUTSIDE_SECONDS
        status = 0
        while status != 200 and time.monotonic() < end:
            status, _ = _request(f"{self.url}/v1/models", headers)
            if status != 200:
                # Asking a server that has just died would start it again: its log is heard first.
                watch.listen(1.0)
        if status != 200:
            raise _AttemptFailed(
                Failure(
                    FailureKind.OTHER,
                    f"The server answers inside its container but not at {self.url} "
                    f"(status {status}).",
                )
            )
        if spec.auth != "none":
            status, _ = _request(f"{self.url}/v1/models", {})
            if status == 200:
                raise _AttemptFailed(
                    Failure(FailureKind.OTHER, "The server answers without its key: it is stopped.")
                )
        if not spec.is_embedding:
            body = {"model": spec.alias, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
            status, text = _request(f"{self.url}/v1/completions", headers, body, 60.0)
            if status != 200:
                raise _AttemptFailed(
                    Failure(FailureKind.OTHER, f"The server did not answer a question: {status}.")
                )
            token = str(json.loads(text)["choices"][0].get("text", ""))
            self._say("answer", token, url=self.url)

    def _stop_app(self) -> None:
        if not self._is_deployed:
            return
        for pause in (0.5, 2.0, 5.0):
            try:
                modal_app.stop_app(self.spec.app)
            except (RemoteError, AccessDenied):
                time.sleep(pause)
            else:
                self._is_deployed = False
                self._say("stopped", f"{self.spec.app} is stopped")
                return
        raise RemoteError(
            f"The app {self.spec.app} could not be stopped and may cost money.",
            f"Run modal app stop {self.spec.app}.",
        )

    def _next_plan(self, failure: Failure) -> ModalPlan | None:
        """What to try next after memory ran out: less of it for the same price, or a larger GPU."""
        request = self.plan.request
        if not (failure.kind.is_out_of_memory and request.fallback):
            return None
        if self.attempts >= request.max_attempts:
            return None
        if failure.kind is FailureKind.OOM_HOST:
            return self._more_host_memory(failure)
        gentle = (FailureKind.OOM_KV, FailureKind.OOM_COMPUTE, FailureKind.OOM_RUNTIME)
        step = self._reduced(failure, ("-ctk", "-ub")) if failure.kind in gentle else None
        return step or self._larger(failure) or self._reduced(failure, ())

    def _reduced(self, failure: Failure, flags: tuple[str, ...]) -> ModalPlan | None:
        now = self.plan
        shape = now.plan.model.shape
        for change in reductions(shape, now.runtime, failure.kind, on_gpu=bool(now.spec.gpus)):
            if flags and change.flags[0] not in flags:
                continue
            runtime = change.runtime
            row = _replanned(now, runtime)
            if row is None:
                continue
            text = f"{change.text} ({' '.join(change.flags)})"
            plan = _with_row(now.request, now.plan, runtime, row, now.spec.gpus, now.warnings)
            self._announce(failure, text, plan.usd_per_hour)
            return plan
        return None

    def _larger(self, failure: Failure) -> ModalPlan | None:
        now = self.plan
        size = _total_bytes(now.row)
        limit = now.request.max_usd_per_hour
        rows = [
            row
            for row in now.plan.gpus
            if row.fits
            and row.estimate is not None
            and row.gpu.modal_names
            and _total_bytes(row) > size
            and (limit is None or row.usd_per_hour <= limit)
        ]
        rows.sort(key=lambda row: (row.usd_per_hour, row.count))
        if not rows:
            return None
        row = rows[0]
        names = [row.gpu.modal_gpu(row.count)]
        for other in rows[1:]:
            name = other.gpu.modal_gpu(other.count)
            if other.count == row.count and name not in names and len(names) < 3:
                names.append(name)
        plan = _with_row(now.request, now.plan, now.runtime, row, names, now.warnings)
        self._announce(failure, names[0], plan.usd_per_hour)
        return plan

    def _more_host_memory(self, failure: Failure) -> ModalPlan | None:
        memory_mib = 2 * self.spec.memory_mib
        if memory_mib > MAX_MEMORY_MIB:
            return None
        plan = replace(self.plan, spec=self.spec.with_(memory_mib=memory_mib))
        self._announce(failure, f"{memory_mib // 1024} GiB of host memory", plan.usd_per_hour)
        return plan

    def _announce(self, failure: Failure, text: str, usd_per_hour: float) -> None:
        self.steps.append(text)
        self._say(
            "fallback",
            f"{failure.text} Trying {text}, about ${usd_per_hour:.2f} per hour.",
            attempt=self.attempts + 1,
            usd_per_hour=round(usd_per_hour, 4),
        )

    def _launch_failed(self, failure: Failure) -> LaunchFailed:
        text = failure.text
        if failure.line:
            text += f" The engine's words: {escape(failure.line, 300)}"
        if self.steps:
            text += f" Tried as well: {'; '.join(self.steps)}."
        hint = failure.hint
        if failure.kind.is_out_of_memory:
            others = alternatives(self.plan.plan.model)
            if others:
                hint = f"Smaller quants of this model: {', '.join(others)}."
        return LaunchFailed(text, hint or "Nothing is left running.")


def _replanned(now: ModalPlan, runtime: Runtime) -> GpuPlan | None:
    """The same GPUs planned with other settings."""
    from ggufctl.core.planner import Planner

    model = now.plan.model
    planner = Planner(model.shape, load_catalogue(), is_sharded=model.is_sharded)
    row = planner.row(now.row.gpu, now.row.count, runtime)
    return row if row.fits else None


def _total_bytes(row: GpuPlan) -> int:
    return (row.gpu.cuda_bytes or 0) * row.count


class _Watch:
    """One start as its log tells it."""

    def __init__(self, server: ModalServer, reader: LogReader, attempt: str) -> None:
        self.server = server
        self.spec = server.spec
        self.reader = reader
        self.attempt = attempt
        self.engine = EngineLog()
        self.keys = (server.key.value,) if server.key else ()
        self.is_ready = False
        self.container_at: float | None = None
        self.last_line_at = self.began = time.monotonic()
        self.fatal_at: float | None = None
        self.ended: Failure | None = None
        self.ended_at = 0.0
        self.wakes = 0
        self.gone_since = 0.0
        self.queued_for = ""

    def run(self) -> None:
        """Return once the server has answered inside its container.

        Raises: _AttemptFailed.
        """
        self._wake()
        self.server._say("phase", "queued for GPU" if self.spec.gpus else "queued")
        while not self.is_ready:
            line = self.reader.next(0.25)
            if line is not None:
                self.last_line_at = time.monotonic()
                self.gone_since = 0.0
                self._take(line)
            self._check_clock()
        if self.container_at is not None:
            self.server.durations["queued"] = self.container_at - self.began

    def listen(self, seconds: float) -> None:
        """Hear for a while whether the server is still well.

        Raises: _AttemptFailed.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            line = self.reader.next(left)
            if line is not None:
                self._take(line)
        if self.ended is not None:
            raise _AttemptFailed(self.ended)

    def _wake(self) -> None:
        """Ask the server once, without waiting for the answer: that starts a container."""
        self.wakes += 1
        key = self.keys[0] if self.keys else ""
        headers = headers_of(self.spec, key)
        url = f"{self.server.url}/health"
        timeout = HTTP_TIMEOUT_SECONDS
        if self.spec.hold_requests:
            timeout = self.server.plan.request.queue_seconds + self.spec.startup_timeout
        threading.Thread(
            target=_request, args=(url, headers, None, timeout), name="wake", daemon=True
        ).start()

    def _answers(self) -> bool:
        headers = headers_of(self.spec, self.keys[0] if self.keys else "")
        return _request(f"{self.server.url}/v1/models", headers)[0] == 200

    def _take(self, line: LogLine) -> None:
        text = hide_keys(line.text, self.keys)
        if text.startswith(EVENT_PREFIX):
            with contextlib.suppress(ValueError):
                event = json.loads(text[len(EVENT_PREFIX) :])
                if isinstance(event, dict) and event.get("attempt") == self.attempt:
                    self._hear(event)
            return
        text = escape(text, 2000)
        self.server._say("log", text, source=line.source)
        if line.source == "system" or text.startswith("Runner "):
            self._hear_modal(text)
            return
        phase = self.engine.feed(text)
        if phase is not None:
            self._note_container()
        if self.engine.failure is not None and self.fatal_at is None:
            self.fatal_at = time.monotonic()

    def _note_container(self) -> None:
        if self.container_at is None:
            self.container_at = time.monotonic()
            self.server._say("phase", "container started")

    def _hear(self, event: Mapping[str, Any]) -> None:
        self._note_container()
        kind, text = str(event.get("event")), escape(str(event.get("text", "")), 2000)
        if kind == "container":
            gpus = event.get("gpus") or []
            if gpus:
                self.server.gpu = {str(k): escape(str(v), 100) for k, v in gpus[0].items()}
            self.server._say("container", self._surroundings(), gpus=gpus)
        elif kind in ("failed", "died"):
            raise _AttemptFailed(self._failure(event, text))
        elif kind == "ready":
            self.server.found = dict(event)
            took = event.get("durations") or {}
            self.server.durations |= {str(k): float(v) for k, v in took.items()}
            self.is_ready = True
            self.server._say("ready", "the engine answers in its container")
        elif kind in ("phase", "progress", "healthy", "token", "start"):
            data = {k: v for k, v in event.items() if k in ("after", "took")}
            self.server._say(kind, text, **data)

    def _surroundings(self) -> str:
        gpu = self.server.gpu
        if not gpu:
            return "no GPU was found in the container"
        return f"{gpu.get('name')}, driver {gpu.get('driver')}, {gpu.get('memory_mib')} MiB"

    def _failure(self, event: Mapping[str, Any], text: str) -> Failure:
        try:
            kind = FailureKind(str(event.get("failure", "")))
        except ValueError:
            kind = FailureKind.OTHER
        known = self.engine.cause
        hint = known.hint if known is not None and known.kind is kind else ""
        if kind is FailureKind.TIMEOUT:
            hint = "Allow it longer with --startup-timeout."
        return Failure(kind, text, hint, escape(str(event.get("line", "")), 500))

    def _hear_modal(self, text: str) -> None:
        if found := _QUEUED.search(text):
            if found[1] != self.queued_for:
                self.queued_for = found[1]
                self.server._say("queued", f"Modal has no {found[1]} free; waiting")
            return
        for pattern, kind, words, hint in _CONTAINER_ENDED:
            if found := pattern.search(text):
                said = words.format(*(escape(group or "", 300) for group in found.groups()))
                if self.ended is None:
                    self.ended = Failure(kind, said, hint, text.strip())
                    self.ended_at = time.monotonic()
                return

    def _check_clock(self) -> None:
        now = time.monotonic()
        # What the engine or the supervisor says is worth a short wait: Modal knows less of it.
        if self.ended is not None and now - self.ended_at > 1.5:
            raise _AttemptFailed(self.engine.failure or self.engine.cause or self.ended)
        if self.fatal_at is not None and now - self.fatal_at > 5.0:
            raise _AttemptFailed(self.engine.failed(1))
        if self.container_at is None:
            self._check_queue(now)
        elif now - self.container_at > self.spec.startup_timeout + 30:
            raise _AttemptFailed(
                Failure(
                    FailureKind.TIMEOUT,
                    f"The server was not ready after {self.spec.startup_timeout} seconds.",
                    "Allow it longer with --startup-timeout.",
                )
            )
        if now - self.last_line_at > SILENCE_SECONDS:
            self.last_line_at = now
            self._check_presence(now)

    def _check_queue(self, now: float) -> None:
        limit = self.server.plan.request.queue_seconds
        if now - self.began > limit:
            gpus = ", ".join(self.spec.gpus) or "machine"
            raise _AttemptFailed(
                Failure(
                    FailureKind.OTHER,
                    f"No {gpus} became free within {limit:.0f} seconds.",
                    "Name further GPUs with --gpu, or try again later.",
                )
            )

    def _check_presence(self, now: float) -> None:
        try:
            n = modal_app.n_containers(self.spec.app)
        except RemoteError as error:
            self.server._say("warning", error.message)
            return
        if self.reader.problem:
            self.server._say("warning", f"The log cannot be read: {self.reader.problem}")
            # Where a container is, a question starts no other.
            self.is_ready = n > 0 and self._answers()
        if n > 0:
            self.gone_since = 0.0
            waited = now - self.began
            if self.container_at is None:
                self.server._say("queued", f"waiting for a container for {waited:.0f} s")
            return
        if self.container_at is not None:
            # Modal may not count what still starts: only a long silence means that it is gone.
            self.gone_since = self.gone_since or now
            if now - self.gone_since > GONE_SECONDS:
                raise _AttemptFailed(
                    self.ended
                    or self.engine.cause
                    or Failure(FailureKind.CRASH, "The container ended without saying why.")
                )
            return
        server = self.server
        n_left = server.plan.request.max_attempts - server.attempts
        if self.wakes <= n_left and now - self.began > WAKE_AGAIN_SECONDS * self.wakes:
            self._wake()


def headers_of(spec: DeploymentSpec, key: str) -> dict[str, str]:
    """What a request to the server carries.

    Raises: UsageError when proxy tokens are needed and not in the environment.
    """
    if spec.auth == "proxy":
        found = {header: os.environ.get(name, "") for name, header in PROXY_HEADERS}
        if not all(found.values()):
            raise UsageError(
                "--auth proxy needs a proxy token of the workspace to see that the server answers.",
                "Create one in Modal's settings and set MODAL_KEY and MODAL_SECRET.",
            )
        return found
    return {"Authorization": f"Bearer {key}"} if key else {}


def _request(
    url: str,
    headers: Mapping[str, str],
    body: object = None,
    timeout_seconds: float = HTTP_TIMEOUT_SECONDS,
) -> tuple[int, str]:
    """Status and text of one request; status 0 when there was no answer."""
    data = None if body is None else json.dumps(body).encode()
    sent = {**headers, **({"Content-Type": "application/json"} if data else {})}
    request = urllib.request.Request(url, data=data, headers=sent)
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:
            return int(answer.status), answer.read(1 << 20).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""
    except (OSError, HTTPException, ValueError):
        return 0, ""


# Living with it


def _state_folder() -> Path:
    folder = state_dir() / "modal"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _save(plan: ModalPlan, url: str, key: Key | None) -> None:
    """Remember what was deployed, without secrets."""
    request = asdict(plan.request)
    request["api_key_file"] = str(key.path.absolute()) if key else ""
    request["runtime"] = asdict(plan.runtime)
    request["n_ctx"] = plan.runtime.n_ctx
    document = {"spec": plan.spec.to_dict(), "request": request, "url": url}
    path = _state_folder() / f"{plan.spec.name}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document))
    part.replace(path)


def _measured_rate() -> float:
    """How fast a Volume was read at the last start of a large model; 0 = never seen.  [bytes/s]"""
    try:
        rate = json.loads((state_dir() / "modal" / _RATE_FILE).read_text())["bytes_per_second"]
        return min(float(rate), FASTEST_VOLUME)
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _remember_rate(n_bytes: int, seconds: float) -> None:
    """Keep what a start has shown of a Volume's speed; small models show nothing of it."""
    if n_bytes < LARGE_BYTES or seconds <= 0:
        return
    document = {"bytes_per_second": round(n_bytes / seconds)}
    with contextlib.suppress(OSError):
        (_state_folder() / _RATE_FILE).write_text(json.dumps(document))


def _remembered(name: str) -> dict[str, Any]:
    try:
        document = json.loads((state_dir() / "modal" / f"{name}.json").read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def key_file(name: str) -> str:
    """Where the key of a deployment is kept on this machine; empty when it is not here."""
    return str(_remembered(name).get("request", {}).get("api_key_file") or "")


def modal_deployments() -> tuple[ModalDeployment, ...]:
    """Ours that are deployed on Modal, also from other machines.

    Raises: AccessDenied without a token; RemoteError.
    """
    modal_app.check_token()
    return modal_app.list_deployments()


def find_modal(name: str) -> ModalDeployment:
    """The deployment of a name.

    Raises: DeploymentNotFound; AccessDenied; RemoteError.
    """
    found = modal_deployments()
    for each in found:
        if each.name == name:
            return each
    names = ", ".join(each.name for each in found)
    raise DeploymentNotFound(
        f"Nothing called {quoted(name)} is deployed on Modal.",
        f"Deployed: {names}." if names else "Nothing is deployed; see ggufctl ps.",
    )


def modal_log(name: str, *, n_lines: int = 200, follow: bool = False) -> Iterator[str]:
    """Lines of a deployment's log, our own events left out; with `follow`, as they come.

    Raises: DeploymentNotFound; AccessDenied; RemoteError.
    """
    deployment = find_modal(name)
    app = app_name(name)
    if not follow:
        for line in modal_app.recent_log(app, n_lines):
            if line.text and not line.text.startswith(EVENT_PREFIX):
                yield escape(line.text, 4000)
        return
    reader = LogReader(app)
    try:
        while True:
            found = reader.next(5.0)
            if found is not None and not found.text.startswith(EVENT_PREFIX):
                yield escape(found.text, 4000)
            if found is None and all(
                each.app_id != deployment.app_id for each in modal_app.list_deployments()
            ):
                return
    finally:
        reader.close()


def stop_modal(name: str) -> ModalDeployment:
    """Stop a deployment and forget its key; weights stay on the Volume.

    Raises: DeploymentNotFound; AccessDenied; RemoteError.
    """
    deployment = find_modal(name)
    modal_app.stop_app(app_name(name))
    modal_app.delete_secret(name)
    folder = state_dir() / "modal"
    for suffix in (".json", ".key"):
        with contextlib.suppress(OSError):
            (folder / f"{name}{suffix}").unlink()
    return replace(deployment, n_containers=0, url="")


def switch_modal(
    name: str,
    gpus: Sequence[str],
    on_event: OnEvent = _ignore,
    *,
    show_output: bool = False,
) -> ModalServer:
    """The same deployment on other GPUs, with the same key; the former comes back if that fails.

    Raises: DeploymentNotFound; UsageError when it was deployed from elsewhere; as `start_modal`.
    """
    find_modal(name)
    document = _remembered(name)
    if not document:
        raise UsageError(
            f"{quoted(name)} was deployed from another machine: its settings are not here.",
            "Stop it and serve it again with --gpu.",
        )
    values = dict(document["request"])
    values["runtime"] = Runtime(**values["runtime"])
    values["api_key_file"] = Path(values["api_key_file"]) if values["api_key_file"] else None
    for each in ("engine_args", "gpus"):
        values[each] = tuple(values[each])
    request = ModalRequest(**{**values, "gpus": tuple(gpus), "name": name})
    before = DeploymentSpec.from_dict(document["spec"])
    plan = plan_modal(request, on_event)
    modal_app.stop_app(before.app)
    try:
        return start_modal(plan, on_event, show_output=show_output)
    except GgufctlError:
        if before.auth == "key" and request.api_key_file is not None:
            modal_app.store_key(name, open_key(request.api_key_file).value)
        modal_app.deploy(before)
        on_event(Event("restored", 0.0, f"{name} is deployed on {', '.join(before.gpus)} again"))
        raise
