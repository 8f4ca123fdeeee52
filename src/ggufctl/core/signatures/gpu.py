"""GPUs, drivers and CPUs that do not do what the build of the engine wants of them."""

from __future__ import annotations

from ggufctl.core.signatures.table import Basis, Phase, Severity, Signature, Tier

__all__ = ["SIGNATURES"]

_EXPOSE = (
    "Give the container the GPU: docker run --gpus all, or nvidia.com/gpu in Kubernetes.",
    "Check nvidia-smi where the engine runs.",
)
_DRIVER = (
    "Update the driver, or use an image with an older CUDA (server-cuda is 12.8, server-cuda13 is "
    "13).",
)

SIGNATURES = (
    Signature(
        "gpu-not-found",
        (
            r"failed to initialize CUDA: no CUDA-capable device is detected",
            r"no CUDA-capable device is detected",
            r"failed to initialize (?:ROCm|HIP|MUSA): no .*device",
            r"warning: no usable GPU found",
            r"No devices were found",
            r"Found no NVIDIA driver on your system",
            r"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver",
            r"The NVIDIA Driver was not detected",
            r"CUDA driver is a stub library",
            r"g_all_sycl_device_count",
            r"No device of requested type available",
            r"No (?:HIP|CUDA|XPU|NVIDIA) GPUs are available",
            r"failed to finish discovery before timeout",
        ),
        "No GPU is visible to the engine, which then works on the CPU or not at all.",
        (
            *_EXPOSE,
            "Use an image with GPU support, such as ghcr.io/ggml-org/llama.cpp:server-cuda.",
        ),
        "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected",
        phase=Phase.ALWAYS,
    ),
    Signature(
        "driver-too-old",
        (
            r"CUDA driver version is insufficient for CUDA runtime version",
            r"driver version is insufficient",
            r"CUDA error 35\b",
            r"unsatisfied condition: cuda ?>= ?(?P<version>[\d.]+)",
            r"The NVIDIA driver on your system is too old",
            r"forward compatibility was attempted on non supported HW",
        ),
        "The NVIDIA driver is older than the CUDA that the engine was built with.",
        _DRIVER,
        "ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient for CUDA "
        "runtime version",
        phase=Phase.ALWAYS,
    ),
    Signature(
        "driver-mismatch",
        (
            r"unsupported display driver / cuda driver combination",
            r"Driver/library version mismatch",
            r"Failed to initialize NVML: (?P<why>Unknown Error|Driver.*)",
            r"system has unsupported display driver",
            r"system not yet initialized",
            r"nvidia-container-cli: initialization error: (?:nvml error: )?driver (?P<why>.+)",
        ),
        "The driver in the kernel and its libraries do not belong together, or the driver is not "
        "up.",
        (
            "Reboot the host after a driver update, or reload its modules.",
            "Restart the container: a cgroup reload takes its GPU away. On HGX hosts start "
            "nvidia-fabricmanager.",
        ),
        "Failed to initialize NVML: Driver/library version mismatch",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "cuda-init-failed",
        (
            r"failed to initialize (?:CUDA|ROCm|HIP|MUSA): (?P<why>(?!no CUDA|CUDA driver version|"
            r"unsupported display|system ).+)",
            r"cuInit returned \d+",
            r"cudaGetDeviceCount.*Error",
            r"cuInit err: (?P<why>\d+)",
            r"error initializing (?:cuda|rocm|hip|nvml)\w* (?:driver |management )?library",
            r"driver library init failure: (?P<why>\d+)",
            r"(?P<why>OS call failed or operation not supported on this OS)",
            r"CUDA error: (?P<why>initialization error)",
        ),
        "CUDA cannot be initialised: {why}.",
        (*_EXPOSE, "Load the module nvidia_uvm, and restart the host if the driver was updated."),
        "ggml_cuda_init: failed to initialize CUDA: unknown error",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "gpu-arch-unsupported",
        (
            r"has no device code compatible with (?:CUDA|HIP) arch (?P<arch>\d+)",
            r"no kernel image is available for execution on the device",
            r"is not compatible with the current PyTorch installation",
            r"rocBLAS error: Cannot read \S*TensileLibrary",
            r"invalid device function",
            r"kernel image is invalid",
            r"No kernel named \S+ was found",
            r"hipErrorNoBinaryForGpu",
            r"Unable to find code object for all current devices",
        ),
        "The engine has no code for this GPU's architecture.",
        (
            "Use a build for its compute capability: B200 and RTX PRO 6000 need sm_100 and sm_120, "
            "B300 needs CUDA 13.",
            "Build with -DCMAKE_CUDA_ARCHITECTURES set to it.",
        ),
        "CUDA error: no kernel image is available for execution on the device",
    ),
    Signature(
        "ptx-toolchain",
        (
            r"PTX was compiled with an unsupported toolchain",
            r"PTX JIT compil\w+ failed",
            r"the provided PTX",
        ),
        "The engine's CUDA is newer than what the driver can translate.",
        _DRIVER,
        "CUDA error: the provided PTX was compiled with an unsupported toolchain.",
        Basis.REPORTED,
    ),
    Signature(
        "illegal-memory-access",
        (
            r"an illegal memory access was encountered",
            r"NVRM: Xid .*: (?:31|13),",
            r"CUDA error: (?:unspecified launch failure|misaligned address|"
            r"an illegal instruction was encountered)",
        ),
        "A kernel of the engine touched memory that is not its own.",
        (
            "Try another build, then -fa off and an f16 cache; report it with the settings.",
            "If it comes with many models, suspect the GPU's memory.",
        ),
        "CUDA error: an illegal memory access was encountered\n"
        "  current device: 0, in function ggml_backend_cuda_synchronize at ggml-cuda.cu:2465",
        phase=Phase.SERVE,
    ),
    Signature(
        "gpu-fell-off",
        (
            r"GPU has fallen off the bus",
            r"NVRM: Xid .*: 79,",
            r"GPU is lost",
            r"Unable to determine the device handle for GPU",
        ),
        "The GPU disappeared from the bus: power, heat, or hardware.",
        ("Restart the host; if it comes back, use another machine.",),
        "NVRM: Xid (PCI:0000:01:00): 79, pid=1234, name=llama-server, GPU has fallen off the bus.",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "gpu-ecc",
        (
            r"uncorrectable ECC error",
            r"NVRM: Xid .*: (?:48|63|64|94|95),",
            r"CUDA error: uncorrectable",
        ),
        "The GPU's memory has errors that it cannot correct.",
        ("Use another machine; the provider has to replace the card.",),
        "CUDA error: uncorrectable ECC error encountered",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "gpu-gsp",
        (r"NVRM: Xid .*: (?:119|120|109),", r"Timeout waiting for RPC from GSP"),
        "The GPU's own firmware stopped answering.",
        ("Restart the host and update the driver.",),
        "NVRM: Xid (PCI:0000:81:00): 119, pid=99, name=llama-server, Timeout after 6s of waiting "
        "for "
        "RPC response from GPU0 GSP!",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "cuda-invalid-argument",
        (
            r"CUDA error: invalid argument",
            r"CUDA error: invalid resource handle",
            r"CUDA error: operation not permitted",
            r"CUBLAS_STATUS_(?:EXECUTION_FAILED|NOT_SUPPORTED|ARCH_MISMATCH)",
        ),
        "A call to CUDA was refused: a fault of this build with these settings.",
        ("Use a newer build; try -sm layer, -fa off or one GPU.",),
        "CUDA error: invalid argument\n  current device: 1, in function "
        "ggml_backend_cuda_buffer_set_tensor at ggml-cuda.cu:606",
        Basis.REPORTED,
        phase=Phase.SERVE,
    ),
    Signature(
        "cuda-error",
        (
            r"(?:CUDA|ROCm|HIP|MUSA) error: (?P<why>(?!out of memory|no kernel|the provided PTX|an "
            r"illegal|invalid|uncorrectable|unspecified|misaligned|operation not).+)",
            r"CUDA error \d+ at (?P<why>.+)",
            r"ggml_abort.*CUDA error",
            r"cudaError\w+",
            r"^Error OP \w+",
        ),
        "The GPU failed: {why}.",
        ("Look at the lines before it; try another build and driver.",),
        "CUDA error: the launch timed out and was terminated",
        tier=Tier.SYMPTOM,
        phase=Phase.SERVE,
    ),
    Signature(
        "vulkan-device-lost",
        (r"vk::DeviceLostError", r"ErrorDeviceLost", r"ggml_vulkan: device lost on (?P<device>.+)"),
        "The Vulkan driver gave the GPU up: it worked too long on one piece, or crashed.",
        ("Use a lower -ub, update the driver, and try GGML_VK_DISABLE_COOPMAT=1.",),
        "vk::Queue::submit: ErrorDeviceLost",
        Basis.REPORTED,
        phase=Phase.SERVE,
    ),
    Signature(
        "vulkan-no-device",
        (r"ggml_vulkan: No devices found", r"ErrorIncompatibleDriver", r"vk::createInstance: \w+"),
        "Vulkan finds no usable driver.",
        ("Install the GPU's Vulkan driver, and pass /dev/dri into the container.",),
        "terminate called after throwing an instance of 'vk::IncompatibleDriverError'\n"
        "  what():  vk::createInstance: ErrorIncompatibleDriver",
        Basis.REPORTED,
    ),
    Signature(
        "metal-failed",
        (
            r"ggml_metal\S*: error: (?!failed to allocate|buffer is nil)(?P<why>.+)",
            r"kIOGPUCommandBufferCallbackError(?!OutOfMemory)\w+",
            r"failed to initialize the Metal library",
        ),
        "Metal failed: {why}.",
        ("Update macOS and the engine; try a lower -ub, or -ngl 0 to see whether it is the GPU.",),
        "ggml_metal_init: error: failed to initialize the Metal library",
        phase=Phase.SERVE,
    ),
    Signature(
        "illegal-instruction",
        (
            r"Illegal instruction",
            r"exit(?:ed)?(?: with)?(?: status| code)?[ :=(\"]+132\b",
            r"signal: illegal instruction",
            r"0xc000001d",
            r"code=dumped, signal=ILL",
            r"died with <Signals\.SIGILL",
        ),
        "The CPU lacks an instruction that the engine was built with, mostly AVX2 or AVX-512.",
        (
            "Use the official image, which chooses code by CPU, or build with GGML_NATIVE=OFF.",
            "On a virtual machine, pass the host's CPU features through.",
        ),
        "Illegal instruction (core dumped)",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "wrong-platform",
        (
            r"exec format error",
            r"cannot execute binary file",
            r"does not match the detected host platform",
            r"no matching manifest for (?P<platform>\S+)",
            r"no match for platform in manifest",
        ),
        "The image is for another kind of processor.",
        ("Pull it for this machine's: docker pull --platform linux/amd64 (or arm64).",),
        "exec /app/llama-server: exec format error",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "shared-library-missing",
        (
            r"error while loading shared libraries: (?P<library>[^:]+):",
            r"(?P<library>lib\S+\.so[.\d]*): cannot open shared object file",
            r"Failed to load shared library '(?P<library>[^']+)'",
            r"Shared library with base name '(?P<library>[^']+)' not found",
            r"Could not find module '(?P<library>[^']+)'",
            r"0xc0000135",
            r"Library not loaded: (?P<library>\S+)",
        ),
        "A library that the engine needs is not there: {library}.",
        (
            "libcuda.so.1 comes with the driver: run the container with --gpus all.",
            "libcudart and libcublas come with CUDA: use an image or wheel of the same version.",
            "libgomp1 and libcurl4 are packages of the distribution.",
        ),
        "llama-server: error while loading shared libraries: libcudart.so.12: cannot open shared "
        "object file: No such file or directory",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "glibc-too-old",
        (
            r"version [`'\"‘](?P<library>GLIBC(?:XX)?_[\d.]+)['\"’] not found",
            r"version [`'\"‘]CXXABI_[\d.]+['\"’] not found",
        ),
        "The engine was built for a newer system: {library} is missing.",
        ("Use a newer base image, or build the engine on this one.",),
        "llama-server: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required "
        "by "
        "llama-server)",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "backend-missing",
        (
            r"no backends are loaded",
            r"failed to initialize (?P<backend>CPU|CUDA\d*) backend",
            r"no CPU backend found",
            r"incompatible API version \(backend",
            r"backend not found: (?P<backend>\S+)",
            r"undefined symbol: (?P<backend>(?:llama|ggml)_\w+)",
            r"grpc process not found: (?P<backend>\S+)",
        ),
        "The engine finds none of its backends: its libraries are incomplete or of another build.",
        ("Install the engine anew, with all libggml-*.so beside the program.",),
        "llama_model_load_from_file_impl: no backends are loaded. hint: use ggml_backend_load() or "
        "ggml_backend_load_all() to load a backend before calling this function",
    ),
    Signature(
        "engine-built-without-gpu",
        (
            r"Attempt to split tensors that exceed maximum supported devices",
            r"Not compiled with GPU offload support",
            r"not compiled with GPU offload",
            r"compiled without (?:CUDA|GPU) support",
            r"Torch not compiled with CUDA enabled",
        ),
        "The engine was built without GPU support, so everything works on the CPU.",
        ("Install a build with CUDA; -ngl has no effect here.",),
        "warning: not compiled with GPU offload support, --gpu-layers option will be ignored",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "segfault",
        (
            r"Segmentation fault",
            r"exit(?:ed)?(?: with)?(?: status| code)?[ :=(\"]+139\b",
            r"\bSIGSEGV\b",
            r"signal: segmentation fault",
            r"0xc0000005",
            r"exception: access violation",
            r"code=dumped, signal=SEGV",
            r"kernel: .*segfault at",
        ),
        "The engine crashed in native code (segmentation fault).",
        ("Look at the last lines before it; try another build, then without the newest options.",),
        "Segmentation fault (core dumped)",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "aborted",
        (
            r"exit(?:ed)?(?: with)?(?: status| code)?[ :=(\"]+134\b",
            r"Aborted \(core dumped\)",
            r"signal: aborted",
            r"terminate called after throwing an instance of",
            r"0xc0000409",
            r"Exit code: 184467440726358\d+",
            r"\bSIGABRT\b",
        ),
        "The engine stopped itself (abort).",
        ("The lines before it say on what; if there are none, start it with -lv 5.",),
        "llama-server exited with code 134",
        Basis.REPORTED,
        tier=Tier.GENERIC,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "failed-check",
        (
            r"GGML_ASSERT\((?P<check>(?!ggml_can_mul_mat|hparams|n_embd_head).+?)\) failed",
            r"GGML_ASSERT: (?P<check>\S+)",
            r"Assertion [`'](?P<check>.+)' failed",
            r"Assertion failed: (?P<check>.+)",
            r"GGML_ABORT",
            r"ggml\S*\.(?:c|cpp|cu|m):\d+: (?P<check>.+)",
        ),
        "The engine stopped at a check of its own: {check}.",
        (
            "It is a fault of this build with this model and settings: try a newer build, then "
            "-fa off.",
        ),
        "/app/ggml/src/ggml-backend.cpp:1456: GGML_ASSERT(n_inputs < GGML_SCHED_MAX_SPLIT_INPUTS) "
        "failed",
        tier=Tier.SYMPTOM,
        phase=Phase.SERVE,
    ),
    Signature(
        "intel-driver-abort",
        (
            r"Abort was called at \d+ line in file",
            r"Native API failed\. Native API returns",
            r"UR_RESULT_ERROR_(?!OUT_OF)\w+",
            r"ZE_RESULT_ERROR_(?!OUT_OF)\w+",
            r"level_zero backend failed with error",
        ),
        "The Intel GPU's driver gave up.",
        ("Update the compute runtime in the image so that it suits the kernel's driver.",),
        "Abort was called at 63 line in file:\n../../neo/shared/source/os_interface/os_interface.h",
        Basis.REPORTED,
    ),
    Signature(
        "peer-access",
        (r"NCCL (?:error|WARN)[ :](?P<why>.+)", r"ncclUnhandledCudaError", r"ncclSystemError"),
        "The GPUs cannot talk to one another.",
        ("Give the container more shared memory (--shm-size 1g), or set NCCL_P2P_DISABLE=1.",),
        "NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)",
        Basis.REPORTED,
    ),
    Signature(
        "flash-attention-off",
        (
            r"flash_attn is not compatible with (?P<what>\w+) - forcing off",
            r"flash attention not supported by \S+, memory usage will increase",
            r"Flash Attention tensor is assigned to a different device",
        ),
        "Flash attention is off for this model or device, which takes more memory.",
        ("Plan with -fa off, and keep the V cache at f16.",),
        "llama_init_from_model: flash_attn is not compatible with Grok - forcing off",
        severity=Severity.REMARK,
    ),
    Signature(
        "nothing-offloaded",
        (r"offloaded 0/(?P<layers>\d+) layers to GPU",),
        "No layer is on a GPU.",
        ("Pass -ngl 99 if the GPU was meant to be used.",),
        "load_tensors: offloaded 0/33 layers to GPU",
        severity=Severity.REMARK,
    ),
    Signature(
        "unsupported-clip-ops",
        (r"the CLIP graph uses unsupported operators by the backend",),
        "Parts of the image encoder run on the CPU and are slow.",
        ("Use a newer build.",),
        "warmup: WARNING: the CLIP graph uses unsupported operators by the backend",
        severity=Severity.REMARK,
    ),
    Signature(
        "gpu-discovery-partial",
        (r"no compatible GPUs were discovered", r"no nvidia devices detected"),
        "Ollama found no GPU and works on the CPU.",
        (*_EXPOSE,),
        'time=2025-03-05T06:19:02.2Z level=INFO source=gpu.go:377 msg="no compatible GPUs were '
        'discovered"',
        Basis.REPORTED,
        severity=Severity.REMARK,
    ),
)
