"""Containers, Kubernetes and Modal: what the platform says of a program that does not run."""

from __future__ import annotations

from ggufctl.core.signatures.table import Basis, Phase, Severity, Signature, Tier

__all__ = ["SIGNATURES"]

_START = Phase.START

SIGNATURES = (
    Signature(
        "docker-no-gpu-runtime",
        (
            r"could not select device driver",
            r"nvidia-container-cli: initialization error",
            r"nvidia-container-cli: (?:mount|ldcache|device) error",
            r"unknown or invalid runtime name: nvidia",
            r"failed to discover GPU vendor from CDI",
            r"CDI device injection failed",
            r"unresolvable CDI devices",
            r"libnvidia-ml\.so\.1: cannot open shared object",
            r"error running (?:\w+ )?hook #\d+: (?!.*nvidia-container-cli)",
            r"nvidia-container-(?:cli|runtime)\S*: .{0,60}(?:error|not found|failed)",
            r"nvidia-container-runtime(?:-hook)?\"?: (?:executable file )?not found",
            r"runtime \"?nvidia\"? (?:not found|is not|does not)",
            r"no CDI (?:devices|configuration|spec)",
            r"no known GPU vendor found",
            r"(?:failed to|error) (?:inject|gather) CDI",
            r"failed to (?:set|add) .*gpus",
            r"unknown (?:runtime|device) .{0,20}nvidia",
            r"legacy nvidia-container",
        ),
        "The container runtime cannot pass a GPU on: the NVIDIA container toolkit is missing or "
        "not "
        "set up.",
        (
            "Install nvidia-container-toolkit, run nvidia-ctk runtime configure --runtime=docker "
            "and "
            "restart docker.",
        ),
        'docker: Error response from daemon: could not select device driver "" with capabilities: '
        "[[gpu]].",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "image-not-found",
        (
            r"manifest (?:for \S+ )?(?:not found|unknown)",
            r"manifest for (?P<image>\S+) not found",
            r"pull access denied for (?P<image>\S+)",
            r"repository does not exist or may require",
            r"Failed to pull image \"(?P<image>[^\"]+)\": .*not found",
            r"failed to resolve reference \"(?P<image>[^\"]+)\"",
            r"invalid reference format",
            r"InvalidImageName",
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
        ),
        "The image cannot be pulled.",
        ("The event before it says why: tag, registry secret, network or disk.",),
        "Warning  Failed  10s  kubelet  Error: ImagePullBackOff",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=_START,
    ),
    Signature(
        "command-not-found",
        (
            r"executable file not found in \$PATH",
            r"(?P<program>\S+): cannot execute: required file not found",
            r"failed to exec pid1: No such file or directory",
            r"exec: \"(?P<program>[^\"]+)\": .*no such file or directory",
            r"(?P<program>[\w./-]*llama[\w-]*): command not found",
            r"OCI runtime (?:exec|create) failed: .*no such file or directory",
            r"can't open file '(?P<program>[^']+)': \[Errno 2\]",
            r"exit(?:ed)?(?: with)?(?: status| code)?[ :=(\"]+127\b",
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
            r": \d+: (?P<program>\S+): not found",
            r": (?P<program>[\w./+-]+): command not found",
        ),
        "The program to start is not in the image: {program}.",
        (
            "llama.cpp's images keep it at /app/llama-server; mind that the entry point is the "
            "server "
            "already.",
        ),
        'OCI runtime create failed: runc create failed: exec: "llama-server": executable file not '
        "found in $PATH: unknown",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "not-executable",
        (
            r"exec: \"(?P<program>[^\"]+)\": permission denied",
            r"exit(?:ed)?(?: with)?(?: status| code)?[ :=(\"]+126\b",
            r"(?P<program>\S*llama-server): Permission denied",
            r"cannot execute: Permission denied",
            r"Failed at step EXEC.*Permission denied",
            r"(?:status|code)=126",
        ),
        "The program may not be executed: {program}.",
        ("chmod +x it, and do not mount its folder with noexec.",),
        'OCI runtime create failed: exec: "/app/llama-server": permission denied',
        Basis.REPORTED,
        phase=_START,
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
            r"(?:unbound|had volume node affinity conflict)",
        ),
        "A volume cannot be mounted.",
        ("Check that it exists, that its path is right, and that no other node holds it.",),
        'Warning  FailedMount  kubelet  MountVolume.SetUp failed for volume "models"',
        Basis.REPORTED,
        phase=_START,
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
        "No node has a free GPU.",
        (
            "Add a GPU node, free one, or add the toleration that its taint asks for; check that "
            "the "
            "device plugin runs.",
        ),
        "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "not-schedulable",
        (
            r"\d Insufficient (?P<what>memory|cpu|ephemeral-storage)",
            r"nodes? (?:are|is) available: .*didn't match",
            r"exceeded quota: (?P<what>\S+)",
            r"FailedScheduling",
            r"untolerated taint",
            r"didn't (?:match|tolerate|find)",
            r"nodes are available",
            r"no nodes available to schedule",
            r"(?:is )?forbidden: (?:exceeded|maximum|minimum|failed quota)",
            r"NotTriggerScaleUp",
            r"\bOutOf(?:cpu|pods|nvidia\S*)\b",
        ),
        "No node has what the pod asks for.",
        ("Lower its requests, or add a larger node.",),
        "0/3 nodes are available: 3 Insufficient memory.",
        Basis.REPORTED,
        phase=_START,
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
        ),
        "A secret or config map that the container needs is missing.",
        ("Create it in the same namespace or environment, with the keys that are used.",),
        'Error: secret "hf-token" not found',
        Basis.REPORTED,
        phase=_START,
    ),
    Signature(
        "probe-failed",
        (
            r"(?:Liveness|Startup) probe failed",
            r"failed (?:liveness|startup) probe, will be restarted",
            r"Healthcheck .*unhealthy",
            r"(?:liveness|startup) ?probe (?:errored|failed)",
            r"container .{0,60}is unhealthy",
            r"(?:is|became|marked) unhealthy",
            r"health ?check (?:failed|failing)",
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
    ),
    Signature(
        "crash-loop",
        (
            r"CrashLoopBackOff",
            r"Back-off restarting failed container",
            r"Start request repeated too quickly",
            r"Restarting \(\d+\)",
            r"Scheduled restart job, restart counter is at",
        ),
        "The container ends again and again.",
        ("kubectl logs --previous shows why it ended.",),
        "Warning  BackOff  kubelet  Back-off restarting failed container llama in pod llama-0",
        Basis.REPORTED,
        tier=Tier.GENERIC,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "shared-memory",
        (
            r"insufficient shared memory \(shm\)",
            r"unable to (?:open|write to) .*/dev/shm",
            r"/dev/shm.{0,60}(?:no space|too small|full|permission)",
            r"shared memory .{0,60}(?:too small|insufficient|exhausted|limit)",
        ),
        "The container has too little shared memory.",
        ("docker run --shm-size 1g, or an emptyDir with medium Memory on /dev/shm.",),
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient "
        "shared memory (shm).",
        Basis.REPORTED,
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
        "threads-limit",
        (
            r"Resource temporarily unavailable",
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
        (r"hit its timeout of (?P<seconds>\d+)s", r"FunctionTimeoutError"),
        "A function ran longer than its timeout.",
        ("Raise timeout=, or serve with @app.server, whose requests have none.",),
        "Task's current input in-123 hit its timeout of 300s",
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
            r"Image build for im-\S+ (?:failed|terminated)",
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
            r"AuthError: (?P<why>.+)",
        ),
        "Modal has no token, or refuses it.",
        ("Run modal setup, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET.",),
        "modal.exception.AuthError: Token missing. Could not authenticate client.",
        phase=_START,
    ),
    Signature(
        "modal-not-found",
        (
            r"\b(?:App|Function|Volume|Environment|Cls|Server) ['\"](?P<name>[\w./-]+)['\"] "
            r"(?:was )?not found",
            r"modal\.exception\.NotFoundError",
        ),
        "Modal has no such app, function, volume or environment: {name}.",
        ("Check the name and the environment (modal app list, MODAL_ENVIRONMENT).",),
        "modal.exception.NotFoundError: App 'llama' not found in environment 'main'.",
        phase=_START,
    ),
    Signature(
        "modal-limit",
        (
            r"spend(?:ing)? limit",
            r"ResourceExhaustedError",
            r"billing cycle.*limit",
            r"workspace .*(?:quota|limit) (?:reached|exceeded)",
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
        (r"DeserializationError", r"Deserialization failed because", r"could not deserialize"),
        "Code or data cannot be unpacked in the container: another Python minor, or a package "
        "that is "
        "missing there.",
        ("Use the same Python in image and client, and add the packages to the image.",),
        "modal.exception.DeserializationError: Deserialization failed because the 'ggufctl' "
        "module is "
        "not available in the remote environment.",
        phase=_START,
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
        (r"Snapshot restore failed", r"Failed to restore .*snapshot", r"snapshot.*segfault"),
        "A container could not be restored from its memory snapshot.",
        ("Deploy without GPU snapshots (they are alpha).",),
        "Snapshot restore failed for function Llama",
        Basis.REPORTED,
        phase=_START,
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
            r"preempt(?:ed|ion)\b",
            r"spot (?:instance|interruption).{0,40}(?:terminat|interrupt|reclaim)",
            r"instance (?:is being|was|will be) (?:terminated|reclaimed|preempted|evicted)",
        ),
        "The machine was taken back by its provider.",
        ("Use machines that are not preemptible, or let the platform restart it.",),
        "Container ta-01 was preempted",
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
        (r"Readiness probe failed",),
        "The server was asked for readiness before it had loaded.",
        (),
        "Warning  Unhealthy  kubelet  Readiness probe failed: HTTP probe failed with statuscode: "
        "503",
        Basis.REPORTED,
        severity=Severity.REMARK,
        phase=_START,
    ),
)
