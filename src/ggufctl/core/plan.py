"""The plan of a model: every GPU, the pick and why, what would fit instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ggufctl.core.compat import check_gpus, check_settings, setting_warnings
from ggufctl.core.economics import Economics, choose_by_month, economics_of, priced
from ggufctl.core.goal import Goal, Objective
from ggufctl.core.gpus import GpuCatalogue
from ggufctl.core.ladder import QuantSize, Step, cheaper_steps, ladder
from ggufctl.core.model import Model
from ggufctl.core.money import Prices
from ggufctl.core.names import Detected, detect
from ggufctl.core.planner import Allowed, Constraints, Extras, GpuPlan, Planner, Scale, choose
from ggufctl.core.rules import get_gpu_config_llamacpp
from ggufctl.core.runtime import NO_DRAFT, Runtime
from ggufctl.core.speed import predict_speed
from ggufctl.core.units import format_usd
from ggufctl.errors import DoesNotFit

if TYPE_CHECKING:
    from ggufctl.core.optimize import Candidate, Optimization, QuantOption

__all__ = [
    "Choice",
    "NameRule",
    "Plan",
    "QuantPlan",
    "cheapest",
    "engine_args",
    "make_plan",
    "name_rule",
    "optimized",
    "plan_quants",
    "within_limits",
]

MAX_FALLBACKS = 4
"""GPU types named to Modal where the user named none, the chosen one included."""

FALLBACK_PRICE = 2.5
"""A fallback that nobody named costs at most this many times the choice."""

SLOWER_FALLBACK = 1.25
"""A request takes at most this many times as long on a fallback of a latency goal."""

_DEFAULTS = Runtime()


@dataclass(frozen=True, slots=True)
class NameRule:
    """What the name alone suggests."""

    gpu: str
    memory_utilization: float
    engine_flags: str

    def __str__(self) -> str:
        parts = (self.gpu, f"{self.memory_utilization:.0%}", self.engine_flags)
        return " · ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Choice:
    """What to rent and how to run it."""

    row: GpuPlan
    modal_gpu: tuple[str, ...]
    """For Modal's `gpu=`, in the order to try."""
    memory_utilization: float
    """Share of the GPU's memory that the plan may fill."""
    engine_args: tuple[str, ...]
    """llama-server's flags, the model left out."""
    reason: str


@dataclass(frozen=True, slots=True)
class QuantPlan:
    """One quant of a repository: by the size of its files and the header of another one."""

    quant: str
    size_bytes: int
    n_files: int
    rows: tuple[GpuPlan, ...]
    choice: GpuPlan | None
    ref: str = ""
    is_exact: bool = False
    """Whether this quant's own header was read."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that was found out about running a model."""

    model: Model
    runtime: Runtime
    """As planned: the context is a number of tokens."""
    constraints: Constraints
    detected: Detected
    rule: NameRule | None
    """None when the name is not that of a GGUF model."""
    gpus: tuple[GpuPlan, ...]
    choice: Choice | None
    """None when nothing allowed fits; the ladder says what would."""
    ladder: tuple[Step, ...]
    cheaper: tuple[Step, ...]
    """Small changes that reach a cheaper GPU."""
    quants: tuple[QuantPlan, ...]
    """All quants of the repository; empty for a single file."""
    warnings: tuple[str, ...]
    prices: Prices | None = None
    """Of what is rented beside GPUs."""
    economics: tuple[Economics | None, ...] = ()
    """Speed, start and cost of each of `gpus`; None where it does not fit."""
    optimization: Optimization | None = None
    """What a search for a goal found; None where there was none."""

    def economics_of(self, row: GpuPlan) -> Economics | None:
        """Speed, start and cost of a row of this plan; None where it does not fit."""
        for known, found in zip(self.gpus, self.economics, strict=False):
            if known is row:
                return found
        return None

    def require_choice(self) -> Choice:
        """The choice.

        Raises: DoesNotFit when there is none.
        """
        if self.choice is not None:
            return self.choice
        if self.optimization is not None:
            raise DoesNotFit(f"No candidate meets everything: {self.optimization.sentence}.")
        wanted = ", ".join(self.constraints.gpus) or "no GPU in the catalogue"
        subject = f"{self.model.quant or self.model.architecture} with -c {self.runtime.n_ctx}"
        if self.constraints.max_usd_per_hour is not None:
            message = f"{subject} fits nothing allowed within the budget of "
            message += f"${format_usd(self.constraints.max_usd_per_hour)} per hour."
        elif all(row.estimate is None for row in self.gpus):
            message = f"{wanted} cannot be planned with: nobody has published its memory."
        elif self.constraints.gpus:
            message = f"{subject} does not fit {wanted}."
        else:
            message = f"{subject} fits {wanted}."
        if held_back := self._held_back:
            message = f"{message[:-1]}: {held_back}."
        hint = f"{self.ladder[0].text}." if self.ladder else ""
        raise DoesNotFit(message, hint[:1].upper() + hint[1:] if hint[:1] != "-" else hint)

    @property
    def _held_back(self) -> str:
        """Why a GPU whose memory is enough cannot be had; empty where none is."""
        for row in self.gpus:
            is_costly = row.fits and row.beyond_usd_per_hour and not row.is_allowed
            if row.estimate is None or row.short_by_bytes:
                continue
            if row.overfills_container:
                return f"on {row.label} it {row.reason}"
            if is_costly and "host memory" in row.reason:
                return f"{row.label} is {row.reason}"
        return ""


def name_rule(name: str) -> NameRule | None:
    """The rule of the name, or None when it is not that of a GGUF model."""
    try:
        return NameRule(*get_gpu_config_llamacpp(name))
    except ValueError:
        return None


_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?::[\w.-]+)?(?<!\.gguf)", re.ASCII)
"""A repository on the Hub, with a quant or without."""


def engine_args(runtime: Runtime, beside: Sequence[str] | None = None) -> tuple[str, ...]:
    """llama-server's flags for settings whose context is known, the model left out.

    Args:
        runtime: settings.
        beside: flags that load what is loaded beside the model; None = as the settings name it.

    Source: llama.cpp common/arg.cpp.
    """
    args = ["-c", str(runtime.n_ctx)]
    if runtime.n_parallel is not None:
        args += ["-np", str(runtime.n_parallel)]
    if runtime.kv_unified is not None:
        args.append("-kvu" if runtime.kv_unified else "-no-kvu")
    layers = "all" if runtime.n_gpu_layers < 0 else str(runtime.n_gpu_layers)
    args += ["-ngl", layers]
    if runtime.override_tensor:
        args += ["-ot", ",".join(runtime.override_tensor)]
    if runtime.n_cpu_moe:
        args += ["--n-cpu-moe", str(runtime.n_cpu_moe)]
    for flag, value, default in (
        ("-ctk", runtime.cache_type_k, _DEFAULTS.cache_type_k),
        ("-ctv", runtime.cache_type_v, _DEFAULTS.cache_type_v),
        ("-fa", runtime.flash_attn, _DEFAULTS.flash_attn),
        ("-b", str(runtime.n_batch), str(_DEFAULTS.n_batch)),
        ("-ub", str(runtime.n_ubatch), str(_DEFAULTS.n_ubatch)),
        ("-sm", runtime.split_mode, _DEFAULTS.split_mode),
        ("--load-mode", runtime.load_mode, _DEFAULTS.load_mode),
    ):
        if value != default:
            args += [flag, value]
    if runtime.tensor_split:
        args += ["-ts", runtime.tensor_split_text]
    args += ["-nkvo"] * runtime.no_kv_offload
    args += ["--swa-full"] * runtime.swa_full + ["--embedding"] * runtime.embeddings
    args += _drafting(runtime)
    args += _beside(runtime) if beside is None else beside
    # The plan is exact: llama.cpp must not change what it was made for.
    return (*args, "-fit", "off")


def _drafting(runtime: Runtime) -> list[str]:
    kind = runtime.drafting
    if kind == NO_DRAFT:
        return []
    args = ["--spec-type", kind]
    for flag, value, default in (
        ("--spec-draft-n-max", runtime.spec_draft_n_max, _DEFAULTS.spec_draft_n_max),
        ("-ctkd", runtime.spec_draft_type_k, _DEFAULTS.spec_draft_type_k),
        ("-ctvd", runtime.spec_draft_type_v, _DEFAULTS.spec_draft_type_v),
    ):
        if value != default:
            args += [flag, str(value)]
    return args


def _beside(runtime: Runtime) -> list[str]:
    args = []
    if runtime.mmproj:
        is_url = runtime.mmproj.startswith(("https://", "http://"))
        args += ["--mmproj-url" if is_url else "--mmproj", runtime.mmproj]
    if runtime.draft_model:
        # Files and repositories have options of their own.
        is_repo = _REPO.fullmatch(runtime.draft_model) is not None
        args += ["-hfd" if is_repo else "-md", runtime.draft_model]
    for adapter in runtime.lora:
        args += ["--lora", adapter]
    return args


def make_plan(
    model: Model,
    runtime: Runtime,
    constraints: Constraints,
    catalogue: GpuCatalogue,
    *,
    planner: Planner | None = None,
    extras: Extras | None = None,
    beside: Sequence[str] | None = None,
    quants: tuple[QuantPlan, ...] = (),
    smaller: Sequence[QuantSize] = (),
    warnings: tuple[str, ...] = (),
    because: str = "",
    optimization: Optimization | None = None,
    brief: bool = False,
) -> Plan:
    """Plan one model on every GPU.

    Args:
        model: with its header.
        runtime: settings; a context of 0 means the model's own.
        constraints: what the choice must keep to.
        catalogue: the GPUs there are.
        planner: of this model, if there is one already.
        extras: what else is loaded.
        beside: flags that load it; None = as the settings name it.
        quants: plans of all quants, for the table of a repository.
        smaller: smaller quants of the repository, the best first.
        warnings: to be shown with it.
        because: why this quant, for the reason of the choice.
        optimization: what a search found, whose pick these settings and this model are.
        brief: leave out what takes long beside the memory: what reaches a cheaper GPU, and speed
            and cost of all but the choice.

    Raises:
        RefusedSettings: llama.cpp does not take these settings for this model.
        UsageError: an unknown GPU.
    """
    check_settings(model.shape, runtime)
    allowed = Allowed.by(constraints, catalogue)
    check_gpus(runtime, max(max(counts) for _, counts in allowed.counts))
    everything = Allowed.by(Constraints(), catalogue)
    planner = planner or Planner(model.shape, catalogue, is_sharded=model.is_sharded, extras=extras)
    runtime = runtime.with_(n_ctx=runtime.n_ctx or model.n_ctx_train)
    goal = constraints.goal or Goal()
    rows = planner.rows(runtime, allowed)
    rows = within_limits(rows, planner, runtime, goal, model.size_bytes)
    chosen, month_usd = cheapest(rows, model, runtime, constraints, catalogue)
    if optimization is not None:
        rows, chosen = _picked(rows, optimization.pick, planner, runtime)
    elif chosen is not None and (constraints.max_context or chosen.count == 1):
        chosen = planner.row(chosen.gpu, chosen.count, runtime, exact=True)
    if chosen is not None and constraints.max_context:
        runtime = runtime.with_(n_ctx=chosen.max_n_ctx)
        rows = planner.rows(runtime, allowed)
        rows = within_limits(rows, planner, runtime, goal, model.size_bytes)
        best = planner.row(chosen.gpu, chosen.count, runtime)
        # Chords never promise too much, but a fragmented buffer may: then one step less.
        chosen = best if best.fits else cheapest(rows, model, runtime, constraints, catalogue)[0]
    if chosen is not None:
        rows = tuple(chosen if (r.gpu, r.count) == (chosen.gpu, chosen.count) else r for r in rows)
    size_bytes = model.size_bytes
    steps: tuple[Step, ...] = ()
    offers: tuple[Step, ...] = ()
    are_named = bool(constraints.gpus)
    price = _pricing(model, runtime, constraints, catalogue)
    choice = None
    if chosen is None and optimization is None and goal.limits:
        from ggufctl.core.search import what_binds

        optimization = what_binds(_own_option(model, planner), runtime, allowed, goal, catalogue)
    if chosen is None:
        if not (goal.limits and any(row.fits for row in rows)):
            steps = ladder(planner, runtime, allowed, everything, smaller, size_bytes)
        if optimization is not None and optimization.binding:
            # What a larger budget would do is said with the limit that binds.
            steps = tuple(each for each in steps if allowed.is_affordable(each.usd_per_hour))
    elif optimization is not None:
        others = rows
        if goal.objective is Objective.LATENCY:
            # What is to be fast does not fall back to what is slower.
            others = _about_as_fast(rows, chosen, planner, runtime, goal)
        arguments = _arguments(model, runtime, beside)
        choice = _choice(chosen, others, price, runtime, arguments, "", are_named)
        choice = replace(choice, reason=optimization.sentence)
    else:
        arguments = _arguments(model, runtime, beside)
        choice = _choice(chosen, rows, price, runtime, arguments, because, are_named, month_usd)
        if month_usd is None and not brief:
            offers = cheaper_steps(planner, runtime, chosen, rows, smaller, size_bytes)
    name = f"{model.repo}/{model.files[0].path}".removeprefix("/")
    said = [*warnings, *setting_warnings(model.shape, runtime)]
    if model.has_projector and not runtime.mmproj:
        said.append(
            "The repository holds an image projector (mmproj): planned without it, as --no-mmproj; "
            "name it with --mmproj to plan with it."
        )
    if runtime.n_shares and choice is not None and choice.row.count == 1:
        said.append(f"-ts {runtime.tensor_split_text} has no effect on one GPU.")
    own = list(dict.fromkeys(row.gpu.name for row in rows if row.gpu.is_own))
    if own:
        said.append(
            f"{' and '.join(own)}: planned as if nothing else used the card; a desktop "
            "takes 0.3 to 1.5 GiB."
        )
    for row in rows:
        if row.estimate is not None:
            said += [text for text in row.estimate.warnings if text not in said]
    if choice is not None and not runtime.n_shares:
        said += _idle(choice.row, runtime)
    found = Plan(
        model=model,
        runtime=runtime,
        constraints=constraints,
        detected=detect(name),
        rule=name_rule(name),
        gpus=rows,
        choice=choice,
        ladder=steps,
        cheaper=offers,
        quants=quants,
        warnings=tuple(said),
        prices=catalogue.prices,
        optimization=optimization,
    )
    return priced(found, constraints.load, only_choice=brief)


def _idle(row: GpuPlan, runtime: Runtime) -> list[str]:
    """What is said where GPUs are paid for that hold nothing, and no `-ts` says why."""
    if runtime.split_mode == "none":
        return [f"-sm none uses only one of {row.label}."] if row.count > 1 else []
    idle = row.estimate.idle_devices if row.estimate is not None else ()
    if not idle:
        return []
    names, hold = " and ".join(idle), "holds" if len(idle) == 1 else "hold"
    return [f"{names} of {row.label} {hold} no layer: fewer go to GPUs than there are GPUs."]


def cheapest(
    rows: Sequence[GpuPlan],
    model: Model,
    runtime: Runtime,
    constraints: Constraints,
    catalogue: GpuCatalogue,
) -> tuple[GpuPlan | None, float | None]:
    """The row to choose, and what its month costs where a load says how often it is asked."""
    load = constraints.load
    if load is not None and load.requests_per_day and catalogue.prices is not None:
        found = choose_by_month(rows, model, runtime, catalogue.prices, load)
        if found is not None:
            return found
    return choose(rows), None


def _pricing(
    model: Model, runtime: Runtime, constraints: Constraints, catalogue: GpuCatalogue
) -> Callable[[GpuPlan], float]:
    """What a row costs by what the choice goes by: its month for a load, its hour without one."""

    def price(row: GpuPlan) -> float:
        load, prices = constraints.load, catalogue.prices
        if load is not None and load.requests_per_day and prices is not None:
            found = economics_of(model, row, runtime, prices, load=load)
            if found is not None and found.cost is not None and found.cost.month is not None:
                return found.cost.month.usd.best
        return row.usd_per_hour

    return price


def optimized(
    options: Sequence[QuantOption],
    runtime: Runtime,
    constraints: Constraints,
    catalogue: GpuCatalogue,
) -> Optimization | None:
    """What a search for the goal of a plan finds; None where it has no objective."""
    goal = constraints.goal
    if goal is None or goal.objective is None or catalogue.prices is None:
        return None
    allowed = Allowed.by(constraints, catalogue)
    from ggufctl.core.search import optimize

    load = constraints.load
    if load is not None and not load.requests_per_day:
        load = None
    return optimize(options, runtime, allowed, goal, catalogue.prices, load)


def _about_as_fast(
    rows: Sequence[GpuPlan], chosen: GpuPlan, planner: Planner, runtime: Runtime, goal: Goal
) -> tuple[GpuPlan, ...]:
    """Rows that take hardly longer for a request than the chosen one, by the same judgement."""

    def seconds(row: GpuPlan) -> float:
        speed = predict_speed(planner.shape, row.estimate, row.gpu, row.count, runtime)
        n_out = 1 if runtime.embeddings else goal.output_tokens
        return goal.judge.of_time(speed.request_seconds(goal.prompt_tokens, n_out))

    most = SLOWER_FALLBACK * seconds(chosen)
    able = (row for row in rows if row.is_candidate and row.gpu.speed is not None)
    return tuple(row for row in able if seconds(row) <= most)


def within_limits(
    rows: Sequence[GpuPlan], planner: Planner, runtime: Runtime, goal: Goal, size_bytes: int
) -> tuple[GpuPlan, ...]:
    """Rows of a plan, those that miss a limit no longer allowed, with the reason."""
    if not goal.limits:
        return tuple(rows)
    from ggufctl.core.search import marked_by_limits

    return marked_by_limits(rows, planner, runtime, goal, size_bytes)


def _own_option(model: Model, planner: Planner) -> QuantOption:
    from ggufctl.core.optimize import own_option

    return own_option(model.quant or model.architecture, model.size_bytes, model.n_params, planner)


def _picked(
    rows: tuple[GpuPlan, ...], pick: Candidate | None, planner: Planner, runtime: Runtime
) -> tuple[tuple[GpuPlan, ...], GpuPlan | None]:
    """Rows of the table with that of the pick among them, and that row."""
    if pick is None:
        return rows, None
    chosen = planner.row(pick.gpu, pick.count, runtime, exact=pick.count == 1)
    order = [gpu.name for gpu in planner.catalogue]
    others = [r for r in rows if (r.gpu.name, r.count) != (chosen.gpu.name, chosen.count)]
    found = sorted((*others, chosen), key=lambda r: (order.index(r.gpu.name), r.count))
    return tuple(found), chosen


def _arguments(model: Model, runtime: Runtime, beside: Sequence[str] | None) -> tuple[str, ...]:
    """Flags for a model; what was not planned is not loaded either."""
    unasked = ("--no-mmproj",) if model.has_projector and not runtime.mmproj else ()
    return (*engine_args(runtime, beside), *unasked)


def _choice(
    chosen: GpuPlan,
    rows: Sequence[GpuPlan],
    price: Callable[[GpuPlan], float],
    runtime: Runtime,
    arguments: tuple[str, ...],
    because: str,
    are_named: bool,
    month_usd: float | None = None,
) -> Choice:
    dearest = float("inf") if are_named else FALLBACK_PRICE * price(chosen)
    others = [
        (price(row), row)
        for row in rows
        if row.is_candidate and row.gpu.name != chosen.gpu.name and row.count == chosen.count
    ]
    others.sort(key=lambda each: each[0])
    fallbacks = [row for usd, row in others if usd <= dearest]
    able = (row for row in (chosen, *fallbacks) if row.gpu.modal_names and not chosen.gpu.is_own)
    names = [row.gpu.modal_gpu(row.count) for row in able]
    free = chosen.headroom_bytes / 2**30
    held = "what goes to the GPU" if runtime.leaves_on_host else "everything on the GPU"
    # A model that fits on one card is not split, though more of smaller ones may cost less.
    has_cheaper_split = chosen.count == 1 and any(
        row.fits and row.count > 1 and row.usd_per_hour < chosen.usd_per_hour for row in rows
    )
    praise = "cheapest single GPU" if has_cheaper_split else "cheapest"
    reason = f"{praise} that holds {held}" if chosen.usd_per_hour else f"holds {held}"
    if month_usd:
        compared = "single GPUs" if chosen.count == 1 else "all"
        kept = ", never stopped," if chosen.gpu.is_own else ""
        reason = (
            f"${format_usd(month_usd)} a month{kept} is the least for that load of {compared} that "
            f"hold {held}"
        )
    reason += f": {chosen.utilization:.0%} of what may be filled, {free:.1f} GiB to spare"
    if because:
        reason = f"{reason}; {because}"
    return Choice(
        chosen,
        tuple(names if are_named else names[:MAX_FALLBACKS]),
        chosen.permille / 1000,
        arguments,
        reason,
    )


def plan_quants(
    planner: Planner,
    runtime: Runtime,
    allowed: Allowed,
    quants: Sequence[QuantSize],
    of_bytes: int,
) -> tuple[QuantPlan, ...]:
    """Plans of all quants of a repository from one header and the sizes of the files.

    Args:
        planner: of the quant whose header was read.
        runtime: settings.
        allowed: what may be chosen.
        quants: sizes of all quants, the best first.
        of_bytes: size of the quant whose header was read.
    """
    found = []
    for quant in quants:
        is_exact = quant.size_bytes == of_bytes
        scale = None
        if not is_exact:
            scale = Scale(quant.size_bytes, of_bytes, quant.n_files > 1, quant.quant)
        rows = planner.rows(runtime, allowed, scale=scale, single_first=True)
        found.append(
            QuantPlan(
                quant.quant,
                quant.size_bytes,
                quant.n_files,
                rows,
                choose(rows),
                quant.ref,
                is_exact,
            )
        )
    return tuple(found)
