"""Wrappers around llama.cpp, and what goes wrong while any of it is installed or built."""

from __future__ import annotations

from ggufctl.core.signatures.table import Basis, Phase, Signature, Tier

__all__ = ["SIGNATURES"]

_B = Phase.BUILD

SIGNATURES = (
    Signature(
        "cuda-compiler-missing",
        (
            r"Could(?: not|n't) find nvcc",
            r"No CMAKE_CUDA_COMPILER could be found",
            r"CUDA Toolkit not found",
            r"Could NOT find CUDA",
            r"No CUDA toolset found",
            r"nvcc: (?:command )?not found",
            r"Failed to find nvcc",
            r"Couldn't find CUDA library root",
            r"Failed to detect a default CUDA architecture",
            r"The CUDA compiler identification is unknown",
        ),
        "The CUDA compiler is not there to build the engine.",
        (
            "Use a -devel image of nvidia/cuda, or set CUDACXX=/usr/local/cuda/bin/nvcc.",
            "Or install a prebuilt wheel: pip install llama-cpp-python --extra-index-url "
            "https://abetlen.github.io/llama-cpp-python/whl/cu124.",
        ),
        "CMake Error: Could not find nvcc, please set CUDAToolkit_ROOT.",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "cuda-arch-unknown",
        (
            r"nvcc fatal +: Unsupported gpu architecture '(?P<arch>\w+)'",
            r"Compute capability (?P<arch>\d+) used, use",
            r"CUDA_ARCHITECTURES is set to \"?native",
        ),
        "This CUDA cannot compile for the architecture {arch}.",
        (
            "Use a newer CUDA (12.8 for Blackwell), or name the architectures: "
            "-DCMAKE_CUDA_ARCHITECTURES=90.",
        ),
        "nvcc fatal   : Unsupported gpu architecture 'compute_120'",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "compiler-missing",
        (
            r"CMAKE_CX*X?_COMPILER not set",
            r"No CMAKE_CX*X?_COMPILER could be found",
            r"error: command '(?P<program>gcc|g\+\+|cc|cl\.exe|x86_64-linux-gnu-gcc)' failed",
            r"Microsoft Visual C\+\+ .*is required",
            r"CMAKE_MAKE_PROGRAM is not set",
            r"cmake: (?:command )?not found",
            r"'nmake' '-\?' failed",
        ),
        "There is no compiler to build the engine.",
        (
            "Install build-essential and cmake (on Windows the C++ build tools), or use a "
            "prebuilt wheel.",
        ),
        "CMake Error: CMAKE_CXX_COMPILER not set, after EnableLanguage",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "compiler-version",
        (
            r"unsupported GNU version! gcc versions later than (?P<version>\d+)",
            r"unsupported Microsoft Visual Studio version",
            r"CMake (?P<version>[\d.]+) or higher is required",
            r"Compatibility with CMake < [\d.]+ has been removed",
            r"unsupported instruction [`']\w+",
            r"no such instruction: [`']\w+",
            r"is not able to compile a simple test program",
            r"unrecognized command[- ]line option",
            r"nvcc fatal +: (?:Unknown option|Value .+ is not defined for option)",
        ),
        "Compiler, CMake and CUDA do not go together.",
        (
            "Use the gcc that this CUDA supports (NVCC_PREPEND_FLAGS=-ccbin g++-12), or a newer "
            "CUDA.",
        ),
        "#error -- unsupported GNU version! gcc versions later than 13 are not supported!",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "cuda-link",
        (
            r"undefined reference to [`']cu[A-Z]\w+'",
            r"undefined reference to [`']_*cuda\w+",
            r"cannot find -lcuda\b",
            r"ld: warning: libcuda\.so\.1.*not found",
        ),
        "The driver's library is not there to link against, as in every docker build.",
        (
            "Link against the stubs: LD_LIBRARY_PATH=/usr/local/cuda/lib64/stubs, with "
            "libcuda.so.1 "
            "pointing to libcuda.so there.",
        ),
        "libggml-cuda.so: undefined reference to `cuMemCreate'",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "build-option-renamed",
        (
            r"LLAMA_(?:CUBLAS|CUDA|METAL|HIPBLAS) is deprecated and will be removed",
            r"LLAMA_CUBLAS is deprecated",
        ),
        "The build was given an option of old versions, which is refused.",
        ("Use -DGGML_CUDA=on (GGML_METAL, GGML_HIP).",),
        "CMake Error: LLAMA_CUBLAS is deprecated and will be removed in the future.",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "wheel-build-failed",
        (
            r"Failed building wheel for (?P<package>\S+)",
            r"Could not build wheels for (?P<package>\S+)",
            r"Failed to build (?P<package>llama\S+)",
            r"CMake (?:build|configuration) failed",
            r"fatal error: \S+\.(?:h|hpp|cuh): No such file or directory",
            r"make(?:\[\d+\])?: \*\*\* .*Error \d+",
            r"ninja: build stopped: subcommand failed",
            r"metadata-generation-failed",
            r"Configuring incomplete, errors occurred",
            r"subprocess-exited-with-error",
        ),
        "The package {package} could not be built.",
        ("The compiler's lines above say why; a prebuilt wheel avoids the build.",),
        "ERROR: Failed building wheel for llama-cpp-python",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=_B,
    ),
    Signature(
        "package-not-found",
        (
            r"No matching distribution found for (?P<package>\S+)",
            r"Package '(?P<package>[^']+)' requires a different Python",
            r"(?P<package>\S+\.whl) is not a supported wheel on this platform",
            r"Could not find a version that satisfies the requirement (?P<package>\S+)",
            r"Unable to locate package (?P<package>\S+)",
            r"PackagesNotFoundError",
        ),
        "There is no such package for this Python, system or index: {package}.",
        ("Check its name, the Python version and the index.",),
        "ERROR: No matching distribution found for llama-cpp-pythn",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "package-conflict",
        (
            r"ResolutionImpossible",
            r"because these package versions have conflicting dependencies",
            r"No solution found when resolving dependencies",
        ),
        "The packages ask for versions that exclude one another.",
        ("Loosen the pins, or use a separate environment.",),
        "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "managed-environment",
        (r"externally-managed-environment",),
        "The system's Python takes no packages from pip.",
        ("Use a virtual environment: python -m venv, or pipx.",),
        "error: externally-managed-environment",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "module-missing",
        (
            r"No module named '(?P<module>[^']+)'",
            r"ImportError: cannot import name '(?P<module>[^']+)'",
            r"ImportError: (?P<module>numpy\.core\.multiarray failed to import)",
        ),
        "A Python package is missing or of a wrong version: {module}.",
        (
            "Install it in the image; the server of llama-cpp-python needs "
            "pip install 'llama-cpp-python[server]'.",
        ),
        "ModuleNotFoundError: No module named 'starlette_context'",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "build-step-failed",
        (
            r"executor failed running \[",
            r"failed to solve: (?P<why>.+)",
            r"did not complete successfully: exit code: (?P<code>\d+)",
            r"The command '.+' returned a non-zero code: (?P<code>\d+)",
            r"container exit status: (?P<code>\d+)",
        ),
        "A step of the image's build failed.",
        ("The lines above it say why.",),
        'ERROR: failed to solve: process "/bin/sh -c make" did not complete successfully: '
        "exit code: 2",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=_B,
    ),
    Signature(
        "ollama-runner-died",
        (
            r"llama runner process (?:has terminated|no longer running)(?:: (?P<why>.+))?",
            r"(?:exited|terminated|stopped|crashed|died|ended) unexpectedly",
            r"(?:exited|terminated|stopped|ended) prematurely",
            r"could not load model: rpc error: code = (?:Canceled|Unavailable)",
            r"grpc service not ready",
            r"failed starting/connecting to the gRPC service",
            r"\(Exit code: \d+\)\.",
            r"failed to start (?:a|the) llama runner",
            r"model runner has unexpectedly stopped",
            r"model failed to load, this may be due to resource limitations",
            r"exited before becoming healthy",
            r"llama runner terminated",
        ),
        "The program that runs the model inside Ollama, LM Studio or Docker ended.",
        ("Its own lines above say why; the exit code alone does not.",),
        "Error: llama runner process has terminated: exit status 2",
        Basis.REPORTED,
        tier=Tier.GENERIC,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "ollama-load-timeout",
        (r"timed out waiting for llama runner to start", r"timed out waiting for .* to start"),
        "The model was not loaded in time: slow storage, or a model far larger than memory.",
        ("Raise OLLAMA_LOAD_TIMEOUT, and keep models on a fast local disk.",),
        'time=2025-02-20T12:00:00Z level=ERROR source=sched.go:456 msg="error loading llama '
        'server" '
        'error="timed out waiting for llama runner to start - progress 0.00 - "',
        Basis.REPORTED,
    ),
    Signature(
        "ollama-no-runner",
        (
            r"no suitable llama servers found",
            r"unable to initialize llm library",
            r"(?:llama-server|runner|llama server) binary not found",
        ),
        "Ollama could not unpack or start its own runners.",
        ("Give it room in /tmp (or OLLAMA_TMPDIR) that is not mounted with noexec.",),
        "Error: no suitable llama servers found",
        Basis.REPORTED,
    ),
    Signature(
        "start-timeout",
        (
            r"health check of container \S+ timed out",
            r"failed to start within timeout",
            r"failed to start and listen on the port",
            r"did not become (?:healthy|ready) (?:with)?in",
            r"\bnot ready (?:with)?in \d+",
            r"\bnot healthy (?:with)?in \d+",
            r"\bnot ready after \d+",
            r"health check timed out",
        ),
        "Whoever started the server did not wait until the model was loaded.",
        ("Raise its limit: loading takes about as long as reading the file from its disk.",),
        "ERROR: The user-provided container failed to start and listen on the port defined by PORT",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.SERVE,
    ),
    Signature(
        "server-busy",
        (
            r"maximum pending requests exceeded",
            r"server busy, please try again",
            r"No slot available",
            r"all slots are busy",
        ),
        "More requests wait than the server takes.",
        ("Raise OLLAMA_MAX_QUEUE or the number of slots (-np).",),
        "server busy, please try again. maximum pending requests exceeded",
        Basis.REPORTED,
        tier=Tier.REQUEST,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "service-not-running",
        (
            r"Docker Model Runner is not (?:running|available|enabled|installed)",
            r"could not connect to (?:a running )?ollama",
            r"ollama server not responding",
            r"Cannot connect to the Docker daemon",
            r"Is the docker daemon running\?",
            r"trying to connect to the Docker daemon socket",
        ),
        "The service that the command talks to is not running.",
        ("Start it: docker desktop enable model-runner, ollama serve, or systemctl start docker.",),
        "Docker Model Runner is not running. Please start it and try again.",
        phase=Phase.START,
    ),
    Signature(
        "artifact-unknown",
        (r"client supports only models of type",),
        "What was pulled is not in a form that this version of Docker Model Runner knows.",
        ("Update Docker Model Runner, then pull the model again.",),
        'config type "application/vnd.docker.container.image.v1+json" is unsupported: client '
        "supports only models of type",
        Basis.REPORTED,
        phase=Phase.DOWNLOAD,
    ),
    Signature(
        "no-display",
        (
            r"no display name and no \$DISPLAY",
            r"couldn't connect to display",
            r"cannot open display",
        ),
        "The program wants to open a window, and this machine has no display.",
        (
            "Give it the model and its options on the command line, so that it needs no window "
            "(koboldcpp: --model).",
        ),
        "Warning, GUI failed to start: Reason: no display name and no $DISPLAY environment "
        "variable",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "lmstudio-engine",
        (
            r"Failed to load LLM engine from path: (?P<path>.+)",
            r"No LM Runtime found for model format",
        ),
        "LM Studio's engine is missing or incomplete.",
        ("Install the runtime again in LM Studio; delete its folder extensions/backends first.",),
        "Failed to load LLM engine from path: C:\\llm_engine_cuda12.node. The specified module "
        "could "
        "not be found.",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "python-exception",
        (
            r"^(?P<name>(?:\w+\.)*[A-Z]\w*)Error: (?P<why>.+)",
            r"^(?P<name>(?:\w+\.)*[A-Z]\w*)Exception: (?P<why>.+)",
        ),
        "A Python program ended with an exception: {why}.",
        ("The traceback above it shows where.",),
        "RuntimeError: llama context is gone",
        Basis.REPORTED,
        tier=Tier.GENERIC,
    ),
    Signature(
        "cxx-exception",
        (r"^what\(\): +(?P<why>.+)", r"Exception caught at file:(?P<why>.+)"),
        "The engine ended with an exception: {why}.",
        ("The lines above it show in what it was busy.",),
        "what():  key not usable",
        tier=Tier.SYMPTOM,
        phase=Phase.ALWAYS,
    ),
)
