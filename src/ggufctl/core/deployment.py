"""A deployment on Modal as plain data: everything its app is built from, and no secret."""

from __future__ import annotations

import hashlib
import math
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ggufctl.core._pins import LLAMA_CPP_BUILD
from ggufctl.core.cold_start import ColdStart
from ggufctl.core.escape import quoted
from ggufctl.core.gpus import Gpu
from ggufctl.core.launch import LEAST_STARTUP_SECONDS, SLACK, slug
from ggufctl.core.money import Prices, cpu_and_memory
from ggufctl.errors import UsageError

__all__ = [
    "APP_PREFIX",
    "ATTEMPT_TAG",
    "SERVER_NAME",
    "TOOL_TAG",
    "UNTIL_TAG",
    "VOLUME_BYTES_PER_SECOND",
    "VOLUME_NAME",
    "VOLUME_TAG",
    "Auth",
    "DeploymentSpec",
    "WeightFile",
    "Weights",
    "app_name",
    "checked_windows",
    "claim_name",
    "cpu_and_memory",
    "engine_image",
    "host_usd_per_hour",
    "idle_usd",
    "is_name",
    "secret_name",
    "startup_limits",
    "tag_value",
    "weights_folder",
    "weights_mark",
]

APP_PREFIX = "ggufctl-"
"""Every app of ours begins with it."""

TOOL_TAG = "ggufctl"
"""Key of the tag that every app of ours carries."""

ATTEMPT_TAG = "attempt"
"""Key of the tag that says which of our attempts an app was deployed by."""

UNTIL_TAG = "starting-until"
"""Key of the tag that an app has until its start or switch is over: by when that is, in seconds
since the epoch. Only while it is there may a container be held that nobody asks for."""

VOLUME_TAG = "volume"
"""Key of the tag that names the Volume."""

SERVER_NAME = "llama"
"""The server's name within its app."""

VOLUME_NAME = "ggufctl-models"
"""The Volume that holds the weights of all deployments."""

VOLUME_BYTES_PER_SECOND = 350_000_000
"""What reading a Volume is planned with: the slowest rate that anyone has reported; Modal's own
guide promises three times that.  [bytes/s]"""

IMAGE = "ghcr.io/ggml-org/llama.cpp"
CUDA_13_CAPABILITY = (10, 3)
"""GPUs from here on need an image with CUDA 13."""

SCHEDULING_SECONDS = 60.0
"""Loading the image and mounting the Volume.  [s]"""

Auth = ("key", "proxy", "none")
"""Who may ask: with our key, with Modal's proxy tokens, or anybody."""

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file that the server loads, as it lies on the Volume."""

    path: str
    """In the repository, or the file's own name."""
    size_bytes: int
    sha256: str = ""
    mtime_ns: int = 0
    """When a file of this machine was last changed: another content has another place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Files that are kept together on a Volume.

    Attributes:
        files: all of them.
        repo: on the Hub; empty for files of this machine.
        commit: they are all of this one; empty for files of this machine.
        volume: name of the Volume.
        mount_path: where it is mounted.
        folder_name: where they are, if not where their origin says.
    """

    files: tuple[WeightFile, ...]
    repo: str = ""
    commit: str = ""
    volume: str = VOLUME_NAME
    mount_path: str = "/models"
    folder_name: str = ""

    @property
    def folder(self) -> str:
        """Where they are on the Volume, without a slash in front."""
        return self.folder_name or weights_folder(self.repo, self.commit, self.files)

    @property
    def size_bytes(self) -> int:
        """Of all of them.  [bytes]"""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSpec:
    """What is deployed.

    Attributes:
        name: of the deployment, as the user sees it; the app's is `ggufctl-` and this.
        model: reference, safe to print.
        quant: label, or empty.
        repo: repository on the Hub; empty for files of this machine.
        commit: all files are of this one; empty for files of this machine.
        files: everything to load, the model's first shard first.
        gpus: what to ask Modal for, in the order to try; none = CPU.
        engine: `llama-server` or `llama-cpp-python`.
        image: the container image it runs in.
        argv: the engine's arguments; no program, no secret.
        env: further environment of the engine.
        alias: the model's name towards clients.
        port: in the container.
        slots: requests answered at once.
        n_ctx: total context.  [tokens]
        startup_timeout: Modal ends a container that is not up by then.  [s]
        deadline: our own limit, a little earlier, so that the reason is told.  [s]
        scaledown_window: a container stays this long without requests.  [s]
        max_containers: at once.
        exit_grace: for requests being answered when a container ends.  [s]
        cpu: physical cores.
        memory_mib: host memory.
        volume: name of the Volume.
        mount_path: where it is mounted.
        secret: name of the Secret that holds the key; empty without one.
        auth: one of `key`, `proxy`, `none`.
        hold_requests: a web function, which holds requests while it starts.
        snapshot: GPU memory snapshots, an experiment of Modal's.
        expected_layers: blocks that must be on GPUs; 0 = not checked.
        is_embedding: serves embeddings.
        region: where containers may run; empty = anywhere, which costs least.
        usd_per_hour: of the first GPU choice.
        planned_bytes: what the plan says all devices hold together.
    """

    name: str
    model: str
    files: tuple[WeightFile, ...]
    argv: tuple[str, ...]
    alias: str
    gpus: tuple[str, ...] = ()
    quant: str = ""
    repo: str = ""
    commit: str = ""
    engine: str = "llama-server"
    image: str = f"{IMAGE}:server-cuda-{LLAMA_CPP_BUILD}"
    env: tuple[tuple[str, str], ...] = ()
    port: int = 8000
    slots: int = 1
    n_ctx: int = 0
    startup_timeout: int = 300
    deadline: int = 270
    scaledown_window: int = 300
    max_containers: int = 1
    exit_grace: int = 20
    cpu: float = 4.0
    memory_mib: int = 8192
    volume: str = VOLUME_NAME
    mount_path: str = "/models"
    secret: str = ""
    auth: str = "key"
    hold_requests: bool = False
    snapshot: bool = False
    expected_layers: int = 0
    is_embedding: bool = False
    region: str = ""
    usd_per_hour: float = 0.0
    planned_bytes: int = 0

    @property
    def app(self) -> str:
        """The Modal app's name."""
        return app_name(self.name)

    @property
    def size_bytes(self) -> int:
        """Of all files.  [bytes]"""
        return sum(file.size_bytes for file in self.files)

    @property
    def folder(self) -> str:
        """Where the files are on the Volume, without a slash in front."""
        return weights_folder(self.repo, self.commit, self.files)

    @property
    def weights(self) -> Weights:
        """Its files as they are kept."""
        return Weights(
            files=self.files,
            repo=self.repo,
            commit=self.commit,
            volume=self.volume,
            mount_path=self.mount_path,
        )

    def path_of(self, file: WeightFile) -> str:
        """A file as the container sees it."""
        return posixpath.join(self.mount_path, self.folder, file.path)

    @property
    def tags(self) -> dict[str, str]:
        """By which the app is found again, and what it is."""
        return {
            TOOL_TAG: tag_value(self.name),
            "model": tag_value(self.alias),
            "quant": tag_value(self.quant or "unknown"),
            "gpu": tag_value("-".join(self.gpus[:1]) or "cpu"),
            "usd-per-hour": tag_value(f"{self.usd_per_hour:.4f}"),
            "auth": self.auth,
            "engine": tag_value(self.engine),
            "weights": weights_mark(self.folder),
        }

    def with_(self, **changes: Any) -> DeploymentSpec:
        """A copy with some things changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """As plain data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DeploymentSpec:
        """Out of `to_dict`; what this version does not know is left out.

        Raises: UsageError when it is no such thing.
        """
        known = {field.name for field in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        try:
            values["files"] = tuple(WeightFile(**file) for file in values["files"])
            values["env"] = tuple((str(k), str(v)) for k, v in values.get("env", ()))
            for name in ("gpus", "argv"):
                values[name] = tuple(values.get(name, ()))
            return cls(**values)
        except (TypeError, KeyError, ValueError):
            raise UsageError("What is remembered of the deployment cannot be read.") from None


def is_name(name: str) -> bool:
    """Whether a deployment can be called so."""
    return bool(name) and slug(name) == name and len(APP_PREFIX + name) <= 63


def app_name(name: str) -> str:
    """The app of a deployment of this name; Modal takes at most 63 characters.

    Raises: UsageError for a name that is none.
    """
    if not is_name(name):
        raise UsageError(
            f"{quoted(name)} is no name of a deployment.",
            "Use at most 55 lower-case letters, digits, dots and dashes.",
        )
    return APP_PREFIX + name


def secret_name(name: str) -> str:
    """The Secret that holds a deployment's key."""
    return f"{app_name(name)}-key"[:63]


def claim_name(name: str) -> str:
    """The Secret that exists while something starts under a name: only one can make it."""
    app = app_name(name)
    return f"{app[:45]}-{hashlib.sha256(app.encode()).hexdigest()[:8]}-starting"


def tag_value(text: str) -> str:
    """Text as a value of a tag: letters, digits, dots, dashes and underscores, 63 at most."""
    allowed = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)
    return allowed[:63].strip("-.") or "unknown"


def weights_folder(repo: str, commit: str, files: Sequence[WeightFile]) -> str:
    """Where files are kept on the Volume: by repository and commit, or by what they are."""
    if repo:
        return posixpath.join("hub", repo, commit)
    text = "\n".join(
        f"{file.path} {file.size_bytes} {file.sha256 or file.mtime_ns}" for file in files
    )
    return posixpath.join("local", hashlib.sha256(text.encode()).hexdigest()[:16])


def weights_mark(folder: str) -> str:
    """A folder of weights as the value of a tag, so that what is in use is not removed."""
    return hashlib.sha256(folder.encode()).hexdigest()[:16]


def engine_image(gpus: Sequence[Gpu], build: str = LLAMA_CPP_BUILD) -> str:
    """The pinned image of llama.cpp's server for all of these GPUs; without one, for the CPU.

    Source: llama.cpp docs/docker.md.
    """
    if not gpus:
        return f"{IMAGE}:server-{build}"
    needs_13 = any(gpu.capability >= CUDA_13_CAPABILITY for gpu in gpus)
    return f"{IMAGE}:server-{'cuda13' if needs_13 else 'cuda'}-{build}"


def startup_limits(
    n_bytes: int, bytes_per_second: float = 0.0, start: ColdStart | None = None
) -> tuple[int, int]:
    """Modal's limit for a start, and our own before it.  [s]

    Args:
        n_bytes: to be read.
        bytes_per_second: measured on earlier starts; 0 = never seen.
        start: as predicted; neither limit is below what it says.
    """
    rate = bytes_per_second if bytes_per_second > 0 else VOLUME_BYTES_PER_SECOND
    own = LEAST_STARTUP_SECONDS + SLACK * n_bytes / rate
    expected = start.limit_seconds if start is not None else 0.0
    deadline = min(math.ceil(max(own, expected - SCHEDULING_SECONDS)), 3 * 3600)
    return deadline + math.ceil(SCHEDULING_SECONDS), deadline


def checked_windows(scaledown: int, containers: int) -> None:
    """Refuse what Modal would refuse much later.

    Raises: UsageError.
    """
    if not 2 <= scaledown <= 3600:
        raise UsageError(f"--scaledown must be between 2 and 3600 seconds, not {scaledown}.")
    if containers < 1:
        raise UsageError(f"--max-containers must be at least 1, not {containers}.")


def host_usd_per_hour(spec: DeploymentSpec, prices: Prices) -> float:
    """Price of the container's cores and memory, as asked for.  [US dollars per hour]"""
    return prices.host_usd_per_hour(spec.cpu, spec.memory_mib).best


def idle_usd(spec: DeploymentSpec, prices: Prices) -> float:
    """What the time costs that a container waits for requests before it ends."""
    hourly = spec.usd_per_hour + host_usd_per_hour(spec, prices)
    return hourly * spec.scaledown_window / 3600
