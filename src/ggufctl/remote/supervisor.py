"""Starts an engine, watches it until it has answered, and ends it cleanly. Standard library only.

The same code runs in a container and on this machine. It looks at four things at once: the
process, its log, its health and the clock; the first of them that says that the engine does not
come up ends the attempt. A URL alone is never waited for: behind one that starts what is not
running, a server that fails would be started, and paid for, at every question.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, TypeAlias

from ggufctl.core.engine_log import EngineLog, Failure, FailureKind, Phase, hide_keys
from ggufctl.remote.logfile import LogFile

__all__ = [
    "NO_SUCH_PATH",
    "Answer",
    "EngineFailed",
    "Event",
    "OnEvent",
    "Spec",
    "Supervisor",
    "ask",
]

POLL_SECONDS = 0.1
"""Between two looks at process, log and clock."""

HEALTH_TIMEOUT_SECONDS = 2.0
PROGRESS_SECONDS = 1.0
"""Between two reports of how much of the weights is in memory."""

LAST_WORDS_SECONDS = 2.0
"""How long a process that said it gives up may take to end by itself, and to say why."""

SILENT_SECONDS = 2.0
"""An engine that does not say that it is ready is taken to be once it has answered for so long."""

LINGER_SECONDS = 20.0
"""An engine that has said why it cannot come up, and goes on living, is ended after so long."""

NO_SUCH_PATH = (404, 405, 501)
"""What a server answers that has no completions but those of chats."""

TAIL_LINES = 40
"""Lines of the log that are kept for an explanation."""

MAX_RAW_BYTES = 1 << 16
MAX_LINE = 4096
"""Characters of one line that are kept; a prompt may be in it."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened while an engine ran."""

    kind: str
    """`start`, `phase`, `progress`, `log`, `healthy`, `token`, `failed`, `stopping`, `stopped`."""
    seconds: float
    """Since the engine was started."""
    text: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(
            {"event": self.kind, "seconds": self.seconds, "text": self.text, **self.data}
        )


_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    # An engine that aborts says why before; a debugger attached to it only takes long.
    "GGML_NO_BACKTRACE": "1",
}

OnEvent: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One engine to run.

    Attributes:
        argv: program and arguments, without any secret.
        env: the whole environment, which holds the key.
        base_url: where it will listen.
        model: the name to ask it for.
        deadline_seconds: from the start to the first token.
        key: what the engine demands of its clients; empty = nothing.
        ready_path: answers 200 once the engine is ready.
        ready_needs_key: whether that path asks for the key.
        owns_port: whether nobody else can answer at that address.
        is_embedding: asks for an embedding instead of a token.
        expected_layers: blocks that must be on GPUs; 0 = not checked.
        weights_bytes: of all files, so that loading can be followed; 0 = not followed.
        grace_seconds: between the request to stop and the order.
        log_path: where the log is kept, without secrets; None = nowhere.
        cwd: directory to run in.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    base_url: str
    model: str
    deadline_seconds: float
    key: str = field(default="", repr=False)
    ready_path: str = "/health"
    ready_needs_key: bool = False
    owns_port: bool = False
    is_embedding: bool = False
    expected_layers: int = 0
    weights_bytes: int = 0
    grace_seconds: float = 10.0
    log_path: Path | None = None
    cwd: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine said to one question, and how long it took."""

    text: str
    n_tokens: int
    seconds: float
    tokens_per_second: float
    finish_reason: str = ""


class _NoToken(Exception):
    """An engine answers, and says nothing."""


class EngineFailed(Exception):
    """The engine did not come up, or stopped being there.

    Args:
        failure: why.
        tail: the last lines of its log, without secrets.
        exit_code: of its process; None where it had to be ended.
    """

    def __init__(self, failure: Failure, tail: tuple[str, ...], exit_code: int | None) -> None:
        super().__init__(failure.text)
        self.failure = failure
        self.tail = tail
        self.exit_code = exit_code


def ask(
    base_url: str,
    model: str,
    prompt: str,
    *,
    key: str = "",
    n_predict: int = 1,
    timeout_seconds: float = 60.0,
    as_chat: bool = False,
) -> Answer:
    """The engine's answer to one prompt.

    Raises: OSError, HTTPException or ValueError when there is none.
    """
    body: dict[str, Any] = {"model": model, "max_tokens": n_predict, "temperature": 0.0}
    if as_chat:
        path = "/v1/chat/completions"
        body["messages"] = [{"role": "user", "content": prompt}]
    else:
        path = "/v1/completions"
        body["prompt"] = prompt
    started = time.monotonic()
    found = _post(base_url + path, body, key, timeout_seconds)
    seconds = time.monotonic() - started
    choice = found["choices"][0]
    text = choice["message"]["content"] if as_chat else choice["text"]
    # Not every server counts.
    n_tokens = int((found.get("usage") or {}).get("completion_tokens", bool(text)))
    speed = found.get("timings", {}).get("predicted_per_second")
    rate = float(speed) if isinstance(speed, int | float) else n_tokens / max(seconds, 1e-9)
    return Answer(str(text), n_tokens, seconds, rate, str(choice.get("finish_reason") or ""))


def _post(url: str, body: object, key: str, timeout_seconds: float) -> Any:
    data = json.dumps(body).encode()
    return json.loads(_open(url, key, timeout_seconds, data))


def _open(url: str, key: str, timeout_seconds: float, data: bytes | None = None) -> bytes:
    headers = {"Content-Type": "application/json"} if data else {}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, data=data, headers=headers)
    # No proxy of the environment's: this is a machine talking to itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout_seconds) as response:
        return bytes(response.read())


class Supervisor:
    """One engine from its start to its end.

    Args:
        spec: what to run.
        on_event: hears of everything, from two threads; what it raises ends the attempt.
    """

    def __init__(self, spec: Spec, on_event: OnEvent = lambda event: None) -> None:
        self.spec = spec
        self.log = EngineLog()
        self.tail: list[str] = []
        self.durations: dict[str, float] = {}
        """Phase → seconds it took, once the next has begun."""
        self._on_event = on_event
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._started = 0.0
        self._phase: tuple[Phase, float] = (Phase.PROCESS, 0.0)
        # No event: a signal that comes while one is waited for may leave its lock taken, and
        # whoever sets it would then wait for ever.
        self._is_stopping = False
        self._listener_error: Exception | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Of the engine; 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    @property
    def seconds(self) -> float:
        """Since the engine was started."""
        return time.monotonic() - self._started

    @property
    def ready_seconds(self) -> float:
        """From the start of the engine to its first token."""
        return sum(self.durations.values())

    def start(self) -> None:
        """Run the engine until it has answered with one token; then it is left running.

        Raises: EngineFailed, after the engine was ended; what interrupts it passes through, and
        ends the engine as well.
        """
        try:
            self._launch()
            self._await_health()
            self._check_offload()
            self._first_token()
        except BaseException:
            self.stop()
            raise

    def wait(self) -> int:
        """The exit code of the engine, once it ends by itself or `stop` was called."""
        process = self._running()
        while (code := process.poll()) is None:
            self._raise_of_listener()
            if self._is_stopping:
                return process.wait()
            time.sleep(POLL_SECONDS)
        self._drain()
        return code

    def wait_until(self, is_wanted: Callable[[], bool]) -> bool:
        """Whether something else was wanted before the engine ended by itself."""
        process = self._running()
        while process.poll() is None:
            self._raise_of_listener()
            if is_wanted():
                return True
            time.sleep(POLL_SECONDS)
        self._drain()
        return False

    def stop(self) -> None:
        """End the engine and all it started: first asked, then made to. Safe to call twice."""
        process = self._process
        if process is None:
            return
        self._is_stopping = True
        if process.poll() is None:
            self._tell("stopping", "asking the engine to stop")
            self._signal(signal.SIGTERM)
            try:
                process.wait(self.spec.grace_seconds)
            except subprocess.TimeoutExpired:
                self._tell("stopping", "the engine did not stop in time: it is killed")
            except BaseException:
                # Asked to hurry: nothing may be left behind all the same.
                self._signal(signal.SIGKILL)
                raise
        self._signal(signal.SIGKILL)
        process.wait()
        self._drain()
        self._process = None
        self._tell("stopped", data={"exit_code": process.returncode})

    def failed(self) -> EngineFailed:
        """Why an engine that ended by itself did so."""
        code = self._process.poll() if self._process is not None else None
        return self._failure(self.log.failed(1 if code is None else code))

    def _launch(self) -> None:
        spec = self.spec
        self._started = time.monotonic()
        argv = (sys.executable, "-P", "-m", "ggufctl.remote.tether", str(os.getpid()), *spec.argv)
        try:
            file = None if spec.log_path is None else LogFile(spec.log_path)
            self._process = subprocess.Popen(
                argv,
                env={**spec.env, **_ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=spec.cwd,
                # A session of its own: a Ctrl-C in this terminal is ours to pass on.
                start_new_session=True,
            )
        except OSError as error:
            failure = Failure(FailureKind.OTHER, f"The engine cannot be run: {error}.")
            raise EngineFailed(failure, (), None) from None
        self._emit("start", data={"pid": self._process.pid, "argv": list(spec.argv)})
        assert self._process.stdout is not None
        self._reader = threading.Thread(
            target=self._read_log, args=(self._process.stdout, file), name="engine-log", daemon=True
        )
        self._reader.start()

    def _read_log(self, stream: IO[bytes], file: LogFile | None) -> None:
        keys = (self.spec.key,) if self.spec.key else ()
        with contextlib.ExitStack() as stack:
            stack.enter_context(stream)
            if file is not None:
                stack.callback(file.close)
            # In pieces: a line without an end must not fill the memory.
            for raw in iter(lambda: stream.readline(MAX_RAW_BYTES), b""):
                text = raw.decode("utf-8", "replace").rstrip("\r\n")
                line = hide_keys(text, keys)[:MAX_LINE]
                # Nothing may stop what empties the pipe, or the engine would block.
                if file is not None:
                    file.write(line)
                try:
                    self._take(line)
                except Exception as error:
                    self._listener_error = self._listener_error or error

    def _take(self, line: str) -> None:
        with self._lock:
            self.tail.append(line)
            del self.tail[:-TAIL_LINES]
            phase = self.log.feed(line)
        self._emit("log", line)
        if phase is not None:
            self._enter(phase)

    def _enter(self, phase: Phase) -> None:
        before, since = self._phase
        now = self.seconds
        self.durations[before.value] = now - since
        self._phase = (phase, now)
        self._emit("phase", phase.value, {"after": before.value, "took": round(now - since, 3)})

    def _await_health(self) -> None:
        process = self._running()
        spec = self.spec
        url = spec.base_url + spec.ready_path
        key = spec.key if spec.ready_needs_key else ""
        reported = answered = caused = 0.0
        while True:
            self._raise_of_listener()
            if (code := process.poll()) is not None:
                self._drain()
                raise self._failure(self.log.failed(code))
            if self.log.is_fatal:
                self._hear_last_words()
                raise self._failure(self.log.failed(1))
            if self.seconds > spec.deadline_seconds:
                raise self._failure(self._too_slow())
            if self.seconds - reported >= PROGRESS_SECONDS:
                reported = self.seconds
                self._report_progress()
            # Whoever answers before our engine says that it is ready is somebody else.
            is_said = self.log.phase is Phase.HEALTH
            if (is_said or spec.owns_port) and _answers(url, key):
                answered = answered or self.seconds
                if is_said or self.seconds - answered > SILENT_SECONDS:
                    self._enter(Phase.FIRST_TOKEN)
                    self._emit("healthy", spec.base_url)
                    return
            caused = (caused or self.seconds) if self.log.is_explained else 0.0
            if caused and self.seconds - caused > LINGER_SECONDS:
                raise self._failure(self.log.failed(1))
            time.sleep(POLL_SECONDS)

    def _raise_of_listener(self) -> None:
        """Raise here what the listener raised where nobody could act on it."""
        if self._listener_error is not None:
            raise self._listener_error

    def _report_progress(self) -> None:
        total = self.spec.weights_bytes
        if not total or self.log.phase is not Phase.WEIGHTS:
            return
        n_bytes = min(total, _resident_bytes(self.pid))
        if n_bytes:
            data = {"n_bytes": n_bytes, "of_bytes": total}
            self._emit("progress", f"{n_bytes * 100 // total} % of the weights", data)

    def _hear_last_words(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._running().wait(LAST_WORDS_SECONDS)
            self._drain()

    def _too_slow(self) -> Failure:
        limit = self.spec.deadline_seconds
        return Failure(
            FailureKind.TIMEOUT,
            f"The engine was not ready after {limit:.0f} seconds, in the phase "
            f"{self.log.phase.value}.",
            "Allow it longer with --startup-timeout.",
        )

    def _check_offload(self) -> None:
        wanted = self.spec.expected_layers
        if not wanted:
            return
        n_layers, n_possible = self.log.offloaded or (0, wanted)
        if n_layers < min(wanted, n_possible) or not self.log.offloaded:
            failure = Failure(
                FailureKind.CPU_FALLBACK,
                f"Only {n_layers} of {wanted} layers are on the GPU: the rest runs on the CPU.",
                "Use an engine built for this GPU, and look at what it says of its devices.",
            )
            raise self._failure(failure)

    def _first_token(self) -> None:
        spec = self.spec
        left = max(1.0, spec.deadline_seconds - self.seconds)
        found: list[Answer] = []
        problem: list[str] = []

        def question() -> None:
            try:
                found.append(self._one_token(left))
            except _NoToken as error:
                problem.append(str(error))
            except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
                problem.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=question, name="first-token", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            if self._running().poll() is not None or self.log.is_fatal:
                self._hear_last_words()
                raise self._failure(self.log.failed(self._running().poll() or 1))
        if problem:
            text = hide_keys(problem[0], (spec.key,))
            raise self._failure(
                Failure(FailureKind.OTHER, f"The engine is up but does not answer: {text}.")
            )
        self._enter(Phase.SERVING)
        self._emit("token", found[0].text, {"took": round(found[0].seconds, 3)})

    def _one_token(self, timeout_seconds: float) -> Answer:
        spec = self.spec
        if not spec.is_embedding:
            question: dict[str, Any] = {"key": spec.key, "timeout_seconds": timeout_seconds}
            try:
                answer = ask(spec.base_url, spec.model, "Hello", **question)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code not in NO_SUCH_PATH:
                        raise
                answer = ask(spec.base_url, spec.model, "Hello", **question, as_chat=True)
            # A model may find that there is nothing to add to the prompt: that is an answer.
            if answer.n_tokens < 1 and answer.finish_reason != "stop":
                raise _NoToken("no token came back")
            return answer
        started = time.monotonic()
        body = {"model": spec.model, "input": "Hello"}
        found = _post(spec.base_url + "/v1/embeddings", body, spec.key, timeout_seconds)
        if not found["data"][0]["embedding"]:
            raise _NoToken("no embedding came back")
        return Answer("", 1, time.monotonic() - started, 0.0)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the engine was not started")
        return self._process

    def _failure(self, failure: Failure) -> EngineFailed:
        code = self._process.poll() if self._process is not None else None
        with self._lock:
            tail = tuple(self.tail)
        data = {"failure": failure.kind.value, "line": failure.line, "exit_code": code}
        self._emit("failed", failure.text, data)
        return EngineFailed(failure, tail, code)

    def _drain(self) -> None:
        """Wait for the rest of the log; whoever still holds the pipe is not waited for long."""
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(LAST_WORDS_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the engine and everything in its session."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _emit(self, kind: str, text: str = "", data: Mapping[str, Any] | None = None) -> None:
        self._on_event(Event(kind, round(self.seconds, 3), text, data or {}))

    def _tell(self, kind: str, text: str = "", data: Mapping[str, Any] | None = None) -> None:
        """The same of an end, which takes its course also where nobody can hear of it any more."""
        with contextlib.suppress(OSError, ValueError):
            self._emit(kind, text, data)


def _answers(url: str, key: str) -> bool:
    """Whether a URL answers 200 now; 503 while a model loads is no."""
    try:
        _open(url, key, HEALTH_TIMEOUT_SECONDS)
    except (OSError, HTTPException, ValueError):
        return False
    return True


def _resident_bytes(pid: int) -> int:
    """What a process has in memory, mapped files included; 0 where nobody says.  [bytes]"""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
