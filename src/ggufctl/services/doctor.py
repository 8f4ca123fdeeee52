"""Checks of this machine and its accounts, side by side, each with a deadline of its own.

No check needs anything to be installed or reachable, and none prints a secret.
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import platform
import queue
import re
import shutil
import subprocess
import tempfile
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from ggufctl.catalog import load_cards, load_catalogue
from ggufctl.core._pins import (
    LLAMA_CPP_BUILD,
    OLDEST_COMPUTE_CAPABILITY,
    OLDEST_DRIVER,
    WANTED_DRIVER,
)
from ggufctl.core.checks import Check, Status
from ggufctl.core.escape import escape, redact, redact_url
from ggufctl.core.launch import clean_environment
from ggufctl.core.units import GIB, format_gib
from ggufctl.errors import AccessDenied, GgufctlError, UsageError
from ggufctl.services.deployments import LEAST_ROOM_BYTES
from ggufctl.services.machine import host_memory, is_port_free
from ggufctl.services.state import state_dir
from ggufctl.sources.cache import cache_dir
from ggufctl.sources.references import hub_endpoint

__all__ = ["DEADLINE_SECONDS", "run_doctor"]

DEADLINE_SECONDS = 1.5
"""How long any check may take."""

_PACKAGES = ("huggingface_hub", "modal", "pydantic", "rich", "typer")
_LITTLE_DISK_BYTES = 20 * GIB
_NO_DISK_BYTES = GIB
_LITTLE_RAM_BYTES = 4 * GIB
_OLD_PRICES_DAYS = 90
_PORT = 8080
_MODAL_SECONDS = 5.0
"""Modal's client has to be imported and to sign in, where there is a token."""
_MODAL_SERVER = "https://api.modal.com"
_BUILD = re.compile(r"version: (?:.*\(build )?(\d+)")


def run_doctor(config: Path, deadline_seconds: float = DEADLINE_SECONDS) -> tuple[Check, ...]:
    """Every check of this machine, in a fixed order.

    Args:
        config: where the configuration file would be.
        deadline_seconds: how long any of them may take; one that takes longer is told as such.
    """
    jobs = _jobs(config)
    done: queue.Queue[tuple[int, tuple[Check, ...]]] = queue.Queue()
    for index, job in enumerate(jobs):
        threading.Thread(target=_run, args=(index, job, done), daemon=True).start()
    found: dict[int, tuple[Check, ...]] = {}
    began = time.monotonic()
    while waited := [
        deadline_seconds + job.more_seconds for i, job in enumerate(jobs) if i not in found
    ]:
        left = began + max(waited) - time.monotonic()
        if left <= 0:
            break
        with contextlib.suppress(queue.Empty):
            index, checks = done.get(timeout=left)
            found[index] = checks
    result: list[Check] = []
    for index, job in enumerate(jobs):
        if index in found:
            result += found[index]
        else:
            result.append(_late(job.id, deadline_seconds + job.more_seconds))
    return tuple(result)


@dataclass(frozen=True, slots=True)
class _Job:
    id: str
    run: Callable[[], Sequence[Check]]
    more_seconds: float = 0.0
    """Beyond what every check may take."""


def _run(index: int, job: _Job, done: queue.Queue[tuple[int, tuple[Check, ...]]]) -> None:
    try:
        checks = tuple(job.run())
    except Exception as error:
        # One check that fails in a way nobody thought of must not end the others.
        text = redact(str(error))[:200]
        checks = (Check(job.id, Status.WARN, f"The check of {job.id} did not work: {text}"),)
    done.put((index, checks))


def _late(id: str, seconds: float) -> Check:
    return Check(
        id, Status.WARN, f"The check of {id} took longer than {seconds:g} s.", "Try again."
    )


def _jobs(config: Path) -> tuple[_Job, ...]:
    return (
        _Job("python", _python),
        _Job("packages", _packages),
        _Job("engine", _engine),
        _Job("gpu", _gpu),
        _Job("memory", _memory),
        _Job("disk", _disk),
        _Job("state", _state),
        _Job("cache", _cache),
        _Job("port", _port),
        _Job("hub", _hub),
        _Job("modal-token", _modal_token),
        _Job("modal", _modal, more_seconds=_MODAL_SECONDS),
        _Job("config", lambda: _config(config)),
        _Job("prices", _prices),
    )


def _python() -> Sequence[Check]:
    version = platform.python_version()
    return (Check("python", Status.PASS, f"Python {version} on {platform.system()}."),)


def _packages() -> Sequence[Check]:
    versions, missing = [], []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return (
            Check(
                "packages",
                Status.FAIL,
                f"Not installed: {', '.join(missing)}.",
                "Run pip install ggufctl in this environment.",
            ),
        )
    return (Check("packages", Status.PASS, f"{', '.join(versions)}."),)


def _engine() -> Sequence[Check]:
    found = []
    program = shutil.which("llama-server")
    if program is not None:
        found.append(_llama_server(program))
    for module, package in (("xllamacpp", "xllamacpp"), ("llama_cpp", "llama-cpp-python")):
        if util.find_spec(module) is None:
            continue
        with contextlib.suppress(metadata.PackageNotFoundError):
            version = metadata.version(package)
            build = re.search(r"\.(\d{4,})$", version)
            found.append(f"{package} {version}" + (f" (b{build[1]})" if build else ""))
    if not found:
        return (
            Check(
                "engine",
                Status.WARN,
                "No engine is installed here, so models can be planned but not run.",
                "Run pip install 'ggufctl[local]', or install llama.cpp.",
            ),
        )
    text = f"{', '.join(found)}; plans are for {LLAMA_CPP_BUILD}."
    return (Check("engine", Status.PASS, text),)


def _llama_server(program: str) -> str:
    try:
        done = subprocess.run(
            (program, "--version"),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=DEADLINE_SECONDS,
            env=clean_environment(os.environ),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "llama-server (did not say its version in time)"
    build = _BUILD.search((done.stdout + done.stderr).decode("utf-8", "replace"))
    return f"llama-server b{build[1]}" if build else "llama-server of an unknown build"


@dataclass(frozen=True, slots=True)
class _Card:
    name: str
    driver: str
    capability: str
    total_bytes: int
    free_bytes: int


def _gpu() -> Sequence[Check]:
    cards = _cards_by_nvml()
    if cards is None:
        cards = _cards_by_program()
    if cards is None:
        return (
            Check(
                "gpu",
                Status.WARN,
                "No NVIDIA driver answers here, so models run on the CPU.",
                "Plan for a rented GPU (ggufctl plan), or install the driver.",
            ),
        )
    return [_card_check(card) for card in cards]


def _card_check(card: _Card) -> Check:
    text = (
        f"{card.name}: {format_gib(card.free_bytes)} of {format_gib(card.total_bytes)} GiB free, "
        f"driver {card.driver}, compute capability {card.capability or 'unknown'}."
    )
    if card.capability and _numbers(card.capability) < _numbers(OLDEST_COMPUTE_CAPABILITY):
        return Check(
            "gpu",
            Status.FAIL,
            f"{text} The pinned image needs {OLDEST_COMPUTE_CAPABILITY}.",
            "Use a newer GPU, or build llama.cpp for this one.",
        )
    driver = (_numbers(card.driver) or (0,))[0]
    if 0 < driver < OLDEST_DRIVER:
        return Check("gpu", Status.FAIL, f"{text} It is too old for CUDA 12.", "Update the driver.")
    if 0 < driver < WANTED_DRIVER:
        return Check(
            "gpu",
            Status.WARN,
            f"{text} The pinned image is made with CUDA 12.8, which came with driver "
            f"{WANTED_DRIVER}.",
            "Update the driver if the engine refuses it.",
        )
    return Check("gpu", Status.PASS, text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part[:9]) for part in re.findall(r"\d+", text))


def _cards_by_nvml() -> list[_Card] | None:
    if util.find_spec("pynvml") is None:
        return None
    import importlib

    nvml: Any = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        cards = []
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
            name = escape(_text(nvml.nvmlDeviceGetName(handle)), 80)
            cards.append(
                _Card(name, driver, f"{major}.{minor}", int(memory.total), int(memory.free))
            )
    except nvml.NVMLError:
        return None
    return cards


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _cards_by_program() -> list[_Card] | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    fields = "name,driver_version,compute_cap,memory.total,memory.free"
    done = subprocess.run(
        (program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        return None
    cards = []
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 5 and parts[3].isdecimal() and parts[4].isdecimal():
            cards.append(
                _Card(
                    escape(parts[0], 80),
                    escape(parts[1], 20),
                    parts[2] if re.fullmatch(r"[\d.]+", parts[2]) else "",
                    int(parts[3]) << 20,
                    int(parts[4]) << 20,
                )
            )
    return cards or None


def _memory() -> Sequence[Check]:
    memory = host_memory()
    text = (
        f"{format_gib(memory.available_bytes)} of {format_gib(memory.total_bytes)} GiB of host "
        "memory are free."
    )
    if memory.available_bytes < _LITTLE_RAM_BYTES:
        return (Check("memory", Status.WARN, text, "Local models need more; rent a GPU instead."),)
    return (Check("memory", Status.PASS, text),)


def _hub_cache() -> Path:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if path := os.environ.get(name):
            return Path(os.path.expanduser(path))
    return _hf_home() / "hub"


def _hf_home() -> Path:
    if path := os.environ.get("HF_HOME"):
        return Path(os.path.expanduser(path))
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base)) / "huggingface"


def _disk() -> Sequence[Check]:
    folder = _hub_cache()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    text = f"{format_gib(usage.free)} GiB are free where models are kept ({escape(str(folder))})."
    if usage.free < _NO_DISK_BYTES:
        return (Check("disk", Status.FAIL, text, "Free some, or set HF_HOME to a larger disk."),)
    if usage.free < _LITTLE_DISK_BYTES:
        return (Check("disk", Status.WARN, text, "Larger models need HF_HOME on a larger disk."),)
    return (Check("disk", Status.PASS, text),)


def _state() -> Sequence[Check]:
    fix = "Set GGUFCTL_STATE_DIR to another directory."
    return (_folder("state", state_dir(), "servers", Status.FAIL, fix),)


def _cache() -> Sequence[Check]:
    fix = "Set GGUFCTL_CACHE_DIR to another directory, or plan without, which takes longer."
    return (_folder("cache", cache_dir(), "headers", Status.WARN, fix),)


def _folder(name: str, folder: Path, what: str, worst: Status, fix: str) -> Check:
    """Whether what is kept in a folder of ours can be kept there."""
    problem = _unwritable(folder)
    if not problem:
        return Check(name, Status.PASS, f"{_shown(folder)} can be written, for {what}.")
    return Check(name, worst, f"{_shown(folder)}, for {what}, cannot be used: {problem}.", fix)


def _shown(folder: Path) -> str:
    return escape(str(folder), 200)


def _unwritable(folder: Path) -> str:
    """Why nothing can be put into a folder, which need not be there yet; empty if all is well."""
    if folder.exists() and not folder.is_dir():
        return "it is a file"
    there = folder
    while not there.is_dir() and there != there.parent:
        there = there.parent
    try:
        # Tried, not asked for: root may do everything, but not on a disk that is read-only.
        os.rmdir(tempfile.mkdtemp(dir=there))
        free_bytes = shutil.disk_usage(there).free
    except OSError as error:
        return error.strerror or type(error).__name__
    return f"only {free_bytes >> 10} KiB are free" if free_bytes < LEAST_ROOM_BYTES else ""


def _port() -> Sequence[Check]:
    if is_port_free("127.0.0.1", _PORT):
        return (Check("port", Status.PASS, f"Port {_PORT} is free."),)
    return (
        Check(
            "port",
            Status.WARN,
            f"Port {_PORT} is taken by another program.",
            "Choose another with --port, or 0 for any.",
        ),
    )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token must not follow to another host."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        """Follow nothing."""


def _get(url: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Status and beginning of the body of a GET request."""
    opener = urllib.request.build_opener(_NoRedirect)
    request = urllib.request.Request(url, headers={"User-Agent": "ggufctl", **headers})
    try:
        with opener.open(request, timeout=DEADLINE_SECONDS) as response:
            return response.status, response.read(1 << 16)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except http.client.HTTPException as error:
        # It answers, although not as HTTP/1.1 wants it; Modal's service speaks gRPC.
        return 0, str(error).encode()


def _hf_token() -> tuple[str, str]:
    """The token and where it comes from; both empty when there is none."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := os.environ.get(name, "").strip():
            return token, name
    path = Path(os.path.expanduser(os.environ.get("HF_TOKEN_PATH") or _hf_home() / "token"))
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if token := path.read_text(encoding="utf-8").strip():
            return token, "hf auth login"
    return "", ""


def _hub() -> Sequence[Check]:
    endpoint = hub_endpoint()
    shown = redact_url(endpoint)
    token, origin = _hf_token()
    if os.environ.get("HF_HUB_OFFLINE", "").casefold() in ("1", "true", "yes", "on"):
        text = "HF_HUB_OFFLINE is set: only what is cached can be used."
        return (Check("hub", Status.WARN, text, "Unset it to reach the Hub."),)
    is_safe = token.isascii() and token.isprintable() and " " not in token
    headers = {"Authorization": f"Bearer {token}"} if token and is_safe else {}
    try:
        status, body = _get(f"{endpoint}/api/whoami-v2", headers)
    except (urllib.error.URLError, OSError) as error:
        reason = redact(str(getattr(error, "reason", error)))[:120]
        return (
            Check(
                "hub",
                Status.WARN,
                f"{shown} cannot be reached: {reason}.",
                "Check the network, HTTPS_PROXY and HF_ENDPOINT; cached models still work.",
            ),
        )
    return (
        Check("hub", Status.PASS, f"{shown} answers."),
        _token_check(token, origin, is_safe, status, body),
    )


def _token_check(token: str, origin: str, is_safe: bool, status: int, body: bytes) -> Check:
    if not token:
        return Check(
            "hub-token",
            Status.WARN,
            "There is no Hugging Face token: gated models cannot be read, and limits are lower.",
            "Run hf auth login, or set HF_TOKEN.",
        )
    if not is_safe or status in (401, 403):
        return Check(
            "hub-token",
            Status.FAIL,
            f"The Hugging Face token of {origin} is not accepted.",
            "Make a new one at huggingface.co/settings/tokens.",
        )
    if status != 200:
        text = f"The Hub answered {status} when asked about the token of {origin}."
        return Check("hub-token", Status.WARN, text, "Try again later.")
    name = ""
    with contextlib.suppress(ValueError):
        answer = json.loads(body)
        name = str(answer.get("name", "")) if isinstance(answer, dict) else ""
    of = f" of {redact(name)[:60]}" if name else ""
    return Check("hub-token", Status.PASS, f"The Hugging Face token{of} ({origin}) is valid.")


def _modal_token() -> Sequence[Check]:
    profile = _modal_profile()
    if profile:
        return (Check("modal-token", Status.PASS, f"There is a Modal token ({escape(profile)})."),)
    return (
        Check(
            "modal-token",
            Status.WARN,
            "There is no Modal token, so nothing can be deployed there.",
            "Run modal setup, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET.",
        ),
    )


def _modal() -> Sequence[Check]:
    server = os.environ.get("MODAL_SERVER_URL") or _MODAL_SERVER
    if not server.startswith(("http://", "https://")):
        return ()
    try:
        _get(server, {})
    except (urllib.error.URLError, OSError) as error:
        reason = redact(str(getattr(error, "reason", error)))[:120]
        text = f"Modal cannot be reached: {reason}."
        return (Check("modal", Status.WARN, text, "Check the network and HTTPS_PROXY."),)
    if not _modal_profile() or util.find_spec("modal") is None:
        return (Check("modal", Status.PASS, "Modal answers."),)
    return (_modal_account(),)


def _modal_account() -> Check:
    """Whether Modal takes the token, and whose it is."""
    from ggufctl import modal_app

    try:
        workspace = modal_app.account()
    except AccessDenied as error:
        return Check("modal", Status.FAIL, error.message, "Run modal setup.")
    except GgufctlError as error:
        return Check("modal", Status.WARN, error.message, error.hint)
    where = f" in the workspace {escape(workspace, 80)}" if workspace else ""
    environment = os.environ.get("MODAL_ENVIRONMENT", "")
    where += f", environment {escape(environment, 80)}" if environment else ""
    return Check("modal", Status.PASS, f"Modal takes the token{where}.")


def _modal_profile() -> str:
    """Where the token of Modal comes from, empty when there is none."""
    if os.environ.get("MODAL_TOKEN_ID") and os.environ.get("MODAL_TOKEN_SECRET"):
        return "MODAL_TOKEN_ID"
    path = Path(os.path.expanduser(os.environ.get("MODAL_CONFIG_PATH") or "~/.modal.toml"))
    try:
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    tables = {name: value for name, value in profiles.items() if isinstance(value, dict)}
    wanted = os.environ.get("MODAL_PROFILE")
    for name, table in tables.items():
        is_active = name == wanted if wanted else table.get("active") or len(tables) == 1
        if is_active and table.get("token_id") and table.get("token_secret"):
            return f"profile {name}"
    return ""


def _config(path: Path) -> Sequence[Check]:
    shown = escape(str(path))
    try:
        tomllib.loads(path.read_text(encoding="utf-8"))
        load_cards()
    except FileNotFoundError:
        return (Check("config", Status.PASS, "There is no configuration file; defaults hold."),)
    except UsageError as error:
        return (Check("config", Status.FAIL, error.message, error.hint or "Correct it."),)
    except (OSError, ValueError) as error:
        text = f"{shown} cannot be used: {redact(str(error))[:120]}"
        return (Check("config", Status.FAIL, text, "Correct or remove it."),)
    return (Check("config", Status.PASS, f"{shown} is in use."),)


def _prices() -> Sequence[Check]:
    oldest = min(gpu.price_as_of for gpu in load_catalogue())
    age = (datetime.date.today() - datetime.date.fromisoformat(oldest)).days
    text = f"The table of prices is of {oldest}, {age} days old."
    if age > _OLD_PRICES_DAYS:
        return (
            Check("prices", Status.WARN, text, "Update ggufctl, and compare modal.com/pricing."),
        )
    return (Check("prices", Status.PASS, text),)
