"""Everything that talks to Modal; the only module that imports its client.

Apps are built from plain data: one builder makes the server for any GPU. What runs in a container
is a class made here, sent by value, that holds nothing but plain data and imports our package from
the source mounted beside it.
"""

from __future__ import annotations

import ast
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from queue import Empty, SimpleQueue
from typing import Any

import modal
import modal.exception

from ggufctl.core.deployment import (
    APP_PREFIX,
    SERVER_NAME,
    TOOL_TAG,
    DeploymentSpec,
    secret_name,
)
from ggufctl.core.escape import escape
from ggufctl.core.gpus import Gpu, GpuCatalogue
from ggufctl.core.launch import KEY_VARIABLE
from ggufctl.errors import (
    AccessDenied,
    GgufctlError,
    LaunchFailed,
    ModelNotFound,
    RemoteError,
    UsageError,
)

__all__ = [
    "ImageBuildFailed",
    "LogLine",
    "LogReader",
    "ModalDeployment",
    "build_app",
    "check_token",
    "container_config",
    "delete_secret",
    "deploy",
    "download",
    "function_map",
    "is_deployed",
    "list_deployments",
    "live_rates",
    "missing_files",
    "n_containers",
    "recent_log",
    "server_url",
    "stop_app",
    "store_key",
    "translated",
    "upload",
]

DOWNLOAD_SECONDS_PER_GB = 30
"""Slower than a tenth of the downloads of large files that anyone has published."""

LLAMA_CPP_PYTHON_IMAGE = "nvidia/cuda:12.4.1-runtime-ubuntu22.04"
LLAMA_CPP_PYTHON_WHEELS = "https://abetlen.github.io/llama-cpp-python/whl/cu124"
_ENTRY_POINTS = (
    "remote.container",
    "remote.download",
    "remote.embedded_server",
    "remote.tether",
)

IDLE_STREAM_SECONDS = 2.0
"""A log stream is left and opened again after this long without a line, so that it can end."""


class ImageBuildFailed(LaunchFailed):
    """Modal could not build the container image."""

    code = "image_build_failed"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of an app's log."""

    text: str
    source: str
    """`stdout`, `stderr`, or `system` for Modal's own."""
    at: datetime
    containers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalDeployment:
    """One of our apps as Modal knows it."""

    name: str
    app_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    deployed_at: datetime | None = None
    n_containers: int = 0
    url: str = ""


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Errors of Modal's client as ours.

    Args:
        what: was being done, for the message.

    Raises: AccessDenied, RemoteError, UsageError or ImageBuildFailed.
    """
    try:
        yield
    except modal.exception.ImageBuildError as error:
        raise ImageBuildFailed(
            f"Modal could not build the container image: {_one_line(error)}",
            "The lines above this one are the builder's own.",
        ) from None
    except modal.exception.AuthError as error:
        raise AccessDenied(
            f"Modal does not accept the credentials: {_one_line(error)}",
            "Run modal token new, or serve on this machine with --on local.",
        ) from None
    except modal.exception.PermissionDeniedError as error:
        raise AccessDenied(f"Modal does not allow {what}: {_one_line(error)}") from None
    except modal.exception.ResourceExhaustedError as error:
        raise RemoteError(
            f"Modal refuses {what}: {_one_line(error)}",
            "A limit of the workspace is reached: see its usage and billing settings.",
        ) from None
    except modal.exception.InvalidError as error:
        if getattr(error, "_grpc_status", None) is not None:
            # The service says so, not the client: what was asked for was ours to get right.
            raise RemoteError(f"Modal refuses {what}: {_one_line(error)}") from None
        raise UsageError(f"Modal refuses {what}: {_one_line(error)}") from None
    except modal.exception.Error as error:
        raise RemoteError(
            f"Modal failed at {what}: {_one_line(error) or type(error).__name__}",
            "Nothing is left running; try again.",
        ) from None
    except (OSError, TimeoutError) as error:
        raise RemoteError(f"Modal cannot be reached for {what}: {_one_line(error)}") from None


def _one_line(error: BaseException) -> str:
    return escape(" ".join(str(error).split()), 400)


def check_token() -> None:
    """Make sure that Modal knows us, before anything else is done.

    Raises: AccessDenied without a token or with a wrong one; RemoteError without a connection.
    """
    with translated("signing in"):
        modal.Client.from_env().hello()


# The app


def container_config(spec: DeploymentSpec, attempt: str) -> dict[str, Any]:
    """What a container is told, as plain data without secrets; see `remote.container.serve`."""
    return {
        "attempt": attempt,
        "engine": spec.engine,
        "argv": list(spec.argv),
        "env": [list(pair) for pair in spec.env],
        "alias": spec.alias,
        "port": spec.port,
        "files": [[spec.path_of(file), file.size_bytes] for file in spec.files],
        "deadline": spec.deadline,
        "grace": max(1, spec.exit_grace - 5),
        "needs_key": spec.auth == "key",
        "is_embedding": spec.is_embedding,
        "expected_layers": spec.expected_layers,
    }


def build_app(spec: DeploymentSpec, attempt: str = "") -> modal.App:
    """The app of a deployment, not deployed yet."""
    app = modal.App(spec.app, tags=spec.tags)
    config = container_config(spec, attempt)
    options = _server_options(spec)
    if spec.hold_requests:
        _add_web_function(app, spec, config, options)
    else:
        _add_server(app, spec, config, options)
    return app


def function_map(
    spec: DeploymentSpec, catalogue: GpuCatalogue
) -> dict[str, Callable[[], modal.App]]:
    """Name of each GPU of the catalogue → what makes the app with its server on that GPU."""

    def maker(gpu: Gpu) -> Callable[[], modal.App]:
        count = min(_count(spec), gpu.max_count)
        return lambda: build_app(spec.with_(gpus=(gpu.modal_gpu(count),)))

    return {gpu.name: maker(gpu) for gpu in catalogue if gpu.modal_names}


def _count(spec: DeploymentSpec) -> int:
    _, _, number = (spec.gpus[0] if spec.gpus else "").partition(":")
    return int(number or 1)


def _server_options(spec: DeploymentSpec) -> dict[str, Any]:
    volume = modal.Volume.from_name(spec.volume, create_if_missing=True, version=2)
    options: dict[str, Any] = {
        "image": _engine_image(spec),
        "serialized": True,
        "gpu": list(spec.gpus) or None,
        "cpu": spec.cpu,
        "memory": spec.memory_mib,
        "volumes": {spec.mount_path: volume.with_mount_options(read_only=True)},
        "secrets": _secrets(spec),
        "min_containers": 0,
        "max_containers": spec.max_containers,
        "scaledown_window": spec.scaledown_window,
        "startup_timeout": spec.startup_timeout,
        "include_source": False,
    }
    if spec.snapshot:
        options["enable_memory_snapshot"] = True
        options["experimental_options"] = {"enable_gpu_snapshot": True}
    return options


def _secrets(spec: DeploymentSpec) -> list[modal.Secret]:
    if not spec.secret:
        return []
    return [modal.Secret.from_name(spec.secret, required_keys=[KEY_VARIABLE])]


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _engine_image(spec: DeploymentSpec) -> modal.Image:
    if spec.engine == "llama-cpp-python":
        image = modal.Image.from_registry(LLAMA_CPP_PYTHON_IMAGE, add_python=_python())
        image = image.entrypoint([]).pip_install(
            "llama-cpp-python[server]", extra_index_url=LLAMA_CPP_PYTHON_WHEELS
        )
    else:
        # Without this the image's own program would start instead of Modal's.
        image = modal.Image.from_registry(spec.image, add_python=_python()).entrypoint([])
    return _with_source(image)


def _with_source(image: modal.Image) -> modal.Image:
    """The image with those of our modules beside it that run in a container, and no other."""
    package = Path(__file__).parent
    needed = _needed_modules(package)

    def ignored(path: Path) -> bool:
        local = path.relative_to(package) if path.is_absolute() else path
        return local.as_posix() not in needed

    return image.add_local_python_source("ggufctl", ignore=ignored)


def _needed_modules(package: Path) -> frozenset[str]:
    """Files of the package that what runs in a container imports, directly or not."""
    found: set[str] = set()
    wanted = list(_ENTRY_POINTS)
    while wanted:
        parts = wanted.pop().split(".")
        candidates = [Path(*parts[:n], "__init__.py") for n in range(len(parts) + 1)]
        for path in (*candidates, Path(*parts).with_suffix(".py") if parts[0] else candidates[0]):
            if path.as_posix() in found or not (package / path).is_file():
                continue
            found.add(path.as_posix())
            if len(path.parts) > 1:
                # The package's own __init__ imports nothing until it is asked for something.
                wanted += _imports((package / path).read_text("utf-8"))
    return frozenset(found)


def _imports(source: str) -> list[str]:
    """Modules of ours that a source names, without the package in front."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name.removeprefix("ggufctl.") for name in names if name.startswith("ggufctl.")]


def _add_server(
    app: modal.App, spec: DeploymentSpec, config: dict[str, Any], options: dict[str, Any]
) -> None:
    class Llama:
        @modal.enter()
        def start(self) -> None:
            from ggufctl.remote.container import serve

            self.serving = serve(config)

        @modal.exit()
        def stop(self) -> None:
            serving = getattr(self, "serving", None)
            if serving is not None:
                serving.stop()

    if spec.region:
        options["compute_region"] = spec.region
    app.server(
        name=SERVER_NAME,
        port=spec.port,
        target_concurrency=spec.slots,
        unauthenticated=spec.auth != "proxy",
        exit_grace_period=spec.exit_grace,
        **options,
    )(Llama)


def _add_web_function(
    app: modal.App, spec: DeploymentSpec, config: dict[str, Any], options: dict[str, Any]
) -> None:
    def llama() -> None:
        import atexit

        from ggufctl.remote.container import serve

        atexit.register(serve(config).stop)

    if spec.region:
        options["region"] = spec.region
    wrapped = modal.web_server(
        spec.port,
        startup_timeout=float(spec.startup_timeout),
        requires_proxy_auth=spec.auth == "proxy",
    )(llama)
    wrapped = modal.concurrent(max_inputs=4 * spec.slots, target_inputs=spec.slots)(wrapped)
    app.function(name=SERVER_NAME, timeout=3600, **options)(wrapped)


@contextlib.contextmanager
def _output(to_stderr: bool) -> Iterator[None]:
    """Modal's own progress on stderr, or nowhere: stdout is for results."""
    if not to_stderr:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr), modal.enable_output():
        yield


def deploy(spec: DeploymentSpec, attempt: str = "", *, show_output: bool = False) -> str:
    """Deploy a spec's app and return its URL; no container runs yet.

    Raises: as `translated`.
    """
    app = build_app(spec, attempt)
    with translated("the deployment"), _output(show_output):
        app.deploy(name=spec.app, strategy="recreate")
    return server_url(spec)


def server_url(spec: DeploymentSpec) -> str:
    """Where a deployment's server answers, without a slash at the end.

    Raises: as `translated`.
    """
    with translated("the address of the server"):
        if spec.hold_requests:
            url = modal.Function.from_name(spec.app, SERVER_NAME).get_web_url()
        else:
            url = modal.Server.from_name(spec.app, SERVER_NAME).get_url()
    if not url:
        raise RemoteError("Modal gave the server no address.")
    return str(url).rstrip("/")


def n_containers(app: str) -> int:
    """Containers of a deployment's server, those that start included."""
    with translated("the number of containers"):
        stats = modal.Function.from_name(app, SERVER_NAME).get_current_stats()
    return int(stats.num_total_runners)


def is_deployed(app: str) -> bool:
    """Whether an app of this name is live.

    Raises: as `translated`.
    """
    with translated("looking for the app"):
        try:
            modal.App.lookup(app)
        except modal.exception.NotFoundError:
            return False
    return True


def stop_app(app: str) -> bool:
    """Stop an app with everything that runs in it; whether there was one.

    Raises: as `translated`.
    """
    with translated("stopping the app"):
        try:
            modal.App.lookup(app).stop()
        except modal.exception.NotFoundError:
            return False
    return True


# Keys


def store_key(name: str, key: str) -> str:
    """Keep a deployment's key in a Secret of its own, and return the Secret's name."""
    secret = secret_name(name)
    with translated("keeping the key"):
        modal.Secret.objects.delete(secret, allow_missing=True)
        modal.Secret.objects.create(secret, {KEY_VARIABLE: key})
    return secret


def delete_secret(name: str) -> None:
    """Forget the key of a deployment."""
    with translated("removing the key"):
        modal.Secret.objects.delete(secret_name(name), allow_missing=True)


# Weights


def missing_files(spec: DeploymentSpec) -> tuple[str, ...]:
    """The spec's files that are not whole on the Volume."""
    volume = modal.Volume.from_name(spec.volume, create_if_missing=True, version=2)
    with translated("listing the Volume"):
        try:
            entries = volume.listdir(f"/{spec.folder}", recursive=True)
        except (modal.exception.NotFoundError, FileNotFoundError):
            entries = []
    sizes = {entry.path.lstrip("/"): entry.size for entry in entries}
    return tuple(
        file.path
        for file in spec.files
        if sizes.get(str(PurePosixPath(spec.folder) / file.path)) != file.size_bytes
    )


def upload(spec: DeploymentSpec, paths: Mapping[str, Path]) -> None:
    """Put files of this machine on the Volume.

    Args:
        spec: whose files they are.
        paths: the spec's path of each → where it lies here.
    """
    volume = modal.Volume.from_name(spec.volume, create_if_missing=True, version=2)
    with translated("the upload"), volume.batch_upload(force=True) as batch:
        for name, path in paths.items():
            batch.put_file(path, f"/{spec.folder}/{name}")


def download(
    spec: DeploymentSpec,
    *,
    endpoint: str,
    token: str,
    on_progress: Callable[[Mapping[str, Any]], None],
    show_output: bool = False,
) -> None:
    """Have a container without a GPU fetch the spec's files from the Hub onto the Volume.

    Args:
        spec: whose files are missing.
        endpoint: of the Hub; empty for the usual one.
        token: for a gated or private repository; empty for none.
        on_progress: hears of each file.

    Raises: as `translated`; RemoteError when the download failed.
    """
    from importlib.metadata import version

    volume = modal.Volume.from_name(spec.volume, create_if_missing=True, version=2)
    image = modal.Image.debian_slim(python_version=_python()).pip_install(
        f"huggingface_hub=={version('huggingface_hub')}"
    )
    config = {
        "repo": spec.repo,
        "commit": spec.commit,
        "endpoint": endpoint,
        "folder": str(PurePosixPath(spec.mount_path) / spec.folder),
        "files": [[file.path, file.size_bytes, file.sha256] for file in spec.files],
    }
    app = modal.App(f"{APP_PREFIX}download", tags={TOOL_TAG: "download"})

    name = spec.volume

    def fetch() -> Iterator[dict[str, Any]]:
        import modal

        from ggufctl.remote.download import download as run

        mounted = modal.Volume.from_name(name)
        for progress in run(config):
            if progress["state"] == "complete":
                # The container may end before Modal would have done it by itself.
                mounted.commit()
            yield progress

    gigabytes = spec.size_bytes / 1e9
    function = app.function(
        name="download",
        serialized=True,
        image=_with_source(image),
        cpu=2.0,
        memory=4096,
        volumes={spec.mount_path: volume},
        secrets=[modal.Secret.from_dict({"HF_TOKEN": token})] if token else [],
        timeout=int(min(86_000, 600 + DOWNLOAD_SECONDS_PER_GB * gigabytes)),
        max_containers=1,
        include_source=False,
        is_generator=True,
    )(fetch)
    try:
        with translated("the download"), _output(show_output), app.run():
            for progress in function.remote_gen():
                on_progress(progress)
    except GgufctlError:
        raise
    except Exception as error:
        # Errors of the container arrive as what they were there.
        raise RemoteError(f"The download failed: {_one_line(error)}") from None


# What runs


def list_deployments() -> tuple[ModalDeployment, ...]:
    """Our apps that are deployed, by name.

    Raises: as `translated`.
    """
    found = []
    with translated("the list of apps"):
        for app in modal.Environment.from_context().apps.list():
            name = app.name or ""
            if not name.startswith(APP_PREFIX):
                continue
            tags = app.get_tags()
            if TOOL_TAG not in tags or tags[TOOL_TAG] == "download":
                continue
            found.append(_described(app, name.removeprefix(APP_PREFIX), tags))
    return tuple(sorted(found, key=lambda each: each.name))


def _described(app: modal.App, name: str, tags: Mapping[str, str]) -> ModalDeployment:
    url, n_running = "", 0
    with contextlib.suppress(modal.exception.Error):
        server = modal.Server.from_name(APP_PREFIX + name, SERVER_NAME)
        function = modal.Function.from_name(APP_PREFIX + name, SERVER_NAME)
        n_running = int(function.get_current_stats().num_total_runners)
        url = server.get_url() or function.get_web_url() or ""
    return ModalDeployment(
        name=name,
        app_id=str(app.app_id or ""),
        tags=dict(tags),
        deployed_at=app.info().lifecycle.deployed_at,
        n_containers=n_running,
        url=url.rstrip("/"),
    )


def live_rates() -> dict[str, str]:
    """Modal's own prices of this workspace, by Modal's names for them."""
    with translated("the prices"):
        rates = modal.Workspace.from_context().billing.rates()
        return {str(name): str(value) for name, value in rates.items()}


# Logs


def recent_log(app: str, n_lines: int) -> tuple[LogLine, ...]:
    """The last lines of an app's log.

    Raises: ModelNotFound when there is no such app; as `translated`.
    """
    with translated("the log"):
        try:
            handle = modal.App.lookup(app)
        except modal.exception.NotFoundError:
            raise ModelNotFound(f"Nothing called {app} is deployed.") from None
        return tuple(_line(entry) for entry in handle.logs.tail(n_lines))


def _line(entry: Any) -> LogLine:
    return LogLine(
        str(entry.message).rstrip("\r\n"),
        str(entry.source),
        entry.timestamp,
        tuple(str(context) for context in entry.context_ids),
    )


class LogReader:
    """Reads an app's log in a thread of its own, line by line, until it is closed.

    A stream that breaks is opened again; a line that comes twice is told once.
    """

    def __init__(self, app: str) -> None:
        self._lines: SimpleQueue[LogLine] = SimpleQueue()
        self._seen: set[tuple[datetime, str, tuple[str, ...]]] = set()
        self._closed = threading.Event()
        # Clocks differ: lines of before are harmless, lines missed are not.
        self._since = datetime.now(UTC) - timedelta(minutes=10)
        self.problem: str = ""
        """Why the log cannot be read at the moment; empty while it can."""
        with translated("the log"):
            self._app = modal.App.lookup(app)
        self._thread = threading.Thread(target=self._read, name="modal-logs", daemon=True)
        self._thread.start()

    def next(self, timeout_seconds: float) -> LogLine | None:
        """The next line, or None when none came in time."""
        try:
            return self._lines.get(timeout=max(0.0, timeout_seconds))
        except Empty:
            return None

    def close(self) -> None:
        """Stop reading."""
        self._closed.set()
        self._thread.join(3 * IDLE_STREAM_SECONDS)

    def _read(self) -> None:
        while not self._closed.is_set():
            started = time.monotonic()
            n_before = len(self._seen)
            try:
                for entry in self._app.logs.stream(timeout=IDLE_STREAM_SECONDS):
                    self._take(entry)
                    if self._closed.is_set():
                        return
            except Exception as error:
                # Whatever the client raises here, the deployment must still be watched and ended.
                self.problem = _one_line(error) or type(error).__name__
            if len(self._seen) == n_before:
                # Nothing to say, or a stream that breaks each time: the store knows which.
                self._catch_up()
            # An app that has ended has a stream that ends at once.
            self._closed.wait(max(0.0, 0.5 - (time.monotonic() - started)))

    def _catch_up(self) -> None:
        try:
            for entry in self._app.logs.fetch(since=self._since):
                self._take(entry)
        except Exception as error:
            self.problem = _one_line(error) or type(error).__name__
        else:
            self.problem = ""

    def _take(self, entry: Any) -> None:
        for text in str(entry.message).splitlines():
            line = LogLine(text, str(entry.source), entry.timestamp, tuple(entry.context_ids))
            mark = (line.at, line.text, line.containers)
            if text and mark not in self._seen:
                self._seen.add(mark)
                self._lines.put(line)
