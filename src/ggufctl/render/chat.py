"""A conversation on a terminal: plain text, in which nothing of a model's can become a command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ggufctl.core.conversation import COMMANDS
from ggufctl.core.escape import escape

if TYPE_CHECKING:
    from ggufctl.services.chat import Answer
    from ggufctl.services.target import About, Target

__all__ = ["dim", "greeting", "help_lines", "speed_line"]

_DIM, _PLAIN = "\x1b[2m", "\x1b[22m"


def dim(text: str, *, is_terminal: bool) -> str:
    """Text that stays in the background, where the terminal knows how to."""
    if not text or not is_terminal or "NO_COLOR" in os.environ:
        return text
    return f"{_DIM}{text}{_PLAIN}"


def speed_line(answer: Answer, width: int = 0) -> str:
    """How fast an answer came, the least important left out where there is no room.

    Args:
        answer: with its times.
        width: columns there are; 0 = any number.
    """
    parts = [f"{answer.n_tokens} tokens"]
    if answer.tokens_per_second:
        parts[0] += f" at {answer.tokens_per_second:.1f}/s"
    if answer.n_tokens:
        parts.append(f"first after {answer.first_token_seconds:.2f} s")
    if answer.finish_reason == "interrupted":
        parts.append("stopped")
    elif answer.finish_reason == "length":
        parts.append("cut at the limit")
    if answer.n_prompt:
        speed = answer.prompt_tokens_per_second
        rate = f" at {speed:.0f}/s" if speed else ""
        parts.append(f"prompt {answer.n_prompt}{rate}")
    if answer.n_cached:
        parts.append(f"{answer.n_cached} of it kept")
    if answer.waited_seconds >= 1:
        parts.append(f"start {answer.waited_seconds:.0f} s")
    line = " · ".join(parts)
    while width and len(line) >= width and len(parts) > 1:
        parts.pop()
        line = " · ".join(parts)
    return line


def greeting(target: Target, about: About) -> str:
    """Whom one talks to, before the first question."""
    parts = [escape(about.model, 100)]
    if about.model != target.name:
        parts.append(escape(target.name, 100))
    if about.n_ctx_slot:
        parts.append(f"{about.n_ctx_slot} tokens of context")
    if about.takes_images:
        parts.append("takes images")
    return " · ".join([*parts, "/help"])


def help_lines() -> list[str]:
    """What may be typed beside questions."""
    lines = [f"{name:<15} {meaning}" for name, meaning in COMMANDS.items()]
    lines.append('"""             begins and ends a question of several lines')
    lines.append("Ctrl-C          stops an answer")
    return lines
