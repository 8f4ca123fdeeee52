"""The published schema of what `ggufctl chat --json` prints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ggufctl.documents.base import Document

__all__ = ["ChatDocument"]


class ChatDocument(Document):
    """Output of `ggufctl chat --json`: one answer; with --questions one such line each."""

    schema_version: str
    name: str = Field(description="of the deployment, or the server's address")
    where: Literal["local", "modal", "url"]
    model: str
    question: str
    answer: str = Field(description="as the model wrote it: not escaped for a terminal")
    reasoning: str = Field(description="what it thought before it answered; mostly empty")
    finish_reason: str = Field(description="stop, length, or what else the server says")
    n_prompt: int = Field(description="tokens of the whole prompt; 0 = not said")
    n_cached: int = Field(description="tokens of the prompt that the server had kept")
    n_tokens: int = Field(description="tokens of the answer, reasoning included")
    waited_seconds: float = Field(description="for the server to start, before the question")
    first_token_seconds: float
    seconds: float = Field(description="of the whole answer")
    prompt_tokens_per_second: float = Field(description="as the server says; 0 = not said")
    tokens_per_second: float = Field(description="as the server says, else as measured here")
