"""What `ggufctl chat --json` says of an answer, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ggufctl.report import SCHEMA_VERSION

if TYPE_CHECKING:
    from ggufctl.services.chat import Answer
    from ggufctl.services.target import Target

__all__ = ["answer_report"]


def answer_report(answer: Answer, target: Target) -> dict[str, Any]:
    """One answer: the model's words as they are, never a key."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": target.name,
        "where": target.place.value,
        "model": answer.model,
        "question": answer.question,
        "answer": answer.text,
        "reasoning": answer.reasoning,
        "finish_reason": answer.finish_reason,
        "n_prompt": answer.n_prompt,
        "n_cached": answer.n_cached,
        "n_tokens": answer.n_tokens,
        "waited_seconds": round(answer.waited_seconds, 3),
        "first_token_seconds": round(answer.first_token_seconds, 4),
        "seconds": round(answer.seconds, 4),
        "prompt_tokens_per_second": round(answer.prompt_tokens_per_second, 2),
        "tokens_per_second": round(answer.tokens_per_second, 2),
    }
