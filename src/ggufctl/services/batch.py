"""Plans thousands of references: rows in, results out in the same order, whatever fails."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from ggufctl.core.escape import escape, quoted
from ggufctl.core.plan import Plan
from ggufctl.core.planner import Constraints, parse_gpu_list
from ggufctl.core.runtime import Runtime
from ggufctl.errors import DoesNotFit, GgufctlError, RemoteError, UsageError
from ggufctl.services.plan import plan_reference
from ggufctl.services.sharing import Crew, SharedWorkshop

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # as typeshed would have it

__all__ = [
    "SETTINGS",
    "Batch",
    "BatchResult",
    "BatchRow",
    "Defaults",
    "Done",
    "collected_seldom",
    "keep_to_one",
    "read_done",
    "read_rows",
]

MAX_LINE_BYTES = 1 << 16
"""A longer line is not read to its end."""

ROWS_PER_THREAD = 8
"""Rows begun ahead of the one whose result is next, which bounds memory."""

COLLECTION_THRESHOLDS = (100_000, 20, 100)
"""Objects made before new ones are looked through for cycles, and how often older ones are."""

_LINE_START = b'{"schema_version": '
_N_CTX_MAX = 999_999_999
_ALL_LAYERS = 512


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for every row that does not say otherwise."""

    runtime: Runtime = field(default_factory=Runtime)
    constraints: Constraints = field(default_factory=Constraints)
    n_ctx: int | None = None
    """As in `plan_reference`.  [tokens]"""
    quant: str = ""


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One line of the input."""

    line: int
    """Counted from 1, comments and empty lines included."""
    fingerprint: str
    """Of the line and the defaults: a result is kept only for the same question."""
    model: str = ""
    """As written."""
    id: str | int | None = None
    """What the line calls itself."""
    settings: Defaults = field(default_factory=Defaults)
    error: GgufctlError | None = None
    """Why the line makes no sense."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one row."""

    row: BatchRow
    plan: Plan | None
    error: GgufctlError | None
    """Why there is no plan, or nothing that fits."""

    @property
    def exit_code(self) -> int:
        """As `ggufctl plan` would exit for this row alone."""
        return 0 if self.error is None else self.error.exit_code


def _n_ctx(value: object) -> int | None:
    if value is None or value == "max":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _N_CTX_MAX:
        raise UsageError(f'ctx_size must be a number of tokens or "max", not {_shown(value)}.')
    return value


def _gpus(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return parse_gpu_list(value)
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise UsageError(f"gpu must be names of GPUs, not {_shown(value)}.")


def _text(name: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise UsageError(f"{name} must be text, not {_shown(value)}.")
        return value

    return parse


def _layers(value: object) -> int:
    if value in ("all", "auto"):
        return -1
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f'gpu_layers must be a number or "all", not {_shown(value)}.')
    return value


def _adapters(value: object) -> tuple[str, ...]:
    many = [value] if isinstance(value, str) else value
    if not isinstance(many, list) or not all(isinstance(ref, str) for ref in many):
        raise UsageError(f"lora must be references, not {_shown(value)}.")
    return tuple(many)


def _overrides(value: object) -> tuple[str, ...]:
    many = [value] if isinstance(value, str) else value
    if not isinstance(many, list) or not all(isinstance(entry, str) for entry in many):
        raise UsageError(f"override_tensor must be texts, not {_shown(value)}.")
    return tuple(many)


def _negated(key: str) -> Callable[[object], bool]:
    def read(value: object) -> bool:
        if value is not True and value is not False:
            raise UsageError(f"{key} must be true or false, not {_shown(value)}.")
        return not value

    return read


def _as_is(value: Any) -> Any:
    return value


_RUNTIME: dict[str, tuple[str, Callable[[object], Any]]] = {
    "parallel": ("n_parallel", _as_is),
    "kv_unified": ("kv_unified", _as_is),
    "cache_type_k": ("cache_type_k", _text("cache_type_k")),
    "cache_type_v": ("cache_type_v", _text("cache_type_v")),
    "flash_attn": ("flash_attn", _text("flash_attn")),
    "batch_size": ("n_batch", _as_is),
    "ubatch_size": ("n_ubatch", _as_is),
    "gpu_layers": ("n_gpu_layers", _layers),
    "n_cpu_moe": ("n_cpu_moe", _as_is),
    "cpu_moe": ("n_cpu_moe", lambda value: _ALL_LAYERS if value is True else 0),
    "override_tensor": ("override_tensor", _overrides),
    "kv_offload": ("no_kv_offload", _negated("kv_offload")),
    "split_mode": ("split_mode", _text("split_mode")),
    "tensor_split": ("tensor_split", _as_is),
    "embedding": ("embeddings", _as_is),
    "swa_full": ("swa_full", _as_is),
    "load_mode": ("load_mode", _text("load_mode")),
    "mmproj": ("mmproj", _as_is),
    "model_draft": ("draft_model", _as_is),
    "spec_type": ("spec_type", _text("spec_type")),
    "spec_draft_n_max": ("spec_draft_n_max", _as_is),
    "spec_draft_type_k": ("spec_draft_type_k", _text("spec_draft_type_k")),
    "spec_draft_type_v": ("spec_draft_type_v", _text("spec_draft_type_v")),
    "lora": ("lora", _adapters),
}
"""Key of a row → field of `Runtime` and what makes its value."""

SETTINGS = ("ctx_size", "gpu", "quant", "max_usd_per_hour", *_RUNTIME)
"""Keys that a row may have beside `model` and `id`: the long options of `ggufctl plan`."""


def read_rows(file: IO[bytes], defaults: Defaults) -> Iterator[BatchRow]:
    """The rows of an input, one after the other; a line that makes no sense is a row as well.

    A line is a reference or a JSON object with `model` and any of `SETTINGS`; empty lines and
    those that begin with `#` are left out.
    """
    salt = repr(defaults).encode()
    for number, raw in enumerate(_lines(file), 1):
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        stripped = raw.strip()
        if not stripped or stripped.startswith(b"#"):
            continue
        digest = hashlib.sha256(salt + b"\0" + stripped).hexdigest()[:16]
        try:
            model, name, settings = _parse(stripped, defaults)
        except GgufctlError as error:
            yield BatchRow(number, digest, _about(stripped), error=error)
        else:
            yield BatchRow(number, digest, model, name, settings)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines of bounded length; what is beyond is skipped, and the line stays too long."""
    while raw := file.readline(MAX_LINE_BYTES + 1):
        more = raw
        while more and not more.endswith(b"\n") and len(more) > MAX_LINE_BYTES:
            more = file.readline(MAX_LINE_BYTES + 1)
        yield raw


def _about(raw: bytes) -> str:
    """What to call a line that cannot be read."""
    text = raw[:200].decode(errors="replace")
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(raw)
        if isinstance(document, dict) and isinstance(document.get("model"), str):
            return str(document["model"])
    return text


def _parse(raw: bytes, defaults: Defaults) -> tuple[str, str | int | None, Defaults]:
    if len(raw) > MAX_LINE_BYTES:
        raise UsageError(f"The line is longer than {MAX_LINE_BYTES:,} bytes.")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise UsageError("The line is not UTF-8 text.") from None
    if not text.startswith("{"):
        return text, None, defaults
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(
            "The line begins like JSON and is none.", 'Write {"model": "org/repo"}.'
        ) from None
    model, name = document.pop("model", None), document.pop("id", None)
    if not isinstance(model, str):
        raise UsageError("The line names no model.", 'Write {"model": "org/repo"}.')
    if isinstance(name, bool) or not isinstance(name, str | int | None):
        raise UsageError(f"id must be text or a whole number, not {_shown(name)}.")
    return model, name, _with(defaults, document)


def _with(defaults: Defaults, given: Mapping[str, object]) -> Defaults:
    """The defaults with what a row says."""
    values = {key.replace("-", "_"): value for key, value in given.items()}
    unknown = sorted(values.keys() - set(SETTINGS))
    if unknown:
        raise UsageError(f"A row has no setting {quoted(unknown[0])}.", f"{', '.join(SETTINGS)}.")
    constraints, n_ctx, quant = defaults.constraints, defaults.n_ctx, defaults.quant
    if "gpu" in values:
        constraints = replace(constraints, gpus=_gpus(values["gpu"]))
    if "max_usd_per_hour" in values:
        budget: Any = values["max_usd_per_hour"]
        constraints = replace(constraints, max_usd_per_hour=budget)
    if "ctx_size" in values:
        n_ctx = _n_ctx(values["ctx_size"])
        constraints = replace(constraints, max_context=values["ctx_size"] == "max")
    if "quant" in values:
        quant = _text("quant")(values["quant"])
    changes = {
        _RUNTIME[key][0]: _RUNTIME[key][1](value)
        for key, value in values.items()
        if key in _RUNTIME
    }
    runtime = defaults.runtime.with_(**changes) if changes else defaults.runtime
    return Defaults(runtime, constraints, n_ctx, quant)


def _shown(value: object) -> str:
    return escape(json.dumps(value), 60)


@contextlib.contextmanager
def collected_seldom() -> Iterator[None]:
    """Have Python look for cycles of objects seldom.

    A plan makes thousands of objects and hardly a cycle, and what is kept between plans is
    large: looking through it time and again would take nearly as long as planning does.
    """
    before = gc.get_threshold()
    gc.set_threshold(*COLLECTION_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Batch:
    """The results of rows, in their order; fetches run side by side, planning in turns.

    Args:
        rows: what to plan; read only as far ahead as there are threads to do it.
        n_threads: fetches at a time.
        brief: make plans for a summary, as in `plan_reference`.
    """

    def __init__(
        self, rows: Iterable[BatchRow], *, n_threads: int = 8, brief: bool = False
    ) -> None:
        self._rows = rows
        self._n_threads = n_threads
        self._is_brief = brief
        self._workshop = SharedWorkshop()
        self._pending: deque[Future[BatchResult]] = deque()

    def __iter__(self) -> Iterator[BatchResult]:
        crew = Crew(self._work, self._n_threads)
        pending, most = self._pending, self._n_threads * ROWS_PER_THREAD
        try:
            with collected_seldom():
                for row in self._rows:
                    pending.append(crew.submit(row))
                    while pending and (pending[0].done() or len(pending) >= most):
                        yield self._next()
                while pending:
                    yield self._next()
        finally:
            crew.close()

    def finished(self) -> Iterator[BatchResult]:
        """After an interruption: what is done already, in order."""
        for future in self._pending:
            if future.done():
                yield future.result()

    def _next(self) -> BatchResult:
        found = self._pending[0].result()
        self._pending.popleft()
        return found

    def _work(self, row: BatchRow) -> BatchResult:
        with self._workshop.turn():
            return _result(row, self._workshop, brief=self._is_brief)


def _result(row: BatchRow, workshop: SharedWorkshop, *, brief: bool) -> BatchResult:
    if row.error is not None:
        return BatchResult(row, None, row.error)
    wanted = row.settings
    try:
        plan = plan_reference(
            row.model,
            wanted.runtime,
            wanted.constraints,
            n_ctx=wanted.n_ctx,
            quant=wanted.quant,
            workshop=workshop,
            brief=brief,
        )
    except GgufctlError as error:
        return BatchResult(row, None, error)
    except Exception as error:
        # One row must not take the others with it; its line says that this is our mistake.
        return BatchResult(row, None, GgufctlError(f"{type(error).__name__}: {error}"[:500]))
    try:
        plan.require_choice()
    except DoesNotFit as error:
        return BatchResult(row, plan, error)
    return BatchResult(row, plan, None)


@dataclass(slots=True)
class Done:
    """Results that a file already holds."""

    rows: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Line of the input → fingerprint and exit code."""

    def holds(self, row: BatchRow) -> bool:
        """Whether a row needs no planning any more.

        Raises: UsageError when the file holds the result of another question for this line.
        """
        known = self.rows.get(row.line)
        if known is None:
            return False
        if known[0] != row.fingerprint:
            raise UsageError(
                f"The output holds the result of another line {row.line}, or of other options.",
                "Name another --output, or remove it to begin anew.",
            )
        return True


def keep_to_one(file: IO[bytes], path: Path) -> None:
    """Keep another batch from writing the same output, until the file is closed.

    Raises: UsageError while another one does.
    """
    if fcntl is None or not path.is_file():
        # A pipe or a device keeps nothing to go on from.
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"Another batch is writing {quoted(str(path))}.",
            "Wait for it, or name another --output.",
        ) from None
    except OSError:
        # A file system without locks.
        return


def read_done(path: Path) -> Done:
    """What an earlier run left in its output, which is made ready to be appended to.

    A half-written last line is cut off. Results that the network kept from coming are taken out,
    so that they are asked for again. A file of anything else is left as it is.

    Raises: UsageError when the file is not the output of a batch, or cannot be written.
    """
    done = Done()
    if path.exists() and not (path.is_file() or path.is_dir()):
        # A pipe or a device keeps nothing to go on from, and may have no end.
        return done
    try:
        with path.open("r+b") as file:
            if not _begins_as_ours(file):
                raise _foreign(path)
            end, again = _scan(file, path, done)
            if file.seek(0, 2) != end:
                file.truncate(end)
    except FileNotFoundError:
        return done
    except OSError as error:
        raise UsageError(f"{quoted(str(path))} cannot be used: {error.strerror}.") from None
    if again:
        _leave_out(path, again)
    return done


def _begins_as_ours(file: IO[bytes]) -> bool:
    """Whether a file is empty or begins with a line of ours, be it a cut one."""
    first = file.read(len(_LINE_START))
    file.seek(0)
    return _LINE_START.startswith(first)


def _scan(file: IO[bytes], path: Path, done: Done) -> tuple[int, set[int]]:
    """Where whole lines end, and the lines of the input to ask for again."""
    end = 0
    again: set[int] = set()
    for raw in file:
        if not raw.endswith(b"\n"):
            if not (raw.startswith(_LINE_START) or _LINE_START.startswith(raw)):
                raise _foreign(path)
            break
        try:
            document = json.loads(raw)
            line, code = int(document["line"]), int(document["exit_code"])
            fingerprint = str(document["fingerprint"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise _foreign(path) from None
        end += len(raw)
        if code == RemoteError.exit_code:
            again.add(line)
        else:
            again.discard(line)
            done.rows[line] = (fingerprint, code)
    return end, again


def _foreign(path: Path) -> UsageError:
    return UsageError(
        f"{quoted(str(path))} is not the output of a batch.", "Name another --output."
    )


def _leave_out(path: Path, lines: set[int]) -> None:
    """Take results out of a file, which is replaced as a whole."""
    beside = path.with_name(f"{path.name}.part")
    try:
        with path.open("rb") as old, beside.open("wb") as new:
            for raw in old:
                if int(json.loads(raw)["line"]) not in lines:
                    new.write(raw)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UsageError(f"{quoted(str(path))} cannot be written: {error.strerror}.") from None
