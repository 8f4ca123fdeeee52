"""Holds plans for llama-cpp-python against what its own build of llama.cpp reserves.

    python -m tests.truth.llama_cpp_python [EVERY]

Runs where llama-cpp-python is installed. Each recorded model, or every EVERY-th, becomes a file
of its header and a hole; the library reads it without allocating (`no_alloc`) and says in its log
what it would need, in hundredths of a MiB. Prints a line per term that differs, and how many are
exact. Those of minimax-m3 differ: it is planned for a full cache, and this is what it starts with.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from ggufctl.core.builds import as_built_by, build_of
from ggufctl.core.header import SkippedArray
from ggufctl.core.launch import engine_runtime
from ggufctl.core.memory import ModelShape, estimate_memory
from ggufctl.core.runtime import Runtime
from tests import ggufs
from tests.truth.recorded import headers, shape

Plain = int | float | bool | str | tuple[int | float | bool | str, ...]
"""A value of a header that was read in full."""

ENGINE = "llama-cpp-python"
ROUNDING_BYTES = 5243 + 1
"""Of a figure that is printed in hundredths of a MiB."""

SETTINGS = (
    Runtime(n_ctx=8192),
    Runtime(n_ctx=2048, flash_attn="off"),
    Runtime(n_ctx=600, n_ubatch=128),
    Runtime(n_ctx=4096, cache_type_k="q8_0", cache_type_v="q8_0"),
)

_OUTPUT = re.compile(r"output buffer size = +([\d.]+) MiB")
_COMPUTE = re.compile(r"compute buffer size = +([\d.]+) MiB")
_CACHE = re.compile(r"llama_kv_cache\w*: size = +([\d.]+) MiB")
_CHILD = r"""
import ctypes, json, sys
import llama_cpp as L

text = []
hear = L.llama_log_callback(lambda level, line, data: text.append(line.decode("utf-8", "replace")))
L.llama_log_set(hear, ctypes.c_void_p(0))
L.llama_backend_init()
params = L.llama_model_default_params()
params.no_alloc, params.load_mode = True, L.LLAMA_LOAD_MODE_NONE
model = L.llama_model_load_from_file(sys.argv[1].encode(), params)
if not model:
    sys.exit("".join(text)[-500:])
for settings in map(json.loads, sys.argv[2:]):
    params = L.llama_context_default_params()
    for name, value in settings.items():
        setattr(params, name, value)
    text.clear()
    context = L.llama_init_from_model(model, params)
    if context:
        L.llama_free(context)
    print("LOG" + json.dumps("".join(text) if context else None), flush=True)
"""
_TYPES = {"f16": 1, "q8_0": 8}


@dataclass(frozen=True, slots=True)
class Compared:
    """One term of one run, as planned and as the library says it.  [bytes]"""

    model: str
    settings: str
    term: str
    planned_bytes: int
    actual_bytes: int
    n_printed: int
    """Figures that the actual one is the sum of."""

    @property
    def is_exact(self) -> bool:
        """Whether they differ by no more than the log's rounding."""
        return abs(self.planned_bytes - self.actual_bytes) <= self.n_printed * ROUNDING_BYTES


def compared(models: Iterable[str]) -> Iterator[Compared]:
    """What is planned for each model and each of `SETTINGS`, and what the library says.

    A model that is refused for this engine, or by it, has no rows.
    """
    build = build_of(ENGINE, version("llama_cpp_python"))
    for model in models:
        if shape(model).hp.arch in build.unplanned:
            continue
        runtimes = [engine_runtime(ENGINE, runtime) for runtime in SETTINGS]
        for runtime, text in zip(runtimes, _asked(model, runtimes), strict=False):
            if text is None:
                continue
            host = estimate_memory(as_built_by(build, shape(model)), runtime, ()).host
            for term, planned, pattern in (
                ("outputs", host.output_bytes, _OUTPUT),
                ("compute", host.compute_bytes, _COMPUTE),
                ("KV cache", host.kv_cache_bytes, _CACHE),
            ):
                printed = [float(found[1]) for found in pattern.finditer(text)]
                actual = round(sum(printed) * (1 << 20))
                yield Compared(model, _words(runtime), term, planned, actual, len(printed))


def _words(runtime: Runtime) -> str:
    return (
        f"-c {runtime.n_ctx} -ub {runtime.n_ubatch} -fa {runtime.flash_attn} "
        f"-ctk {runtime.cache_type_k}"
    )


def _asked(model: str, runtimes: Iterable[Runtime]) -> list[str | None]:
    """The library's log of each context; fewer where it gives up."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        _write(path, model)
        asked = [json.dumps(_context(runtime)) for runtime in runtimes]
        done = subprocess.run(
            (sys.executable, "-c", _CHILD, str(path), *asked),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    # Where it gives up, a debugger may have printed much else.
    lines = [line for line in done.stdout.splitlines() if line.startswith("LOG")]
    return [json.loads(line.removeprefix("LOG")) for line in lines]


def _write(path: Path, model: str) -> None:
    """The model's header, with a vocabulary of nothing but its size, and a hole behind it."""
    header = headers()[model]
    hp = ModelShape(header).hp
    metadata = {
        name: _writable(value)
        for name, value in header.metadata.items()
        if ".classifier." not in name and not isinstance(value, SkippedArray)
    }
    metadata |= {"tokenizer.ggml.model": "no_vocab", f"{hp.arch}.vocab_size": hp.n_vocab}
    if "token_types.weight" in header.tensors:
        metadata["tokenizer.ggml.token_type_count"] = header.tensors["token_types.weight"].shape[1]
    tensors = [ggufs.Tensor(t.name, t.type, t.shape) for t in header.tensors.values()]
    ggufs.write(path, *ggufs.header(metadata, tensors, alignment=header.alignment))


def _writable(value: Plain) -> ggufs.Writable:
    if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value < 1 << 32:
        return ggufs.Typed("int64", value)
    if not isinstance(value, tuple):
        return value
    if all(isinstance(each, bool) for each in value):
        return ggufs.Array("bool", value)
    if all(isinstance(each, str) for each in value):
        return ggufs.Array("string", value)
    if all(isinstance(each, int) for each in value):
        return ggufs.Array("int32", value)
    return ggufs.Array("float32", value)


def _context(runtime: Runtime) -> dict[str, int]:
    """As llama-cpp-python fills in llama.cpp's parameters."""
    n_batch = min(runtime.n_ctx, runtime.n_batch)
    return {
        "n_ctx": runtime.n_ctx,
        "n_batch": n_batch,
        "n_ubatch": min(n_batch, runtime.n_ubatch),
        "flash_attn_type": int(runtime.flash_attn == "on"),
        "type_k": _TYPES[runtime.cache_type_k],
        "type_v": _TYPES[runtime.cache_type_v],
    }


def main(every: int = 1) -> None:
    """Print every difference, and how many there are."""
    n_all = n_exact = 0
    models = set()
    for row in compared(islice(sorted(headers()), 0, None, every)):
        n_all += 1
        n_exact += row.is_exact
        models.add(row.model)
        if not row.is_exact:
            told = (row.model, row.settings, row.term, row.planned_bytes, row.actual_bytes)
            print(*told, flush=True)
    print(f"{ENGINE} {version('llama_cpp_python')}: {n_exact} of {n_all} terms exact, ", end="")
    print(f"{len(models)} models of {len(range(0, len(headers()), every))}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
