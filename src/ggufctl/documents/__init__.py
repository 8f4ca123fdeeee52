"""The published schema of every JSON document: pydantic models of what `report` makes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["SCHEMAS", "schema_of"]

SCHEMAS = {
    "diagnose": ("diagnose", "DiagnoseDocument"),
    "gpus": ("plan", "GpusDocument"),
    "name": ("plan", "NameDocument"),
    "plan": ("plan", "PlanDocument"),
}
"""Document, as `ggufctl schema` takes it → module here and class."""


def schema_of(document: str) -> type[BaseModel]:
    """The model of one of `SCHEMAS`."""
    module, name = SCHEMAS[document]
    found: type[BaseModel] = getattr(import_module(f"{__name__}.{module}"), name)
    return found
