"""The same server and surroundings as for conversations."""

from tests.chat.conftest import fake, own_surroundings, run

__all__ = ["fake", "own_surroundings", "run"]
