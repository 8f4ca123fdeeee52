"""Every error of Modal's at every RPC of `serve`, `switch` and `stop`, and logs of every shape.

`python -m tests.on_modal.sweep [rpcs|once|shapes] [SHARD/SHARDS]` prints each case that breaks a
rule; `once` has each error come once, and else it comes for as long as the command runs:

- the error is one of ours, with the exit code that its kind has;
- nothing is left running, and no key or claim: at once, or after one `ps` where the error was in
  what ends things;
- what was to be switched answers with its key on its GPU;
- no server is started more often than it may be;
- no RPC, image or log holds the key.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from grpclib import Status

from ggufctl.core.runtime import Runtime
from ggufctl.errors import GgufctlError
from ggufctl.services.modal import (
    ModalRequest,
    launch,
    modal_deployments,
    modal_log,
    serve_modal,
    stop_modal,
    switch_modal,
)
from ggufctl.services.modal.ask import ask
from tests.modal_standin.server import StandIn
from tests.modal_standin.state import RpcFault

NAME = "tiny"
APP = f"ggufctl-{NAME}"
MAX_ATTEMPTS = 2
FOREVER = 10**6
MAX_SAME = 3
"""Of what one command asks again and again, so many are looked at."""

STATUSES = (
    Status.UNAVAILABLE,
    Status.RESOURCE_EXHAUSTED,
    Status.PERMISSION_DENIED,
    Status.NOT_FOUND,
    Status.FAILED_PRECONDITION,
    Status.INTERNAL,
    Status.DEADLINE_EXCEEDED,
    Status.UNIMPLEMENTED,
    Status.UNAUTHENTICATED,
    Status.INVALID_ARGUMENT,
    Status.ABORTED,
)
DENIED = (Status.PERMISSION_DENIED, Status.UNAUTHENTICATED)
ENDINGS = (
    "AppStop",
    "AppGetOrCreate",
    "AppClientDisconnect",
    "AppPublish",
    "SecretDelete",
    "SecretGetOrCreate",
)
"""RPCs without which what was begun cannot be ended."""

SHAPES: tuple[tuple[str, ...], ...] = (
    (),
    ("joined",),
    ("parts",),
    ("twice",),
    ("no task",),
    ("no time",),
    ("no source",),
    ("no end",),
    ("no replay",),
    ("silent",),
    ("late",),
    ("joined", "parts"),
    ("joined", "no source"),
    ("no task", "no time"),
    ("no task", "twice", "no source"),
    ("no replay", "parts", "no task"),
)
SCENARIOS = {
    "healthy": 1,
    "unknown-model": 1,
    "crash": 1,
    "cpu-fallback": 1,
    "oom-weights": MAX_ATTEMPTS,
    "oom-kv": MAX_ATTEMPTS,
    "oom-compute": MAX_ATTEMPTS,
    "oom-runtime": MAX_ATTEMPTS,
    "oom-bare": MAX_ATTEMPTS,
    "killed": MAX_ATTEMPTS,
}
"""What the engine does → how often it may be started."""


@dataclass
class Sweep:
    """What was done, and what was wrong with it."""

    modal: StandIn
    model: Path
    folder: Path
    port: int
    done: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    n_cases: int = 0
    times: int = FOREVER
    """How often an error comes."""

    def request(self, **changes: object) -> ModalRequest:
        values: dict[str, object] = {
            "model": str(self.model),
            "name": NAME,
            "n_ctx": 512,
            "runtime": Runtime(n_parallel=2),
            "port": self.port,
            "gpus": ("T4", "L4", "A10"),
            "max_attempts": MAX_ATTEMPTS,
            "queue_seconds": 20.0,
        }
        return ModalRequest(**{**values, **changes})  # type: ignore[arg-type]  # by its fields

    def fresh(self, engine: str = "healthy") -> None:
        """Modal and this machine with nothing in them."""
        self.modal.reset()
        self.modal.faults.engine["*"] = engine
        self.n_cases += 1
        os.environ["GGUFCTL_STATE_DIR"] = str(self.folder / f"state-{self.n_cases}")

    def wrong(self, what: str, text: str) -> None:
        self.problems.append(f"{what}: {text}")
        print(f"PROBLEM {what}: {text}", flush=True)

    def tried(self, what: str, act: Callable[[], object]) -> GgufctlError | None:
        """The error of something, if it is one of ours."""
        try:
            act()
        except GgufctlError as error:
            return error
        except BaseException as error:
            self.wrong(what, f"no error of ours: {type(error).__name__}: {error}")
            raise
        return None

    # The commands

    def command(self, name: str) -> Callable[[], object]:
        commands: dict[str, Callable[[], object]] = {
            "serve": lambda: serve_modal(self.request()),
            "serve that fails": lambda: serve_modal(self.request()),
            "switch": lambda: switch_modal(NAME, ("L4",)),
            "stop": lambda: stop_modal(NAME),
            "ps": modal_deployments,
            "logs": lambda: list(modal_log(NAME)),
        }
        return commands[name]

    def prepare(self, name: str) -> None:
        self.fresh("unknown-model" if name == "serve that fails" else "healthy")
        if not name.startswith("serve"):
            serve_modal(self.request(gpus=("T4",)))

    def calls(self, name: str) -> list[tuple[str, int]]:
        """The RPCs of a command that nothing disturbs, each with how many of it came before."""
        self.prepare(name)
        n_before = len(self.modal.records)
        self.tried(name, self.command(name))
        seen: Counter[str] = Counter()
        found = []
        for record in self.modal.records[n_before:]:
            if not record.task_id and seen[record.rpc] < MAX_SAME:
                found.append((record.rpc, seen[record.rpc]))
            seen[record.rpc] += not record.task_id
        return found

    def case(self, name: str, rpc: str, skip: int, status: Status) -> None:
        """One error, from one RPC of a command on."""
        what = f"{name}, {rpc} {skip}, {status.name}"
        self.prepare(name)
        n_before = len(self.modal.tasks_of("llama"))
        self.modal.faults.rpcs.append(RpcFault(rpc, status, "injected", self.times, skip))
        error = self.tried(what, self.command(name))
        self.modal.faults.rpcs.clear()
        self.done[f"{name}: {'goes on' if error is None else f'exit {error.exit_code}'}"] += 1
        if error is not None:
            self.judge_error(what, name, error, rpc, status)
        if (n := len(self.modal.tasks_of("llama")) - n_before) > MAX_ATTEMPTS:
            self.wrong(what, f"started {n} times")
        if self.modal.state.unimplemented:
            self.wrong(what, f"not known: {self.modal.state.unimplemented}")
        self.judge_key(what)
        if name.startswith("serve"):
            self.judge_serve(what, rpc, is_up=error is None)
        elif name == "stop":
            self.judge_stop(what, error)
        else:
            self.judge_rest(what, name, error)

    # What must hold

    def judge_error(
        self, what: str, name: str, error: GgufctlError, rpc: str, status: Status
    ) -> None:
        wanted = {9} if name == "serve that fails" else set()
        wanted |= {4} if status in DENIED else {8, 9}
        if status is Status.NOT_FOUND and rpc.startswith("App"):
            wanted |= {3}
        is_left = "may cost money" in error.message and error.exit_code == 8
        if error.exit_code not in wanted and not is_left:
            self.wrong(what, f"exit code {error.exit_code}: {error.message}")
        is_told = "injected" in error.message or error.exit_code in (3, 9)
        # A Volume that is not there has no files.
        is_told |= rpc.startswith("Volume") and status is Status.NOT_FOUND
        if not is_told and "may cost money" not in error.message:
            self.wrong(what, f"not explained: {error.message}")

    def judge_key(self, what: str) -> None:
        keys = [s.env.get("LLAMA_API_KEY", "") for s in self.modal.state.secrets.values()]
        for key in filter(None, keys):
            if held := self.modal.holds(key):
                self.wrong(what, f"the key is in {held}")

    def judge_serve(self, what: str, rpc: str, *, is_up: bool) -> None:
        if is_up:
            self.judge_answer(what)
            return
        if left := self.left():
            if rpc not in ENDINGS:
                self.wrong(what, f"left: {left}")
            self.done["left until ps"] += 1
            self.tried(what, modal_deployments)
            if left := self.left():
                self.wrong(what, f"left after ps: {left}")

    def judge_stop(self, what: str, error: GgufctlError | None) -> None:
        if error is not None:
            again = self.tried(what, self.command("stop"))
            if again is not None and again.exit_code != 3:
                self.wrong(what, f"cannot be stopped again: {again.message}")
        if left := self.left():
            self.wrong(what, f"left: {left}")

    def judge_rest(self, what: str, name: str, error: GgufctlError | None) -> None:
        if error is not None:
            self.tried(what, modal_deployments)
        self.judge_answer(what, "L4" if name == "switch" and error is None else "T4")

    def judge_answer(self, what: str, gpu: str = "") -> None:
        app = self.modal.state.app_named(APP)
        if app is None:
            self.wrong(what, "nothing is deployed")
            return
        function = self.modal.function(APP, "llama")
        if gpu and function.gpus[0] != gpu:
            self.wrong(what, f"deployed on {function.gpus}")
        named = {s.name: s.env for s in self.modal.state.secrets.values() if s.name}
        if function.settings.min_containers or "starting-until" in app.tags or len(named) > 1:
            # What could not be noted is noted by the next look.
            self.tried(what, modal_deployments)
            named = {s.name: s.env for s in self.modal.state.secrets.values() if s.name}
            if function.settings.min_containers:
                self.wrong(what, f"a container is held: {app.tags}")
        if set(named) != {f"{APP}-key"}:
            self.wrong(what, f"Secrets: {sorted(named)}")
        key = named.get(f"{APP}-key", {}).get("LLAMA_API_KEY", "")
        if not self.waits(lambda: self.status(function.url, key) == 200):
            self.wrong(what, "it does not answer with its key")

    def status(self, url: str, key: str) -> int:
        return ask(f"{url}/v1/models", {"Authorization": f"Bearer {key}"})[0]

    def left(self) -> list[str]:
        """What runs or is kept although nothing should be."""
        tasks = [task.id for task in self.modal.live_tasks()]
        named = [secret.name for secret in self.modal.state.secrets.values() if secret.name]
        folder = Path(os.environ["GGUFCTL_STATE_DIR"]) / "modal"
        kept = [path.name for path in folder.glob("*") if path.suffix in (".key", ".begun")]
        apps = [app.name for app in self.modal.state.apps.values() if app.is_live and app.name]
        return [*tasks, *named, *kept, *apps]

    def waits(self, is_so: Callable[[], bool]) -> bool:
        end = time.monotonic() + 20
        while not is_so():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    # Logs of every shape

    def shape(self, shape: Iterable[str], scenario: str, *, counts_nothing: bool) -> None:
        """One start with such a log."""
        what = (
            f"{scenario}, {' + '.join(shape) or 'usual'}, {'no' if counts_nothing else ''} counts"
        )
        self.fresh(scenario)
        self.modal.faults.logs = set(shape)
        self.modal.faults.counts_nothing = counts_nothing
        limit = SCENARIOS[scenario]
        began = time.monotonic()
        error = self.tried(what, lambda: serve_modal(self.request(max_attempts=limit)))
        seconds = time.monotonic() - began
        n = len(self.modal.tasks_of("llama"))
        self.done[f"{scenario}: exit {error.exit_code if error else 0}"] += 1
        print(f"{seconds:6.1f} s, {n} started: {what}: {error.message if error else 'up'}")
        if n > limit:
            self.wrong(what, f"started {n} times")
        if (error is None) != (scenario == "healthy"):
            self.wrong(what, f"{error.message if error else 'up'}")
        elif error is None:
            self.judge_answer(what)
        else:
            if error.exit_code != 9:
                self.wrong(what, f"exit code {error.exit_code}: {error.message}")
            if n < limit and scenario.startswith(("oom", "killed")):
                self.wrong(what, f"started {n} times: {error.message}")
            if left := self.left():
                self.wrong(what, f"left: {left}")
        if seconds > 30:
            self.wrong(what, f"took {seconds:.0f} s")

    def shape_of_switch(self, shape: Iterable[str], scenario: str, *, counts_nothing: bool) -> None:
        """One switch with such a log."""
        what = f"switch, {scenario}, {' + '.join(shape) or 'usual'}{', no counts' * counts_nothing}"
        self.prepare("switch")
        n_before = len(self.modal.tasks_of("llama"))
        self.modal.faults.engine["L4"] = scenario
        self.modal.faults.logs = set(shape)
        self.modal.faults.counts_nothing = counts_nothing
        began = time.monotonic()
        error = self.tried(what, lambda: switch_modal(NAME, ("L4",)))
        seconds = time.monotonic() - began
        n = len(self.modal.tasks_of("llama")) - n_before
        self.done[f"switch, {scenario}: exit {error.exit_code if error else 0}"] += 1
        print(f"{seconds:6.1f} s, {n} started: {what}: {error.message if error else 'up'}")
        if (error is None) != (scenario == "healthy"):
            self.wrong(what, f"{error.message if error else 'up'}")
        self.judge_answer(what, "T4" if error else "L4")
        if seconds > 30:
            self.wrong(what, f"took {seconds:.0f} s")


def rpc_cases(sweep: Sweep) -> Iterator[Callable[[], None]]:
    for name in ("serve", "serve that fails", "switch", "stop", "ps", "logs"):
        for rpc, skip in sweep.calls(name):
            for status in STATUSES:
                yield lambda n=name, r=rpc, k=skip, s=status: sweep.case(n, r, k, s)


def once_cases(sweep: Sweep) -> Iterator[Callable[[], None]]:
    sweep.times = 1
    yield from rpc_cases(sweep)


def shape_cases(sweep: Sweep) -> Iterator[Callable[[], None]]:
    for shape in SHAPES:
        for scenario in ("healthy", "unknown-model"):
            for nothing in (False, True):
                yield lambda a=shape, b=scenario, c=nothing: sweep.shape_of_switch(
                    a, b, counts_nothing=c
                )
    for scenario in SCENARIOS:
        for shape in SHAPES:
            for nothing in (False, True):
                yield lambda a=shape, b=scenario, c=nothing: sweep.shape(a, b, counts_nothing=c)


def main() -> int:
    """The program; see above."""
    os.environ.update(
        MODAL_CONFIG_PATH=os.devnull, MODAL_TOKEN_ID="ak-test", MODAL_TOKEN_SECRET="as-test"
    )
    from ggufctl.modal_app import logs
    from tests.ggufs import llama, whole
    from tests.on_modal.conftest import free_port

    kinds = {"rpcs": rpc_cases, "once": once_cases, "shapes": shape_cases}
    cases = kinds[sys.argv[1] if len(sys.argv) > 1 else "rpcs"]
    shard, _, n_shards = (sys.argv[2] if len(sys.argv) > 2 else "0/1").partition("/")
    logs.IDLE_STREAM_SECONDS = 0.4
    launch.OUTSIDE_SECONDS = 8.0
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="gm"))
    n_done = 0
    try:
        model = folder / "tiny-Q8_0.gguf"
        model.write_bytes(whole(*llama()))
        with StandIn(folder) as modal:
            os.environ["MODAL_SERVER_URL"] = modal.url
            sweep = Sweep(modal, model, folder, free_port())
            for number, case in enumerate(cases(sweep)):
                if number % int(n_shards) == int(shard):
                    n_done += 1
                    case()
            modal.reset()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, count in sorted(sweep.done.items()):
        print(f"{count:5} {name}")
    seconds = time.monotonic() - started
    print(f"{n_done} cases, {len(sweep.problems)} problems, {seconds:.0f} s")
    return 1 if sweep.problems else 0


if __name__ == "__main__":
    sys.exit(main())
