"""Cycles of serving, each with something that goes wrong, and what must hold after each."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import serving
from ggufctl.remote.logfile import MAX_LOG_BYTES, former_log

HERE = Path(__file__).parent
NAME = "soak"
STATE_FILES_BYTES = 1 << 20
NOISY_SECONDS = 60.0
FULL_SECONDS = 0.4
SWITCH_SECONDS = 3.0
"""About what a switch takes where an engine starts in milliseconds."""


@dataclass
class Soak:
    """One state directory that all cycles share, and what went wrong in them."""

    folder: Path
    seed: int
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    done: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.state = self.folder / "state"
        self.mood, self.clock = self.folder / "mood", self.folder / "clock"
        program = self.folder / "bin" / "llama-server"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S '{HERE / 'engine.py'}' \"$@\"\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.reset()

    def reset(self) -> None:
        self.mood.write_text("well")
        self.clock.write_text("0")

    @property
    def env(self) -> dict[str, str]:
        """Of every process; the mark finds those that were left behind."""
        env = serving.environment(self.state)
        env["PATH"] = f"{self.folder / 'bin'}{os.pathsep}{env['PATH']}"
        env["PYTHONPATH"] = f"{HERE / 'clock'}{os.pathsep}{env['PYTHONPATH']}"
        return env | {
            "SOAK_MARK": self.mark,
            "SOAK_MOOD": str(self.mood),
            "SOAK_CLOCK": str(self.clock),
        }

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        found = subprocess.run(
            (sys.executable, "-m", "ggufctl", *args),
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.expect("Traceback" not in found.stderr, f"{args}: traceback: {found.stderr[-800:]}")
        return found

    def expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)

    @contextmanager
    def server(self, max_file_bytes: int | None = None) -> Iterator[serving.Serving]:
        """A server that answers; it is ended with the block, and must not have crashed."""

        def limit() -> None:
            if max_file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

        args = ("serve", str(serving.model_path()), "--on", "local", "--port", "0", "--json")
        process = subprocess.Popen(
            (sys.executable, "-m", "ggufctl", *args, "--name", NAME, "--engine", "llama-server"),
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,
        )
        try:
            yield serving.Serving(process, serving.read_document(process), self.state)
        finally:
            if process.poll() is None:
                process.kill()
            _, err = process.communicate(timeout=60)
            self.expect("Traceback" not in err, f"serve: traceback: {err[-800:]}")

    def ended(self, running: serving.Serving, codes: set[int]) -> None:
        """The command in front must end by itself, with one of these codes."""
        try:
            code = running.process.wait(60)
        except subprocess.TimeoutExpired:
            self.problems.append("serve did not end")
            return
        self.expect(code in codes, f"serve ended with {code} and not {sorted(codes)}")

    def switch(self, n_ctx: str) -> None:
        """Switch, once a switch that was begun before has ended."""
        deadline = time.monotonic() + 60
        while (done := self.run("switch", NAME, "-c", n_ctx)).returncode == 2:
            if "being switched already" not in done.stderr or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        code = done.returncode
        self.expect(code == 0, f"a switch ended with {code}: {done.stderr[-300:]}")

    def left_behind(self) -> list[int]:
        """Processes of this soak that still run."""
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdecimal() and int(path.name) != os.getpid():
                try:
                    environ = (path / "environ").read_bytes()
                except OSError:
                    continue
                if f"SOAK_MARK={self.mark}".encode() in environ and serving.is_running(
                    int(path.name)
                ):
                    found.append(int(path.name))
        return found

    def check(self, cycle: str) -> None:
        """What must hold between any two cycles."""
        deadline = time.monotonic() + 15
        while (pids := self.left_behind()) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.expect(not pids, f"{cycle}: processes {pids} are left behind")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        listed = self.run("ps", "--on", "local", "--json")
        running = [d["status"] for d in json.loads(listed.stdout)["deployments"]]
        self.expect(running in ([], ["lost"]), f"{cycle}: ps says {running}")
        keys = [str(p) for p in self.state.rglob("api-key")] if running != ["lost"] else []
        self.expect(not keys, f"{cycle}: keys are left behind: {keys}")
        files = [p for p in self.state.rglob("*") if p.is_file()]
        logs = [p for p in files if p.name.startswith("engine.log")]
        self.expect(
            all(p.stat().st_size <= MAX_LOG_BYTES for p in logs), f"{cycle}: a log is too long"
        )
        rest = sum(p.stat().st_size for p in files if p not in logs)
        self.expect(rest <= STATE_FILES_BYTES, f"{cycle}: {rest} bytes of state")


def stopped(soak: Soak) -> None:
    with soak.server() as running:
        code = soak.run("stop", NAME).returncode
        soak.expect(code == 0, f"stop ended with {code}")
        soak.ended(running, {0, 143})


def terminated(soak: Soak) -> None:
    with soak.server() as running:
        running.process.send_signal(signal.SIGTERM)
        soak.ended(running, {143})


def interrupted(soak: Soak) -> None:
    with soak.server() as running:
        running.process.send_signal(signal.SIGINT)
        soak.ended(running, {0, 130})


def killed(soak: Soak) -> None:
    with soak.server() as running:
        running.process.kill()
        running.process.wait()
    shown = json.loads(soak.run("ps", "--on", "local", "--json").stdout)["deployments"]
    soak.expect([d["status"] for d in shown] == ["lost"], f"a killed server is shown as {shown}")
    soak.expect(soak.run("stop", NAME).returncode == 0, "a lost deployment cannot be stopped")


def engine_killed(soak: Soak) -> None:
    with soak.server() as running:
        state = json.loads((soak.state / "deployments" / NAME / "state.json").read_text())
        os.kill(state["engine_pid"], signal.SIGKILL)
        soak.ended(running, {9})


def flapping(soak: Soak) -> None:
    soak.mood.write_text("flapping")
    with soak.server() as running:
        time.sleep(0.2)
        soak.expect(running.process.poll() is None, "flapping health ended the server")
        running.process.send_signal(signal.SIGTERM)
        soak.ended(running, {143})


def noisy(soak: Soak) -> None:
    with soak.server() as running:
        soak.mood.write_text("noisy")
        log = soak.state / "deployments" / NAME / "engine.log"
        deadline = time.monotonic() + NOISY_SECONDS
        while not former_log(log).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        soak.mood.write_text("well")
        soak.expect(former_log(log).exists(), "a long log does not begin anew")
        soak.expect(soak.run("logs", NAME).returncode == 0, "the log of a busy server")
        running.process.send_signal(signal.SIGTERM)
        soak.ended(running, {143})


def full_disk(soak: Soak) -> None:
    """A log that cannot grow any more, as on a full disk."""
    with soak.server(max_file_bytes=4096) as running:
        soak.mood.write_text("noisy")
        time.sleep(FULL_SECONDS)
        soak.expect(running.process.poll() is None, "a full disk ended the server")
        soak.mood.write_text("well")
        running.process.send_signal(signal.SIGTERM)
        soak.ended(running, {143})


def clock_jump(soak: Soak) -> None:
    with soak.server() as running:
        soak.clock.write_text(str(soak.random.choice((-1, 1)) * 86_400))
        shown = json.loads(soak.run("ps", "--on", "local", "--json").stdout)["deployments"]
        soak.expect([d["status"] for d in shown] == ["running"], f"after a jump: {shown}")
        code = soak.run("stop", NAME).returncode
        soak.expect(code == 0, f"stop after a jump ended with {code}")
        soak.ended(running, {0, 143})


def same_name_twice(soak: Soak) -> None:
    with soak.server() as running:
        model = str(serving.model_path())
        again = soak.run("serve", model, "--on", "local", "--port", "0", "--name", NAME)
        soak.expect(again.returncode == 2, f"a name twice ended with {again.returncode}")
        running.process.send_signal(signal.SIGTERM)
        soak.ended(running, {143})


def switched(soak: Soak) -> None:
    with soak.server() as running:
        soak.switch("1024")
        soak.switch("2048")
        running.process.send_signal(signal.SIGTERM)
        soak.ended(running, {143})


def switch_killed(soak: Soak) -> None:
    """The command that switches is killed somewhere; the next one finds all in order."""
    with soak.server() as running:
        process = subprocess.Popen(
            (sys.executable, "-m", "ggufctl", "switch", NAME, "-c", "1024"),
            env=soak.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(soak.random.uniform(0.0, SWITCH_SECONDS))
        process.kill()
        process.wait()
        soak.switch("2048")
        running.process.send_signal(signal.SIGTERM)
        soak.ended(running, {143})


def killed_while_switched(soak: Soak) -> None:
    """What serves is killed while it is switched: nothing of it stays."""
    with soak.server() as running:
        args = (sys.executable, "-m", "ggufctl", "switch", NAME, "-c", "1024")
        with subprocess.Popen(
            args, env=soak.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(soak.random.uniform(0.0, SWITCH_SECONDS))
            running.process.kill()
            running.process.wait()
            code = process.wait(60)
        soak.expect(code in (0, 3, 9), f"a switch whose server is killed ended with {code}")


def front_killed(soak: Soak) -> None:
    """What passes requests on is killed; the server goes on with another."""
    with soak.server() as running:
        for pid in soak.left_behind():
            if b"ggufctl.front.proxy" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        soak.switch("1024")
        running.process.send_signal(signal.SIGTERM)
        soak.ended(running, {143})


def cut_state(soak: Soak) -> None:
    """Every file of state, cut off anywhere."""
    stopped(soak)
    for path in sorted(soak.state.rglob("*.json*")):
        whole = path.read_bytes()
        path.write_bytes(whole[: soak.random.randrange(len(whole) or 1)])
        for args in (("ps", "--all", "--on", "local"), ("logs", NAME), ("stop", NAME)):
            code = soak.run(*args).returncode
            soak.expect(code in (0, 3), f"{args[0]} with a cut {path.name} ended with {code}")
        path.write_bytes(whole)


CYCLES: tuple[Callable[[Soak], None], ...] = (
    stopped,
    terminated,
    interrupted,
    killed,
    engine_killed,
    flapping,
    noisy,
    full_disk,
    clock_jump,
    same_name_twice,
    cut_state,
    switched,
    switch_killed,
    killed_while_switched,
    front_killed,
)


def run_cycles(folder: Path, n_cycles: int, seed: int) -> Soak:
    """Run cycles in an order by chance, each kind at least once where there are enough."""
    soak = Soak(folder, seed)
    order: list[Callable[[Soak], None]] = []
    while len(order) < n_cycles:
        order += soak.random.sample(CYCLES, len(CYCLES))
    for number, cycle in enumerate(order[:n_cycles], 1):
        print(f"{number} of {n_cycles}: {cycle.__name__}", file=sys.stderr, flush=True)
        soak.reset()
        try:
            cycle(soak)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            soak.problems.append(f"{cycle.__name__}: {error}")
        soak.reset()
        soak.check(cycle.__name__)
        soak.done[cycle.__name__] += 1
    return soak
