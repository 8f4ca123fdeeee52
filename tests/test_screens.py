"""What a terminal shows: at every width, with colours and without, replayed as a recorder would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest

from tests.readme import in_terminal, surroundings

WIDTHS = (60, 80, 120, 200)
COMMANDS = (
    "ggufctl plan bartowski/Llama-3.3-70B-Instruct-GGUF",
    "ggufctl plan unsloth/Qwen3-30B-A3B-GGUF --optimize cost",
    "ggufctl plan --compare unsloth/Qwen3-30B-A3B-GGUF Qwen/Qwen3-8B-GGUF",
    "ggufctl plan Qwen/Qwen3-8B-GGUF --name-only",
    "ggufctl gpus",
    "ggufctl config plan --all",
    "ggufctl models ls --on local",
)
N_LINES = 400

READABLE = frozenset(
    ("", "0", "1", "2", "3", "4", "22", "23", "24", *map(str, range(31, 37)), "39")
)
"""Attributes that can be read on a dark ground and on a light one: no black, white or ground."""

_SGR = re.compile(r"\x1b\[([0-9;]*)m")


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Path, dict[str, str]]]:
    with surroundings() as found:
        yield found


def table_lines(text: str) -> list[str]:
    """Every rule of a table, its headings above, and its rows below."""
    lines = text.splitlines()
    found = []
    for index, line in enumerate(lines):
        if re.fullmatch(r"─+", line.strip()):
            found += lines[max(0, index - 1) : index + 1]
            rows = lines[index + 1 :]
            found += rows[
                : next((i for i, row in enumerate(rows) if re.search(r"[:.] ", row)), len(rows))
            ]
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_cut_and_a_replay_shows_the_same_with_and_without_colours(place, command, width):
    folder, environment = place
    plain = in_terminal(command, folder, {**environment, "COLUMNS": str(width)})
    coloured = {**environment, "COLUMNS": str(width), "TERM": "xterm-256color"}
    del coloured["NO_COLOR"]
    raw = in_terminal(command, folder, coloured, keep_colours=True)

    screen = pyte.Screen(width, N_LINES)
    pyte.Stream(screen).feed(raw.replace("\n", "\r\n"))
    shown = "".join(line.rstrip() for line in screen.display)

    assert "…" not in plain
    assert all(len(line) <= width for line in table_lines(plain)), plain
    assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", plain)
    used = {code for codes in _SGR.findall(raw) for code in codes.split(";")}
    assert used <= READABLE
    assert "\x1b" not in plain


@pytest.mark.parametrize("width", WIDTHS)
def test_a_gpu_is_a_line_of_the_table_whatever_the_reason_not_to_take_it(place, width):
    folder, environment = place
    command = "ggufctl plan bartowski/Llama-3.3-70B-Instruct-GGUF:Q4_K_M --min-tokens-per-s 25"
    shown = in_terminal(command, folder, {**environment, "COLUMNS": str(width)})

    lines = shown.splitlines()
    first = next(i for i, line in enumerate(lines) if re.fullmatch(r"─+", line.strip())) + 1
    last = next(i for i, line in enumerate(lines) if line.startswith("pick: "))
    assert all(
        re.match(r"(\d×)?(T4|L4|A10|L40S|A100|RTX|H100|H200|B)", x) for x in lines[first:last]
    )
    assert ("below 25" in shown) == (width >= 160)


def test_a_table_has_colours_where_they_are_wanted(place):
    folder, environment = place
    coloured = {**environment, "TERM": "xterm-256color"}
    del coloured["NO_COLOR"]

    assert _SGR.search(in_terminal("ggufctl gpus", folder, coloured, keep_colours=True))
