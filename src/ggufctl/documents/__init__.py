"""The published schema of every JSON document: pydantic models of what `report` makes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["SCHEMAS", "schema_of"]

SCHEMAS = {
    "bench": ("bench", "BenchDocument"),
    "batch": ("compare", "BatchDocument"),
    "calibration": ("calibration", "CalibrationDocument"),
    "calibration-clear": ("calibration", "CalibrationClearDocument"),
    "calibration-export": ("calibration", "CalibrationExportDocument"),
    "compare": ("compare", "CompareDocument"),
    "chat": ("chat", "ChatDocument"),
    "config": ("config", "ConfigDocument"),
    "demo": ("serve", "DemoDocument"),
    "diagnose": ("diagnose", "DiagnoseDocument"),
    "download": ("models", "DownloadDocument"),
    "gpus": ("plan", "GpusDocument"),
    "logs": ("serve", "LogLineDocument"),
    "models": ("models", "ModelsDocument"),
    "name": ("plan", "NameDocument"),
    "plan": ("plan", "PlanDocument"),
    "ps": ("serve", "PsDocument"),
    "serve": ("serve", "ServeDocument"),
    "serve-plan": ("serve", "ServePlanDocument"),
    "status": ("status", "StatusDocument"),
    "stop": ("serve", "StopDocument"),
}
"""Document, as `ggufctl schema` takes it → module here and class."""


def schema_of(document: str) -> type[BaseModel]:
    """The model of one of `SCHEMAS`."""
    module, name = SCHEMAS[document]
    found: type[BaseModel] = getattr(import_module(f"{__name__}.{module}"), name)
    return found
