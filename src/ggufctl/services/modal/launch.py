"""Serving on Modal: plan, price, weights, app, the start as it happens, and what to do about it."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from ggufctl import modal_app
from ggufctl.core.deployment import DeploymentSpec
from ggufctl.core.engine_log import Buffer, Comparison, Failure, FailureKind, compare
from ggufctl.core.escape import escape, quoted
from ggufctl.errors import AccessDenied, GgufctlError, LaunchFailed, RemoteError, UsageError
from ggufctl.modal_app import LogReader
from ggufctl.remote.supervisor import Event, OnEvent
from ggufctl.services.alternatives import alternatives
from ggufctl.services.calibration import note_modal
from ggufctl.services.keys import Key, kept_key, open_key
from ggufctl.services.modal.ask import ask, headers_of
from ggufctl.services.modal.fallback import Step, next_step
from ggufctl.services.modal.one import only_one, uninterrupted
from ggufctl.services.modal.plan import ModalPlan, ModalRequest, ignore, plan_modal
from ggufctl.services.modal.state import remember_rate, save, state_folder
from ggufctl.services.modal.watch import AttemptFailed, Watch
from ggufctl.services.modal.weights import bring_weights

__all__ = ["ModalServer", "serve_modal", "start_modal"]

ASK_AGAIN_SECONDS = 10.0
"""Pause between questions to a server whose container Modal does not count."""

OUTSIDE_SECONDS = 60.0
"""How long a server that has answered inside may take to be reached from outside."""

LOG_OF_BEFORE = 2000
"""Lines of the log that tell which containers run already."""


def start_modal(
    plan: ModalPlan,
    on_event: OnEvent = ignore,
    *,
    leave: Callable[[], bool] = lambda: False,
    show_output: bool = False,
    before: DeploymentSpec | None = None,
) -> ModalServer:
    """A server on Modal that has answered, also from outside.

    Args:
        plan: from `plan_modal`.
        on_event: hears of everything.
        leave: asked on Ctrl-C during the start: whether to leave what was started.
        show_output: Modal's own progress on stderr.
        before: deployed under this name now; it serves until the new one does, and stays if that
            never happens.

    Raises:
        AccessDenied: no token, or a wrong one; nothing was done.
        UsageError: the name is in use, or something else starts under it.
        LaunchFailed: it did not come up, also with what may be tried instead; nothing runs.
        GgufctlError: what Modal or the Hub say; nothing runs.
    """
    server = ModalServer(plan, on_event, show_output, before)
    with only_one(plan.spec.name):
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
    on_event: OnEvent = ignore,
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


class ModalServer:
    """One deployment on Modal, from its first attempt on; made by `start_modal`."""

    def __init__(
        self,
        plan: ModalPlan,
        on_event: OnEvent,
        show_output: bool,
        before: DeploymentSpec | None = None,
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
        if self.before is None and modal_app.is_deployed(spec.app):
            raise UsageError(
                f"{quoted(spec.name)} is deployed on Modal already.",
                f"Run ggufctl stop {spec.name} first, or give this one another --name.",
            )
        self.say("price", self.plan.price_text, usd_per_hour=round(self.plan.usd_per_hour, 4))
        self.say("plan", self.plan.summary, n_ctx=spec.n_ctx, n_parallel=spec.slots)
        if self.plan.plan.optimization is not None:
            self.say("pick", self.plan.plan.optimization.sentence)
        for text in self.plan.warnings:
            self.say("warning", text)
        began = time.monotonic()
        paths = dict(self.plan.local_paths)
        bring_weights(spec.weights, paths, self.say, show_output=self._show_output)
        self.durations["weights on the volume"] = time.monotonic() - began
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
        save(self.plan, self.url, self.key)
        remember_rate(spec.size_bytes, self.durations.get("weights", 0.0))
        note_modal(self)
        with contextlib.suppress(GgufctlError):
            # Only `models ls` misses it.
            modal_app.mark_used(spec.weights)

    def clean_up(self) -> None:
        """Leave nothing running, and no key that opens nothing; say so where that fails."""
        with uninterrupted(lambda: self.say("left", "Still stopping what was started.")):
            self._clean_up()

    def _clean_up(self) -> None:
        self._is_ending = True
        try:
            self._undo()
        except GgufctlError as error:
            # What still runs is still asked for with its key.
            self.say("left", f"{error.message} {error.hint}")
            return
        if self.key is not None and self.before is None:
            with contextlib.suppress(GgufctlError):
                modal_app.delete_secret(self.spec.name)
            if self.plan.request.api_key_file is None:
                with contextlib.suppress(OSError):
                    self.key.path.unlink()

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
        path = self.plan.request.api_key_file
        if path is None:
            folder = state_folder()
            path = folder / f"{self.spec.name}.key"
        if self.before is not None:
            # Its Secret stays as it is: containers of before may still be started with it.
            self.key = kept_key(path)
            return
        self.key = open_key(path)
        if self.key.is_shared:
            self.say("warning", f"{self.key.path} can be read by other users.")
        modal_app.store_key(self.spec.name, self.key.value)

    def _attempt(self) -> None:
        attempt = secrets.token_hex(6)
        spec = self.spec
        gpus = ", ".join(spec.gpus) or "CPU"
        self.say("deploy", f"{spec.app} on {gpus}", attempt=self.attempts)
        others = self._containers_of_before()
        began = time.monotonic()
        self._is_deployed = True
        self.url = modal_app.deploy(
            spec, attempt, roll_over=self.before is not None, show_output=self._show_output
        )
        self.durations["deployment"] = time.monotonic() - began
        self.say("deployed", self.url)
        reader = LogReader(spec.app)
        watch = Watch(self, reader, attempt, others)
        try:
            watch.run()
            self._check_outside(watch)
        finally:
            reader.close()
            watch.close()

    def _containers_of_before(self) -> frozenset[str]:
        if self.before is None:
            return frozenset()
        lines = modal_app.recent_log(self.before.app, LOG_OF_BEFORE)
        return frozenset(container for line in lines for container in line.containers)

    def _check_outside(self, watch: Watch) -> None:
        """The server answers at its address, with the key and not without."""
        spec = self.spec
        key = self.key.value if self.key else ""
        headers = headers_of(spec, key)
        end = time.monotonic() + OUTSIDE_SECONDS
        status, asked_at = 0, -ASK_AGAIN_SECONDS
        while status != 200 and (now := time.monotonic()) < end:
            # Asking a server that has died starts it again, and that is paid for.
            is_up = watch.is_counted()
            if is_up or (self.may_start_again and now - asked_at >= ASK_AGAIN_SECONDS):
                asked_at = now
                self.wakes += not is_up
                status, _ = ask(f"{self.url}/v1/models", headers)
            if status != 200:
                watch.listen(1.0)
        if status != 200:
            raise AttemptFailed(
                Failure(
                    FailureKind.OTHER,
                    f"The server answers inside its container but not at {self.url} "
                    f"(status {status}).",
                )
            )
        if spec.auth != "none":
            status, _ = ask(f"{self.url}/v1/models", {})
            if status == 200:
                raise AttemptFailed(
                    Failure(FailureKind.OTHER, "The server answers without its key: it is stopped.")
                )
        if not spec.is_embedding:
            body = {"model": spec.alias, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
            status, text = ask(f"{self.url}/v1/completions", headers, body, 60.0)
            if status != 200:
                raise AttemptFailed(
                    Failure(FailureKind.OTHER, f"The server did not answer a question: {status}.")
                )
            try:
                token = str(json.loads(text)["choices"][0].get("text", ""))
            except (ValueError, LookupError, TypeError, AttributeError):
                raise AttemptFailed(
                    Failure(FailureKind.OTHER, "The server's answer to a question is none.")
                ) from None
            self.say("answer", token, url=self.url)

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
        modal_app.deploy(before, roll_over=True)
        gpus = ", ".join(before.gpus) or "CPU"
        self.say("restored", f"{before.name} is deployed on {gpus} again")

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
