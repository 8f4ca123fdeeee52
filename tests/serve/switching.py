"""`python -m tests.serve.switching [SWITCHES [KILLS]]`: what clients see of a server's switches.

A real engine, asked by several clients at once, is given other settings again and again. Some ask
on a new connection each time and some on one they keep, some have their answers streamed, and one
sends a body that is larger than what is read of a request that is held. Then commands that switch
are killed at random points, and the next one must find all in order.
"""

from __future__ import annotations

import http.client
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path[:0] = [str(Path(__file__).parent.parent)]

import psutil  # noqa: E402  # needs the path

import serving  # noqa: E402  # needs the path

NAME = "switched"
REQUEST_SECONDS = 120.0
LARGE_BYTES = 300_000
LONGEST_SECONDS = 6.0
"""A command that switches is killed after so long at the latest: about when it has ended."""


@dataclass
class Figures:
    """What clients were answered, and how long they waited for its first byte."""

    statuses: Counter[str] = field(default_factory=Counter)
    health: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    """Of answers that were whole.  [s]"""
    problems: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, status: str, wait: float, problem: str = "") -> None:
        with self._lock:
            self.statuses[status] += 1
            if status == "200":
                self.waits.append(wait)
            if problem:
                self.problems.append(problem)

    @property
    def n_requests(self) -> int:
        return sum(self.statuses.values())

    @property
    def n_failed(self) -> int:
        return self.n_requests - self.statuses["200"]


@dataclass
class Client:
    """Somebody who asks a server one thing after the other."""

    address: str
    key: str
    figures: Figures
    keeps: bool = False
    _connection: http.client.HTTPConnection | None = None

    def ask(self, path: str, body: dict[str, Any], is_whole: Callable[[bytes], bool]) -> None:
        """One request, noted with what became of it."""
        started = time.monotonic()
        connection = self._connection or http.client.HTTPConnection(
            self.address, timeout=REQUEST_SECONDS
        )
        try:
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            first = response.read(1)
            wait = time.monotonic() - started
            text = first + response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._connection = None
            kind = "refused" if isinstance(error, ConnectionRefusedError) else "cut"
            self.figures.note(kind, 0.0, f"{path}: {type(error).__name__}: {error}")
            return
        if self.keeps:
            self._connection = connection
        else:
            connection.close()
        if response.status == 200 and not is_whole(text):
            self.figures.note("no text", wait, f"{path}: {text[-200:]!r}")
        elif response.status != 200:
            self.figures.note(str(response.status), wait, f"{path}: {text[:200]!r}")
        else:
            self.figures.note("200", wait)

    def close(self) -> None:
        """Ask no more."""
        if self._connection is not None:
            self._connection.close()

    def chat(self, n_predict: int, *, stream: bool) -> None:
        body = {
            "messages": [{"role": "user", "content": "Name three colours."}],
            "max_tokens": n_predict,
            "stream": stream,
        }
        self.ask("/v1/chat/completions", body, _is_streamed if stream else _has_text)

    def tokenize(self) -> None:
        body = {"content": "red", "padding": "x" * LARGE_BYTES}
        self.ask("/tokenize", body, lambda answer: b"tokens" in answer)


def _has_text(answer: bytes) -> bool:
    return bool(json.loads(answer)["choices"][0]["message"]["content"])


def _is_streamed(answer: bytes) -> bool:
    """Whether there is text in it, and its end."""
    lines = [line for line in answer.split(b"\n") if line.startswith(b"data: {")]
    words = [json.loads(line.removeprefix(b"data: "))["choices"] for line in lines]
    has_text = any(choice[0]["delta"].get("content") for choice in words if choice)
    return has_text and answer.rstrip().endswith(b"data: [DONE]")


@contextmanager
def asked(running: serving.Serving, figures: Figures) -> Iterator[None]:
    """Clients that ask all the time, until the block ends and they have their answers."""
    is_over = threading.Event()
    address = urlsplit(running.url).netloc

    def again(keeps: bool, act: Callable[[Client], None]) -> None:
        client = Client(address, running.key, figures, keeps)
        while not is_over.is_set():
            act(client)
            time.sleep(0.02)
        client.close()

    def watch() -> None:
        while not is_over.is_set():
            connection = http.client.HTTPConnection(address, timeout=REQUEST_SECONDS)
            try:
                connection.request("GET", "/health")
                figures.health[str(connection.getresponse().status)] += 1
            except OSError:
                figures.health["refused"] += 1
            finally:
                connection.close()
            time.sleep(0.02)

    acts: list[Callable[[], None]] = [watch]
    for keeps in (False, True):
        acts.append(lambda keeps=keeps: again(keeps, lambda c: c.chat(4, stream=False)))
        acts.append(lambda keeps=keeps: again(keeps, lambda c: c.chat(16, stream=True)))
        acts.append(lambda keeps=keeps: again(keeps, Client.tokenize))
    threads = [threading.Thread(target=act, daemon=True) for act in acts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join(REQUEST_SECONDS + 10)


def switched(
    n_switches: int, state: Path, n_kills: int = 0, seed: int = 1
) -> tuple[Figures, list[str]]:
    """What clients saw of so many switches, and what was wrong with the switches themselves.

    Args:
        n_switches: that are let be.
        state: directory of the server's.
        n_kills: as many more are killed at random points, each followed by one that is not.
        seed: of the points.
    """
    figures, problems = Figures(), []
    points = random.Random(seed)
    options = ("-c", "2048", "-np", "4", "--name", NAME)
    with serving.serving(*options, state=state) as running:
        with asked(running, figures):
            for number in range(n_switches):
                done = _switch(number, state)
                if done.returncode:
                    problems.append(done.stderr)
            for number in range(n_kills):
                problems += _killed(running, number, points.uniform(0.0, LONGEST_SECONDS))
        serving.ggufctl("stop", NAME, state=state)
        running.process.communicate(timeout=60)
    return figures, problems


def _switch(number: int, state: Path) -> subprocess.CompletedProcess[str]:
    return serving.ggufctl("switch", NAME, "-c", _n_ctx(number), state=state)


def _n_ctx(number: int) -> str:
    return "4096" if number % 2 == 0 else "2048"


def _killed(running: serving.Serving, number: int, seconds: float) -> list[str]:
    """What is wrong after one switch was killed and another one made."""
    process = subprocess.Popen(
        (sys.executable, "-m", "ggufctl", "switch", NAME, "-c", _n_ctx(number)),
        env=serving.environment(running.state),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    process.kill()
    process.wait()
    until = time.monotonic() + REQUEST_SECONDS
    # What it has begun is still brought to an end.
    while (done := _switch(number + 1, running.state)).returncode == 2:
        if "being switched already" not in done.stderr or time.monotonic() > until:
            break
        time.sleep(0.2)
    problems = []
    if done.returncode:
        problems.append(f"after a kill at {seconds:.2f} s: {done.stderr}")
    children = psutil.Process(running.process.pid).children(recursive=True)
    if len(children) != 2:
        lines = [" ".join(child.cmdline()) for child in children]
        problems.append(f"after a kill at {seconds:.2f} s these run: {lines}")
    left = sorted(path.name for path in (running.state / "deployments" / NAME).glob("*switch*"))
    if left:
        problems.append(f"after a kill at {seconds:.2f} s these are left: {left}")
    return problems


def main() -> int:
    """Print the figures."""
    n_switches = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    n_kills = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        figures, failed = switched(n_switches, Path(folder), n_kills)
    print(f"{n_switches:6} switches under load")
    if n_kills:
        print(f"{n_kills:6} more killed at random points, each followed by one that was not")
    print(f"{len(failed):6} problems")
    print(f"{figures.n_requests:6} requests of 6 clients")
    for status, count in sorted(figures.statuses.items()):
        print(f"{count:6} ended with {status}")
    for kind in ("refused", "cut", "503"):
        if not figures.statuses[kind]:
            print(f"{0:6} ended with {kind}")
    if figures.waits:
        print(f"{statistics.median(figures.waits):6.2f} s to the first byte, the median")
        print(f"{max(figures.waits):6.2f} s to the first byte, the longest")
    health = ", ".join(f"{status}: {count}" for status, count in sorted(figures.health.items()))
    print(f"       /health: {health}")
    print(f"{time.monotonic() - started:6.0f} s in all")
    for problem in (*figures.problems, *failed):
        print(f"PROBLEM {problem}")
    return 1 if figures.n_failed or failed else 0


if __name__ == "__main__":
    sys.exit(main())
