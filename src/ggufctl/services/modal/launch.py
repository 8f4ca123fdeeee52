"""Serving on Modal: plan, price, weights, app, the start as it happens, and what to do about it."""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ggufctl import modal_app
from ggufctl.core.builds import build_of, with_range
from ggufctl.core.deployment import ATTEMPT_TAG, UNTIL_TAG, DeploymentSpec
from ggufctl.core.engine_log import Buffer, Comparison, Failure, FailureKind, compare
from ggufctl.core.escape import escape, quoted
from ggufctl.errors import AccessDenied, GgufctlError, LaunchFailed, RemoteError, UsageError
from ggufctl.modal_app import LogLine, LogReader
from ggufctl.remote.supervisor import NO_SUCH_PATH, Event, OnEvent
from ggufctl.services.alternatives import alternatives
from ggufctl.services.calibration import note_modal
from ggufctl.services.deployments import DeploymentNotFound
from ggufctl.services.keys import Key, kept_key, open_key
from ggufctl.services.modal.ask import ask, headers_of
from ggufctl.services.modal.fallback import Step, next_step
from ggufctl.services.modal.one import only_one, uninterrupted
from ggufctl.services.modal.plan import ModalPlan, ModalRequest, ignore, plan_modal
from ggufctl.services.modal.state import (
    begin,
    described,
    ended,
    keep,
    note_path,
    note_text,
    own_key_path,
    remember_rate,
)
from ggufctl.services.modal.unfinished import finish_begun
from ggufctl.services.modal.watch import ASK_BEFORE_SECONDS, AttemptFailed, Watch
from ggufctl.services.modal.weights import bring_weights

__all__ = ["Former", "ModalServer", "serve_modal", "start_modal"]

ASK_AGAIN_SECONDS = 10.0
"""Pause between questions to a server whose container Modal does not count."""

OUTSIDE_SECONDS = 60.0
"""How long a server that has answered inside may take to be reached from outside."""

ANSWER_SECONDS = 60.0
"""How long the answer to a question may take."""

BUILD_SECONDS = 1800.0
"""Building the image and making the app take less."""

LOG_OF_BEFORE = 2000
"""Lines of the log that tell which containers run already."""


def start_modal(
    plan: ModalPlan,
    on_event: OnEvent = ignore,
    *,
    leave: Callable[[], bool] = lambda: False,
    show_output: bool = False,
    before: Former | None = None,
) -> ModalServer:
    """A server on Modal that has answered, also from outside.

    Args:
        plan: from `plan_modal`.
        on_event: hears of everything.
        leave: asked on Ctrl-C during the start: whether to leave what was started.
        show_output: Modal's own progress on stderr.
        before: what is deployed under this name now; it serves until the new one does, and stays
            if that never happens.

    Raises:
        AccessDenied: no token, or a wrong one; nothing was done.
        UsageError: the name is in use, or something else starts under it, here or elsewhere.
        LaunchFailed: it did not come up, also with what may be tried instead; nothing runs.
        GgufctlError: what Modal or the Hub say; nothing runs.
    """
    server = ModalServer(plan, on_event, show_output, before)
    with only_one(plan.spec.name):
        try:
            server.start()
        except KeyboardInterrupt:
            if leave():
                server.leave()
            else:
                server.clean_up()
            raise
        except BaseException:
            server.clean_up()
            raise
    return server


def serve_modal(
    request: ModalRequest,
    on_event: OnEvent = ignore,
    *,
    leave: Callable[[], bool] = lambda: False,
    show_output: bool = False,
) -> ModalServer:
    """Plan and start in one; without a token it fails before the model is looked at.

    Raises: as `plan_modal` and `start_modal`.
    """
    try:
        modal_app.check_token()
    except AccessDenied as error:
        raise AccessDenied(
            error.message, "Run modal setup, or serve on this machine with --on local."
        ) from None
    plan = plan_modal(request, on_event)
    return start_modal(plan, on_event, leave=leave, show_output=show_output)


@dataclass(frozen=True, slots=True)
class Former:
    """What a switch replaces."""

    spec: DeploymentSpec
    attempt: str = ""
    """Which of our attempts deployed it."""
    is_from_here: bool = True
    """Whether its key is to be on this machine."""
    is_settled: bool = False
    """Whether that attempt is known to be over."""


class ModalServer:
    """One deployment on Modal, from its first attempt on; made by `start_modal`."""

    def __init__(
        self,
        plan: ModalPlan,
        on_event: OnEvent,
        show_output: bool,
        before: Former | None = None,
    ) -> None:
        self.plan = plan
        self.before = before
        self.attempts = 0
        self.wakes = 0
        """How often a server was asked where that may have started a container."""
        self.containers_heard = 0
        """How many containers have said that they start."""
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
        self._is_ending = False
        self._attempt_mark = ""
        self._claimed = ""

    @property
    def spec(self) -> DeploymentSpec:
        """As it was last deployed."""
        return self.plan.spec

    @property
    def may_start_again(self) -> bool:
        """Whether one more container may be paid for."""
        return max(self.wakes, self.containers_heard) < self.plan.request.max_attempts

    @property
    def base_url(self) -> str:
        """For clients of OpenAI's API."""
        return f"{self.url}/v1"

    @property
    def status_when_up(self) -> int:
        """What it answers when it is asked for its models: without its key, that it wants one."""
        return 401 if self.spec.auth == "key" and self.key is None else 200

    @property
    def comparison(self) -> tuple[Comparison, ...]:
        """Planned and actual memory, term by term; empty when the engine did not tell."""
        estimate = self.plan.row.estimate
        if estimate is not None:
            build = build_of(self.spec.engine, "")
            estimate = with_range(build, self.plan.plan.model.shape, estimate)
        buffers = [Buffer(str(d), str(t), int(n)) for d, t, n in self.found.get("buffers", ())]
        return compare(estimate, buffers) if estimate is not None and buffers else ()

    def start(self) -> None:
        """Deploy and watch, with less memory or other GPUs where it runs out and may."""
        spec = self.spec
        headers_of(spec, "")
        modal_app.check_token()
        finish_begun(spec.name, lambda text: self.say("warning", text))
        self._require_free()
        self.say("price", self.plan.price_text, usd_per_hour=round(self.plan.usd_per_hour, 4))
        self.say("plan", self.plan.summary, n_ctx=spec.n_ctx, n_parallel=spec.slots)
        if self.plan.plan.optimization is not None:
            self.say("pick", self.plan.plan.optimization.sentence)
        for text in self.plan.warnings:
            self.say("warning", text)
        began = time.monotonic()
        bring_weights(
            spec.weights,
            dict(self.plan.local_paths),
            self.say,
            urls=self.plan.urls,
            show_output=self._show_output,
        )
        self.durations["weights on the volume"] = time.monotonic() - began
        self._claim()
        # Only now is nobody else between this look and the deployment.
        self._require_free()
        if spec.auth == "key":
            self._make_key()
        while True:
            self.attempts += 1
            try:
                self._attempt()
            except AttemptFailed as error:
                self._undo()
                step = next_step(self.plan, error.failure, self.attempts)
                if step is None or not self.may_start_again:
                    raise self._launch_failed(error.failure) from None
                self._announce(error.failure, step)
                self.plan = step.plan
            else:
                break
        self._keep()
        remember_rate(spec.size_bytes, self.durations.get("weights", 0.0))
        note_modal(self)

    def leave(self) -> None:
        """Leave what was started as it is; where nothing is deployed yet, nothing is left."""
        with contextlib.suppress(GgufctlError):
            tags = modal_app.tags_of(self.spec.name)
            if tags is not None and tags.get(ATTEMPT_TAG) == self._attempt_mark:
                self._keep()
                return
        self.clean_up()

    def _require_free(self) -> None:
        """Nothing is deployed under a new name, and nobody switches what is to be switched.

        Raises: UsageError; DeploymentNotFound.
        """
        name, before = self.spec.name, self.before
        tags = modal_app.tags_of(name)
        if before is None:
            if tags is not None:
                raise UsageError(
                    f"{quoted(name)} is deployed on Modal already.",
                    f"Run ggufctl stop {name} first, or give this one another --name.",
                )
            return
        if tags is None:
            raise DeploymentNotFound(
                f"{quoted(name)} was stopped from elsewhere meanwhile.", "See ggufctl ps."
            )
        is_same = tags.get(ATTEMPT_TAG, "") == before.attempt
        until = tags.get(UNTIL_TAG, "")
        is_under_way = until.isascii() and until.isdigit() and int(until) > time.time()
        if is_under_way and not (is_same and before.is_settled):
            raise modal_app.NameTaken(
                f"Another machine is starting or switching {quoted(name)}.",
                "Wait for it; ggufctl stop ends it.",
            )
        if not is_same:
            raise UsageError(
                f"{quoted(name)} was switched from elsewhere meanwhile.",
                "See ggufctl ps, and run this again.",
            )

    def _claim(self) -> None:
        """Let nobody else start anything under this name, whatever happens to this process."""
        name, before = self.spec.name, self.before
        former = None
        if before is not None:
            former = {"spec": before.spec.to_dict(), "attempt": before.attempt}
        begin(name, before=former, claims_at=time.time())
        try:
            self._claimed = modal_app.claim(name)
        except modal_app.NameTaken:
            ended(name)
            raise
        begin(name, claim=self._claimed)

    def _give_back(self) -> None:
        """Let others have the name; nothing is under way any more."""
        if self._claimed:
            modal_app.release(self.spec.name, self._claimed)
            self._claimed = ""
            ended(self.spec.name)

    def _keep(self) -> None:
        """Remember what is deployed, here and for other machines, and that its start is over."""
        spec = self.spec
        document = described(self.plan, self.url, self.key, self._attempt_mark)
        keep(spec.name, document)
        # What is not noted there is missed by other machines and by `models ls`, and by no server.
        with contextlib.suppress(GgufctlError):
            modal_app.mark_used(spec.weights, {note_path(spec.name): note_text(document)})
        with contextlib.suppress(GgufctlError):
            modal_app.replace_tags(spec.name, self._attempt_mark)
        with contextlib.suppress(GgufctlError):
            self._give_back()

    def clean_up(self) -> None:
        """Leave nothing running, and no key that opens nothing; say so where that fails."""
        with uninterrupted(lambda: self.say("left", "Still stopping what was started.")):
            self._clean_up()

    def _clean_up(self) -> None:
        self._is_ending = True
        try:
            self._undo()
        except GgufctlError as error:
            # What still runs is still asked for with its key; whoever comes next ends it.
            self.say("left", f"{error.message} {error.hint}")
            with contextlib.suppress(GgufctlError):
                modal_app.release(self.spec.name, self._claimed)
            return
        if self.key is not None and self.before is None:
            with contextlib.suppress(GgufctlError):
                modal_app.delete_secret(self.spec.name)
            if self.plan.request.api_key_file is None:
                with contextlib.suppress(OSError):
                    self.key.path.unlink()
        with contextlib.suppress(GgufctlError):
            self._give_back()

    def say(self, kind: str, text: str, **data: Any) -> None:
        """Tell who listens."""
        seconds = round(time.monotonic() - self._started, 3)
        try:
            self._on_event(Event(kind, seconds, text, data))
        except OSError:
            # Nobody reads any more: that ends a start, and never its end.
            if not self._is_ending:
                raise

    def _make_key(self) -> None:
        path = self.plan.request.api_key_file or own_key_path(self.spec.name)
        if self.before is not None:
            # Its Secret stays as it is: containers of before may still be started with it.
            if self.before.is_from_here or path.exists():
                self.key = kept_key(path)
            else:
                self.say(
                    "warning",
                    f"The key of {self.spec.name} is not on this machine: what it answers from "
                    "outside is not looked at.",
                )
            return
        begin(self.spec.name, has_stored_key=True, key_file=str(path))
        self.key = open_key(path)
        if self.key.is_shared:
            self.say("warning", f"{self.key.path} can be read by other users.")
        modal_app.store_key(self.spec.name, self.key.value)

    def _attempt(self) -> None:
        attempt = self._attempt_mark = secrets.token_hex(6)
        spec = self.spec
        gpus = ", ".join(spec.gpus) or "CPU"
        self.say("deploy", f"{spec.app} on {gpus}", attempt=self.attempts)
        log_of_before = self._log_of_before()
        began = time.monotonic()
        until = self._until()
        # Whoever comes after this process was killed knows what it was about to do.
        begin(
            spec.name,
            attempt=attempt,
            document=described(self.plan, "", self.key, attempt),
        )
        self._is_deployed = True
        self.url = modal_app.deploy(
            spec,
            attempt,
            until=until,
            roll_over=self.before is not None,
            show_output=self._show_output,
        )
        self.durations["deployment"] = time.monotonic() - began
        self.say("deployed", self.url)
        reader = LogReader(spec.app)
        watch = Watch(self, reader, attempt, log_of_before, until)
        try:
            watch.run()
            self._check_outside(watch)
        finally:
            reader.close()
            watch.close()

    def _until(self) -> int:
        """When this attempt is over at the latest, in seconds since the epoch."""
        spec, request = self.spec, self.plan.request
        seconds = BUILD_SECONDS + request.queue_seconds + spec.startup_timeout + OUTSIDE_SECONDS
        return math.ceil(time.time() + seconds + ASK_BEFORE_SECONDS)

    def _log_of_before(self) -> tuple[LogLine, ...]:
        if self.before is None:
            return ()
        return modal_app.recent_log(self.before.spec.app, LOG_OF_BEFORE)

    def _check_outside(self, watch: Watch) -> None:
        """The server answers at its address, with the key and not without."""
        spec = self.spec
        key = self.key.value if self.key else ""
        headers = headers_of(spec, key)
        end = time.monotonic() + OUTSIDE_SECONDS
        status, asked_at, wanted = 0, -ASK_AGAIN_SECONDS, self.status_when_up
        while status != wanted and (now := time.monotonic()) < end:
            # Asking a server that has died starts it again, and that is paid for. It is up by its
            # own word where Modal has never counted it.
            is_up = watch.is_counted() or not watch.was_counted
            if is_up or (self.may_start_again and now - asked_at >= ASK_AGAIN_SECONDS):
                asked_at = now
                self.wakes += not is_up
                status, _ = ask(f"{self.url}/v1/models", headers)
            if status != wanted:
                watch.listen(1.0)
        if status != wanted:
            raise AttemptFailed(
                Failure(
                    FailureKind.OTHER,
                    f"The server answers inside its container but not at {self.url} "
                    f"(status {status}).",
                )
            )
        if spec.auth != "none" and self._is_open():
            raise AttemptFailed(
                Failure(FailureKind.OTHER, "The server answers without its key: it is stopped.")
            )
        # Its container has asked it for a token itself.
        if not spec.is_embedding and wanted == 200:
            status, text = self._question(headers)
            if status != 200:
                raise AttemptFailed(
                    Failure(FailureKind.OTHER, f"The server did not answer a question: {status}.")
                )
            try:
                choice = json.loads(text)["choices"][0]
                token = str(choice.get("text") or choice.get("message", {}).get("content") or "")
            except (ValueError, LookupError, TypeError, AttributeError):
                raise AttemptFailed(
                    Failure(FailureKind.OTHER, "The server's answer to a question is none.")
                ) from None
            self.say("answer", token, url=self.url)

    def _is_open(self) -> bool:
        """Whether the server works for somebody who has no key."""
        status, _ = ask(f"{self.url}/v1/models", {})
        # Some builds tell everybody what they serve, and no more than that.
        return status == 200 and self._question({})[0] == 200

    def _question(self, headers: Mapping[str, str]) -> tuple[int, str]:
        """Status and text of the answer to one question."""
        model, url = {"model": self.spec.alias}, f"{self.url}/v1"
        if self.spec.is_embedding:
            return ask(f"{url}/embeddings", headers, {**model, "input": "Hello"}, ANSWER_SECONDS)
        wanted = {**model, "max_tokens": 1, "temperature": 0}
        body: dict[str, Any] = {**wanted, "prompt": "Hello"}
        status, text = ask(f"{url}/completions", headers, body, ANSWER_SECONDS)
        if status in NO_SUCH_PATH:
            body = {**wanted, "messages": [{"role": "user", "content": "Hello"}]}
            status, text = ask(f"{url}/chat/completions", headers, body, ANSWER_SECONDS)
        return status, text

    def _undo(self) -> None:
        """Take back what an attempt deployed: the former comes back, or nothing is left."""
        if not self._is_deployed:
            return
        for pause in (0.5, 2.0, 5.0):
            try:
                self._take_back()
            except (RemoteError, AccessDenied):
                time.sleep(pause)
            else:
                self._is_deployed = False
                return
        raise RemoteError(
            f"The app {self.spec.app} could not be "
            f"{'set back' if self.before else 'stopped'} and may cost money.",
            f"Run modal app {'rollback' if self.before else 'stop'} {self.spec.app}.",
        )

    def _take_back(self) -> None:
        before = self.before
        if before is None:
            modal_app.stop_app(self.spec.app)
            self.say("stopped", f"{self.spec.app} is stopped")
            return
        modal_app.deploy(before.spec, before.attempt, roll_over=True)
        gpus = ", ".join(before.spec.gpus) or "CPU"
        self.say("restored", f"{before.spec.name} is deployed on {gpus} again")

    def _announce(self, failure: Failure, step: Step) -> None:
        price = step.plan.usd_per_hour
        self.steps.append(step.text)
        self.say(
            "fallback",
            f"{failure.text} Trying {step.text}, about ${price:.2f} per hour.",
            attempt=self.attempts + 1,
            usd_per_hour=round(price, 4),
        )

    def _launch_failed(self, failure: Failure) -> LaunchFailed:
        text = failure.text
        if failure.line:
            text += f" The engine's words: {escape(failure.line, 300).rstrip('.')}."
        if self.steps:
            text += f" Tried as well: {'; '.join(self.steps)}."
        hint = failure.hint
        if failure.kind.is_out_of_memory:
            others = alternatives(self.plan.plan.model)
            if others:
                hint = f"Smaller quants of this model: {', '.join(others)}."
        if self.before is not None:
            text += " The former deployment serves on."
        return LaunchFailed(text, hint or ("" if self.before else "Nothing is left running."))
