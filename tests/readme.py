"""Runs every command that README.md shows and keeps its output true.

    python -m tests.readme              # say what differs, exit 1
    python -m tests.readme --write      # put the real output into README.md
    python -m tests.readme --write TEXT # the same of blocks that hold TEXT
    python -m tests.readme --generated  # put in no more than the generated parts

A ```console block holds commands after `$ ` and what they print; a ```python block is
run as a script. Commands run in a terminal of 80 columns, in a folder of their own,
against a Hub on the loopback interface that holds the models README speaks of. What lies
between `<!-- begin NAME -->` and `<!-- end NAME -->` is made by `GENERATED[NAME]`.
Commands in ```sh blocks are run by `tests/readme_scenes.py`.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from typer.main import get_command

from ggufctl.cli import app
from ggufctl.core.ggml.types import TYPES, tensor_bytes
from ggufctl.core.header import Header, TensorInfo
from tests.fakehub import FakeFile, FakeHub
from tests.speed import report as speed
from tests.truth.pack import slim
from tests.truth.recorded import headers

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FULL_REPORT = ROOT / ".ci" / "full.txt"
LOG = Path(__file__).parent / "logs" / "kv-too-large.log"
WIDTH = 80

_BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.M | re.S)
_PART = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.S)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

# Quants of the first repository, each of one tensor type here.
_QUANTS = {
    "Q8_0": "q8_0",
    "Q6_K": "q6_K",
    "Q5_K_M": "q5_K",
    "Q4_K_M": "q4_K",
    "IQ4_XS": "iq4_xs",
    "Q2_K": "q2_K",
}


def _model(name: str, type_: str | None = None) -> FakeFile:
    header = headers()[name]
    if type_ is not None:
        header = _requantised(header, type_)
    end = max(t.offset + t.n_bytes for t in header.tensors.values())
    raw = slim(header)
    return FakeFile(raw, len(raw) + end)


def _requantised(header: Header, type_: str) -> Header:
    """The same model with every quantised tensor of one type."""
    tensors, offset = {}, 0
    for name, t in header.tensors.items():
        new = type_ if TYPES[t.type].is_quantized else t.type
        size = tensor_bytes(new, t.shape)
        tensors[name] = TensorInfo(name, new, t.shape, offset, size)
        offset = -(-(offset + size) // header.alignment) * header.alignment
    return replace(header, tensors=tensors)


def fill(hub: FakeHub) -> None:
    """Put the models of README on the Hub."""
    hub.add(
        "bartowski/Llama-3.3-70B-Instruct-GGUF",
        {
            f"Llama-3.3-70B-Instruct-{quant}.gguf": _model("Llama-3.1-70B-Q4_K_M", type_)
            for quant, type_ in _QUANTS.items()
        },
    )
    hub.add(
        "unsloth/Qwen3-30B-A3B-GGUF",
        {"Qwen3-30B-A3B-Q4_K_M.gguf": _model("Qwen3-30B-A3B-Q4_K_M")},
    )
    hub.add(
        "unsloth/GLM-4.5-Air-GGUF",
        {"GLM-4.5-Air-Q4_K_M.gguf": _model("GLM-4.5-Air-Q4_K_M")},
    )
    of_base = ("base_model:Qwen/Qwen3-8B", "base_model:quantized:Qwen/Qwen3-8B")
    hub.add(
        "Qwen/Qwen3-8B-AWQ",
        {"model-00001-of-00002.safetensors": b"", "config.json": b"{}"},
        tags=("awq", *of_base),
    )
    hub.add(
        "Qwen/Qwen3-8B-GGUF",
        {"Qwen3-8B-Q4_K_M.gguf": _model("Qwen3-8B-Q4_K_M")},
        tags=("gguf", *of_base),
        downloads=250_000,
    )


@contextmanager
def surroundings() -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with a model in it and an environment that knows no other Hub."""
    with tempfile.TemporaryDirectory() as folder, FakeHub() as hub:
        fill(hub)
        home = Path(folder)
        model = _model("DeepSeek-V3-R1-Q4_K_M")
        with (home / "DeepSeek-R1-Q4_K_M.gguf").open("wb") as file:
            file.write(model.head)
            file.truncate(model.size)
        shutil.copy(LOG, home / "server.log")
        bin_dir = str(Path(sys.executable).parent)
        yield (
            home,
            {
                "PATH": f"{bin_dir}:{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                "HOME": folder,
                "HF_HOME": f"{folder}/hf",
                "HF_ENDPOINT": hub.url,
                "XDG_CACHE_HOME": f"{folder}/.cache",
                "XDG_CONFIG_HOME": f"{folder}/.config",
                "XDG_STATE_HOME": f"{folder}/.state",
                "COLUMNS": str(WIDTH),
                "TERM": "xterm",
                "NO_COLOR": "1",
                "TYPER_USE_RICH": "0",
            },
        )


def in_terminal(
    command: str, folder: Path, environment: dict[str, str], *, keep_colours: bool = False
) -> str:
    """What a command shows on a terminal, less colours unless they are to be kept."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        if not select.select([ours], [], [], 120)[0]:
            process.kill()
            break
        try:
            part = os.read(ours, 1 << 16)
        except OSError:
            break
        if not part:
            break
        shown += part
    process.wait()
    os.close(ours)
    text = shown.decode().replace("\r\n", "\n")
    if not keep_colours:
        text = _ANSI.sub("", text)
    if "Traceback (most recent call last)" in text:
        raise AssertionError(f"{command}\n{text}")
    return "\n".join(line.rstrip() for line in text.splitlines())


def run_block(kind: str, body: str, folder: Path, environment: dict[str, str]) -> str:
    """The block with its real output."""
    if kind == "python":
        done = subprocess.run(
            [sys.executable, "-c", body],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"README's Python fails:\n{body}\n{done.stderr}")
        return body
    out = []
    for line in body.splitlines():
        if line.startswith("$ "):
            out += [line, in_terminal(line[2:], folder, environment)]
    return "\n".join(part for part in out if part) + "\n"


def reference() -> str:
    """Every command and its options, as the program declares them."""
    root: Any = get_command(app)
    takers = ("plan", "serve", "switch", "chat")
    shared = set.intersection(*(_records(root.commands[name]) for name in takers))
    shared -= _records(root.commands["bench"])
    out = []
    for name, command in root.commands.items():
        for title, one in _with_subcommands(f"ggufctl {name}", command):
            out += _described(title, one, shared)
    about = "Of llama-server, as `plan`, `serve`, `switch` and `chat` take them."
    table = _table(root.commands["plan"], shared.__contains__)
    return "\n".join([*out, *_folded("Options of llama-server", about, table)])


def _with_subcommands(title: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield title, command
    for name, one in getattr(command, "commands", {}).items():
        yield f"{title} {name}", one


def _described(title: str, command: Any, shared: set[tuple[str, str]]) -> list[str]:
    arguments = command.get_usage(_context()).partition("[OPTIONS]")[2].split()
    about = " ".join(command.help.partition("\n\n")[0].split())
    if takes_shared := shared <= _records(command):
        about += " Takes the options of llama-server (below) as well."
    table = _table(command, lambda record: not (takes_shared and record in shared))
    return _folded(f"<code>{' '.join([title, *arguments])}</code>", about, table)


def _folded(title: str, about: str, table: list[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", about, "", *table, "", "</details>", ""]


@cache
def _context() -> Any:
    root: Any = get_command(app)
    return root.make_context("ggufctl", [], resilient_parsing=True)


def _records(command: Any) -> set[tuple[str, str]]:
    return {_record(option) for option in command.params if _is_shown(option)}


def _is_shown(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option" and not parameter.hidden)


def _record(option: Any) -> tuple[str, str]:
    names, about = option.get_help_record(_context())
    return names, " ".join(about.split())


def _table(command: Any, is_wanted: Callable[[tuple[str, str]], bool]) -> list[str]:
    out = ["| option | |", "|---|---|"]
    for option in command.params:
        if _is_shown(option) and is_wanted(_record(option)):
            names, about = (each.replace("|", "\\|") for each in _record(option))
            out.append(f"| `{names}` | {about} |")
    return out if len(out) > 2 else []


def memory() -> str | None:
    """The residuals of the last full comparison of memory, or None while it is being made."""
    if not FULL_REPORT.exists():
        # An sdist has no reports.
        return None
    text = FULL_REPORT.read_text(encoding="utf-8")
    runs = re.search(r"^(\d+) of (\d+) runs exact .*, (\d+) architectures$", text, re.M)
    error = re.search(r"total: median ([\d.]+) %, worst ([\d.]+) %", text)
    made = re.search(r"(\d{4}-\d\d-\d\d), (Python [\d.]+)", text)
    if not (runs and error and made):
        return None
    exact, total = int(runs[1]), int(runs[2])
    return "\n".join(
        [
            f"| memory, {made[1]}, {made[2]} | |",
            "|---|---:|",
            f"| recorded runs of llama.cpp b11434 | {total:,} |",
            f"| architectures | {runs[3]} |",
            f"| exact to the byte on every device and the host | {exact:,} ({exact / total:.2%}) |",
            f"| error of a device's total, median | {error[1]} % |",
            f"| error of a device's total, worst | {error[2]} % |",
            "",
        ]
    )


def exit_codes() -> str:
    """Every exit code and what it means, as the help of the program has them."""
    from ggufctl.cli import EXIT_CODES

    found = re.findall(r"(?:^|\s{2,})(\d+)  (\S.*?)(?=\s{3,}\d|\n|$)", EXIT_CODES)
    rows = sorted((int(code), meaning.strip()) for code, meaning in found)
    table = [f"| {code} | {meaning} |" for code, meaning in rows]
    return "\n".join(["| code | meaning |", "|---|---|", *table, ""])


GENERATED: dict[str, Callable[[], str | None]] = {
    "reference": reference,
    "exit_codes": exit_codes,
    "memory": memory,
    "speed": lambda: f"{speed.markdown(speed.points())}\n",
    "starts": lambda: f"{speed.starts(speed.points())}\n",
}
"""The parts of README that are made, by the name in their markers; None leaves one as it is."""


def generated(text: str) -> str:
    """README with its generated parts made anew."""

    def made(part: re.Match[str]) -> str:
        content = GENERATED[part[2]]()
        return part[0] if content is None else f"{part[1]}{content}{part[3]}"

    return _PART.sub(made, text)


def renewed(text: str, holding: str = "") -> str:
    """README with the output of every command made anew, or of those in blocks with a text."""
    with surroundings() as (folder, environment):

        def made(block: re.Match[str]) -> str:
            if holding not in block[2]:
                return block[0]
            return f"```{block[1]}\n{run_block(block[1], block[2], folder, environment)}```"

        return _BLOCK.sub(made, text)


def main(arguments: list[str]) -> int:
    """Compare README with what its commands print, or write it."""
    text = README.read_text(encoding="utf-8")
    new = generated(text)
    if "--generated" not in arguments:
        new = renewed(new, next((a for a in arguments if not a.startswith("-")), ""))
    if "--write" in arguments or "--generated" in arguments:
        README.write_text(new, encoding="utf-8")
    elif new != text:
        sys.stderr.write("README.md does not show what its commands print.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
