"""Modal's client: who we are to it, and its errors as ours."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Iterator

import modal
import modal.exception

from ggufctl.core.escape import escape
from ggufctl.errors import AccessDenied, LaunchFailed, RemoteError, UsageError

__all__ = [
    "ImageBuildFailed",
    "account",
    "check_token",
    "one_line",
    "output",
    "require_network",
    "translated",
]

BUILDER_LINES = 4
"""Of an image that was not built: the reason is in the last few."""

LOGGERS = ("modal-client", "modal-utils")
"""Of Modal's client."""

REACH_SECONDS = 5.0
"""For one attempt to reach Modal at all."""

REACH_ATTEMPTS = 3
"""Its own client tries for a minute, and says nothing meanwhile."""

NO_TOKEN = "There is no Modal token on this machine, so nothing can be asked of Modal."


class ImageBuildFailed(LaunchFailed):
    """Modal could not build the container image."""

    code = "image_build_failed"


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
        said = _builder_lines(error.image_id)
        text = f"Modal could not build the container image: {one_line(error).rstrip('.')}."
        if said:
            text += f" The builder's last words: {escape(' / '.join(said), 600)}"
        raise ImageBuildFailed(text, f"The whole log: modal image logs {error.image_id}") from None
    except modal.exception.AuthError as error:
        if "Token missing" in str(error):
            raise AccessDenied(NO_TOKEN, "Run modal setup.") from None
        raise AccessDenied(
            f"Modal does not accept the credentials: {one_line(error)}", "Run modal setup."
        ) from None
    except modal.exception.PermissionDeniedError as error:
        raise AccessDenied(f"Modal does not allow {what}: {one_line(error)}") from None
    except modal.exception.ResourceExhaustedError as error:
        raise RemoteError(
            f"Modal refuses {what}: {one_line(error)}",
            "A limit of the workspace is reached: see its usage and billing settings.",
        ) from None
    except modal.exception.InvalidError as error:
        if getattr(error, "_grpc_status", None) is not None:
            # The service says so, not the client: what was asked for was ours to get right.
            raise RemoteError(f"Modal refuses {what}: {one_line(error)}") from None
        raise UsageError(f"Modal refuses {what}: {one_line(error)}") from None
    except modal.exception.Error as error:
        raise RemoteError(
            f"Modal failed at {what}: {one_line(error) or type(error).__name__}", "Try again later."
        ) from None
    except (OSError, TimeoutError) as error:
        raise RemoteError(f"Modal cannot be reached for {what}: {one_line(error)}") from None


def _builder_lines(image_id: str) -> list[str]:
    """The last lines of the log of an image that was not built; none where Modal does not tell."""
    last: deque[str] = deque(maxlen=BUILDER_LINES)
    # It is not among the client's promises, and the failure is told in any case.
    with contextlib.suppress(Exception):
        image = modal.Image._new_hydrated(image_id, modal.Client.from_env(), None)
        for text in image._logs():
            last.extend(line.strip() for line in text.splitlines() if line.strip())
    return list(last)


def one_line(error: BaseException) -> str:
    """What an error says, safe to print."""
    return escape(" ".join(str(error).split()), 400)


def require_network() -> None:
    """Make sure that Modal can be reached, sooner than its own client gives up.

    Without a token nothing is asked of it: that is for whoever asks to say.

    Raises: RemoteError.
    """
    if not modal.config.config.get("token_id"):
        return
    urls = [
        urllib.parse.urlsplit(url.strip())
        for url in str(modal.config.config["server_url"]).split(",")
    ]
    if urllib.request.getproxies() or any(url.scheme not in ("http", "https") for url in urls):
        return
    reason = ""
    for attempt in range(REACH_ATTEMPTS):
        if attempt:
            time.sleep(1.0)
        for url in urls:
            port = url.port or (443 if url.scheme == "https" else 80)
            try:
                socket.create_connection((url.hostname or "", port), REACH_SECONDS).close()
            except OSError as error:
                reason = error.strerror or str(error)
            else:
                return
    raise RemoteError(
        f"Modal cannot be reached: {escape(reason, 200)}.", "Check the network and HTTPS_PROXY."
    )


def check_token() -> None:
    """Make sure that Modal knows us, before anything else is done.

    Raises: AccessDenied without a token or with a wrong one; RemoteError without a connection.
    """
    require_network()
    with translated("signing in"):
        modal.Client.from_env().hello()


def account() -> str:
    """The name of the workspace that the token is of; empty when Modal does not say.

    Raises: AccessDenied without a token or with a wrong one; RemoteError without a connection.
    """
    require_network()
    with translated("signing in"):
        client = modal.Client.from_env()
        client.hello()
        return modal.Workspace.from_context(client=client).hydrate().name or ""


@contextlib.contextmanager
def output(to_stderr: bool) -> Iterator[None]:
    """Modal's own progress on stderr, or nowhere: stdout is for results."""
    with contextlib.ExitStack() as stack:
        if "MODAL_LOGLEVEL" not in os.environ:
            # It logs the tracebacks of what it tries again; what it gives up is raised.
            for logger in map(logging.getLogger, LOGGERS):
                stack.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL)
        if to_stderr:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            stack.enter_context(modal.enable_output())
        yield
