"""Runs the commands of README whose output differs from run to run: its ```sh blocks.

The blocks under one heading are a scene: its commands run one after the other, in a folder and
with state of their own, against a Hub and a Modal on the loopback interface and the real engine
of this machine. Where README names a model of the Hub, that Hub has a small one of that name.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ggufs import llama, whole
from serving import model_path
from tests.fakehub import FakeFile, FakeHub

SECONDS = 300.0
"""How long any one command may take on a machine that does other things as well."""

LOGS = Path(__file__).parent / "logs"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_HEADING = re.compile(r"^## (.*)$", re.M)
_OURS = re.compile(r"(?<!\w)ggufctl \S")


@dataclass(frozen=True, slots=True)
class Command:
    """One line that README tells its readers to run."""

    heading: str
    kind: str
    """Of its block: console, sh, or indented."""
    line: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What the commands under one heading need."""

    before: tuple[str, ...] = ()
    """Commands that come first, unseen by readers."""
    codes: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The exit codes of a command, where 0 is not the only one that is right."""
    on_modal: bool = False
    is_asleep: bool = False
    """Whether what is deployed has scaled to zero before the first command."""


ELSEWHERE = {
    "python3 -m venv .venv && .venv/bin/pip install -q '.[local]' "
    "&& .venv/bin/ggufctl demo": ".ci/run, with the built wheel in place of the clone",
    "uvx --from . ggufctl plan unsloth/Qwen3-30B-A3B-GGUF": "installed by .ci/run; planned above",
    "pipx install .": "installed by .ci/run",
    "pip install '.[local]'": "the engine of the tests, pyproject.toml's group test",
    "pip install '.[llama-cpp-python]'": "tests/serve/test_other_engines.py, where it is installed",
    "modal setup": "Modal's own",
}
"""Lines that install something, and who runs them."""

SHORT = "[chat]\nn-predict = 24\n[bench]\nn-predict = 8\nn-prompt = 32\nrequests = 6\n"
"""The configuration file: short answers, for the sake of the time that tests take."""

SERVE_SMOLLM2 = "ggufctl serve ./smollm2.gguf --on local"
SERVE_QWEN3 = "ggufctl serve unsloth/Qwen3-30B-A3B-GGUF --name qwen3 -c 512"

SCENES = {
    "A short tour": Scene(on_modal=True),
    "Serve on Modal": Scene(on_modal=True),
    "See how it is doing": Scene(before=(SERVE_SMOLLM2,)),
    "Talk to it, and measure it": Scene((SERVE_QWEN3, SERVE_SMOLLM2), {}, True, is_asleep=True),
    "Download and keep models": Scene(on_modal=True),
    # What is wrong with the machine that runs the tests is for its owner to know.
    "When something fails": Scene(codes={"ggufctl diagnose": frozenset({0, 11})}),
    "Calibrate": Scene(before=("ggufctl demo",)),
}

STDIN = {"ggufctl chat smollm2": "What is gravity?\n"}
"""What a person types where a conversation is shown."""

_SERVES = re.compile(r"^ggufctl serve .*--on local")
_RETURNS = re.compile(r" (--dry-run|-d)\b")
_STAYS = re.compile(r"^ggufctl (logs .*-f\b|status .*--watch)")


def commands(text: str) -> list[Command]:
    """Every line of a block that runs something, in order."""
    headings = [(found.start(), found[1]) for found in _HEADING.finditer(text)]
    out = []
    for block in _FENCE.finditer(text):
        heading = next((name for at, name in reversed(headings) if at < block.start()), "")
        for line in block[2].splitlines():
            if block[1] == "console" and line.startswith("$ "):
                out.append(Command(heading, "console", line[2:]))
            elif block[1] == "sh" and line.strip():
                out.append(Command(heading, "sh", re.sub(r"\s+# .*$", "", line)))
    return out


def unread(text: str) -> list[str]:
    """Lines of code with a command of ours in them that nothing runs."""
    read = {command.line for command in commands(text)} | set(ELSEWHERE)
    lines = [line for block in _FENCE.finditer(text) for line in _code(block[1], block[2])]
    lines += [line for line in _FENCE.sub("", text).splitlines() if line.startswith("    ")]
    return [line for line in lines if _OURS.search(line) and line.strip() not in read]


def _code(kind: str, body: str) -> list[str]:
    """What in a block may be a command that `commands` has not seen; of records, what was typed."""
    if kind in ("console", "sh"):
        return []
    return [line.removeprefix("$ ") for line in body.splitlines() if line.startswith("$ ")] or (
        body.splitlines() if kind != "text" else []
    )


def scenes(text: str) -> dict[str, list[str]]:
    """The commands of each scene."""
    out: dict[str, list[str]] = {}
    for command in commands(text):
        if command.kind == "sh" and command.line not in ELSEWHERE:
            out.setdefault(command.heading, []).append(command.line)
    return out


@dataclass
class Running:
    """A command that was started."""

    line: str
    process: subprocess.Popen[bytes]
    shown: Path

    @property
    def name(self) -> str:
        """Of the deployment that it serves."""
        found = re.search(r"--name (\S+)", self.line) or re.search(r"(\w+)\.gguf", self.line)
        return found[1] if found else ""

    def text(self) -> str:
        return self.shown.read_text(errors="replace")

    def interrupt(self) -> int:
        """What Ctrl-C does; the exit code."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(SECONDS)

    def wait_for(self, text: str) -> None:
        """Return once it has said something, on the terminal or in the file it writes to."""
        written = re.search(r"(?:>>|--prometheus) (\S+)", self.line)
        place = self.shown.parent / written[1] if written else self.shown
        deadline = time.monotonic() + SECONDS
        while not (place.exists() and (found := place.read_text()) and text in found):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.line}: never said {text!r}:\n{self.text()}")
            time.sleep(0.05)


class Stage:
    """Where a scene is played."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.serving: list[Running] = []
        self.url = ""
        """Of the last server that was started here; README's readers have https://host/v1."""
        self.executed: list[str] = []
        self.is_left_behind = False
        """Whether something was started that goes on without the command."""

    def play(self, line: str, codes: frozenset[int] = frozenset({0})) -> None:
        """Run one command to its end, or until it does what it goes on doing.

        Raises: AssertionError with all that it said when it ends otherwise than README says.
        """
        running = self._start(line)
        if _SERVES.search(line) and not _RETURNS.search(line):
            self.serving.append(running)
            running.wait_for("stop     Ctrl-C")
            self._know(running.text())
        elif _STAYS.search(line):
            running.wait_for("")
            self._check(running, running.interrupt(), frozenset({130}))
        else:
            self.is_left_behind |= " -d " in line
            self._check(running, running.process.wait(SECONDS), codes)
        self.executed.append(line)

    def close(self) -> None:
        """Stop what still serves as Ctrl-C would; what was stopped before has ended by SIGTERM."""
        for running in self.serving:
            was_stopped = f"stop {running.name}" in " ".join(self.executed)
            self._check(running, running.interrupt(), frozenset({143 if was_stopped else 130}))

    def _know(self, shown: str) -> None:
        if url := re.search(r"answers at (http\S+)", shown):
            self.url = url[1]
        if key := re.search(r"\$\(cat (\S+)\)", shown):
            self.environment["GGUFCTL_API_KEY"] = Path(key[1]).read_text().strip()

    def _start(self, line: str) -> Running:
        shown = self.folder / f"output-{len(self.executed)}.txt"
        environment = dict(self.environment)
        if _SERVES.search(line):
            line = line.replace("--port 8080", "")
            environment["GGUFCTL_PORT"] = str(free_port())
        for address in ("https://host/v1", "http://127.0.0.1:8080/v1"):
            line = line.replace(address, self.url)
        typed = self.folder / "typed.txt"
        typed.write_text(STDIN.get(line, ""))
        with shown.open("wb") as out, typed.open("rb") as entered:
            process = subprocess.Popen(
                ["bash", "-o", "pipefail", "-c", line],
                cwd=self.folder,
                env=environment,
                stdin=entered,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Running(line, process, shown)

    def _check(self, running: Running, code: int, codes: frozenset[int]) -> None:
        text = running.text()
        assert code in codes, f"{running.line}: exit {code}\n{text}"
        assert "Traceback" not in text, f"{running.line}\n{text}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fill(hub: FakeHub) -> None:
    """Small models under the names that README speaks of."""
    raw = whole(*llama())
    for repo in (
        "bartowski/Llama-3.3-70B-Instruct-GGUF",
        "unsloth/Qwen3-30B-A3B-GGUF",
        "Qwen/Qwen3-8B-GGUF",
    ):
        stem = repo.partition("/")[2].removesuffix("-GGUF")
        hub.add(
            repo,
            {
                f"{stem}-Q4_K_M.gguf": FakeFile.whole(raw),
                f"{stem}-Q8_0.gguf": FakeFile.whole(raw + bytes(4096)),
                "mmproj-F16.gguf": FakeFile.whole(b"GGUF" + bytes(100)),
            },
        )


@contextlib.contextmanager
def stage(modal_url: str = "") -> Iterator[Stage]:
    """A folder with what README's readers have in theirs, and nothing else in reach."""
    folder = Path(tempfile.mkdtemp(prefix="gr"))
    try:
        with FakeHub() as hub:
            fill(hub)
            (folder / "smollm2.gguf").symlink_to(model_path())
            shutil.copy(LOGS / "kv-too-large.log", folder / "server.log")
            (folder / "notes.txt").write_text("Apples fall. So do stones.\n")
            (folder / "pirate.txt").write_text("You are a pirate.\n")
            (folder / "questions.txt").write_text("What is gravity?\nAnd what is light?\n")
            config = folder / ".config" / "ggufctl" / "config.toml"
            config.parent.mkdir(parents=True)
            config.write_text(
                "[chat]\nn-predict = 24\n[bench]\nn-predict = 8\nn-prompt = 32\nrequests = 6\n"
            )
            _program(folder / "bin" / "kubectl", f"cat {folder}/server.log")
            yield from _staged(Stage(folder, _environment(folder, hub.url, modal_url)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _staged(made: Stage) -> Iterator[Stage]:
    try:
        yield made
    finally:
        for running in made.serving:
            running.interrupt()
        if made.is_left_behind:
            subprocess.run(("ggufctl", "stop", "--all", "--on", "local"), env=made.environment)


def _program(path: Path, line: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def _environment(folder: Path, hub: str, modal: str) -> dict[str, str]:
    bin_dir = Path(sys.executable).parent
    found = {
        "PATH": f"{folder}/bin:{bin_dir}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "HOME": str(folder),
        "SHELL": "/bin/bash",
        "HF_HOME": f"{folder}/hf",
        "HF_ENDPOINT": hub,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "XDG_CACHE_HOME": f"{folder}/.cache",
        "XDG_CONFIG_HOME": f"{folder}/.config",
        "XDG_STATE_HOME": f"{folder}/.state",
        "MODAL_CONFIG_PATH": os.devnull,
        "GGUFCTL_THREADS": "1",
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }
    if modal:
        found |= {
            "MODAL_SERVER_URL": modal,
            "MODAL_TOKEN_ID": "ak-test",
            "MODAL_TOKEN_SECRET": "as-test",
        }
    return found
