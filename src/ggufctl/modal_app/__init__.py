"""Everything that talks to Modal; the only part of the package that imports its client."""

from __future__ import annotations

from ggufctl.modal_app.client import ImageBuildFailed, account, check_token, translated
from ggufctl.modal_app.live import LOOK_SECONDS, NoContainer, look_inside
from ggufctl.modal_app.logs import LogLine, LogReader, recent_log
from ggufctl.modal_app.running import (
    ModalDeployment,
    is_deployed,
    list_deployments,
    live_rates,
    n_containers,
    stop_app,
)
from ggufctl.modal_app.server import (
    build_app,
    container_config,
    delete_secret,
    deploy,
    function_map,
    server_url,
    set_min_containers,
    store_key,
)
from ggufctl.modal_app.volume import (
    CPU_CORES,
    CPU_MEMORY_MIB,
    BeingFetched,
    VolumeEntry,
    download,
    is_being_fetched,
    is_verified,
    listing,
    mark_used,
    missing_files,
    record_path,
    remove,
    upload,
    used_path,
    verify,
)

__all__ = [
    "CPU_CORES",
    "CPU_MEMORY_MIB",
    "LOOK_SECONDS",
    "BeingFetched",
    "ImageBuildFailed",
    "LogLine",
    "LogReader",
    "ModalDeployment",
    "NoContainer",
    "VolumeEntry",
    "account",
    "build_app",
    "check_token",
    "container_config",
    "delete_secret",
    "deploy",
    "download",
    "function_map",
    "is_being_fetched",
    "is_deployed",
    "is_verified",
    "list_deployments",
    "listing",
    "live_rates",
    "look_inside",
    "mark_used",
    "missing_files",
    "n_containers",
    "recent_log",
    "record_path",
    "remove",
    "server_url",
    "set_min_containers",
    "stop_app",
    "store_key",
    "translated",
    "upload",
    "used_path",
    "verify",
]
