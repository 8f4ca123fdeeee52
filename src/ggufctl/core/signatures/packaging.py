"""Wrappers around llama.cpp, and what goes wrong while any of it is installed or built."""

from __future__ import annotations

from ggufctl.core.signatures.table import Basis, Phase, Signature, Tier, Variant

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
            r"Failed to find (?:the )?CUDA",
            r"(?:nvcc|CUDA toolkit|CUDAToolkit|CUDA_HOME|CUDA_PATH) .{0,60}(?:not found|is not "
            r"set|not set|missing|cannot be found)",
            r"CUDACXX",
            r"Failed to find a working CUDA architecture",
            r"CMAKE_CUDA_COMPILER.{0,60}(?:is not|not set|not found|NOTFOUND)",
            r"Could NOT find CUDAToolkit",
            r"CMakeDetermineCompilerId.{0,80}CUDA",
            r"Compiling the CUDA compiler identification",
            r"CMAKE_CUDA_COMPILER:",
            r"CUDA_HOME environment variable is not set",
            r"CUDA_TOOLKIT_ROOT_DIR not found",
            r"Unable to find cud\w+ library",
            r"No CUDA runtime is found",
            r"nvcc: (?:not found|No such file)",
            r"(?:hipcc|HIP compiler|icpx)\b.{0,40}(?:not found|broken|could not be found)",
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
        "cuda-library-missing",
        (
            r"^(?P<name>CUDA::\w+)$",
            r"links to:? (?:target )?[\"'](?P<name>CUDA::\w+)",
        ),
        "The CUDA toolkit here lacks a library to link against: {name}.",
        (
            "Install the whole toolkit (cuda-toolkit-12-8, or libcublas-dev-12-8 and "
            "cuda-cudart-dev-12-8), or build in a -devel image of nvidia/cuda: -base and -runtime "
            "lack them.",
            "If there are several, name one with -DCUDAToolkit_ROOT=/usr/local/cuda, and delete "
            "the build folder.",
        ),
        'CMake Error at CMakeLists.txt:5 (target_link_libraries):\n  Target "ggml-cuda" links to:'
        "\n\n    CUDA::cublas\n\n  but the target was not found.",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "cuda-needs-msvc",
        (
            r"_CMAKE_CUDA_WHOLE_FLAG",
            r"nvcc fatal +: Cannot find compiler '?cl\.exe",
            r"nvcc fatal +: Host compiler targets unsupported OS",
            r"CMAKE_CUDA_COMPILE_WHOLE_COMPILATION",
        ),
        "CUDA cannot be compiled with this compiler or generator: on Windows nvcc works with "
        "Visual Studio only, not with MinGW.",
        (
            "Install the C++ build tools of Visual Studio, and build from its x64 Native Tools "
            "prompt (CMAKE_GENERATOR=Ninja) or with -G 'Visual Studio 17 2022'; delete the build "
            "folder first.",
            "Or install a prebuilt wheel: pip install llama-cpp-python --extra-index-url "
            "https://abetlen.github.io/llama-cpp-python/whl/cu124.",
        ),
        "CMake Error: Error required internal CMake variable not set, cmake may not be built "
        "correctly.\nMissing variable is:\n_CMAKE_CUDA_WHOLE_FLAG",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "cuda-arch-unknown",
        (
            r"nvcc fatal +: Unsupported gpu architecture '(?P<arch>\w+)'",
            r"Compute capability (?P<arch>\d+) used, use",
            r"CUDA_ARCHITECTURES is set to \"?native",
            r"unsupported (?:GPU |gpu )?architecture 'compute_\w+",
            r"unsupported CUDA (?:gpu )?architecture",
            r"clang.*: error: (?:invalid target ID|unsupported (?:HIP|CUDA) gpu architecture)",
            r"nvcc fatal .*compute_\d+",
            r"CUDA_ARCHITECTURES is empty",
            r"CMAKE_CUDA_ARCHITECTURES .{0,60}(?:must be|invalid|not (?:set|supported|valid)|"
            r"non-empty)",
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
            r"cannot execute [‘'`\"](?P<program>cc1plus|cc1|as)\b",
            r"CMAKE_CX*X?_COMPILER not set",
            r"No CMAKE_CX*X?_COMPILER could be found",
            r"error: command '(?P<program>gcc|g\+\+|cc|cl\.exe|x86_64-linux-gnu-gcc)' failed",
            r"Microsoft Visual C\+\+ .*is required",
            r"CMAKE_MAKE_PROGRAM is not set",
            r"cmake: (?:command )?not found",
            r"'nmake' '-\?' failed",
            r"no C(?:\+\+|XX)? compiler",
            r"C(?:XX|\+\+)? compiler .{0,40}(?:not found|cannot create|identification is unknown)",
            r"CMAKE_C(?:XX)?_COMPILER.{0,80}(?:not found|not set|NOTFOUND|could not be found|is "
            r"not a full path)",
            r"(?P<program>gcc|g\+\+|clang|clang\+\+|make|ninja|cmake|cc): (?:command )?not found",
            r"unable to find (?:a )?(?:suitable )?(?:compiler|vcvarsall|Visual Studio)",
            r"CMake was unable to find a build program",
            r"could not find any instance of Visual Studio",
            r"(?:xcode-select|xcrun): error",
            r"Problem with the CMake installation",
            r"The (?:C|CXX|HIP|Fortran|ASM) compiler identification is unknown",
            r"Could not find CMake with version",
            r"Generator .{0,40}could not (?:be found|find)",
            r"Ninja .{0,40}not found",
            r"(?:CMake|ninja) (?:not found|must be installed)",
            r"Could not find (?:Ninja|Visual Studio|MSVC)",
            r"No such file or directory: '(?:gcc|g\+\+|cc|c\+\+|cmake|ninja|make|clang)'",
            r"CMakeNotFoundError",
            r"NinjaNotFoundError",
            r"Building for: NMake Makefiles",
            r"Failed to find C compiler",
            r"Command .{0,8}(?:which|where|command)\b[-v'\", ]{1,8}(?P<program>gcc|g\+\+|"
            r"clang(?:\+\+)?|cc|c\+\+|cmake|make|ninja)(?:-\d+)?['\"\]]{0,3} returned non-zero",
            r"Command .{0,4}(?P<program>gcc|g\+\+|clang(?:\+\+)?|cc|c\+\+|cmake|make|"
            r"ninja)(?![\w+-]).{0,200} returned non-zero exit status 127\b",
            r"(?:No|no) (?:working )?C\+?\+? compiler (?:was )?found",
        ),
        "There is no compiler to build the engine.",
        (
            "Install build-essential and cmake (on Windows the C++ build tools), or use a "
            "prebuilt wheel.",
        ),
        "CMake Error: CMAKE_CXX_COMPILER not set, after EnableLanguage",
        Basis.REPORTED,
        phase=_B,
        variants=(
            Variant(
                r"\b(?:which|where|command)\b",
                (
                    "Install {program} in the image before this step (apt_install on Modal, "
                    "apt-get install in a Dockerfile), or use a prebuilt wheel.",
                ),
                "A step needs {program}, which is not installed.",
            ),
        ),
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
            r"requires? (?:at least )?(?:GCC|g\+\+|clang|C\+\+\d\d|CMake|cmake)[ >=]*[\d.]*",
            r"(?:GCC|g\+\+|clang|cmake|CMake) (?:version )?[\d.]+ (?:or (?:higher|newer|later|"
            r"greater)) (?:is )?required",
            r"error: (?:[''`]std::filesystem|#error)",
            r"-std=c\+\+(?:17|20).{0,40}(?:not supported|unrecognized|invalid)",
            r"target specific option mismatch",
            r"identifier \"?\w+\"? is undefined",
            r"Check for working \w+ compiler: .{0,200}- broken",
            r"Detecting \w+ compiler ABI info - failed",
            r"exception specification is incompatible with that of previous function",
            r"host compiler .{0,60}(?:not supported|unsupported)",
            r"The CUDA compiler .{0,80}(?:is not compatible|not supported)",
            r"CMake \S+ or higher is required",
            r"requires CMake",
            r"error: (?:identifier|expected) .{0,60}(?:amx|avx512|__builtin_ia32)",
            r"__builtin_ia32\w+",
            r"STL1002",
            r"Unexpected compiler version",
            r"unsupported clang version",
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
            r"ld: (?:library|symbol\(s\)|cannot find|undefined)",
            r"cannot find -l\w+",
            r"unresolved external symbol",
            r"collect2: error",
            r"LNK(?:1104|1181|1120|2019|2001)",
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
        variants=(
            Variant(
                r"@libcu(?:dart|blas)|compiler_compat|undefined reference to [`']_*cuda",
                (
                    "Build with the system's compiler and linker, outside of conda (conda "
                    "deactivate), or install the CUDA of that version in the environment "
                    "(conda install cuda-cudart libcublas).",
                    "Tell the linker where it is: LIBRARY_PATH=/usr/local/cuda/lib64, "
                    "LDFLAGS=-Wl,-rpath-link,/usr/local/cuda/lib64.",
                    "llama-cpp-python needs no llava tools: CMAKE_ARGS=-DLLAVA_BUILD=OFF.",
                ),
                "The linker does not find CUDA's run-time libraries (libcudart, libcublas) of the "
                "version that was compiled against; conda's own linker looks in its environment "
                "only.",
            ),
        ),
    ),
    Signature(
        "build-option-renamed",
        (
            r"LLAMA_(?:CUBLAS|CUDA|METAL|HIPBLAS) is deprecated and will be removed",
            r"LLAMA_CUBLAS is deprecated",
            r"LLAMA_\w+ is deprecated",
            r"(?:LLAMA|GGML)_\w+ .{0,30}(?:is deprecated|has been (?:renamed|removed)|was renamed)",
            r"Makefile build (?:is deprecated|has been replaced)",
            r"Build system changed",
        ),
        "The build was given an option of old versions, which is refused.",
        ("Use -DGGML_CUDA=on (GGML_METAL, GGML_HIP).",),
        "CMake Error: LLAMA_CUBLAS is deprecated and will be removed in the future.",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "submodules-missing",
        (
            r"fatal error: '?\S*(?:llama|ggml|gguf)\S*\.h\S*?'? ?:? (?:file not found|No such "
            r"file)",
            r"include could not find (?:requested|load) file",
            r"add_subdirectory given source .{0,100}not an existing directory",
            r"Cannot find source file:",
            r"does not contain a CMakeLists\.txt",
            r"No url found for submodule",
            r"submodule.{0,60}(?:not (?:initialized|found|checked out)|missing|empty)",
            r"vendor/llama\.cpp.{0,80}(?:not found|missing|does not exist|empty)",
            r"is not an existing non-empty directory",
        ),
        "The sources are incomplete: the submodules, such as vendor/llama.cpp, were not fetched, "
        "or not all files were copied into the build.",
        (
            "git clone --recurse-submodules, or git submodule update --init --recursive; "
            "GitHub's zip files lack them.",
        ),
        "CMake Error at CMakeLists.txt:54 (add_subdirectory):\n  does not contain a "
        "CMakeLists.txt file.",
        Basis.REPORTED,
        phase=Phase.BUILD,
    ),
    Signature(
        "cgo-off",
        (
            r"\.go:\d+:\d+: undefined: (?P<symbol>(?:llama|gollama|ggml|C)\.\w+)",
            r"build constraints exclude all Go files in \S*llama",
            r"cgo: C compiler \S+ not found",
        ),
        "The Go program is built without cgo, which its llama.cpp needs.",
        ("Install a C and C++ compiler (build-essential), and build with CGO_ENABLED=1.",),
        "server/routes.go:70:20: undefined: llama.New",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "engine-link",
        (
            r"undefined reference to [`'‘](?P<symbol>_*(?:llama|ggml|gguf|clip|mtmd|common|"
            r"load_model|llava)_\w+)",
            r"unresolved external symbol \S*?(?P<symbol>(?:llama|ggml|gguf|mtmd)_\w+)",
            r"cannot find -l(?P<symbol>llama|ggml\S*|binding|mtmd)\b",
            r"(?:unable to|could not) find library -l(?P<symbol>llama|ggml\S*|binding|mtmd)\b",
        ),
        "The program is linked without llama.cpp's libraries, or with those of another version: "
        "{symbol}.",
        (
            "Build them first, from the version that the binding pins (git submodule update "
            "--init --recursive, make libbinding.a, go generate ./...), and link them "
            "(LIBRARY_PATH, -L).",
            "Delete old build folders and other copies of libllama and libggml.",
        ),
        "/usr/bin/ld: main.o: undefined reference to `llama_model_quantize'",
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
            r"^Failed to build (?P<package>[\w-]+)$",
            r"error: legacy-install-failure",
            r"CMake Error at",
            r"error: metadata-generation",
            r"error: subprocess",
            r"Getting requirements to build wheel did not run successfully",
            r"Building wheel for \S+ .{0,30}(?:error|did not run successfully)",
            r"Failed to build installable wheels",
            r"error: could not compile",
            r"error: Build failed",
            r"gmake(?:\[\d+\])?: \*\*\* .*Error \d+",
            r"make: \*\*\*",
            r"Failed to build `?(?P<package>[\w.-]+)==",
            r"The build backend returned an error",
            r"Call to `[\w.]+build_wheel` failed",
            r"Failed to download and build `?(?P<package>[\w.-]+)",
            r"error: failed to (?:compile|build|run custom build)",
        ),
        "The package {package} could not be built.",
        ("The compiler's lines above say why; a prebuilt wheel avoids the build.",),
        "ERROR: Failed building wheel for llama-cpp-python",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=_B,
    ),
    Signature(
        "node-gyp-failed",
        (
            r"gyp ERR! (?:build|configure) error",
            r"gyp ERR! stack Error: (?!not found)",
            r"npm (?:ERR!|error) .{0,80}node-gyp rebuild",
            r"npm (?:ERR!|error) .{0,80}cmake-js",
        ),
        "A native module of Node.js could not be built.",
        (
            "Use a Node.js LTS, for which packages bring prebuilt binaries.",
            "To build, it needs Python 3, a C++ compiler and make (on Windows Visual Studio's "
            "build tools), and a node-gyp of this Node's age: npm install -g node-gyp@latest.",
        ),
        "gyp ERR! build error",
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
            r"has no installation candidate",
            r"ResolvePackageNotFound",
            r"no matching package named",
            r"Requires-Python",
            r"requires Python (?:'|>=|<|version)",
            r"No such package",
            r"was not found in the package registry",
            r"doesn't have a source distribution or wheel for the current platform",
            r"incompatible with the project's Python requirement",
            r"(?:no|No) (?:compatible )?wheels? (?:found|available|with a matching)",
            r"there are no versions of",
            r"The current Python version \(\S+\) is not (?:allowed|supported)",
            r"Python \S+ (?:is|are) (?:not|no longer) supported",
            r"does not (?:support|run on) (?:this )?Python",
        ),
        "There is no such package for this Python, system or index: {package}.",
        ("Check its name, the Python version and the index.",),
        "ERROR: No matching distribution found for llama-cpp-pythn",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "wheel-name",
        (r"Invalid build number: ", r"is not a valid wheel filename", r"Invalid wheel filename"),
        "The wheel's file has a name that pip does not take.",
        (
            "Rename it to NAME-VERSION-cpXY-cpXY-PLATFORM.whl with nothing more, such as "
            "llama_cpp_python-0.3.9-cp312-cp312-win_amd64.whl.",
        ),
        "ERROR: Invalid build number: cp312 in "
        "'llama_cpp_python-0.3.9-cp312-cp312-win_amd64-qwen3_cuda124'",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "package-conflict",
        (
            r"ResolutionImpossible",
            r"because these package versions have conflicting dependencies",
            r"No solution found when resolving dependencies",
            r"LibMambaUnsatisfiableError",
            r"is incompatible with",
            r"version conflict",
            r"pip's dependency resolver does not currently",
            r"which is incompatible",
            r"but you(?:'ll)? have \S+ which is incompatible",
            r"version solving failed",
            r"The following packages are incompatible",
            r"could not be resolved because",
            r"conflicting (?:dependencies|requirements)",
            r"your requirements are unsatisfiable",
            r"SolverProblemError",
            r"Could not solve for environment",
        ),
        "The packages ask for versions that exclude one another.",
        ("Loosen the pins, or use a separate environment.",),
        "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "managed-environment",
        (
            r"externally-managed-environment",
            r"No virtual environment found; run",
            r"This environment is externally managed",
            r"pass `--system` to install",
        ),
        "The system's Python takes no packages from pip.",
        ("Use a virtual environment: python -m venv, or pipx.",),
        "error: externally-managed-environment",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "module-missing",
        (
            r"(?P<module>\w[\w-]*[>=]=[\d.]+) is required$",
            r"No module named '(?P<module>[^']+)'",
            r"ImportError: cannot import name '(?P<module>[^']+)'",
            r"ImportError: (?P<module>numpy\.core\.multiarray failed to import)",
            r"ModuleNotFoundError: (?P<module>.+)",
            r"ImportError: (?P<module>(?!DLL|lib|\S+\.so|/).+)",
            r"got an unexpected keyword argument '(?P<module>\w+)'",
            r"AttributeError: (?:partially initialized )?module '(?P<module>[\w.]+)' has no "
            r"attribute",
            r"numpy\.dtype size changed",
            r"A module that was compiled using NumPy 1",
            r"Please (?:install|upgrade) (?P<module>\w+) (?:using|with|to use|by running)",
            r"cannot find module '(?P<module>[^']+)'",
            r"Please install torch and gguf",
            r"requires? the (?P<module>[\w.-]+) (?:library|package)",
            r"No module named (?P<module>[\w.]+)$",
            r"package (?P<module>[\w.-]+) is not installed",
            r"(?P<module>\w+) is required .{0,60}pip install",
            r"Using .{0,60}requires .{0,40}`pip install (?P<module>[\w.\[\]-]+)",
        ),
        "A Python package is missing or of a wrong version: {module}.",
        (
            "Install it in the image; the server of llama-cpp-python needs "
            "pip install 'llama-cpp-python[server]'.",
            "If it is there but lacks something, it is too old, or a folder or node of the same "
            "name hides it: upgrade it with exactly the Python that runs the program (ComfyUI "
            "portable: python_embeded/python.exe -s -m pip install -U gguf).",
        ),
        "ModuleNotFoundError: No module named 'starlette_context'",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"unexpected keyword|has no attribute",
                (
                    "Pin the package that the last lines of the traceback are in to the version "
                    "that this code was written for: the newest may no longer take it (pip "
                    "install 'gradio<6').",
                    "If the code is the newer of the two, upgrade that package instead, with "
                    "exactly the Python that runs the program.",
                ),
                "A Python package is newer or older than the code that calls it, and does not "
                "know {module}.",
            ),
        ),
    ),
    Signature(
        "settings-invalid",
        (
            r"ValidationError: \d+ validation errors? for (?P<name>\w*(?:Settings|Config|Args|"
            r"Params|Parameters|Options))\b",
        ),
        "The settings of a Python program ({name}) lack a value, or have one of the wrong kind.",
        (
            "The lines below it name each: give it as an option or environment variable, such as "
            "--model FILE or MODEL=FILE for llama_cpp.server.",
        ),
        "pydantic.error_wrappers.ValidationError: 1 validation error for Settings\nmodel\n  field "
        "required (type=value_error.missing)",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "transformers-no-config",
        (
            r"does not appear to have a file named (?P<name>[\w.]+)",
            r"Unrecognized model in (?P<name>\S+)\. Should have",
            r"No supported config format found",
            r"config file at '(?P<name>[^']+\.(?:bin|gguf))' is not a valid JSON",
            r"Can't load (?:tokenizer|the configuration|config|image processor|feature "
            r"extractor) (?:for|of) '(?P<name>[^']+)'",
            r"Invalid repository ID or local directory specified",
            r"Should have a `model_type` key in its config\.json",
            r"Unable to load vocabulary from file",
        ),
        "The library looks for a model of transformers, and the repository or folder "
        "holds only GGUF files: {name}.",
        (
            "Name one GGUF file (gguf_file= in transformers), and take tokenizer and "
            "config from the original model's repository (vLLM: --tokenizer, "
            "--hf-config-path).",
        ),
        "OSError: org/x does not appear to have a file named config.json. Checkout "
        "'https://huggingface.co/org/x/tree/main' for available files.",
        Basis.REPORTED,
        phase=Phase.LOAD,
    ),
    Signature(
        "chat-format-unknown",
        (r"Invalid chat handler: (?P<name>\w+)", r"LlamaChatCompletionHandlerNotFoundException"),
        "llama-cpp-python knows no chat format {name}.",
        (
            "Leave out chat_format, so that the model's own template is used, or take one of "
            "those that it lists.",
        ),
        "llama_cpp.llama_chat_format.LlamaChatCompletionHandlerNotFoundException: Invalid chat "
        "handler: None (valid formats: ['llama-2', 'llama-3'])",
        Basis.REPORTED,
        phase=Phase.ALWAYS,
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
            r"(?:runner|llama-server|llama\.cpp|backend|engine|server) (?:process )?(?:has "
            r")?(?:exited|terminated|crashed|died|stopped|ended)(?: unexpectedly|:| before| early|"
            r"$| with(?! (?:exit )?(?:code|status)[ :=]*1[23]\d))",
            r"model runner (?:has )?(?:unexpectedly )?stopped",
            r"The model has crashed",
            r"LLM (?:worker|process) (?:exited|crashed|died)",
            r"error reading from server: EOF",
            r"error waiting for runner",
            r"(?:POST|post) predict.*(?:EOF|forcibly closed)",
            r"unexpected server status",
            r"Utility process has exited",
            r"rpc error: code = (?:Unavailable|Canceled|Unknown)(?!.{0,300}(?:sandbox|containerd|"
            r"image|volume|RuntimeHandler|device plugin))",
            r"(?:127\.0\.0\.1|localhost):\d+/\w+\\?\":? EOF",
            r"an error was encountered while running the model: (?P<why>.+)",
        ),
        "The program that runs the model ended.",
        ("Its own lines above say why; the exit code alone does not.",),
        "Error: llama runner process has terminated: exit status 2",
        Basis.REPORTED,
        tier=Tier.GENERIC,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "ollama-load-timeout",
        (
            r"timed out waiting for llama runner to start",
            r"timed out waiting for .* to start",
            r"timed out waiting for (?:llama|the) (?:runner|server)",
            r"load(?:ing)? (?:model )?timed out",
            r"timed? ?out (?:while )?(?:loading|waiting for) .{0,30}model",
            r"timeout while waiting for (?:the )?model",
        ),
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
            r"unable to (?:find|locate) (?:a )?(?:suitable )?(?:llama|runner)",
            r"(?:could not|unable to) (?:extract|unpack) .{0,40}(?:runner|payload)",
            r"may have noexec set",
            r"unable to initialize llm runners",
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
            r"(?:did not|didn't|failed to) (?:start|respond|become ready|become available|come up)"
            r" (?:with)?in (?:the )?(?:time|\d+|timeout|allotted)",
            r"timed? ?out waiting for .{0,60}(?:server|ready|health|start|container|port)",
            r"server (?:is )?not (?:ready|responding|healthy) after",
            r"startup timed? ?out",
            r"(?:exceeded|exceeds) (?:its )?progress deadline",
            r"WORKER TIMEOUT",
            r"(?:start|stop|reload) operation timed out",
            r"Failed with result '(?:timeout|watchdog)'",
            r"Watchdog timeout \(limit",
            r"timed out waiting for the condition",
            r"(?:INSTALLATION|UPGRADE) FAILED: .{0,120}(?:deadline exceeded|timed out)",
            r"(?:did not|didn't) pass the ping health check",
            r"STARTUP (?:TCP|HTTP|GRPC) probe failed",
            r"failed container health checks",
            r"smoke checks? .{0,60}failed",
            r"did not become ready",
            r"(?:container|instance|endpoint|pod|deployment) .{0,60}(?:did not|failed to) "
            r"(?:become|start|report) (?:healthy|ready)",
            r"health ?check .{0,60}(?:has )?failed\. Your app",
            r"Error hosting endpoint",
            r"because a timeout was exceeded",
            r"timed out while waiting for (?:port|the container|health)",
            r"Task timed out after",
            r"Readiness check failed",
            r"health ?check failed after \d+",
            r"health ?check of .{0,60}timed out",
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
            r"queue (?:is )?full",
            r"server (?:is )?(?:overloaded|busy|at capacity)",
            r"too many (?:concurrent|pending|queued) (?:requests|connections)",
            r"\bNo sequences left\b",
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
            r"(?:could not|cannot|can't|unable to|failed to) connect to (?:the )?(?:ollama|podman|"
            r"docker|LM Studio)",
            r"(?:ollama|LM Studio|docker|podman)(?: server| app| daemon| service)? (?:is )?not "
            r"(?:running|responding|started|available)",
            r"podman machine .{0,60}(?:not running|does not exist|stopped)",
            r"no container manager",
            r"error during connect:",
            r"not been booted with systemd",
            r"Failed to connect to bus",
            r"failed to start daemon",
            r"Job for (?:docker|containerd|podman|ollama|libvirtd)\S* failed because (?!a "
            r"timeout)",
            r"Failed to start (?:docker|containerd|podman|ollama)\S*\.service(?!: Unit)",
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
            r"could not connect to display",
            r"qt\.qpa\.\w+.*(?:could not|failed)",
            r"Could not load the Qt platform plugin",
            r"failed to initialize GTK",
            r"Missing X server",
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
            r"(?:failed to load|could not load|unable to load) (?:the )?(?:LLM )?(?:engine|"
            r"runtime)",
            r"Default engine variant for \S+ is not set",
            r"llm_engine\S*\.node",
            r"Attempt to pull a snapshot of system resources failed",
            r"Utility process is not defined",
            r"- Caused By: TypeError: Cannot read properties of undefined",
            r"llamacpp-\S+ download fail",
            r"Failed to download llamacpp-\S+",
        ),
        "The engine (runtime) that LM Studio or Jan loads is missing, incomplete or faulty.",
        (
            "Install or choose it anew: in LM Studio under Settings > Runtime, after deleting "
            "extensions/backends in its folder; in Jan under Settings > Model Providers > "
            "Llama.cpp (in old versions Settings > Engines).",
            "End the program wholly, with what it left in the background (lms daemon), and "
            "start it again; then update it.",
            "Choose another variant, such as CPU or Vulkan instead of CUDA or ROCm.",
        ),
        "Failed to load LLM engine from path: C:\\llm_engine_cuda12.node. The specified module "
        "could "
        "not be found.",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "app-runtime-crashed",
        (
            r"\(Exit code: (?P<code>\d+)\)\. (?:Unknown error|Please check settings)",
            r"crashed without additional information\. \(Exit code: (?P<code>\d+)\)",
            r"LLAMA_CPP_PROCESS_ERROR",
            r"Error loading the model - llama_engine",
            r"Model has not been loaded, please load model into",
            r"CURL request failed: Server returned nothing",
        ),
        "The engine (runtime) of LM Studio or Jan crashed with this model, and does not say why.",
        (
            "Choose another runtime in its settings (CPU or Vulkan instead of CUDA or ROCm, or "
            "the other way round), then update runtime and driver.",
            "Load with fewer layers on the GPU, a shorter context, and without flash attention.",
            "Start the same file with llama-server, which tells the reason.",
        ),
        "Failed to load the model\nError loading model.\n(Exit code: 18446744072635812000). "
        "Unknown error. Try a different model and/or config.",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.ALWAYS,
    ),
    Signature(
        "localai-backend-wrong",
        (
            r"rpc error: code = Unknown desc = (?:unimplemented|create silero)",
            r"failed:Protobuf parsing failed",
            r"some backends\(stablediffusion, tts\) require LocalAI compiled",
        ),
        "LocalAI tries the model with a backend that is not made for it.",
        (
            "Name it in the model's YAML, backend: llama-cpp, and install it (local-ai backends "
            "install llama-cpp).",
            "If llama-cpp was tried as well, its own line with Fails says why it could not.",
        ),
        "INF [silero-vad] Fails: rpc error: code = Unknown desc = create silero detector: failed "
        "to create session",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
    ),
    Signature(
        "llamafile-no-gpu",
        (r"support for --gpu (?P<gpu>\w+) was explicitly requested, but it wasn't available",),
        "llamafile has no GPU support ready for {gpu}, and could not compile it here.",
        (
            "Install the CUDA toolkit (nvcc on the PATH) or ROCm, delete ~/.llamafile, and start "
            "it again with --recompile.",
            "Or use a release that brings ggml-cuda.so along, or the llama.cpp build for this GPU.",
        ),
        "fatal error: support for --gpu nvidia was explicitly requested, but it wasn't available",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "python-too-old",
        (
            r"SyntaxError: f-string: (?:unmatched|expecting)",
            r"requires Python (?:>=|3\.\d+ or)",
            r"cannot import name '(?:Self|override|StrEnum|UTC|tomllib)' from",
            r"No module named 'tomllib'",
        ),
        "The program is written for a newer Python than runs it.",
        (
            "Run it with a newer Python (3.12 knows everything that is common today), for ComfyUI "
            "a newer portable release.",
            "Or install an older release of the package or node.",
        ),
        "SyntaxError: f-string: unmatched '('",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "llamafile-loader",
        (
            r"run-detectors: unable to find an interpreter",
            r"unable to find an interpreter for \S*\.llamafile",
            r"import_dll .{0,160}\.llamafile",
            r"\.llamafile(?:\.exe)?['\"]? ?: (?:Invalid argument|cannot execute|Exec format)",
            r"\.llamafile(?:\.exe)?' failed to run",
            r"(?:not executable|is for MS Windows|zsh: exec format error): \S*\.llamafile",
        ),
        "The system does not know how to start a llamafile, which is one program for all systems.",
        (
            "Linux, where Wine or binfmt_misc takes it: save "
            "https://cosmo.zip/pub/cosmos/bin/ape-$(uname -m).elf as /usr/bin/ape, make it "
            "executable, and register it; or start it with sh ./model.llamafile.",
            "WSL: sudo sh -c 'echo -1 > /proc/sys/fs/binfmt_misc/WSLInterop'.",
            "Windows starts no program above 4 GB: download llamafile alone, name it "
            "llamafile.exe, and run llamafile.exe -m with the large file.",
        ),
        "run-detectors: unable to find an interpreter for ./llava-v1.5-7b-q4.llamafile",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "mlx-missing",
        (
            r"MLX not available: failed to load",
            r"failed to initialize MLX: \S+ not found",
            r"MLX runner not available",
            r"this model requires macOS",
            r"(?:failed to load|could not find) MLX (?:dynamic )?library",
        ),
        "Ollama runs this model with MLX, and has no MLX library here.",
        (
            "Take the GGUF variant of the model: other tags at ollama.com, or ollama pull "
            "hf.co/<owner>/<model>-GGUF:Q4_K_M.",
            "Mac with Apple silicon: install Ollama again from ollama.com; Homebrew's build may "
            "lack libmlxc.dylib.",
            "NVIDIA: unpack ollama-linux-amd64-mlx.tar.zst (to where lib/ollama is) or "
            "ollama-windows-amd64-mlx.zip of the same release.",
        ),
        "Error: mlx runner failed: Error: failed to initialize MLX: libmlxc.so not found (exit: "
        "exit status 1)",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "ollama-server-not-started",
        (
            r"timed out waiting for server to start",
            r"timeout waiting for Ollama server to be ready",
            r"failed to restart server exec: already started",
        ),
        "The Ollama app does not get its own server to run.",
        (
            "End every ollama process (tray, Task Manager, autostart), and start ollama serve in "
            "a terminal: it says why.",
            "Look into server.log beside app.log; a server started otherwise, or OLLAMA_HOST set "
            "wrongly, is mostly the reason.",
        ),
        "Error: timed out waiting for server to start",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.START,
    ),
    Signature(
        "text-encoding",
        (
            r"'(?:charmap|gbk|gb2312|cp\d+|big5\w*|shift_jis|euc_\w+|ascii)' codec can't "
            r"(?:de|en)code",
        ),
        "The program reads or writes text as the system's old code page, and it is UTF-8.",
        (
            "Set PYTHONUTF8=1 for the program, or switch on UTF-8 in Windows' region settings.",
            "Update the program, which should name the encoding itself.",
        ),
        "UnicodeDecodeError: 'charmap' codec can't decode byte 0x81 in position 451: character "
        "maps to <undefined>",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "database-migration",
        (
            r"OperationalError\W.{0,40}no such (?:table|column): (?P<name>[\w.]+)",
            r"psycopg2?\.errors\.(?:DuplicateTable|DuplicateColumn|UndefinedTable|UndefinedColumn|"
            r"UniqueViolation)",
            r"Can't locate revision identified by",
            r"OperationalError\W.{0,40}(?:table|column) .{0,60}already exists",
            r"duplicate column name: (?P<name>\w+)",
            r"Error running (?:extra )?migrations",
        ),
        "The program's database is of another version than the program: its migration did not "
        "finish, or an older program was started on it.",
        (
            "Save the data's volume first; then start the newest version with one worker alone, "
            "and let its migrations end.",
            "If they fail, go back to the version before and to the saved data, and update step "
            "by step.",
            "SQLite must be on a local disk, not on NFS or SMB.",
        ),
        "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such table: access_grant",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "sqlite-too-old",
        (
            r"unsupported version of sqlite3",
            r"requires sqlite3 >= ",
        ),
        "The program needs a newer SQLite than the system's Python has.",
        (
            "Use the program's container image, or a newer Python (uv python install 3.12).",
            "Or install pysqlite3-binary and put it in the place of sqlite3 before chromadb is "
            "imported.",
        ),
        "RuntimeError: Your system has an unsupported version of sqlite3. Chroma requires "
        "sqlite3 >= 3.35.0.",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "ollama-manifest-damaged",
        (
            r"^(?:Error: )?registry\.ollama\.ai/(?P<name>\S+): EOF",
            r"\"?(?:bad|couldn't decode|failed to (?:read|parse|decode)) manifest",
        ),
        "A manifest in Ollama's folder of models is empty or damaged: {name}.",
        (
            "Delete that file below models/manifests (~/.ollama, or /usr/share/ollama/.ollama), "
            "and pull the model again.",
        ),
        "Error: registry.ollama.ai/library/phi3:latest: EOF",
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
        (
            r"^what\(\): +(?P<why>.+)",
            r"Exception caught at file:(?P<why>.+)",
            r"uncaught exception of type (?P<why>.+)",
        ),
        "The engine ended with an exception: {why}.",
        ("The lines above it show in what it was busy.",),
        "what():  key not usable",
        tier=Tier.SYMPTOM,
        phase=Phase.ALWAYS,
    ),
)
