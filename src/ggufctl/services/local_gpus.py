"""Which of this machine's GPUs an engine may use, by name or number."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ggufctl.catalog import load_catalogue, with_cards
from ggufctl.core.escape import escape, quoted
from ggufctl.core.gpus import Gpu, is_called
from ggufctl.core.units import format_gib
from ggufctl.engines.base import Device, Found
from ggufctl.errors import DoesNotFit, GgufctlError, UsageError

__all__ = ["on_gpus"]

ALL = ("", "auto", "all")
NO_GPU = ("cpu", "none")

_VARIABLES = {"CUDA": "CUDA_VISIBLE_DEVICES", "ROCm": "HIP_VISIBLE_DEVICES"}
"""Backend, as it begins its devices' names → the variable that says which GPUs it sees.

Source: docs.nvidia.com/cuda/cuda-c-programming-guide, rocm.docs.amd.com GPU isolation.
"""

_NUMBERED = re.compile(r"([A-Za-z]+)(\d+)")


def on_gpus(found: Found, wanted: str, environ: Mapping[str, str] = os.environ) -> Found:
    """The engine, seeing only the GPUs that are wanted.

    Args:
        found: the engine with all GPUs that it sees.
        wanted: `auto` for all; `cpu` for none; else numbers, llama.cpp's names (`CUDA1`) or names
            of cards (`H100`, `RTX 4090:2`) separated by commas, all used together.
        environ: what its environment is made from.

    Raises: DoesNotFit for a GPU that is not here; UsageError for something that is no GPU.
    """
    text = wanted.strip().casefold()
    if text in ALL:
        return found
    if text in NO_GPU:
        return _seeing(found, (), environ)
    if not found.devices:
        raise DoesNotFit(
            f"{found.label} sees no GPU on this machine, so --gpu {escape(wanted, 80)} "
            "cannot be had.",
            "Leave --gpu out to serve on the CPU, or serve on Modal.",
        )
    chosen: list[Device] = []
    for item in wanted.split(","):
        chosen += _pick(item.strip(), found.devices, chosen)
    if not chosen or len(chosen) == len(found.devices):
        return found
    return _seeing(found, chosen, environ)


def _pick(item: str, devices: Sequence[Device], taken: Sequence[Device]) -> list[Device]:
    """The GPUs that one item of the list stands for, the emptiest first."""
    is_number = item.isascii() and item.isdecimal()
    if is_number and int(item) < len(devices):
        matching, count = [devices[int(item)]], 1
    else:
        name, _, number = item.partition(":")
        count = int(number) if number.isascii() and number.isdecimal() and number else 1
        if not name or not count or (number and not number.isdecimal()):
            raise UsageError(f"{quoted(item)} is no GPU.", _list_of(devices))
        matching = [d for d in devices if d.name.casefold() == name.casefold()]
        matching = matching or [d for d in devices if _is_called(d, name)]
        if not matching:
            error = _not_here(f"This machine has no GPU {escape(name, 40)}", devices)
            is_gpu = is_number or _card(name) is not None
            raise error if is_gpu else UsageError(error.message, error.hint)
    left = [device for device in matching if device not in taken]
    if len(left) < count:
        raise _not_here(f"This machine has not {count} more of {escape(item, 40)}", devices)
    left.sort(key=lambda device: -device.free_bytes)
    return left[:count]


def _is_called(device: Device, name: str) -> bool:
    """Whether a card is called so: by the catalogue, or by words of its own description."""
    card = _card(name)
    if card is not None and is_called(card, device.description):
        return True
    own, asked = _words(device.description), _words(name)
    runs = {
        "".join(own[start:end])
        for start in range(len(own))
        for end in range(start + 1, len(own) + 1)
    }
    return bool(asked) and (set(asked) <= set(own) or "".join(asked) in runs)


def _card(name: str) -> Gpu | None:
    """What can be rented, or a card of one's own; None for anything else."""
    try:
        return with_cards(load_catalogue(), (name,)).find(name)
    except GgufctlError:
        return None


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.casefold())


def _not_here(problem: str, devices: Sequence[Device]) -> DoesNotFit:
    return DoesNotFit(f"{problem}.", _list_of(devices))


def _list_of(devices: Sequence[Device]) -> str:
    rows = (
        f"{index} = {escape(d.name)}, {escape(d.description)}, {format_gib(d.free_bytes)} GiB free"
        for index, d in enumerate(devices)
    )
    return f"This machine has: {'; '.join(rows)}."


def _seeing(found: Found, chosen: Sequence[Device], environ: Mapping[str, str]) -> Found:
    """The engine with some of its GPUs hidden; the rest it numbers anew."""
    if not found.devices and not chosen:
        return found
    backends = {match[1] for d in found.devices if (match := _NUMBERED.fullmatch(d.name))}
    if len(backends) != 1 or not backends <= _VARIABLES.keys():
        if not chosen:
            return replace(found, devices=())
        raise UsageError(
            f"{found.label} cannot be told which of its GPUs to use.",
            "Choose them with its backend's own variable, and leave --gpu out.",
        )
    (backend,) = backends
    variable = _VARIABLES[backend]
    visible = [name for name in environ.get(variable, "").split(",") if name.strip()]
    numbers = [int(device.name.removeprefix(backend)) for device in chosen]
    if visible and max(numbers, default=0) < len(visible):
        values = [visible[number].strip() for number in numbers]
    else:
        values = [str(number) for number in numbers]
    devices = tuple(
        replace(device, name=f"{backend}{index}", seen_as=device.name)
        for index, device in enumerate(chosen)
    )
    return replace(found, devices=devices, settings=((variable, ",".join(values) or "-1"),))
