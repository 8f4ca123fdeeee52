"""Clients that are killed outright, at any point of `serve` and `switch`.

`python -m tests.on_modal.kills [KILLS] [SEED]` prints what was left after each and every problem.

What counts is what Modal then has: no container outlives its idle time, the former or the new
deployment answers with the key it always had, and no key, Secret or claim is lost or left over.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ggufctl.services.modal.ask import ask
from tests.modal_standin.server import StandIn

NAME = "tiny"
IDLE_SECONDS = 1.5
WAIT_SECONDS = 40.0
CLIENT_SECONDS = 120.0
SOURCE = Path(__file__).parents[2] / "src"

CLIENT = """
from ggufctl.modal_app import logs
from ggufctl.services.modal import watch
# A container that is to be wanted by number is wanted soon, so that a kill hits that as well.
watch.WAKE_AGAIN_SECONDS, watch.SILENCE_SECONDS = 0.8, 0.4
logs.IDLE_STREAM_SECONDS = 0.4
from ggufctl.__main__ import main
main()
"""


@dataclass
class Kills:
    """What was done, and what was wrong after it."""

    modal: StandIn
    model: Path
    state: Path
    port: int
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    gpus: tuple[str, ...] = ("T4", "L4", "H100", "L40S")
    n_rpcs: dict[str, int] = field(default_factory=lambda: {"serve": 45, "switch": 60})
    """How many a command makes that is not killed, about."""

    @property
    def folder(self) -> Path:
        return self.state / "modal"

    def client(self, *args: str) -> subprocess.Popen[str]:
        env = {**os.environ, "GGUFCTL_STATE_DIR": str(self.state), "PYTHONPATH": str(SOURCE)}
        return subprocess.Popen(
            (sys.executable, "-c", CLIENT, *args),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        process = self.client(*args)
        out, err = process.communicate(timeout=CLIENT_SECONDS)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def arguments(self, command: str) -> tuple[str, ...]:
        gpu = self.rng.choice(self.gpus)
        if command == "switch":
            return ("switch", NAME, "--gpu", gpu)
        port = str(self.port)
        serve = ("serve", str(self.model), "--name", NAME, "-c", "512", "-np", "2")
        return (*serve, "--port", port, "--gpu", gpu, "--scaledown", "2")

    def whole(self, command: str) -> None:
        """One that is not killed, for its length."""
        n_before = len(self.modal.records)
        found = self.run(*self.arguments(command))
        if found.returncode:
            self.problems.append(f"{command}: exit code {found.returncode}: {found.stderr}")
        records = self.modal.records[n_before:]
        self.n_rpcs[command] = sum(not record.task_id for record in records)

    def kill(self, command: str) -> None:
        """One that is killed, and what is there afterwards."""
        at = self.rng.randint(1, self.n_rpcs[command])
        pause = self.rng.choice((0.0, 0.0, self.rng.random() * 0.2))
        n_before = len(self.modal.records)
        process = self.client(*self.arguments(command))
        end = time.monotonic() + CLIENT_SECONDS
        last = ""
        while process.poll() is None and time.monotonic() < end:
            made = [r.rpc for r in self.modal.records[n_before:] if not r.task_id]
            if len(made) >= at:
                last = made[-1]
                time.sleep(pause)
                break
            time.sleep(0.001)
        is_killed = process.poll() is None
        process.kill()
        process.communicate(timeout=60)
        self.done[f"{command}: {'killed' if is_killed else 'ended by itself'}"] += 1
        self.judge(f"{command} killed after {at} RPCs ({last})")

    def judge(self, what: str) -> None:
        """Everything that must hold after a kill, with one `ps` at most."""
        by_itself = self.waits(self.nothing_runs)
        self.done["nothing runs, by itself" if by_itself else "something ran until ps"] += 1
        found = self.run("ps", "--on", "modal", "--json")
        if found.returncode:
            self.problems.append(f"{what}: ps has exit code {found.returncode}: {found.stderr}")
            return
        if not self.waits(self.nothing_runs):
            tasks = [(task.gpu, task.version) for task in self.modal.live_tasks()]
            self.problems.append(f"{what}: still running after ps: {tasks}")
        rows = json.loads(found.stdout)["deployments"]
        self._judge_secrets(what, is_deployed=bool(rows))
        self.done["deployed" if rows else "not deployed"] += 1
        if list(self.folder.glob("*.begun")):
            self.problems.append(f"{what}: a start is still noted: {found.stderr}")
        if rows:
            self._judge_answers(what)

    def _judge_secrets(self, what: str, *, is_deployed: bool) -> None:
        named = {s.name: s.env for s in self.modal.state.secrets.values() if s.name}
        path = self.folder / f"{NAME}.key"
        key = path.read_text().strip() if path.exists() else ""
        wanted = {f"ggufctl-{NAME}-key": {"LLAMA_API_KEY": key}} if is_deployed else {}
        if named != wanted or bool(key) != is_deployed:
            self.problems.append(f"{what}: Secrets {sorted(named)}, a key here: {bool(key)}")

    def _judge_answers(self, what: str) -> None:
        function = self.modal.function(f"ggufctl-{NAME}", "llama")
        tags = self.modal.state.app_named(f"ggufctl-{NAME}").tags  # type: ignore[union-attr]  # it is
        if function.settings.min_containers or "starting-until" in tags:
            self.problems.append(f"{what}: a container is held: {tags}")
        key = (self.folder / f"{NAME}.key").read_text().strip()
        url = f"{function.url}/v1/models"
        if not self.waits(lambda: ask(url, {"Authorization": f"Bearer {key}"})[0] == 200):
            self.problems.append(f"{what}: it does not answer with its key")
        if ask(url, {})[0] != 401:
            self.problems.append(f"{what}: it does not ask for its key")

    def nothing_runs(self) -> bool:
        return not self.modal.live_tasks()

    def waits(self, is_so: Callable[[], bool]) -> bool:
        end = time.monotonic() + WAIT_SECONDS
        while not is_so():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True


def run_kills(
    modal: StandIn, model: Path, state: Path, port: int, n_kills: int, seed: int
) -> Kills:
    """Kill so many clients, half of them in `serve` and half in `switch`."""
    kills = Kills(modal, model, state, port, random.Random(seed))
    modal.faults.engine["*"] = "healthy"
    modal.faults.idle_seconds = IDLE_SECONDS
    for number in range(n_kills):
        # The former answers everything, so that only a number brings up the new one.
        modal.faults.former_serve_on = number % 4 != 3
        is_there = modal.state.app_named(f"ggufctl-{NAME}") is not None
        if number % 2:
            if not is_there:
                kills.whole("serve")
            if number == 1:
                kills.whole("switch")
            kills.kill("switch")
        else:
            if is_there and kills.run("stop", NAME).returncode:
                kills.problems.append("stop fails")
            kills.kill("serve")
    if modal.state.app_named(f"ggufctl-{NAME}") is not None:
        kills.run("stop", NAME)
    if left := [s.name for s in modal.state.secrets.values() if s.name]:
        kills.problems.append(f"left after the last stop: {left}")
    return kills


def main() -> int:
    """The program; see above."""
    os.environ.update(
        MODAL_CONFIG_PATH=os.devnull, MODAL_TOKEN_ID="ak-test", MODAL_TOKEN_SECRET="as-test"
    )
    from tests.ggufs import llama, whole
    from tests.on_modal.conftest import free_port

    n_kills = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="gm"))
    try:
        model = folder / "tiny-Q8_0.gguf"
        model.write_bytes(whole(*llama()))
        with StandIn(folder) as modal:
            os.environ["MODAL_SERVER_URL"] = modal.url
            kills = run_kills(modal, model, folder / "state", free_port(), n_kills, seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, count in sorted(kills.done.items()):
        print(f"{count:5} {name}")
    for problem in kills.problems:
        print(f"PROBLEM {problem}")
    seconds = time.monotonic() - started
    print(f"{n_kills} kills, {len(kills.problems)} problems, {seconds:.0f} s")
    return 1 if kills.problems else 0


if __name__ == "__main__":
    sys.exit(main())
