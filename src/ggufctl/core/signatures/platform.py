"""Containers, Kubernetes and Modal: what the platform says of a program that does not run."""

from __future__ import annotations

from ggufctl.core.signatures.table import Basis, Phase, Severity, Signature, Tier, Variant, exited

__all__ = ["SIGNATURES"]

_START = Phase.START

SIGNATURES = (
    Signature(
        "docker-no-gpu-runtime",
        (
            r"RuntimeHandler \W{0,3}nvidia\W{0,3} not supported",
            r"Failed to (?:initialize|start) NVML.{0,40}(?:could not load NVML|ERROR_UNKNOWN)",
            r"did you set the docker default runtime",
            r"no runtime for \W{0,6}nvidia",
            r"could not select device driver",
            r"nvidia-container-cli: initialization error(?!: (?:change root|"
            r"nvml error: insufficient))",
            r"nvidia-container-cli: (?:mount|device) error(?!.{0,200}bpf_prog_query|: write error)",
            r"unknown or invalid runtime name: nvidia",
            r"failed to discover GPU vendor from CDI",
            r"CDI device injection failed",
            r"unresolvable CDI devices",
            r"libnvidia-ml\.so\.1: cannot open shared object",
            r"error running (?:\w+ )?hook #\d+: (?!.*(?:nvidia-container-cli|Auto-detected mode))",
            r"nvidia-container-cli\S*: (?:detection|requirement|input) error",
            r"nvidia-container-(?:cli|runtime)\S*: (?!.{0,40}(?:change root|ldcache|"
            r"container error|permission error|insufficient|write error)|"
            r"mount error: failed to add).{0,60}"
            r"(?:error|not found|failed)",
            r"nvidia-container-runtime(?:-hook)?\"?: (?:executable file )?not found",
            r"runtime \"?nvidia\"? (?:not found|is not|does not)",
            r"no CDI (?:devices|configuration|spec)",
            r"no known GPU vendor found",
            r"(?:failed to|error) (?:inject|gather) CDI",
            r"failed to (?:set|add) .*gpus",
            r"unknown (?:runtime|device) .{0,20}nvidia",
            r"legacy nvidia-container",
            r"no runtime for \"?nvidia",
            r"RuntimeClass \"?nvidia\S* not found",
            r"executing hook .{0,60}nvidia",
            r"nvidia-(?:ctk|cdi-hook|container-toolkit)\b.{0,80}(?:error|failed|not found|no "
            r"such file)",
            r"cannot stat \S*(?:nvidia|libcuda)\S*: No such file",
            r"(?:failed to|could not) .{0,40}(?:CDI|nvidia-container)",
            r"CDI (?:spec|device|registry)\S* .{0,60}(?:not found|conflict|invalid|failed)",
            r"Unknown runtime specified",
            r"nvidia-docker\S* .{0,60}(?:not found|failed|error)",
            r"fork/exec \S*nvidia-container-runtime\S*: no such file",
            r"factory\.go:\d+\] Incompatible (?:platform|strategy) detected",
            r"[Ii]nitialize NVML: ERROR_LIBRARY_NOT_FOUND",
            r"No devices found\. Waiting indefinitely",
            r"unable to create cdi spec file",
        ),
        "The container runtime cannot pass a GPU on: the NVIDIA container toolkit is missing or "
        "not "
        "set up.",
        (
            "Install nvidia-container-toolkit, run nvidia-ctk runtime configure --runtime=docker "
            "and "
            "restart docker.",
            "For CDI (--device nvidia.com/gpu=all) write the specification where the daemon looks: "
            "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml; before Docker 28 switch "
            "features.cdi on (nvidia-ctk runtime configure --cdi.enabled).",
            "On Kubernetes: nvidia-ctk runtime configure --runtime=containerd --set-as-default "
            "and restart containerd, or name runtimeClassName: nvidia.",
        ),
        'docker: Error response from daemon: could not select device driver "" with capabilities: '
        "[[gpu]].",
        Basis.REPORTED,
        phase=_START,
        variants=(
            Variant(
                r"tegra|[Jj]etson|jetson|l4t|/dev/nvhost|/dev/nvmap|stat failed: /dev/nvidiactl",
                (
                    "Install JetPack's own packages (sudo apt-get install nvidia-jetpack "
                    "nvidia-container), then sudo nvidia-ctk runtime configure --runtime=docker "
                    "and restart docker.",
                    "Run with --runtime nvidia (not only --gpus), and an image made for this L4T "
                    "(dustynv/...:r36.x); files of "
                    "/etc/nvidia-container-runtime/host-files-for-container.d/ that are not "
                    "there come from a toolkit older than the JetPack.",
                ),
                "The container runtime cannot pass the Jetson's GPU on.",
            ),
            Variant(
                r"requirement error: (?!unsatisfied)",
                (
                    "Start it with -e NVIDIA_DISABLE_REQUIRE=1 (environment: in Compose): the "
                    "toolkit then does not check the driver.",
                    "Update nvidia-container-toolkit and the driver, or take an image with an "
                    "older CUDA, whose NVIDIA_REQUIRE_CUDA this toolkit reads.",
                ),
                "The container toolkit cannot read what the image demands of the driver "
                "(NVIDIA_REQUIRE_CUDA).",
            ),
            Variant(
                r"load library failed: libnvidia-ml",
                (
                    "nvidia-smi must work on the host before it can in a container: install the "
                    "driver there (Linux: nvidia-driver-570 or newer, then restart).",
                    "Windows: update Windows (10 21H2 at least, or 11) and NVIDIA's driver for "
                    "Windows, then wsl --update and wsl --shutdown.",
                    "Docker from snap and Docker Desktop for Linux do not see the host's driver: "
                    "use Docker Engine of docker.com (docker context use default).",
                ),
                "The container toolkit finds no driver of NVIDIA on this host.",
            ),
            Variant(
                r"\bkubelet\b|sandbox|RuntimeClass|factory\.go|default runtime|k8s|kubernetes|"
                r"Waiting indefinitely",
                (
                    "On each GPU node: sudo nvidia-ctk runtime configure --runtime=containerd "
                    "--set-as-default, and restart containerd (k3s and RKE2 find the toolkit "
                    "themselves, once it is installed and they are restarted).",
                    "Without --set-as-default give pods, the device plugin's too, "
                    "runtimeClassName: nvidia, and make that RuntimeClass (handler: nvidia).",
                    "With the GPU operator wait until its driver and toolkit pods run; their "
                    "logs tell why they do not.",
                ),
            ),
            Variant(
                r"\bCDI\b|\bcdi\b|podman|crun",
                (
                    "Write the specification where the runtime looks, again after each update of "
                    "the driver: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml; "
                    "nvidia-ctk cdi list names the devices.",
                    "Docker before 28.3: switch CDI on (nvidia-ctk runtime configure "
                    "--runtime=docker --cdi.enabled, restart docker), or use --gpus all.",
                    "Name a device that is listed: --device nvidia.com/gpu=all or =0; a "
                    "CUDA_VISIBLE_DEVICES that is set elsewhere counts as a name for some "
                    "programs.",
                ),
            ),
            Variant(
                r"invalid runtime name|Unknown runtime|runtime .{0,12}nvidia.{0,4} not found|"
                r"nvidia-container-runtime",
                (
                    "Install nvidia-container-toolkit and make the runtime known: sudo "
                    "nvidia-ctk runtime configure --runtime=docker, then sudo systemctl restart "
                    "docker (docker info lists it under Runtimes).",
                    "Docker Desktop has it on Windows with WSL 2 only; drop --runtime nvidia "
                    "there and use --gpus all.",
                    "Docker from snap keeps its own daemon.json: use the package of docker.com.",
                ),
            ),
        ),
    ),
    Signature(
        "toolkit-config",
        (
            r"nvidia-container-cli\S*: initialization error: change root failed",
            r"nvidia-container-cli\S*: ldcache error: (?:open failed|"
            r"process \S*ldconfig\S* failed)",
            r"nvidia-container-cli\S*: container error: (?:cgroup|failed to get device cgroup)",
            r"nvidia-container-cli\S*: .{0,200}bpf_prog_query",
            r"nvidia-container-cli\S*: permission error: capability",
            r"failed to create NVIDIA Container Runtime: ",
            r"(?:invalid|error loading|unable to load) .{0,40}nvidia-container-runtime\S* ?config",
            r"nvidia-container-cli\S*: mount error: write error: /sys/fs/cgroup",
        ),
        "The container toolkit's own settings do not fit this host: a driver root, an ldconfig "
        "or the handling of cgroups that is not there.",
        (
            "Write the settings anew: sudo apt-get install --reinstall nvidia-container-toolkit, "
            "then nvidia-ctk runtime configure --runtime=docker, and restart docker; in "
            "/etc/nvidia-container-runtime/config.toml root must be / (or stand in a comment) "
            'and ldconfig "@/sbin/ldconfig" ("@/sbin/ldconfig.real" on Ubuntu and Debian).',
            "Rootless docker or podman: no-cgroups = true there (sudo nvidia-ctk config --set "
            "nvidia-container-cli.no-cgroups --in-place), or CDI, which needs neither: --device "
            "nvidia.com/gpu=all.",
        ),
        "nvidia-container-cli: initialization error: change root failed: no such file or "
        "directory: unknown.",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"bpf_prog_query|permission error|rootless|write error",
                (
                    "The docker here is rootless, or runs in an unprivileged LXC or LXD "
                    "container: set no-cgroups = true (sudo nvidia-ctk config "
                    "--set nvidia-container-cli.no-cgroups --in-place), and restart docker.",
                    "Or use CDI: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, then "
                    "--device nvidia.com/gpu=all.",
                ),
                "A rootless container may not set the rules for devices that the container "
                "toolkit wants to.",
            ),
            Variant(
                r"container error: |cgroup",
                (
                    "Update libnvidia-container and nvidia-container-toolkit: old ones know "
                    "cgroup v1 only (before 1.8), and this host has v2.",
                    "Or start the host with systemd.unified_cgroup_hierarchy=0, or use CDI: "
                    "--device nvidia.com/gpu=all.",
                ),
                "The container toolkit is too old for this host's cgroups.",
            ),
        ),
    ),
    Signature(
        "ptx-compiler-missing",
        (
            r"PTX JIT compiler library not found",
            r"libnvidia-ptxjitcompiler\S*: cannot open shared object",
            r"cudaErrorJitCompilerNotFound",
        ),
        "CUDA wants to compile its code for this GPU, and the driver's compiler "
        "(libnvidia-ptxjitcompiler) is not in the container.",
        (
            "Jetson: use an image for its JetPack with docker run --runtime nvidia, or the "
            "program's own build for it (Ollama: JETSON_JETPACK=5 or 6).",
            "Give the container the driver's compute part: -e "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility; install the whole driver on the host "
            "(libnvidia-compute).",
            "Or use a build that has code for this GPU, which needs no compiling "
            "(-DCMAKE_CUDA_ARCHITECTURES).",
        ),
        "CUDA error: PTX JIT compiler library not found",
        Basis.REPORTED,
        phase=Phase.LOAD,
    ),
    Signature(
        "gpu-operator-waiting",
        (
            r"waiting for nvidia container stack to be setup",
            r"error validating (?:driver|toolkit|cuda|plugin)\b",
            r"chroot with args \[/run/nvidia/driver",
            r"chroot: failed to run command .nvidia-smi",
            r"Could not unload NVIDIA driver kernel modules",
        ),
        "A part of NVIDIA's GPU operator waits for another: the driver or the container toolkit "
        "on the node is not ready.",
        (
            "Look at the first that fails, in this order: kubectl -n gpu-operator logs of the "
            "pods nvidia-driver-daemonset, nvidia-container-toolkit-daemonset, "
            "nvidia-operator-validator.",
            "If the node has a driver already, install with --set driver.enabled=false (and "
            "toolkit.enabled=false where containerd is configured, as on GKE and k3s, whose "
            "containerd has another path: toolkit.env CONTAINERD_SOCKET and CONTAINERD_CONFIG).",
            "After the toolkit changed containerd's configuration, restart containerd on the node.",
        ),
        "waiting for nvidia container stack to be setup",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.START,
    ),
    Signature(
        "driver-open-modules",
        (
            r"requires use of the NVIDIA open kernel modules",
            r"is not supported by (?:the )?open(?: nvidia\.ko| kernel modules)",
            r"open nvidia\.ko.{0,60}(?:not supported|does not support)",
        ),
        "The GPU wants the other kind of NVIDIA's kernel modules, open or proprietary.",
        (
            "Blackwell and newer run with the open ones only: apt-get install nvidia-open (or "
            "nvidia-driver-580-open; the .run file with -M open), reboot; in an LXC container or "
            "guest the same version on the host.",
            "Maxwell, Pascal and Volta run with the proprietary ones only (branch 580 is the "
            "last): nvidia-driver-580 without -open.",
        ),
        "NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:2c34) installed in this system requires "
        "use of the NVIDIA open kernel modules.",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "driver-build",
        (
            r"Could not (?:resolve|find) Linux kernel version",
            r"Unable to locate package linux-headers",
            r"No package kernel-(?:devel|headers)-\S+ available",
            r"Unable to find the kernel source tree",
            r"kernel (?:headers|source) .{0,80}(?:not (?:be )?found|cannot be found|not installed|"
            r"missing)",
            r"Bad return status for module build on kernel",
            r"Error! Your kernel headers for kernel",
            r"The nvidia kernel module was not created",
            r"An error occurred while performing the step: \"Building kernel modules\"",
            r"Unable to load the (?:kernel module 'nvidia|'nvidia-drm')",
        ),
        "NVIDIA's kernel module could not be built for this kernel.",
        (
            "Install the headers of exactly this kernel (apt-get install linux-headers-$(uname "
            "-r), dnf install kernel-devel-$(uname -r)), or restart into the newest kernel that "
            "is installed, then build again (dkms autoinstall).",
            "A driver older than the kernel does not build: take a newer branch, or the open "
            "modules (nvidia-driver-570-open).",
            "With the GPU operator use an image with a precompiled driver "
            "(driver.usePrecompiled=true), or install the driver on the node and set "
            "driver.enabled=false.",
        ),
        'An error occurred while performing the step: "Building kernel modules"',
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "wsl-no-gpu",
        (
            r"WSL environment detected but no adapters were found",
            r"GPU access blocked by the operating system",
            r"driver error: failed to process request",
            r"dxcore initialization failed: ",
        ),
        "WSL sees no GPU: it is version 1, or Windows or its driver is too old.",
        (
            "Update Windows and NVIDIA's driver for Windows, then wsl --update and wsl "
            "--shutdown; install no driver for Linux inside WSL.",
            "wsl -l -v must say 2 (wsl --set-version NAME 2), and nvidia-smi must work in WSL "
            "before it can in a container.",
        ),
        "nvidia-container-cli: initialization error: WSL environment detected but no adapters "
        "were found: unknown",
        Basis.REPORTED,
        phase=_START,
        variants=(
            Variant(
                r"driver error: failed to process request(?![\s\S]*WSL)",
                (
                    "Windows: update Windows and NVIDIA's driver for Windows, then wsl --update "
                    "and wsl --shutdown; wsl -l -v must say 2.",
                    "Linux: nvidia-smi must work on the host; install its driver, load it "
                    "(modprobe nvidia nvidia_uvm), and update nvidia-container-toolkit.",
                ),
                "The container toolkit reaches no driver of NVIDIA: in WSL it is version 1 or "
                "Windows is too old, on Linux none is loaded.",
            ),
        ),
    ),
    Signature(
        "driver-in-image",
        (r"mount error: file creation failed: \S*?/(?P<file>[^/\s:]+): file exists",),
        "The image holds files of a driver where the container toolkit puts the host's own: "
        "{file}.",
        (
            "Remove them in the Dockerfile (rm -f libcuda.so* libnvcuvid.so* libnvidia-*.so* in "
            "/usr/lib/x86_64-linux-gnu); install no driver in an image, and do not docker commit "
            "a container that ran with --gpus.",
        ),
        "nvidia-container-cli: mount error: file creation failed: "
        "/var/lib/docker/overlay2/7/merged/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1: file "
        "exists: unknown.",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "gpu-runtime-mode",
        (
            r"invoking the NVIDIA Container Runtime Hook directly",
            r"specify the --runtime=nvidia flag",
        ),
        "The container toolkit of this machine (a Jetson, mode csv) takes GPUs by its runtime, not "
        "by --gpus.",
        (
            "docker run --runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=all instead of --gpus all; in "
            "Compose runtime: nvidia instead of deploy.resources.",
            "If the runtime is unknown: sudo nvidia-ctk runtime configure --runtime=docker, then "
            "restart docker.",
        ),
        "invoking the NVIDIA Container Runtime Hook directly (e.g. specifying the docker --gpus "
        "flag) is not supported. Please use the NVIDIA Container Runtime (e.g. specify the "
        "--runtime=nvidia flag) instead.: unknown.",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "image-not-found",
        (
            r"failed to solve: (?P<image>[^\s:]+/\S+:[^\s:]+): .{0,200}: not found",
            r"manifest (?:for \S+ )?(?:not found|unknown)",
            r"error from registry: (?:denied|unauthorized|not found)",
            r"manifest for (?P<image>\S+) not found",
            r"pull access denied for (?P<image>\S+)",
            r"repository does not exist or may require",
            r"Failed to pull image \"(?P<image>[^\"]+)\": .*not found",
            r"failed to resolve reference \"(?P<image>[^\"]+)\"",
            r"ErrImageNeverPull",
            r"is not present with pull policy of Never",
            r"no such image",
            r"manifest unknown",
            r"\b(?:image|tag) .{0,120}(?:not found|does not exist|doesn't exist)",
            r"Unable to find image .* locally$",
            r"requested access to the resource is denied",
            r"failed to (?:pull|resolve|authorize).{0,200}(?:not found|denied|unauthorized|"
            r"forbidden|40[134])",
            r"no basic auth credentials",
            r"unknown blob",
            r"did not resolve to an alias and no unqualified-search",
            r"failed to resolve (?:source metadata|reference|ref) for? ?(?P<image>\S+):? "
            r".{0,200}(?:not found|denied)",
            r"CannotPullContainerError",
            r"failed to authorize: ",
            r"unauthorized: (?:incorrect username|access token|your account)",
            r"error pulling image .{0,200}(?:not found|denied|unknown)",
            r"name unknown:",
            r"Head \"https://\S+/v2/\S+\": (?:denied|unauthorized|forbidden)",
            r"insufficient_scope",
            r"does not support image '(?P<image>[^']+)'",
            r"initializing source docker://(?P<image>\S+): .{0,200}(?:unauthorized|denied|"
            r"manifest unknown|not found)",
        ),
        "The image or its tag does not exist, or may not be pulled: {image}.",
        (
            "Check the tag on the registry (server-cuda, server-cuda-bNNNN), and log in if it is "
            "private.",
        ),
        "Error response from daemon: manifest for ghcr.io/ggml-org/llama.cpp:server-cuda-b1 not "
        "found: "
        "manifest unknown",
        Basis.REPORTED,
        phase=_START,
        variants=(
            Variant(
                r"ggerganov",
                (
                    "llama.cpp's images moved: ghcr.io/ggml-org/llama.cpp:server-cuda instead of "
                    "ghcr.io/ggerganov/llama.cpp.",
                ),
                "The image has moved to another name.",
            ),
            Variant(
                r"no matching manifest|does not match the specified platform",
                (
                    "The image has no variant for this processor: choose another tag, docker run "
                    "--platform linux/amd64 (slowly, without GPU), or build it here.",
                ),
                "The image is not made for this processor.",
            ),
            Variant(
                r"nvcr\.io",
                (
                    "docker login nvcr.io with the user $oauthtoken and a key of ngc.nvidia.com, "
                    "and take a tag that the catalogue lists.",
                ),
            ),
            Variant(
                r"short-name|unqualified-search",
                (
                    "Write the registry as well: docker.io/ollama/ollama, "
                    "ghcr.io/ggml-org/llama.cpp:server.",
                ),
                "Podman does not guess the registry of a short name.",
            ),
            Variant(
                r"kubelet|Failed to pull image|Back-off|imagePull|ErrImage",
                (
                    "Check name and tag; for a private registry kubectl create secret "
                    "docker-registry, and name it under imagePullSecrets of the pod or its "
                    "service account (same namespace).",
                    "An image that was built here must be loaded into the cluster: kind load "
                    "docker-image, minikube image load, k3s ctr images import, with "
                    "imagePullPolicy: IfNotPresent.",
                ),
            ),
            Variant(
                r"ghcr\.io.{0,80}denied|denied.{0,80}ghcr",
                (
                    "A stale login is refused even for public images: docker logout ghcr.io; "
                    "private ones want a token with read:packages.",
                ),
            ),
            Variant(
                r"nvidia/cuda",
                (
                    "Docker Hub has no nvidia/cuda:latest, and old tags were removed: take one "
                    "that exists, with its system: nvidia/cuda:12.8.1-devel-ubuntu24.04.",
                ),
            ),
        ),
    ),
    Signature(
        "image-name-invalid",
        (
            r"^(?!.{0,200}stage name).{0,400}invalid reference format",
            r"InvalidImageName",
            r"couldn't parse image name",
            r"repository name .{0,80}must be lowercase",
            r"repository name must be (?:canonical|lowercase)",
        ),
        "The name of the image is not one, or something else of the command stands in its place.",
        (
            "Image names are lower case, without spaces: owner/name:tag.",
            "Options stand before the image; a path with spaces wants quotes (-v "
            '"$PWD:/models"), a line that goes on ends with \\ in bash, ` in PowerShell, ^ in '
            "cmd, and a variable in it must not be empty.",
        ),
        "docker: invalid reference format: repository name (library/GGUF) must be lowercase",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "image-pull",
        (
            r"ImagePullBackOff",
            r"ErrImagePull",
            r"Failed to pull image",
            r"Back-off pulling image",
            r"failed to pull (?:and unpack )?(?:image|model)?",
            r"(?:error|failed) (?:pulling|copying|fetching) (?:image|blob|manifest|system image)",
            r"failed to copy: httpReadSeeker",
            r"failed to register layer",
            r"error creating overlay mount",
            r"trying and failing to pull image",
            r"waiting to start: image can't be pulled",
            r"CannotPullContainerError",
            r"RegistryUnavailable",
            r"ImageInspectError",
            r"SignatureValidationFailed",
        ),
        "The image cannot be pulled.",
        ("The event before it says why: tag, registry secret, network or disk.",),
        "Warning  Failed  10s  kubelet  Error: ImagePullBackOff",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=_START,
    ),
    Signature(
        "registry-http",
        (
            r"server gave HTTP response to HTTPS client",
            r"http: server gave HTTP",
        ),
        "The registry speaks plain HTTP, which is refused.",
        (
            "Add it to insecure-registries in /etc/docker/daemon.json (for containerd: "
            "hosts.toml), or give it a certificate.",
        ),
        'Error response from daemon: Get "https://192.168.1.5:5000/v2/": http: '
        "server gave HTTP response to HTTPS client",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "command-not-found",
        (
            r"execve\(\): (?P<program>\S+): No such file or directory",
            r"executable file not found in \$PATH",
            r"(?P<program>\S+)(?<!\.sh)(?<!\.py)(?<!\.bash): cannot execute: required file not "
            r"found",
            r"failed to exec pid1: No such file or directory",
            r"exec: \"(?P<program>[^\"]+)\": .*no such file or directory",
            r"(?P<program>[\w./-]*llama[\w-]*): command not found",
            r"OCI runtime (?:exec|create) failed: .*no such file or directory",
            r"can't open file '(?P<program>[^']+)': \[Errno 2\]",
            exited(127),
            r"(?:status|code)=203/EXEC",
            r"exec: .{0,80}not found",
            r"(?P<program>\S*(?:llama-server|llama-cli|ollama|koboldcpp|local-ai|server))\"?: "
            r"(?:command )?not found",
            r"is not recognized as (?:an internal or external command|the name of a cmdlet)",
            r"no such file or directory.{0,10}: OCI",
            r"stat \S+: no such file or directory: unknown",
            r"Failed (?:to execute|at step EXEC).*No such file",
            r"(?:failed|unable|could not|cannot) (?:to )?(?:spawn|exec|execute|launch|run|start) "
            r"\S+.{0,80}(?:not? such file|not found|cannot find|os error 2)",
            r"spawn \S+ ENOENT",
            r"ENOENT.{0,60}(?:llama-server|ollama|spawn)",
            r": \d+: (?P<program>(?!nvidia-smi|rocm-smi|rocminfo|lspci)\S+): not found",
            r": (?P<program>(?!nvidia-smi|rocm-smi|rocminfo|lspci)[\w./+-]+): command not found",
            r"'(?P<program>[\w.-]+)' command not found",
            r"image CMD and ENTRYPOINT are empty",
            r"Cannot find command '(?P<program>\w+)'",
            r"git: '(?P<program>\w+)' is not a git command",
            r"Failed to locate executable (?P<program>\S+)",
            r"\b(?P<program>git|git-lfs|cmake|ninja|docker|podman|curl|wget|ffmpeg|nvcc|make|gcc|"
            r"uv|"
            r"conda|helm|kubectl|ollama|aria2c?) (?:is not installed|not installed|is not in "
            r"(?:your |"
            r"the )?PATH)",
            r"program not found",
            r"(?:could not|cannot|can't) find (?:the )?(?:program|executable|binary|command)\b",
            r"attempted to invoke a command that was not found",
            r"No such file or directory: '(?P<program>(?:git|cmake|nvcc|llama-\w+|ollama|curl|"
            r"aria2c|ninja|gcc|docker|ffmpeg))'",
            r"code=exited, status=127\b",
            r"未找到命令",
            r": (?:línea|ligne|Zeile|linha|riga|строка|行) ?\d+: (?P<program>[./~]\S*): "
            r"(?:No existe el|Aucun fichier|Datei oder Verz|Arquivo ou dir|File o dir|Нет такого|"
            r"没有那个|そのような)",
            r"不是内部或外部命令",
            r"Kommando nicht gefunden",
            r"commande introuvable",
            r"orden no encontrada",
            r"команда не найдена",
            r"не является внутренней или внешней",
            r"command not found: (?P<program>\S+)",
            r"^(?P<program>(?!nvidia-smi|rocm-smi|rocminfo|lspci)[\w.+-]+): (?:command )?not "
            r"found$",
            r"requires (?P<program>zstd|unzip|tar|curl) for extraction",
            r"(?<!docker: )Unknown command:? (?P<program>[\w./-]*(?:llama|ollama|hf|modal|docker|"
            r"cmake|pip)\S*)",
            r"WinError 2\] The system cannot find the file specified$",
            r"No working (?:quantizer|converter|binary|compiler) found",
            r"Command .{0,8}(?:which|where|command)\b[-v'\", ]{1,8}(?P<program>(?!gcc|g\+\+|"
            r"clang|cc\b|c\+\+|cmake|make|ninja)[\w.+/-]+)['\"\]]{0,3} returned non-zero",
            r"cannot find [`'\"]\S*[`'\"] in \$PATH",
            r"`(?P<program>[\w-]+)[^`]{0,40}` failed with Exception\W{0,2}\[WinError 2\]",
            r"WinError 2\] 系统找不到指定的文件。?\W{0,3}$",
            r"tini \(\d+\)\] exec (?P<program>\S+) failed",
            r"\b(?:ba|z|da|k|a)?sh: (?:line )?(?:\d+: )?(?P<program>(?!\S*(?:/\.\w|profile|bashrc))"
            r"(?:[\w.~$-]*/)[^\s:]*): No such file or directory",
            r"\bzsh: no such file or directory: (?P<program>\S*/\S*)$",
        ),
        "A program that is to be started is not there: {program}.",
        (
            "Install it, or call it by its full path: look at its spelling, and whether its folder "
            "is on the PATH of what starts it.",
            "In a container or image: add it there; llama.cpp's images keep the server at "
            "/app/llama-server, which is their entry point already.",
        ),
        'OCI runtime create failed: runc create failed: exec: "llama-server": executable file not '
        "found in $PATH: unknown",
        Basis.REPORTED,
        phase=_START,
        variants=(
            Variant(
                r"nvidia-smi",
                (
                    "Start the container with the GPU: docker run --gpus all (or --runtime "
                    "nvidia); the toolkit then puts nvidia-smi and the driver's libraries in.",
                    "NVIDIA_DRIVER_CAPABILITIES must have utility (all); a Jetson has none "
                    "before JetPack 6: look with tegrastats, and use l4t images.",
                ),
                "nvidia-smi is not in the container, as the GPU was not passed into it.",
            ),
            Variant(
                r"can't open file|sh: .{0,200}no such file or directory",
                (
                    "Check the path as the program sees it: the working folder, the spelling "
                    "(upper and lower case), what is mounted or copied into a container.",
                    "If it is to come out of a build, that build went wrong, or put it elsewhere "
                    "(build/bin): look for it with find . -name 'llama-*'.",
                    "If it is there, what it is run by is not: the first line of a script (#!), or "
                    "the loader of another system (file NAME tells).",
                ),
                "A script or program that is called by its path is not there: {program}.",
            ),
            Variant(
                r"required file not found",
                (
                    "If it is a script, its first line (head -1 FILE) names an interpreter that is "
                    "not installed, or ends in a line end of Windows: dos2unix FILE.",
                    "If it is a program (file NAME tells), the loader of the system that it was "
                    "built for is not here: glibc's on Alpine, that of another processor. Take "
                    "the build for this system, or an image like the one it was built in.",
                ),
                "The program is there, but not what runs it: {program}.",
            ),
            Variant(
                r"executable file not found in \$PATH|OCI runtime|: OCI\b|exec pid1|tini \(\d|"
                r"\bexec: \"|stat \S+: no such file or directory: unknown",
                (
                    "Install it in the image, or correct the command or entry point that names it "
                    "(docker run --rm --entrypoint sh IMAGE -c 'ls /app; echo $PATH' shows what is "
                    "there).",
                    "llama.cpp's images keep llama-server at /app/llama-server; mind that the "
                    "entry point is the server already.",
                ),
                "The program to start is not in the image: {program}.",
            ),
            Variant(
                r"\bwhich\b|\bwhere\b|\bcommand -v\b",
                (
                    "Install {program} in the image before this step (apt_install on Modal, "
                    "apt-get install in a Dockerfile).",
                ),
                "A step needs {program}, which is not installed.",
            ),
            Variant(
                r"(?:docker|podman|git|git-lfs|cmake|ninja|ollama|curl|wget|aria2c?|nvcc|helm|"
                r"kubectl|modal|hf|uv|conda|ffmpeg|nvidia-smi)(?:\.exe)?['\"`:]* (?:failed with|"
                r"is not|not installed|(?:command )?not found)|is not recognized|"
                r"command not found: |: command not found|WinError 2\]|未找到命令|"
                r"不是内部或外部命令",
                (
                    "Install {program}, or call it by its full path: where it is installed its "
                    "folder is not on the PATH of this shell or service (open a new terminal; in "
                    "a virtual environment activate it).",
                    "In a container or image: add it there (apt-get install in a Dockerfile, "
                    "apt_install on Modal); llama.cpp's images keep the server at "
                    "/app/llama-server, which is their entry point already.",
                ),
                "A program is not installed here, or not on the PATH: {program}.",
            ),
        ),
    ),
    Signature(
        "slurm-refused",
        (
            r"(?:sbatch|srun|salloc): error: (?P<why>invalid (?:partition|account|qos|generic).+)",
            r"Batch job submission failed: (?P<why>.+)",
            r"Unable to allocate resources: (?P<why>.+)",
            r"(?:sbatch|srun|salloc): error: (?P<why>QOS\w+|Assoc\w+|.{0,40}PartitionConfig.+)",
            r"\((?P<why>(?:QOS|Assoc|MaxGRES)\w*Limit|ReqNodeNotAvail[^)]*|PartitionConfig|"
            r"BadConstraints)\)",
        ),
        "Slurm does not take or start the job: {why}.",
        (
            "sinfo -o '%P %G %l %a' shows the partitions with their GPUs (gres) and time limits, "
            "sacctmgr show assoc user=$USER the accounts that are yours: name these in "
            "--partition, --account, --gres=gpu:TYPE:N and --time.",
            "Ask for no more GPUs, memory and cores than one node of that partition has, and than "
            "your account's limits (squeue -u $USER shows what is running).",
        ),
        "sbatch: error: Batch job submission failed: Invalid generic resource (gres) specification",
        Basis.SOURCE,
        phase=_START,
        variants=(
            Variant(
                r"QOS|Assoc|accounting/QOS|Limit",
                (
                    "Wait until jobs of yours end (squeue -u $USER), ask for fewer GPUs or less "
                    "time, or use another --qos, --account or --partition.",
                ),
                "The job is over a limit of the account at this cluster: {why}.",
            ),
            Variant(
                r"[Ss]ocket timed out|Unable to contact slurm|Zero Bytes",
                ("The scheduler is overloaded or down: scontrol ping; try again in some minutes.",),
                "Slurm's controller does not answer.",
            ),
        ),
    ),
    Signature(
        "slurm-time-limit",
        (
            r"CANCELLED AT \S+ DUE TO TIME LIMIT",
            r"job killed: walltime \S+ exceeded limit",
            r"(?:walltime|run ?time|wall ?clock) limit (?:exceeded|reached)",
            r"TERM_RUNLIMIT",
        ),
        "The job ran into its time limit, and the scheduler ended it.",
        (
            "Ask for more time (#SBATCH --time=12:00:00; sinfo -o '%P %l' shows what a partition "
            "allows), and download the model before the job, so that it only loads and serves.",
        ),
        "slurmstepd: error: *** JOB 812 ON n1 CANCELLED AT 2026-01-10T10:00:00 DUE TO TIME LIMIT "
        "***",
        Basis.SOURCE,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "environment-module-missing",
        (
            r"The following module\(s\) (?:are unknown|cannot be loaded|exist, but)",
            r"Unable to locate a modulefile for '(?P<name>[^']+)'",
            r"Unable to locate a modulefile",
            r"ModuleCmd_Load\.c.{0,40}Unable to locate",
        ),
        "The cluster has no software module of that name, or not for what is loaded: {name}.",
        (
            "module spider NAME (Lmod) or module avail shows the names and what must be loaded "
            "before; without one, conda or an Apptainer image brings CUDA itself.",
        ),
        'Lmod has detected the following error: The following module(s) are unknown: "cuda/12.9"',
        Basis.SOURCE,
        phase=_START,
    ),
    Signature(
        "shell-syntax",
        (
            r"^-?bash: (?:-c: (?:line \d+: )?)?syntax error near unexpected token",
            r"zsh: (?:no matches found|parse error|bad pattern)",
            r": (?P<program>source|pushd|function): not found$",
            r"The term '(?P<program>\$|\\|[A-Za-z_]\w*=[^']*|export|source|sudo|chmod|--?\w[\w-]*|"
            r"#!?)' is not",
            r"'(?P<program>\$|\\|[A-Z_]{3,}(?:=[^']*)?|export|source|sudo|chmod|--?\w[\w-]*)' is "
            r"not recognized as an internal",
            r"The token '(?P<program>&&|\|\|)' is not a valid statement separator",
            r"Missing expression after unary operator '(?P<program>--?)'",
            r"(?:^|: )(?P<program>--?[a-zA-Z][\w-]*|\$|>>>|\\): (?:command )?not found$",
            r"command not found: (?P<program>--?[a-zA-Z][\w-]*|\$|>>>|\\)\s*$",
            r": (?P<program>(?-i:[A-Z][A-Z0-9_]{2,})): (?:command )?not found$",
            r"command not found: (?P<program>(?-i:[A-Z][A-Z0-9_]{2,}))\s*$",
            r": (?P<program>[A-Za-z_]\w*): (?:unbound variable|parameter (?:null or )?not set)$",
            r"unexpected EOF while looking for matching",
            r"\b(?:ba|z|da|k|a)?sh: .{0,80}Unterminated quoted string",
            r"\bzsh: unmatched [\"'`]",
        ),
        "A command line was typed for another shell, or came apart at its line ends: "
        "{program} is no program.",
        (
            "Leave out what only shows the prompt ($, #, PS>), and put the command on one line: a "
            "line goes on with \\ at its very end in bash and zsh (no space after it), ` in "
            "PowerShell, ^ in cmd.",
            "Variables before a command (NAME=value program) are a Unix shell's: in PowerShell "
            '$env:NAME="value"; program, in cmd set NAME=value && program; a service takes them '
            "from its unit or from the system's settings.",
        ),
        "The term 'OLLAMA_ORIGINS=*' is not recognized as the name of a cmdlet, function, script "
        "file, or operable program.",
        Basis.REPORTED,
        phase=_START,
        variants=(
            Variant(
                r": (?:source|pushd|function): not found",
                (
                    'Run it with bash: SHELL ["/bin/bash", "-c"] in a Dockerfile, bash FILE, '
                    "#!/bin/bash; or write . FILE for source.",
                ),
                "The script is written for bash, and sh runs it.",
            ),
            Variant(
                r"near unexpected token|Syntax error: |zsh: (?:no matches|parse|bad)",
                (
                    "Put what holds ( ) [ ] * ? & ; < > or spaces in single quotes, and "
                    "close every quote, if and do; bash -n FILE names the line.",
                    "A script for bash is run with bash (not sh), and saved with the line ends "
                    "of Unix.",
                ),
                "The shell cannot read the command: a character that means something to it "
                "stands there without quotes, or something is not closed.",
            ),
            Variant(
                r"unbound variable|parameter (?:null or )?not set",
                (
                    "Set {program} for what runs the script: export {program}=VALUE before it, -e "
                    "{program}=VALUE for docker run, environment in Compose, env in Kubernetes, a "
                    "Secret on Modal.",
                    "Or give it a default where the script reads it: ${{program}:-VALUE}.",
                ),
                "A script uses a variable that is not set: {program}.",
            ),
            Variant(
                r"while looking for matching|Unterminated quoted|\bunmatched\b",
                (
                    "Close the quote: each \" and ' needs a second one, and an apostrophe in a "
                    'text wants " around it; $( and ` are to be closed as well.',
                    "Quotes that a text program made curly are no quotes for a shell: type them "
                    "anew.",
                ),
                "A command line has a quote or bracket that is not closed.",
            ),
            Variant(
                r"(?-i:: [A-Z][A-Z0-9_]{2,}: (?:command )?not found|not found: [A-Z][A-Z0-9_]{2,}"
                r"\s*(?:\n|$))",
                (
                    "Write {program}=VALUE without spaces around =, or export {program}=VALUE; "
                    "with spaces the shell takes the name for a program.",
                    "In an env file for docker or systemd there is one NAME=VALUE on each line, "
                    "and no shell reads it.",
                ),
                "A shell took the name of a variable for a program: {program}.",
            ),
        ),
    ),
    Signature(
        "script-unreadable",
        (
            r"\.(?:sh|bash|command): (?:line )?\d+: .{0,20}syntax error",
            r"\b(?:ba|z|da|k|a)?sh: (?:line )?\d+: [Ss]yntax error",
            r"syntax error near unexpected token [`'\"](?:newline|<|\$'\\r|do\\r|fi\\r|then\\r)",
        ),
        "The shell cannot read a script.",
        (
            "Look at its first lines (head -3 FILE): a web page (<html>) in place of it means that "
            "its address was wrong; take the file's raw one.",
            "Run it with the shell that it is written for (bash FILE rather than sh FILE).",
            "Files from Windows have other line ends: sed -i 's/\\r$//' FILE.",
        ),
        "install.sh: line 1: syntax error near unexpected token `<'",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "program-renamed",
        (
            r"can't open file '[^']*?(?P<program>convert[-_](?:hf-to-gguf|hf-to_gguf|hf_to-gguf|"
            r"lora[-_]to[-_]ggml|"
            r"llama[-_]ggml[-_]to[-_]gguf|llama-ggmlv3-to-gguf|pth-to-ggml|gptq-to-ggml|"
            r"ggml-to-pth)(?:-update)?\.py)': \[Errno 2\]",
            r"can't open file '[^']*llama\.cpp[^']*?[/\\](?P<program>convert\.py)': \[Errno 2\]",
            r"(?:^|[\s\"'`(])(?P<program>(?:\.[/\\]|\S*llama\.cpp[/\\]|\S*build[/\\]bin[/\\])\S*?"
            r"(?:(?<=[/\\])(?:main|server|quantize|perplexity|imatrix|llava-cli|embedding|"
            r"gguf-split|export-lora|finetune|batched-bench|simple|speculative|infill)))(?:\.exe)?"
            r"['\"`]?: (?:No such file|(?:command )?not found)",
            r"(?:^|: )(?P<program>quantize|llava-cli|gguf-split|perplexity): (?:command )?not "
            r"found",
            r"No such file or directory: '[^']*?(?P<program>(?:\.[/\\]|llama\.cpp[/\\]\S*)(?:"
            r"main|server|quantize|llava-cli|imatrix|perplexity))(?:\.exe)?'",
        ),
        "A script or program of llama.cpp is called by a name that it no longer has, or was not "
        "built ({program}).",
        (
            "Since mid 2024 it is convert_hf_to_gguf.py (convert.py and convert-hf-to-gguf.py are "
            "gone), convert_lora_to_gguf.py, llama-cli (main), llama-server (server), "
            "llama-quantize (quantize), llama-imatrix, llama-perplexity, llama-gguf-split, "
            "llama-mtmd-cli (llava-cli).",
            "Programs lie in build/bin (build/bin/Release on Windows) after cmake -B build && "
            "cmake --build build; there is no make any more.",
            "A notebook or script made for the old names wants an update, or a checkout of that "
            "time (git checkout b3000).",
        ),
        "/bin/bash: line 1: ./llama.cpp/quantize: No such file or directory",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "redirect-folder-missing",
        (
            r"\b(?:ba|z|da|k|a)?sh: (?:line )?\d+: (?P<path>/?(?:[\w.@$-]+/)+[\w.@-]+\.(?:log|out|"
            r"err|txt|jsonl?|csv|pid)): No such file or directory",
            r"\bsh: (?:line )?\d+: (?:cannot|can't) create (?P<path>\S+): (?:Directory nonexistent|"
            r"nonexistent directory)",
            r"\b(?:zsh|sh|bash): (?:no such file or directory|can't create): (?P<path>\S+\.(?:log|"
            r"out|err|txt|jsonl?|csv|pid))",
            r"(?:cannot|can't) create (?P<path>\S+\.(?:log|out|err|txt)): (?:Directory|"
            r"nonexistent|No such)",
        ),
        "A shell is to write into {path}, whose folder is not there, so that the command before "
        "it never ran.",
        (
            "Create the folder first (mkdir -p, in a container on the host's side of the mount), "
            "or write the log elsewhere.",
            "Then start the command itself again: what says that it is not running only follows.",
        ),
        "/bin/bash: line 1: /data/logs/ollama.log: No such file or directory",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "docker-usage",
        (
            r"docker: '?docker run'? requires at least 1 argument",
            r"\"docker (?:run|build|buildx build)\" requires (?:at least|exactly) 1 argument",
            r"docker: unknown server OS",
            r"No such container: (?P<name>\S+)",
            r"[Cc]ontainer (?P<name>\S+) is not running",
            r"the input device is not a TTY",
            r"docker: '(?P<name>[\w-]+)' is not a docker command",
            r"unknown command: docker (?P<name>[\w-]+)",
        ),
        "The docker command lacks the image or folder that it works on.",
        (
            "Put the image after the options and what the server gets after the image; docker "
            "build wants the folder at its end (.).",
        ),
        "docker: 'docker run' requires at least 1 argument",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"No such container|is not running",
                (
                    "docker ps -a shows the containers and how they ended, docker logs NAME why; "
                    "start it (docker start NAME, docker compose up -d), then docker exec.",
                    "Compose names containers PROJECT-SERVICE-1: docker compose exec SERVICE "
                    "does without.",
                ),
                "The container that is asked for is not there or has ended: {name}.",
            ),
            Variant(
                r"not a TTY",
                ("Leave -t away (docker exec -i, docker run -i): nobody sits at a terminal.",),
                "docker was asked for a terminal where there is none.",
            ),
            Variant(
                r"is not a docker command|unknown command",
                (
                    "Install the plugin: apt-get install docker-compose-plugin (or "
                    "docker-buildx-plugin) from Docker's own repository; docker.io of the "
                    "distribution lacks it. docker model needs docker-model-plugin or Docker "
                    "Desktop.",
                ),
                "This docker has no command {name}: a plugin is not installed.",
            ),
        ),
    ),
    Signature(
        "docker-daemon-config",
        (
            r"unable to configure the Docker daemon with file (?P<path>\S+):",
            r"directives are (?:specified both|don't match)",
            r"failed to load (?:TOML|config): /etc/(?:containerd|crio)\S*",
            r"invalid (?:character|configuration).{0,80}daemon\.json",
            r"daemon\.json.{0,80}invalid (?:character|configuration)",
        ),
        "The container runtime does not start: its configuration is not valid.",
        (
            "Correct /etc/docker/daemon.json (python3 -m json.tool < file names the line: commas, "
            "quotes); sudo dockerd --validate checks it, then restart docker.",
            "What is set both there and by an option in the unit (-H, --add-runtime) must go "
            "from one of them; for containerd move config.toml away, write containerd config "
            "default, and run nvidia-ctk runtime configure again.",
        ),
        "unable to configure the Docker daemon with file /etc/docker/daemon.json: invalid "
        "character '\"' after object key:value pair",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "not-executable",
        (
            r"exec:? \W{0,4}(?P<program>/[^\s\"\\:]+)\W{1,6}permission denied",
            r"exec: \"(?P<program>[^\"]+)\": permission denied",
            exited(126),
            r"(?P<program>\S*llama-server): Permission denied",
            r"cannot execute: Permission denied",
            r"Failed at step EXEC.*Permission denied",
            r"(?:status|code)=126",
            r"code=exited, status=126\b",
        ),
        "The program may not be executed: {program}.",
        ("chmod +x it, and do not mount its folder with noexec.",),
        'OCI runtime create failed: exec: "/app/llama-server": permission denied',
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "image-no-command",
        (
            r"CMD and ENTRYPOINT are empty",
            r"no default process a command is required",
            r"daemon: No command specified",
            r"no command (?:was )?specified",
            r"neither (?:a )?(?:CMD|command) (?:nor|or) (?:an )?ENTRYPOINT",
            r"no command or entrypoint provided",
        ),
        "The image names no program to start.",
        (
            "Name one: CMD or ENTRYPOINT in the Dockerfile, or a command after the image's name.",
            "An image that was imported (docker import, docker commit) has lost its own.",
        ),
        "docker: Error response from daemon: No command specified.",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "entrypoint-line-ends",
        (
            r"\^M: bad interpreter",
            r"'(?:bash|sh|python3?|env)\\r'",
            r"‘(?:bash|sh|python3?|env)\\r’",
            r"exec /?\S+\.(?:sh|py|bash): no such file or directory",
            r"\$'\\r': command not found",
            r"bad interpreter: No such file or directory",
            r"\S+\.(?:sh|bash|py): cannot execute: required file not found",
        ),
        "A script begins with an interpreter that is not there, mostly because it was saved with "
        "the line ends of Windows.",
        (
            "Convert it (dos2unix FILE, or sed -i 's/\\r$//' FILE) and keep it so with "
            ".gitattributes: *.sh text eol=lf.",
            "Check that the interpreter in its first line (head -1 FILE) is installed, or in the "
            "image: Alpine has no bash.",
            "If it is no script, what is missing is the loader of the system that it was built "
            "for, such as glibc's on Alpine: file NAME tells.",
        ),
        "exec /entrypoint.sh: no such file or directory",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "mount-failed",
        (
            r"MountVolume\.\w+ failed",
            r"Unable to attach or mount volumes",
            r"Multi-Attach error",
            r"invalid mount config",
            r"bind source path does not exist: (?P<path>\S+)",
            r"persistentvolumeclaim \"(?P<path>[^\"]+)\" not found",
            r"pod has unbound immediate PersistentVolumeClaims",
            r"mount: .*(?:failed|wrong fs type)",
            r"Unable to (?:attach|mount)",
            r"FailedMount",
            r"FailedAttachVolume",
            r"(?:error mounting|failed to mount|mount failed|error while mounting|mounting)"
            r"\b.{0,120}(?:no such file|denied|failed|not a directory|not shared|does not exist)",
            r"error while creating mount source path",
            r"Mounts denied",
            r"not a directory: (?:unknown|Are you trying to mount)",
            r"no such volume",
            r"persistentvolumeclaim .{0,80}not found",
            r"(?:\bunbound\b(?! variable)|had volume node affinity conflict)",
            r"ProvisioningFailed",
            r"failed to provision volume",
            r"storageclass\S* \"?\S+ not found",
            r"mount: .{0,80}(?:bad option|unknown filesystem|special device|permission denied|"
            r"can't find|already mounted)",
            r"mount\.(?:nfs|cifs|fuse\w*)\S*: ",
            r"mount error\(\d+\)",
            r"fuse: (?:device not found|failed|mount failed)",
            r"fusermount3?: ",
            r"statfs \S+: no such file or directory",
            r"(?:NFS|SMB|CIFS|s3fs|gcsfuse|rclone|mountpoint-s3).{0,80}(?:mount|"
            r"mounting).{0,60}(?:fail\w*|error|denied|refused)",
            r"hostPath type check failed",
            r"Are you trying to mount a directory onto a file",
            r"volume \S+ .{0,60}(?:is already (?:exclusively )?attached|already used by|is "
            r"being used by)",
            r"failed to prepare subPath",
            r"failed to generate spec: failed to stat",
            r"failed to stat \"(?P<path>[^\"]+)\": stat",
            r"cannot mount volume over existing file",
            r"file exists (?P<path>/\S*models\S*)",
        ),
        "A volume cannot be mounted.",
        ("Check that it exists, that its path is right, and that no other node holds it.",),
        'Warning  FailedMount  kubelet  MountVolume.SetUp failed for volume "models"',
        Basis.REPORTED,
        phase=_START,
        variants=(
            Variant(
                r"Multi-Attach",
                (
                    "The volume is ReadWriteOnce and held by a pod on another node: delete that "
                    "pod (strategy: Recreate instead of RollingUpdate), or use a ReadWriteMany "
                    "class.",
                ),
                "The volume is still attached to another node.",
            ),
            Variant(
                r"mount\.(?:nfs|cifs)|bad option|helper program|nfs",
                (
                    "Install the client on every node: nfs-common (nfs-utils), cifs-utils; check "
                    "server, export and firewall with showmount -e SERVER.",
                ),
                "The network file system cannot be mounted.",
            ),
            Variant(
                r"Mounts denied|not shared from the host",
                (
                    "Docker Desktop: add the folder under Settings > Resources > File sharing, "
                    "or use one below your home.",
                ),
            ),
            Variant(
                r"directory onto a file|not a directory",
                (
                    "One side is a file, the other a folder: docker makes a folder where the "
                    "file of -v did not exist; remove it, create the file, and give its absolute "
                    "path.",
                ),
                "A folder is mounted onto a file, or the other way round.",
            ),
            Variant(
                r"fuse",
                (
                    "docker run --device /dev/fuse --cap-add SYS_ADMIN, and install fuse3 "
                    "(modprobe fuse on the host).",
                ),
            ),
            Variant(
                r"unbound|persistentvolumeclaim|storageclass|provision",
                (
                    "kubectl describe pvc says why: name a StorageClass that exists (kubectl get "
                    "sc; one may be the default), and a size and access mode that it offers.",
                ),
                "The claim for the volume is not bound, or does not exist.",
            ),
            Variant(
                r"bind source path|statfs|no such file",
                (
                    "Create the folder on the host first (mkdir -p), and give its absolute path; "
                    "in WSL and Git Bash mind how paths are translated.",
                ),
                "The folder to mount does not exist on the host.",
            ),
        ),
    ),
    Signature(
        "mount-syntax",
        (
            r"includes invalid characters for a local volume name",
            r"invalid volume specification: ",
            r"invalid (?:mount|bind) (?:spec|format)",
            r"volume name is too short",
            r"too many colons",
        ),
        "The path of -v is not written as this docker takes it.",
        (
            'Give the folder\'s absolute path: -v "$PWD/models:/models" in bash, -v '
            '"$PWD/models:/models" in PowerShell, -v "%cd%\\models:/models" in cmd.',
            "Paths of Windows from Git Bash or WSL: //c/models or /mnt/c/models, or "
            "MSYS_NO_PATHCONV=1; or --mount type=bind,source=...,target=/models.",
        ),
        'docker: Error response from daemon: create ./models: "./models" includes invalid '
        'characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed.',
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "volume-elsewhere",
        (
            r"volume node affinity conflict",
            r"didn't find available persistent volumes",
            r"no persistent volumes available for this claim",
        ),
        "The pod's volume is on a node or in a zone where the pod cannot run, or none fits its "
        "claim.",
        (
            "kubectl describe pvc names it: delete the claim and make it anew where the GPU nodes "
            "are, with a StorageClass of volumeBindingMode: WaitForFirstConsumer.",
            "Without a provisioner, create a PersistentVolume with the claim's size, class and "
            "access mode.",
        ),
        "0/2 nodes are available: 2 node(s) had volume node affinity conflict.",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "device-missing",
        (
            r"error gathering device information .{0,60}device \"?(?P<device>/dev/\S+?)\"?: "
            r"no such",
            r"(?:stat|open|lstat) (?P<device>/dev/(?:kfd|dri|nvidia|accel|dxg|davinci)\S*): "
            r"no such file",
            r"not a device node",
            r"\bopen (?P<device>NUL): The system cannot find",
            r"(?P<device>/dev/(?:kfd|dri|nvidia|dxg)\S*)['\"]?:? .{0,30}(?:no such (?:file|"
            r"device)|does not exist|not found)",
        ),
        "A device that the container is given is not on the host: {device}.",
        (
            "Load the driver on the host (ls /dev/dri /dev/kfd /dev/nvidia*), or drop the "
            "device from the command.",
        ),
        "docker: Error response from daemon: error gathering device information while "
        'adding custom device "/dev/kfd": no such file or directory.',
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"open /dev/kfd|open /dev/dri|rocminfo",
                (
                    "In a container pass them on: --device /dev/kfd --device /dev/dri (apptainer "
                    "--rocm, Kubernetes amd.com/gpu).",
                    "On the host load amdgpu (modprobe amdgpu; ls -l /dev/kfd): GPUs that ROCm "
                    "does not know and virtual machines have no /dev/kfd; use Vulkan there with "
                    "/dev/dri alone.",
                ),
            ),
            Variant(
                r"/dev/kfd",
                (
                    "Load the driver on the host (modprobe amdgpu, or amdgpu-dkms; ls -l "
                    "/dev/kfd /dev/dri), and restart it.",
                    "Windows, WSL with Docker Desktop and macOS have no /dev/kfd: use the engine "
                    "for Windows (HIP, Vulkan), or in WSL /dev/dxg.",
                    "An NVIDIA GPU needs --gpus all instead.",
                ),
            ),
            Variant(
                r"\bopen NUL\b",
                (
                    "Turn the null device of Windows on again, in a prompt of an administrator: "
                    "sc config null start= system, sc start null (sc query null shows it); then "
                    "restart Windows.",
                ),
                "Windows has no null device ({device}): its driver is turned off.",
            ),
            Variant(
                r"/dev/dri",
                (
                    "Load the GPU's driver on the host (ls -l /dev/dri; i915, xe or amdgpu), and "
                    "in a virtual machine pass the GPU through first.",
                    "Docker Desktop has no /dev/dri: WSL has /dev/dxg instead, macOS no GPU for "
                    "containers.",
                ),
            ),
            Variant(
                r"/dev/nvidia",
                (
                    "Use --gpus all instead of --device /dev/nvidia0; on the host nvidia-smi or "
                    "nvidia-modprobe -u makes the files.",
                ),
            ),
        ),
    ),
    Signature(
        "cgroup-limits",
        (
            r"error setting cgroup config",
            r"Range of CPUs is from",
            r"cgroup(?:s|v2)?\b.{0,80}(?:not mounted|not supported|mountpoint does not exist|"
            r"no such file|not enabled|controller .{0,20}(?:not|unavailable))",
            r"Minimum memory limit allowed",
            r"memory\.(?:max|limit_in_bytes).{0,60}(?:no such file|invalid argument|"
            r"permission|busy)",
            r"(?:Your kernel does not support|kernel doesn't support) .{0,60}(?:cgroup|memory|"
            r"swap|limit)",
            r"failed to install eBPF device filter",
            r"requested cgroup controller",
        ),
        "The limits given to the container cannot be set on this host.",
        (
            "Lower --cpus and --memory to what the host has; update the runtime so that it "
            "uses cgroup v2 as the host does.",
        ),
        "Error response from daemon: Range of CPUs is from 0.01 to 4.00, as there are "
        "only 4 CPUs available",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "podman-session",
        (
            r"sd-bus (?:call|add match|open)\b.{0,80}(?:not permitted|denied|refused|No such)",
            r"no systemd user session available.{0,80}(?:fail|error)",
        ),
        "The container runtime may not use the user's systemd session.",
        (
            "Log in anew by ssh or machinectl shell instead of su or sudo, after loginctl "
            "enable-linger USER.",
            "Or do without: podman --cgroup-manager=cgroupfs.",
        ),
        "ERRO[0000] sd-bus add match: Operation not permitted: OCI runtime permission denied error",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "podman-port",
        (
            r"Failed to bind port (?P<port>\d+) \(Permission denied\)",
            r"rootlessport cannot expose privileged port (?P<port>\d+)",
        ),
        "A container without root may not listen on port {port}.",
        (
            "Publish a port above 1023 (-p 8080:8080), or sudo sysctl "
            "net.ipv4.ip_unprivileged_port_start=80.",
        ),
        "Error: rootlessport cannot expose privileged port 80, you can add "
        "'net.ipv4.ip_unprivileged_port_start=80' to /etc/sysctl.conf (currently 1024)",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "runtime-kernel",
        (
            r"crun: .{0,80}Function not implemented",
            r"crun: unknown version specified",
            r"runc: .{0,80}Function not implemented",
        ),
        "The container runtime (crun, runc) and this kernel or podman do not go together.",
        (
            "Use the runtime of the distribution instead of one that was installed beside it, or "
            "the other one: podman --runtime runc (or crun).",
            "A newer kernel has the calls that are missing.",
        ),
        "Error: OCI runtime error: crun: fsopen_mount `tmpfs`: Function not implemented",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "podman-ids",
        (
            r"insufficient UIDs or GIDs available in user namespace",
            r"(?:newuidmap|newgidmap)\b.{0,80}(?:fail\w*|not permitted|not found|error)",
            r"no subuid ranges found",
            r"/etc/sub[ug]id",
            r"cannot set up namespace using",
            r"user namespaces? .{0,40}(?:not (?:enabled|supported)|disabled|restricted)",
            r"cannot re-exec process to join the existing user namespace",
        ),
        "A rootless container needs more user and group ids than its user has.",
        ("Add a range for the user in /etc/subuid and /etc/subgid, then podman system migrate.",),
        "Error: writing blob: potentially insufficient UIDs or GIDs available in user "
        "namespace (requested 0:42 for /etc/gshadow): Check /etc/subuid and /etc/subgid",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "podman-locks",
        (
            r"exceeded num_locks",
            r"allocating lock for new container",
        ),
        "Podman has no locks left for another container: as many were made as it allows.",
        (
            "Remove what is not needed (podman system prune, podman volume prune), or raise "
            "num_locks in containers.conf, then podman system renumber.",
        ),
        "Error: allocating lock for new container: allocation failed; exceeded num_locks (2048)",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "docker-permission",
        (
            r"permission denied while trying to connect to the (?:Docker|docker)",
            r"dial unix \S*(?:docker|podman|containerd)\.sock: connect: permission denied",
        ),
        "The user may not talk to the Docker daemon.",
        ("sudo usermod -aG docker $USER and log in anew, or use sudo.",),
        "permission denied while trying to connect to the Docker daemon socket at "
        "unix:///var/run/docker.sock",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "docker-network",
        (
            r"failed to add the host \(\S+\) <=> sandbox",
            r"iptables failed",
            r"No chain/target/match by that name",
            r"non-overlapping IPv4 address pool",
            r"Pool overlaps with other one on this address space",
            r"daemon: network \S+ not found",
            r"failed to (?:create|add|set up) (?:the )?(?:bridge|docker0|veth|NAT chain|"
            r"network bridge)",
            r"(?:netavark|aardvark|slirp4netns|pasta)\b.{0,80}(?:error|failed|not found|"
            r"unable)",
            r"failed to set up container networking(?!.{0,500}(?:already (?:allocated|in use)|"
            r"bind: |Ports are not available))",
        ),
        "Docker's own network is broken or missing.",
        (
            "Restart docker, so that it writes its firewall rules anew; docker network "
            "prune, or docker compose down and up.",
        ),
        "Error response from daemon: network llm_default not found",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"sandbox \(\S+\) pair interfaces",
                (
                    "Start the machine anew: its kernel was updated and the modules of the "
                    "running one are gone (veth); modprobe veth bridge tells.",
                ),
                "The kernel cannot make the container's network card.",
            ),
        ),
    ),
    Signature(
        "docker-storage",
        (
            r"/var/lib/(?:docker|containerd)/\S+: no such file or directory",
            r"error creating overlay mount",
            r"failed to mount overlay",
            r"overlay(?:fs|2)?\b.{0,80}(?:not supported|invalid argument|is not supported "
            r"over|missing d_type)",
            r"failed to (?:register|extract) layer.{0,200}(?:input/output|invalid argument|"
            r"unexpected|lchown|duplicates)",
            r"(?:layer|image) does not exist$",
            r"no such image layer",
            r"database disk image is malformed",
            r"blob sha256:\S+: (?:not found|input/output error)",
            r"parent snapshot \S+ does not exist",
            r"mounting storage for container: ",
            r"creating overlay mount to \S+: ",
        ),
        "The storage of the container runtime is damaged, or its file system does not suit.",
        (
            "docker system prune -a and pull again; put its data-root on ext4 or xfs "
            "(ftype=1), not on NFS or a FUSE mount.",
        ),
        "failed to mount overlay: invalid argument",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "docker-credentials",
        (
            r"docker-credential-\w+",
            r"error getting credentials",
            r"no usernames for https://",
            r"error storing credentials",
        ),
        "Docker's helper for passwords is missing or fails.",
        ('Take "credsStore" out of ~/.docker/config.json, then docker login again.',),
        'error getting credentials - err: exec: "docker-credential-desktop": '
        "executable file not found in $PATH, out: ``",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "compose-invalid",
        (
            r"services\.\S+ missing property",
            r"services\S+ invalid command line string",
            r"services\.\S+: unexpected type",
            r"(?<!\w)top-level object must be a mapping",
            r"\(root\) Additional property",
            r"invalid compose project",
            r"depends on undefined service",
            r"refers to undefined (?:volume|network|config|secret)",
            r"declared as external, but could not be found",
            r"no configuration file provided: not found",
            r"validating \S+\.ya?ml: ",
            r"services\.\S+ (?:additional propert\w+|must be|capabilities is required|"
            r".{0,60}(?:not allowed|is required|must be a))",
            r"(?:no such|unknown) service: ",
            r"\bcompose\b.{0,60}(?:file|project|spec)\b.{0,60}(?:invalid|not found|"
            r"unsupported|is empty)",
            r"has neither an image nor a build context",
            r"external (?:volume|network|secret) \"[^\"]+\" not found",
            r"parsing \S+\.ya?ml: (?!error converting)",
            r"invalid interpolation format for",
        ),
        "Docker Compose does not accept its file.",
        (
            "docker compose config names the place; GPUs go under "
            "deploy.resources.reservations.devices with driver, count and capabilities "
            "[gpu].",
        ),
        'service "webui" depends on undefined service "ollama": invalid compose project',
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"yaml: |did not find expected|mapping values|cannot start any token|could not "
                r"find expected|block (?:mapping|sequence|collection)|found character",
                (
                    "The indentation is wrong at that line or just before it: keys of one level "
                    "begin in one column (a block that was a comment keeps a space of its #), "
                    "spaces only, a space after each colon, lists with -.",
                    "docker compose config shows how far it is read; quote values with : or #.",
                ),
                "The Compose file is not valid YAML.",
            ),
            Variant(
                r"undefined service|no such service|unknown service",
                (
                    "Name a service that the file has (docker compose config --services), or add "
                    "the file that has it with -f; one behind a profile needs --profile.",
                ),
            ),
            Variant(
                r"external|undefined (?:volume|network)|could not be found",
                (
                    "Create it first (docker volume create NAME, docker network create NAME), or "
                    "leave external: true away; what services use must stand under volumes: or "
                    "networks: of the file.",
                ),
            ),
            Variant(
                r"no configuration file|not found",
                ("Go to the folder that has compose.yaml, or name the file: docker compose -f.",),
            ),
        ),
    ),
    Signature(
        "compose-too-old",
        (
            r"(?<!limits value Additional properties are not allowed )\('devices' was unexpected\)",
            r"value 'devices' does not match any of the regexes",
            r"'name' does not match any of the regexes",
            r"(?<!limits )Additional property (?:devices|gpus|models|provider|secrets|profiles|"
            r"name|"
            r"include|develop|extends|configs|deploy|healthcheck|post_start) is not allowed",
            r"Unsupported config option for services",
            r"You might be seeing this error because you're using the wrong Compose file version",
        ),
        "This docker-compose is too old for the file (GPUs came with 1.28), or it is docker stack, "
        "which knows no GPUs.",
        (
            "Use docker compose (with a space: the plugin docker-compose-plugin, version 2) "
            "instead of docker-compose or docker stack deploy.",
            "Without it: runtime: nvidia and NVIDIA_VISIBLE_DEVICES=all in place of deploy, with "
            "the NVIDIA runtime configured.",
        ),
        "ERROR: The Compose file './docker-compose.yml' is invalid because:\n"
        "services.llama.deploy.resources.reservations value Additional properties are not allowed "
        "('devices' was unexpected)",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"property (?:gpus|models|provider|post_start|develop|include)",
                (
                    "Update it: apt-get install docker-compose-plugin from Docker's repository "
                    "(gpus: came with 2.30, models: with 2.38); docker compose version shows it.",
                    "For GPUs every version since 1.28 takes deploy.resources.reservations.devices "
                    "with driver: nvidia, count: all and capabilities: [gpu].",
                ),
                "This Docker Compose is older than a key of the file.",
            ),
        ),
    ),
    Signature(
        "build-context",
        (
            r"failed to (?:compute cache key|calculate checksum)",
            r"(?:^|[^:] )(?:COPY|ADD) failed\b",
            r"not found in build context",
            r"failed to read dockerfile",
            r"Cannot locate specified Dockerfile",
            r"forbidden path outside the build context",
            r"dockerfile parse error",
            r"unknown instruction: ",
            r"unknown (?:build )?(?:stage|flag): .{0,40}(?:FROM|COPY|RUN)",
            r"invalid from flag value",
            r"base name \(\S*\) should not be blank",
            r"target stage \"?\S+ could not be found",
            r"failed to parse stage name",
            r"unable to prepare context: ",
            r"failed to solve: (?:dockerfile parse|circular dependency|no build stage)",
        ),
        "The Dockerfile names a file that is not in the build's folder, or has a mistake in it.",
        (
            "Build from the folder that holds it (docker build -f path/Dockerfile .), and "
            "look into .dockerignore.",
        ),
        "ERROR: failed to solve: failed to compute cache key: failed to calculate "
        'checksum of ref 1::2: "/models": not found',
        Basis.REPORTED,
        phase=Phase.BUILD,
        variants=(
            Variant(
                r"base name|parse stage name|target stage",
                (
                    "Give the ARG that FROM names a value: ARG BASE=image:tag before FROM, or "
                    "docker build --build-arg BASE=image:tag.",
                    "A stage after --target or --from must be named as in FROM image AS name.",
                ),
                "FROM in the Dockerfile names an image or stage that is empty or unknown.",
            ),
        ),
    ),
    Signature(
        "buildkit-missing",
        (
            r"the --(?:mount|chmod|link|parents) option requires BuildKit",
            r"buildx component is missing or broken",
            r"docker: 'buildx' is not a docker command",
            r"unknown flag: --(?:load|push|secret|ssh)\b",
        ),
        "The Dockerfile or command needs BuildKit, which this docker lacks.",
        (
            "Install the plugin docker-buildx-plugin (docker-buildx), then docker buildx build; "
            "with an old docker DOCKER_BUILDKIT=1 docker build.",
        ),
        "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to "
        "learn how to build images with BuildKit enabled",
        Basis.REPORTED,
        phase=Phase.BUILD,
    ),
    Signature(
        "gpu-not-schedulable",
        (
            r"Insufficient nvidia\.com/gpu",
            r"Insufficient amd\.com/gpu",
            r"untolerated taint \{nvidia\.com/gpu",
            r"UnexpectedAdmissionError.*nvidia\.com/gpu",
            r"Insufficient (?:gpu\.\S+|nvidia\S+|amd\S+|intel\S*gpu\S*|\S*/gpu|google\.com/tpu|"
            r"habana\S+)",
            r"(?:Allocate|allocation) failed.{0,80}(?:nvidia|amd|gpu)",
            r"no (?:healthy )?devices present; cannot allocate unhealthy devices",
            r"untolerated taint.{0,60}(?:nvidia|gpu)",
            r"GPU.{0,40}(?:quota|capacity) .{0,40}(?:exceeded|not available|unavailable|"
            r"insufficient)",
        ),
        "No node that this pod may use has a free GPU.",
        (
            "Add a GPU node, free one, or add the toleration that its taint asks for; check that "
            "the "
            "device plugin runs.",
        ),
        "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
        Basis.REPORTED,
        phase=_START,
        variants=(
            Variant(
                r"taint",
                (
                    "Give the pod the toleration that the node's taint asks for: key "
                    "nvidia.com/gpu, operator Exists, effect NoSchedule; its nodeSelector does "
                    "not do that.",
                    "Or take the taint off: kubectl taint nodes NODE nvidia.com/gpu-.",
                ),
                "The pod does not tolerate the taint of the nodes that have GPUs.",
            ),
        ),
    ),
    Signature(
        "gpu-no-capacity",
        (
            r"no longer any instances available",
            r"not enough hardware capacity",
            r"InsufficientInstanceCapacity",
            r"InsufficientHostCapacity",
            r"do not have sufficient .{0,60}capacity",
            r"ZONE_RESOURCE_POOL_EXHAUSTED",
            r"does not have enough resources available to fulfill",
            r"insufficient[- ]capacity",
            r"not enough capacity",
            r"(?:insufficient|not enough|no) (?:GPUs?|GPU resources|machines|instances|hosts) "
            r"(?:are )?(?:currently )?(?:available|left|in stock)",
            r"insufficient resources available to fulfill",
            r"could not reserve resource for machine",
            r"SkuNotAvailable",
            r"(?:Overconstrained)?(?:Zonal)?AllocationFailed",
            r"\bno_such_ask\b",
            r"(?:instance|machine|GPU|offer) .{0,60}(?:is |are )?(?:sold out|out of stock|no "
            r"longer available|out of capacity)",
            r"there was no available instance",
            r"could not find capacity",
            r"failed to find (?:an? )?(?:available )?(?:machine|instance|offer|GPU)",
            r"ResourcesUnavailableError",
            r"Failed to acquire resources",
            r"Catalog does not contain any instances",
            r"No (?:launchable )?resource (?:found|satisf)",
            r"not have the resources to deploy",
            r"not enough free GPUs",
            r"no GPUs available in",
            r"No \S+ capacity available",
            r"GCE out of resources",
        ),
        "The provider has no such GPU free at present.",
        ("Try another region, another GPU or a list of several, or wait.",),
        "An error occurred (InsufficientInstanceCapacity) when calling the "
        "RunInstances operation: We currently do not have sufficient g6.12xlarge "
        "capacity in the Availability Zone you requested.",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "cloud-quota",
        (
            r"VcpuLimitExceeded",
            r"Quota '?\w*(?:GPU|CPUS|NVIDIA|TPU)\w*'? exceeded",
            r"(?<!disk )Quota exceeded for \w+",
            r"QUOTA_EXCEEDED",
            r"\bQuotaExceeded\b",
            r"ResourceLimitExceeded",
            r"exceeding (?:the )?approved .{0,80}quota",
            r"account-level service limit",
            r"(?:current|your) vCPU limit of",
            r"LimitExceededException",
            r"usage limits in Colab",
            r"(?:weekly|monthly|daily) GPU (?:quota|limit)",
            r"You have reached (?:the|your) .{0,60}(?:quota|limit) (?:for|of) .{0,40}(?:GPU|"
            r"instances|machines|pods)",
            r"GCE quota exceeded",
        ),
        "The account's quota allows no more GPUs of this kind.",
        ("Ask the provider for a higher quota, or use another region or kind of GPU.",),
        "ERROR: (gcloud.compute.instances.create) Quota 'GPUS_ALL_REGIONS' exceeded.  "
        "Limit: 0.0 globally.",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "cloud-payment",
        (
            r"(?:account )?(?:balance|credits?|funds?) (?:is |are )?(?:too low|insufficient|"
            r"exhausted|depleted|not enough)",
            r"(?:insufficient|not enough|out of|no remaining) (?:funds|credits?|balance)\b",
            r"(?:please )?add (?:funds|credits|a (?:payment method|credit card))",
            r"402 (?:Client Error|Payment Required)",
            r"(?:payment|billing) .{0,60}(?:required|declined|failed|not enabled|disabled|"
            r"past due)",
            r"exceeded your (?:monthly included )?credits",
            r"not have enough (?:balance|credits?|funds)",
        ),
        "The provider wants money first: credits are used up, or no card is on file.",
        ("Add funds or a payment method in the provider's console.",),
        "Error: Your account balance is too low to start this pod. Please add funds.",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "not-schedulable",
        (
            r"\d Insufficient (?P<what>memory|cpu|ephemeral-storage)",
            r"nodes? (?:are|is) available: .*didn't match",
            r"exceeded quota: (?P<what>\S+)",
            r"FailedScheduling(?! +Skip)",
            r"untolerated taint",
            r"(?:node\(s\)|nodes?|pods?) (?:that )?(?:had .{1,80}|didn't (?:match|tolerate|find))",
            r"nodes are available",
            r"no nodes available to schedule",
            r"(?:is )?forbidden: (?:exceeded|maximum|minimum|failed quota)",
            r"NotTriggerScaleUp",
            r"\bOutOf(?:cpu|pods|nvidia\S*)\b",
            r"didn't have free ports",
            r"TopologyAffinityError",
            r"Pod was rejected: Predicate",
        ),
        "No node has what the pod asks for.",
        ("Lower its requests, or add a larger node.",),
        "0/3 nodes are available: 3 Insufficient memory.",
        Basis.REPORTED,
        phase=_START,
        variants=(
            Variant(
                r"exceeded quota|forbidden: (?:exceeded|maximum|minimum|failed)",
                (
                    "kubectl describe quota,limitrange -n NAMESPACE shows what is allowed and "
                    "used: end other pods of the namespace (old ReplicaSets too), ask for less, "
                    "or have the quota raised.",
                ),
                "The quota or limits of the namespace do not allow the pod.",
            ),
            Variant(
                r"Too many pods|OutOfpods",
                (
                    "Add a node, or raise the kubelet's maxPods (110 by default; on EKS it "
                    "follows from the instance type).",
                ),
                "The nodes hold as many pods as they may.",
            ),
            Variant(
                r"unschedulable(?!.*taint)|cordoned",
                ("kubectl get nodes shows SchedulingDisabled: kubectl uncordon NODE.",),
                "The nodes are closed to new pods (cordoned).",
            ),
            Variant(
                r"(?s)^(?!.*taint).*didn't match .{0,20}(?:affinity|selector)",
                (
                    "Correct nodeSelector or affinity: kubectl get nodes --show-labels has what "
                    "they may ask for; kubectl label node NODE KEY=VALUE gives one what is asked.",
                    "Lower its requests, or add a larger node, where a resource is named as "
                    "Insufficient.",
                ),
                "No node has the labels that the pod asks for.",
            ),
            Variant(
                r"taint|didn't match",
                (
                    "Add a toleration for each taint that kubectl describe node shows "
                    "(nvidia.com/gpu: operator Exists, effect NoSchedule), or take the taint away.",
                    "Correct nodeSelector or affinity: kubectl get nodes --show-labels has what "
                    "they may ask for.",
                    "Lower its requests, or add a larger node, where a resource is named as "
                    "Insufficient.",
                ),
                "No node takes the pod: taints that it does not tolerate, or labels that it asks "
                "for.",
            ),
        ),
    ),
    Signature(
        "manifest-refused",
        (
            r"violates PodSecurity",
            r"error validating data",
            r"error validating \"",
            r"no matches for kind",
            r"admission webhook .{0,120}denied",
            r"(?P<why>[Nn]o runtime found to support .{0,100})",
            r"NoSupportingRuntime",
            r"error parsing \S+: error converting YAML to JSON: (?P<why>.+)",
            r"\b[A-Z]\w+ \\?\"[^\"]+\" is invalid: (?P<why>.+)",
            r"strict decoding error",
            r"unable to (?:build|recognize|decode) .{0,60}(?:kubernetes objects|manifest|"
            r"\.ya?ml)",
            r"don't meet the specifications of the schema",
            r"namespaces \"[^\"]+\" not found",
            r"Error from server \((?:BadRequest|Invalid|Conflict|AlreadyExists)\): "
            r"(?P<why>(?!.*(?:waiting to start|is terminated)).+)",
            r"field is immutable",
            r"Error from server \(NotFound\): (?P<why>.+)",
        ),
        "Kubernetes refuses the manifest: {why}.",
        (
            "Correct the field that it names; kubectl explain and kubectl apply "
            "--dry-run=server show what the cluster takes.",
            "For security rules set runAsNonRoot with a numeric runAsUser, "
            "allowPrivilegeEscalation: false and drop all capabilities.",
        ),
        'error: error validating "llama.yaml": error validating data: '
        "ValidationError(Deployment.spec.template.spec.containers[0]): unknown field "
        '"resource" in io.k8s.api.core.v1.Container',
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "run-as-root",
        (
            r"container has runAsNonRoot and image (?:will run as root|has non-numeric user)",
            r"unable to validate against any security context constraint",
            r"running as root is not (?:allowed|permitted)",
        ),
        "The cluster does not let a container run as root, and the image does.",
        (
            "Set securityContext.runAsUser to a number such as 1000, and let that user "
            "write the cache (fsGroup, HF_HOME on a volume).",
        ),
        "Error: container has runAsNonRoot and image will run as root (pod: "
        '"llama-0_default(1)", container: llama)',
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "kube-forbidden",
        (
            r"is forbidden: User \"",
            r"cannot (?:create|get|list|watch|patch|update|delete) resource",
            r"You must be logged in to the server",
            r"failed to (?:list|watch) \*v1\.\w+: .{0,60}(?:Unauthorized|forbidden)",
            r"the server has asked for the client to provide credentials",
            r"getting credentials: exec: ",
        ),
        "The account may not do this in the cluster.",
        (
            "Renew the login of the kubeconfig, or ask for a Role and RoleBinding with "
            "this verb (kubectl auth can-i).",
        ),
        "Error from server (Forbidden): deployments.apps is forbidden: User "
        '"system:serviceaccount:ci:default" cannot create resource "deployments"',
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "kube-unreachable",
        (
            r"Error from server \((?:ServiceUnavailable|InternalError|Timeout|ServerTimeou"
            r"t|TooManyRequests)\)",
            r"The connection to the server .{0,80}was refused",
            r"Unable to connect to the server: (?:dial|EOF|x509|net/http|context|Get|tls|read|"
            r"getting)",
            r"couldn't get current server API group list",
            r"Kubernetes cluster unreachable",
            r"no configuration has been provided, try setting KUBERNETES_MASTER",
            r"current-context .{0,60}(?:not set|does not exist)",
        ),
        "The Kubernetes cluster does not answer.",
        ("Check kubectl config current-context, the VPN, and that the cluster runs.",),
        "The connection to the server localhost:8080 was refused - did you specify the "
        "right host or port?",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "helm-failed",
        (
            r"another operation \(install/upgrade/rollback\) is in progress",
            r"cannot re-use a name that is still in use",
            r"(?:INSTALLATION|UPGRADE) FAILED: (?P<why>(?!.*(?:timed out|deadline exceeded|"
            r"specifications of the schema)).+)",
            r"invalid ownership metadata",
            r"has no deployed releases",
            r"chart \"[^\"]+\" .{0,80}not found",
            r"execution error at \(",
            r"(?:template|parse error at) .{0,120}(?:executing|error calling|nil pointer "
            r"evaluating)",
            r"YAML parse error on \S+/templates",
            r"repo \S+ not found$",
            r"no repositories to show",
        ),
        "Helm could not install: {why}.",
        (
            "helm list -a shows a release that hangs; helm rollback or helm uninstall it. "
            "helm template shows what a chart makes.",
        ),
        "Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "pod-not-running",
        (
            r"pod is not running\. Current status=(?P<status>\w+)",
            r"unable to upgrade connection: container not found",
            r"container \"[^\"]+\" in pod \"[^\"]+\" is (?:waiting to start: )?"
            r"(?P<status>ContainerCreating|PodInitializing|not available|terminated)",
            r"cannot exec into a container in a completed pod",
        ),
        "The pod that is asked for does not run yet, or any more: {status}.",
        (
            "kubectl describe pod NAME says what it waits for (image, volume, GPU, probe), "
            "kubectl logs NAME --previous why it ended; then ask again.",
        ),
        "error: unable to forward port because pod is not running. Current status=Pending",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "pod-network",
        (
            r"cni plugin not initialized",
            r"failed to set ?up (?:sandbox|pod|network for sandbox)",
            r"NetworkPluginNotReady",
            r"plugin type=\"[\w-]+\" failed",
            r"failed to (?:allocate|assign) (?:an )?IP address",
        ),
        "The cluster's network plugin cannot connect the pod.",
        (
            "Look at the plugin's own pods (kubectl -n kube-system get pods) and restart "
            "them; check that addresses are left.",
        ),
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to "
        'setup network for sandbox "1": plugin type="flannel" failed (add): open '
        "/run/flannel/subnet.env: no such file or directory",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "service-sandbox",
        (
            r"status=(?:226/NAMESPACE|218/CAPABILITIES|219/CGROUP|228/SECCOMP|"
            r"229/SELINUX_CONTEXT|231/APPARMOR|238/STATE_DIRECTORY|239/CACHE_DIRECTORY|"
            r"240/LOGS_DIRECTORY|241/CONFIGURATION_DIRECTORY|233/RUNTIME_DIRECTORY|"
            r"243/CREDENTIALS|204/MEMORY|205/LIMITS|31/SYS)",
            r"Failed at step (?:NAMESPACE|CAPABILITIES|CGROUP|SECCOMP|APPARMOR|\w+_DIRECTORY|"
            r"LIMITS|CREDENTIALS)",
            r"Failed to set up (?:mount namespacing|special execution directory|credentials)",
            r"apparmor=\"DENIED\"",
            r"avc: +denied",
            r"SELinux is preventing",
        ),
        "The protections of the service (systemd, SELinux, AppArmor) keep the program "
        "from what it needs.",
        (
            "Create the folders that the unit names; loosen ProtectHome, ProtectSystem, "
            "PrivateDevices and SystemCallFilter one by one.",
            "GPUs need PrivateDevices=no and DeviceAllow for /dev/nvidia* or /dev/dri; "
            "SELinux wants :z on mounts, or an audit2allow rule.",
        ),
        "llama.service: Main process exited, code=exited, status=226/NAMESPACE",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "unit-invalid",
        (
            r"Neither a valid executable name nor an absolute path",
            r"has a bad unit file setting",
            r"Unit configuration has fatal error",
            r"Unit \S+\.service (?:not found|could not be found)",
            r"Unit file \S+ does not exist",
            r"Unit \S+ (?:is masked|not loaded)",
            r"(?:Executable|Command) path is not absolute",
            r"Service has no ExecStart=",
            r"Failed to parse .{0,40}(?:ExecStart|unit|Environment)",
            r"Job \S+ .{0,40}failed with result 'dependency'",
            r"Dependency failed for ",
            r"lacks (?:both )?ExecStart=",
            r"quadlet-generator\S* .{0,60}(?:converting|unsupported|error|invalid)",
            r"Unknown key name '[^']+' in section",
        ),
        "systemd has no such unit, or does not accept it.",
        (
            "systemd-analyze verify names the line; after a change run systemctl "
            "daemon-reload. ExecStart needs an absolute path.",
        ),
        "Failed to start llama.service: Unit llama.service has a bad unit file setting.",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "env-file-missing",
        (
            r"Failed to load environment files",
            r"env file \S+ not found",
            r"(?:open|stat) (?:\S*/)?\.env\S*: no such file",
            r"(?:couldn't|could not) find env file",
        ),
        "A file of environment variables is not there.",
        (
            "Create it, name it by its absolute path, or put a minus before it "
            "(EnvironmentFile=-/etc/llama.env).",
        ),
        "llama.service: Failed to load environment files: No such file or directory",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "home-missing",
        (
            r"\$HOME is not defined",
            r"(?<!\w)HOME (?:environment variable )?(?:is )?not (?:set|defined)",
            r"(?:could not|cannot|unable to) determine (?:the )?(?:home|cache) dir\w*",
            r"neither \$?\w+ nor \$?HOME",
        ),
        "The program has no home folder: HOME is not set, as in a systemd unit or a "
        "container with a bare user id.",
        (
            "Set it: Environment=HOME=/var/lib/llama in the unit, or -e HOME=/tmp for "
            "docker run --user.",
        ),
        "panic: $HOME is not defined",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "folder-denied",
        (
            r"mkdir (?P<path>/[^\s:]*): permission denied",
            r"(?:cannot|could not) create directory ['‘\"](?P<path>[^'’\"]+)['’\"]: Permission "
            r"denied",
        ),
        "The program's user may not make the folder {path}.",
        (
            "Make it and give it to that user (mkdir -p, chown -R USER), and let it pass every "
            "folder above (chmod o+x).",
            "Under systemd, ProtectHome=yes hides /home and /root: drop it, or name another folder "
            "(OLLAMA_MODELS, HF_HOME).",
        ),
        "Error: could not create directory mkdir /var/lib/ollama: permission denied",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "read-only-folder",
        (
            r"Remounting filesystem read-only",
            r"(?:(?P<path>/[^\s'\":]+)['\"]?: )?Read-only file ?system",
            r"mkdir (?P<path>[^\s:]+): read-only file",
            r"\bEROFS\b",
        ),
        "A folder that the program writes to is read-only: {path}.",
        (
            "Mount a writable volume there, or drop :ro, --read-only or readOnlyRootFilesystem; "
            "models and caches can go elsewhere (HF_HOME, OLLAMA_MODELS, TMPDIR).",
            "If the disk became so by itself, dmesg names the fault: check the disk (fsck).",
        ),
        "touch: cannot touch '/data/x': Read-only file system",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "secret-missing",
        (
            r"CreateContainerConfigError",
            r"secret \"(?P<name>[^\"]+)\" not found",
            r"configmap \"(?P<name>[^\"]+)\" not found",
            r"Secret '(?P<name>[^']+)' (?:was )?not found",
            r"Secret is missing key",
            r"Could not find secret",
            r"(?:secret|configmap)s? \S+ not found",
            r"couldn't find key \S+ in (?:Secret|ConfigMap)",
            r"missing (?:required )?(?:environment variable|env var)",
            r"(?:environment variable|env var)s? ['\"`$]*(?:HF|HUGGING|OPENAI|AWS|API|MODAL|"
            r"[A-Z]+_(?:TOKEN|KEY|SECRET))\w*\S* (?:is |are )?(?:not set|missing|required|"
            r"must be set)",
            r"(?:variable|secret) \S+ is required",
            r"secrets? .{0,60}(?:could not be found|does not exist|doesn't exist)",
            r"references non-existent (?:secret|config)",
            r"FailedToRetrieveImagePullSecret",
            r"Unable to retrieve some image pull secrets",
            r"required variable (?P<name>\S+) is missing a value",
            r"error looking up service account",
            r"serviceaccount \"(?P<name>[^\"]+)\" not found",
        ),
        "A secret or config map that the container needs is missing.",
        ("Create it in the same namespace or environment, with the keys that are used.",),
        'Error: secret "hf-token" not found',
        Basis.REPORTED,
        phase=_START,
        variants=(
            Variant(
                r"[Mm]odal|Secret\.from|Secret '",
                (
                    "modal secret create huggingface HF_TOKEN=hf_..., in the environment that is "
                    "deployed to (--env), and name it in "
                    'secrets=[modal.Secret.from_name("huggingface")].',
                ),
            ),
            Variant(
                r"secret \"|configmap \"|in Secret|in ConfigMap|kubelet|FailedToRetrieve",
                (
                    "kubectl create secret generic hf-token --from-literal=HF_TOKEN=hf_... -n "
                    "NAMESPACE (docker-registry for image pulls), in the namespace of the pod "
                    "and with the key that it names.",
                ),
            ),
            Variant(
                r"required variable|env(?:ironment)? var|not set|missing a value",
                (
                    "Set it where the program runs: in .env beside compose.yaml, docker run -e "
                    "NAME=value, Environment= of a unit, or export in this shell.",
                ),
                "A variable that the program needs is not set: {name}.",
            ),
        ),
    ),
    Signature(
        "post-start-hook",
        (
            r"FailedPostStartHook",
            r"PostStartHookError(?:: (?P<why>.+))?",
            r"PostStartHook failed",
        ),
        "A command that runs as the container starts (postStart) failed, so the container is "
        "ended: {why}.",
        (
            "Run it by hand (kubectl exec) to see why. The Ollama chart pulls models in it: "
            "check their names, network and disk, or leave ollama.models empty and pull later.",
        ),
        "Warning  FailedPostStartHook  19s (x5 over 2m3s)  kubelet  PostStartHook failed",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=_START,
    ),
    Signature(
        "probe-failed",
        (
            r"(?:Readiness|Liveness|Startup) probe error",
            r"(?:Liveness|Startup) probe failed",
            r"failed (?:liveness|startup) probe, will be restarted",
            r"Healthcheck .*unhealthy",
            r"(?:liveness|startup) ?probe (?:errored|failed)",
            r"container .{0,60}is unhealthy",
            r"(?:is|became|marked) unhealthy",
            r"health ?check (?:failed|failing)\b(?! after \d)",
            r"[Hh]ealth ?check '?\S+'? .{0,60}(?:has failed|is failing|failed)",
            r"Failed health check",
        ),
        "The platform restarts the container because it is not healthy soon enough.",
        (
            "Give it a startup probe on /health with a failureThreshold that covers loading the "
            "model.",
        ),
        "Warning  Unhealthy  kubelet  Startup probe failed: HTTP probe failed with statuscode: 503",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.SERVE,
        variants=(
            Variant(
                r"dependency failed|container \S+ is unhealthy|Healthcheck",
                (
                    "docker inspect -f '{{json .State.Health}}' NAME shows what the check "
                    "answered, docker logs NAME what the program did.",
                    "The check must use what the image has: ollama/ollama has no curl (test: "
                    "ollama list), llama.cpp answers /health; give it start_period: 300s while "
                    "models load.",
                ),
                "Docker's health check of the container fails, so what depends on it is not "
                "started.",
            ),
        ),
    ),
    Signature(
        "probe-path",
        (
            r"(?:Liveness|Startup|Readiness) probe failed: .{0,60}statuscode: (?P<code>40[0-5])",
            r"health ?check .{0,80}(?:status|code)\W{0,3}(?P<code>40[0-5])\b",
        ),
        "The health probe asks for a path or method that this server does not answer: HTTP {code}.",
        (
            "Point the probe at a path and port that the server has: /health for llama-server, "
            "/ for Ollama.",
            "After 401 or 403 use a path that wants no key, or a tcpSocket probe.",
        ),
        "Warning  Unhealthy  kubelet  Liveness probe failed: HTTP probe failed with statuscode: "
        "404",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "listens-elsewhere",
        (
            r"is your app listening on",
            r"not listening on the expected address",
            r"(?:make sure|ensure) .{0,80}(?:bound|binding|listening|listens) (?:to|on) "
            r"(?:all interfaces|0\.0\.0\.0)",
            r"instead of 127\.0\.0\.1",
            r"nothing (?:is )?listening on port",
            r"no (?:process|service|server|open port)s? .{0,30}(?:listening|detected) on "
            r"(?:port )?(?:0\.0\.0\.0|\d+)",
            r"No open ports detected",
            r"[Mm]ake sure you exposed the port",
            r"container port not found",
        ),
        "The server does not listen where the platform looks: on all addresses "
        "(0.0.0.0), at the port it names.",
        ("Start it with --host 0.0.0.0 --port PORT, with the port that the platform was told.",),
        "[error][PC01] instance refused connection. is your app listening on "
        "0.0.0.0:8080? make sure it is not only listening on 127.0.0.1",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "crash-loop",
        (
            r"Job for \S+ failed because",
            r"CrashLoopBackOff",
            r"Back-off (?:\S+ )?restarting failed container",
            r"Start request repeated too quickly",
            r"Restarting \(\d+\)",
            r"Scheduled restart job, restart counter is at",
            r"BackoffLimitExceeded",
            r"reached the specified backoff limit",
            r"Restarting \(\d+\) ",
            r"(?:is )?restarting(?:,| too) (?:wait|quickly)",
            r"dependency failed to start: container \S+ exited",
            r"entered FATAL state, too many start retries",
            r"exited: \S+ \(exit status \d+; not expected\)",
        ),
        "The container ends again and again.",
        ("kubectl logs --previous shows why it ended.",),
        "Warning  BackOff  kubelet  Back-off restarting failed container llama in pod llama-0",
        Basis.REPORTED,
        tier=Tier.GENERIC,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"Job for \S+ failed",
                (
                    "journalctl -u NAME -n 50 --no-pager shows what the program said as it "
                    "ended: diagnose that.",
                ),
                "A service of systemd ended as it was started; these lines do not say why.",
            ),
            Variant(
                r"dependency failed to start",
                (
                    "docker compose logs SERVICE shows why it ended (memory, GPU, a token that is "
                    "missing, an option); docker compose up SERVICE alone repeats it.",
                ),
                "A service that others depend on ended.",
            ),
            Variant(
                r"restart job|Start request repeated|restart counter",
                (
                    "journalctl -u NAME -e shows why it ended; start its ExecStart by hand as its "
                    "user, then systemctl reset-failed NAME.",
                ),
                "The service ends again and again.",
            ),
            Variant(
                r"Restarting \(",
                ("docker logs --tail 100 NAME shows why it ended.",),
            ),
        ),
    ),
    Signature(
        "shared-memory",
        (
            r"insufficient shared memory \(shm\)",
            r"unable to (?:open|write to) .*/dev/shm",
            r"/dev/shm.{0,60}(?:no space|too small|full|permission)",
            r"shared memory .{0,60}(?:too small|insufficient|exhausted|limit)",
            r"Shard process was signaled to shutdown with signal 7\b",
        ),
        "The container has too little shared memory.",
        ("docker run --shm-size 1g, or an emptyDir with medium Memory on /dev/shm.",),
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient "
        "shared memory (shm).",
        Basis.REPORTED,
    ),
    Signature(
        "path-too-long",
        (
            r"WinError 206",
            r"(?:file ?name|path)(?: or extension)? (?:is )?too long",
            r"ENAMETOOLONG",
            r"WinError 3\].{0,200}(?:\\\\[^\\]+){9}",
            r"exceeds the OS max path limit",
            r"must be less than 260 characters",
        ),
        "The path is longer than the system allows.",
        (
            "Use a short folder such as C:\\m (HF_HOME), or allow long paths: "
            "LongPathsEnabled=1, git config core.longpaths true.",
        ),
        "FileNotFoundError: [WinError 206] The filename or extension is too long: "
        "'C:\\\\Users\\\\x\\\\.cache\\\\huggingface\\\\hub'",
        Basis.REPORTED,
        phase=Phase.DOWNLOAD,
    ),
    Signature(
        "windows-symlink",
        (
            r"WinError 1314",
            r"A required privilege is not held by the client",
            r"WinError 1463",
            r"symbolic link cannot be followed because its type is disabled",
        ),
        "Windows lets only some users make the symbolic links of the Hub's cache.",
        ("Turn on Developer Mode, run as administrator, or download with --local-dir.",),
        "OSError: [WinError 1314] A required privilege is not held by the client: "
        "'..\\\\..\\\\blobs\\\\ab' -> 'C:\\\\x'",
        Basis.REPORTED,
        phase=Phase.DOWNLOAD,
        variants=(
            Variant(
                r"1463|type is disabled",
                (
                    "Let it follow them, as administrator: fsutil behavior set SymlinkEvaluation "
                    "R2L:1 R2R:1.",
                    "Or keep the cache on a disk of this machine (HF_HOME), or download real files "
                    "to the share: hf download REPO --local-dir DIR.",
                ),
                "Windows does not follow the symbolic links on this share (a cache that Linux "
                "wrote).",
            ),
        ),
    ),
    Signature(
        "antivirus",
        (
            r"WinError 225\b",
            r"fork/exec .{0,200}: Access is denied",
            r"Windows cannot access the specified device, path, or file",
            r"fork/exec .{0,200}(?:contains a virus|blocked)",
            r"contains a virus or potentially unwanted software",
            r"(?:Windows )?Defender .{0,60}(?:blocked|quarantin\w+|removed|deleted)",
            r"blocked by (?:group policy|your (?:organization|administrator)|an? (?:app|"
            r"application) control policy|antivirus|Smart App Control)",
            r"running scripts is disabled on this system",
            r"WinError 1260\b",
            r"WinError 4551\b",
        ),
        "Windows blocks the program: virus scanner, application control or script policy.",
        (
            "Check where the file comes from, then allow it (an exclusion in Windows "
            "Security, Set-ExecutionPolicy -Scope CurrentUser RemoteSigned).",
        ),
        "OSError: [WinError 225] Operation did not complete successfully because the "
        "file contains a virus or potentially unwanted software",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "file-locked",
        (
            r"database is locked",
            r"WinError 32\b",
            r"being used by another process",
            r"Text file busy",
            r"Device or resource busy",
            r"\bEBUSY\b",
            r"\bETXTBSY\b",
        ),
        "Another program has the file open.",
        (
            "End the other program (an engine that runs still, a sync client, a virus "
            "scanner) and try again.",
        ),
        "PermissionError: [WinError 32] The process cannot access the file because it "
        "is being used by another process: 'C:\\\\m\\\\x.bin'",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"database is locked",
                (
                    "Only one program may write to an SQLite database: end the other one; and "
                    "put the file on a local disk, not on NFS, SMB or a network volume.",
                ),
                "Another program holds the program's database (SQLite), or its disk is a "
                "network share.",
            ),
        ),
    ),
    Signature(
        "wsl-broken",
        (
            r"WslRegisterDistribution failed",
            r"WSL 2 requires an update to its kernel",
            r"Wsl/(?:Service|InstallDistro|CallMsi|WininetWebException)\S*",
            r"(?:Virtual Machine Platform|Hyper-V|virtuali[sz]ation) .{0,80}(?:not enabled|"
            r"disabled|enable (?:it|the)|BIOS|is not present)",
            r"HCS_E_\w+",
            r"0x8037010[0-9]",
            r"The Windows Subsystem for Linux .{0,60}(?:not (?:been )?(?:enabled|installed)|"
            r"has no installed distributions)",
            r"Unexpected WSL error",
            r"WSL integration .{0,40}(?:stopped|failed|unexpectedly)",
        ),
        "WSL does not start on this Windows.",
        (
            "wsl --update, then turn on the feature Virtual Machine Platform and "
            "virtualisation in the firmware.",
        ),
        "WslRegisterDistribution failed with error: 0x80370102",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "files-limit",
        (
            r"Too many open files",
            r"EMFILE",
            r"ENFILE",
            r"os error 24\)",
        ),
        "The process may not open more files or connections.",
        ("Raise the limit: ulimit -n 65536, or --ulimit nofile=65536.",),
        "OSError: [Errno 24] Too many open files",
        Basis.REPORTED,
        phase=Phase.SERVE,
    ),
    Signature(
        "inotify-limit",
        (
            r"inotify watch(?:es)? limit",
            r"fsnotify watcher: too many open files",
            r"inotify_(?:add_watch|init)\S*.{0,60}(?:No space|Too many|failed)",
            r"max_user_(?:watches|instances)",
        ),
        "The system watches too many files already.",
        ("sudo sysctl fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=1048576.",),
        "failed to create fsnotify watcher: too many open files",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "threads-limit",
        (
            r"^(?!.{0,300}\b(?:lock\w*|flock|sockets?|recv\w*|read\w*|write|accept|connect\w*|"
            r"database|BlockingIOError|IOError)\b).{0,300}Resource temporarily unavailable",
            r"can't start new thread",
            r"pthread_create failed",
            r"fork: retry",
            r"EAGAIN",
            r"pids limit",
            r"failed to create (?:new OS )?thread",
        ),
        "The process may not start more threads.",
        ("Raise the limit of processes (ulimit -u, --pids-limit), or lower --threads-http.",),
        "terminate called after throwing an instance of 'std::system_error'\n"
        "  what():  Resource temporarily unavailable",
        Basis.REPORTED,
        phase=Phase.SERVE,
    ),
    Signature(
        "modal-startup-timeout",
        (
            r"Runner has been initializing for too long: (?P<seconds>\d+) seconds",
            r"container (?:failed|did not) (?:to )?start within",
            r"Waited too long for .{0,60}(?:start )?accept",
        ),
        "The container was still loading when Modal's startup_timeout of {seconds} s ended: not a "
        "fault of the model.",
        (
            "Raise startup_timeout to what the file needs: about 1 s per GB from a volume, more "
            "on the "
            "first download.",
        ),
        "Runner has been initializing for too long: 300 seconds",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "modal-function-timeout",
        (
            r"SandboxTimeoutError",
            r"hit its timeout of (?P<seconds>\d+)s",
            r"FunctionTimeoutError",
        ),
        "A function or sandbox ran longer than its timeout.",
        ("Raise timeout=, or serve with @app.server, whose requests have none.",),
        "Task's current input in-123 hit its timeout of 300s",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "image-entrypoint",
        (
            r"container exited successfully but never requested inputs",
            r"exited .{0,40}before (?:it )?(?:requested|accepted|took) (?:any )?inputs?",
        ),
        "The image's own ENTRYPOINT ends without running what Modal starts in it.",
        (
            'End the entry point\'s script with exec "$@", so that it runs what it is given.',
            "Or take it away: Image.from_registry(...).entrypoint([]).",
        ),
        "Runner failed with exception: container exited successfully but never requested inputs",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "modal-runner-failed",
        (
            r"Runner failed with exception: (?P<why>.+)",
            r"Runner failed with exit code: (?P<why>(?!137|139|132|134)\d+)",
        ),
        "The container's own code raised: {why}.",
        ("The traceback above it is the cause.",),
        "Runner failed with exception: RuntimeError('llama-server ended with exit code 1')",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "modal-runner-terminated",
        (r"^Runner terminated", r"Container killed: heartbeat"),
        "Modal ended the container: it stopped answering, mostly because start-up code blocks.",
        (
            "Start the server as a child process and wait for it without blocking; check memory= "
            "too.",
        ),
        "Runner terminated.",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "modal-image-build",
        (
            r"Image build for \S+ (?:failed|terminated)",
            r"was modified during build process",
            r"Terminating task due to error: (?P<why>(?!failed to run builder).{4,})",
            r"failed to run builder command",
            r"ImageBuildError",
        ),
        "The image could not be built.",
        (
            "The builder's lines above say why; after a registry pull without a reason, check the "
            "tag and "
            "the registry secret.",
        ),
        "Image build for im-abc123 failed. See build logs for more details.",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.BUILD,
        variants=(
            Variant(
                r"im-\S+|Image build for",
                (
                    "The builder's lines above say why (modal app logs, or "
                    "MODAL_LOGLEVEL=DEBUG): a package without a wheel for the image's Python, "
                    "apt_install that lacks, a step that needs gpu=.",
                    "After a registry pull without a reason check the tag and the registry "
                    'secret; the image must have Python and pip (add_python="3.12").',
                ),
            ),
        ),
    ),
    Signature(
        "modal-gpu-queue",
        (r"waiting to be scheduled on a (?P<gpu>\S+) worker",),
        "The container waits for a free GPU ({gpu}).",
        ('Add fallbacks: gpu=["H100", "A100-80GB"]; drop a pinned region.',),
        "Function llama is waiting to be scheduled on a GPU_TYPE_H100 worker",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=_START,
    ),
    Signature(
        "modal-token",
        (
            r"Token missing\. Could not authenticate client",
            r"modal token new",
            r"Token validation failed",
            r"Status\.(?:UNAUTHENTICATED|PERMISSION_DENIED)\b[^'\"]{0,10}['\"](?P<why>[^'\"]+)",
            r"AuthError: (?P<why>.+)",
            r"Modal profile '(?P<why>[^']+)' was not found",
        ),
        "Modal has no token, or refuses it.",
        ("Run modal setup, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET.",),
        "modal.exception.AuthError: Token missing. Could not authenticate client.",
        phase=_START,
        variants=(
            Variant(
                r"profile",
                (
                    "modal profile list, then modal profile activate NAME; or modal token new "
                    "--profile NAME.",
                ),
            ),
            Variant(
                r"missing|Could not authenticate|Token validation|AuthError",
                (
                    "modal setup on your machine; in CI and containers set MODAL_TOKEN_ID and "
                    "MODAL_TOKEN_SECRET (modal token new prints them), and drop stale ones: they "
                    "win over ~/.modal.toml.",
                ),
            ),
        ),
    ),
    Signature(
        "modal-not-found",
        (
            r"(?<!external )\b(?:App|Function|Volume|Environment|Cls|Server) "
            r"['\"](?P<name>[\w./-]+)['\"] "
            r"(?:was )?not found",
            r"modal\.exception\.NotFoundError",
            r"Status\.NOT_FOUND\b[^'\"]{0,10}['\"]",
            r"No (?:App|Function|Volume|Secret|Environment) with (?:name|ID) '(?P<name>[^']+)'",
            r"(?:Sandbox|Container|Endpoint) '(?P<name>[^']+)' not found(?! - may)",
            r"^NotFoundError: (?:App|Function|Volume|Environment|Cls|Server)\b.{0,80} not found",
        ),
        "Modal has no such app, function, volume or environment: {name}.",
        ("Check the name and the environment (modal app list, MODAL_ENVIRONMENT).",),
        "modal.exception.NotFoundError: App 'llama' not found in environment 'main'.",
        phase=_START,
        variants=(
            Variant(
                r"[Vv]olume",
                (
                    "modal volume create NAME (in the environment that is used, --env), or "
                    "Volume.from_name(NAME, create_if_missing=True).",
                ),
            ),
            Variant(
                r"[Ee]nvironment",
                (
                    "modal environment list shows them; modal environment create NAME, or unset "
                    "MODAL_ENVIRONMENT.",
                ),
            ),
            Variant(
                r"Sandbox|Function/Sandbox",
                (
                    "It has ended already: look at its own log in the dashboard (an image "
                    "without a shell, a timeout, memory), and create it anew.",
                ),
                "The sandbox or container is gone.",
            ),
            Variant(
                r"App|Function|Cls",
                (
                    "Deploy it first (modal deploy FILE), to the environment that is asked "
                    "(--env, MODAL_ENVIRONMENT): modal app list shows names.",
                ),
            ),
        ),
    ),
    Signature(
        "modal-invalid",
        (
            r"modal\.exception\.InvalidError: (?P<why>.+)",
            r"(?<!modal\.exception\.)\bInvalidError: (?P<why>.+)",
            r"(?P<why>\S+ is not a valid GPU type)",
            r"(?P<why>(?:The '[^']+' (?:file|module)|App|Module) has no entrypoints)",
            # Rich breaks the line after 80 columns.
            r"\bDeprecationError: Deprecated on \S+ (?P<why>.+?)(?: (?:has|have) been(?: "
            r"(?:renamed|removed|replaced|deprecated)(?: to| by| with)?)?)?$",
            r"(?P<why>No \[project\.dependencies\] section in pyproject\.toml)",
            r"(?P<why>(?:fastapi_endpoint|asgi_app|web_endpoint)\S* require FastAPI to be "
            r"installed)",
            r"(?P<why>Please specify a specific (?:method|function) of .{1,80} to run)",
            r"(?P<why>\S+ is not a Modal (?:App|Function|Cls)\b)",
            r"(?P<why>(?:Class|Function|Volume|Object|Dependency) .{0,60}(?:isn't|is not) hydrated)"
            r"(?!.{0,40}bug)",
            r"(?P<why>The definition for this Function is missing)",
            r"(?P<why>You can't access methods on a Cls directly)",
            r"Status\.(?:INVALID_ARGUMENT|FAILED_PRECONDITION|ALREADY_EXISTS|UNIMPLEMENTED|"
            r"OUT_OF_RANGE|ABORTED)\b[^'\"]{0,10}['\"](?P<why>[^'\"]+)",
            r"InvalidError\([\"'](?P<why>.+?)(?:['\"]\).?)?$",
            r"exists but has version v\d, not v\d as requested",
            r"Invalid GPU (?:type|config|count)",
            r"modal\.exception\.(?:ConflictError|AlreadyExistsError|RequestSizeError|"
            r"UnimplementedError): (?P<why>.+)",
            r"is not deployed(?: in environment|\.)",
            r"modal\.exception\.ExecutionError: (?P<why>(?!.*(?:deserialize|corrupted|[Hh]ash "
            r"mismatch|[Cc]ontact (?:Modal )?support)).+)",
            r"LocalFunctionError: (?P<why>.+)",
            r"ModuleNotMountable: (?P<why>.+)",
            r"has not been hydrated",
            r"`\w+\(\.\.\.\)` constructor is not allowed",
            r"modal\.exception\.UsageError: (?P<why>.+)",
            r"modal\.exception\.SerializationError: (?P<why>.+)",
            r"(?P<why>`?@(?:app|modal)\.\w+[^│]{0,80}(?:must|cannot|can't|require|not (?:allowed|"
            r"supported)|decorator)[^│]{0,200})",
            r"(?P<why>(?:The `\w+` argument|`\w+` argument to \S+)[^│]{0,60}(?:must|"
            r"cannot)[^│]{0,200})",
            r"(?P<why>`?(?:scaledown_window|scaleup_window|(?:min|max|buffer)_containers|"
            r"max_inputs|target_inputs|target_concurrency|startup_timeout|max_batch_size|region|"
            r"proxy_regions|routing_region|exit_grace_period)`? must[^│]{0,200})",
            r"(?P<why>Modal (?:class|batched function|client has improperly) [^│]{8,})",
            r"(?P<why>Server class [^│]{0,80}(?:must|cannot)[^│]{0,200})",
            r"(?P<why>Cannot (?:apply|stack) `@modal[^│]{4,})",
            r"(?P<why>\S+ \S+ (?:cannot be mounted (?:at|into)|"
            r"must be a canonical, absolute path)[^│]{0,100})",
            r"(?P<why>The same Volume cannot be mounted[^│]{0,200})",
            r"(?P<why>'[^']+' is imported lazily in[^│]{0,200})",
            r"(?P<why>An image tried to run a build step after[^│]{0,200})",
            r"(?P<why>You need to either supply (?:an explicit |a )?deployment name[^│]{0,200})",
            r"(?P<why>Function \S+ (?:is too large to deploy|"
            r"has size \d+ bytes when packaged)[^│]{0,200})",
            r"(?P<why>`?App\.\w+(?:\(\))?`? (?:cannot|"
            r"should not) be called in (?:the )?global scope[^│]{0,200})",
            r"(?P<why>(?:Unsupported Python version: |"
            r"Python \S+ is not supported by the )[^│]{0,120}Image [Bb]uilder[^│]{0,120})",
            r"(?P<why>(?:More than one|No) Modal profile is active[^│]{0,200})",
            r"(?P<why>Cannot specify a (?:CPU|memory) limit lower than request[^│]{0,60})",
            r"(?P<why>Attempted to mount: `[^│]{4,})",
            r"(?P<why>Image has not been constructed yet[^│]{0,200})",
            r"(?P<why>(?:Could not find|You need to specify|Specify) (?:a |"
            r"the )?Modal (?:function|app|App|Function)[^│]{0,200})",
            r"(?P<why>(?:Class|Function|Cls) has no (?:method|constructor)[^│]{0,200})",
            r"(?P<why>Could not find local environment variable '[^']+' for Secret[^│]{0,60})",
            r"(?P<why>modal\.(?:parameter|Secret|Volume|Image|Mount)\S* [^│]{0,60}(?:must|cannot|"
            r"only)[^│]{0,200})",
            r"(?P<why>Module 'modal' has no attribute '\w+'\. Use `modal\.App`)",
            r"(?P<why>Could not find '[^']+' in the '[^']+' (?:file|module))",
            r"(?P<why>modal \w+ invoked without a function reference[^│]{0,160})",
            r"(?P<why>Function \S+ has \d+ dependencies but container got[^│]{0,120})",
            r"modal\.exception\.DeprecationError: (?P<why>.+)",
            r"(?P<why>(?:Expected|has to be|must be|needs? to be)"
            r" [^│]{0,60}`?\bmodal\.[A-Z]\w+\b[^│]{0,200})",
            r"(?P<why>(?:A (?:non-)?generator|Generator|A webhook|Web|"
            r"Clustered) [Ff]unctions? [^│]{0,60}(?:cannot|do not|does not)[^│]{0,160})",
            r"(?P<why>Webhooks cannot be generators[^│]{0,120})",
            r"(?P<why>(?:Async|Sync|"
            r"Generator) [^│]{0,40}function returned? value of type[^│]{0,160})",
            r"(?P<why>Image(?:\.run_function| CMD| ENV variables| name|"
            r" builder version)[^│]{0,60}(?:must|cannot|does not|requires)[^│]{0,160})",
            r"(?P<why>Argument(?:s to `run_function`| to Image\.run_function)[^│]{0,120})",
            r"(?P<why>Package list for `Image\.[^│]{8,160})",
            r"(?P<why>Python version must be specified [^│]{4,160})",
            r"(?P<why>Object of type \S+ mounted at [^│]{4,160})",
            r"(?P<why>image\.add_local_\w+\(\) currently only[^│]{4,120})",
            r"(?P<why>Cannot (?:provide both (?:build function|dockerfile)|"
            r"run a build function)[^│]{4,120})",
            r"(?P<why>Function \S+ has a schedule, so it[^│]{4,120})",
            r"(?P<why>CPU (?:request|limit) must be a positive number)",
            r"(?P<why>Registry Secret has keys for more[^│]{4,120})",
            r"(?P<why>App has not been initialized yet[^│]{0,160})",
            r"(?P<why>Duplicate local entrypoint name[^│]{0,120})",
            r"(?P<why>`(?:min|max|buffer)_containers` \(\d+\) cannot[^│]{0,120})",
            r"(?P<why>(?:A class|Server) must have `enable_memory_snapshot[^│]{0,120})",
            r"(?P<why>First argument of `@web_server`[^│]{0,120})",
            r"(?P<why>\S+ can't be mounted because it contains binary[^│]{0,60})",
            r"(?P<why>\S+ has no (?:mountable paths|spec - might not be installed)[^│]{0,60})",
            r"(?P<why>Can(?: not|'t) hydrate \S+ it has type prefix[^│]{0,160})",
            r"(?P<why>(?:client|version of the modal client) supports the following image builder "
            r"versions[^│]{0,160})",
        ),
        "Modal does not accept the app as it is written: {why}.",
        ("Correct what it names; every name and limit is in Modal's reference.",),
        "modal.exception.InvalidError: `scaledown_window` must be between 2 and 3600 (inclusive)",
        Basis.SOURCE,
        phase=Phase.START,
        variants=(
            Variant(
                r"GPU type|GPU config|GPU count",
                (
                    "Name one that Modal has: T4, L4, A10, L40S, A100 (40 GB), A100-80GB, "
                    "RTX-PRO-6000, H100, H200, B200; more than one as H100:2, a choice as "
                    'gpu=["H100", "A100-80GB"].',
                ),
            ),
            Variant(
                r"has no entrypoints",
                (
                    'The file needs an app at its top level, app = modal.App("NAME"), and on it a '
                    "function with @app.function() or @app.local_entrypoint(); objects made within "
                    "functions or under if __name__ are not seen.",
                    "Name the file that has it: modal run FILE.py::app.FUNCTION; an app under "
                    "another name as FILE.py::NAME, a package with -m.",
                ),
                "Modal finds no app, or no function of one, in what it was told to run: {why}.",
            ),
            Variant(
                r"Could not find '[^']+' in the|without a function reference",
                (
                    "Name one of the functions that the lines after it list: modal run "
                    "FILE.py::FUNCTION (FILE.py::app.FUNCTION, FILE.py::CLASS.METHOD).",
                    "What it does not list is not on the app: it needs @app.function() or "
                    "@app.local_entrypoint() at the top of the file. modal deploy and modal serve "
                    "take the file alone.",
                ),
                "Modal was not told a function that the file has: {why}.",
            ),
            Variant(
                r"FastAPI to be installed",
                ('Add it to the image: .pip_install("fastapi[standard]").',),
            ),
            Variant(
                r"add_local_",
                (
                    "Put add_local_file, add_local_dir and add_local_python_source at the end of "
                    "the image, after pip_install and run_commands, or give them copy=True.",
                ),
            ),
            Variant(
                r"imported lazily|global scope|run an app from within a container|app is already "
                r"running|\.run\(\) directly",
                (
                    "Import modal and define app, image and volumes at the top of the file; run "
                    "it by modal run or modal deploy, not by calling app.run() as the module "
                    'loads (if __name__ == "__main__").',
                ),
            ),
            Variant(
                r"deployment name",
                ('Name the app, modal.App("llama"), or give modal deploy --name llama.',),
            ),
            Variant(
                r"too large to deploy|when packaged",
                (
                    "Do not let the function hold models or data: put files in a Volume, code in "
                    "the image (add_local_python_source), and import inside the function.",
                ),
            ),
            Variant(
                r"hydrated",
                (
                    "Call it inside of app.run() or after a deployment: "
                    "modal.Function.from_name(APP, NAME), and make every object at the top of "
                    "the file.",
                ),
            ),
            Variant(
                r"has no attribute '?(?:Stub|web_endpoint|asgi)|DeprecationError|Module 'modal'",
                (
                    "Modal renamed it: Stub became App, web_endpoint became fastapi_endpoint, "
                    "keep_warm and container_idle_timeout became min_containers and "
                    "scaledown_window; or pin the client that the code was written for (pip "
                    "install 'modal<1').",
                ),
                "The app uses what Modal has renamed or removed: {why}.",
            ),
            Variant(
                r"Image [Bb]uilder|Python version",
                (
                    "Name a Python that Modal has: "
                    'modal.Image.debian_slim(python_version="3.12"), and the same minor '
                    "version here if functions are pickled.",
                ),
            ),
            Variant(
                r"profile",
                ("modal profile list, then modal profile activate NAME (or MODAL_PROFILE=NAME).",),
            ),
        ),
    ),
    Signature(
        "modal-client-old",
        (
            r"modal\.exception\.VersionError",
            r"client version .{0,40}(?:is )?(?:too old|out of date|deprecated|no longer "
            r"supported)",
            r"Please update to the latest package",
            r"version of Modal requires at least Python",
        ),
        "The Modal client, or its Python, is too old for the service.",
        ("pip install -U modal, on a Python that Modal supports.",),
        "modal.exception.VersionError: The client version (0.55.1) is too old. Please "
        "update to the latest package on PyPi: https://pypi.org/project/modal",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "modal-service",
        (
            r"contact (?:Modal support|support@modal\.com)",
            r"Status\.(?:UNAVAILABLE|INTERNAL|DEADLINE_EXCEEDED|UNKNOWN|DATA_LOSS)\b[^'\"]{0,10}"
            r"['\"](?P<why>[^'\"]+)",
            r"modal\.exception\.(?:ServiceError|InternalError|InternalFailure): (?P<why>.+)",
            r"Relay server is unavailable",
            r"modal\.exception\.RemoteError: (?P<why>(?!.*[Ii]mage).+)",
            r"Failed to (?:start|terminate) session: (?P<why>.+)",
            r"Internal error: (?P<why>.{0,120}Modal support)",
            r"probably a bug in the Modal client",
        ),
        "Modal's own service failed: {why}.",
        ("Try again later; see status.modal.com.",),
        "modal.exception.InternalFailure: please contact support@modal.com (Error code: FPC64LWQ)",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "modal-app-stopped",
        (
            r"modal-http: app for invoked web endpoint is stopped",
            r"modal-http: (?:invalid function call|app not found|function not found|bad|no "
            r"such)",
            r"app for invoked web endpoint",
            r"modal-http: .{0,60}(?:is stopped|not deployed|has been deleted)",
        ),
        "The address belongs to a Modal app that is stopped or was never deployed.",
        ("Deploy it again (modal deploy, ggufctl serve), and take the address that it prints.",),
        "modal-http: app for invoked web endpoint is stopped",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "modal-limit",
        (
            r"spend(?:ing)? limit",
            r"ResourceExhaustedError",
            r"Status\.RESOURCE_EXHAUSTED\b",
            r"billing cycle.*limit",
            r"workspace .*(?:quota|limit) (?:reached|exceeded)",
            r"workspace .{0,80}(?:budget|spend|billing)",
            r"reached .{0,30}(?:GPU|container) (?:concurrency )?limit",
            r"modal\.exception\.ResourceExhausted\b",
            r"exceeded (?:its|the|your) (?:GPU|container|CPU) (?:concurrency )?limit",
        ),
        "A limit of the workspace is reached: spending, GPUs or containers.",
        ("Raise it in the workspace's settings, or stop other apps (modal app list).",),
        "modal.exception.ResourceExhaustedError: Workspace has reached its spend limit",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "modal-proxy-auth",
        (
            r"modal-http: missing credentials for proxy authorization",
            r"modal-http: invalid credentials",
        ),
        "The app asks for Modal-Key and Modal-Secret, which the client did not send.",
        ("Send both headers; clients of OpenAI's API need extra headers set for that.",),
        "modal-http: missing credentials for proxy authorization",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "modal-deserialization",
        (
            r"DeserializationError",
            r"Deserialization failed because",
            r"could not deserialize (?!key\b)",
        ),
        "Code or data cannot be unpacked in the container: another Python minor, or a package "
        "that is "
        "missing there.",
        ("Use the same Python in image and client, and add the packages to the image.",),
        "modal.exception.DeserializationError: Deserialization failed because the 'ggufctl' "
        "module is "
        "not available in the remote environment.",
        phase=_START,
        variants=(
            Variant(
                r"module is not available|No module named|not available in the",
                (
                    "Put the package into the image (.pip_install, .uv_pip_install), or your own "
                    'code by .add_local_python_source("NAME"), on both sides in the same '
                    "version.",
                ),
            ),
        ),
    ),
    Signature(
        "modal-volume-busy",
        (r"there are open files preventing the operation", r"volume is busy"),
        "A volume cannot be reloaded while files in it are open.",
        ("Reload before the model is opened, and start a new container for new weights.",),
        "RuntimeError: there are open files preventing the operation",
        Basis.REPORTED,
    ),
    Signature(
        "modal-snapshot",
        (
            r"Snapshot restore failed",
            r"Failed to restore .*snapshot",
            r"snapshot.*segfault",
            r"CudaCheckpointException",
            r"Failed to (?:checkpoint|restore) \S+ processes",
        ),
        "A container could not be restored from its memory snapshot.",
        ("Deploy without GPU snapshots (they are alpha).",),
        "Snapshot restore failed for function Llama",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "modal-snapshot-timeout",
        (
            r"Timed out waiting for image to be created",
            r"(?:snapshot_filesystem|filesystem snapshot)\b.{0,80}tim(?:ed|e) ?out",
        ),
        "The files of a sandbox were not saved as an image in the time allowed, which is 55 s "
        "unless another is given.",
        (
            "Give more: sandbox.snapshot_filesystem(timeout=600).",
            "Keep models, caches and build folders in a Volume, so that there is less to save.",
        ),
        "Failed: Timed out waiting for image to be created",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "modal-snapshot-retry",
        (r"Transient snapshot error: .*Will retry with no snapshots",),
        "A snapshot could not be used; the container starts without it.",
        (),
        "Transient snapshot error: timeout. Will retry with no snapshots.",
        Basis.REPORTED,
        severity=Severity.REMARK,
    ),
    Signature(
        "preempted",
        (
            r"(?:was|been|is being) preempted",
            r"preemption notice",
            r"TerminationByKubelet",
            r"node is shutting down",
            r"(?<!No )(?<!Compute )(?<!_)preempt(?:ed\b|ion\b(?!: \d| victims| is not helpful| "
            r"policy))",
            r"spot (?:instance|interruption).{0,40}(?:terminat|interrupt|reclaim)",
            r"instance (?:is being|was|will be) (?:terminated|reclaimed|preempted|evicted)",
            r"imminent node shutdown",
            r"(?:received|got) (?:a )?(?:SIGTERM|termination notice) .{0,40}(?:spot|preempt|"
            r"provider)",
        ),
        "The machine was taken back by its provider.",
        ("Use machines that are not preemptible, or let the platform restart it.",),
        "Container ta-01 was preempted",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "node-down",
        (
            r"CANCELLED AT \S+ DUE TO NODE FAILURE",
            r"Warning +NodeNotReady\b",
            r"\bNode is not ready",
            r"TaintManagerEviction",
            r"\bNodeLost\b",
            r"PLEG is not healthy",
            r"KubeletNotReady",
            r"Kubelet stopped posting node status",
            r"(?:node|machine|worker) (?:is |became |went )?(?:unreachable|offline|not ready|"
            r"lost)\b",
            r"\bhost (?:is |became |went )?(?:offline|lost)\b",
            r"ContainerStatusUnknown",
            r"Warning +Rebooted\b",
        ),
        "The machine that ran the pod is down or does not answer.",
        ("kubectl describe node says why; drain it, and let the pod start on another.",),
        "Warning  NodeNotReady  node-controller  Node is not ready",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "cancelled",
        (r"Received a cancellation signal while processing input",),
        "An input was cancelled, by its caller or by a timeout.",
        (),
        "Received a cancellation signal while processing input ('in-1',)",
        Basis.REPORTED,
        severity=Severity.REMARK,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "readiness-wait",
        (r"Readiness probe failed(?!.{0,80}statuscode: 40[0-5])",),
        "The server was asked for readiness before it had loaded.",
        (),
        "Warning  Unhealthy  kubelet  Readiness probe failed: HTTP probe failed with statuscode: "
        "503",
        Basis.REPORTED,
        severity=Severity.REMARK,
        phase=_START,
    ),
)
