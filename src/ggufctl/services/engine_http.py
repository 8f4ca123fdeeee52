"""What a running engine says of itself over HTTP, on this machine: one short question each.

Nothing is followed, little is read, and the key goes to the address it was made for alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from ggufctl.core.status import Counters, Health, Slot, parse_metrics, parse_slots

__all__ = ["Engine"]

TIMEOUT_SECONDS = 2.0
"""An engine answers these questions between two tokens of all its slots."""

MAX_BYTES = 4 << 20
"""Of an answer: a slot takes some two thousand."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A server that listens on this machine."""

    base_url: str
    key: str = field(default="", repr=False)
    ready_path: str = "/health"

    def health(self) -> Health:
        """Whether it answers, loads or is silent."""
        status, _ = self._get(self.ready_path)
        if status == 200:
            return Health.OK
        return Health.LOADING if status == 503 else Health.NO_ANSWER

    def counters(self) -> Counters | None:
        """What it counts; None where it has no such page."""
        status, text = self._get("/metrics")
        return parse_metrics(text) if status == 200 else None

    def slots(self) -> tuple[Slot, ...]:
        """How its slots are doing; empty where it has no such page."""
        status, text = self._get("/slots")
        return parse_slots(text) if status == 200 else ()

    def _get(self, path: str) -> tuple[int, str]:
        """`(status, text)`; a status of 0 where nobody answers."""
        try:
            parts = urlsplit(self.base_url)
            host, port = parts.hostname, parts.port
        except ValueError:
            return 0, ""
        if parts.scheme != "http" or host is None:
            return 0, ""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(MAX_BYTES).decode("utf-8", "replace")
        except (OSError, HTTPException, ValueError):
            return 0, ""
        finally:
            connection.close()
