"""The app of a deployment, built from plain data: one builder for any GPU.

What runs in a container is a class made here, sent by value, that holds nothing but plain data and
imports our package from the source mounted beside it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import modal
import modal.exception

from ggufctl.core.deployment import (
    ATTEMPT_TAG,
    SERVER_NAME,
    UNTIL_TAG,
    VOLUME_TAG,
    DeploymentSpec,
    secret_name,
    tag_value,
)
from ggufctl.core.gpus import Gpu, GpuCatalogue
from ggufctl.core.launch import KEY_VARIABLE
from ggufctl.errors import RemoteError
from ggufctl.modal_app.client import output, translated
from ggufctl.modal_app.image import engine_image

__all__ = [
    "build_app",
    "container_config",
    "delete_secret",
    "deploy",
    "function_map",
    "secrets_of",
    "server_url",
    "set_min_containers",
    "store_key",
]


LET_GO_SECONDS = 60.0
"""A container looks so often whether it is held although nobody asks for it."""


def container_config(spec: DeploymentSpec, attempt: str, until: int = 0) -> dict[str, Any]:
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
        "let_go_until": until,
        "let_go_seconds": LET_GO_SECONDS,
    }


def build_app(
    spec: DeploymentSpec, attempt: str = "", until: int = 0, *, roll_over: bool = False
) -> modal.App:
    """The app of a deployment, not deployed yet.

    Args:
        spec: what it is to be.
        attempt: mark of the events of its containers.
        until: when its start is over at the latest, in seconds since the epoch; 0 = not told.
        roll_over: it follows an earlier deployment, so that a container may be wanted by number.
    """
    tags = {**spec.tags, VOLUME_TAG: tag_value(spec.volume)}
    if attempt:
        tags[ATTEMPT_TAG] = attempt
    if until:
        tags[UNTIL_TAG] = str(until)
    app = modal.App(spec.app, tags=tags)
    config = container_config(spec, attempt, until if roll_over else 0)
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
        "image": engine_image(spec),
        "serialized": True,
        "gpu": list(spec.gpus) or None,
        "cpu": spec.cpu,
        "memory": spec.memory_mib,
        "volumes": {spec.mount_path: volume.with_mount_options(read_only=True)},
        "secrets": secrets_of(spec),
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


def secrets_of(spec: DeploymentSpec) -> list[modal.Secret]:
    """What its containers find in their environment."""
    if not spec.secret:
        return []
    return [modal.Secret.from_name(spec.secret, required_keys=[KEY_VARIABLE])]


def _add_server(
    app: modal.App, spec: DeploymentSpec, config: dict[str, Any], options: dict[str, Any]
) -> None:
    let_go = _let_go(spec)

    class Llama:
        # With a snapshot: what has been loaded is part of it.
        @modal.enter(snap=spec.snapshot)
        def start(self) -> None:
            from ggufctl.remote.container import serve

            self.serving = serve(config, let_go)

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


def _let_go(spec: DeploymentSpec) -> Callable[[], bool] | None:
    """What a container does so that it is not paid for once its client is gone.

    While the containers of a former deployment answer everything that comes, a new one has to be
    wanted by number, and only the client knows when to want it no more. So a container that runs
    takes the wish back itself, as long as the app says that a start of ours is under way.
    """
    if spec.snapshot:
        # Connections do not outlive a snapshot.
        return None
    app, name, tag = spec.app, SERVER_NAME, UNTIL_TAG

    def let_go() -> bool:
        import modal

        autoscaler = modal.Function.from_name(app, name).autoscaler
        if not autoscaler.settings().min_containers or tag not in modal.App.lookup(app).get_tags():
            return False
        autoscaler.update(min_containers=0)
        return True

    return let_go


def _add_web_function(
    app: modal.App, spec: DeploymentSpec, config: dict[str, Any], options: dict[str, Any]
) -> None:
    let_go = _let_go(spec)

    def llama() -> None:
        import atexit

        from ggufctl.remote.container import serve

        atexit.register(serve(config, let_go).stop)

    if spec.region:
        options["region"] = spec.region
    wrapped = modal.web_server(
        spec.port,
        startup_timeout=float(spec.startup_timeout),
        requires_proxy_auth=spec.auth == "proxy",
    )(llama)
    wrapped = modal.concurrent(max_inputs=4 * spec.slots, target_inputs=spec.slots)(wrapped)
    app.function(name=SERVER_NAME, timeout=3600, **options)(wrapped)


def deploy(
    spec: DeploymentSpec,
    attempt: str = "",
    *,
    until: int = 0,
    roll_over: bool = False,
    show_output: bool = False,
) -> str:
    """Deploy a spec's app and return its URL; no container runs yet.

    Args:
        spec: what is deployed.
        attempt: mark of the events of its containers.
        until: when its start is over at the latest, in seconds since the epoch.
        roll_over: it follows an earlier deployment, whose containers serve until its own do.
        show_output: Modal's own progress on stderr.

    Raises: as `translated`.
    """
    app = build_app(spec, attempt, until, roll_over=roll_over)
    with translated("the deployment"), output(show_output), _no_git():
        app.deploy(name=spec.app)
    return server_url(spec)


@contextlib.contextmanager
def _no_git() -> Iterator[None]:
    """Let git find no repository: Modal's client would send the current folder's commit, author
    and remote along with a deployment that has nothing to do with them.
    """
    before = os.environ.get("GIT_DIR")
    os.environ["GIT_DIR"] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ["GIT_DIR"]
        else:
            os.environ["GIT_DIR"] = before


def set_min_containers(app: str, n: int) -> None:
    """Change how many containers of a deployed server run at least, until it is deployed again.

    Raises: as `translated`.
    """
    with translated("the number of containers"):
        # Of a Server as well: what scales is its function.
        modal.Function.from_name(app, SERVER_NAME).autoscaler.update(min_containers=n)


def server_url(spec: DeploymentSpec) -> str:
    """Where a deployment's server answers, without a slash at the end.

    Raises: as `translated`.
    """
    with translated("the address of the server"):
        function = modal.Function.from_name(spec.app, SERVER_NAME)
        url = None
        if not spec.hold_requests:
            url = modal.Server.from_name(spec.app, SERVER_NAME).get_url()
        url = url or function.get_web_url()
    if not url:
        raise RemoteError("Modal gave the server no address.")
    return str(url).rstrip("/")


def store_key(name: str, key: str) -> str:
    """Keep a deployment's key in a Secret of its own, and return the Secret's name."""
    secret = secret_name(name)
    with translated("keeping the key"):
        modal.Secret.objects.delete(secret, allow_missing=True)
        modal.Secret.objects.create(secret, {KEY_VARIABLE: key})
    return secret


def delete_secret(name: str) -> bool:
    """Forget the key of a deployment; whether there was one.

    Raises: as `translated`.
    """
    with translated("removing the key"):
        try:
            modal.Secret.objects.delete(secret_name(name))
        except modal.exception.NotFoundError:
            return False
    return True
