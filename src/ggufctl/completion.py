"""What the shell completes: static tables, so that a keystroke costs nothing.

Tests hold them against the catalogue of GPUs and the labels of quants.
"""

from __future__ import annotations

__all__ = [
    "CACHE_TYPES",
    "CARD_NAMES",
    "GPU_NAMES",
    "QUANTS",
    "SCHEMAS",
    "deployments",
    "gpus",
    "present_deployments",
    "quants",
]

GPU_NAMES = [
    "T4",
    "L4",
    "A10",
    "A10G",
    "L40S",
    "A100",
    "A100-40GB",
    "A100-80GB",
    "RTX-PRO-6000",
    "H100",
    "H100!",
    "H200",
    "B200",
    "B200+",
    "B300",
]
"""Every name the catalogue knows."""

CARD_NAMES = [
    "RTX-3060-12GB",
    "RTX-3080-10GB",
    "RTX-3090",
    "RTX-4060-Ti-16GB",
    "RTX-4070",
    "RTX-4070-Ti-SUPER",
    "RTX-4080",
    "RTX-4090",
    "RTX-5060-Ti-16GB",
    "RTX-5070-Ti",
    "RTX-5080",
    "RTX-5090",
    "RTX-2080-Ti",
    "RTX-A4000",
    "RTX-A5000",
    "RTX-A6000",
    "RTX-4000-Ada",
    "RTX-6000-Ada",
    "A40",
    "L20",
    "A30",
    "H20",
    "RTX-PRO-4000-Blackwell",
    "RTX-PRO-5000-Blackwell",
]
"""Every card of one's own that is known without the configuration file."""

QUANTS = [
    "auto",
    "Q8_0",
    "Q6_K",
    "Q5_K_M",
    "Q5_K_S",
    "Q4_K_M",
    "Q4_K_S",
    "IQ4_NL",
    "IQ4_XS",
    "Q4_0",
    "Q3_K_L",
    "Q3_K_M",
    "Q3_K_S",
    "Q2_K",
    "UD-Q8_K_XL",
    "UD-Q6_K_XL",
    "UD-Q5_K_XL",
    "UD-Q4_K_XL",
    "UD-Q3_K_XL",
    "UD-Q2_K_XL",
    "IQ3_M",
    "IQ3_S",
    "IQ3_XS",
    "IQ3_XXS",
    "IQ2_M",
    "IQ2_S",
    "IQ2_XS",
    "IQ2_XXS",
    "IQ1_M",
    "IQ1_S",
    "MXFP4",
    "BF16",
    "F16",
]
"""The labels that repositories mostly use."""

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
"""As llama-server's -ctk takes them."""

SCHEMAS = (
    "batch",
    "bench",
    "calibration",
    "calibration-clear",
    "calibration-export",
    "chat",
    "compare",
    "config",
    "demo",
    "diagnose",
    "download",
    "gpus",
    "logs",
    "models",
    "name",
    "plan",
    "ps",
    "serve",
    "serve-plan",
    "status",
    "stop",
)
"""Documents that `ggufctl schema` prints."""


def gpus(incomplete: str) -> list[str]:
    """GPU names that continue the last of a list separated by commas.

    Cards of one's own only where something of their name is there: most look for what is rented.
    """
    head, comma, last = incomplete.rpartition(",")
    cards = CARD_NAMES if last else []
    return [
        f"{head}{comma}{name}"
        for name in ("auto", *GPU_NAMES, *cards)
        if name.casefold().startswith(last.casefold()) and not (comma and name == "auto")
    ]


def _state() -> str:
    """Where deployments are kept; `services.state` is not imported for a keystroke."""
    import os

    own = os.environ.get("GGUFCTL_STATE_DIR")
    base = os.environ.get("XDG_STATE_HOME", "")
    root = base if os.path.isabs(base) else os.path.expanduser("~/.local/state")
    return os.path.expanduser(own) if own else os.path.join(root, "ggufctl")


def deployments(incomplete: str) -> list[str]:
    """Names of deployments on this machine, and of those on Modal made from here."""
    import os
    from contextlib import suppress

    state, found = _state(), set()
    with suppress(OSError), os.scandir(os.path.join(state, "deployments")) as entries:
        found |= {e.name for e in entries if os.path.isfile(os.path.join(e.path, "state.json"))}
    with suppress(OSError), os.scandir(os.path.join(state, "modal")) as entries:
        names = (e.name.removesuffix(".json") for e in entries if e.name.endswith(".json"))
        found |= {name for name in names if not name.startswith(".")}
    return sorted(name for name in found if name.startswith(incomplete))


def present_deployments(incomplete: str) -> list[str]:
    """The same without those of this machine that have ended."""
    import json
    import os

    found = []
    folder = os.path.join(_state(), "deployments")
    for name in deployments(incomplete):
        try:
            with open(os.path.join(folder, name, "state.json"), encoding="utf-8") as file:
                status = json.load(file).get("status")
        except FileNotFoundError:
            # On Modal.
            found.append(name)
        except (OSError, ValueError, AttributeError):
            continue
        else:
            # One that is lost has not written that it ended.
            found += [name] if status in ("starting", "running") else []
    return found


def quants(incomplete: str) -> list[str]:
    """Quant labels that begin like this."""
    return [label for label in QUANTS if label.casefold().startswith(incomplete.casefold())]
