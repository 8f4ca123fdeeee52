"""The published schema of `ggufctl config`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ggufctl.documents.base import Document

__all__ = ["ConfigDocument"]


class PlaceDocument(Document):
    """A file or directory."""

    path: str
    exists: bool


class SettingDocument(Document):
    """One option of one command, where the command line says nothing."""

    command: str
    option: str
    value: str | None = Field(description="as the command line takes it; null is none")
    origin: Literal["default", "file", "variable"]
    source: str | None = Field(description="the file's path or the variable's name")
    variable: str | None = Field(description="that sets it")


class VariableDocument(Document):
    """An environment variable that is set; of a secret the value is (set)."""

    name: str
    value: str


class ConfigDocument(Document):
    """Output of `ggufctl config --json`."""

    schema_version: str
    config_file: PlaceDocument
    state_directory: PlaceDocument
    cache_directory: PlaceDocument
    settings: list[SettingDocument]
    variables: list[VariableDocument]
    unread_variables: list[str] = Field(description="of ours by their name, read by nothing")
