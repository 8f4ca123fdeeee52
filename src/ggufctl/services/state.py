"""Where on this machine is kept what must outlive a command."""

from __future__ import annotations

import glob
import os
from pathlib import Path

__all__ = ["calibration_path", "remembers_modal", "state_dir"]


def state_dir() -> Path:
    """Where deployments are kept: `GGUFCTL_STATE_DIR`, or ggufctl under the user's state."""
    if own := os.environ.get("GGUFCTL_STATE_DIR"):
        return Path(os.path.expanduser(own))
    base = os.environ.get("XDG_STATE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~/.local/state"))
    return root / "ggufctl"


def calibration_path() -> Path:
    """Where the user's own runs are kept."""
    return state_dir() / "calibration.jsonl"


def remembers_modal(name: str = "") -> bool:
    """Whether something of this name, or anything, was deployed on Modal from this machine and not
    stopped from here.
    """
    return any((state_dir() / "modal").glob(f"{glob.escape(name) if name else '*'}.json"))
