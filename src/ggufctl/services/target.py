"""Where a question goes: a deployment of ours, here or on Modal, or any server by its address.

Keys stay with the server they belong to: a deployment's comes out of its file, one for an address
out of the environment, and what is sent to OpenAI itself is not sent to anybody else.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ggufctl.catalog import load_prices
from ggufctl.client import (
    Client,
    Endpoint,
    NotReady,
    Reply,
    Unreachable,
    base_url,
    is_loopback,
    origin_of,
)
from ggufctl.core.deployment import APP_PREFIX, DeploymentSpec, host_usd_per_hour, idle_usd
from ggufctl.core.escape import escape, quoted, redact_url
from ggufctl.errors import AccessDenied, GgufctlError, LaunchFailed, ModelNotFound, UsageError
from ggufctl.remote.supervisor import Event, OnEvent
from ggufctl.services import deployments
from ggufctl.services.deployments import (
    Deployment,
    DeploymentEnded,
    DeploymentNotFound,
    has_ended,
)
from ggufctl.services.keys import open_key
from ggufctl.sources.references import hub_endpoint

__all__ = [
    "About",
    "Kind",
    "Place",
    "Ready",
    "Target",
    "find_target",
    "kind_of",
    "local_target",
    "wait_until_ready",
    "warnings_of",
]

START_SECONDS = 900.0
"""How long a server may take to be ready where nothing is known of it."""

POLL_SECONDS = 0.5
REMOTE_POLL_SECONDS = 2.0
COUNT_SECONDS = 5.0
"""Between two questions to Modal how many containers there are."""

GONE_SECONDS = 45.0
"""A container that is not counted for so long has ended: asking on would start, and pay for,
another."""

REPORT_SECONDS = 10.0
"""Between two remarks that the same is still being waited for."""

HEALTH_SECONDS = 10.0
OPENAI_URL = "https://api.openai.com/v1"


class Kind(StrEnum):
    """What the word names that a question is to go to."""

    NAME = "name"
    URL = "url"
    MODEL = "model"


class Place(StrEnum):
    """Where a server is."""

    LOCAL = "local"
    MODAL = "modal"
    URL = "url"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server that questions go to.

    Attributes:
        name: of the deployment, or its address, safe to print.
        place: where it is.
        endpoint: how it is reached.
        model: what to ask it for; empty = the only one it has.
        usd_per_hour: while it runs, all of it; None = not known.
        idle_usd: for the time it stays after the last request.
        slots: requests it answers at once; 0 = not known.
        max_containers: that may run at once.
        limit_seconds: how long a start may take.
        spec: as it was deployed from here; None where it was not.
        runtime: settings it was deployed with from here, as plain data.
        deployment: on this machine.
    """

    name: str
    place: Place
    endpoint: Endpoint
    model: str = ""
    usd_per_hour: float | None = None
    idle_usd: float = 0.0
    slots: int = 0
    max_containers: int = 1
    limit_seconds: float = START_SECONDS
    spec: DeploymentSpec | None = None
    runtime: Mapping[str, Any] = field(default_factory=dict)
    deployment: Deployment | None = None

    @property
    def app(self) -> str:
        """The Modal app's name; empty elsewhere."""
        return APP_PREFIX + self.name if self.place is Place.MODAL else ""


@dataclass(frozen=True, slots=True)
class About:
    """What a server says of itself."""

    model: str
    """Its name towards clients."""
    is_llama_server: bool = False
    build: str = ""
    n_slots: int = 0
    n_ctx_slot: int = 0
    takes_images: bool | None = None
    """None where it does not say."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A server that answers."""

    about: About
    was_cold: bool
    """Whether it had to be waited for."""
    seconds: float
    """How long it was waited for."""


def kind_of(text: str) -> Kind:
    """Whether a word names a deployment, an address or a model."""
    if text.startswith(("http://", "https://")):
        try:
            parts = urlsplit(text)
        except ValueError:
            # Said where the address is taken apart.
            return Kind.URL
        hub = urlsplit(hub_endpoint()).netloc
        is_file = parts.path.casefold().endswith(".gguf")
        hubs = ("huggingface.co", "hf.co", hub)
        return Kind.MODEL if is_file or parts.netloc in hubs else Kind.URL
    if any(mark in text for mark in "/\\:") or text.casefold().endswith(".gguf"):
        return Kind.MODEL
    return Kind.NAME


def find_target(text: str, model: str = "", *, ask_modal: bool = True) -> Target:
    """The server that a name or an address leads to. Nothing is asked of it yet.

    Args:
        text: name of a deployment, or address.
        model: what to ask a server of several models for.
        ask_modal: whether names are also looked for on Modal.

    Raises:
        DeploymentNotFound: nothing is deployed under this name.
        AccessDenied: its key is not here.
        UsageError: no address.
    """
    if kind_of(text) is Kind.URL:
        return _by_address(base_url(text), model)
    try:
        deployment = deployments.find(text)
    except DeploymentNotFound as error:
        if not ask_modal:
            raise
        try:
            return _on_modal(text, model)
        except DeploymentNotFound:
            if isinstance(error, DeploymentEnded):
                raise error from None
            raise
    return local_target(deployment, model)


def local_target(deployment: Deployment, model: str = "") -> Target:
    """A server on this machine.

    Raises: DeploymentNotFound when its process is gone; AccessDenied when its key cannot be read.
    """
    if not deployment.is_alive:
        raise has_ended(deployment)
    headers = {}
    if deployment.key_file:
        headers = _bearer(_key_of(deployment.name, deployment.key_file))
    return Target(
        name=deployment.name,
        place=Place.LOCAL,
        endpoint=Endpoint(base_url(deployment.url), headers),
        model=model or deployment.alias,
        usd_per_hour=deployment.usd_per_hour,
        deployment=deployment,
    )


def _by_address(url: str, model: str) -> Target:
    for deployment in deployments.listed():
        if origin_of(deployment.url) == origin_of(url):
            # It is one of ours: its key is here.
            return local_target(deployment, model)
    key = os.environ.get("GGUFCTL_API_KEY", "").strip()
    theirs = os.environ.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL
    if not key and origin_of(theirs) == origin_of(url):
        key = os.environ.get("OPENAI_API_KEY", "").strip()
    if key and not (key.isascii() and key.isprintable()):
        raise UsageError("The key in the environment holds something that is not a key.")
    return Target(
        name=redact_url(url), place=Place.URL, endpoint=Endpoint(url, _bearer(key)), model=model
    )


def _on_modal(name: str, model: str) -> Target:
    from ggufctl import modal_app
    from ggufctl.services.modal.state import remembered

    modal_app.check_token()
    found = next((each for each in modal_app.list_deployments() if each.name == name), None)
    if found is None or not found.url:
        raise DeploymentNotFound(
            f"Nothing called {quoted(name)} is deployed.",
            "See ggufctl ps. A model is written org/repo or ./file.gguf, an address https://….",
        )
    record = remembered(name)
    spec = None
    with contextlib.suppress(UsageError, TypeError, KeyError):
        spec = DeploymentSpec.from_dict(record["spec"])
    auth = found.tags.get("auth", "key")
    try:
        usd = float(found.tags.get("usd-per-hour", ""))
    except ValueError:
        usd = None
    target = Target(
        name=name,
        place=Place.MODAL,
        endpoint=Endpoint(f"{found.url}/v1", _modal_headers(name, auth, record)),
        model=model or found.tags.get("model", ""),
        usd_per_hour=usd,
    )
    if spec is None:
        return target
    return replace(
        target,
        model=model or spec.alias,
        usd_per_hour=spec.usd_per_hour + host_usd_per_hour(spec, load_prices()),
        idle_usd=idle_usd(spec, load_prices()),
        slots=spec.slots,
        max_containers=spec.max_containers,
        limit_seconds=float(max(START_SECONDS, spec.startup_timeout + 60)),
        spec=spec,
        runtime=dict((record.get("request") or {}).get("runtime") or {}),
    )


def _modal_headers(name: str, auth: str, record: Mapping[str, Any]) -> dict[str, str]:
    if auth == "none":
        return {}
    if auth == "proxy":
        from ggufctl.services.modal.ask import PROXY_HEADERS

        found = {header: os.environ.get(variable, "") for variable, header in PROXY_HEADERS}
        if not all(found.values()):
            raise AccessDenied(
                f"{quoted(name)} is behind Modal's proxy authorization, which needs its token.",
                "Set MODAL_KEY and MODAL_SECRET to a proxy token of the workspace.",
            )
        return found
    path = str((record.get("request") or {}).get("api_key_file") or "")
    if path and Path(path).exists():
        return _bearer(_key_of(name, path))
    key = os.environ.get("GGUFCTL_API_KEY", "").strip()
    if not key:
        raise AccessDenied(
            f"The key of {quoted(name)} is not on this machine: it was deployed from another.",
            "Set GGUFCTL_API_KEY to it.",
        )
    return _bearer(key)


def _key_of(name: str, path: str) -> str:
    if not Path(path).exists():
        raise AccessDenied(f"The key of {quoted(name)} is gone: {quoted(path)} is not there.")
    return open_key(Path(path)).value


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


# Being ready


@dataclass(slots=True)
class _Wait:
    """One wait for a server, and what was said of it."""

    target: Target
    on_event: OnEvent
    began: float = field(default_factory=time.monotonic)
    said: str = ""
    said_at: float = 0.0
    counted_at: float = 0.0
    n_containers: int = -1
    most_containers: int = 0
    gone_since: float = 0.0
    is_uncounted: bool = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def say(self, text: str) -> None:
        """Say what is waited for: when it changes, and now and then."""
        if text == self.said and self.seconds - self.said_at < REPORT_SECONDS:
            return
        again = f" ({self.seconds:.0f} s so far)" if text == self.said else ""
        self.said, self.said_at = text, self.seconds
        self.on_event(Event("waiting", round(self.seconds, 3), text + again))

    def count(self) -> None:
        """Ask Modal how many containers there are.

        Raises: LaunchFailed when one that was there has ended without ever answering.
        """
        if self.target.place is not Place.MODAL or self.is_uncounted:
            return
        now = time.monotonic()
        if self.counted_at and now - self.counted_at < COUNT_SECONDS:
            return
        self.counted_at = now
        from ggufctl import modal_app

        try:
            self.n_containers = modal_app.n_containers(self.target.app)
        except GgufctlError:
            self.is_uncounted = True
            return
        self.most_containers = max(self.most_containers, self.n_containers)
        if self.n_containers or not self.most_containers:
            self.gone_since = 0.0
            return
        self.gone_since = self.gone_since or now
        if now - self.gone_since > GONE_SECONDS:
            raise LaunchFailed(
                f"The container of {quoted(self.target.name)} ended before it answered; asking on "
                "would only start, and pay for, another.",
                f"Run ggufctl diagnose --app {self.target.name}.",
            )


def wait_until_ready(
    client: Client,
    target: Target,
    on_event: OnEvent = lambda event: None,
    *,
    limit_seconds: float | None = None,
) -> Ready:
    """What a server says of itself, once it can answer; a cold one is waited for, and told about.

    Args:
        client: of the target.
        target: the server.
        on_event: hears `waiting` and `price`.
        limit_seconds: longest wait; None = what is known of its start.

    Raises:
        LaunchFailed: not ready in time, or its container ended.
        AccessDenied: it does not accept the key.
        RemoteError: nobody answers there.
    """
    wait = _Wait(target, on_event)
    limit = target.limit_seconds if limit_seconds is None else limit_seconds
    was_cold = False
    while True:
        state = _state(client, target, limit - wait.seconds)
        if state == "":
            about = _about(client, target)
            if about is not None:
                return Ready(about, was_cold, wait.seconds)
            state = "not ready"
        if not was_cold and target.place is Place.MODAL and target.usd_per_hour:
            text = f"about ${target.usd_per_hour:.2f} per hour from now until it idles again"
            on_event(Event("price", 0.0, text, {"usd_per_hour": target.usd_per_hour}))
        was_cold = True
        wait.count()
        wait.say(_in_words(target, state, wait.n_containers))
        if wait.seconds > limit:
            raise LaunchFailed(
                f"{target.name} was not ready after {limit:.0f} seconds: "
                f"{_in_words(target, state, wait.n_containers)}.",
                "Allow it longer with --wait."
                if target.place is Place.URL
                else f"See ggufctl logs {target.name}.",
            )
        time.sleep(POLL_SECONDS if target.place is Place.LOCAL else REMOTE_POLL_SECONDS)


def _state(client: Client, target: Target, left_seconds: float) -> str:
    """Empty for a server that is there; else what keeps it: `cold`, `loading`, or its words."""
    holds = target.spec is not None and target.spec.hold_requests
    timeout = max(1.0, left_seconds) if holds else HEALTH_SECONDS
    try:
        reply = client.get(f"{target.endpoint.root}/health", timeout_seconds=timeout)
    except Unreachable:
        if target.place is Place.LOCAL and target.deployment and target.deployment.is_alive:
            return "loading"
        raise
    except NotReady as error:
        return error.message
    if reply.status not in (502, 503, 504):
        # Many servers know no such path; whether they are there the next question shows.
        return ""
    return _reason(reply)


def _reason(reply: Reply) -> str:
    text = reply.text.casefold()
    if "loading model" in text:
        return "loading"
    if "modal-http" in text:
        return "cold"
    return f"status {reply.status}"


def _in_words(target: Target, state: str, n_containers: int) -> str:
    if state == "loading":
        return "the server is up and loads its model"
    if target.place is Place.MODAL and (state == "cold" or n_containers >= 0):
        gpus = " or ".join(target.spec.gpus) if target.spec and target.spec.gpus else "machine"
        if n_containers > 0:
            return "cold start: a container is up and loads the model"
        return f"cold start: waiting for a {gpus} from Modal"
    if state == "cold":
        return "cold start: Modal starts a container"
    return f"the server is not ready: {escape(state, 200)}"


def _about(client: Client, target: Target) -> About | None:
    """What a server says of itself; None while it cannot answer yet."""
    reply = client.get(f"{target.endpoint.url}/models", timeout_seconds=HEALTH_SECONDS)
    if reply.status in (404, 405) and target.model:
        return About(target.model)
    if reply.status != 200:
        error = client.refusal(reply)
        if isinstance(error, NotReady):
            return None
        raise error
    listed = reply.data.get("data") if isinstance(reply.data, dict) else None
    rows = [row for row in listed or () if isinstance(row, dict)] if listed else []
    names = [row["id"] for row in rows if isinstance(row.get("id"), str)]
    model = target.model if target.model in names or not names else ""
    if not model and target.place is Place.URL and target.model:
        raise ModelNotFound(
            f"{target.name} has no model {quoted(target.model)}.", f"It has: {_some(names)}."
        )
    if not model and len(names) == 1:
        model = names[0]
    if not model:
        raise UsageError(
            f"{target.name} has {len(names)} models: say which with --model."
            if names
            else f"{target.name} does not say which model it has: say it with --model.",
            f"It has: {_some(names)}." if names else "",
        )
    return _with_props(client, target, About(model))


def _some(names: list[str]) -> str:
    more = ", …" if len(names) > 8 else ""
    return ", ".join(escape(name, 80) for name in names[:8]) + more


def _with_props(client: Client, target: Target, about: About) -> About:
    """With what only llama-server tells."""
    try:
        reply = client.get(f"{target.endpoint.root}/props", timeout_seconds=HEALTH_SECONDS)
    except GgufctlError:
        return about
    props = reply.data
    if reply.status != 200 or not isinstance(props, dict) or "total_slots" not in props:
        return about
    modalities = props.get("modalities")
    settings = props.get("default_generation_settings")
    vision = modalities.get("vision") if isinstance(modalities, dict) else None
    return replace(
        about,
        is_llama_server=True,
        build=_build(target, props),
        n_slots=_positive(props.get("total_slots")),
        n_ctx_slot=_positive(settings.get("n_ctx") if isinstance(settings, dict) else 0),
        takes_images=vision if isinstance(vision, bool) else None,
    )


def _build(target: Target, props: Mapping[str, Any]) -> str:
    """What a server runs; a library that serves does not know its own number, we do."""
    if target.deployment is not None:
        return target.deployment.build
    return escape(str(props.get("build_info", "")), 80)


def _positive(value: object) -> int:
    return value if type(value) is int and 0 < value < 1 << 31 else 0


def warnings_of(target: Target) -> Iterator[str]:
    """What should be known before anything is sent."""
    url = target.endpoint.url
    if target.endpoint.headers and url.startswith("http://") and not is_loopback(url):
        yield f"the key and everything said go to {redact_url(url)} unencrypted"
