"""A server that loses connections is asked again; one that is silent is not."""

from __future__ import annotations

import pytest

from ggufctl.sources import http
from ggufctl.sources.http import ConnectionLost, HttpFile


@pytest.mark.parametrize(("seconds", "n_requests"), [(60.0, 3), (0.0, 1)])
def test_a_silent_server_is_asked_once_and_a_broken_one_again(monkeypatch, seconds, n_requests):
    asked = []

    def opener(url, headers):
        asked.append(url)
        raise ConnectionLost("the connection was lost")

    monkeypatch.setattr(http, "GIVE_UP_SECONDS", seconds)
    with pytest.raises(ConnectionLost) as caught:
        HttpFile("http://host/m.gguf?token=x", opener).read(0, 100)

    assert len(asked) == n_requests
    assert ("no answer within 0 seconds" in caught.value.message) == (n_requests == 1)
    assert "token" not in caught.value.message
