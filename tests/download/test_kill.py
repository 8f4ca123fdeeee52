"""A sample of the kills; `python -m tests.download.kill 50` is the full run."""

from __future__ import annotations

from .kill import main


def test_a_killed_download_loses_nothing_and_takes_nothing_half():
    tally = main(6, seed=1)

    assert tally.problems == []
    assert tally.n_kills >= 6
