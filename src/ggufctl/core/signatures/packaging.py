"""Wrappers around llama.cpp, and what goes wrong while any of it is installed or built."""

from __future__ import annotations

from ggufctl.core.signatures import checks
from ggufctl.core.signatures.table import Basis, Phase, Severity, Signature, Tier, Variant

__all__ = ["SIGNATURES"]

_B = Phase.BUILD

SIGNATURES = (
    Signature(
        "cuda-compiler-missing",
        (
            r"(?<!warning: )Could(?: not|n't) find nvcc",
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
            r"\bicpx\b.{0,40}(?:not found|broken|could not be found)",
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
        variants=(
            Variant(
                r"CUDA toolset|Visual Studio|VCTargets|windows",
                (
                    "Visual Studio lacks CUDA's part: install Visual Studio first, then CUDA "
                    "anew with Visual Studio Integration; or copy "
                    "extras\\visual_studio_integration\\MSBuildExtensions\\* of CUDA to Visual "
                    "Studio's MSBuild\\Microsoft\\VC\\v170\\BuildCustomizations.",
                    "Or build with Ninja from the x64 Native Tools prompt: set "
                    "CMAKE_GENERATOR=Ninja.",
                ),
                "Visual Studio does not know CUDA.",
            ),
            Variant(
                r"conda|/envs/",
                (
                    "conda install -c nvidia cuda-toolkit (or cuda-nvcc cuda-cudart-dev "
                    "libcublas-dev), and set CUDACXX=$CONDA_PREFIX/bin/nvcc.",
                ),
            ),
            Variant(
                r"tegra|jetson|aarch64",
                (
                    "On a Jetson: export PATH=/usr/local/cuda/bin:$PATH "
                    "CUDACXX=/usr/local/cuda/bin/nvcc (sudo apt-get install nvidia-jetpack "
                    "brings it).",
                ),
            ),
            Variant(
                r"CUDA_HOME|CUDA_PATH|CUDA_TOOLKIT_ROOT|not set",
                (
                    "Set it to where CUDA is: export CUDA_HOME=/usr/local/cuda "
                    "PATH=/usr/local/cuda/bin:$PATH (Windows: CUDA_PATH); if nvcc is not there, "
                    "install the toolkit: the driver alone has none.",
                ),
            ),
            Variant(
                r"No CUDA runtime is found",
                (
                    "PyTorch sees no GPU or driver here: start the container with --gpus all, or "
                    "it is a build machine: name the architectures with TORCH_CUDA_ARCH_LIST.",
                ),
            ),
        ),
    ),
    Signature(
        "cuda-library-missing",
        (
            r"cannot find -l(?P<name>(?:cublas|cudart|cufft|curand|cusparse|cusolver|nccl|"
            r"nvrtc)\w*)",
            r"cannot open (?:input )?file '(?P<name>(?:cublas|cudart|nvrtc|curand|cusparse"
            r")\w*\.lib)'",
            r"^(?P<name>CUDA::\w+)$",
            r"links to:? (?:target )?[\"'](?P<name>CUDA::\w+)",
            r"imported target \"(?P<name>CUDA::\w+)\" references the file",
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
            r"Value '(?P<arch>(?:sm|compute)_\w+)' is not defined for option",
            r"nvcc fatal +: Unsupported gpu architecture '(?P<arch>\w+)'",
            r"nvcc fatal .{0,40}architecture '(?P<arch>(?:compute|sm)_)'",
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
        variants=(
            Variant(
                r"(?:compute|sm)_(?:[1-6]\d|70)\b",
                (
                    "This GPU is too old for this CUDA: use CUDA 11.8 for compute_35 and 37, 12.x "
                    "for compute_50 to 70; or name other GPUs (-DCMAKE_CUDA_ARCHITECTURES=75).",
                ),
                "This CUDA no longer compiles for the architecture {arch}.",
            ),
            Variant(
                r"'(?:compute|sm)_(?:native)?'|is empty|to \"?native",
                (
                    "Name the GPU's own: -DCMAKE_CUDA_ARCHITECTURES=86 (nvidia-smi --query-gpu="
                    "compute_cap --format=csv: 8.6 is 86; 75 for T4, 80 A100, 89 RTX 40, 90 H100, "
                    "120 RTX 50), after deleting the build folder.",
                    "native works only where the GPU is seen while it is built (not in docker "
                    "build), and with CMake 3.24 or newer.",
                ),
                "The architecture to compile for is empty: CMAKE_CUDA_ARCHITECTURES is unset or "
                "native, and no GPU was found.",
            ),
        ),
    ),
    Signature(
        "compiler-missing",
        (
            r"'nmake' '-\?'",
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
            r"^\W{0,4}(?:/|[A-Z]:)[^']{0,200}(?P<program>ninja|make)(?:\.exe)?' '--version'$",
            r"could not find any instance of Visual Studio",
            r"Problem with the CMake installation",
            r"The (?:C|CXX|Fortran|ASM) compiler identification is unknown",
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
            Variant(
                r"nmake|NMake|Visual (?:Studio|C\+\+)|MSVC|vcvars|cl\.exe|windows",
                (
                    "Windows: winget install Microsoft.VisualStudio.2022.BuildTools, in its "
                    "installer choose Desktop development with C++ (MSVC, Windows SDK, CMake), "
                    "and open a new terminal (x64 Native Tools).",
                    "Or without a compiler: pip install llama-cpp-python --extra-index-url "
                    "https://abetlen.github.io/llama-cpp-python/whl/cpu (cu124 for CUDA), with a "
                    "Python that it has wheels for (3.10 to 3.12), or llama.cpp's own release.",
                ),
            ),
            Variant(
                r"conda",
                ("conda install -c conda-forge compilers make cmake ninja, then install again.",),
            ),
            Variant(
                r"cc1plus|cc1\b",
                (
                    "Install the C++ part of the same gcc: sudo apt-get install g++ (g++-12 and "
                    "so on), dnf install gcc-c++.",
                ),
            ),
            Variant(
                r"[Nn]inja|CMAKE_MAKE_PROGRAM|build program",
                (
                    "Install ninja or make (apt-get install ninja-build build-essential, pip "
                    "install ninja), and delete the build folder.",
                ),
                "CMake finds no ninja and no make to build with.",
            ),
            Variant(
                r"[Cc][Mm]ake.{0,20}(?:not found|must be installed|with version|NotFound)|"
                r"CMakeNotFound",
                (
                    "pip install cmake (or apt-get install cmake, brew install cmake, winget "
                    "install Kitware.CMake).",
                ),
                "CMake is missing or too old.",
            ),
        ),
    ),
    Signature(
        "xcode-missing",
        (
            r"(?:xcode-select|xcrun): error",
            r"cannot execute tool 'metal' due to missing Metal Toolchain",
            r"not agreed to the Xcode license",
            r"active developer path .{0,200}(?:missing|does not exist)",
            r"SDK \"macosx\S*\" cannot be located",
            r"CMAKE_OSX_SYSROOT.{0,80}(?:does not exist|is not|not found)",
        ),
        "Apple's developer tools are not installed whole.",
        (
            "xcode-select --install (after an update of macOS: sudo rm -rf "
            "/Library/Developer/CommandLineTools first).",
            "The Metal compiler comes with Xcode only: install it, sudo xcode-select -s "
            "/Applications/Xcode.app, sudo xcodebuild -license accept, and xcodebuild "
            "-downloadComponent MetalToolchain; or build with -DGGML_METAL_EMBED_LIBRARY=ON, "
            "which needs it not.",
        ),
        "xcrun: error: invalid active developer path (/Library/Developer/CommandLineTools), "
        "missing xcrun at: /Library/Developer/CommandLineTools/usr/bin/xcrun",
        Basis.REPORTED,
        phase=Phase.BUILD,
        variants=(
            Variant(
                r"metal",
                (
                    "Build with the shaders embedded, which needs no Metal compiler: "
                    'CMAKE_ARGS="-DGGML_METAL=on -DGGML_METAL_EMBED_LIBRARY=ON"; newer '
                    "versions do so by themselves.",
                    "Or install Xcode, then sudo xcode-select -s "
                    "/Applications/Xcode.app/Contents/Developer (and xcodebuild "
                    "-downloadComponent MetalToolchain).",
                ),
                "The Metal compiler comes with Xcode, not with the command line tools alone.",
            ),
        ),
    ),
    Signature(
        "build-wrong-arch",
        (
            r"found architecture '\w+', required architecture '\w+'",
            r"building for macOS-\w+ but attempting to link with file built for",
            r"symbol\(s\) not found for architecture (?P<arch>\w+)",
            r"incompatible architecture \(have '(?P<arch>\w+)'",
        ),
        "Parts that were built for different processors are linked: mostly a Python for Intel on "
        "a Mac with Apple silicon.",
        (
            "Use a Python for arm64 (python -c 'import platform; print(platform.machine())' must "
            'say arm64; Miniforge for conda), and CMAKE_ARGS="-DCMAKE_OSX_ARCHITECTURES=arm64 '
            '-DCMAKE_APPLE_SILICON_PROCESSOR=arm64".',
            "Delete the build folder and pip's cache (--no-cache-dir), and open the terminal "
            "without Rosetta.",
        ),
        "ld: warning: ignoring file libggml.dylib: found architecture 'x86_64', required "
        "architecture 'arm64'",
        Basis.REPORTED,
        phase=Phase.BUILD,
    ),
    Signature(
        "hip-toolchain",
        (
            r"The HIP compiler identification is unknown",
            r"Check for working HIP compiler: .{0,200}- broken",
            r"does not contain the HIP runtime CMake package",
            r"At least ROCM/HIP V[\d.]+ is required",
            r"unable to find library -lstdc\+\+",
            r"cannot find ROCm device library",
            r"cannot find HIP runtime",
            r"(?:hipcc|HIP compiler)\b.{0,40}(?:not found|broken|could not be found)",
            r"fatal error: '?(?P<name>(?:hip|rocblas|hipblas)/\S*\.h\w*)",
            r"provided by \"(?P<name>hip|hipblas|rocblas|rocwmma)\"",
            r"Find(?P<name>hip|hipblas|rocblas)\.cmake",
            r"(?P<name>hip|hipblas|rocblas)\S* .{0,20}package configuration file",
        ),
        "ROCm's compiler or its development files are missing, incomplete or not found: {name}.",
        (
            "Install them: Ubuntu rocm-hip-sdk (or rocm-dev, hipblas-dev, rocblas-dev), Fedora "
            "rocm-hip-devel hipblas-devel rocblas-devel, Arch rocm-hip-sdk; ROCm 6.1 at least.",
            'Name where they are: HIPCXX="$(hipconfig -l)/clang" HIP_PATH="$(hipconfig -R)" '
            "cmake -DCMAKE_PREFIX_PATH=/opt/rocm; with ROCm from pip rocm-sdk init, and "
            'CMAKE_PREFIX_PATH="$(rocm-sdk path --cmake)".',
            "clang that cannot link wants the C++ library of the newest gcc that is installed: "
            "apt-get install g++-13 (or the number that clang -v selects). Delete the build "
            "folder afterwards.",
        ),
        "CMake Error at ggml/src/ggml-hip/CMakeLists.txt:62 (message):\n"
        "  At least ROCM/HIP V6.1 is required",
        Basis.REPORTED,
        phase=Phase.BUILD,
        variants=(
            Variant(
                r"rocm_sdk|rocm-sdk|site-packages",
                (
                    "ROCm from pip: pip install 'rocm[libraries,devel]', rocm-sdk init, then "
                    'CMAKE_PREFIX_PATH="$(rocm-sdk path --cmake)" HIP_PATH="$(rocm-sdk path '
                    '--root)" for cmake.',
                    "Or ROCm of the distribution (rocm-hip-sdk, hip-devel) and "
                    "-DCMAKE_PREFIX_PATH=/opt/rocm.",
                ),
            ),
            Variant(
                r"lstdc\+\+",
                (
                    "Install the C++ library of the newest gcc that clang finds: sudo apt-get "
                    "install g++-14 (or 12, 13: clang -v names the folder it selects), then "
                    "delete the build folder.",
                ),
                "ROCm's clang finds no C++ standard library to link against.",
            ),
        ),
    ),
    Signature(
        "compiler-crashed",
        (
            r"PLEASE (?:submit a (?:full )?bug report|ATTACH THE FOLLOWING FILES)",
            r"Please submit a full bug report",
            r"(?:fatal )?error C1001\b",
            r"(?P<program>clang|icpx|icx|dpcpp|hipcc|amdclang|c)(?:\+\+|-\d+)?: error: (?:clang |"
            r"unable to execute command: (?:Segmentation|Illegal|Aborted|Bus))",
            r"frontend command failed (?:due to signal|with exit code)",
            r"'(?P<program>cicc|ptxas|fatbinary|nvlink)' died with status "
            r"0x[cC]00000(?:05|94|1[dD]|[fF][dD])",
            r"LLVM ERROR: (?!out of memory)(?P<why>.+)",
            r"internal error: assertion failed at: \"",
            r"Internal Compiler Error \(",
            r"internal compiler error: (?:in \w+, at \S+:\d+|Segmentation|Illegal|Aborted|Bus|tree "
            r"check|verify)",
            r"'(?P<program>cicc|ptxas|cudafe\+\+|nvlink)' died due to signal (?:4|6|7|8|11)\b",
        ),
        "The compiler itself crashed while it compiled the engine: {program} {why}.",
        (
            "Use another version of it (newer gcc, clang, oneAPI, CUDA or Visual Studio; or the "
            "one that the project's CI builds with), or another compiler.",
            "Build again with fewer jobs (cmake --build build -j 2), as compilers crash for want "
            "of memory too; then for the file that is named with less optimisation "
            "(-DCMAKE_BUILD_TYPE=Release with -O1).",
            "A prebuilt release or wheel does without a compiler.",
        ),
        "PLEASE ATTACH THE FOLLOWING FILES TO THE BUG REPORT:",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "compiler-command-line",
        (
            r"nvcc (?:fatal|error) +: (?P<why>A single input file is required.*)",
            r"nvcc (?:fatal|error) +: (?P<why>(?:No input files|Don't know what to do with|"
            r"redefinition of argument|Option '|Missing arg|Argument |More than one compilation|"
            r"Specified host compiler|Stray|Illegal option|Incompatible options?).*)",
            r"(?:clang|gcc|g\+\+|cc|c\+\+|icpx?|icx)(?:-\d+)?(?:\.exe)?: (?:fatal )?error: "
            r"(?P<why>no input files|cannot specify -o when generating multiple.*|unknown "
            r"argument:.*|missing argument to.*|argument to .+ (?:is missing|should be).*)",
            r"Command line error D(?:8016|8021|8004|8036|8000)\b\W{0,4}(?P<why>.*)",
            r"cl : Command line (?:error|warning) D8\d{3} : (?P<why>(?:invalid|ignoring unknown "
            r"option '/?-\w).*)",
        ),
        "The compiler was called with a command line that it cannot read: {why}.",
        (
            "On Windows build with CMake and Visual Studio (cmake -B build -DGGML_CUDA=ON) in the "
            "x64 Native Tools prompt, not with make: options and paths of Unix come apart there.",
            "Look for a path with a space or a stray quote in what you set: CMAKE_ARGS, CFLAGS, "
            "NVCC_APPEND_FLAGS, CUDA_PATH, the folder of the project itself; then delete the build "
            "folder.",
            "An option that the compiler does not know is for another one: gcc's for clang or cl, "
            "or for a newer version.",
        ),
        "nvcc fatal   : A single input file is required for a non-link phase when an outputfile "
        "is specified",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "compiler-version",
        (
            r"unsupported GNU version! gcc versions later than (?P<version>\d+)",
            r"nvcc fatal +: '[^']+': expected a number",
            r"(?:error|undefined|undeclared|declared|reference|member).{0,80}std::filesystem::",
            r"std::filesystem::\S{0,120}.{0,40}(?:undefined|not declared|has not been)",
            r"'filesystem' file not found",
            r"error: (?:unknown|bad|invalid|unsupported) (?:value|argument) .{1,120}"
            r"-m(?:cpu|arch|tune)\b",
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
            r"Check for working (?!HIP)\w+ compiler: .{0,200}- broken",
            r"Detecting (?!HIP)\w+ compiler ABI info - failed",
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
            r"instruction requires: \w+",
            r"unsupported argument '[^']+' to option '-m(?:cpu|arch|tune)=",
            r"parameter packs not expanded with",
            r"'cudafe\+\+' died with status",
            r"unrecognized command-line option [‘'\"]-m(?:cpu|arch)=",
            r"internal compiler error: (?!Killed|Segmentation|Illegal|Aborted|Bus|tree check|"
            r"verify|in \w+, at)",
        ),
        "Compiler, CMake and CUDA do not go together.",
        (
            "Use the gcc that this CUDA supports (NVCC_PREPEND_FLAGS=-ccbin g++-12), or a newer "
            "CUDA.",
        ),
        "#error -- unsupported GNU version! gcc versions later than 13 are not supported!",
        Basis.REPORTED,
        phase=_B,
        variants=(
            Variant(
                r"-m(?:cpu|arch)=|instruction requires|target specific option",
                (
                    "Update gcc or clang (gcc 12 at least on ARM), or do not build for this "
                    "processor alone: -DGGML_NATIVE=OFF (CMAKE_ARGS=-DGGML_NATIVE=OFF for pip).",
                ),
                "The compiler does not know this processor's instructions.",
            ),
            Variant(
                r"CMake [\d.]+ or higher|requires CMake|Compatibility with CMake",
                (
                    "A newer CMake comes from pip: pip install -U cmake ninja; a project too old "
                    "for CMake 4 builds with -DCMAKE_POLICY_VERSION_MINIMUM=3.5 (or pip install "
                    "'cmake<4').",
                ),
                "This CMake is too old for the project, or the project too old for it.",
            ),
            Variant(
                r"Visual Studio|STL1002|cudafe\+\+|MSVC",
                (
                    "Visual Studio is newer than this CUDA knows: install CUDA 12.4 or newer, or "
                    "the MSVC v143 14.38 toolset and -T version=14.38; "
                    "-allow-unsupported-compiler (NVCC_APPEND_FLAGS) helps where only the check "
                    "fails.",
                ),
                "This CUDA does not know this version of Visual Studio.",
            ),
            Variant(
                r"parameter packs|gcc versions later|unsupported GNU version|"
                r"exception specification",
                (
                    "Let nvcc use another gcc: -DCMAKE_CUDA_HOST_COMPILER=g++-12 "
                    "(NVCC_PREPEND_FLAGS='-ccbin g++-12'); CUDA 11 takes gcc 11 at most, 12.0 to "
                    "12.3 gcc 12, 12.4 to 12.7 gcc 13, 12.8 and 12.9 gcc 14.",
                    "Or a newer CUDA (-DCMAKE_CUDA_COMPILER=/usr/local/cuda/bin/nvcc, not the "
                    "distribution's /usr/bin/nvcc).",
                ),
                "gcc and this CUDA do not go together.",
            ),
            Variant(
                r"clang version|STL",
                (
                    "Use a compiler that this CUDA knows, or add -allow-unsupported-compiler "
                    "(NVCC_APPEND_FLAGS).",
                ),
            ),
        ),
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
        "build-option-warned",
        (r"LLAMA_BUILD_WEBUI is deprecated",),
        "CMake takes an option of old versions, and warns of it.",
        ("Write the name that it gives in its place; the build itself goes on.",),
        "CMake Deprecation Warning at tools/ui/CMakeLists.txt:9 (message):\n"
        "  LLAMA_BUILD_WEBUI is deprecated, use LLAMA_BUILD_UI instead",
        severity=Severity.REMARK,
        phase=_B,
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
            r"No targets specified and no makefile found",
            r"No rule to make target '(?:server|llama-server|main|quantize|libllama\.so|llama-cli|"
            r"all)'\.  Stop",
        ),
        "The build was given an option of old versions, which is refused.",
        ("Use -DGGML_CUDA=on (GGML_METAL, GGML_HIP).",),
        "CMake Error: LLAMA_CUBLAS is deprecated and will be removed in the future.",
        Basis.REPORTED,
        phase=_B,
        variants=(
            Variant(
                r"Makefile build|Build system changed|No targets specified|No rule to make target",
                (
                    "Build with CMake: cmake -B build (with -DGGML_CUDA=ON, -DGGML_HIP=ON or "
                    "-DGGML_VULKAN=ON for a GPU), then cmake --build build --config Release -j; "
                    "the programs are in build/bin.",
                    "Options of the Makefile such as LLAMA_CUDA=1 are CMake's -DGGML_CUDA=ON now.",
                ),
                "llama.cpp is no longer built by make: CMake has replaced its Makefile.",
            ),
        ),
    ),
    Signature(
        "submodules-missing",
        (
            r"fatal error: '?(?P<name>\S*(?:llama|ggml|gguf)\S*\.h\w*)'?:? ?(?:file not found|No "
            r"such file)",
            r"include could not find (?:requested|load) file",
            r"add_subdirectory given source .{0,100}not an existing directory",
            r"Cannot find source file:",
            r"does not contain a CMakeLists\.txt",
            r"No url found for submodule",
            r"submodule.{0,60}(?:not (?:initialized|found|checked out)|missing|empty)",
            r"vendor/llama\.cpp.{0,80}(?:not found|missing|does not exist|empty)",
            r"is not an existing non-empty directory",
            r"The source directory \"[^\"]*\" does not (?:appear to contain CMakeLists|exist)",
            r"CMakeLists\.txt.{0,20}not found",
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
        variants=(
            Variant(
                r"does not appear to contain CMakeLists|source directory",
                (
                    "Run it in the folder of the sources: cd llama.cpp, then cmake -B build (or "
                    "cmake -S llama.cpp -B build).",
                    "In a Dockerfile COPY the whole checkout before, and clone it with "
                    "--recurse-submodules.",
                ),
                "CMake was started in a folder without the sources.",
            ),
            Variant(
                r"^(?![\s\S]*\npip build\b)(?![\s\S]*(?:submodule|vendor/|CMakeLists))[\s\S]*"
                r"fatal error: '?(?:\S*/)?(?:llama|ggml|gguf)[\w-]*\.h",
                (
                    "Name the folders of the headers to the compiler: g++ -I llama.cpp/include -I "
                    "llama.cpp/ggml/include (after cmake --install -I PREFIX/include, or "
                    "find_package(llama) in CMake); to link, -L of the build's bin or lib, "
                    "-lllama -lggml.",
                    "If a package that brings llama.cpp along is being built: git submodule update "
                    "--init --recursive; GitHub's zip files lack them.",
                ),
                "The compiler does not find a header of llama.cpp: {name}.",
            ),
        ),
    ),
    Signature(
        "build-not-configured",
        (
            r"^(?:Error: )?\S*[/\\](?:cmake[-_])?build[\w.-]* is not a directory$",
            r"^(?:Error: )?could not load cache$",
        ),
        "The folder to build in is not there, or was not configured.",
        (
            "Configure first, in the folder of the sources (where CMakeLists.txt is): cmake -B "
            "build (with -DGGML_CUDA=ON and the like), and then cmake --build build --config "
            "Release -j.",
            "If configuring has failed, its first error is what to mend; delete the folder before "
            "the next try.",
        ),
        "Error: /src/llama.cpp/build is not a directory",
        Basis.SOURCE,
        phase=_B,
    ),
    Signature(
        "build-folder-stale",
        (
            r"CMakeCache\.txt directory \S+ is different than the directory",
            r"Does not match the generator used previously",
            r"The source \"\S+CMakeLists\.txt\" does not match the source",
            r"ninja: error: loading 'build\.ninja': No such file",
            r"CMake generate step failed\. +Build files cannot be regenerated",
        ),
        "The build folder is left from another place, generator or version.",
        ("Delete it (rm -rf build, or the folder _skbuild), and configure anew.",),
        "CMake Error: The current CMakeCache.txt directory /src/build/CMakeCache.txt is "
        "different than the directory /home/user/build where CMakeCache.txt was created.",
        Basis.REPORTED,
        phase=Phase.BUILD,
    ),
    Signature(
        "git-ownership",
        (
            r"detected dubious ownership in repository",
            r"fatal: unsafe repository",
        ),
        "Git does not read a folder that belongs to another user, as in a container or on a "
        "mounted disk.",
        ("git config --global --add safe.directory '*' (or the folder), or chown it.",),
        "fatal: detected dubious ownership in repository at '/src/llama.cpp'",
        Basis.REPORTED,
        phase=Phase.BUILD,
    ),
    Signature(
        "cgo-off",
        (
            r"\.go:\d+:\d+: undefined: (?P<symbol>(?:llama|gollama|ggml|gpu|llm|discover|runner|"
            r"whisper|mlx|C)\.\w+)",
            r"(?:llama|llm|ggml|gpu|discover|whisper|runner|mlx)[\w.-]*[/\\]?[\w.-]*\.go:\d+:\d+: "
            r"undefined: (?P<symbol>\w+)$",
            r"build constraints exclude all Go files in \S*(?:llama|ggml|gpu|mlx|whisper)",
            r"C source files not allowed when not using cgo",
            r"requires cgo\b.{0,40}(?:CGO_ENABLED|disabled)",
            r"cgo is (?:disabled|not enabled)",
            r"cgo: C compiler \S+ not found",
        ),
        "The Go program is built without cgo, which its llama.cpp needs, so that all files with C "
        "in them are left out: {symbol} is nowhere.",
        (
            "Install a C and C++ compiler (build-essential; on Windows gcc of w64devkit, MSYS2 or "
            "TDM), and build with CGO_ENABLED=1: without a compiler Go leaves cgo out and does not "
            "say so (go env CGO_ENABLED CC).",
            "Where the project has them, run its generating step first (go generate ./...).",
        ),
        "server/routes.go:70:20: undefined: llama.New",
        Basis.REPORTED,
        phase=_B,
    ),
    Signature(
        "go-embed-missing",
        (r"\.go:\d+:\d+: pattern (?P<pattern>\S+): no matching files found",),
        "A Go program is to carry files that were never built: {pattern} is empty.",
        (
            "Build what it embeds first: git submodule update --init --recursive, then the step "
            "of its build instructions (go generate ./... with the dots in older Ollama; cmake -B "
            "build and cmake --build build in newer; npm run build for a web page), then go build.",
            "Look at what that step wrote: it ends without files where cmake, a compiler or git "
            "is missing.",
        ),
        "llm/payload_linux.go:7:12: pattern llama.cpp/build/linux/*/*/lib/*.so*: no matching "
        "files found",
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
            r"could not find native static library [`'](?P<symbol>llama|ggml\w*|mtmd)",
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
            r"Failed to build '(?P<package>[^']+)' when",
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
        (
            "The compiler's lines above say why; a prebuilt wheel avoids the build: pip install "
            "--only-binary :all: NAME, with a Python that it has wheels for (3.10 to 3.12 mostly).",
            "A build wants a compiler, Python's headers (python3-dev) and CMake, for CUDA nvcc as "
            "well: apt-get install build-essential python3-dev cmake ninja-build.",
        ),
        "ERROR: Failed building wheel for llama-cpp-python",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=_B,
        variants=(
            Variant(
                r"llama[-_]cpp[-_]python",
                (
                    "The compiler's lines above say why; without building: pip install "
                    "llama-cpp-python --prefer-binary --extra-index-url "
                    "https://abetlen.github.io/llama-cpp-python/whl/cpu (cu121 to cu125 for "
                    "CUDA, metal for a Mac), with Python 3.10 to 3.12.",
                    "pip install -v shows the whole log; a build for CUDA wants nvcc and a "
                    "matching gcc: CMAKE_ARGS=-DGGML_CUDA=on.",
                ),
            ),
            Variant(
                r"flash[-_]attn|xformers|causal[-_]conv1d|mamba[-_]ssm|exllama|auto[-_]gptq|"
                r"autoawq|deepspeed|sageattention",
                (
                    "Take the prebuilt wheel of its GitHub releases that names your torch, CUDA "
                    "and Python (flash_attn-...+cu12torch2.8cxx11abiTRUE-cp312-...whl), or leave "
                    "the package out (attn_implementation='sdpa', VLLM_ATTENTION_BACKEND).",
                    "To build it: torch first, then ninja, packaging and wheel, nvcc of torch's "
                    "own CUDA with a gcc that it takes, MAX_JOBS=4, and pip install "
                    "--no-build-isolation.",
                ),
            ),
            Variant(
                r"\bvllm\b",
                (
                    "vLLM has wheels for Linux only (x86-64 and arm64, NVIDIA): use WSL 2 or its "
                    "image vllm/vllm-openai on Windows; on a Mac and for CPUs follow its own "
                    "build for them.",
                    "With a new virtual environment and Python 3.12: uv pip install vllm "
                    "--torch-backend=auto takes the wheel.",
                ),
            ),
        ),
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
            r"No (?:available formula|formulae or casks found)\b",
            r"No matching distribution found for (?P<package>\S+)",
            r"npm (?:ERR!|error).{0,20}\b(?:E404|404 Not Found)\b",
            r"\bregistry\.npmjs\.org/(?P<package>\S+).{0,40}\b404\b",
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
            r"we only found wheels for `(?P<package>[^`]+)`",
            r"No interpreter found for (?P<package>Python \S+)",
            r"there (?:are|is) no versions? of (?P<package>[^\s,]+)",
            r"(?P<package>[^\s,]+) (?:is unusable because|has) no wheels? (?:are available )?with "
            r"a "
            r"matching",
            r"The current Python version \(\S+\) is not (?:allowed|supported)",
            r"Python \S+ (?:is|are) (?:not|no longer) supported",
            r"does not (?:support|run on) (?:this )?Python",
            r"Because only (?P<package>[\w.-]+)[<>=]\S+ is available and you require",
        ),
        "There is no such package for this Python, system or index: {package}.",
        ("Check its name, the Python version and the index.",),
        "ERROR: No matching distribution found for llama-cpp-pythn",
        Basis.REPORTED,
        phase=_B,
        variants=(
            Variant(
                r"package registry|\+(?:cu\d+|cpu|rocm)|download\.pytorch\.org",
                (
                    "Builds with +cu128 and the like are on PyTorch's own index: pip "
                    "--extra-index-url https://download.pytorch.org/whl/cu128; with uv "
                    "--torch-backend=cu128, or an [[tool.uv.index]] with explicit = true that "
                    "[tool.uv.sources] gives to torch alone.",
                    "--index-url replaces PyPI, where everything else is: add it with "
                    "--extra-index-url (pip), or --index and --index-strategy unsafe-best-match "
                    "(uv).",
                    "If the index is right, that version is not on it for this Python and system: "
                    "look at the index in a browser.",
                ),
                "The index that is asked does not have the package: {package}.",
            ),
            Variant(
                r"^(?![\s\S]*(?:a different python|Requires-Python))[\s\S]*==\S+ \(from "
                r"versions: (?!none)",
                (
                    "Take a version that the line lists (pip index versions NAME), or leave ==... "
                    "out for the newest.",
                    "If it is newer than the list: pip install -U pip; wheels of that version may "
                    "be for other Pythons and systems only, or the index that is asked (a mirror, "
                    "--index-url) does not have it yet.",
                ),
                "There is no such version of the package for this Python and index: {package}.",
            ),
            Variant(
                r"requires a different Python|Requires-Python|requires Python|not (?:allowed|"
                r"supported)|no longer supported|current platform|Python requirement|"
                r"not a supported wheel|distribution or wheel|only found wheels|no wheels? (?:are "
                r")?"
                r"(?:available )?with a|No interpreter",
                (
                    "Use a Python that the package has wheels for: uv venv --python 3.12 (or "
                    "conda create -n x python=3.12, py -3.12 -m venv), 64 bits.",
                    "Without a wheel for this system pip must build it, which wants a compiler "
                    "(and for llama-cpp-python CMake).",
                ),
                "The package has no version for this Python or system: {package}.",
            ),
            Variant(
                r"Unable to locate package|no installation candidate|No such package|"
                r"Package '[^']+' has no",
                (
                    "sudo apt-get update first; packages of NVIDIA, AMD and Intel need their own "
                    "repository (cuda-keyring, amdgpu-install, oneAPI), made for exactly this "
                    "release.",
                ),
                "The system's package manager knows no package of that name: {package}.",
            ),
            Variant(
                r"PackagesNotFound|ResolvePackageNotFound",
                (
                    "Name the channel: conda install -c conda-forge (or -c nvidia) NAME; what "
                    "conda lacks comes with pip inside of the environment.",
                ),
            ),
        ),
    ),
    Signature(
        "pip-usage",
        (
            r"File not found: .{0,3}(?P<why>[\w./-]*requirements[\w.-]*\.txt)",
            r"No .?pyproject\.toml.? found in",
            r"Invalid requirement: (?P<why>.+)",
            r"Directory '(?P<why>[^']+)' is not installable",
            r"does not appear to be a Python project",
            r"Failed to parse: `(?P<why>[^`]+)",
            r"You must give at least one requirement to",
            r"Package `(?P<why>[^`]+)` was included as a URL dependency",
            r"Cannot uninstall (?P<why>.+?)\. It is a distutils installed",
            r"Cannot uninstall (?P<why>\S+ \S+), RECORD file not found",
            r"Can not perform a '--user' install",
            r"Could not open requirements file: (?P<why>.+)",
            r"zsh: no matches found: (?P<why>\S*\[\S*)",
            r"Could not parse requirement",
        ),
        "pip does not understand what it is to install: {why}.",
        (
            "A version stands after ==, extras in brackets and quotes: pip install "
            "'llama-cpp-python[server]==0.3.16'.",
            "A folder must hold pyproject.toml: go into it, or name it; in a virtual environment "
            "leave out --user.",
        ),
        "ERROR: Invalid requirement: 'llama-cpp-python=0.3.2': Expected end or semicolon (after "
        "name and no valid version specifier)",
        Basis.REPORTED,
        phase=Phase.BUILD,
        variants=(
            Variant(
                r"Could not open requirements file",
                (
                    "Check the file's name, letter by letter (requirements.txt), and the folder "
                    "that pip is started in; or give its whole path.",
                    "In a Dockerfile copy it before: COPY requirements.txt . ahead of RUN pip "
                    "install -r requirements.txt.",
                ),
                "The file of requirements that pip is to read is not there: {why}.",
            ),
        ),
    ),
    Signature(
        "pip-denied",
        (
            r"NotWritableError",
            r"Could not install packages due to an (?:OSError|EnvironmentError): \[(?:Errno 13|"
            r"WinError 5)\]",
            r"Consider using the `--user` option or check the permissions",
            r"failed to (?:remove|rename|copy|hardlink|create|write) (?:file|directory|folder)\b"
            r".{0,300}(?:Access is denied|os error (?:5|32)\))",
            r"EnvironmentNotWritableError",
            r"The current user does not have write permissions to the target environment",
            r"error: (?:failed|Failed) to (?:remove|create|write) .{0,80}(?:site-packages|"
            r"\.venv).{0,120}(?:denied|in use|os error (?:5|13|32))",
        ),
        "pip may not write where it installs: the folder belongs to another user, or a program "
        "that runs holds a file of it.",
        (
            "Use a virtual environment of your own (python -m venv .venv, uv venv), never sudo "
            "pip.",
            "Windows: end every Python, notebook and server that uses the environment, then "
            "install again; a package half removed leaves folders that begin with ~, which may "
            "be deleted.",
            "In a container run pip in the Dockerfile as root, before USER.",
        ),
        "ERROR: Could not install packages due to an OSError: [WinError 5] Access is denied: "
        "'C:\\\\Python\\\\Lib\\\\site-packages\\\\llama_cpp\\\\llama.dll'",
        Basis.REPORTED,
        phase=Phase.BUILD,
    ),
    Signature(
        "conda-not-ready",
        (
            r"shell has not been properly configured to use 'conda",
            r"EnvironmentLocationNotFound",
            r"EnvironmentNameNotFound",
            r"CondaValueError: prefix already exists: (?P<name>\S+)",
            r"CondaToSNonInteractiveError",
            r"Terms of Service have not been accepted",
            r"Could not find conda environment: (?P<name>\S+)",
            r"CondaError: Run 'conda init' before 'conda activate'",
        ),
        "conda is not set up in this shell, or has no such environment.",
        (
            "conda init bash (or zsh, powershell) and open a new shell; in scripts and "
            'Dockerfiles conda run -n NAME, or source "$(conda info '
            '--base)/etc/profile.d/conda.sh" first.',
            "conda env list shows the names; conda create -n NAME python=3.12 makes one.",
        ),
        "CondaError: Run 'conda init' before 'conda activate'",
        Basis.REPORTED,
        phase=Phase.BUILD,
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
            r"\b(?:Contextual)?VersionConflict: \(",
            r"lockfile .{0,60}needs to be updated",
            r"changed significantly since poetry\.lock",
            r"ResolutionImpossible",
            r"because these package versions have conflicting dependencies",
            r"No solution found when resolving dependencies",
            r"LibMambaUnsatisfiableError",
            r"(?:[=<>~]=? ?\d[\w.]*\S*|\b\d+\.\d[\w.]*|\b(?:package|requirement|dependenc)\w*\b"
            r".{0,60}) (?:is|are) incompatible with",
            r"version conflict",
            r"pip's dependency resolver does not currently",
            r"which is incompatible",
            r"but you(?:'ll)? have \S+ which is incompatible",
            r"version solving failed",
            r"The following packages are incompatible",
            r"could not be resolved because",
            r"^(?:[\s╰─▶x×`>-]*)Because (?:only )?\S+ (?:is|are|depends?) .{0,80}(?:available and|"
            r"depends on|and)$",
            r"we can conclude that .{0,200}(?:cannot be used|are incompatible|unsatisfiable)",
            r"conflicting (?:dependencies|requirements)",
            r"your requirements are unsatisfiable",
            r"SolverProblemError",
            r"Could not solve for environment",
            r"specifications were found to be incompatible",
            r"PydanticImportError",
        ),
        "The packages ask for versions that exclude one another.",
        ("Loosen the pins, or use a separate environment.",),
        "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io",
        Basis.REPORTED,
        phase=_B,
        variants=(
            Variant(
                r"poetry\.lock|uv\.lock|lockfile",
                (
                    "Make the lock file anew and commit it: uv lock (uv sync without --locked "
                    "or --frozen), poetry lock.",
                ),
                "The lock file does not belong to this pyproject.toml any more.",
            ),
            Variant(
                r"LibMamba|Could not solve|specifications were found|UnsatisfiableError|└─",
                (
                    "Make the environment anew with few pins: conda create -n x -c conda-forge "
                    "--strict-channel-priority python=3.12, without build strings (=py38h...) and "
                    "with channels in one order; old CUDA builds of a channel may be gone.",
                    "Or let conda bring Python and CUDA only, and pip or uv the rest inside of it "
                    "(pip install torch --index-url https://download.pytorch.org/whl/cu128).",
                ),
                "conda finds no set of versions that goes together.",
            ),
            Variant(
                r"No solution found|we can conclude|unsatisfiable|depends on",
                (
                    "uv names the two requirements that exclude one another: loosen one, or take "
                    "it into an environment of its own (uv tool install, --with).",
                    "If it is about torch of one index only, name the index for it "
                    "(--torch-backend, [tool.uv.sources]), add --index-strategy "
                    "unsafe-best-match, or another Python (uv venv --python 3.12).",
                ),
            ),
            Variant(
                r"PydanticImportError",
                (
                    "Take a newer version of the program, or install what it was written for: pip "
                    "install 'pydantic<2' in an environment of its own.",
                ),
                "The program was written for pydantic 1, and version 2 is installed.",
            ),
        ),
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
        variants=(
            Variant(
                r"uv venv|--system|No virtual environment",
                ("uv venv, then uv pip install (or uv pip install --system in a container).",),
            ),
        ),
    ),
    Signature(
        "module-missing",
        (
            r"PackageNotFoundError: No package metadata was found for (?P<module>\S+)",
            r"requires the following packages that were not found in your environment: "
            r"(?P<module>[\w-]+(?:, [\w-]+)*)",
            r"Error loading ASGI app\. (?P<why>.{8,})",
            r"(?P<module>\w[\w-]*[>=]=[\d.]+) is required$",
            r"No module named '(?P<module>[^']+)'",
            r"AttributeError: 'NoneType' object has no attribute '(?P<module>Llama\w*)'",
            r"ImportError: cannot import name '(?P<module>[^']+)'",
            r"ImportError: (?P<module>numpy\.core\.multiarray failed to import)",
            r"ModuleNotFoundError: (?P<module>.+)",
            r"ImportError: (?P<module>(?!DLL|lib|\S+\.so|/).+)",
            r"got an unexpected keyword argument '(?P<module>\w+)'",
            r"AttributeError: (?:partially initialized )?module '(?P<package>[\w.]+)' has no "
            r"attribute '(?P<module>\w+)",
            r"numpy\.dtype size changed",
            r"A module that was compiled using NumPy 1",
            r"Please (?:install|upgrade) (?P<module>\w+) (?:using|with|to use|by running)",
            r"cannot find module '(?P<module>[^']+)'",
            r"Please install torch and gguf",
            r"requires? the (?P<module>[\w.-]+) (?:library|package)",
            r"No module named (?P<module>[\w.]+)$",
            r"package (?P<module>[\w.-]+) is not installed",
            r"(?P<module>llama[-_]cpp[-_]python) (?:library |package |module )?(?:is )?(?:not "
            r"(?:found|installed|available)|missing)\b",
            r"(?P<module>\w+) is required .{0,60}pip install",
            r"Using .{0,60}requires .{0,40}`pip install (?P<module>[\w.\[\]-]+)",
        ),
        "A Python package is missing or of a wrong version: {module}.",
        (
            "Install it with exactly the Python that runs the program (python -m pip install NAME "
            "in its virtual environment or image; pip install -r requirements.txt of the "
            "program). Some have another name there: cv2 opencv-python-headless, PIL pillow, yaml "
            "pyyaml, sklearn scikit-learn, dotenv python-dotenv.",
            "If it is there but lacks something, it is too old, or a folder or node of the same "
            "name hides it: upgrade it the same way (ComfyUI portable: "
            "python_embeded/python.exe -s -m pip install -U gguf).",
        ),
        "ModuleNotFoundError: No module named 'starlette_context'",
        Basis.REPORTED,
        phase=Phase.START,
        variants=(
            Variant(
                r"TypeError: _(?:App|Cls|Function|Image|Volume|Sandbox)\.\w+\(\) got an unexpect"
                r"ed keyword",
                (
                    "In Modal 1.x keep_warm is min_containers, concurrency_limit "
                    "max_containers, container_idle_timeout scaledown_window, "
                    "allow_concurrent_inputs @modal.concurrent(max_inputs=...), and mounts "
                    "image.add_local_dir.",
                    "Or pin the client that the code was written for (pip install 'modal<1'); "
                    "an option that is new wants pip install -U modal.",
                ),
                "Modal's client knows no such option: it was renamed, or is newer than the client.",
            ),
            Variant(
                r"Error loading ASGI app",
                (
                    "Name it as FILE:VARIABLE without .py (uvicorn main:app), from the folder "
                    "of the file or with --app-dir DIR; what the file itself imports must be "
                    "installed.",
                ),
                "uvicorn does not find the program that it is to serve: {why}.",
            ),
            Variant(
                r"'(?:torch|numpy|packaging|wheel|psutil|setuptools|Cython)'[\s\S]*\bpip build\b",
                (
                    "What is missing is needed while the package is built, and an isolated build "
                    "hides it: install that first, then pip install --no-build-isolation NAME (uv: "
                    "no-build-isolation-package in [tool.uv]; conda: pip after the environment is "
                    "there).",
                ),
                "A package that is being built does not see one that it needs: {module}.",
            ),
            Variant(
                r"cannot find module '",
                (
                    "Install what the program needs, in its own folder: npm install (npm ci), and "
                    "build it where it is built from source (npm run build).",
                    "A .node file is native code: npm rebuild with the Node.js that runs it, or an "
                    "image made for this system and processor.",
                ),
                "A module of Node.js is not there: {module}.",
            ),
            Variant(
                r"cannot import name (?!'Llama')|partially initialized",
                (
                    "Bring both to one time: pip install -U the package that is named after "
                    "from, or pin it to what the program's requirements say; the path at the end "
                    "is the copy that is used.",
                    "If that path is a file of your own, it hides the package: rename it.",
                ),
                "A Python package is newer or older than the code that imports from it: {module}.",
            ),
            Variant(
                r"No module named \W{0,2}(?:torch|numpy|vllm|transformers|huggingface_hub|fastapi|"
                r"pydantic|requests|httpx|aiohttp|openai|hf_transfer|accelerate|safetensors|gguf|"
                r"PIL|cv2|scipy|pandas|tqdm|yaml|starlette|uvicorn|sglang|diffusers|sentencepiece)"
                r"\b[\s\S]*\nmodal\b",
                (
                    'Add it to the image that the function names: .pip_install("NAME") (PIL is '
                    "pillow, cv2 opencv-python-headless, yaml pyyaml).",
                    "What only the container has, import within the function or in a block with "
                    "image.imports().",
                ),
                "The function's image lacks a Python package: {module}.",
            ),
            Variant(
                r"No module named \W{0,2}(?:src|app|utils?|config|common|lib|core|helpers?|"
                r"settings|scripts?|backend|pipeline|inference|"
                r"\w*modal\w*)(?:\.[\w.]+)?\W{0,4}(?:\n|$)|No module named[\s\S]*\nmodal\b",
                (
                    "If it is a module or package of your own: on Modal the container gets only "
                    "the file that you run, so add it to the image as the last step, "
                    '.add_local_python_source("NAME") (or include_source=True of the app; with a '
                    "current modal), and start modal run from the project's root, where the "
                    "folder is not empty.",
                    "Elsewhere start it from the project's root (python -m PACKAGE.MODULE, or "
                    "PYTHONPATH=.), and copy the folder into the container.",
                    "If it is a package of PyPI: .pip_install(...) of the image that the function "
                    "names, or pip install with the Python that runs it.",
                ),
                "A Python module is not where the program runs: {module}.",
            ),
            Variant(
                r"module 'modal' has no attribute",
                (
                    "Modal renamed or removed it: Mount became image.add_local_file, "
                    'add_local_dir and add_local_python_source; modal.gpu.A100(count=2) is gpu="'
                    'A100:2"; Stub is App, web_endpoint fastapi_endpoint, NetworkFileSystem '
                    "Volume.",
                    "Or pin the client that the code was written for: pip install 'modal<1'.",
                    "If a file or folder of your own is called modal, it hides the package: "
                    "rename it.",
                ),
                "The modal package that is installed has no {module}.",
            ),
            Variant(
                r"\bxllamacpp\.|\bLlama(?:Grammar|Embedding|Cache)?(?:\.\w+)?\(\) got an "
                r"unexpected|(?<!')\bLlama(?:\.\w+)?\(\) missing|'Llama(?:Grammar|Cache)?' "
                r"object has no",
                (
                    "Look the name up in the version that is installed, as it may only be called "
                    'otherwise there: python -c "import llama_cpp; help(llama_cpp.Llama)" (n_ctx '
                    "not ctx_size, max_tokens not max_length, n_gpu_layers not ngl), for xllamacpp "
                    "print(dir(xllamacpp.CommonParams())).",
                    "If the code was written for another version, install that one, or the newest: "
                    "pip install -U llama-cpp-python (or xllamacpp).",
                ),
                "The engine's package that is installed does not know a name that the code uses: "
                "{module}.",
            ),
            Variant(
                r"unexpected keyword|(?<!'NoneType' object )has no attribute",
                (
                    "Pin the package that the last lines of the traceback are in to the version "
                    "that this code was written for: the newest may no longer take it (pip "
                    "install 'gradio<6').",
                    "If the code is the newer of the two, upgrade that package instead, with "
                    "exactly the Python that runs the program.",
                ),
                "A Python package is newer or older than the code that calls it, and does not "
                "know {module} of {package}.",
            ),
            Variant(
                r"No module named '?llama[_-]cpp[_-]python\b",
                (
                    "The package is llama-cpp-python, the module in it llama_cpp: from llama_cpp "
                    "import Llama.",
                    "If that is not found either: python -m pip install llama-cpp-python with "
                    "exactly the Python that runs the program.",
                ),
                "There is no module of this name: what llama-cpp-python brings is called "
                "llama_cpp.",
            ),
            Variant(
                r"No module named '?(?:uvicorn|fastapi|starlette\w*|sse_starlette|"
                r"pydantic_settings|yaml)\b[\s\S]*\nllama_cpp\b",
                (
                    "Its server is an extra: pip install 'llama-cpp-python[server]' with exactly "
                    "the Python that runs it (in a Dockerfile and on Modal as well).",
                ),
                "llama-cpp-python is there, but not what its server needs besides: {module}.",
            ),
            Variant(
                r"'?llama_cpp(?:_cuda|_tensorcores|_vulkan|_rocm|_cpu)*'\W{0,3}(?:\n|$)|named "
                r"llama_cpp|no attribute 'Llama|"
                r"llama[-_]cpp[-_]python (?:library|package|module)",
                (
                    "pip install llama-cpp-python with exactly the Python that runs the program "
                    "(python -m pip), in its virtual environment; on Modal "
                    '.pip_install("llama-cpp-python") of the image that the function names.',
                    "ComfyUI: into its own Python (python_embeded/python.exe -s -m pip install, or "
                    "that of its venv). llama_cpp_cuda and the like are other names of the same "
                    "package, which programs try first: there is none of that name to install.",
                ),
                "llama-cpp-python is not installed for the Python that runs this.",
            ),
            Variant(
                r"'(?:distutils|pkg_resources|imp|setuptools)\b",
                (
                    "pip install 'setuptools<81' in this environment: Python 3.12 and later "
                    "bring none; a package that needs imp wants Python 3.11.",
                ),
                "The program needs setuptools (distutils, pkg_resources), which this Python does "
                "not bring.",
            ),
            Variant(
                r"'_(?:ctypes|lzma|bz2|sqlite3|ssl|tkinter)'|'tkinter'",
                (
                    "This Python was built without it: apt-get install libffi-dev liblzma-dev "
                    "libbz2-dev libsqlite3-dev libssl-dev tk-dev, then pyenv install again; or "
                    "apt-get install python3-tk, or uv python install.",
                ),
                "Python itself was built without {module}.",
            ),
            Variant(
                r"No module named '?numpy'?(?:\n|$)",
                ("Install it where the program runs: python -m pip install numpy.",),
                "A Python package is missing: numpy.",
            ),
            Variant(
                r"numpy",
                (
                    "pip install 'numpy<2' (or upgrade the package that was built for NumPy 1), "
                    "and restart the notebook's runtime.",
                ),
                "A package was built for another version of NumPy.",
            ),
            Variant(
                r"starlette|fastapi|uvicorn|sse_starlette|pydantic_settings",
                ("pip install 'llama-cpp-python[server]'.",),
            ),
            Variant(
                r"'?(?:torch|gguf|sentencepiece|safetensors|transformers|"
                r"mistral_common)'?\W{0,3}$|torch and gguf",
                (
                    "pip install -r requirements.txt of llama.cpp's checkout (or pip install "
                    "gguf torch sentencepiece transformers), in one environment.",
                ),
            ),
        ),
    ),
    Signature(
        "settings-invalid",
        (
            r"(?:ValidationError: |^)\d+ validation errors? for (?P<name>\w*(?:Settings|Config|"
            r"Args|Params|Parameters|Options))\b",
            r"^Value error, (?P<why>.{8,300}?)(?: \[type=|$)",
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
        variants=(
            Variant(
                r"(?:^|\n)Value error, ",
                (
                    "Change the options that the sentence names (vLLM spells them with dashes: "
                    "max_model_len is --max-model-len), or leave one of them to its default.",
                ),
                "The settings of a Python program are not allowed together: {why}.",
            ),
        ),
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
            r"Incorrect path_or_model_id: '(?P<name>[^']*)'",
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
        variants=(
            Variant(
                r"path_or_model_id: ''",
                (
                    "Set it: --model, or MODEL_NAME (MODEL_ID, HF_MODEL_ID) in the environment of "
                    "the container or template; look whether a newer image reads another name.",
                    "In a compose or .env file an empty line of that name overrides the default.",
                ),
                "No model is named: the setting that should name one is empty.",
            ),
            Variant(
                r"path_or_model_id: '",
                (
                    "Write it as OWNER/NAME, or name a folder that is there (inside a container as "
                    "it is mounted there, with a full path).",
                ),
                "The name of the model is neither a folder here nor a repository: {name}.",
            ),
            Variant(
                r"pytorch_model\.bin(?![\s\S]*(?:GGUF|GGML|gguf|ggml))",
                (
                    "If the folder has *.safetensors, transformers is too old to read them: pip "
                    "install -U transformers safetensors accelerate.",
                    "If it has neither, the download is not complete (hf download REPO again), or "
                    "the repository holds another format: GGUF wants gguf_file=, or llama.cpp.",
                ),
                "transformers finds no weights that it can read in the repository or folder.",
            ),
        ),
    ),
    Signature(
        "chat-format-unknown",
        (
            r"Invalid chat handler: (?P<name>[^\s(]+)",
            r"LlamaChatCompletionHandlerNotFoundException",
        ),
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
            r"\b(?:vllm|sglang|tgi|inference server|model server) failed to (?:start|launch|"
            r"initiali[sz]e)\.",
            r"could not load model: rpc error: code = (?:Canceled|Unavailable)",
            r"grpc service not ready",
            r"failed starting/connecting to the gRPC service",
            r"\(Exit code: \d+\)\.",
            r"failed to start (?:a|the) llama runner",
            r"do load request: Post .{0,200}(?:EOF|reset by peer|forcibly closed|refused)",
            r"127\.0\.0\.1:\d+->127\.0\.0\.1:\d+: .{0,40}(?:reset by peer|forcibly closed)",
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
            r"\bError: Channel Error$",
            r"error waiting for runner",
            r"(?:POST|post) predict.*(?:EOF|forcibly closed)",
            r"unexpected server status",
            r"Utility process has exited",
            r"rpc error: code = (?:Unavailable|Canceled|Unknown)(?!.{0,300}(?:sandbox|containerd|"
            r"image|volume|RuntimeHandler|device plugin))",
            r"(?:127\.0\.0\.1|localhost):\d+/\w+\\?\":? EOF",
            r"an error was encountered while running the model: (?P<why>.+)",
            r"RPC server for GPU \d+ is not running",
        ),
        "The program that runs the model ended.",
        (
            "Its own lines above say why; the exit code alone does not.",
            "If they are not there, read the server's log: journalctl -u ollama, docker logs, "
            "~/.ollama/logs/server.log, on Windows %LOCALAPPDATA%\\Ollama\\server.log.",
            "Mostly it is memory (lower num_ctx, or a smaller model) or a program that is older "
            "than the model: update it.",
        ),
        "Error: llama runner process has terminated: exit status 2",
        Basis.REPORTED,
        tier=Tier.GENERIC,
        phase=Phase.ALWAYS,
        variants=(
            Variant(
                r"🥲|\bLM ?Studio\b|\[LMS|Channel Error|model has crashed",
                (
                    "Choose another runtime (Settings > Runtime: CPU or Vulkan instead of CUDA or "
                    "ROCm, or the other way round) and update it, then the GPU's driver.",
                    "Load the model with a lower GPU Offload, a shorter Context Length and "
                    "without Flash Attention.",
                    "Developer Logs, or lms log stream, show the engine's last lines.",
                ),
            ),
            Variant(
                r"RPC server for GPU",
                (
                    "Read its own log in GPUStack's data folder (log/rpc_server/gpu-N.log), or "
                    "start llama-box-rpc-server by hand: it names a driver or library.",
                    "Update the GPU's driver (Windows: the Visual C++ Redistributable too), then "
                    "GPUStack.",
                ),
                "GPUStack's RPC server of a GPU ends as soon as it starts.",
            ),
        ),
    ),
    Signature(
        "ollama-load-timeout",
        (
            r"timed out waiting for llama runner to start",
            r"\| 500 \| {1,12}5m0(?:\.\d{1,9})?s \|",
            r"timed out waiting for .* to start",
            r"timed out waiting for (?:llama|the) (?:runner|server)",
            r"load(?:ing)? (?:model )?timed out",
            r"timed? ?out (?:while )?(?:loading|waiting for) .{0,30}model",
            r"timeout while waiting for (?:the )?model",
        ),
        "The model was not loaded in time: slow storage, or a model far larger than memory.",
        (
            "Raise OLLAMA_LOAD_TIMEOUT (15m) in the environment of ollama serve, and keep models "
            "on a fast local disk.",
            "Try a small model: if that does not load either, the GPU or its driver hangs (a "
            "Jetson wants Ollama's package for its JetPack).",
        ),
        'time=2025-02-20T12:00:00Z level=ERROR source=sched.go:456 msg="error loading llama '
        'server" '
        'error="timed out waiting for llama runner to start - progress 0.00 - "',
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        variants=(
            Variant(
                r"context canceled|client connection closed",
                (
                    "Let the client wait longer (its timeout, that of a proxy in between), or "
                    "load the model first: ollama run NAME, or a request with keep_alive -1.",
                    "If it loads for minutes, keep models on a fast local disk, or use a smaller "
                    "one.",
                ),
                "The client gave up before the model was loaded, so Ollama stopped loading.",
            ),
        ),
    ),
    Signature(
        "ollama-no-runner",
        (
            r"no suitable llama servers found",
            r"server \S+ not listed in available servers",
            r"fork/exec \S*(?:ollama|llama)\S*: (?:no such file|permission denied|exec format)",
            r"unable to initialize llm library",
            r"(?:llama-server|runner|llama server) binary not found",
            r"unable to (?:find|locate) (?:a )?(?:suitable )?(?:llama|runner)",
            r"(?:could not|unable to) (?:extract|unpack) .{0,40}(?:runner|payload)",
            r"may have noexec set",
            r"unable to initialize llm runners",
            r"exec: \W{1,3}\S{0,200}ollama_llama_server\W{1,4}executable file not found",
        ),
        "Ollama could not unpack or start its own runners.",
        (
            "Install Ollama anew as a whole (its archive has bin/ and lib/ollama, both are "
            "needed), quit every other copy of it (the app beside a brew service), and start it "
            "again.",
            "Versions before 0.5.8 unpack their runners: give them room in /tmp (or "
            "OLLAMA_TMPDIR) that is not mounted with noexec.",
        ),
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
            r"WORKER TIMEOUT \(pid",
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
            r"active longer than specified deadline",
            r"DeadlineExceeded +Job was",
            r"didn't respond to HTTP pings on port",
            r"failing site start",
        ),
        "Whoever started the server did not wait until the model was loaded.",
        ("Raise its limit: loading takes about as long as reading the file from its disk.",),
        "ERROR: The user-provided container failed to start and listen on the port defined by PORT",
        Basis.REPORTED,
        tier=Tier.SYMPTOM,
        phase=Phase.SERVE,
        variants=(
            Variant(
                r"WORKER TIMEOUT",
                (
                    "Start it with gunicorn --timeout 0 (or 600): an answer of a model takes "
                    "longer than the 30 seconds that a worker has, and loading too.",
                    "Workers of kind gthread or uvicorn.workers.UvicornWorker stay reachable while "
                    "they wait for a model.",
                ),
                "gunicorn ended a worker that had not answered within its --timeout.",
            ),
            Variant(
                r"defined (?:provided )?by (?:the )?PORT|HTTP pings|failing site start|"
                r"STARTUP (?:TCP|HTTP|GRPC)",
                (
                    "Listen on all addresses and on the port that the platform names: --host "
                    "0.0.0.0 --port $PORT (Cloud Run: --port of gcloud run deploy; Azure: "
                    "WEBSITES_PORT).",
                    "Allow the time that loading takes: a startup probe with a large "
                    "failureThreshold, WEBSITES_CONTAINER_START_TIME_LIMIT=1800; and look at the "
                    "container's own log for why it ended.",
                ),
                "The platform saw nothing listen on its port in time: the server listens "
                "elsewhere, is still loading, or has ended.",
            ),
            Variant(
                r"systemd|operation timed out|Failed with result '(?:timeout|watchdog)'",
                (
                    "TimeoutStartSec=infinity (or 30min) in the unit, and Type=simple or exec: "
                    "llama-server sends systemd no notice that it is ready.",
                ),
                "systemd did not wait until the server was ready.",
            ),
            Variant(
                r"WORKER TIMEOUT",
                ("gunicorn --timeout 0 (or 600), with one worker that holds the model.",),
            ),
        ),
    ),
    Signature(
        "server-busy",
        (
            r"maximum pending requests exceeded",
            r"no slots available after \d+ retries",
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
            r"could not connect to (?:a running )?ollama(?!.{0,60}No connection adapters)",
            r"ollama server not responding",
            r"Bootstrap failed: \d+: ",
            r"Cannot connect to the Docker daemon",
            r"Is the docker daemon running\?",
            r"trying to connect to the Docker daemon socket",
            r"(?:could not|cannot|can't|unable to|failed to) connect to (?:the )?(?:ollama|podman|"
            r"docker|LM Studio)(?!.{0,60}No connection adapters)",
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
        variants=(
            Variant(
                r"launchctl|Bootstrap failed",
                (
                    "brew services stop ollama (with sudo too, if it was ever started so), remove "
                    "~/Library/LaunchAgents/homebrew.mxcl.ollama.plist, then brew services start "
                    "ollama as yourself in a terminal of the desktop.",
                    "Run ollama serve by hand to see what it says; the app must not run beside it.",
                ),
                "macOS could not start the service.",
            ),
            Variant(
                r"pipe/|dockerDesktop|Docker Desktop|\.docker/run",
                (
                    "Start Docker Desktop and wait until it says that the engine runs; docker "
                    "context use desktop-linux (or default).",
                ),
            ),
            Variant(
                r"[Pp]odman",
                (
                    "podman machine init and podman machine start (macOS, Windows); on Linux "
                    "systemctl --user enable --now podman.socket, with "
                    "DOCKER_HOST=unix:///run/user/$(id -u)/podman/podman.sock.",
                ),
            ),
            Variant(
                r"systemd|bus:",
                (
                    "Without systemd (WSL: [boot] systemd=true in /etc/wsl.conf, then wsl "
                    "--shutdown; containers have none) start the program itself: ollama serve, "
                    "dockerd; for a user's service log in by ssh rather than su (loginctl "
                    "enable-linger).",
                ),
                "There is no systemd to talk to here.",
            ),
            Variant(
                r"[Oo]llama",
                (
                    "Start it: ollama serve (or the app, or sudo systemctl start ollama), and "
                    "let OLLAMA_HOST of the client name the same address.",
                ),
            ),
            Variant(
                r"failed to start daemon|Job for|Failed to start",
                (
                    "journalctl -xeu docker (or the unit's name) says why: often "
                    "/etc/docker/daemon.json is not valid JSON, or names a runtime twice "
                    "(dockerd --validate).",
                ),
            ),
            Variant(
                r"docker(?:\.sock| daemon)",
                (
                    "sudo systemctl start docker (sudo service docker start in WSL); rootless or "
                    "Colima: docker context ls, then docker context use the one that runs.",
                ),
            ),
        ),
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
            r"\bllamafile[\w.-]*['\"]?: (?:line )?\d+: .{0,20}[Ss]yntax error",
            r"\.llamafile(?:\.exe)?['\"]? ?: (?:Invalid argument|cannot execute|Exec format)",
            r"\.llamafile(?:\.exe)?' failed to run",
            r"APE is running on WIN32 inside WSL",
            r"\.llamafile'?: File does not contain a valid CIL image",
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
            "Android (Termux): build or install llama.cpp there (pkg install llama-cpp), and take "
            "the model as a .gguf file; syntax errors mean that the shell reads the program as "
            "text.",
        ),
        "run-detectors: unable to find an interpreter for ./llava-v1.5-7b-q4.llamafile",
        Basis.REPORTED,
        phase=Phase.START,
    ),
    Signature(
        "mlx-missing",
        (
            r"MLX not available: failed to load",
            r"MLX (?:dynamic library not loaded|on macOS requires|runtime is not available|is not "
            r"supported on)",
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
            r"unsupported locale setting",
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
        variants=(
            Variant(
                r"locale",
                (
                    "export LC_ALL=C.UTF-8 LANG=C.UTF-8 (in a Dockerfile ENV), or install the "
                    "locale that is set (locale-gen en_US.UTF-8).",
                ),
                "The locale that is set (LANG, LC_ALL) is not installed.",
            ),
        ),
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
        "ollama-model-old",
        (
            r"(?P<name>\S+) is no longer compatible with your version of Ollama",
            r"has been replaced by a newer version\. To re-download",
            r"was created with an older version of Ollama",
        ),
        "The model was pulled for an older Ollama, and this one does not take it any more: {name}.",
        ("Pull it again: ollama pull NAME (ollama rm NAME before, if it says that it is there).",),
        "Error: 'llama3.2-vision' is no longer compatible with your version of Ollama and has been "
        "replaced by a newer version. To re-download, run 'ollama pull llama3.2-vision'",
    ),
    Signature(
        "modelfile-invalid",
        (
            r"\bno FROM line\b",
            r"neither 'from' or 'files' was specified",
            r"no base model was found",
            r"no files provided to convert",
            r"requires must be a valid semver",
            r"message role must be one of",
        ),
        "The Modelfile is not complete or not valid.",
        (
            "It begins with FROM and the name of a model, a .gguf file or a folder with "
            "config.json and *.safetensors (FROM ./model.gguf, as seen from the Modelfile).",
            "ollama show --modelfile NAME prints a right one to compare with.",
            "Name it: ollama create NAME -f ./Modelfile; without -f it is looked for in this "
            "folder, and without one safetensors of a complete model.",
        ),
        "Error: no FROM line",
        phase=Phase.START,
    ),
    Signature(
        "ollama-manifest-damaged",
        (
            r"^(?:Error: )?registry\.ollama\.ai/(?P<name>\S+): EOF",
            r"\"?(?:bad|couldn't decode|failed to (?:read|parse|decode)) manifest",
            r"config \"(?P<name>[^\"]+)\" not found in manifest",
            r"^Error: (?:invalid digest format|opening layer with empty digest|creating new layer "
            r"from layer with empty digest)",
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
            r"^(?P<name>(?:[A-Za-z_]\w*\.)*)(?P<why>(?-i:[A-Z])\w*(?:Error|Exception))$",
            r"^(?P<name>(?:[A-Za-z_]\w*\.)+(?:errors|exc|exceptions|_exceptions)\.(?-i:[A-Z])\w+"
            r"): (?P<why>.+)",
        ),
        "A Python program ended with an exception: {why}.",
        (
            "The last lines of the traceback show where: in the program's own code, correct what "
            "it names; in a library, upgrade that library, or pin the version that the program "
            "was written for (its requirements), and look for the sentence among its issues.",
        ),
        "RuntimeError: llama context is gone",
        Basis.REPORTED,
        tier=Tier.GENERIC,
    ),
    Signature(
        "cxx-exception",
        (
            r"\bwhat\(\): +(?P<why>.+)",
            r"Exception caught at file:(?P<why>.+)",
            r"^(?P<why>std::\w+(?:_error|_range|_argument|_cast|exception): .+)",
            r"uncaught exception of type (?P<why>.+)",
        ),
        "The engine ended with an exception: {why}.",
        (
            "Use a newer build, and leave out what the lines above it show it was busy with.",
            "Start it once with -ngl 0 and few options: what then works shows which part fails.",
        ),
        "what():  key not usable",
        tier=Tier.SYMPTOM,
        phase=Phase.ALWAYS,
        variants=checks.EXCEPTIONS,
    ),
)
