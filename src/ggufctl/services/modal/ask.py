"""Questions to a deployed server at its address."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException

from ggufctl.core.deployment import DeploymentSpec
from ggufctl.errors import UsageError

__all__ = ["HTTP_TIMEOUT_SECONDS", "ask", "headers_of"]

HTTP_TIMEOUT_SECONDS = 10.0

PROXY_HEADERS = (("MODAL_KEY", "Modal-Key"), ("MODAL_SECRET", "Modal-Secret"))
"""Environment variables that hold a proxy token, and the headers they are sent in."""


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


def ask(
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
