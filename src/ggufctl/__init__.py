"""Plans GGUF deployments: what llama.cpp needs on every GPU you could rent, to the byte.

::

    import ggufctl

    model = ggufctl.read_model("bartowski/Llama-3.3-70B-Instruct-GGUF:Q4_K_M")
    found = ggufctl.estimate(model, ggufctl.Runtime(n_ctx=8192), gpus=("H100",))
    print(found.devices[0].total_bytes)
"""

from __future__ import annotations

# That of `typing` would take longer to import than all the rest of a start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ggufctl.core.estimate import Basis, DeviceEstimate, Estimate, HostEstimate, Term
    from ggufctl.core.goal import Goal, Limits, Objective
    from ggufctl.core.gpus import Gpu
    from ggufctl.core.model import Model
    from ggufctl.core.names import Detected, detect
    from ggufctl.core.plan import Choice, Plan
    from ggufctl.core.planner import Constraints, GpuPlan
    from ggufctl.core.rules import get_gpu_config_llamacpp
    from ggufctl.core.runtime import Runtime
    from ggufctl.errors import (
        AccessDenied,
        AmbiguousReference,
        CheckFailed,
        DoesNotFit,
        GgufctlError,
        InvalidGguf,
        LaunchFailed,
        ModelNotFound,
        NoDiagnosis,
        RefusedSettings,
        RemoteError,
        UnsupportedModel,
        UsageError,
    )
    from ggufctl.services.plan import estimate, plan, read_model

__all__ = [
    "AccessDenied",
    "AmbiguousReference",
    "Basis",
    "CheckFailed",
    "Choice",
    "Constraints",
    "Detected",
    "DeviceEstimate",
    "DoesNotFit",
    "Estimate",
    "GgufctlError",
    "Goal",
    "Gpu",
    "GpuPlan",
    "HostEstimate",
    "InvalidGguf",
    "LaunchFailed",
    "Limits",
    "Model",
    "ModelNotFound",
    "NoDiagnosis",
    "Objective",
    "Plan",
    "RefusedSettings",
    "RemoteError",
    "Runtime",
    "Term",
    "UnsupportedModel",
    "UsageError",
    "detect",
    "estimate",
    "get_gpu_config_llamacpp",
    "plan",
    "read_model",
]

_MODULES = {
    "ggufctl.core.estimate": ("Basis", "DeviceEstimate", "Estimate", "HostEstimate", "Term"),
    "ggufctl.core.goal": ("Goal", "Limits", "Objective"),
    "ggufctl.core.gpus": ("Gpu",),
    "ggufctl.core.model": ("Model",),
    "ggufctl.core.names": ("Detected", "detect"),
    "ggufctl.core.plan": ("Choice", "Plan"),
    "ggufctl.core.planner": ("Constraints", "GpuPlan"),
    "ggufctl.core.rules": ("get_gpu_config_llamacpp",),
    "ggufctl.core.runtime": ("Runtime",),
    "ggufctl.services.plan": ("estimate", "plan", "read_model"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "__version__":
        from ggufctl._version import VERSION

        return VERSION
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "ggufctl.errors")), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
