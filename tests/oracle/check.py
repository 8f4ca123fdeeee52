"""Asks the oracle recorded runs again and says where it answers otherwise.

    python -m tests.oracle.check [N]

Takes N runs (300), spread evenly over all of them; 0 takes all. Exits with 1 on a difference.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ggufctl.core.header import Header, Value
from tests import ggufs
from tests.oracle.ask import Row, ask
from tests.truth.recorded import headers, rows

COMPARED = ("n_ctx_total", "n_ctx_seq", "buffers")

WIDE = ("ple.layer_multipliers", "ple.head_offsets", "ple.head_vocab_sizes")
"""Lists that llama.cpp wants in 64 bits however small their numbers."""


def _typed(key: str, value: Value) -> ggufs.Writable:
    """A value in the type that llama.cpp reads: what `ggufs` takes by itself, or said."""
    if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value < 1 << 32:
        return ggufs.Typed("int32" if value < 0 else "uint64", value)
    if not isinstance(value, tuple):
        assert isinstance(value, int | float | str)
        return value
    if any(isinstance(v, str) for v in value):
        return ggufs.Array("string", value)
    if any(isinstance(v, bool) for v in value):
        return ggufs.Array("bool", value)
    if any(isinstance(v, float) for v in value):
        return ggufs.Array("float32", value)
    if key.endswith(WIDE):
        return ggufs.Array("uint64", value)
    return ggufs.Array("int32" if any(int(v) < 0 for v in value) else "uint32", value)


def _vocabulary(header: Header) -> dict[str, ggufs.Writable]:
    """As many nameless tokens as the model has rows for: recorded headers have lost theirs."""
    keys: dict[str, ggufs.Writable] = {"tokenizer.ggml.model": "none"}
    if tokens := header.tensors.get("token_embd.weight"):
        keys[f"{header.architecture}.vocab_size"] = tokens.shape[1]
    if types := header.tensors.get("token_types.weight"):
        keys["tokenizer.ggml.token_type_count"] = types.shape[1]
    return keys


def write_model(header: Header, path: Path) -> Path:
    """A file that llama.cpp loads: the recorded header, and a hole for the data."""
    # What type an empty list had is not recorded, and llama.cpp minds.
    kept = {key: value for key, value in header.metadata.items() if value != ()}
    metadata = {key: _typed(key, value) for key, value in kept.items()}
    tensors = [ggufs.Tensor(t.name, t.type, t.shape) for t in header.tensors.values()]
    written = ggufs.header({**_vocabulary(header), **metadata}, tensors, alignment=header.alignment)
    return ggufs.write(path, *written)


def _with_target(row: Row, folder: Path) -> Row:
    """The run with a file for the model that its own drafts for, where there is one."""
    if "target" not in row:
        return row
    path = folder / f"{row['target']}.gguf"
    if not path.exists():
        write_model(headers()[row["target"]], path)
    return {**row, "target": str(path)}


def differences(model: str, recorded: list[Row], folder: Path) -> Iterator[str]:
    """Say every recorded run of a model that comes out otherwise."""
    path = write_model(headers()[model], folder / f"{model}.gguf")
    asked = [_with_target(row, folder) for row in recorded]
    for was, now in zip(recorded, ask(path, asked), strict=True):
        if any(was.get(key) != now.get(key) for key in COMPARED):
            settings = {key: value for key, value in was.items() if key not in COMPARED}
            answer = {key: now[key] for key in (*COMPARED, "error", "detail") if key in now}
            yield f"{settings}\n  was {[was[key] for key in COMPARED]}\n  now {answer}"
    path.unlink()


def main(n: int) -> int:
    """Check n recorded runs, or all for 0."""
    recorded = list(rows())
    chosen = recorded[:: max(1, len(recorded) // n)] if n else recorded
    by_model: dict[str, list[Row]] = defaultdict(list)
    for row in chosen:
        by_model[row["model"]].append(row)
    n_different = 0
    with tempfile.TemporaryDirectory() as folder:
        for model, runs in by_model.items():
            for text in differences(model, runs, Path(folder)):
                sys.stdout.write(text + "\n")
                n_different += 1
    sys.stdout.write(
        f"{len(chosen) - n_different} of {len(chosen)} runs of {len(by_model)} models as recorded\n"
    )
    return 1 if n_different else 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
