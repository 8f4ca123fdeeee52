"""Which cause is behind which, and how little some of them say: data for the ranking."""

from __future__ import annotations

__all__ = [
    "ANY_PROGRAM",
    "BUILDS",
    "COMES_OF",
    "CRASHES",
    "DRIVER_ENDS",
    "EMPTINESS",
    "ENDS",
    "ENGINE_FAILED",
    "FOLLOWS_FROM_GPU",
    "FROM_OWN_SERVER",
    "KILLERS",
    "LOADED_BESIDE",
    "NEEDED_MEMORY",
    "SHOWS_AS",
    "SURVIVABLE",
    "TELLS_KIND",
    "WAITS_FOR_SERVER",
    "WIDE",
    "WITHOUT_GPU",
    "WORKS_ON_CPU",
]

SHOWS_AS = {
    "llamafile-no-gpu": {"cuda-compiler-missing"},
    "hub-gated": {"download-denied", "hub-token"},
    "hub-rate-limit": {"download-denied", "hub-offline", "image-not-found"},
    "hub-server-error": {"hub-offline"},
    "projector-as-model": {"unknown-architecture"},
    "projector-mismatch": {"projector-failed"},
    "projector-unknown": {"projector-failed"},
    "oom-mmproj": {"projector-failed"},
    "oom-draft": {"draft-failed"},
    "oom-scheduler-copies": {"oom-compute"},
    "docker-no-gpu-runtime": {
        "backend-missing",
        "command-not-found",
        "gpu-not-found",
        "image-not-found",
        "shared-library-missing",
    },
    "driver-too-old": {"docker-no-gpu-runtime", "cuda-init-failed"},
    "cache-not-writable": {"file-permission", "hub-not-found", "read-only-folder"},
    "disk-full": {
        "download-incomplete",
        "file-truncated",
        "lfs-failed",
        "output-not-written",
        "package-lock",
        "read-error",
        "xet-failed",
    },
    "quantized-v-needs-fa": {"argument-value"},
    "address-not-here": {"port-taken"},
    "port-privileged": {"port-taken"},
    "no-tls": {"network-broken", "hub-not-found"},
    "phi3-quantized-kv": {"failed-check"},
    "context-exceeded": {"decode-failed", "request-invalid"},
    "batch-invalid": {"decode-failed"},
    "not-executable": {"command-not-found", "docker-error"},
    "context-shift-quantized": {"failed-check"},
    "quant-type-unknown": {"header-truncated"},
    "shard-missing": {"file-missing"},
    "lora-failed": {"file-missing", "tensor-missing", "tensor-shape"},
    "file-size-limit": {"disk-full", "exit-code"},
    "projector-failed": {"failed-check", "file-missing", "key-missing", "unknown-architecture"},
    "draft-failed": {"decode-failed", "file-missing", "key-missing", "unknown-architecture"},
    "header-invalid": {"header-truncated"},
    "gguf-version-new": {"header-truncated"},
    "engine-built-without-gpu": {"gpu-not-found"},
    "oom-metal": {"metal-failed", "failed-check"},
    "oom-sycl": {"intel-driver-abort"},
    "oom-host-weights": {"oom-host"},
    "oom-killed": {"ollama-load-timeout", "start-timeout"},
    "package-not-found": {"package-conflict"},
    "package-shadowed": {
        "binding-library-missing",
        "client-outdated",
        "module-missing",
        "shared-library-missing",
    },
    "adapter-as-model": {"key-missing", "tensor-missing"},
    "draft-as-model": {"draft-failed"},
    "image-entrypoint": {"modal-runner-failed"},
    "glibc-too-old": {"backend-missing", "binding-library-missing", "shared-library-missing"},
    "driver-mismatch": {"docker-no-gpu-runtime", "cuda-init-failed"},
    "logits-nan": {"failed-check"},
    "tool-call-unparsed": {"request-invalid"},
    "rpc-failed": {"failed-check"},
    "start-timeout": {"modal-runner-failed"},
    "read-error": {"header-truncated"},
    "model-load-failed": {"python-exception"},
    "model-file-unusable": {"model-load-failed"},
    "gpu-unlicensed": {"cuda-error", "failed-check"},
    "grammar-invalid": {"request-invalid", "unknown-architecture"},
    "sycl-failed": {"cuda-error", "failed-check"},
    "image-not-found": {"build-context", "download-denied", "hub-not-found"},
    "hub-not-found": {"download-denied", "download-incomplete", "file-missing"},
    "gpu-not-schedulable": {"not-schedulable"},
    "model-parts-mismatch": {"download-incomplete", "tensor-shape"},
    "ollama-load-timeout": {"start-timeout"},
    "ollama-server-not-started": {"ollama-load-timeout", "start-timeout"},
    "lmstudio-engine": {"app-runtime-crashed", "backend-missing", "shared-library-missing"},
    "mlx-missing": {"exit-code", "model-load-failed", "shared-library-missing"},
    "llamafile-loader": {"shared-library-missing", "wrong-platform"},
    "shared-library-missing": {"command-not-found"},
    "webui-engine-unreachable": {"connection-refused", "hub-server-error"},
    "metal-failed": {"backend-missing"},
    "vulkan-error": {"cxx-exception"},
    "proxy-failed": {
        "command-not-found",
        "dns-failed",
        "download-denied",
        "hub-not-found",
        "module-missing",
        "network-broken",
        "xet-failed",
    },
    "build-dependency-missing": {"command-not-found", "compile-error", "cuda-link"},
    "body-too-large": {"context-exceeded", "request-invalid"},
    "build-context": {
        "compose-invalid",
        "endpoint-unknown",
        "file-missing",
        "hub-not-found",
        "image-name-invalid",
    },
    "build-out-of-memory": {"oom-host", "compile-error", "cuda-link", "oom-killed", "segfault"},
    "cgroup-limits": {"command-not-found"},
    "clock-wrong": {"certificate"},
    "cloud-credentials": {"download-denied", "hub-token"},
    "compiler-missing": {"build-option-renamed", "command-not-found", "cuda-compiler-missing"},
    "compose-invalid": {"config-file-invalid"},
    "cuda-arch-unknown": {"compiler-version"},
    "cuda-compiler-missing": {"build-option-renamed"},
    "docker-daemon-config": {"config-file-invalid", "service-not-running"},
    "device-missing": {"command-not-found"},
    "docker-permission": {"service-not-running"},
    "download-locked": {"threads-limit"},
    "driver-not-loaded": {"cuda-init-failed", "file-missing", "gpu-not-found", "package-conflict"},
    "driver-unsigned": {"cuda-init-failed", "driver-not-loaded", "gpu-not-found"},
    "entrypoint-line-ends": {"command-not-found", "file-missing"},
    "env-file-missing": {"command-not-found", "file-missing", "unit-invalid"},
    "gpu-arch-unsupported": {"backend-missing", "file-missing"},
    "gpu-index": {"argument-value", "docker-no-gpu-runtime"},
    "gpu-no-capacity": {"gpu-allocation-failed", "request-failed"},
    "hub-disabled": {"download-denied", "hub-not-found"},
    "hub-token": {"download-denied"},
    "library-mixed": {
        "backend-missing",
        "glibc-too-old",
        "module-missing",
        "shared-library-missing",
    },
    "listens-elsewhere": {"connection-refused"},
    "macos-quarantine": {"shared-library-missing"},
    "macos-too-old": {"shared-library-missing"},
    "manifest-refused": {"config-file-invalid"},
    "modal-startup-timeout": {"listens-elsewhere"},
    "model-not-served": {"hub-not-found"},
    "mount-failed": {"argument-value", "file-is-folder"},
    "mps-failed": {"cuda-init-failed"},
    "no-file-locks": {"threads-limit", "upstream-timeout"},
    "path-too-long": {"file-missing"},
    "run-as-root": {"secret-missing"},
    "secret-missing": {"mount-failed"},
    "service-sandbox": {"command-not-found", "not-executable", "user-or-folder-missing"},
    "shared-memory": {"disk-full", "file-truncated"},
    "unit-invalid": {"command-not-found", "file-missing", "service-not-running"},
    "upstream-refused": {"network-broken"},
    "upstream-timeout": {"network-broken", "upstream-refused"},
    "vulkan-no-device": {"shared-library-missing"},
    "xet-failed": {"download-denied", "read-error"},
    "compiler-version": {"argument-unknown", "cuda-compiler-missing"},
    "gpu-permission": {
        "cuda-init-failed",
        "file-permission",
        "gpu-not-found",
        "wsl-no-gpu",
        "vulkan-no-device",
    },
    "inotify-limit": {"disk-full", "files-limit"},
    "docker-credentials": {"command-not-found", "image-not-found"},
    "docker-storage": {"file-is-folder", "file-missing", "read-error"},
    "certificate": {"file-missing", "package-not-found"},
    "dns-failed": {"package-not-found"},
    "gpu-ecc": {"illegal-memory-access"},
    "gpu-fault": {"illegal-memory-access"},
    "gpu-fell-off": {"cuda-init-failed", "gpu-not-found", "illegal-memory-access"},
    "gpu-gsp": {"gpu-not-found", "illegal-memory-access"},
    "gpu-nvlink": {"illegal-memory-access", "peer-access"},
    "network-broken": {
        "build-step-failed",
        "docker-error",
        "image-pull",
        "package-not-found",
        "wheel-build-failed",
    },
    "ollama-no-runner": {"command-not-found"},
    "port-reserved": {"port-privileged", "port-taken", "service-not-running"},
    "helm-failed": {"config-file-invalid", "template-invalid"},
    "probe-path": {"probe-failed"},
    "image-no-command": {"command-not-found", "docker-error", "modal-runner-failed"},
    "gpu-runtime-mode": {"docker-no-gpu-runtime"},
    "cuda-library-missing": {"cuda-compiler-missing", "cuda-link", "wheel-build-failed"},
    "cuda-needs-msvc": {
        "compiler-missing",
        "compiler-version",
        "cuda-compiler-missing",
        "wheel-build-failed",
    },
    "engine-link": {"compile-error", "cuda-link"},
    "submodules-missing": {"build-context", "compile-error"},
    "binding-library-missing": {
        "backend-missing",
        "file-missing",
        "module-missing",
        "shared-library-missing",
    },
    "binding-mismatch": {
        "backend-missing",
        "binding-library-missing",
        "library-mixed",
        "module-missing",
        "shared-library-missing",
    },
    "wrong-platform": {"backend-missing", "binding-library-missing", "shared-library-missing"},
    "proxy-for-localhost": {"hub-server-error", "upstream-refused", "upstream-timeout"},
    "client-provider": {"key-wrong", "request-invalid"},
    "folder-denied": {"cache-not-writable", "permission-denied"},
    "read-only-folder": {"docker-error", "not-executable", "permission-denied", "read-error"},
    "chat-format-unknown": {"argument-value"},
    "key-empty": {"connection-refused", "hub-token", "network-broken"},
    "modal-image-build": {"build-step-failed", "modal-runner-failed"},
    "podman-session": {"docker-error", "permission-denied"},
    "runtime-kernel": {"docker-error", "not-supported"},
    "wsl-no-gpu": {"docker-no-gpu-runtime", "driver-mismatch", "gpu-not-found"},
    "driver-in-image": {"docker-no-gpu-runtime"},
    "volume-elsewhere": {"mount-failed", "not-schedulable"},
    "post-start-hook": {"docker-error"},
    "compose-too-old": {"argument-value", "compose-invalid", "config-file-invalid"},
    "client-timeout": {"network-broken"},
    "release-not-found": {"hub-not-found"},
    "modal-invalid": {
        "argument-unknown",
        "argument-value",
        "file-missing",
        "key-missing",
        "module-missing",
        "not-supported",
        "package-not-found",
    },
    "hip-toolchain": {
        "build-dependency-missing",
        "compile-error",
        "compiler-missing",
        "compiler-version",
        "cuda-compiler-missing",
        "shared-library-missing",
        "wheel-build-failed",
    },
    "toolkit-config": {"docker-no-gpu-runtime", "file-missing"},
    "buildkit-missing": {"argument-unknown"},
    "driver-build": {"driver-not-loaded", "gpu-operator-waiting", "package-not-found"},
    "proxy-config": {"config-file-invalid", "dns-failed"},
    "ollama-cloud": {"download-denied"},
    "pip-denied": {"file-locked", "permission-denied", "read-error"},
    "client-outdated": {"argument-unknown", "argument-value", "module-missing"},
    "upstream-died": {"network-broken"},
    "tls-refused": {"certificate", "network-broken"},
    "gpu-operator-waiting": {"command-not-found", "driver-not-loaded", "gpu-not-found"},
    "driver-open-modules": {
        "cuda-init-failed",
        "driver-not-loaded",
        "gpu-fault",
        "gpu-gsp",
        "gpu-not-found",
    },
    "answer-not-json": {"decode-failed"},
    "transformers-no-config": {"file-missing"},
    "cors": {"download-denied", "key-wrong"},
    "service-not-running": {"read-error"},
    "server-error": {"decode-failed", "hub-server-error"},
    "tls-plain-http": {"request-invalid"},
    "ptx-compiler-missing": {"cuda-error", "failed-check"},
    "client-address": {"model-not-served", "service-not-running"},
    "backend-missing": {"projector-failed"},
    "shell-syntax": {"argument-unknown", "command-not-found", "script-unreadable"},
    "program-renamed": {"command-not-found", "file-missing"},
    "redirect-folder-missing": {
        "command-not-found",
        "connection-refused",
        "file-missing",
        "service-not-running",
    },
    "template-invalid": {"template-refuses"},
    "compiler-crashed": {"build-out-of-memory", "segfault"},
    "compiler-command-line": {"argument-unknown", "compiler-version"},
    "router-unreachable": {"connection-refused"},
    "package-lock": {"file-permission", "permission-denied"},
    "podman-port": {"docker-network"},
}
"""Cause → what it shows itself as well, which is then no cause of its own."""

TELLS_KIND = {
    "out-of-memory": frozenset({"gpu-allocation-failed", "build-out-of-memory"}),
    "permission-denied": frozenset(
        {
            "cache-not-writable",
            "docker-error",
            "download-denied",
            "file-permission",
            "gpu-permission",
            "hub-gated",
            "image-not-found",
            "not-executable",
            "port-privileged",
            "port-taken",
            "read-error",
            "service-not-running",
        }
    ),
    "file-not-gguf": frozenset(
        {
            "big-endian",
            "file-empty",
            "file-is-html",
            "file-is-lfs-pointer",
            "file-is-old-ggml",
            "gguf-v1",
            "gguf-version-new",
        }
    ),
    "vulkan-error": frozenset({"oom-vulkan", "vulkan-device-lost", "vulkan-no-device"}),
    "cuda-error": frozenset({"gpu-hang", "gpu-permission"}),
}
"""Cause of which only the kind is known → what tells the same more closely."""

SURVIVABLE = frozenset(
    {
        "cuda-init-failed",
        "engine-built-without-gpu",
        "gpu-not-found",
        "gpu-permission",
        "gpu-too-full",
        "package-conflict",
    }
)
"""Roots that an engine lives with, so that another one beside them is the reason."""

FOLLOWS_FROM_GPU = ("oom-", "start-timeout", "ollama-load-timeout")
"""Causes that may follow from a GPU that is not used."""

ANY_PROGRAM = frozenset({"cxx-exception", "python-exception", "request-failed", "told-by-itself"})
"""Rows that quote whatever a program says."""

FROM_OWN_SERVER = {
    "download-denied": "key-wrong",
    "hub-not-found": "endpoint-unknown",
    "hub-server-error": "server-error",
}
"""What the Hub's answers mean where a server of one's own gave them."""

CRASHES = frozenset({"segfault"})
"""That a process crashed, and nothing of why."""

DRIVER_ENDS = frozenset({"gpu-fault", "gpu-hang", "illegal-memory-access", "intel-driver-abort"})
"""Causes that a driver also tells of a process that aborts for another reason."""

BUILDS = frozenset({"build-step-failed", "compile-error", "wheel-build-failed"})
"""That something could not be built."""

ENDS = frozenset(
    {
        "aborted",
        "crash-loop",
        "exit-code",
        "failed-check",
        "illegal-instruction",
        "killed",
        "oom-killed",
        "ollama-runner-died",
        "segfault",
    }
)
"""That a process ended."""

NEEDED_MEMORY = frozenset(
    {"oom-weights", "oom-kv", "oom-compute", "oom-mmproj", "oom-draft", "oom-scheduler-copies"}
)

"""Buffers that an allocation failed for."""

ENGINE_FAILED = frozenset(
    {"failed-check", "illegal-instruction", "model-load-failed", "ollama-runner-died", "segfault"}
)
"""That an engine failed, be it that nothing says why."""

WAITS_FOR_SERVER = frozenset(
    {
        "client-timeout",
        "connection-refused",
        "crash-loop",
        "server-error",
        "exit-code",
        "hub-server-error",
        "network-broken",
        "probe-failed",
        "start-timeout",
        "still-loading",
        "upstream-died",
        "upstream-refused",
        "upstream-timeout",
        "webui-engine-unreachable",
    }
)
"""What proxies, clients and platforms say of a server that failed for a reason of its own."""

_NOT_DELIVERED = frozenset(
    {
        "certificate",
        "disk-full",
        "dns-failed",
        "download-denied",
        "hub-gated",
        "hub-not-found",
        "hub-rate-limit",
        "hub-token",
    }
)
"""That a file could not be had."""

COMES_OF = {"file-missing": _NOT_DELIVERED, "file-truncated": _NOT_DELIVERED}
"""Cause → what is more likely behind it where both are seen; it is told, but later."""

KILLERS = frozenset(
    {"probe-failed", "modal-startup-timeout", "modal-function-timeout", "preempted"}
)
"""Causes that end a process with signal 9 themselves."""

LOADED_BESIDE = frozenset({"draft-failed", "lora-failed", "projector-failed"})
"""That a file which is loaded beside the model cannot be used."""

WORKS_ON_CPU = frozenset({"engine-built-without-gpu", "gpu-not-found"})
"""Causes after which an engine works without a GPU."""

WIDE = frozenset(
    {
        "argument-value",
        "conversion-failed",
        "conversion-unsupported",
        "draft-failed",
        "endpoint-off",
        "hub-not-found",
        "lora-failed",
        "modal-invalid",
        "projector-failed",
        "request-invalid",
        "state-not-restored",
        "template-invalid",
        "template-refuses",
        "tensor-shape",
    }
)
"""Causes of so many kinds that the line itself is told where nothing closer is known."""

WITHOUT_GPU = frozenset(
    "cuda-init-failed driver-in-image driver-mismatch driver-not-loaded driver-too-old "
    "gpu-not-found vulkan-no-device".split()
)
"""Why an engine that is built for a GPU works on the CPU."""

EMPTINESS = {
    id: emptiness
    for emptiness, ids in enumerate(
        (
            "network-broken out-of-memory permission-denied image-pull compile-error vulkan-error",
            "cuda-error failed-check docker-error wheel-build-failed start-timeout",
            "app-runtime-crashed",
            "decode-failed build-step-failed segfault cxx-exception modal-runner-failed",
            "aborted",
            "ollama-runner-died",
            "model-load-failed",
            "crash-loop",
            "python-exception",
            "connection-refused",
            "still-loading",
            "server-error",
            "exit-code",
        ),
        start=1,
    )
    for id in ids.split()
}
"""Of causes that say little more than that it failed, how little they say."""
