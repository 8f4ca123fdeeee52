"""`python -m tests.serve.front_cost [QUESTIONS]`: what passing requests on costs each of them.

The same real engine is asked directly and through what owns its port, in turns.
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

sys.path[:0] = [str(Path(__file__).parent.parent)]

import psutil  # noqa: E402  # needs the path

import serving  # noqa: E402  # needs the path

ROUNDS = 5
N_PREDICT = 64
N_CLIENTS = 6
BUSY_SECONDS = 2.0


def health_seconds(address: str) -> float:
    """For the shortest request there is, on a connection of its own."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/health")
    assert connection.getresponse().read()
    connection.close()
    return time.perf_counter() - started


def n_asked(address: str) -> int:
    """How many of those one client has answered, one after the other, in some time."""
    until = time.perf_counter() + BUSY_SECONDS
    n_requests = 0
    while time.perf_counter() < until:
        health_seconds(address)
        n_requests += 1
    return n_requests


def tokens_per_second(address: str, key: str) -> float:
    """Of one streamed answer, from its first token on."""
    connection = http.client.HTTPConnection(address, timeout=120)
    body = {"prompt": "One, two,", "max_tokens": N_PREDICT, "stream": True, "ignore_eos": True}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    times = [
        time.perf_counter()
        for line in connection.getresponse()
        if line.startswith(b"data: {") and b'"text":""' not in line
    ]
    connection.close()
    return (len(times) - 1) / (times[-1] - times[0])


def main() -> int:
    """Print the cost."""
    n_questions = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as folder:
        options = ("-c", "512", "-np", "1", "--name", "one")
        with serving.serving(*options, state=Path(folder)) as running:
            # Its own measurement after a start would be in the way.
            time.sleep(5)
            children = psutil.Process(running.process.pid).children()
            (engine,) = [child for child in children if "--port" in child.cmdline()]
            (front,) = [child for child in children if child.pid != engine.pid]
            words = engine.cmdline()
            direct = f"127.0.0.1:{words[words.index('--port') + 1]}"
            through = urlsplit(running.url).netloc
            seconds: dict[str, list[float]] = {direct: [], through: []}
            rates: dict[str, list[float]] = {direct: [], through: []}
            before = sum(front.cpu_times()[:2])
            for _ in range(ROUNDS):
                for address in (direct, through):
                    seconds[address] += [
                        health_seconds(address) for _ in range(n_questions // ROUNDS)
                    ]
            spent = sum(front.cpu_times()[:2]) - before
            for _ in range(ROUNDS):
                for address in (direct, through):
                    rates[address].append(tokens_per_second(address, running.key))
            busy = {direct: 0, through: 0}
            with ProcessPoolExecutor(N_CLIENTS) as clients:
                # The first work of each is to start.
                list(clients.map(health_seconds, [direct] * N_CLIENTS))
                for address in (direct, through):
                    busy[address] = sum(clients.map(n_asked, [address] * N_CLIENTS))
            resident = front.memory_info().rss
            serving.ggufctl("stop", "one", state=Path(folder))
            running.process.communicate(timeout=60)
    for name, address in (("directly", direct), ("passed on", through)):
        print(
            f"{name:10} {statistics.median(seconds[address]) * 1000:6.2f} ms for /health, "
            f"{statistics.median(rates[address]):6.1f} tokens/s, "
            f"{busy[address] / BUSY_SECONDS:6.0f} of those requests/s from {N_CLIENTS} clients"
        )
    added = statistics.median(seconds[through]) - statistics.median(seconds[direct])
    print(f"added      {added * 1000:6.2f} ms")
    print(f"processor  {spent / n_questions * 1000:6.2f} ms per request")
    print(f"memory     {resident / (1 << 20):6.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
