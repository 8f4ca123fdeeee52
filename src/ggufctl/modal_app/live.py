"""One container as a deployment has it, that looks around and ends."""

from __future__ import annotations

from typing import Any

import modal
import modal.exception

from ggufctl.core.deployment import APP_PREFIX, TOOL_TAG, DeploymentSpec
from ggufctl.errors import GgufctlError, RemoteError
from ggufctl.modal_app.client import one_line, output, translated
from ggufctl.modal_app.image import engine_image
from ggufctl.modal_app.server import container_config, secrets_of

__all__ = ["LOOK_SECONDS", "NoContainer", "look_inside"]

LOOK_SECONDS = 120
"""Longest time that looking around takes once a container runs."""


class NoContainer(RemoteError):
    """Modal has started no container in time."""

    code = "no_container"


def look_inside(
    spec: DeploymentSpec, queue_seconds: float, *, show_output: bool = False
) -> dict[str, Any]:
    """What a container with the deployment's image, GPU, Volume and Secret finds.

    Args:
        spec: the deployment; it is left alone.
        queue_seconds: longest wait for a GPU.
        show_output: Modal's own progress on stderr.

    Returns: as `remote.probe.probe`.

    Raises: NoContainer; as `translated`.
    """
    config = container_config(spec, "")

    def look() -> dict[str, Any]:
        from ggufctl.remote.probe import probe

        return probe(config)

    volume = modal.Volume.from_name(spec.volume, create_if_missing=True, version=2)
    app = modal.App(f"{APP_PREFIX}look", tags={TOOL_TAG: "download"})
    function = app.function(
        name="look",
        serialized=True,
        image=engine_image(spec),
        gpu=list(spec.gpus) or None,
        cpu=spec.cpu,
        memory=spec.memory_mib,
        volumes={spec.mount_path: volume.with_mount_options(read_only=True)},
        secrets=secrets_of(spec),
        timeout=LOOK_SECONDS,
        max_containers=1,
        scaledown_window=2,
        include_source=False,
        region=spec.region or None,
    )(look)
    try:
        with translated("the look inside"), output(show_output), app.run():
            call = function.spawn()
            try:
                found: dict[str, Any] = call.get(timeout=queue_seconds + LOOK_SECONDS)
            except TimeoutError:
                gpus = " or ".join(spec.gpus) or "machine"
                raise NoContainer(
                    f"No {gpus} became free within {queue_seconds:.0f} seconds.",
                    "Try again later, or switch to other GPUs.",
                ) from None
            return found
    except GgufctlError:
        raise
    except Exception as error:
        # Errors of the container arrive as what they were there.
        raise RemoteError(f"The look inside failed: {one_line(error)}") from None
