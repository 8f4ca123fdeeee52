"""Plans and the catalogue: tables on a terminal, tab-separated values in a pipe."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from ggufctl.core.calibration import calibrated_names
from ggufctl.core.escape import escape
from ggufctl.core.money import WORKSPACE_PRICES
from ggufctl.core.units import GIB, format_gib, format_memory, format_tokens, format_usd
from ggufctl.render.optimize import front_lines, front_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ggufctl.core.economics import Economics
    from ggufctl.core.estimate import DeviceEstimate, Estimate
    from ggufctl.core.ggml.alloc import Live
    from ggufctl.core.gpus import Gpu, GpuCatalogue
    from ggufctl.core.ladder import Step
    from ggufctl.core.optimize import Candidate
    from ggufctl.core.plan import Plan, QuantPlan
    from ggufctl.core.planner import GpuPlan
    from ggufctl.core.ranges import Range
    from ggufctl.services.plan import NamePlan

__all__ = [
    "explanation",
    "name_heading",
    "show_gpus",
    "show_name",
    "show_plan",
    "tsv_gpus",
    "tsv_name",
    "tsv_plan",
]

WIDE = 110
"""Columns from which a table shows more.  [characters]"""

NARROW = 72
"""Columns below which a table shows less.  [characters]"""

TINY = 58
"""Below it a table has room for what fits and its price alone.  [characters]"""

_BAR = 6
_UNKNOWN_SIZE = "by the rule for unknown sizes"
_LEAST_SHOWN = (1 << 20) // 20
_TALL_GPU = {"A100-40GB": "A100\n40GB", "A100-80GB": "A100\n80GB", "RTX-PRO-6000": "RTX\n6000"}
_MEANINGS = {
    "kq_mask": "attention mask",
    "kq_mask_swa": "sliding-window mask",
    "flash_attn_ext": "attention output",
    "soft_max": "attention scores",
    "kq": "attention scores",
    "mul_mat": "matrix product",
    "mul_mat_id": "expert activation",
    "glu": "FFN activation",
    "ffn_out": "FFN output",
    "inp_embd": "input embedding",
    "inp_mixed_embd": "input embedding",
    "result_output": "logits",
    "rms_norm": "normalised activation",
    "norm": "normalised activation",
    "get_rows": "gathered rows",
    "add": "residual",
    "none": "staged input or weight",
    "dup": "copy of an input",
    "cpy": "copy",
    "rope": "rotated heads",
    "ssm_scan": "state scan",
}
"""What users call the tensors that graphs are made of."""
_SHORT_GPU = {"A100-40GB": "A100-40", "A100-80GB": "A100-80", "RTX-PRO-6000": "RTX6000"}
_PLAN_COLUMNS = [
    "quant",
    "gpu",
    "count",
    "fits",
    "weights_bytes",
    "kv_cache_bytes",
    "recurrent_bytes",
    "compute_bytes",
    "extras_bytes",
    "overhead_bytes",
    "used_bytes",
    "usable_bytes",
    "utilization",
    "short_by_bytes",
    "headroom_bytes",
    "max_n_ctx",
    "usd_per_hour",
    "host_bytes",
    "chosen",
    "reason",
    "decode_tokens_per_s_low",
    "decode_tokens_per_s",
    "decode_tokens_per_s_high",
    "aggregate_tokens_per_s",
    "prefill_tokens_per_s",
    "cold_start_seconds",
    "usd_per_hour_in_use",
    "usd_per_million_tokens",
    "usd_per_million_tokens_all_slots",
    "month_usd",
]
_GPU_COLUMNS = [
    "name",
    "modal_names",
    "cuda_bytes",
    "bandwidth_gb_s",
    "compute_capability",
    "max_count",
    "usd_per_hour",
    "price_as_of",
    "note",
]


# Tab-separated values: every figure whole, nothing cut.


def tsv_plan(plan: Plan) -> str:
    """All rows of a plan; of a repository, the rows of all quants."""
    lines = ["\t".join(_PLAN_COLUMNS)]
    own = plan.model.quant or ""
    if not plan.quants:
        lines += [_tsv_row(own, row, plan) for row in plan.gpus]
    for quant in plan.quants:
        rows = plan.gpus if quant.quant == own else quant.rows
        lines += [_tsv_row(quant.quant, row, plan) for row in rows]
    return "\n".join(lines) + "\n"


def _tsv_row(quant: str, row: GpuPlan, plan: Plan) -> str:
    device = _fullest(row)
    choice = plan.choice
    is_chosen = (
        choice is not None
        and quant == (plan.model.quant or "")
        and (row.gpu, row.count) == (choice.row.gpu, choice.row.count)
    )
    memory: tuple[object, ...] = ("",) * 6
    if device is not None:
        memory = (
            device.weights_bytes,
            device.kv_cache_bytes,
            device.recurrent_bytes,
            device.compute_bytes,
            sum(term.n_bytes for term in device.extras),
            device.overhead_bytes,
        )
    values: tuple[object, ...] = (
        quant,
        row.gpu.name,
        row.count,
        _yes(row.fits),
        *memory,
        row.used_bytes,
        row.usable_bytes_per_gpu,
        f"{row.utilization:.6f}",
        row.short_by_bytes,
        row.headroom_bytes,
        row.max_n_ctx,
        f"{row.usd_per_hour:.4f}",
        row.estimate.host.total_bytes if row.estimate else "",
        _yes(is_chosen),
        row.reason,
        *_tsv_economics(plan.economics_of(row)),
    )
    return "\t".join(_cell(value) for value in values)


def _tsv_economics(found: Economics | None) -> tuple[str, ...]:
    if found is None:
        return ("",) * 10
    speed = found.speed
    return (
        f"{speed.decode_tokens_per_s.low:.2f}",
        f"{speed.decode_tokens_per_s.best:.2f}",
        f"{speed.decode_tokens_per_s.high:.2f}",
        f"{speed.aggregate_tokens_per_s.best:.2f}",
        f"{speed.prefill_tokens_per_s.best:.1f}",
        *_tsv_cost(found),
    )


def _tsv_cost(found: Economics) -> tuple[str, ...]:
    start, cost = found.cold_start, found.cost
    if start is None or cost is None:
        return ("",) * 5
    return (
        f"{start.seconds.best:.1f}",
        f"{cost.usd_per_hour.best:.4f}",
        f"{cost.usd_per_million_tokens.best:.4f}",
        f"{cost.usd_per_million_tokens_all_slots.best:.4f}",
        "" if cost.month is None else f"{cost.month.usd.best:.2f}",
    )


def tsv_gpus(catalogue: GpuCatalogue) -> str:
    """The catalogue."""
    lines = ["\t".join(_GPU_COLUMNS)]
    for gpu in catalogue:
        values: tuple[object, ...] = (
            gpu.name,
            ",".join(gpu.modal_names),
            "" if gpu.cuda_bytes is None else gpu.cuda_bytes,
            gpu.bandwidth_gb_s,
            gpu.compute_capability,
            gpu.max_count,
            f"{gpu.usd_per_hour:.4f}",
            gpu.price_as_of,
            gpu.note,
        )
        lines.append("\t".join(_cell(value) for value in values))
    return "\n".join(lines) + "\n"


def tsv_name(plan: NamePlan) -> str:
    """What a name says, one fact per line."""
    return "".join(f"{key}\t{_cell(value)}\n" for key, value in _name_facts(plan))


def name_heading(plan: NamePlan) -> str:
    """What the facts of a name rest on."""
    unknown = "" if plan.detected.n_params is not None else f"; GPU {_UNKNOWN_SIZE}"
    return f"from the name only, header not read{unknown}"


def _name_facts(plan: NamePlan) -> tuple[tuple[str, object], ...]:
    found, rule = plan.detected, plan.rule
    return (
        ("name", plan.ref),
        ("n_params", "" if found.n_params is None else found.n_params),
        ("n_active_params", "" if found.n_active_params is None else found.n_active_params),
        ("n_experts", "" if found.n_experts is None else found.n_experts),
        ("is_moe", _yes(found.is_moe)),
        ("quant", found.quant or ""),
        ("gpu", rule.gpu),
        ("memory_utilization", f"{rule.memory_utilization:.2f}"),
        ("engine_flags", rule.engine_flags),
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _cell(value: object) -> str:
    return escape(str(value))


def _fullest(row: GpuPlan) -> DeviceEstimate | None:
    if row.estimate is None:
        return None
    return max(row.estimate.devices, key=lambda device: device.total_bytes)


# Lines of text, with or without a table around them.


def headline(plan: Plan) -> str:
    """What the model is, in one line."""
    model = plan.model
    parts = [
        model.ref if model.source == "hub" else model.files[0].path.rpartition("/")[2],
        model.architecture,
        f"{_count(model.n_params)} parameters",
    ]
    if model.is_moe:
        parts[-1] += f", {_count(model.n_active_params)} active"
    if model.quant:
        parts.append(model.quant)
    parts.append(f"{format_gib(model.size_bytes)} GiB")
    if model.is_sharded:
        parts[-1] += f" in {len(model.files)} files"
    return escape(" · ".join(parts))


def summary(plan: Plan) -> list[str]:
    """The pick and why, the flags, the name rule, what would be cheaper or fit, warnings."""
    lines = []
    choice = plan.choice
    if choice is not None:
        row = choice.row
        lines.append(f"pick: {row.label}{at_price(row)}: {choice.reason}")
        if choice.modal_gpu:
            lines.append(f"modal: gpu={list(choice.modal_gpu)!r}")
        lines.append(f"run: {command(plan)}")
        if row.estimate is not None:
            lines.append(f"host memory: {format_memory(row.estimate.host.total_bytes)}")
        lines += economics_lines(plan.economics_of(row))
        lines += calibration_lines(plan)
    if plan.rule is not None:
        unknown = "" if plan.detected.n_params is not None else f" ({_UNKNOWN_SIZE})"
        lines.append(f"name rule: {plan.rule}{unknown}; {_verdict_on_rule(plan)}")
    lines += [f"one step cheaper: {_step_line(step)}" for step in plan.cheaper]
    if plan.ladder:
        lines.append("what would fit:")
        lines += [f"  {_step_line(step)}" for step in plan.ladder]
    lines += [f"warning: {escape(text)}" for text in plan.warnings]
    return lines


def calibration_lines(plan: Plan) -> list[str]:
    """Which estimates the user's own runs have tightened."""
    notes = calibrated_names(row.gpu for row in plan.gpus)
    return [f"own runs: {name}: {note}" for name, note in notes.items()]


def economics_lines(found: Economics | None) -> list[str]:
    """Speed, start and cost, each with its range and called an estimate."""
    if found is None:
        return []
    speed, cost = found.speed, found.cost
    many = whole = ""
    if speed.n_slots > 1 and not speed.embeds:
        many = f", {_spread(speed.aggregate_tokens_per_s)} with {speed.n_slots} slots busy"
        if cost is not None:
            whole = f", {_usd(cost.usd_per_million_tokens_all_slots)} with all slots busy"
    first = speed.ttft_seconds(speed.prompt_tokens)
    said = (
        f"{_spread(speed.decode_tokens_per_s)} tokens/s for one stream{many}, with "
        f"{speed.depth_tokens} tokens in use; first token of {speed.prompt_tokens} after "
        f"{_spread(first)} s"
    )
    if speed.embeds:
        said = f"{_spread(speed.prefill_tokens_per_s)} tokens/s read"
    lines = [f"speed (estimate): {said}"]
    if found.cold_start is None or cost is None:
        return lines
    lines += [
        f"start (estimate): {_spread(found.cold_start.seconds)} s from nothing: "
        + ", ".join(f"{name} {_number(s.best)}" for name, s in found.cold_start.phases),
        f"cost (estimate): {_usd(cost.usd_per_hour, '/h')} in use with cores and memory, "
        f"{_usd(cost.usd_per_million_tokens)} per million tokens{'' if speed.embeds else ' out'}"
        f"{whole}; ${cost.idle_window_usd.best:.3f} per idle window, "
        f"${cost.cold_start_usd.best:.3f} per cold start; prices of "
        f"{cost.prices_as_of}{_whose(cost.prices_source)}",
    ]
    if cost.month is not None:
        month, load = cost.month, cost.month.load
        out = "" if speed.embeds else f" in and {load.output_tokens} out"
        requests = "request" if load.requests_per_day == 1 else "requests"
        line = (
            f"month (estimate): {_usd(month.usd)} for {load.requests_per_day:,.10g} {requests} a "
            f"day of {load.prompt_tokens} tokens{out}: up {_spread(month.up_hours)} h, "
            f"{_spread(month.cold_starts)} cold starts"
        )
        if month.containers.best > 1:
            line += f", {_spread(month.containers)} containers busy at once"
        lines.append(line)
    return lines


def _whose(source: str) -> str:
    return f", {source}" if source == WORKSPACE_PRICES else ""


def _spread(found: Range) -> str:
    """`36 (28 to 44)`: the likeliest figure and its limits."""
    low, best, high = map(_number, (found.low, found.best, found.high))
    return best if low == high else f"{best} ({low} to {high})"


def _usd(found: Range, unit: str = "") -> str:
    """`$1.04/h (1.04 to 1.53)`: the likeliest price and its limits."""
    digits = 0 if found.high >= 1000 else 2
    low, best, high = (f"{usd:,.{digits}f}" for usd in (found.low, found.best, found.high))
    return f"${best}{unit}" + ("" if low == high else f" ({low} to {high})")


def _short_usd(usd: float) -> str:
    return f"{usd:.2f}" if usd < 100 else f"{usd:.0f}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def command(plan: Plan) -> str:
    """llama-server with the exact flags of a plan."""
    if plan.choice is None:
        return ""
    arguments = ["llama-server", *plan.model.launch_args, *plan.choice.engine_args]
    return escape(shlex.join(arguments))


def _verdict_on_rule(plan: Plan) -> str:
    if plan.choice is None or plan.rule is None:
        if any(row.fits for row in plan.gpus):
            return "by the header nothing that fits keeps to the limits"
        return "by the header nothing asked for fits"
    row = plan.choice.row
    names = {row.gpu.name, *row.gpu.modal_names}
    if plan.rule.gpu in names and row.count == 1:
        return "the header agrees"
    others = [r for r in plan.gpus if {r.gpu.name, *r.gpu.modal_names} & {plan.rule.gpu}]
    if others and others[0].gpu.usd_per_hour < row.usd_per_hour:
        return f"the header says it takes {row.label}"
    return f"the header says {row.label} is enough"


def _step_line(step: Step) -> str:
    used = f"{format_gib(step.used_bytes)}/{format_gib(step.usable_bytes)} GiB"
    price = f"${format_usd(step.usd_per_hour)}/h, " if step.usd_per_hour else ""
    line = f"{step.text}: {price}{used}"
    if step.max_n_ctx > step.n_ctx:
        line += f", up to -c {step.max_n_ctx}"
    if step.leaves_on_host:
        line += f", {format_memory(step.host_bytes)} of host memory"
        if step.in_use_usd_per_hour:
            line += f": ${format_usd(step.in_use_usd_per_hour)}/h in use"
        if step.tokens_per_s is not None:
            line += f", {_spread(step.tokens_per_s)} tokens/s"
    return escape(line)


def explanation(estimate: Estimate, *, limit: int = 6) -> list[str]:
    """What is alive when each compute buffer is fullest, and how sure each term is."""
    lines = [
        f"{device.name} compute buffer {device.compute_bytes} bytes: "
        f"{_peak(device.peak, limit) or device.compute.basis.value}"
        for device in estimate.devices
    ]
    lines.append(
        f"host compute buffer {estimate.host.compute_bytes} bytes: "
        f"{_peak(estimate.host.peak, limit) or estimate.host.compute.basis.value}"
    )
    for device in estimate.devices[:1]:
        lines += [
            f"{device.name} {term.name}: {term.basis.value}, {term.low_bytes} to "
            f"{term.high_bytes} bytes, best {term.n_bytes}{'; ' if term.note else ''}{term.note}"
            for term in device.terms
            if term.basis.value != "exact"
        ]
    return [escape(line) for line in lines]


def _peak(live: Sequence[Live], limit: int) -> str:
    """`3 × ffn_up 4.0 MiB + KQ mask 2.0 MiB`: equal tensors together, the largest first."""
    groups: dict[tuple[str, int], int] = {}
    for tensor in live:
        name = tensor.name.partition("-")[0] or tensor.op.lower()
        name = _MEANINGS.get(name, name)
        groups[name, tensor.n_bytes] = groups.get((name, tensor.n_bytes), 0) + 1
    ordered = sorted(groups.items(), key=lambda item: -item[0][1] * item[1])
    limit = min(limit, sum(n_bytes >= _LEAST_SHOWN for (_, n_bytes), _ in ordered) or 1)
    parts = [
        f"{f'{n} × ' if n > 1 else ''}{name} {n_bytes / (1 << 20):.1f} MiB"
        for (name, n_bytes), n in ordered[:limit]
    ]
    rest = sum(n_bytes * n for (_, n_bytes), n in ordered[limit:])
    if rest >= _LEAST_SHOWN:
        parts.append(f"{rest / (1 << 20):.1f} MiB of others")
    return " + ".join(parts)


def _count(n: int) -> str:
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if n >= size:
            return f"{n / size:.1f}{unit}"
    return str(n)


# Tables on a terminal.


def show_plan(plan: Plan, stream: TextIO | None = None, *, width: int | None = None) -> None:
    """Print a plan as tables."""
    console = _console(stream, width)
    _print(console, headline(plan), style="bold")
    if plan.quants:
        _put(console, _quants_table(plan, console.width))
    for leaving in ({}, {"with_reasons": False}, {"with_reasons": False, "with_rest": False}):
        table = _plan_table(plan, console.width, **leaving)
        if _needed(console, table) <= console.width:
            break
    _put(console, table)
    if plan.optimization is not None and plan.optimization.front:
        _put(console, front_table(plan.optimization, console.width))
    for line in (*front_lines(plan.optimization), *summary(plan)):
        _print(console, line)


def show_gpus(
    catalogue: GpuCatalogue, stream: TextIO | None = None, *, width: int | None = None
) -> None:
    """Print the catalogue as a table."""
    console = _console(stream, width)
    is_wide = console.width >= WIDE
    table = new_table()
    for heading in ("GPU", "CUDA GiB", "GB/s", "compute", "max", "$/h", "price of"):
        table.add_column(heading, justify="left" if heading == "GPU" else "right", no_wrap=True)
    if is_wide:
        table.add_column("note")
    for gpu in catalogue:
        cells = [
            _names(gpu) if console.width >= NARROW else gpu.name,
            "unknown" if gpu.cuda_bytes is None else format_gib(gpu.cuda_bytes),
            str(gpu.bandwidth_gb_s),
            gpu.compute_capability,
            str(gpu.max_count),
            "own" if gpu.is_own and not gpu.usd_per_hour else format_usd(gpu.usd_per_hour),
            gpu.price_as_of or "-",
        ]
        table.add_row(*cells, *([gpu.note] if is_wide else []))
    _put(console, table)
    if any(gpu.is_own for gpu in catalogue):
        _print(console, "plan --gpu takes them by name; config.toml corrects and adds some.")
        return
    _print(console, "Prices are of the GPU alone. An unknown memory is never planned with.")
    if any(gpu.price_source == WORKSPACE_PRICES for gpu in catalogue):
        _print(console, "Prices of your workspace are in use; ggufctl gpus --reset drops them.")


def _names(gpu: Gpu) -> str:
    others = [name for name in gpu.modal_names if name != gpu.name]
    return f"{gpu.name} ({', '.join(others)})" if others else gpu.name


def show_name(plan: NamePlan, stream: TextIO | None = None, *, width: int | None = None) -> None:
    """Print what a name says."""
    console = _console(stream, width)
    _print(console, name_heading(plan), style="bold")
    table = new_table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _name_facts(plan):
        text = "unknown" if value == "" and key != "engine_flags" else str(value)
        table.add_row(key, escape(text))
    _put(console, table)


def _console(stream: TextIO | None, width: int | None) -> Console:
    from rich.console import Console

    return Console(file=stream or sys.stdout, width=width, highlight=False, emoji=False)


def _print(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, soft_wrap=True)


def _put(console: Console, table: Table) -> None:
    """Print a table whole: where it needs more columns than there are, the terminal wraps it."""
    needed = _needed(console, table)
    console.print(table, width=max(console.width, needed), crop=False)


def _needed(console: Console, table: Table) -> int:
    """Width at which nothing of a table is cut.  [characters]"""
    for column in table.columns:
        if column.no_wrap:
            cells = (column.header, *column.cells)
            lines = [line for cell in cells for line in str(cell).split("\n")]
            column.min_width = max(map(len, lines))
    return console.measure(table, options=console.options.update(max_width=1000)).minimum


def new_table(*, show_header: bool = True) -> Table:
    """A table without lines but the one below its headings."""
    from rich import box
    from rich.table import Table

    return Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_edge=False,
        show_header=show_header,
    )


def _shown(plan: Plan, *, is_wide: bool) -> Iterable[GpuPlan]:
    """One row per type on a narrow terminal: the number that fits, or the largest tried."""
    if is_wide:
        return plan.gpus
    best: dict[str, GpuPlan] = {}
    for row in plan.gpus:
        known = best.get(row.gpu.name)
        if known is None or not known.fits:
            best[row.gpu.name] = row
    if plan.choice is not None:
        best[plan.choice.row.gpu.name] = plan.choice.row
    return best.values()


def _plan_table(
    plan: Plan, width: int, *, with_reasons: bool = True, with_rest: bool = True
) -> Table:
    is_wide, is_narrow = width >= WIDE, width < NARROW
    speeds = () if width < TINY else ("~tok/s", *(() if is_narrow else ("~$/1M",)), "max -c")
    has_rest = is_wide or (with_rest and not is_narrow)
    rows = list(_shown(plan, is_wide=is_wide))
    devices = [device for device in map(_fullest, rows) if device is not None]
    terms = [("weights", "weights_bytes"), ("KV", "kv_cache_bytes")]
    if any(device.recurrent_bytes for device in devices):
        if is_wide:
            terms.append(("state", "recurrent_bytes"))
        else:
            terms[1] = ("cache", "")
    if is_wide:
        terms += [("comp", "compute_bytes")]
    has_extras = any(device.extras for device in devices) and is_wide
    if is_narrow:
        terms = []
    table = new_table()
    table.add_column("GPU", no_wrap=True)
    for heading, _ in terms:
        table.add_column(heading, justify="right", no_wrap=True)
    if has_extras:
        table.add_column("more", justify="right", no_wrap=True)
    if has_rest:
        table.add_column("CUDA" if is_wide else "rest", justify="right", no_wrap=True)
    table.add_column("used/usable", justify="right", no_wrap=True)
    if is_wide:
        table.add_column("", no_wrap=True)
    for heading in ("$/h", *speeds):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    if is_wide:
        table.add_column("host", justify="right", no_wrap=True)
        table.add_column("GB/s", justify="right", no_wrap=True)
    for row in rows:
        device = _fullest(row)
        cells = [row.label if is_wide else _short(row)]
        if device is None:
            cells += ["?"] * (len(terms) + has_extras + has_rest)
        else:
            cache = device.kv_cache_bytes + device.recurrent_bytes
            cells += [_gib(getattr(device, name) if name else cache) for _, name in terms]
            if has_extras:
                cells.append(_gib(sum(term.n_bytes for term in device.extras)))
            if has_rest:
                kept = device.weights_bytes + device.kv_cache_bytes + device.recurrent_bytes
                rest = device.total_bytes - kept
                cells.append(_gib(device.overhead_bytes if is_wide else rest))
        cells.append(
            "?" if device is None else f"{_gib(row.used_bytes)}/{_gib(row.usable_bytes_per_gpu)}"
        )
        cells += [*([_bar(row)] if is_wide else []), rent(row)]
        found = plan.economics_of(row)
        if speeds:
            cells.append("-" if found is None else _number(found.speed.decode_tokens_per_s.best))
        if not is_narrow:
            cost = None if found is None else found.cost
            cells.append("-" if cost is None else _short_usd(cost.usd_per_million_tokens.best))
        if speeds:
            cells.append(str(row.max_n_ctx) if is_wide else format_tokens(row.max_n_ctx))
        cells.append(_verdict(row, plan, with_reason=is_wide and with_reasons))
        if is_wide:
            cells.append(_gib(row.estimate.host.total_bytes) if row.estimate else "?")
            cells.append(str(row.gpu.bandwidth_gb_s))
        is_pick = plan.choice is not None and row is plan.choice.row
        table.add_row(*cells, style="bold green" if is_pick else None)
    return table


def _short(row: GpuPlan) -> str:
    name = _SHORT_GPU.get(row.gpu.name, row.gpu.name)
    return name if row.count == 1 else f"{row.count}×{name}"


def rent(row: GpuPlan | Candidate) -> str:
    """Price of an hour, or whose the GPUs are."""
    is_free = row.gpu.is_own and not row.usd_per_hour
    return "own" if is_free else format_usd(row.usd_per_hour)


def at_price(row: GpuPlan) -> str:
    """` at $1.95/h`; nothing where none is paid."""
    return f" at ${format_usd(row.usd_per_hour)}/h" if rent(row) != "own" else ""


def _gib(n_bytes: int) -> str:
    text = format_gib(n_bytes)
    return format_gib(n_bytes, digits=0) if len(text) > 5 else text


def _bar(row: GpuPlan) -> str:
    if row.estimate is None:
        return ""
    filled = min(_BAR, max(0, round(row.utilization * _BAR)))
    return "█" * filled + "░" * (_BAR - filled)


def _verdict(row: GpuPlan, plan: Plan, *, with_reason: bool) -> str:
    if plan.choice is not None and row is plan.choice.row:
        return "pick"
    if row.estimate is None:
        return row.reason if with_reason else "unknown"
    if row.short_by_bytes:
        # Up: what is missing is never shown smaller than it is.
        tenths = -(-row.short_by_bytes * 10 // GIB)
        return f"short by {tenths / 10:.1f} GiB" if with_reason else f"-{tenths / 10:.1f}"
    if not row.fits:
        return row.reason if with_reason else "unfit"
    if not row.is_allowed:
        if with_reason:
            return row.reason
        return "limit" if "estimate" in row.reason else "budget"
    return "fits"


def _quants_table(plan: Plan, width: int) -> Table:
    """Quants × GPUs: the largest context, where one card holds the quant with the asked one."""
    names = _gpus_of(plan.quants) if width >= NARROW else []
    table = new_table()
    table.add_column("quant", no_wrap=True)
    table.add_column("GiB", justify="right", no_wrap=True)
    table.add_column("$/h", justify="right", no_wrap=True)
    if not names:
        table.add_column("GPU", no_wrap=True)
    for gpu in names:
        label = gpu.name if width >= WIDE else _TALL_GPU.get(gpu.name, gpu.name)
        table.add_column(label, justify="right", no_wrap=True)
    for quant in plan.quants:
        single = {row.gpu.name: row for row in quant.rows if row.count == 1}
        cells = [escape(quant.quant), _gib(quant.size_bytes)]
        cells.append("-" if quant.choice is None else rent(quant.choice))
        if not names:
            cells.append("-" if quant.choice is None else _short(quant.choice))
        for gpu in names:
            row = single.get(gpu.name)
            cells.append(format_tokens(row.max_n_ctx) if row is not None and row.fits else "-")
        is_pick = quant.quant == plan.model.quant
        table.add_row(*cells, style="bold green" if is_pick else None)
    return table


def _gpus_of(quants: Sequence[QuantPlan]) -> list[Gpu]:
    found: dict[str, Gpu] = {}
    for quant in quants:
        for row in quant.rows:
            if row.gpu.cuda_bytes is not None:
                found[row.gpu.name] = row.gpu
    return list(found.values())
