"""Measuring a server: the same prompts at 1, 2, 4 … streams at once, within limits."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ggufctl.client import AnswerBroken, Client, Piece, Timings, piece_of
from ggufctl.core.bench import (
    Budget,
    LevelResult,
    Sample,
    Settings,
    levels,
    prompt_text,
    requests_of,
    summarise,
)
from ggufctl.core.escape import escape, quoted
from ggufctl.core.ranges import Range
from ggufctl.core.runtime import Runtime
from ggufctl.errors import AccessDenied, GgufctlError, RemoteError, UsageError
from ggufctl.remote.supervisor import Event, OnEvent
from ggufctl.services.chat import read_text
from ggufctl.services.target import About, Place, Target, wait_until_ready

__all__ = ["BenchResult", "Prediction", "read_report", "run_bench"]

POLL_SECONDS = 0.1
LAST_SECONDS = 5.0
"""How long streams that were told to end may take to do so."""

DEFAULT_STREAMS = 4
"""Streams at most where a server does not say how many it serves at once."""

SCALE_DOWN_SLACK = 180.0
"""How much later than promised a container without requests may end."""

COUNT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the plan expects of the same server."""

    gpu: str
    count: int
    tokens_per_second: Range
    """Of one stream."""
    total_tokens_per_second: Range
    """Of as many streams as there are slots."""
    n_slots: int
    prompt_tokens_per_second: Range
    first_token_seconds: Range
    """Of one prompt of the benchmark's length."""
    cold_start_seconds: Range | None


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What was measured, and within which limits.

    Attributes:
        target: what was measured.
        about: what it says of itself.
        settings: what was asked, `concurrency` filled in.
        prompts: `tokens` where prompts have exactly the length asked for, else `text`.
        cold_start_seconds: from the first sign of life asked for to the first token; None = warm.
        levels: by streams at once.
        n_requests: that were made, the warm-up included.
        seconds: that it took.
        usd: what it cost, the idle time that follows included; None = not known.
        stopped_by: `""`, `requests`, `time`, `money` or `interrupted`.
        prediction: of the plan, where one is known.
    """

    target: Target
    about: About
    settings: Settings
    prompts: str
    cold_start_seconds: float | None
    levels: tuple[LevelResult, ...]
    n_requests: int
    seconds: float
    usd: float | None
    stopped_by: str
    prediction: Prediction | None


def run_bench(
    client: Client,
    target: Target,
    settings: Settings,
    on_event: OnEvent = lambda event: None,
    *,
    cold: bool = False,
    wait_seconds: float | None = None,
) -> BenchResult:
    """Measure a server.

    Args:
        client: of the target.
        target: the server.
        settings: what is asked, and the limits.
        on_event: hears `price`, `waiting`, `bench` and `warning`.
        cold: wait until no container runs, so that the start is measured as well.
        wait_seconds: longest wait for a start; None = what is known of it.

    Raises:
        UsageError: limits that cannot be kept, prompts that do not fit.
        GgufctlError: as asking does, when nothing could be measured at all.
    """
    is_cold = _is_cold(target)
    prediction = _predicted(target, settings)
    budget = _budget(target, settings, prediction, is_cold=is_cold or cold)
    if target.place is Place.MODAL:
        _say_price(target, budget, on_event)
    if cold and not is_cold:
        _wait_for_scale_down(target, on_event)
    began = time.monotonic()
    ready = wait_until_ready(
        client, target, on_event, limit_seconds=_start_limit(target, budget, wait_seconds)
    )
    settings = _filled_in(settings, target, ready.about)
    run = _Run(client, target, ready.about, settings, budget, on_event, began)
    run.warm_up()
    cold_start = time.monotonic() - began if ready.was_cold else None
    found = run.measure()
    seconds = time.monotonic() - began
    return BenchResult(
        target=target,
        about=ready.about,
        settings=settings,
        prompts="tokens" if ready.about.is_llama_server else "text",
        cold_start_seconds=cold_start,
        levels=found,
        n_requests=run.n_requests,
        seconds=seconds,
        usd=None if target.usd_per_hour is None else budget.spent_usd(seconds),
        stopped_by=run.stopped_by,
        prediction=prediction,
    )


def read_report(path: str) -> Mapping[str, Any]:
    """An earlier report, to compare with.

    Raises: UsageError.
    """
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{quoted(path)} is no report of ggufctl bench --json.")
    return found


def _start_limit(target: Target, budget: Budget, wait_seconds: float | None) -> float:
    """How long a start may take, and be paid for."""
    limit = target.limit_seconds if wait_seconds is None else wait_seconds
    return min(limit, budget.seconds)


def _filled_in(settings: Settings, target: Target, about: About) -> Settings:
    """With the streams at once, as many as there are slots; refuses what has no room."""
    n_slots = about.n_slots or target.slots or DEFAULT_STREAMS
    filled = replace(settings, concurrency=settings.concurrency or levels(n_slots))
    needed = settings.n_prompt + settings.n_predict
    if about.n_ctx_slot and needed > about.n_ctx_slot:
        raise UsageError(
            f"{settings.n_prompt} tokens of prompt and {settings.n_predict} of answer do not fit "
            f"the {about.n_ctx_slot} tokens that a slot of {target.name} has.",
            "Use a smaller --n-prompt or -n.",
        )
    return filled


# Money


def _is_cold(target: Target) -> bool:
    """Whether no container of a deployment on Modal runs."""
    if target.place is not Place.MODAL:
        return False
    from ggufctl import modal_app

    return modal_app.n_containers(target.app) == 0


def _budget(
    target: Target, settings: Settings, prediction: Prediction | None, *, is_cold: bool
) -> Budget:
    """What it may cost.

    Raises: UsageError when the least that it costs is more than that.
    """
    if settings.max_usd is not None and target.usd_per_hour is None:
        raise UsageError(
            f"What {target.name} costs is not known, so --max-usd cannot be kept.",
            "Say it with --usd-per-hour.",
        )
    start = 0.0
    if is_cold and target.usd_per_hour:
        known = prediction.cold_start_seconds if prediction is not None else None
        start = known.best if known is not None else 60.0
    most = max(settings.concurrency, default=1)
    n = min(target.max_containers, math.ceil(most / target.slots)) if target.slots else 1
    budget = Budget(
        usd_per_hour=(target.usd_per_hour or 0.0) * n,
        idle_usd=target.idle_usd * n,
        start_seconds=start,
        max_usd=settings.max_usd,
    )
    if settings.max_usd is not None and budget.least_usd > settings.max_usd:
        raise UsageError(
            f"This costs at least ${budget.least_usd:.3f}, of which ${budget.idle_usd:.3f} is for "
            f"the time it stays up afterwards: more than --max-usd {settings.max_usd:g}.",
            "Nothing was asked, and nothing spent.",
        )
    return budget


def _say_price(target: Target, budget: Budget, on_event: OnEvent) -> None:
    if target.usd_per_hour is None:
        text = f"what {target.name} costs is not known here"
    else:
        text = (
            f"about ${budget.usd_per_hour:.2f} per hour, at least ${budget.least_usd:.3f} in all; "
            f"${budget.idle_usd:.3f} of it for the time it stays up afterwards"
        )
    on_event(Event("price", 0.0, text, {"usd_per_hour": target.usd_per_hour}))


def _wait_for_scale_down(target: Target, on_event: OnEvent) -> None:
    """Wait until no container runs.

    Raises: UsageError where nothing scales to zero; RemoteError when it does not.
    """
    if target.place is not Place.MODAL:
        raise UsageError(
            f"{target.name} does not scale to zero, so it has no cold start to measure.",
            "--cold is for deployments on Modal.",
        )
    from ggufctl import modal_app

    window = target.spec.scaledown_window if target.spec is not None else 3600
    limit = window + SCALE_DOWN_SLACK
    began = time.monotonic()
    on_event(Event("waiting", 0.0, f"until the container ends, which takes about {window} s"))
    while modal_app.n_containers(target.app):
        if time.monotonic() - began > limit:
            raise RemoteError(
                f"{target.name} still runs after {limit:.0f} seconds: somebody else uses it."
            )
        time.sleep(COUNT_SECONDS)


# What is expected


def _predicted(target: Target, settings: Settings) -> Prediction | None:
    """What the plan expects; None where there is none, or nothing is known of the GPU."""
    spec = target.spec
    if spec is None or not spec.gpus or not spec.repo:
        return None
    from ggufctl.core.cold_start import predict_cold_start
    from ggufctl.core.speed import predict_speed
    from ggufctl.services.plan import planning_catalogue, read_model

    name, _, number = spec.gpus[0].partition(":")
    try:
        gpu, count = planning_catalogue().find(name), int(number or 1)
        model = read_model(f"{spec.repo}/{spec.files[0].path}@{spec.commit}")
        runtime = _runtime_of(target)
        speed = predict_speed(
            model.shape, None, gpu, count, runtime, depth_tokens=settings.n_prompt
        )
        start = predict_cold_start(spec.size_bytes, gpu, count, snapshot=spec.snapshot)
    except (GgufctlError, ValueError, TypeError, KeyError):
        # A prediction is no part of the measurement: without one the figures stand alone.
        return None
    return Prediction(
        gpu=gpu.name,
        count=count,
        tokens_per_second=speed.decode_tokens_per_s,
        total_tokens_per_second=speed.aggregate_tokens_per_s,
        n_slots=speed.n_slots,
        prompt_tokens_per_second=speed.prefill_tokens_per_s,
        first_token_seconds=speed.ttft_seconds(settings.n_prompt),
        cold_start_seconds=start.seconds,
    )


def _runtime_of(target: Target) -> Runtime:
    """The settings a deployment runs with."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in target.runtime.items()
    }
    return Runtime(**values)


# Asking


class _Stopped(Exception):
    """A limit was reached while an answer came."""


@dataclass(slots=True)
class _Run:
    """One benchmark while it runs."""

    client: Client
    target: Target
    about: About
    settings: Settings
    budget: Budget
    on_event: OnEvent
    paid_from: float
    """When what it costs began."""
    began: float = field(default_factory=time.monotonic)
    n_requests: int = 0
    stopped_by: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)
    _denied: list[GgufctlError] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def say(self, text: str) -> None:
        self.on_event(Event("bench", round(self.seconds, 3), text))

    def warm_up(self) -> None:
        """One request that counts for nothing: the first one after a start is not like others.

        Raises: what it fails with.
        """
        body = self._body(0)
        self.n_requests = 1
        self._one(body, is_strict=True)

    def measure(self) -> tuple[LevelResult, ...]:
        """All levels, as far as the limits allow."""
        found: list[LevelResult] = []
        for n_streams in self.settings.concurrency:
            n = min(requests_of(n_streams), self.settings.max_requests - self.n_requests)
            if n < n_streams:
                self.stopped_by = "requests"
            elif not self._limit():
                self.say(f"{n_streams} at once: {n} requests")
                level = self._level(n_streams, n)
                if level is not None:
                    found.append(level)
            if self.stopped_by:
                break
        if self._denied:
            raise self._denied[0]
        if not any(level.n_ok for level in found):
            self._raise_nothing(found)
        return tuple(found)

    def _raise_nothing(self, found: list[LevelResult]) -> None:
        if self.stopped_by == "interrupted":
            raise KeyboardInterrupt
        words = found[0].errors[0][0] if found and found[0].errors else ""
        if words:
            raise RemoteError(f"Every request failed: {words}")
        raise self._no_time()

    def _no_time(self) -> UsageError:
        limit = {"time": "--max-seconds", "money": "--max-usd"}.get(self.stopped_by, "--requests")
        return UsageError(
            f"Nothing was answered within {limit}, so there is nothing to measure.",
            f"Allow more with {limit}, or ask for less with --n-prompt and -n.",
        )

    def _limit(self) -> bool:
        """Whether a limit is reached; notes which."""
        if self.seconds >= self.settings.max_seconds:
            self.stopped_by = "time"
        elif time.monotonic() - self.paid_from >= self.budget.seconds:
            self.stopped_by = "money"
        return bool(self.stopped_by)

    def _level(self, n_streams: int, n_requests: int) -> LevelResult | None:
        """Ask `n_requests` times, `n_streams` at once; None when all were cut off."""
        first = self.n_requests
        bodies = [self._body(first + index) for index in range(n_requests)]
        self.n_requests += n_requests
        samples: list[Sample] = []
        lock = threading.Lock()
        queue = iter(bodies)
        started = threading.Barrier(n_streams + 1)

        def stream() -> None:
            with contextlib.suppress(threading.BrokenBarrierError):
                started.wait()
            while not self._stop.is_set():
                with lock:
                    body = next(queue, None)
                if body is None:
                    return
                sample = self._one(body)
                with lock:
                    samples.append(sample)

        threads = [
            threading.Thread(target=stream, name=f"stream-{index}", daemon=True)
            for index in range(n_streams)
        ]
        for thread in threads:
            thread.start()
        started.wait()
        began = time.monotonic()
        self._attend(threads)
        with lock:
            made = tuple(samples)
        level = summarise(n_streams, made, time.monotonic() - began)
        return level if level.n_ok or level.n_errors else None

    def _attend(self, threads: list[threading.Thread]) -> None:
        """Wait for the streams, or end them at a limit."""
        try:
            while any(thread.is_alive() for thread in threads):
                if self._limit() or self._denied:
                    break
                next((t for t in threads if t.is_alive()), threads[0]).join(POLL_SECONDS)
        except KeyboardInterrupt:
            self.stopped_by = "interrupted"
        if self._denied:
            self.stopped_by = self.stopped_by or "interrupted"
        if self.stopped_by:
            self._stop.set()
            end = time.monotonic() + LAST_SECONDS
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))

    def _body(self, index: int) -> tuple[str, dict[str, Any]]:
        """Path and body of one request; its prompt is like no other of the run."""
        settings = self.settings
        body: dict[str, Any] = {
            "model": self.about.model,
            "max_tokens": settings.n_predict,
            "temperature": 0,
            "seed": settings.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if not self.about.is_llama_server:
            text = prompt_text(settings.seed, index, settings.n_prompt)
            return "/chat/completions", {**body, "messages": [{"role": "user", "content": text}]}
        # What was read before is not kept, and an answer does not end before its length.
        extra = {"prompt": self._tokens(index), "cache_prompt": False, "ignore_eos": True}
        return "/completions", {**body, **extra}

    def _tokens(self, index: int) -> list[int]:
        wanted = self.settings.n_prompt
        n_words = wanted
        for _ in range(6):
            text = prompt_text(self.settings.seed, index, n_words)
            reply = self.client.post(
                f"{self.target.endpoint.root}/tokenize", {"content": text, "add_special": True}
            )
            if reply.status != 200:
                raise self.client.refusal(reply)
            tokens = reply.data.get("tokens") if isinstance(reply.data, dict) else None
            if not isinstance(tokens, list) or not all(type(t) is int for t in tokens):
                raise RemoteError(f"{self.target.name} does not say what tokens a text has.")
            if len(tokens) >= wanted:
                return tokens[:wanted]
            n_words *= 2
        raise RemoteError(f"{self.target.name} makes no tokens of words.")

    def _one(self, request: tuple[str, dict[str, Any]], *, is_strict: bool = False) -> Sample:
        """One request; what it fails with is part of the sample, unless `is_strict`."""
        path, body = request
        watch = _Watch(self, time.monotonic())
        paid = time.monotonic() - self.paid_from
        left = min(self.settings.max_seconds - self.seconds, self.budget.seconds - paid)
        url = f"{self.target.endpoint.url}{path}"
        timeout = min(max(left, 0.0) + 1.0, self.client.idle_seconds)
        try:
            events = self.client.events(url, body, timeout_seconds=timeout)
            with contextlib.closing(events) as stream:
                for raw in stream:
                    watch.take(raw)
            if not watch.is_ended:
                raise RemoteError("The connection ended in the middle of the answer.")
        except _Stopped:
            return watch.sample(was_cut=True)
        except AccessDenied as error:
            self._denied.append(error)
            if is_strict:
                raise
            return watch.sample(error=error.message)
        except GgufctlError as error:
            if is_strict:
                if isinstance(error, AnswerBroken) and self._limit():
                    raise self._no_time() from None
                raise
            # What a limit ends while it waits looks like a lost connection.
            if self._stop.is_set() or self.seconds >= self.settings.max_seconds:
                return watch.sample(was_cut=True)
            return watch.sample(error=escape(error.message, 160))
        return watch.sample()

    def check(self) -> None:
        """Raise _Stopped once a limit is reached."""
        if self._stop.is_set():
            raise _Stopped


@dataclass(slots=True)
class _Watch:
    """One answer as it comes; reads no more of each event than it must."""

    run: _Run
    sent: float
    first: float = 0.0
    last: float = 0.0
    n_events: int = 0
    n_prompt: int = 0
    n_tokens: int = 0
    timings: Timings | None = None
    is_ended: bool = False

    def take(self, raw: str) -> None:
        now = time.monotonic()
        self.run.check()
        is_plain = self.first and not any(mark in raw for mark in _TELLING)
        if is_plain:
            self.n_events += 1
            self.last = now
            return
        piece = piece_of(self.run.client, raw)
        self._note(piece, now)

    def _note(self, piece: Piece, now: float) -> None:
        if piece.text or piece.reasoning:
            self.first = self.first or now
            self.last = now
            self.n_events += 1
        self.n_prompt = piece.n_prompt or self.n_prompt
        self.n_tokens = piece.n_tokens or self.n_tokens
        self.timings = piece.timings or self.timings
        self.is_ended = self.is_ended or bool(piece.finish_reason)

    def sample(self, *, error: str = "", was_cut: bool = False) -> Sample:
        now = time.monotonic()
        first = self.first or now
        last = self.last or now
        said = self.timings or Timings()
        n_tokens = self.n_tokens or said.n_tokens or self.n_events
        n_prompt = self.n_prompt or said.n_prompt + said.n_cached
        rate, prompt_rate = said.tokens_per_second, said.prompt_tokens_per_second
        if not rate and n_tokens > 1 and last > first:
            rate = (n_tokens - 1) / (last - first)
        if not prompt_rate and n_prompt and first > self.sent:
            prompt_rate = n_prompt / (first - self.sent)
        return Sample(
            first_token_seconds=first - self.sent,
            seconds=now - self.sent,
            n_prompt=n_prompt,
            n_cached=said.n_cached,
            n_tokens=n_tokens,
            prompt_tokens_per_second=prompt_rate,
            tokens_per_second=rate,
            error=error,
            was_cut=was_cut,
        )


_TELLING = ('"error"', '"usage"', '"timings"', '"finish_reason":"', '"finish_reason": "')
"""What only an event has that is more than a piece of text."""
