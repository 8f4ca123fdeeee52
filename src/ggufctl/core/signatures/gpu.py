"""GPUs, drivers and CPUs that do not do what the build of the engine wants of them."""

from __future__ import annotations

from ggufctl.core.signatures import checks, programs
from ggufctl.core.signatures.table import Basis, Phase, Severity, Signature, Tier, Variant, exited

__all__ = ["SIGNATURES"]

_EXPOSE = (
    "Give the container the GPU: docker run --gpus all, or nvidia.com/gpu in Kubernetes.",
    "Check nvidia-smi where the engine runs.",
)
_DRIVER = (
    "Update the driver, or use an image with an older CUDA (server-cuda is 12.8, server-cuda13 is "
    "13).",
)

_PLAIN_WHEEL = (
    "Build the wheel for a CPU without AVX2, or take one that was: "
    'CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=OFF -DGGML_FMA=OFF -DGGML_F16C=OFF" (without AVX '
    "-DGGML_AVX=OFF as well) pip install --force-reinstall --no-cache-dir --no-binary "
    "llama-cpp-python llama-cpp-python.",
    "On a virtual machine, pass the host's CPU features through (type host).",
)
"""Where a Python wheel has code that the CPU does not know."""

SIGNATURES = (
    Signature(
        "gpu-not-found",
        (
            r"couldn't find libnvidia-ml\.so",
            r"NVML Shared Library Not Found",
            r"NVMLError_LibraryNotFound",
            r"failed to initialize CUDA: no CUDA-capable device is detected",
            r"no CUDA-capable device is detected",
            r"failed to initialize (?:ROCm|HIP|MUSA): no .*device",
            r"amdgpu detected, but no compatible rocm library found",
            r"warning: no usable GPU found",
            r"No devices were found",
            r"\bno \S{2,8} devices found, .{0,12}will be disabled",
            r"Found no NVIDIA driver on your system",
            r"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver",
            r"The NVIDIA Driver was not detected",
            r"CUDA driver is a stub library",
            r"g_all_sycl_device_count",
            r"No device of requested type available",
            r"No (?:HIP|CUDA|XPU|NVIDIA) GPUs are available",
            r"failed to finish discovery before timeout",
            r"cudaErrorNoDevice",
            r"hipErrorNoDevice",
            r"GPU access blocked by the operating system",
            r"ggml_opencl: (?:platform IDs not available|could find any|no platform|no device|"
            r"selected platform '[^']*' does not)",
            r"CL_DEVICE_NOT_FOUND",
            r"CL_PLATFORM_NOT_FOUND",
            r"clGetPlatformIDs.*-1001",
            r"nvidia-smi: (?:command )?not found",
            r"ROCk module is NOT loaded",
            r"no (?:SYCL|level[- ]zero) devices?",
            r"can ?not find preferred GPU platform",
            r"Failed to infer device type",
            r"Detected non-NVML platform",
            r"If this is a GPU node, did you configure",
            r"CUDA_ERROR_NO_DEVICE",
            r"nvidia-smi.{0,20}(?:not found|no such file|is not recognized)",
            r"RuntimeError: No (?:CUDA|HIP|XPU) GPUs",
            r"ggml_\w*opencl: (?:plaform IDs not available|could find any|selected platform '"
            r"[^']*' does not|no platform)",
            r"(?:rocm|cuda|nvml) vram (?:device )?lookup failure",
            r"cannot use GPU \d+, check",
            r"Failed to initialize NVML: (?:N/A|GPU access|Not Found)",
            r"Failed to query NVIDIA devices",
            r"Could not initialize Tensile host",
            r"main_gpu.{0,40}available devices: 0",
            r"(?:unable|failed) to (?:retrieve|list|enumerate|"
            r"get) (?:the )?(?:list of )?(?:all )?(?:available )?GPU",
        ),
        "No GPU is visible to the engine, which then works on the CPU or not at all.",
        (
            *_EXPOSE,
            "Use an image with GPU support, such as ghcr.io/ggml-org/llama.cpp:server-cuda.",
        ),
        "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected",
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"\bsh: (?:line )?(?:\d+: )?nvidia-smi: (?:command )?not found|command not found: "
                r"nvidia-smi",
                (
                    "On the machine itself install NVIDIA's driver (Ubuntu: sudo ubuntu-drivers "
                    "install, or the package nvidia-driver-NNN) and restart; without a GPU of "
                    "NVIDIA there is none to install.",
                    "In a container start it with docker run --gpus all (nvidia.com/gpu in "
                    "Kubernetes) and an image for CUDA; the toolkit then puts nvidia-smi in.",
                ),
                "nvidia-smi is not there: NVIDIA's driver is not installed, or the GPU was not "
                "passed into the container.",
            ),
            Variant(
                r"ROCk|\bROCm|\brocm|hipError|\bHIP\b|Tensile|/dev/kfd|amdgpu",
                (
                    "Pass the GPU into the container: --device /dev/kfd --device /dev/dri "
                    "--group-add video --group-add render, with the image for ROCm.",
                    "On the host load amdgpu and install ROCm (rocminfo must list the GPU); what "
                    "ROCm does not know works with the Vulkan build.",
                ),
                "ROCm sees no GPU, so the engine works on the CPU or not at all.",
            ),
            Variant(
                r"sycl|level[- _]?zero|preferred GPU platform|No device of requested type|\bXPU\b",
                (
                    "Load oneAPI first (source /opt/intel/oneapi/setvars.sh), and look whether "
                    "sycl-ls lists a level_zero GPU.",
                    "Install level-zero and the compute runtime (intel-level-zero-gpu), pass "
                    "/dev/dri into the container, and add the user to the group render.",
                    "Or use the Vulkan build, which needs neither.",
                ),
                "SYCL sees no Intel GPU.",
            ),
            Variant(
                r"opencl|CL_(?:DEVICE|PLATFORM)|clGetPlatform",
                (
                    "Install the GPU's OpenCL driver (ICD): clinfo must list it. On Android "
                    "link libOpenCL.so of the vendor into the library path.",
                    "If another backend is meant to be used, this is only a remark of the OpenCL "
                    "one.",
                ),
                "OpenCL sees no platform or device.",
            ),
        ),
    ),
    Signature(
        "driver-unsigned",
        (
            r"(?:insert|modprobe|nvidia|module).{0,80}(?:Required key not available|Key was "
            r"rejected by service)",
            r"Loading of (?:unsigned )?module .{0,40}(?:is )?rejected",
            r"unsigned module loading is restricted",
            r"module verification failed: .{0,60}(?:rejected|required key missing - aborting)",
            r"Secure ?Boot .{0,80}(?:prevent|enabled.{0,40}(?:sign|nvidia|module)|not signed)",
        ),
        "Secure Boot refuses the GPU's kernel module, which is not signed.",
        (
            "Enrol the key that signed it (mokutil --import, then confirm at the next "
            "start), or switch Secure Boot off.",
        ),
        "modprobe: ERROR: could not insert 'nvidia': Key was rejected by service",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "driver-not-loaded",
        (
            r"NVMLError_DriverNotLoaded",
            r"could not insert module \S*nvidia\S*: No such device",
            r"Module (?:nvidia|amdgpu|i915|xe)\S* not found",
            r"could not insert '(?:nvidia|amdgpu)\S*': (?!Required|Key)",
            r"Nouveau kernel driver is currently in use",
            r"NVRM: (?:No NVIDIA (?:GPU|graphics adapter|devices)|The NVIDIA probe routine "
            r"failed|None of the NVIDIA (?:devices|graphics)|This can occur when a driver "
            r"such as)",
            r"NVRM: installed in this system (?:requires|is not supported|is supported "
            r"through)",
            r"installed in this system .{0,40}(?:requires the NVIDIA \S+ Legacy|is not "
            r"supported by)",
            r"Direct firmware load for (?:amdgpu|i915|xe|nvidia)\S* failed",
            r"(?:amdgpu|i915|nvidia)\b.{0,60}(?:Fatal error during GPU init|failed to load "
            r"(?:ucode|firmware)|probe .{0,40}failed)",
            r"(?:nvidia|kernel module|DKMS).{0,60}(?:dkms|Building module).{0,60}(?:fail\w*|"
            r"error)",
            r"Bad return status for module build on kernel",
            r"Unable to load the (?:kernel module )?['\"]?nvidia",
            r"NVRM: .{0,60}open (?:GPU )?kernel modules?.{0,60}(?:require|not supported|only)",
            r"driver is not ready",
            r"\.driver-ctr-ready",
            r"Could not resolve Linux kernel version",
            r"Unable to open the kernel module",
            r"Unable to find the kernel source tree",
            r"NVIDIA kernel module '\S+' appears to already be loaded",
            r"(?:kernel[- ]headers|linux-headers)\b.{0,80}(?:not found|missing|not installed|"
            r"cannot be found)",
        ),
        "The kernel module of the GPU's driver is not loaded.",
        (
            "After a kernel update build it anew (dkms autoinstall, or install "
            "linux-headers and the driver again), then restart.",
            "With nouveau in the way, put it on the blacklist and rebuild the initramfs. "
            "New cards need the open kernel modules, old ones a legacy driver.",
        ),
        "modprobe: FATAL: Module nvidia not found in directory /lib/modules/6.8.0-45-generic",
        Basis.REPORTED,
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
            r"cudaErrorInsufficientDriver",
            r"driver .{0,60}(?:is )?too old",
            r"update (?:your )?(?:NVIDIA |GPU |graphics |CUDA )?drivers? to (?:a )?(?:newer|"
            r"version|the latest)",
            r"requires (?:NVIDIA |CUDA )?driver (?:version )?(?:>= ?)?\d+",
            r"CUDA version .{0,30}(?:driver|supported).{0,30}(?:lower|older|insufficient)",
            r"built for NVIDIA Driver Release",
            r"compatibility mode is UNAVAILABLE",
            r"CUDA_ERROR_(?:INSUFFICIENT_DRIVER|COMPAT_NOT_SUPPORTED_ON_DEVICE|"
            r"SYSTEM_DRIVER_MISMATCH)",
            r"driver .{0,60}(?:does not|doesn't) support CUDA",
        ),
        "The NVIDIA driver is older than the CUDA that the engine was built with.",
        _DRIVER,
        "ggml_cuda_init: failed to initialize CUDA: CUDA driver version is insufficient for CUDA "
        "runtime version",
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"cudart library|your nvidia driver is too old or missing",
                (
                    "Update the driver of the host: Ollama's CUDA 12 needs 525 or newer "
                    "(nvidia-smi shows both), its CUDA 11 450.",
                    "A Jetson needs Ollama's package for its JetPack (ollama-linux-arm64-jetpack6; "
                    "in a container --runtime nvidia and JETSON_JETPACK=6).",
                ),
                "The NVIDIA driver is too old for the CUDA of Ollama, or not there.",
            ),
            Variant(
                r"AMD driver is too old|\bamd\.go\b",
                (
                    "Update AMD's driver: Adrenalin on Windows, amdgpu-dkms of ROCm's repository "
                    "on Linux.",
                    "OLLAMA_VULKAN=1 uses the GPU through Vulkan meanwhile.",
                ),
                "The AMD driver is older than the engine's ROCm needs.",
            ),
        ),
    ),
    Signature(
        "driver-mismatch",
        (
            r"NVMLError_LibRmVersionMismatch",
            r"NVML/RM version mismatch",
            r"unsupported display driver / cuda driver combination",
            r"Driver/library version mismatch",
            r"version mismatch between driver and cuda driver library",
            r"Failed to initialize NVML: (?P<why>Unknown Error|Driver.*)",
            r"system has unsupported display driver",
            r"system not yet initialized",
            r"nvidia-container-cli: initialization error: (?:nvml error: )?driver (?P<why>.+)",
            r"cudaErrorSystem(?:DriverMismatch|NotReady)",
            r"cudaErrorCompatNotSupportedOnDevice",
            r"kernel module .{0,40}version .{0,40}(?:mismatch|does not match)",
            r"NVML: Driver Not Loaded",
            r"NVRM: API mismatch",
            r"kernel module has the version",
            r"fabric manager .{0,80}don't match with driver",
            r"(?:fabric ?manager|nv-fabricmanager)\b.{0,80}(?:fail\w*|error|not running|not "
            r"started|version)",
            r"nvidia-fabricmanager\.service: (?:Failed|Main process exited)",
            r"Fabric State .{0,20}In Progress",
            r"(?:cuInit|cudart|cuda|driver)\b.{0,60}(?:err\w*|failure|returned)\W{1,3}80[234]\b",
            r"CUDA error:? \(?80[234]\b",
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
        variants=(
            Variant(
                r"NVML: Unknown Error",
                (
                    "If it worked before, restart the container: systemd reloaded the cgroups of "
                    "the host (daemon-reload) and took its GPUs away.",
                    "If it fails from the start: no-cgroups = false in "
                    "/etc/nvidia-container-runtime/config.toml (true for rootless docker and "
                    "podman), and with SELinux --security-opt=label=disable.",
                    "For good: pass GPUs by CDI (--device nvidia.com/gpu=all), name the device "
                    "nodes (--device /dev/nvidia0 --device /dev/nvidiactl --device "
                    '/dev/nvidia-uvm), or set "exec-opts": ["native.cgroupdriver=cgroupfs"] in '
                    "/etc/docker/daemon.json.",
                ),
                "The container has no access to the GPUs' device files, or lost it while it ran.",
            ),
            Variant(
                r"not yet initialized|NotReady|\b802\b|fabric",
                (
                    "Start Fabric Manager on the host (systemctl enable --now "
                    "nvidia-fabricmanager), of exactly the driver's version, and look at its log.",
                    "On a rented machine take another one: a guest cannot start it.",
                ),
                "The links between the GPUs are not up: Fabric Manager does not run, or is of "
                "another version than the driver (CUDA error 802).",
            ),
            Variant(
                r"driver combination|unsupported display|DriverMismatch|CompatNotSupported|"
                r"\b80[34]\b",
                (
                    "Use a driver that is at least as new as the CUDA of this build, or an image "
                    "of an older CUDA.",
                    "Take the forward-compatibility libraries (cuda-compat, "
                    "/usr/local/cuda/compat) out of LD_LIBRARY_PATH: consumer GPUs do not take "
                    "them.",
                    "Reboot the host if its driver was updated since it started.",
                ),
                "The driver and the CUDA libraries of this build do not go together, so CUDA is "
                "not used.",
            ),
        ),
    ),
    Signature(
        "cuda-init-failed",
        (
            r"failed to initialize (?:CUDA|ROCm|HIP|MUSA): (?P<why>(?!no \w+-capable|CUDA driver "
            r"version|"
            r"unsupported display|system ).+)",
            r"cuInit returned \d+",
            r"cudaGetDeviceCount.*Error",
            r"cuInit err: (?P<why>\d+)",
            r"error initializing (?:cuda|rocm|hip|nvml)\w* (?:driver |management )?library",
            r"driver library init failure: (?P<why>\d+)",
            r"(?P<why>OS call failed or operation not supported on this OS)",
            r"CUDA error: (?P<why>initialization error)",
            r"(?:cuInit|cudaGetDeviceCount|nvmlInit\w*|hipGetDeviceCount|cuDeviceGetCount)\S* "
            r"(?:failed|returned|error)",
            r"cudaErrorInitializationError",
            r"Unexpected error from cudaGetDeviceCount",
            r"CUDA initialization: (?P<why>.+)",
            r"unknown error initializing cuda",
            r"cudaErrorDevicesUnavailable",
            r"all CUDA-capable devices are busy or unavailable",
            r"ggml_backend_(?:cuda|metal|vulkan|sycl|hip|cann|opencl)_init\(\) failed",
            r"failed to initialize (?:CANN|SYCL|OpenCL|WebGPU|OpenVINO): (?P<why>.+)",
            r"CUDA unknown error",
            r"incorrectly set up environment",
            r"cudart init\w* failure:? ?(?P<why>\d+)",
            r"\bcuda\w+ err: (?P<why>\d+)",
        ),
        "CUDA cannot be initialised: {why}.",
        (
            *_EXPOSE,
            "Load the module nvidia_uvm anew, as it must be after the machine slept (sudo rmmod "
            "nvidia_uvm && sudo modprobe nvidia_uvm), and restart the host if the driver was "
            "updated.",
        ),
        "ggml_cuda_init: failed to initialize CUDA: unknown error",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"(?:ROCm|HIP|hip\w+)\b.{0,60}(?:init|fail|returned|error)|\brocm\b",
                (
                    "Give the user and the container the device files: --device /dev/kfd --device "
                    "/dev/dri, groups video and render.",
                    "Use a ROCm of the same major version as the engine, and unset "
                    "HSA_OVERRIDE_GFX_VERSION and HIP_VISIBLE_DEVICES where they name another GPU.",
                    "Otherwise use the Vulkan build.",
                ),
                "ROCm cannot be initialised: {why}.",
            ),
            Variant(
                r"failed to initialize (?:SYCL|OpenCL|WebGPU|OpenVINO|CANN)|(?:metal|vulkan|sycl|"
                r"cann|opencl)_init\(\) failed",
                (
                    "Update the GPU's driver and runtime, and pass its device files (/dev/dri) "
                    "into the container.",
                    "Otherwise use another build: Vulkan, or the CPU with -ngl 0.",
                ),
                "The GPU's backend cannot be initialised: {why}.",
            ),
        ),
    ),
    Signature(
        "mps-failed",
        (
            r"MPS (?:client|server|control daemon).{0,100}(?:failed|fail to|error|not ready|"
            r"terminated|died|fault)",
            r"between the MPS server and the MPS client",
            r"cudaErrorMps\w+",
            r"CUDA_ERROR_MPS_\w+",
            r"(?:maximum|hardware resources).{0,40}MPS (?:clients|connections?)",
        ),
        "The daemon that shares the GPU (NVIDIA MPS) does not answer.",
        (
            "Start it on the host (nvidia-cuda-mps-control -d) and share /tmp/nvidia-mps "
            "and --ipc=host with the container, or unset CUDA_MPS_PIPE_DIRECTORY.",
        ),
        "CUDA error: MPS client failed to connect to the MPS control daemon or the MPS server",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "gpu-index",
        (
            r"invalid device ordinal",
            r"cudaErrorInvalidDevice\b",
            r"hipErrorInvalidDevice\b",
            r"CUDA_ERROR_INVALID_DEVICE\b",
            r"nvidia-container-cli: device error: .{0,80}(?:unknown device|not found)",
            r"device >= 0 && device < num_gpus",
            r"Attempting to deserialize object on CUDA device \d+ but",
            r"(?:Invalid|unknown) (?:device id|GPU (?:id|index|device))\b",
            r"(?:No such device|not found): (?:GPU|MIG)-[0-9a-f]",
            r"invalid (?:value for )?main_gpu(?!.{0,40}available devices: 0)",
            r"GGML_ASSERT\(index < ggml_backend_dev_count\(\)\)",
            r"number of required GPUs exceeds the total number",
            r"tensor parallel size .{0,60}(?:exceeds|larger than|greater than).{0,60}GPUs",
        ),
        "A GPU is asked for that is not there: numbers begin at 0, and count only "
        "those that are visible.",
        (
            "Compare nvidia-smi -L with CUDA_VISIBLE_DEVICES, --main-gpu, --device and the "
            "ids given to docker --gpus.",
        ),
        "CUDA error: invalid device ordinal\n  current device: 0, in function "
        "ggml_backend_cuda_set_device at ggml-cuda.cu:92",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "gpu-mig",
        (
            r"No MIG[- ](?:enabled )?devices?\b",
            r"Unable to (?:enable|disable) MIG",
            r"MIG mode .{0,60}(?:pending|not enabled|not supported|is disabled|must be)",
            r"Unable to create a (?:GPU|compute) instance",
            r"MIG.{0,60}(?:In use by another client|Insufficient Resources)",
            r"(?:invalid|unknown|unsupported) MIG\b",
        ),
        "The GPU's partition (MIG) is missing, or cannot be made.",
        (
            "Show what there is with nvidia-smi mig -lgi and nvidia-smi -L, and name a "
            "MIG-... id; end all programs on the GPU before the mode is changed.",
        ),
        "Unable to enable MIG Mode for GPU 00000000:01:00.0: In use by another client",
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
            r"(?<!CUDA error: device )kernel image is invalid",
            r"No kernel named \S+ was found",
            r"hipErrorNoBinaryForGpu",
            r"Unable to find code object for all current devices",
            r"cudaErrorNoKernelImageForDevice",
            r"hipErrorInvalidDeviceFunction",
            r"\bsm_\d+ is not (?:supported|compatible)",
            r"compute capability \S+ .{0,40}(?:not supported|unsupported|too low|too old|is no "
            r"longer)",
            r"(?:unsupported|invalid) (?:GPU|target|offload)[ -]?(?:arch|architecture|"
            r"target)?:? ?'?gfx\w+",
            r"(?:rocblas|hipblas)\w* error: (?:could not(?! initialize Tensile)|cannot|no)",
            r"TensileLibrary\S* ?.{0,40}(?:no such file|not found|could not|cannot)",
            r"gfx\w+ (?:is )?(?:not supported|unsupported)",
            r"(?<!InvalidError: )Unsupported GPU (?:Family|type)",
            r"is only supported on GPUs with compute capability of at least",
            r"FlashAttention only supports (?:Ampere|Turing|Hopper)",
            r"GPU with CUDA capability sm_\d+ is not compatible",
            r"(?:minimum|requires) (?:cuda |compute )capability\b",
            r"not compiled with any CUDA arch",
            r"NO_DEVICE_CODE",
            r"invalid architecture ID received for device",
            r"Unsupported (?:Adreno )?GPU: (?P<arch>.+)",
            r"ggml_opencl: device does not support",
            r"HSA_STATUS_ERROR_INVALID_(?:ISA|CODE_OBJECT)",
            r"code object's ISA is incompatible",
            r"requires an architectural feature absent",
            r"No compatible code objects found for: ?(?P<arch>gfx\w+)",
            r"no rocblas support for gfx target\b.{0,80}?(?P<arch>gfx\w+)",
            r"compiled without support for the current GPU architecture",
            r"removing unsupported .{0,160}compute=(?P<arch>gfx(?:103[1-6]|90[029c]|803|1103))\b",
            r"amdgpu is not supported.{0,40} gpu_type=(?P<arch>gfx\w+)",
        ),
        "The engine has no code for this GPU's architecture.",
        (
            "Use a build for its compute capability: B200 and RTX PRO 6000 need sm_100 and sm_120, "
            "B300 needs CUDA 13.",
            "Build with -DCMAKE_CUDA_ARCHITECTURES set to it.",
            "On AMD set HSA_OVERRIDE_GFX_VERSION to the next one that ROCm has code for (gfx1031 "
            "to gfx1036: 10.3.0; gfx1103: 11.0.0), or use the Vulkan build.",
        ),
        "CUDA error: no kernel image is available for execution on the device",
        variants=(
            Variant(
                r"\bamd\nwindows\b",
                (
                    "Use the Vulkan build: on Windows ROCm has code for few GPUs, and heeds no "
                    "HSA_OVERRIDE_GFX_VERSION.",
                    "Or put rocBLAS libraries that others built for this GPU beside the engine.",
                ),
            ),
            Variant(
                r"invalid device function|gfx\d|\bhip|rocblas|HSA_|Tensile|\bamd\b",
                (
                    "Set HSA_OVERRIDE_GFX_VERSION to the next one that ROCm has code for (gfx1031 "
                    "to gfx1036: 10.3.0; gfx1103: 11.0.0), or use the Vulkan build.",
                    "If the GPU is one that ROCm knows, hide the integrated one beside it: "
                    "ROCR_VISIBLE_DEVICES and HIP_VISIBLE_DEVICES with the other's number.",
                    "Build for it: rocminfo names its gfx target, -DAMDGPU_TARGETS=gfx... "
                    "(-DGPU_TARGETS in newer builds) sets it.",
                    "If it is an NVIDIA GPU, build with -DCMAKE_CUDA_ARCHITECTURES set to its "
                    "compute capability.",
                ),
            ),
            *programs.NEWER_GPU,
        ),
    ),
    Signature(
        "ptx-toolchain",
        (
            r"PTX was compiled with an unsupported toolchain",
            r"PTX JIT compil\w+ failed",
            r"the provided PTX",
            r"CUDA error: device kernel image is invalid",
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
            r"CUDA error: (?:unspecified launch failure|misaligned address|an illegal instruction "
            r"was encountered)",
            r"cudaErrorIllegalAddress",
            r"hipErrorIllegalAddress",
            r"cudaErrorLaunchFailure",
            r"cudaErrorMisalignedAddress",
            r"Memory access fault by GPU",
            r"HSA_STATUS_ERROR_MEMORY_(?:FAULT|APERTURE)",
            r"NVRM: Xid .{0,40}: 43,",
            r"amdgpu.{0,60}page fault",
            r"MMU Fault: ENGINE",
            r"CUDA(?:_ERROR| error).{0,10}ILLEGAL_(?:ADDRESS|INSTRUCTION)",
            r"CUDA_ERROR_(?:LAUNCH_FAILED|MISALIGNED_ADDRESS)",
        ),
        "A kernel of the engine touched memory that is not its own.",
        (
            "Try another build, then -fa off and an f16 cache; report it with the settings.",
            "If it comes with many models, suspect the GPU's memory.",
            "If it came after the machine slept: sudo rmmod nvidia_uvm && sudo modprobe "
            "nvidia_uvm, and start the engine again.",
        ),
        "CUDA error: an illegal memory access was encountered\n"
        "  current device: 0, in function ggml_backend_cuda_synchronize at ggml-cuda.cu:2465",
        phase=Phase.SERVE,
        variants=(
            Variant(
                r"Memory access fault by GPU|HSA_STATUS|hipError|\bROCm\b|amdgpu|\bamd\b",
                (
                    "Let HSA_OVERRIDE_GFX_VERSION name an architecture like the GPU's own, or "
                    "unset it; on an integrated GPU free more memory for it (BIOS, GTT).",
                    "Try -fa off and an f16 cache, then another ROCm or the Vulkan build.",
                ),
            ),
            *programs.NO_FLASH,
            Variant(
                r"unspecified launch failure|LAUNCH_FAILED|LaunchFailure",
                (
                    "Look at sudo dmesg for Xid lines, which tell whether the driver or the GPU "
                    "is at fault; update the driver and start the machine anew.",
                    "Try a newer build, one GPU alone (CUDA_VISIBLE_DEVICES=0), then -fa off and "
                    "no overclocking.",
                ),
                "A kernel of the engine crashed on the GPU.",
            ),
        ),
    ),
    Signature(
        "gpu-fell-off",
        (
            r"GPU has fallen off the bus",
            r"NVRM: Xid .*: 79,",
            r"GPU is lost",
            r"Unable to determine the device handle for GPU",
            r"rev ff\)",
            r"GPU .{0,60}(?:is|was) (?:lost|not accessible)",
            r"nvidia.{0,60}Unable to change power state from \S+ to D0, device inaccessible",
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
            r"NVRM: Xid .{0,40}: (?:92|140|171|172),",
            r"(?:double|multi)[- ]bit (?:ECC )?error",
            r"row remap\w*.{0,40}(?:fail\w*|pending|error)",
        ),
        "The GPU's memory has errors that it cannot correct.",
        ("Use another machine; the provider has to replace the card.",),
        "CUDA error: uncorrectable ECC error encountered",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "gpu-gsp",
        (
            r"NVRM: Xid .*: (?:119|120|109),",
            r"Timeout waiting for RPC from GSP",
            r"GSP (?:RM )?(?:heartbeat|firmware|timeout).{0,60}(?:timed out|fail\w*|error|"
            r"timeout)",
            r"_kgsp\w+.{0,80}(?:fail|error|timed out|timeout)",
            r"Failed to (?:initialize|boot|load) GSP",
        ),
        "The GPU's own firmware stopped answering.",
        ("Restart the host and update the driver.",),
        "NVRM: Xid (PCI:0000:81:00): 119, pid=99, name=llama-server, Timeout after 6s of waiting "
        "for "
        "RPC response from GPU0 GSP!",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "gpu-nvlink",
        (
            r"NVRM: Xid .{0,40}: (?:72|74|137|144|145|146|147|148|149|150),",
            r"NVLink:? .{0,40}(?:fatal error|error detected|link (?:is )?down|training failed)",
            r"NVSwitch.{0,60}(?:fatal|error|failed)",
        ),
        "The link between GPUs (NVLink) has failed.",
        (
            "Restart the host; if it comes back, use another machine.",
            "Meanwhile use one GPU: CUDA_VISIBLE_DEVICES=0.",
        ),
        "NVRM: Xid (PCI:0000:a9:00): 74, pid='<unknown>', name=<unknown>, NVLink: "
        "fatal error detected on link 2(0x10000, 0x0, 0x0)",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "gpu-fault",
        (
            r"NVRM: (?P<why>Xid .{0,40}: (?:32|38|44|47|54|56|57|61|62|65|66|67|68|69|70|71|76|"
            r"77|78|110|116|121|122|123|136|143|151|152|154|155|156|157|158|159|160|161|162)),",
            r"NVRM: GPU .{0,60}(?:RmInitAdapter failed|Failed to enable MSI|requires reset)",
            r"GPU (?:recovery action|requires a? ?reset|is in (?:a )?bad state)",
            r"NVRM: .{0,80}GPU memory is .{0,40}(?:corrupt|exhaust)",
        ),
        "The GPU or its firmware failed: {why}.",
        (
            "Reset the GPU (nvidia-smi --gpu-reset) or restart the host, and update the driver.",
            "If it comes back, the card, its power or its slot is at fault: use another machine.",
        ),
        "NVRM: Xid (PCI:0000:65:00): 62, pid=1821, name=llama-server, 2027(2d00) 00000000 00000000",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "cuda-invalid-argument",
        (
            r"CUDA error: invalid argument",
            r"error: ?invalid argument.{0,20}current device",
            r"CUDA error: invalid resource handle",
            r"CUDA error: operation not permitted",
            r"CUBLAS_STATUS_(?:EXECUTION_FAILED|NOT_SUPPORTED|ARCH_MISMATCH)",
            r"(?:ROCm|HIP|MUSA) error: (?:invalid (?:argument|resource handle|configuration)|"
            r"operation not)",
            r"cudaErrorInvalid(?:Value|Configuration|ResourceHandle)",
            r"CUBLAS_STATUS_(?:INVALID_VALUE|MAPPING_ERROR)",
            r"an unsupported value or parameter was passed",
            r"the requested functionality is not supported",
            r"the functionality requested is not supported",
            r"an absent device architectural feature is required",
        ),
        "A call to CUDA was refused: a fault of this build with these settings.",
        ("Use a newer build; try -sm layer, -fa off or one GPU.",),
        "CUDA error: invalid argument\n  current device: 1, in function "
        "ggml_backend_cuda_buffer_set_tensor at ggml-cuda.cu:606",
        Basis.REPORTED,
        phase=Phase.SERVE,
        variants=(
            Variant(
                r"hip[A-Z]\w+|ROCm|HIP error|\bamd\b",
                (
                    "Use the amdgpu driver and the ROCm that the engine was built for, and a build "
                    "for exactly this gfx target; hide an integrated GPU with "
                    "ROCR_VISIBLE_DEVICES and HIP_VISIBLE_DEVICES.",
                    "Otherwise use the Vulkan build, -fa off, or one GPU.",
                ),
            ),
            *programs.NO_FLASH,
        ),
    ),
    Signature(
        "cuda-error",
        (
            r"(?:CUDA|ROCm|HIP|MUSA) error: (?P<why>(?!out of memory|no kernel|the provided PTX|"
            r"an illegal|invalid|uncorrectable|unspecified|misaligned|operation not).+)",
            r"CUDA error \d+ at (?P<why>.+)",
            r"ggml_abort.*CUDA error",
            r"cudaError\w+",
            r"^Error OP \w+",
            r"hipError\w+",
            r"(?:CUBLAS|ROCBLAS|HIPBLAS)_STATUS_\w+",
            r"(?:SYCL|CANN|OpenCL|MUSA|CUDA|HIP|ROCm|GPU|NPU) error\b:? ?(?P<why>.*)",
            r"ggml_opencl: .* error -?\d+",
            r"ggml_webgpu: (?P<why>.{0,80}(?:lost|fail|error).{0,200})",
            r"OpenVINO backend \S*(?:exception)\b:? ?(?P<why>.*)",
            r"ggml_opencl: (?P<why>(?:kernel compile|transient compile) (?:error|failure).*)",
            r"ggml_\w+opencl: (?P<why>.{0,80}error -?\d+.*)",
            r"cuBLAS (?P<why>(?:error|batched) .+)",
            r"HipVMM Failure: (?P<why>.+)",
            r"\b(?P<why>(?:cuda|hip)(?!malloc)[A-Z]\w+ (?:for \w+ )?failed.*)",
            r"(?P<why>HSA_STATUS_ERROR_\w+)",
            r"_compute_forward: (?P<why>\w+ failed)$",
        ),
        "The GPU failed: {why}.",
        (
            "Update the driver and use a newer build; on an NVIDIA GPU look at sudo dmesg for Xid "
            "lines.",
            "Try -fa off with f16 caches, a lower -ub, one GPU alone, and GGML_CUDA_DISABLE_GRAPHS="
            "1; CUDA_LAUNCH_BLOCKING=1 names the step that fails.",
        ),
        "CUDA error: the launch timed out and was terminated",
        tier=Tier.SYMPTOM,
        phase=Phase.SERVE,
        variants=(
            Variant(
                r"failed to launch on the GPU|STATUS_EXECUTION_FAILED|internal operation failed",
                (
                    "Leave the GPU more room, and try a lower -ub: cuBLAS fails like this where "
                    "its workspace does not fit.",
                    "Use one GPU or -sm layer, a newer build, and a driver that suits its CUDA; "
                    "GGML_CUDA_FORCE_MMQ=1 at build time goes around cuBLAS.",
                ),
            ),
            Variant(
                r"launch timed out",
                (
                    "Use a lower -ub, or a GPU that drives no display: the driver ends what takes "
                    "too long there. On Windows raise TdrDelay in the registry.",
                ),
            ),
            Variant(
                r"(?:ROCm|HIP|MUSA) error|hip[A-Z]\w+|HSA_STATUS|HIPBLAS|ROCBLAS",
                (
                    "Let HSA_OVERRIDE_GFX_VERSION name an architecture like the GPU's own, or "
                    "unset it, and use a build for exactly this gfx target and this ROCm.",
                    "Try -fa off and a lower -ub; otherwise use the Vulkan build.",
                ),
            ),
            Variant(
                r"SYCL error|\bSYCL\d*\b",
                (
                    "Update the compute runtime (level-zero, intel-compute-runtime) and use the "
                    "oneAPI that the engine was built with.",
                    "Take one GPU (ONEAPI_DEVICE_SELECTOR=level_zero:0) and -sm layer; otherwise "
                    "use the Vulkan build.",
                ),
            ),
            Variant(
                r"ggml_\w*opencl|OpenCL error",
                (
                    "Update the GPU's OpenCL driver, use a lower -ub, or take the Vulkan or CPU "
                    "build.",
                ),
            ),
            Variant(
                r"busy or unavailable|DevicesUnavailable",
                (
                    "See with nvidia-smi which other processes hold the GPU, and end them; set "
                    "its compute mode back to default (sudo nvidia-smi -c 0).",
                    "After the machine slept, load nvidia_uvm anew (sudo rmmod nvidia_uvm && sudo "
                    "modprobe nvidia_uvm), or restart the host.",
                ),
                "The GPU takes no new program: others hold it, its compute mode is exclusive, or "
                "its driver is stuck.",
            ),
        ),
    ),
    Signature(
        "gpu-unlicensed",
        (
            r"valid Grid licen[sc]e",
            r"cudaErrorDeviceNotLicensed",
            r"CUDA_ERROR_DEVICE_NOT_LICENSED",
            r"CUDA error:? \(?102\b",
            r"nvidia-gridd.{0,120}(?:fail\w*|error|expired|unlicensed|not (?:acquired|available))",
            r"vGPU\b.{0,80}(?:unlicensed|not licensed|licen[sc]e (?:has )?(?:expired|not|fail\w*))",
            r"(?:unlicensed|licen[sc]e (?:status|state)\W{1,5}unlicensed).{0,60}\b(?:vGPU|GRID|"
            r"GPU)",
        ),
        "The GPU is a virtual one (NVIDIA vGPU, GRID) without a valid licence, so CUDA does not "
        "work on it.",
        (
            "Configure the licence in the guest: ServerAddress in /etc/nvidia/gridd.conf or the "
            "client token in /etc/nvidia/ClientConfigToken, FeatureType for compute, then "
            "systemctl restart nvidia-gridd; nvidia-smi -q shows License Status.",
            "Install the GRID driver that suits the host's, and let the guest reach the licence "
            "server (port 7070 or 443) with a right clock.",
            "Or take a machine with a GPU passed through whole.",
        ),
        "CUDA error 102 at /src/ggml-cuda.cu:7100: device doesn't have valid Grid license",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "vulkan-device-lost",
        (
            r"vk::DeviceLostError",
            r"ErrorDeviceLost",
            r"ggml_vulkan: device lost on (?P<device>.+)",
            r"VK_ERROR_DEVICE_LOST",
            r"vk::\S+ ?(?:failed|:).*(?:DeviceLost|device lost)",
            r"ggml_vulkan: device fault on",
        ),
        "The Vulkan driver gave the GPU up: it worked too long on one piece, or crashed.",
        (
            "Use a lower -ub, update the driver (and on Linux the kernel), and try "
            "GGML_VK_DISABLE_COOPMAT=1.",
            "Give it less at once: GGML_VK_MAX_NODES_PER_SUBMIT=32; a weak GPU takes fewer layers "
            "(-ngl).",
        ),
        "vk::Queue::submit: ErrorDeviceLost",
        Basis.REPORTED,
        phase=Phase.SERVE,
    ),
    Signature(
        "vulkan-no-device",
        (
            r"ggml_vulkan: No devices found",
            r"ErrorIncompatibleDriver",
            r"vk::createInstance: \w+",
            r"vk::IncompatibleDriverError",
            r"VK_ERROR_INCOMPATIBLE_DRIVER",
            r"VK_ERROR_INITIALIZATION_FAILED",
            r"vk::InitializationFailedError",
            r"Vulkan 1\.2 required",
            r"Invalid Vulkan device index",
            r"\bno (?:compatible |suitable )?Vulkan (?:devices?|driver|ICD)",
            r"libvulkan\.so\S*: cannot open",
            r"vulkan-1\.dll",
            r"Found no drivers!",
            r"Cannot create Vulkan instance",
            r"vkCreateInstance failed with ERROR_INCOMPATIBLE",
            r"vkEnumeratePhysicalDevices.{0,60}(?:fail|error|0 )",
        ),
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
            r"(?:failed to|error) (?:create|compil\w+) (?:the )?(?:Metal|pipeline|command queue|"
            r"library)",
            r"ggml_metal\w*: (?:error|failed|unsupported)",
            r"MTLCommandBuffer.*error",
            r"MTLLibraryErrorDomain",
            r"failed to initialize (?:the )?Metal",
            r"^program_source:\d+:\d+: error",
            r"command buffer \d+ (?:failed with status|aborted)",
            r"kernel not found in any metal library",
            r"backend is in error state from a previous command buffer",
            r"ggml_metal\w*: error compiling source",
            r"ggml_metal\w*: incompatible pipeline",
            r"MTL\w+.{0,120}failed assertion",
            r"SC compilation failure",
            r"metal\w*: load pipeline error",
            r"\[metal::\w+\] (?P<why>.{8,200})",
        ),
        "Metal failed: {why}.",
        ("Update macOS and the engine; try a lower -ub, or -ngl 0 to see whether it is the GPU.",),
        "ggml_metal_init: error: failed to initialize the Metal library",
        phase=Phase.SERVE,
        variants=(
            Variant(
                r"MTLLibraryErrorDomain|program_source|compiling "
                r"source|precompiled Metal library|initialize (?:the )?Metal",
                (
                    "Take a newer version of the engine, or of the program that carries it "
                    "(Ollama, LM Studio, llama-cpp-python): its Metal code does not compile on "
                    "this macOS or chip.",
                    "Until then GGML_METAL_TENSOR_DISABLE=1 on an M5 (or after a macOS update), "
                    "GGML_METAL_BF16_DISABLE=1, or -ngl 0.",
                ),
                "The Metal code of this build does not compile on this macOS or chip.",
            ),
            Variant(
                r"\[metal::|\bMLX\b",
                (
                    "MLX and the program that carries it do not fit together, or are older than "
                    "this macOS or chip: update macOS and both; take Ollama's own app instead of "
                    "Homebrew's, and pip install -U mlx mlx-lm for Python.",
                    "Until then run a GGUF of the model, which needs no MLX.",
                ),
                "MLX cannot run its Metal code: {why}.",
            ),
            Variant(
                r"SC compilation failure|call to an undefined label|AMD Radeon",
                (
                    "Metal code of the engine needs an Apple chip: on an Intel Mac with an AMD "
                    "GPU use -ngl 0, build with -DGGML_METAL=OFF, or take a Vulkan (MoltenVK) "
                    "build.",
                ),
                "The Metal code of the engine does not compile for this GPU, which is no Apple "
                "chip.",
            ),
            Variant(
                r"residency set",
                ("Set GGML_METAL_NO_RESIDENCY=1, or use a newer build, which asks first.",),
                "This GPU or macOS has no residency sets, which the engine uses.",
            ),
            Variant(
                r"failed with status 5",
                (
                    "Status 5 is mostly memory: use a smaller quant or a shorter context (-c, "
                    "n_ctx), or fewer layers on the GPU (-ngl, n_gpu_layers).",
                    "Raise the limit: sudo sysctl iogpu.wired_limit_mb=N; then update macOS and "
                    "the engine.",
                ),
                "Metal gave a piece of work up, mostly for want of memory: {why}.",
            ),
            *programs.NO_FLASH,
        ),
    ),
    Signature(
        "illegal-instruction",
        (
            r"Illegal instruction",
            exited(132),
            r"signal: illegal instruction",
            r"0xc000001d",
            r"code=dumped, signal=ILL",
            r"died with <Signals\.SIGILL",
            r"\bSIGILL\b",
            r"(?:killed|died|ended|exited|stopped|terminated|shut ?down|crashed) (?:by|with|due "
            r"to|on|from) signal:? \(?4\b",
            r"-1073741795",
            r"Windows Error 0xc000001d",
            r"3221225501",
            r"(?:CPU|processor|machine|system) (?:does not|doesn't) (?:support|have|meet) "
            r".{0,60}(?:AVX|instruction set|SSE)",
            r"(?:lacks|without|missing|no) AVX2? (?:support|instructions?)",
            r"AVX2? (?:is |instructions? )?(?:are )?(?:not supported|not available|required)",
            r"status=4/ILL",
            r"trap invalid opcode",
            r"illegal hardware instruction",
            r"非法指令",
            r"Instruction non permise",
            r"Ungültiger Maschinenbefehl",
            r"Instrucción ilegal",
            r"едопустимая инструкция",
            r"(?:exit(?:ed)?|return)(?: with)?(?: ?(?:status|code)){0,2}[ :=]+-4\b",
        ),
        "The CPU lacks an instruction that the engine was built with, mostly AVX2 or AVX-512.",
        (
            "Use llama.cpp's official image or release, which choose code by CPU, or build on this "
            "machine itself.",
            "A build for other machines: -DGGML_NATIVE=OFF, and for a CPU without AVX2 -DGGML_AVX2="
            "OFF -DGGML_FMA=OFF -DGGML_BMI2=OFF as well (without AVX -DGGML_AVX=OFF "
            "-DGGML_F16C=OFF); for a Python wheel in CMAKE_ARGS.",
            "On a virtual machine, pass the host's CPU features through.",
        ),
        "Illegal instruction (core dumped)",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
        variants=(
            *programs.by_program(
                lm_studio=(
                    "LM Studio's engines need a CPU with AVX2: choose the plain CPU runtime under "
                    "Settings > Runtime if one is offered, or build llama.cpp on this machine.",
                    "On a virtual machine, pass the host's CPU features through (type host).",
                ),
                koboldcpp=(
                    "Use koboldcpp-oldpc, or --noavx2 (--usecpu --failsafe for the oldest).",
                    "On a virtual machine, pass the host's CPU features through (type host).",
                ),
                python=_PLAIN_WHEEL,
            ),
            Variant(
                r"text generation web ui",
                (
                    "Run its update script on this machine, which chooses what to install by the "
                    "CPU, or in its environment pip install -r requirements_noavx2.txt "
                    "(requirements_cpu_only_noavx2.txt; in newer versions below "
                    "requirements/full).",
                    *_PLAIN_WHEEL,
                ),
            ),
        ),
    ),
    Signature(
        "wrong-platform",
        (
            r"exec format error",
            r"cannot execute binary file",
            r"does not match the detected host platform",
            r"no matching manifest for (?P<platform>\S+)",
            r"no match for platform in manifest",
            r"is not a valid Win32 application",
            r"bad CPU type in executable",
            r"WinError 193",
            r"incompatible architecture \(have",
            r"(?:rosetta|qemu-x86_64|qemu): .*(?:error|uncaught|failed)",
            r"0xc000007b",
            r"3221225595",
            r"-1073741701",
            r"is not compatible with the version of Windows",
            r"This app can't run on your PC",
            r"qemu: uncaught target signal",
            r"Bad CPU type",
            r"not supported under Rosetta",
            # A shell that takes a program of another system for a script of its own.
            r"(?:^|[\s/])(?:llama-[\w-]+|ollama|koboldcpp[\w.-]*|main|server): (?:line )?\d+: "
            r".{0,20}syntax error",
            r"rosetta error",
        ),
        "The image or program is for another kind of processor.",
        (
            "Pull it for this machine's: docker pull --platform linux/amd64 (or arm64).",
            "A library must be of the kind of the program that loads it: use a Python, Node or "
            "Java made for this processor (arm64 on Apple silicon), and install the package anew.",
        ),
        "exec /app/llama-server: exec format error",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "shared-library-missing",
        (
            r"error while loading shared libraries: (?P<library>[^:]+):",
            r"(?P<library>lib\S+\.so[.\d]*): cannot open shared object file",
            r"Failed to load shared library '(?P<library>[^'{]+)'",
            r"Shared library with base name '(?P<library>[^']+)' not found",
            r"Could not find module '(?P<library>[^']+)'",
            r"0xc0000135",
            r"Library not loaded: (?P<library>\S+)",
            r"DLL load failed",
            r"(?<!/zip/)(?<![\w.+-])(?P<library>[\w.+-]+\.(?:dll|dylib|so(?:\.\d+)*))['\"]?:? "
            r".{0,40}(?:not found|could not be found|is missing|cannot be found|not loaded)",
            r"(?:runner|llama-server) process has terminated: exit status 127\b",
            r"The specified module could not be found",
            r"WinError 126\b",
            r"symbol lookup error: .*undefined symbol: (?!llama|ggml)",
            r"cannot load (?:shared )?(?:library|object)",
            r"dlopen.{0,80}(?:failed|no such file|image not found)",
            r"-1073741515",
            r"3221225781",
            r"unable to (?:load|find) (?:the )?(?:dynamic )?(?:shared )?library",
            r"could not (?:load|open) (?:dynamic |shared )?library",
            r"0xc0000139",
            r"0xc0000142",
            r"3221225785",
            r"3221225794",
            r"-1073741511",
            r"-1073741502",
            r"procedure entry point",
            r"DllNotFoundException",
            r"UnsatisfiedLinkError",
            r"NoClassDefFoundError",
            r"failed loading '(?P<library>[^']+)'",
            r"Error loading shared library (?!ld-linux)(?P<library>[\w.+-]+)",
            r"side-by-side configuration is incorrect",
            r"was unable to load (?:DLL|the library)",
            r"Unable to load (?:any of )?\{?lib\w+",
            r"Could not load library (?P<library>lib\S+)",
            r"找不到指定的模块",
            r"angegebene Modul wurde nicht gefunden",
            r"módulo especificado",
            r"е найден указанный модуль",
            r"module spécifié est introuvable",
            r"WinError 1114\b",
            r"initialization routine failed",
            r"Failed to load dynlib/dll '?(?P<library>[^']+)",
            r"dyld\S*: Symbol not found",
        ),
        "A library that the engine needs is not there: {library}.",
        (
            "libcuda.so.1 comes with the driver: run the container with --gpus all.",
            "libcudart and libcublas come with CUDA: use an image or wheel of the same version.",
            "libgomp1 and libcurl4 are packages of the distribution.",
            "librocblas and libamdhip64 come with ROCm, libsycl and libmkl with oneAPI (source "
            "/opt/intel/oneapi/setvars.sh): of the major version that the engine was built with.",
        ),
        "llama-server: error while loading shared libraries: libcudart.so.12: cannot open shared "
        "object file: No such file or directory",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"WinError 1114|initialization routine failed|initialization program has failed",
                (
                    "Install the current Visual C++ runtime (x64) and the GPU's driver, of which "
                    "the library needs parts as it starts.",
                    "Take a build for older processors or without this GPU (KoboldCpp: the oldpc "
                    "or nocuda release): one that is made for AVX2 or for CUDA fails at this.",
                ),
                "A DLL was found, and failed as it was set up: {library}.",
            ),
            Variant(
                r"koboldcpp_\w+\.(?:so|dll|dylib)",
                (
                    "Build it in koboldcpp's folder: make, with LLAMA_CUBLAS=1, LLAMA_VULKAN=1 or "
                    "the like for a GPU; or take the release's single file, which has it.",
                ),
                "KoboldCpp's own engine has not been built, or is not beside koboldcpp.py.",
            ),
            Variant(
                r"(?:^|[\s/])(?:cc1(?:plus)?|cc1obj|as|ld(?:\.\w+)?|collect2|lto1|f951|gcc|g\+\+|"
                r"cc|c\+\+|clang\S*|icpx?|icx|nvcc|cicc|ptxas|cmake|ninja|make|ar|ranlib)"
                r"(?:-\d+)?: error while loading shared libraries",
                (
                    "Put the folder of this library on LD_LIBRARY_PATH (for a compiler of one's "
                    "own that of its installation), or install its package: libmpfr6, libmpc3 and "
                    "libgmp10 for gcc, libisl, libzstd1; module load of a cluster does both.",
                    "Or use another compiler, which runs: CC=/usr/bin/gcc CXX=/usr/bin/g++, with "
                    "a fresh build folder.",
                    "A prebuilt wheel or release does without a compiler.",
                ),
                "The compiler itself cannot run, because a library of its own is not found: "
                "{library}.",
            ),
            Variant(
                r"libOpenCL",
                (
                    "Install the loader and the GPU's driver for it: ocl-icd-libopencl1 with "
                    "intel-opencl-icd, nvidia-opencl or rocm-opencl-runtime (clinfo lists them).",
                ),
            ),
            Variant(
                r"lib(?:cudnn|cusparseLt|nccl|cufile|nvJitLink|cupti|nvshmem)",
                (
                    "It comes with PyTorch as a package of pip: in a new environment pip install "
                    "--force-reinstall torch --index-url https://download.pytorch.org/whl/cu128 "
                    "brings all of them (nvidia-cudnn-cu12, nvidia-cusparselt-cu12, ...).",
                    "Take folders of other CUDA versions out of LD_LIBRARY_PATH; uv sync removes "
                    "what its lock file does not name.",
                ),
            ),
            Variant(
                r"(?<![\w-])lib(?:llama|ggml|mtmd|llava|llama-common|whisper|stable-diffusion)"
                r"[\w.-]*\.(?:so|dylib)(?![\s\S]*(?<![\w-])lib(?!llama|ggml|mtmd|llava|whisper|"
                r"stable-diff)[\w+-]+\.so[.\d]*: cannot open)",
                (
                    "It is the engine's own library, and lies beside the program or in ../lib: "
                    "unpack the whole archive (move no file out of it), and name the folder: "
                    "LD_LIBRARY_PATH=/app (build/bin of a build; DYLD_LIBRARY_PATH on macOS).",
                    "After cmake --install: sudo ldconfig (with /usr/local/lib in "
                    "/etc/ld.so.conf.d). A build with -DBUILD_SHARED_LIBS=OFF needs none.",
                    "In an image: another tag, newer or older (some lack it), and in a Dockerfile "
                    "copy the lib*.so* of build/bin as well as the program.",
                ),
                "The program does not find a library of the engine itself: {library}.",
            ),
            Variant(
                r"\b(?:llama|ggml|mtmd|llava)[\w.-]*\.dll['\"]? (?:was |is )?(?:not found|missing)|"
                r"because \S*\b(?:llama|ggml|mtmd|llava)[\w.-]*\.dll",
                (
                    "It is the engine's own library: unpack the whole zip into one folder, and "
                    "start the program there.",
                    "Install the Visual C++ runtime (vc_redist.x64); a CUDA build also needs the "
                    "release's cudart zip in the same folder.",
                ),
                "A DLL of the engine itself is not there, or one that it depends on: {library}.",
            ),
            Variant(
                r"lib(?:gomp|curl|ssl|crypto|stdc\+\+|atomic|numa|elf|omp)\b",
                (
                    "Install the distribution's package of it in the image (apt-get install "
                    "libgomp1 libcurl4), or use another tag: images of some days lack it.",
                ),
            ),
            Variant(
                r"libcu(?:dart|blas|fft|rand|solver|sparse|dnn)|libnv(?:rtc|JitLink)",
                (
                    "It comes with CUDA's toolkit, not with the driver: install that of the same "
                    "major version (apt-get install libcublas-12-8 cuda-cudart-12-8, or an image "
                    "of nvidia/cuda: -runtime), or in a virtual environment pip install "
                    "nvidia-cublas-cu12 nvidia-cuda-runtime-cu12; name its folder in "
                    "LD_LIBRARY_PATH.",
                    "Without a GPU of NVIDIA take a build or wheel for the CPU; with one, a build "
                    "for the CUDA that is there.",
                ),
                "A library of CUDA that the engine was built with is not there: {library}.",
            ),
            Variant(
                r"lib(?:rocblas|amdhip|hip|hsa|sycl|mkl|ze_|svml|imf|iomp)",
                (
                    "librocblas and libamdhip64 come with ROCm, libsycl and libmkl with oneAPI "
                    "(source /opt/intel/oneapi/setvars.sh): of the major version that the engine "
                    "was built with.",
                ),
            ),
            Variant(
                r"\.dll\b|\bDLL\b|WinError|0xc0000|322122\d{4}|-10737\d|\bwindows\b|"
                r"specified module|procedure entry point|side-by-side",
                (
                    "Install the Visual C++ runtime (vc_redist.x64) and a current GPU driver.",
                    "For a CUDA build put cudart64, cublas64 and cublasLt64 of the CUDA it was "
                    "built for (the release's cudart zip, or CUDA's bin folder) beside it or in "
                    "PATH; Python looks there only with os.add_dll_directory.",
                    "Otherwise take the CPU or Vulkan build; dumpbin /dependents names what a DLL "
                    "needs.",
                ),
                "A DLL is not there, or one that it depends on: {library}.",
            ),
        ),
    ),
    Signature(
        "package-shadowed",
        (
            r"(?:should not|do not|don't) .{0,40}import \S+ from its source (?:directory|tree)",
            r"No module named '(?P<module>[\w.]+)'; '(?P<package>[\w.]+)' is not a package",
            r"partially initialized module '(?P<package>\w+)' .{0,120}circular import\) "
            r"\((?!.{0,200}(?:site|dist)-packages).{1,200}\.py\)",
            r"consider renaming '(?P<path>[^']+)' since it has the same name as",
            r"partially initialized module '(?P<package>openai|ollama|modal|vllm|llama_cpp|gguf|"
            r"anthropic|langchain|litellm|requests|httpx|huggingface_hub|transformers|random|json|"
            r"logging|queue|types|token|select|code)' has no attribute .{0,80}circular import\)",
            r"from partially initialized module '(?P<package>openai|ollama|modal|vllm|llama_cpp|"
            r"gguf|anthropic|langchain|litellm)' \(most likely due to a circular import\)?\s*$",
        ),
        "Python takes the package from the source folder that it is started in, where nothing is "
        "built, and not the one that is installed.",
        (
            "Start it in another folder (cd ~), or rename the checkout.",
            "Or build in place: pip install -e . with its submodules there (git submodule update "
            "--init --recursive).",
        ),
        'File "/home/user/llama-cpp-python/llama_cpp/llama_cpp.py", line 79, in '
        "_load_shared_library\n"
        "FileNotFoundError: Shared library with base name 'llama' not found",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"is not a package|circular import|consider renaming",
                (
                    "Rename the script or folder of your own that is called like the package "
                    "(vllm.py, openai.py, ollama.py, modal.py), and delete the __pycache__ beside "
                    "it; the traceback names it.",
                    "python -c 'import NAME; print(NAME.__file__)' in the same folder shows which "
                    "one is taken; the package itself is well.",
                ),
                "A script of one's own has the name of the package {package}, so that Python takes "
                "it instead.",
            ),
        ),
    ),
    Signature(
        "binding-library-missing",
        (
            r"Shared library with base name '(?P<library>[^']+)' not found",
            r"native (?:library|binary) .{0,20}cannot be correctly loaded",
            r"LLama\.\S*RuntimeError: Failed to load the native library",
            r"No LLamaSharp backend was installed",
            r"No native library found for os\.name",
            r"\bNoBinaryFoundError\b",
            r"(?:Unable|Failed) to load (?:a )?prebuilt binary for platform",
            r"(?P<library>llama-addon\.node)\W{0,3} (?:cannot open|no such file|file not found)",
            r"DllNotFoundException: .{0,60}(?P<library>(?:lib)?(?:llama|llava_shared|mtmd|"
            r"ggml)\w*)",
            r"java\.lang\.UnsatisfiedLinkError: .{0,80}(?P<library>j?llama)",
            r"Failed to (?:load|lookup) (?:dynamic )?library '(?P<library>lib(?:llama|ggml)\S*)'",
            r"Cannot read propert(?:y|ies) (?:'initContext'|'loadModel'|'install'|"
            r"of null \(reading '(?:initContext|install)'\))",
        ),
        "The binding's own library for this system is not there, or lacks something that it needs.",
        (
            "Install the package that carries it for this system and GPU, in the same version: "
            "LLamaSharp.Backend.Cpu or .Cuda12, @node-llama-cpp/*, a wheel of llama-cpp-python.",
            "If the file is there, ldd FILE (dumpbin /dependents, otool -L) names what it lacks: "
            "CUDA's libraries, the Visual C++ runtime, libgomp, a newer glibc.",
            "Otherwise build it here: npx node-llama-cpp source download, pip install "
            "--no-binary llama-cpp-python.",
        ),
        "FileNotFoundError: Shared library with base name 'llama' not found",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"initContext|Cannot read propert",
                (
                    "Build the app anew with the native module: npx expo prebuild, pod install, "
                    "then a development build; Expo Go does not have it.",
                    "Give it a path on the device (file://...), not one of the computer.",
                ),
                "The app was built without the binding's native module.",
            ),
        ),
    ),
    Signature(
        "binding-mismatch",
        (
            r"Failed to lookup symbol '(?P<symbol>(?:llama|ggml|llava|mtmd)_\w+)",
            r"AttributeError: .{0,300}undefined symbol: (?P<symbol>(?:llama|ggml|clip|llava|"
            r"mtmd)_\w+)",
            r"AttributeError: function '(?P<symbol>(?:llama|ggml|clip|llava|mtmd)_\w+)' not found",
            r"dlsym\(.{0,80}, (?P<symbol>(?:llama|ggml|clip|llava|mtmd)_\w+)\): symbol not found",
            r"(?:NoSuchFieldError|NoSuchMethodError): (?P<symbol>\S*llama\S*)",
            r"'(?P<symbol>(?:llama|ggml|llava|mtmd)_\w+)' has no implementation",
            r"Cannot destructure property '(?P<symbol>_llama)'",
            r"TypeError: .{0,60}(?P<symbol>[lL]lama\w*(?:\.\w+)?) is not a (?:function|"
            r"constructor)",
            r"entry point named '(?P<symbol>(?:llama|ggml|llava|mtmd)_\w+)'",
        ),
        "The binding and its llama library are of different versions: {symbol}.",
        (
            "Install both anew, in one version (pip install --force-reinstall --no-cache-dir "
            "llama-cpp-python; LLamaSharp and its Backend package alike).",
            "Delete other copies of libllama, and unset LLAMA_CPP_LIB, LD_LIBRARY_PATH or "
            "Java's library path where they lead to one.",
        ),
        "AttributeError: /env/lib/libllama.so: undefined symbol: llama_n_ctx_train",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"destructure property|is not a (?:function|constructor)",
                (
                    "The wrapper expects another major version of node-llama-cpp: install the one "
                    "that it names among its peer dependencies (npm ls node-llama-cpp), or call "
                    "node-llama-cpp's own functions: getLlama(), then llama.loadModel().",
                    "With LangChain, LlamaCpp.initialize(...) takes the place of new LlamaCpp().",
                ),
            ),
        ),
    ),
    Signature(
        "binding-bundled",
        (
            r"You may need an appropriate loader to handle this file type",
            r"No loader is configured for \"?\.node\"? files",
        ),
        "A bundler (webpack, esbuild, Next.js) reads the binding's native library as source.",
        (
            "Keep the package out of the bundle, and use it on the server only: externals in "
            "webpack, serverExternalPackages in Next.js, external in esbuild and Vite.",
        ),
        "Module parse failed: Unexpected character (1:0)\nYou may need an appropriate loader to "
        "handle this file type, currently no loaders are configured to process this file.",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "glibc-too-old",
        (
            r"version [`'\"‘](?P<library>GLIBC(?:XX)?_[\d.]+)['\"’] not found",
            r"version [`'\"‘]CXXABI_[\d.]+['\"’] not found",
            r"undefined symbol: (?P<library>__cxa_\w+)",
            # Of garbled lines the end is enough.
            r"(?<!GLI)(?P<library>(?:BC|BCXX|CXXABI)_\d[\d.]+)['\"’]? not found",
            r"GLIBC(?:XX)?_[\d.]+\S* (?:is )?not (?:found|defined|available)",
            r"Error relocating \S+: \S+: symbol not found",
            r"Error loading shared library ld-linux",
            r"ld-linux-\S+: (?:No such file|not found)",
            r"undefined symbol: _Z\w*(?:St7__cxx11|St\d|NSt|NKSt)",
            r"undefined symbol: (?P<library>getcpu|gettid|getrandom|fcntl64|f?l?stat64|statx|"
            r"memfd_create|arc4random\w*|reallocarray|mallinfo2|pthread_\w+|pow|exp|log|"
            r"__libc_\w+|__isoc\d+_\w+|__\w+_chk|_dl_find_object)\b",
            r"undefined symbol: (?P<library>\S+), version GLIBC",
        ),
        "The engine was built for a newer system: {library} is missing.",
        (
            "Use a newer base image or system, or build the engine on this one.",
            "An older release of the engine may still have been built for it.",
        ),
        "llama-server: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required "
        "by "
        "llama-server)",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"BCXX|CXXABI",
                (
                    "Bring a newer libstdc++: in conda conda install -c conda-forge "
                    "'libstdcxx-ng>=13' (its own copy is found before the system's), elsewhere a "
                    "newer base image or system, or gcc's newer run-time package.",
                    "Or build the package from its source on this system (pip install --no-binary "
                    "llama-cpp-python llama-cpp-python).",
                ),
                "The engine was built with a newer C++ library (libstdc++) than is found here: "
                "{library} is missing.",
            ),
        ),
    ),
    Signature(
        "library-mixed",
        (
            r"undefined symbol: (?P<symbol>_*(?:nvJitLink|cublas|cudnn|cusparse|cusolver|"
            r"cufft|nccl|cuda|nvrtc|hipblas|rocblas|hip|rocm|iJIT)\w*)",
            r"version [`'\"‘](?P<symbol>lib\S+\.so\S*)['\"’] not found",
            r"(?:libcudnn|libcublas|libnccl|libcudart)\S*.{0,80}(?:version mismatch|"
            r"incompatible|wrong version)",
            r"detected CUDA version .{0,40}mismatches the version that was used to compile",
            r"cuDNN version incompatibility",
            r"libcu\w+\.so\S*: undefined symbol",
            r"WinError 127\b",
            r"specified procedure could not be found",
        ),
        "Libraries of two versions of CUDA or ROCm are mixed: {symbol}.",
        (
            "Unset LD_LIBRARY_PATH, and keep one version: the image's own, or that of the "
            "wheels (nvidia-*-cu12).",
            "Install engine or torch again for the CUDA of this image.",
        ),
        "/app/llama-server: symbol lookup error: /app/libggml-cuda.so: undefined "
        "symbol: cublasGemmGroupedBatchedEx, version libcublas.so.12",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "macos-too-old",
        (
            r"\(built for macOS [\d.]+ which is newer than running OS\)",
            r"which was built for (?:Mac ?OS ?X|macOS) [\d.]+",
            r"macOS (?:version )?[\d.]+ or (?:later|newer|higher) is required",
            r"You can.t use this version of the application .{0,60}with this version of macOS",
            r"You can.t open the application .{0,60}(?:not supported on this|cannot be opened)",
            r"Symbol not found: _OBJC_CLASS_\$_\w+",
            r"Expected in: \S*/(?:System/Library|usr/lib)/\S+",
        ),
        "The engine was built for a newer macOS than this one.",
        ("Update macOS, or build the engine here.",),
        "dyld[1123]: Symbol not found: __ZNSt3__113basic_filebufIcNS_11char_traitsIcEEE"
        "4openEPKcj\n  Referenced from: /Users/x/llama-server (built for macOS 14.0 "
        "which is newer than running OS)",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "macos-quarantine",
        (
            r"developer cannot be verified",
            r"is damaged and can.t be opened",
            r"Apple (?:could not verify|cannot check)",
            r"library load disallowed by system policy",
            r"not valid for use in process",
            r"Namespace CODESIGNING",
            r"Code Signature Invalid",
            r"code signature .{0,60}(?:invalid|not valid)",
            r"cannot be opened because .{0,60}(?:unidentified developer|malicious)",
        ),
        "macOS does not let the program run, because it came from the internet or its "
        "signature is broken.",
        (
            "xattr -dr com.apple.quarantine on its folder; after a change of the file, "
            "codesign --force -s - on it.",
        ),
        "Apple could not verify “libggml.dylib” is free of malware that may harm your "
        "Mac or compromise your privacy.",
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
            r"no (?:suitable |usable )?backends? (?:were |was |is |are )?(?:found|available|"
            r"loaded|registered)",
            r"unable to find (?:a )?(?:suitable )?backend",
            r"failed to initialize (?P<backend>\w+) backend",
            r"backend\b.{0,30} (?:is )?not (?:found|installed)",
            r"native library .{0,120}(?:cannot|could not|failed|not found)",
            r"(?:failed|unable|could not) (?:to )?load (?:the )?native library",
            r"backend (?:registration|initialization) failed",
            r"\b(?P<backend>\w+) backend not available\b",
            r"\b(?P<backend>CPU) backend is not loaded",
            r"No (?:compatible |installed )?(?:engine )?variants? (?:found|provided)",
            r"engine (?:variant )?(?P<backend>\S+) (?:is )?(?:not (?:found|installed|supported)|"
            r"does not exist)",
            r"NoBinaryFoundError",
            r"No prebuilt binar(?:y|ies)",
        ),
        "The engine finds none of its backends: its libraries are incomplete or of another build.",
        (
            "Install the engine anew, with all libggml-*.so (Windows: ggml-*.dll) beside the "
            "program, ggml-cpu among them.",
            "In Jan or LM Studio choose or download another backend (runtime) in the settings.",
        ),
        "llama_model_load_from_file_impl: no backends are loaded. hint: use ggml_backend_load() or "
        "ggml_backend_load_all() to load a backend before calling this function",
        variants=(
            Variant(
                r"backend not found|grpc process|\bbackend=|LocalAI|local-ai",
                (
                    "Install it: local-ai backends install llama-cpp (or under Backends in the "
                    "web interface), and name it in the model's YAML: backend: llama-cpp.",
                    "Backends of old guides (gpt4all-j, llama, rwkv) are no longer there: use a "
                    "GGUF with llama-cpp.",
                ),
                "LocalAI does not have the backend that the model asks for: {backend}.",
            ),
        ),
    ),
    Signature(
        "engine-not-installed",
        (
            r"llama\.cpp runtime \(llama-server\) is not installed",
            r"llama-server\b.{0,60}\bis not installed",
            r"(?:llama\.cpp|llama-server) (?:runtime|executable|engine)\b.{0,60}(?:not installed|"
            r"not found|is missing)",
            r"(?:could not|cannot|failed to|unable to) (?:find|locate) (?:the |a )?llama-server\b",
        ),
        "The program does not find its engine, llama-server.",
        (
            "Let the program install it anew (unsloth studio setup; in apps under runtimes, "
            "engines or backends), or name its path in the settings.",
            "If it was there, a virus scanner may have taken it away: allow its folder, then "
            "install it again.",
        ),
        "This is a GGUF model, but the llama.cpp runtime (llama-server) is not installed.",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "engine-built-without-gpu",
        (
            r"Attempt to split tensors that exceed maximum supported devices",
            r"Not compiled with GPU offload support",
            r"not compiled with GPU offload",
            r"compiled without (?:CUDA|GPU) support",
            r"Torch not compiled with CUDA enabled",
            r"(?:built|compiled) without (?:CUDA|GPU|ROCm|HIP|Vulkan|SYCL|Metal|GPU offload)"
            r"(?!\. Setting the)",
            r"no GPU support compiled",
            r"one or more devices? .{0,30}but .{0,40}no GPU backend",
            r"compiled without support for GPU",
            r"compiled without cuBLAS",
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
            r"AccessViolationException",
            r"Segmentation fault",
            exited(139),
            r"\bSIGSEGV\b",
            r"signal: segmentation fault",
            r"0xc0000005",
            r"exception: access violation",
            r"code=dumped, signal=SEGV",
            r"kernel: .*segfault at",
            r"segmentation violation",
            r"-1073741819",
            r"3221225477",
            r"access violation (?:reading|writing|executing)",
            r"^Sig\[\d\]\.Value=(?:c0000005|MSVCP140|VCRUNTIME140)",
            r"Faulting module name: (?:MSVCP140|VCRUNTIME140)",
            r"Unhandled exception.*access violation",
            r"fatal signal 11",
            r"EXC_BAD_ACCESS",
            r"signal 11\b",
            r"0xc00000fd",
            r"0xc0000374",
            r"3221225725",
            r"3221226356",
            r"-1073741571",
            r"-1073740940",
            r"stack overflow",
            r"status=11/SEGV",
            r"段错误",
            r"шибка сегментирования",
            r"Speicherzugriffsfehler",
            r"Erreur de segmentation",
            r"(?:Fallo|Violación) de segment",
            r"Falha de segmentação",
            r"Errore di segmentazione",
            r"セグメンテーション違反",
            r"(?:exit(?:ed)?|return)(?: with)?(?: ?(?:status|code)){0,2}[ :=]+-11\b",
            r"Exit code: 18446744072635810000",
            r"Floating point exception",
            r"\bSIGFPE\b",
            exited(136),
        ),
        "The engine crashed in native code (segmentation fault).",
        (
            "Look at the last lines before it; try another build, then without the newest options.",
            "Start once with -ngl 0 (or --device none): if that works, the GPU's driver or backend "
            "is at fault, so update it or take the Vulkan build.",
        ),
        "Segmentation fault (core dumped)",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"MSVCP140|VCRUNTIME140",
                (
                    "Install the newest Visual C++ Redistributable (x64) and start Windows anew: "
                    "an older runtime crashes programs of newer compilers.",
                    "Delete copies of msvcp140.dll in the program's own folder.",
                ),
                "The program crashed in a Visual C++ runtime that is older than itself.",
            ),
            Variant(
                r"Floating point exception|SIGFPE|\b136\b",
                (
                    "Use a newer build; -ub and -b must not be 0, and a damaged model file does "
                    "it as well: compare its sha256.",
                ),
                "The engine divided by zero.",
            ),
            Variant(
                r"stack overflow|0xc00000fd|3221225725|-1073741571",
                (
                    "Use a newer build, and a simpler JSON schema or grammar: deep nesting and "
                    "long repeats run the stack over.",
                    "Linux: ulimit -s unlimited before the start.",
                ),
                "The engine's stack ran over.",
            ),
            Variant(
                r"access violation reading 0x0{8,16}\b",
                (
                    "llama-cpp-python: import llama_cpp before pandas, pyarrow or torch, and take "
                    "the newest version of it.",
                    "If a line above says that the model was not loaded, that is the reason.",
                ),
            ),
            *programs.NO_FLASH,
        ),
    ),
    Signature(
        "aborted",
        (
            exited(134),
            r"Aborted \(core dumped\)",
            r"^(?:\S{1,40}: )?(?:line \d+: +)?\d+ Aborted\b",
            r"^(?:\S{1,40}: )?(?:line \d+: +)?\d+ Trace/breakpoint trap\b",
            r"signal: aborted",
            r"^(?:\S{1,40}: )?(?:free|malloc|realloc|munmap_chunk)\(\): \w+",
            r"\bstack smashing detected",
            r"terminate called after throwing an instance of",
            r"Fatal Python error: Abort",
            r"0xc0000409",
            r"Exit code: 1844674407263581[12]\d+",
            r"\bSIGABRT\b",
            r"-1073740791",
            r"3221226505",
            r"libc\+\+abi: terminating",
            r"fatal signal 6",
            r"signal 6\b",
            r"uncaught exception",
            r"status=6/ABRT",
            r"已放弃 \(",
            r"Abgebrochen \(Speicherabzug",
            r"Abandon \(core dumped",
            r"Abortado \(",
            r"варийный останов",
            r"(?:exit(?:ed)?|return)(?: with)?(?: ?(?:status|code)){0,2}[ :=]+-6\b",
        ),
        "The engine stopped itself (abort).",
        ("The lines before it say on what; if there are none, start it with -lv 5.",),
        "llama-server exited with code 134",
        Basis.REPORTED,
        tier=Tier.GENERIC,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"Fatal Python error",
                (
                    "The frames below it name the package that called native code: update it (in "
                    "LM Studio the runtime, MLX or llama.cpp), or go back a version.",
                    "It comes after long use mostly for want of memory: a shorter context, a "
                    "smaller model, or a restart now and then.",
                ),
                "Native code below a Python program stopped itself (abort).",
            ),
        ),
    ),
    Signature(
        "failed-check",
        (
            r"GGML_ASSERT\((?P<check>(?!ggml_can_mul_mat).+?)\) failed",
            r"GGML_ASSERT: (?:\S+:\d+: )?(?P<check>\S.*)",
            r"LLAMA_ASSERT: (?:.{1,300}:\d+: )?(?P<check>\S.*)",
            r"Assertion [`'](?P<check>.+)' failed",
            r"Assertion failed: (?P<check>.+)",
            r"GGML_ABORT",
            r"ggml\S*\.cu:\d+: (?P<check>.+)",
            r"ggml\S*\.cpp:\d+: (?P<check>.+)",
            r"ggml\S*\.c:\d+: (?P<check>.+)",
            r"ggml\S*\.m:\d+: (?P<check>.+)",
            r"not enough space in the (?:context's memory pool|buffer|scratch)",
            r"\.(?:c|cpp|cu|cuh|m|mm|h|hpp):\d+: (?:.*: )?(?P<check>(?:not implemented|"
            r"unsupported|fatal error|assertion|unknown|missing|Unexpected).*)",
            r"ggml_abort\b",
            r"pre-allocated tensor .* in a buffer",
            r"(?:/|\\)(?:src|common|tools|server|mtmd)(?:/|\\)\S{0,80}\.(?:cpp|h):\d+: "
            r"(?P<check>.+)",
            r"(?:\.cuh|\.hpp|\.mm):\d+: (?P<check>(?!\d|warning|error|note|In ).+)",
            r"(?P<check>unsupported types: dst: .+)",
            r"(?P<check>op not (?:implemented|supported)\b.*)",
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
        variants=(*checks.BY_CONDITION, *programs.NO_FLASH, *checks.BY_PLACE),
    ),
    Signature(
        "mkl-failed",
        (r"\b(?:one)?MKL (?:FATAL )?ERROR: (?P<why>.+?)\.?$",),
        "Intel's math library (oneMKL) cannot load what it needs: {why}.",
        (
            "source /opt/intel/oneapi/setvars.sh in the same shell (or service), so that all of "
            "its libraries are of one version; in conda install mkl anew, and take other copies "
            "out of LD_LIBRARY_PATH.",
            "Or use a build without it: the Vulkan build on Intel GPUs, OpenBLAS on the CPU.",
        ),
        "Intel MKL FATAL ERROR: Cannot load libmkl_avx2.so or libmkl_def.so.",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"'cl[A-Z]\w+'|OpenCL",
                (
                    "Install the OpenCL loader and Intel's compute runtime in this system or "
                    "image: ocl-icd-libopencl1 intel-opencl-icd (clinfo must list the GPU), and "
                    "source /opt/intel/oneapi/setvars.sh.",
                    "In a container pass the GPU in as well (--device /dev/dri).",
                    "Or use the Vulkan build, which needs neither.",
                ),
                "Intel's math library (oneMKL) does not find the OpenCL runtime: {why}.",
            ),
        ),
    ),
    Signature(
        "intel-driver-abort",
        (
            r"Abort was called at \d+ line in file",
            r"Native API failed\. Native API returns",
            r"UR_RESULT_ERROR_(?!OUT_OF)\w+",
            r"ZE_RESULT_ERROR_(?!OUT_OF)\w+",
            r"level_zero backend failed with error",
            r"UR backend failed",
            r"PI_ERROR_(?!OUT_OF|DEVICE_NOT_FOUND)\w+",
            r"sycl::\S*exception",
            r"GGML_SYCL.*(?:failed|error)",
            r"ggml[-_]sycl.{0,120}failed to get device memory size",
        ),
        "The Intel GPU's driver gave up.",
        (
            "Update the compute runtime (intel-compute-runtime, level-zero) so that it suits the "
            "kernel's driver and the oneAPI that the engine was built with.",
            "Take one GPU, or -sm layer with several; leave others out with "
            "ONEAPI_DEVICE_SELECTOR=level_zero:0, and set ZES_ENABLE_SYSMAN=1.",
            "If it stays so, use the Vulkan build, which needs no oneAPI.",
        ),
        "Abort was called at 63 line in file:\n../../neo/shared/source/os_interface/os_interface.h",
        Basis.REPORTED,
    ),
    Signature(
        "sycl-failed",
        (
            r"Exception caught at file:.{0,200}ggml-sycl",
            r"SYCL error: CHECK_TRY_ERROR",
            r"^oneapi::m(?:kl|ath)::(?P<why>\S+: .+)",
            r"could not (?P<why>(?:create|execute|initialize|set|get|query) an? (?:memory "
            r"(?:object|descriptor)|\w*\s?primitive\w*|engine|stream|\w+ primitive descriptor)"
            r"\b.{0,120})",
            r"dnnl::error",
        ),
        "A step of the model failed in the SYCL backend (oneDNN, oneMKL), which is a fault of this "
        "build with this model or GPU.",
        (
            "Use a newer build, or the one before if it came with an update.",
            "Take the Vulkan build for Intel GPUs, which needs no oneAPI.",
            "To stay with SYCL: leave oneDNN out, GGML_SYCL_ENABLE_DNN=0 (GGML_SYCL_DISABLE_DNN=1 "
            "in older builds, or -DGGML_SYCL_DNN=OFF) and GGML_SYCL_FA_ONEDNN=0; then "
            "GGML_SYCL_ENABLE_OPT=0, -fa off and f16 caches, and the compute runtime and oneAPI "
            "that its release names.",
        ),
        "could not create a primitive\nException caught at file:/src/llama.cpp/ggml/src/ggml-sycl/"
        "ggml-sycl.cpp, line:3222, func:operator()",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.SERVE,
    ),
    Signature(
        "peer-access",
        (
            r"NCCL (?:error|WARN)[ :](?P<why>.+)",
            r"ncclUnhandledCudaError",
            r"ncclSystemError",
            r"NCCL (?:failure|failed|version mismatch)",
            r"ncclInternalError",
            r"ncclRemoteError",
            r"ncclInvalidUsage",
            r"peer access .{0,40}(?:failed|not supported)",
            r"nccl\w+ failed with status",
        ),
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
        "gpu-too-full",
        (
            r"offload(?: to| library)[ =](?!cpu)\w+\"? .{0,80}layers\.requested=(?:-1|[1-9]\d*) "
            r".{0,60}layers\.(?:real|offload)=0 .{0,200}memory\.available=\W{0,3}(?P<have>[\d.]+ "
            r"\w+).{0,60}memory\.required\.full=\W{0,3}(?P<need>[\d.]+ \w+)",
        ),
        "No layer of the model goes to the GPU, which has {have} free for a model of {need}: it "
        "runs on the CPU, slowly.",
        (
            "Free the GPU: ollama ps and ollama stop NAME for models that are loaded, nvidia-smi "
            "for other programs and the desktop; after the machine slept restart Ollama.",
            "Use a smaller quant or model, a lower num_ctx with OLLAMA_NUM_PARALLEL=1, and "
            "OLLAMA_FLASH_ATTENTION=1 with OLLAMA_KV_CACHE_TYPE=q8_0.",
            "Otherwise take a GPU with more memory (ggufctl plan says which). If what is free "
            "would suffice, update Ollama: it then knows the model or the GPU better.",
        ),
        'time=2024-05-31T01:03:30.753+03:00 level=INFO source=memory.go:133 msg="offload to gpu" '
        'layers.requested=-1 layers.real=0 memory.available="639.8 MiB" memory.required.full='
        '"12.5 GiB" memory.required.partial="465.5 MiB"',
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "nothing-offloaded",
        (
            r"offloaded 0/(?P<layers>\d+) layers to GPU",
            r"GPU layers is set, but a GPU backend was not selected",
        ),
        "No layer is on a GPU.",
        ("Pass -ngl 99 if the GPU was meant to be used.",),
        "load_tensors: offloaded 0/33 layers to GPU",
        severity=Severity.REMARK,
        variants=programs.by_program(
            ollama=(
                "Look with ollama ps and nvidia-smi at what else fills the GPU, and take a smaller "
                "quant, num_ctx or OLLAMA_NUM_PARALLEL; no num_gpu 0 in the Modelfile or request.",
            ),
            lm_studio=("Raise GPU Offload in the model's load settings.",),
            koboldcpp=(
                "Start it with --usecublas (--usevulkan on other cards) and --gpulayers 99 (-1 "
                "lets it choose).",
            ),
            python=("Pass n_gpu_layers=-1.",),
        ),
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
        "installer-gpu-unknown",
        (r"Unable to detect NVIDIA/AMD GPU\. Install lspci or lshw",),
        "The installer could not look for a GPU, as neither lspci nor lshw is there (a container), "
        "and installed nothing for one.",
        (
            "Install pciutils (or lshw) and run it again, if a GPU's driver is to be installed; "
            "in a container the driver comes from the host (--gpus all), and Ollama finds it "
            "without them.",
            "Where systemd is not running there is no service: start ollama serve by hand.",
        ),
        "WARNING: Unable to detect NVIDIA/AMD GPU. Install lspci or lshw to automatically detect "
        "and install GPU dependencies.",
        severity=Severity.REMARK,
        phase=Phase.START,
    ),
    Signature(
        "gpu-discovery-partial",
        (r"no compatible GPUs were discovered",),
        "Ollama found no GPU and works on the CPU.",
        (*_EXPOSE,),
        'time=2025-03-05T06:19:02.2Z level=INFO source=gpu.go:377 msg="no compatible GPUs were '
        'discovered"',
        Basis.REPORTED,
        severity=Severity.REMARK,
    ),
)
