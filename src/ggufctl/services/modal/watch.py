"""One start of a server on Modal, as its log and its containers tell it.

A server that fails is started again, and paid for, whenever somebody asks its address. So it is
asked once to wake it; after that its log and its containers are watched, and the first line that
says that it does not come up ends the attempt.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ggufctl import modal_app
from ggufctl.core.engine_log import EngineLog, Failure, FailureKind, exit_failure, hide_keys
from ggufctl.core.escape import escape
from ggufctl.errors import RemoteError
from ggufctl.modal_app import LogLine, LogReader
from ggufctl.remote.container import EVENT_PREFIX
from ggufctl.services.modal.ask import HTTP_TIMEOUT_SECONDS, ask, headers_of

if TYPE_CHECKING:
    from ggufctl.services.modal.launch import ModalServer

__all__ = ["AttemptFailed", "Watch"]

WAKE_AGAIN_SECONDS = 20.0
"""Without any sign of a container after this long, the server is asked once more."""

GONE_SECONDS = 45.0
"""A container that says nothing and is not counted for so long has ended."""

ASK_BEFORE_SECONDS = 60.0
"""No further container is asked for when a start has less than this left."""

SILENCE_SECONDS = 5.0
"""After this long without a line, Modal is asked whether the container still is there."""

QUIET_SECONDS = 60.0
"""A container that is counted and says nothing for so long may answer all the same."""

_CONTAINER_ENDED = (
    (
        re.compile(r"initiali[sz]ing for too long(?:: (\d+))?"),
        FailureKind.TIMEOUT,
        "Modal ended the container: it was not ready after {0} seconds.",
        "Allow it longer with --startup-timeout.",
    ),
    (
        re.compile(r"Runner failed with exception: (.+)"),
        FailureKind.OTHER,
        "The container failed: {0}",
        "",
    ),
    (
        re.compile(r"(DeserializationError.*)"),
        FailureKind.OTHER,
        "The container cannot read what was deployed: {0}",
        "Use the same minor version of Python as when it was deployed.",
    ),
    (
        re.compile(r"Runner terminated|\bOOM\b|OOM-?[Kk]ill|ran out of memory|SIGKILL"),
        FailureKind.OOM_HOST,
        "Modal killed the container, most likely because host memory ran out.",
        "Use a smaller -c or quant.",
    ),
    (
        re.compile(r"SIGSEGV|[Ss]egmentation fault"),
        FailureKind.CRASH,
        "The engine crashed with a segmentation fault.",
        "",
    ),
)
"""What Modal says of a container that has ended, where it is more than a number."""

_EXIT_CODE = re.compile(
    r"(?:\b[Ee]xit(?:ed|ing)?|\b[Tt]erminated|\b[Dd]ied|[Rr]unner failed)"
    r"(?: [a-z-]+){0,4} (?:code|status|signal):? \(?(-?\d+)"
)
_REFUSALS = {
    401: (
        "Modal does not accept the proxy token.",
        "Set MODAL_KEY and MODAL_SECRET to a proxy token of this workspace.",
    ),
    402: (
        "Modal starts no container: the workspace has no budget left.",
        "See its usage and billing settings.",
    ),
    403: ("Modal refuses requests to the server.", "See the workspace's settings of access."),
}
"""What Modal answers in place of a server that has not started: waiting longer is no use."""

_QUEUED = re.compile(r"waiting to be scheduled on an? (?:GPU_)?(\S+)")


class AttemptFailed(Exception):
    """The server does not come up, and why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Watch:
    """One start as its log tells it.

    Args:
        server: what is started.
        reader: of its log.
        attempt: mark of this start's own events.
        before: of the log of what is to be replaced, what there was before this start.
        until: when this start is over at the latest, in seconds since the epoch.
    """

    def __init__(
        self,
        server: ModalServer,
        reader: LogReader,
        attempt: str,
        before: Sequence[LogLine] = (),
        until: float = math.inf,
    ) -> None:
        self.server = server
        self.spec = server.spec
        self.reader = reader
        self.attempt = attempt
        self.others = {container for line in before for container in line.containers}
        """Containers that are not of this start."""
        self.since = max((line.at for line in before), default=None)
        self.until = until
        self.is_asked_for = False
        self.engine = EngineLog()
        self.keys = (server.key.value,) if server.key else ()
        self.is_ready = False
        self.container_at: float | None = None
        self.last_line_at = self.heard_at = self.began = time.monotonic()
        """When Modal was last heard or asked, and when last heard."""
        self.fatal_at: float | None = None
        self.ended: Failure | None = None
        self.ended_at = 0.0
        self.asked = 0
        self.refusal = 0
        self.gone_since = 0.0
        self.queued_for = ""
        self.was_counted = False
        """Whether Modal has counted a container of this start: only then does it mean something
        that it counts none."""
        self.heard: set[tuple[str, int]] = set()
        """Who said which events: a log may tell them twice."""
        self.known: set[str] = set()
        """Who said any."""

    def run(self) -> None:
        """Return once the server has answered inside its container.

        Raises: AttemptFailed.
        """
        self._wake()
        self.server.say("phase", "queued for GPU" if self.spec.gpus else "queued")
        while not self.is_ready:
            line = self.reader.next(0.25)
            if line is not None:
                self.last_line_at = self.heard_at = time.monotonic()
                self.gone_since = 0.0
                self._take(line)
            self._check_clock()

    def listen(self, seconds: float) -> None:
        """Hear for a while whether the server is still well.

        Raises: AttemptFailed.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            line = self.reader.next(left)
            if line is not None:
                self._take(line)
        if self.ended is not None:
            raise AttemptFailed(self.ended)

    def _wake(self) -> None:
        """Ask the server once, without waiting for the answer: that starts a container."""
        self.asked += 1
        self.server.wakes += 1
        key = self.keys[0] if self.keys else ""
        headers = headers_of(self.spec, key)
        url = f"{self.server.url}/health"
        timeout = HTTP_TIMEOUT_SECONDS
        if self.spec.hold_requests:
            timeout = self.server.plan.request.queue_seconds + self.spec.startup_timeout

        def wake() -> None:
            status, _ = ask(url, headers, None, timeout)
            if status in _REFUSALS:
                self.refusal = status

        threading.Thread(target=wake, name="wake", daemon=True).start()

    def is_counted(self) -> bool:
        """Whether Modal counts a container of the server: asking it starts no other then."""
        try:
            return self._n_containers() > 0
        except RemoteError:
            return False

    def _n_containers(self) -> int:
        n = modal_app.n_containers(self.spec.app)
        self.was_counted |= n > 0
        return n

    def _ask_for_another(self) -> None:
        """Want one container more, where those of before answer everything that comes."""
        # A container lets itself go until then; what is asked for later would be kept.
        if not self.is_asked_for and time.time() < self.until - ASK_BEFORE_SECONDS:
            self.is_asked_for = True
            modal_app.set_min_containers(self.spec.app, 1)

    def close(self) -> None:
        """Want no container any more that nobody asks for."""
        if self.is_asked_for:
            self.is_asked_for = False
            modal_app.set_min_containers(self.spec.app, 0)

    def _answers(self) -> bool:
        headers = headers_of(self.spec, self.keys[0] if self.keys else "")
        return ask(f"{self.server.url}/v1/models", headers)[0] == self.server.status_when_up

    def _take(self, line: LogLine) -> None:
        text = hide_keys(line.text, self.keys)
        if text.startswith(EVENT_PREFIX):
            with contextlib.suppress(ValueError):
                event = json.loads(text[len(EVENT_PREFIX) :])
                if not isinstance(event, dict):
                    return
                if event.get("attempt") != self.attempt:
                    self.others.update(line.containers)
                    return
                if self._is_new(event):
                    self._hear(event)
            return
        is_old = not line.containers and self.since is not None and line.at <= self.since
        if is_old or self.others.intersection(line.containers):
            return
        text = escape(text, 2000)
        self.server.say("log", text, source=line.source)
        if (line.source == "system" or text.startswith("Runner ")) and self._hear_modal(text):
            return
        phase = self.engine.feed(text)
        if phase is not None:
            self._note_container()
        if self.engine.failure is not None and self.fatal_at is None:
            self.fatal_at = time.monotonic()

    def _is_new(self, event: Mapping[str, Any]) -> bool:
        mark = (str(event.get("by", "")), event.get("number"))
        if not isinstance(mark[1], int):
            return True
        is_new = mark not in self.heard
        self.heard.add((mark[0], mark[1]))
        return is_new

    def _note_container(self) -> None:
        if self.container_at is None:
            self.container_at = time.monotonic()
            self.server.durations["queued"] = self.container_at - self.began
            self.server.say("phase", "container started")

    def _hear(self, event: Mapping[str, Any]) -> None:
        self._note_container()
        kind, text = str(event.get("event")), escape(str(event.get("text", "")), 2000)
        self._count_container(str(event.get("by", "")))
        if gpus := event.get("gpus"):
            self.server.gpu = {str(k): escape(str(v), 100) for k, v in gpus[0].items()}
        if kind == "container":
            self.server.say("container", self._surroundings(), gpus=gpus or [])
        elif kind in ("failed", "died"):
            raise AttemptFailed(self._failure(event, text))
        elif kind == "ready":
            self.server.found = dict(event)
            took = event.get("durations") or {}
            self.server.durations |= {str(k): float(v) for k, v in took.items()}
            self.is_ready = True
            self.server.say("ready", "the engine answers in its container")
        elif kind in ("phase", "progress", "healthy", "token", "start"):
            data = {k: v for k, v in event.items() if k in ("after", "took")}
            self.server.say(kind, text, **data)

    def _count_container(self, who: str) -> None:
        """A server that fails and is started again and again is paid for each time.

        Raises: AttemptFailed.
        """
        # Its first event may come last.
        if who in self.known:
            return
        self.known.add(who)
        server, limit = self.server, self.server.plan.request.max_attempts
        self.is_counted()
        server.containers_heard += 1
        is_alone = self.spec.max_containers == 1 and not self.others
        if server.containers_heard > limit or (self.is_ready and is_alone):
            raise AttemptFailed(
                self.ended
                or self.engine.reason
                or Failure(FailureKind.CRASH, "The container ended and was started again.")
            )

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
        known = self.engine.reason
        hint = known.hint if known is not None and known.kind is kind else ""
        if kind is FailureKind.TIMEOUT:
            hint = "Allow it longer with --startup-timeout."
        return Failure(kind, text, hint, escape(str(event.get("line", "")), 500))

    def _hear_modal(self, text: str) -> bool:
        """Act on what Modal says; whether it is something that Modal says."""
        if found := _QUEUED.search(text):
            if found[1] != self.queued_for:
                self.queued_for = found[1]
                self.server.say("queued", f"Modal has no {found[1]} free; waiting")
            return True
        ended = self._ended(text)
        if ended is not None and self.ended is None:
            self.ended, self.ended_at = ended, time.monotonic()
        return ended is not None

    def _ended(self, text: str) -> Failure | None:
        """What a line says of the end of a container, if it does."""
        if found := _EXIT_CODE.search(text):
            known = exit_failure(int(found[1]))
            if known.kind is not FailureKind.OTHER:
                return replace(known, line=text.strip())
            said = f"The container ended with exit code {found[1]}."
            return Failure(FailureKind.CRASH, said, "", text.strip())
        for pattern, kind, words, hint in _CONTAINER_ENDED:
            if found := pattern.search(text):
                groups = (group or str(self.spec.startup_timeout) for group in found.groups())
                said = words.format(*(escape(group, 300) for group in groups))
                return Failure(kind, said, hint, text.strip())
        return None

    def _check_clock(self) -> None:
        now = time.monotonic()
        # What the engine or the supervisor says is worth a short wait: Modal knows less of it.
        if self.ended is not None and now - self.ended_at > 1.5:
            raise AttemptFailed(self.engine.reason or self.ended)
        if self.fatal_at is not None and now - self.fatal_at > 5.0:
            raise AttemptFailed(self.engine.failed(1))
        if self.container_at is None:
            self._check_refusal()
            self._check_queue(now)
        elif now - self.container_at > self.spec.startup_timeout + 30:
            raise AttemptFailed(
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
            raise AttemptFailed(
                Failure(
                    FailureKind.OTHER,
                    f"No {gpus} became free within {limit:.0f} seconds.",
                    "Name further GPUs with --gpu, or try again later.",
                )
            )

    def _check_refusal(self) -> None:
        if self.refusal:
            text, hint = _REFUSALS[self.refusal]
            raise AttemptFailed(Failure(FailureKind.OTHER, text, hint))

    def _check_presence(self, now: float) -> None:
        try:
            n = self._n_containers()
        except RemoteError as error:
            self._check_app(error)
            return
        is_quiet = now - self.heard_at > QUIET_SECONDS
        if self.reader.problem:
            self.server.say("warning", f"The log cannot be read: {self.reader.problem}")
        if self.reader.problem or is_quiet:
            # Where a container is, a question starts no other; whose answer it is must be clear.
            self.is_ready = n > 0 and not self.others and self._answers()
        if n > 0:
            self.gone_since = 0.0
            waited = now - self.began
            if self.container_at is None:
                self.server.say("queued", f"waiting for a container for {waited:.0f} s")
                if self.others and waited > WAKE_AGAIN_SECONDS:
                    self._ask_for_another()
            return
        is_left = self.container_at is None and self.server.may_start_again
        if self.was_counted and not is_left:
            # Modal may not count what still starts: only a long silence means that it is gone.
            self.gone_since = self.gone_since or now
            if now - self.gone_since > GONE_SECONDS:
                raise AttemptFailed(
                    self.ended
                    or self.engine.reason
                    or Failure(FailureKind.CRASH, "The container ended without saying why.")
                )
        elif is_left and now - self.began > WAKE_AGAIN_SECONDS * self.asked:
            self._wake()

    def _check_app(self, error: RemoteError) -> None:
        """Whether what is waited for is deployed at all.

        Raises: AttemptFailed.
        """
        try:
            is_there = modal_app.is_deployed(self.spec.app)
        except RemoteError:
            is_there = True
        if not is_there:
            raise AttemptFailed(
                Failure(
                    FailureKind.OTHER,
                    f"The app {self.spec.app} was stopped while it was being started.",
                    "Somebody else did that, or Modal: see its dashboard.",
                )
            )
        self.server.say("warning", error.message)
