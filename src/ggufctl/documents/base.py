"""What all documents have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Document"]


class Document(BaseModel):
    """Strict: a field that is not described is a mistake of ours."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
