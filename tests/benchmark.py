"""Prints how fast ggufctl is, as ratios against public tools run beside it.

    python -m tests.benchmark [FILE.gguf]

Every figure is the best of several runs, alternating with what it is compared to, so
that a busy machine slows both. Nothing is asserted: ratios are to be read.
"""

from __future__ import annotations

import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ggufctl.catalog import load_catalogue
from ggufctl.core.ggml.types import TYPES, row_bytes
from ggufctl.core.graphs.index import FAMILIES
from ggufctl.core.graphs.registry import find
from ggufctl.core.header import Header, parse_header
from ggufctl.core.ladder import QuantSize
from ggufctl.core.memory import ModelShape
from ggufctl.core.plan import plan_quants
from ggufctl.core.planner import Allowed, Constraints, Planner
from ggufctl.core.runtime import Runtime
from ggufctl.report.compare import batch_report
from ggufctl.services.batch import (
    Batch,
    BatchResult,
    BatchRow,
    Defaults,
    collected_seldom,
    read_rows,
)
from ggufctl.services.plan import Workshop, plan_reference
from ggufctl.services.sharing import SharedWorkshop
from ggufctl.sources.base import OnEvent, ignore
from ggufctl.sources.references import Reference
from ggufctl.sources.resolve import ResolvedModel, Role, open_model
from tests import ggufs
from tests.truth.pack import slim
from tests.truth.recorded import headers

RUNS = 7
VOCABULARY = 200_000
"""Tokens of the generated model: a header of about 8 MB."""

N_QUANTS = 12
QUANT_TYPES = ("q2_K", "q3_K", "q4_K", "q5_K", "q6_K", "q8_0", "iq4_xs", "iq3_s")


def best(*commands: Callable[[], object], runs: int = RUNS) -> list[float]:
    """Shortest time of each command, taken in turns.  [s]"""
    times = [float("inf")] * len(commands)
    for _ in range(runs):
        for i, command in enumerate(commands):
            started = time.perf_counter()
            command()
            times[i] = min(times[i], time.perf_counter() - started)
    return times


def process(*argv: str, **environment: str) -> Callable[[], object]:
    """A whole process, its output thrown away."""
    env = {**os.environ, **environment}
    return lambda: subprocess.run(argv, env=env, check=False, capture_output=True)


def ratio(what: str, ours: float, other: float, beside: str, target: str) -> None:
    """Print one comparison."""
    print(
        f"{what:44s} {1000 * ours:8.1f} ms = {ours / other:7.3f} x {beside} "
        f"({1000 * other:.1f} ms); target {target}"
    )


def big_header(folder: Path) -> tuple[Path, int]:
    """A llama with a large vocabulary: (file with a hole for weights, bytes of header)."""
    metadata, tensors = ggufs.llama(
        n_layer=32, n_embd=4096, n_vocab=VOCABULARY, n_merges=VOCABULARY * 3 // 2
    )
    raw, size = ggufs.header(metadata, tensors)
    return ggufs.write(folder / "big.gguf", raw, size), len(raw)


def main(real: str | None) -> None:
    """Run every comparison."""
    python = sys.executable
    bin_dir = Path(python).parent
    with tempfile.TemporaryDirectory() as folder:
        path, n_bytes = big_header(Path(folder))
        _start_up(python)
        _whole_plan(python, bin_dir, path, n_bytes, real)
        _reader(path, n_bytes)
    for name in ("Llama-3.1-8B-Q4_K_M", "Qwen3-30B-A3B-Q4_K_M", "Llama-3.1-70B-Q4_K_M"):
        _thirty_quants(name)
    for name in ("Llama-3.1-8B-Q4_K_M", "Qwen3-30B-A3B-Q4_K_M", "Llama-3.1-70B-Q4_K_M"):
        _batch(name)
    print("a plan: every type of GPU x 1 to 8 cards, largest contexts, the pick, speed and price")
    with collected_seldom():
        _different_models()
        _quants()


def _start_up(python: str) -> None:
    typer = process(python, "-c", "import typer")
    version, base = best(process(python, "-m", "ggufctl", "--version"), typer)
    ratio("ggufctl --version", version, base, "import typer", "< 1.5")
    complete = process(
        python,
        "-m",
        "ggufctl",
        _GGUFCTL_COMPLETE="complete_bash",
        COMP_WORDS="ggufctl plan --gpu ",
        COMP_CWORD="3",
    )
    completion, base = best(complete, typer)
    ratio("completion of --gpu", completion, base, "import typer", "< 3")


def _whole_plan(python: str, bin_dir: Path, path: Path, n_bytes: int, real: str | None) -> None:
    hf = process(str(bin_dir / "hf"), "version")
    plan = process(python, "-m", "ggufctl", "plan", str(path), "--json")
    ours, theirs = best(plan, hf)
    ratio(f"plan FILE --json, {n_bytes / 1e6:.1f} MB header", ours, theirs, "hf version", "< 1")
    if real:
        ours, theirs = best(process(python, "-m", "ggufctl", "plan", real, "--json"), hf)
        ratio("plan of a real SmolLM2 --json", ours, theirs, "hf version", "< 1")


def _reader(path: Path, n_bytes: int) -> None:
    from gguf import GGUFReader

    size = path.stat().st_size
    with path.open("rb") as file:
        data = file.read(n_bytes)
    (ours,) = best(lambda: parse_header(data, size))
    (theirs,) = best(lambda: GGUFReader(path), runs=1)
    ratio("reading that header", ours, theirs, "gguf.GGUFReader", "< 0.01")


def _thirty_quants(name: str) -> None:
    """CPU of planning 30 quants on every GPU, once the header is read."""
    size = headers()[name].file_size
    quants = [QuantSize(f"Q{i}", size * (10 + i) // 20) for i in range(30)]
    found = float("inf")
    for _ in range(3):
        shape = ModelShape(headers()[name])
        started = time.process_time()
        planner = Planner(shape, load_catalogue())
        allowed = Allowed.by(Constraints(), planner.catalogue)
        plan_quants(planner, Runtime(n_ctx=8192), allowed, quants, size)
        found = min(found, time.process_time() - started)
    print(f"{f'every GPU x 30 quants, {name}':44s} {1000 * found:8.1f} ms of CPU; target < 100 ms")


def _batch(name: str) -> None:
    """CPU of `plan --batch`, rows in and JSON lines out, for many rows about one shape.

    Every plan is of all GPUs. Neither the network nor the reading of headers is in it: the first
    row fetches and parses for all, and is not counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        header = headers()[name]
        raw = slim(header)
        end = max(tensor.offset + tensor.n_bytes for tensor in header.tensors.values())
        path = ggufs.write(Path(folder) / f"{name}.gguf", raw, len(raw) + end)
        grid = [
            {"ctx_size": n_ctx, "parallel": n_parallel, "cache_type_k": kv, "cache_type_v": kv}
            for n_ctx in (4096, 6144, 8192, 12288, 16384, 24576, 32768, 40960)
            for n_parallel in (1, 2, 4)
            for kv in ("f16", "q8_0", "q4_0")
        ]
        contexts = [{"ctx_size": 4096 + 256 * n} for n in range(100)]
        _batch_rate(f"batch: {name}, same settings", path, [{}] * 500)
        _batch_rate(f"batch: {name}, 100 contexts", path, contexts)
        _batch_rate(f"batch: {name}, {len(grid)} settings", path, grid)


class _Opened(Workshop):
    """Models whose headers are read already."""

    def __init__(self, models: Mapping[str, ResolvedModel]) -> None:
        self._models = models

    def open_model(
        self, ref: str | Reference, *, role: Role = Role.MODEL, on_event: OnEvent = ignore
    ) -> ResolvedModel:
        """The model that was opened before."""
        return self._models[ref if isinstance(ref, str) else ref.text]


def _different_models() -> None:
    """CPU of plans that share nothing: every third recorded model of a size, each planned once.

    A plan is that of `plan REFERENCE`: every type of GPU, with one card and, where one is not
    enough, with two, four, eight and what lies between, each with its largest context; then the
    pick, its speed and its price. Nothing is known of a model but its parsed header; the modules
    of all architectures are imported, which is the start of a program and not part of a plan.
    """
    for name in FAMILIES:
        find(name)
    known = {name: header for name, header in headers().items() if name[:4] not in ("tiny", "mid-")}
    with tempfile.TemporaryDirectory() as folder:
        models = {}
        for name, header in known.items():
            raw = slim(header)
            end = max(tensor.offset + tensor.n_bytes for tensor in header.tensors.values())
            path = ggufs.write(Path(folder) / f"{name}.gguf", raw, len(raw) + end)
            models[str(path)] = open_model(str(path))
    workshop = _Opened(models)
    sizes = [(0, 16), (16, 48), (48, 1024)]
    every: list[float] = []
    for low, high in sizes:
        chosen = [ref for ref, m in models.items() if low << 30 <= m.header.file_size < high << 30]
        spent = [_plan_seconds(ref, workshop) for ref in chosen[::3]]
        _print_rate(f"{len(spent)} different models of {low} to {high} GiB", spent)
        every += spent
    _print_rate(f"{len(every)} different models, all of these", every)


class _Collection(SharedWorkshop):
    """What rows of a batch share, for models whose headers are read already."""

    def __init__(self, models: Mapping[str, ResolvedModel]) -> None:
        super().__init__()
        self._models = models

    def open_model(
        self, ref: str | Reference, *, role: Role = Role.MODEL, on_event: OnEvent = ignore
    ) -> ResolvedModel:
        """The model that was opened before."""
        return self._models[ref if isinstance(ref, str) else ref.text]


def _quants() -> None:
    """CPU of a catalogue as the Hub's are: a dozen quants of every recorded model of a size."""
    known = {name: header for name, header in headers().items() if name[:4] not in ("tiny", "mid-")}
    every: list[float] = []
    for low, high in ((0, 16), (16, 48), (48, 1024)):
        chosen = {n: h for n, h in known.items() if low << 30 <= h.file_size < high << 30}
        with tempfile.TemporaryDirectory() as folder:
            models = {}
            for name, header in list(chosen.items())[::6]:
                raw = slim(header)
                end = max(tensor.offset + tensor.n_bytes for tensor in header.tensors.values())
                path = ggufs.write(Path(folder) / f"{name}.gguf", raw, len(raw) + end)
                one = open_model(str(path))
                for seed in range(N_QUANTS):
                    quant = replace(one, header=other_quant(one.header, seed))
                    models[f"{path}-{seed}.gguf"] = quant
            workshop = _Collection(models)
            with workshop.turn():
                spent = [_plan_seconds(ref, workshop) for ref in models]
        what = f"{len(spent)} models of {low} to {high} GiB, {N_QUANTS} quants each"
        _print_rate(what, spent)
        every += spent
    _print_rate(f"{len(every)} models, {N_QUANTS} quants each, all of these", every)


def other_quant(header: Header, seed: int) -> Header:
    """The same model with another type for each quantised type of its weights."""
    choice = random.Random(seed)
    chosen: dict[str, str] = {}
    tensors = {}
    for name, info in header.tensors.items():
        new = info.type
        if TYPES[new].is_quantized and info.shape[0] % 256 == 0:
            new = chosen.setdefault(new, choice.choice(QUANT_TYPES))
        n_rows = info.n_bytes // row_bytes(info.type, info.shape[0])
        n_bytes = n_rows * row_bytes(new, info.shape[0])
        tensors[name] = info._replace(type=new, n_bytes=n_bytes)
    return replace(header, tensors=tensors)


def _plan_seconds(ref: str, workshop: Workshop) -> float:
    started = time.process_time()
    plan = plan_reference(ref, Runtime(), Constraints(), workshop=workshop, brief=True)
    assert json.dumps(batch_report(BatchResult(BatchRow(1, "", ref), plan, None)))
    return time.process_time() - started


def _print_rate(what: str, spent: Sequence[float]) -> None:
    print(
        f"{what:44s} {len(spent) / sum(spent):8.0f} plans/s of one core, "
        f"median {1000 * statistics.median(spent):.1f} ms; target >= 100"
    )


def _batch_rate(what: str, path: Path, settings: list[dict[str, object]]) -> None:
    rows = [json.dumps({"model": str(path), **more}) for more in ({"ctx_size": 1024}, *settings)]
    asked = read_rows(io.BytesIO("\n".join(rows).encode()), Defaults())
    results = iter(Batch(asked, n_threads=1, brief=True))
    next(results)
    started = time.process_time()
    n = sum(1 for result in results if json.dumps(batch_report(result)) and not result.error)
    spent = time.process_time() - started
    assert n == len(settings)
    print(f"{what:44s} {n / spent:8.0f} plans/s of one core; target >= 100")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
