"""From a reference to a plan: finds the model, reads headers, picks the quant, plans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import TYPE_CHECKING

from ggufctl.catalog import load_catalogue, with_cards
from ggufctl.core.compat import check_gpus, check_settings
from ggufctl.core.escape import quoted
from ggufctl.core.estimate import Estimate
from ggufctl.core.goal import Goal
from ggufctl.core.gpus import GpuCatalogue, with_overhead
from ggufctl.core.header import Header
from ggufctl.core.ladder import QuantSize
from ggufctl.core.memory import ModelShape, estimate_memory
from ggufctl.core.model import File, Model, quant_of
from ggufctl.core.names import (
    QUANT_QUALITY_ORDER,
    Detected,
    Kind,
    Variant,
    bits_per_weight,
    detect,
)
from ggufctl.core.plan import (
    NameRule,
    Plan,
    QuantPlan,
    cheapest,
    make_plan,
    name_rule,
    optimized,
    plan_quants,
    within_limits,
)
from ggufctl.core.planner import Allowed, Constraints, Extras, GpuPlan, Planner, Scale
from ggufctl.core.runtime import Runtime
from ggufctl.errors import (
    AmbiguousReference,
    GgufctlError,
    RemoteError,
    UnsupportedModel,
    UsageError,
)
from ggufctl.services.beside import is_named_by_quant, open_beside
from ggufctl.services.state import calibration_path
from ggufctl.sources.base import OnEvent, ignore
from ggufctl.sources.references import Reference, ReferenceKind, parse_reference
from ggufctl.sources.resolve import (
    RepoListing,
    ResolvedModel,
    Role,
    open_model,
    open_repo,
    open_variant,
    variant_of,
)

if TYPE_CHECKING:
    from ggufctl.core.optimize import Optimization

__all__ = [
    "DEFAULT_N_CTX",
    "NamePlan",
    "Workshop",
    "estimate",
    "explain",
    "extras_of",
    "plan",
    "plan_by_name",
    "plan_or_name",
    "plan_reference",
    "planning_catalogue",
    "read_model",
]

DEFAULT_N_CTX = 8192
"""Context of a plan that names none, where the model's own is not smaller.  [tokens]"""

BASELINE_QUANT = "Q4_K_M"
"""The quant whose GPU `--quant auto` may fill."""

BEST_AUTO_QUANT = "Q8_0"
"""The best quant that `--quant auto` takes."""


@dataclass(frozen=True, slots=True)
class NamePlan:
    """What a name alone says, when the header is not wanted or cannot be had."""

    ref: str
    detected: Detected
    rule: NameRule
    error: GgufctlError | None = None
    """Why the header was not read; None when nobody asked for it."""


class Workshop:
    """What plans are made with: the ways to a model, and its planner.

    This one keeps nothing; one that does makes plans of many references cheaper.
    """

    def open_model(
        self, ref: str | Reference, *, role: Role = Role.MODEL, on_event: OnEvent = ignore
    ) -> ResolvedModel:
        """As `sources.resolve.open_model`."""
        return open_model(ref, role=role, on_event=on_event)

    def open_repo(self, ref: Reference, *, on_event: OnEvent = ignore) -> RepoListing:
        """As `sources.resolve.open_repo`."""
        return open_repo(ref, on_event=on_event)

    def open_variant(
        self, listing: RepoListing, variant: Variant, *, on_event: OnEvent = ignore
    ) -> ResolvedModel:
        """As `sources.resolve.open_variant`."""
        return open_variant(listing, variant, on_event=on_event)

    def shape(self, header: Header) -> ModelShape:
        """The header made ready for estimates."""
        return ModelShape(header)

    def planner(self, model: Model, catalogue: GpuCatalogue, extras: Extras | None) -> Planner:
        """A planner of a model."""
        return Planner(model.shape, catalogue, is_sharded=model.is_sharded, extras=extras)


_WORKSHOP = Workshop()


def read_model(ref: str | PathLike[str], *, on_event: OnEvent = ignore) -> Model:
    """The model that a reference names, with its header; the weights are never read.

    Args:
        ref: `org/repo`, `org/repo:QUANT`, `org/repo/file.gguf`, an http(s) URL or a path.
        on_event: hears of progress.

    Raises: a `GgufctlError` that says what is wrong with the reference, the way to it or the file.
    """
    if not isinstance(ref, str | PathLike):
        raise UsageError(f"{ref!r} is neither a path nor a reference to a model.")
    return _model(open_model(fspath(ref), on_event=on_event))


def estimate(
    model: Model,
    runtime: Runtime,
    gpus: Sequence[str] = ("H100",),
    dry_run: bool = False,
    *,
    explain: bool = False,
) -> Estimate:
    """What llama.cpp allocates for a model: per device, and on the host.  [bytes]

    Args:
        model: from `read_model`.
        runtime: settings.
        gpus: one name per GPU in the container; none means CPU only. Unequal ones get layers by
            their memory, unless the settings have a `tensor_split`.
        dry_run: what llama.cpp's own dry run reports instead.
        explain: record what is alive when the compute buffers are fullest.

    Raises:
        RefusedSettings: llama.cpp does not take these settings for this model.
        UsageError: an unknown GPU, or something else than a model and settings.
    """
    if not (isinstance(model, Model) and isinstance(runtime, Runtime)):
        got = f"{type(model).__name__} and {type(runtime).__name__}"
        raise UsageError(
            f"An estimate is made of a Model and a Runtime, not of {got}.",
            "Use read_model(reference) to make a Model.",
        )
    given: object = (gpus,) if isinstance(gpus, str) else gpus or ()
    names = tuple(given) if isinstance(given, Iterable) else (given,)
    if not all(isinstance(name, str) for name in names):
        raise UsageError(f"{gpus!r} are not names of GPUs.")
    catalogue = planning_catalogue(names)
    cards = tuple(catalogue.find(name) for name in names)
    check_settings(model.shape, runtime)
    check_gpus(runtime, len(cards))
    sizes = [card.cuda_bytes or 0 for card in cards]
    shares = [float(size) for size in sizes] if len(set(sizes)) > 1 and all(sizes) else None
    found = estimate_memory(
        model.shape,
        runtime,
        tuple(card.name for card in cards),
        proportions=shares,
        dry_run=dry_run,
        explain=explain,
        extras=open_beside(runtime, _WORKSHOP, ignore).extras,
        capabilities=[card.capability for card in cards],
    )
    return with_overhead(found, cards)


def extras_of(runtime: Runtime, on_event: OnEvent = ignore) -> Extras | None:
    """Headers of what settings load beside the model, or None when nothing is.

    Raises: as `read_model`.
    """
    return open_beside(runtime, _WORKSHOP, on_event).extras


def explain(plan: Plan) -> Estimate | None:
    """The estimate of a plan's choice, or of its first GPU, with what is alive at the peaks."""
    rows = [row for row in plan.gpus if row.estimate is not None]
    if not rows:
        return None
    row = plan.choice.row if plan.choice is not None else rows[0]
    names = (row.gpu.name,) * row.count
    return estimate(plan.model, plan.runtime, names, explain=True)


def plan(
    model: Model, runtime: Runtime | None = None, constraints: Constraints | None = None
) -> Plan:
    """Which GPUs hold a model with these settings, and the cheapest of them.

    The plan of something that fits nowhere has no choice and a ladder of what would fit.

    Raises:
        RefusedSettings: llama.cpp does not take these settings for this model.
        UsageError: an unknown GPU or budget, or something else than a model.
    """
    if not isinstance(model, Model):
        raise UsageError(
            f"A plan is made for a Model, not for {type(model).__name__}.",
            "Use read_model(reference) to make one.",
        )
    for value, wanted in ((runtime, Runtime), (constraints, Constraints)):
        if value is not None and not isinstance(value, wanted):
            raise UsageError(
                f"A plan is made with a {wanted.__name__}, not with {type(value).__name__}."
            )
    return _plan_model(model, runtime or Runtime(), constraints or Constraints())


def _plan_model(
    model: Model,
    runtime: Runtime,
    constraints: Constraints,
    workshop: Workshop = _WORKSHOP,
    *,
    on_event: OnEvent = ignore,
    smaller: Sequence[QuantSize] = (),
    warnings: Sequence[str] = (),
    brief: bool = False,
) -> Plan:
    """The plan of a model whose header was read, with what is loaded beside it."""
    catalogue = planning_catalogue(constraints.gpus)
    beside = open_beside(runtime, workshop, on_event)
    planner = workshop.planner(model, catalogue, beside.extras)
    runtime, optimization = _for_goal(model, planner, runtime, constraints, catalogue)
    return make_plan(
        model,
        runtime,
        constraints,
        catalogue,
        planner=planner,
        beside=beside.flags,
        optimization=optimization,
        smaller=smaller,
        warnings=(*warnings, *beside.warnings),
        brief=brief,
    )


def _for_goal(
    model: Model,
    planner: Planner,
    runtime: Runtime,
    constraints: Constraints,
    catalogue: GpuCatalogue,
) -> tuple[Runtime, Optimization | None]:
    """The settings of the pick for a goal, or those asked for, and what the search found."""
    if constraints.goal is None or constraints.goal.objective is None:
        return runtime, None
    from ggufctl.core.optimize import own_option

    runtime = runtime.with_(n_ctx=runtime.n_ctx or model.n_ctx_train)
    check_settings(model.shape, runtime)
    quant = model.quant or model.architecture
    own = own_option(quant, model.size_bytes, model.n_params, planner)
    found = optimized((own,), runtime, constraints, catalogue)
    if found is None or found.pick is None:
        return runtime, found
    return found.pick.runtime, found


def plan_by_name(ref: str, error: GgufctlError | None = None) -> NamePlan:
    """The plan of the name rule alone.

    Raises: UnsupportedModel when the name is not that of a GGUF model.
    """
    found = detect(ref)
    rule = name_rule(ref)
    if rule is None:
        what = f"is in {found.format} format by its name" if found.format else "does not say GGUF"
        raise UnsupportedModel(f"{quoted(ref)} {what}, and only GGUF models are supported.")
    return NamePlan(ref, found, rule, error)


def planning_catalogue(wanted: Sequence[str] = ()) -> GpuCatalogue:
    """The catalogue, tightened by the user's own runs where there are any.

    Args:
        wanted: names of GPUs that are asked for; cards of one's own are in it only then.
    """
    catalogue = with_cards(load_catalogue(), wanted)
    if not calibration_path().exists():
        # What reads runs takes longer to import than many a plan does.
        return catalogue
    from ggufctl.services.calibration import calibrated_catalogue

    return calibrated_catalogue(catalogue)


def plan_or_name(
    ref: str,
    runtime: Runtime,
    constraints: Constraints,
    *,
    n_ctx: int | None = None,
    quant: str = "",
    on_event: OnEvent = ignore,
) -> Plan | NamePlan:
    """As `plan_reference`, or what the name says with the error why there is no more.

    Raises: as `plan_reference`; RemoteError only when the name says nothing either.
    """
    try:
        return plan_reference(
            ref, runtime, constraints, n_ctx=n_ctx, quant=quant, on_event=on_event
        )
    except RemoteError as error:
        if name_rule(ref) is None:
            raise
        return plan_by_name(parse_reference(ref).text, error)


def plan_reference(
    ref: str,
    runtime: Runtime,
    constraints: Constraints,
    *,
    n_ctx: int | None = None,
    quant: str = "",
    on_event: OnEvent = ignore,
    workshop: Workshop = _WORKSHOP,
    brief: bool = False,
) -> Plan:
    """The plan of a reference; of a whole repository, with the best quant for its GPU.

    Args:
        ref: as in `read_model`.
        runtime: settings, but for the context.
        constraints: what the choice must keep to.
        n_ctx: context, 0 for the model's own, None for the default.  [tokens]
        quant: label to take from the repository; empty or `auto` lets the plan pick.
        on_event: hears of progress.
        workshop: what to make it with.
        brief: as in `core.plan.make_plan`, and without the table of a repository's quants.

    Raises: as `read_model` and `plan`.
    """
    reference = _with_quant(parse_reference(ref), quant)
    if reference.kind is ReferenceKind.HUB and not reference.quant and not reference.path:
        return _plan_repo(reference, runtime, constraints, n_ctx, on_event, workshop, brief)
    resolved = workshop.open_model(reference, on_event=on_event)
    return _plan_one(resolved, runtime, constraints, n_ctx, on_event, workshop, brief)


def _plan_one(
    resolved: ResolvedModel,
    runtime: Runtime,
    constraints: Constraints,
    n_ctx: int | None,
    on_event: OnEvent,
    workshop: Workshop,
    brief: bool,
) -> Plan:
    """The plan of one model, with what its repository has that is smaller."""
    model = _model(resolved, workshop)
    return _plan_model(
        model,
        _with_context(runtime, model, n_ctx),
        constraints,
        workshop,
        on_event=on_event,
        smaller=_smaller(resolved.repo, _by_label(resolved.variants), model.quant),
        warnings=(
            *_source_warnings(resolved.ref, resolved.is_stale),
            *_goal_warnings(constraints, model),
        ),
        brief=brief,
    )


def _with_quant(reference: Reference, quant: str) -> Reference:
    if not quant or quant.casefold() == "auto":
        return reference
    if reference.kind is not ReferenceKind.HUB or reference.path:
        raise UsageError(f"{quoted(reference.text)} is one file: --quant picks from a repository.")
    if reference.quant and reference.quant.casefold() != quant.casefold():
        raise UsageError(f"The reference says {reference.quant} and --quant says {quant}.")
    return replace(reference, quant=quant)


def _with_context(runtime: Runtime, model: Model, n_ctx: int | None) -> Runtime:
    if n_ctx is None:
        n_ctx = min(DEFAULT_N_CTX, model.n_ctx_train or DEFAULT_N_CTX)
    return runtime.with_(n_ctx=n_ctx or model.n_ctx_train)


def _model(resolved: ResolvedModel, workshop: Workshop = _WORKSHOP) -> Model:
    files = tuple(File(file.path, file.size_bytes, file.sha256) for file in resolved.files)
    label = resolved.variant.quant if resolved.variant is not None else None
    return Model(
        ref=resolved.ref.text,
        source=resolved.source.value,
        files=files,
        header=resolved.header,
        shape=workshop.shape(resolved.header),
        quant=label or quant_of(resolved.header, files[0].path),
        repo=resolved.repo,
        commit=resolved.commit,
        is_named_by_quant=is_named_by_quant(resolved),
        has_projector=any(v.kind is Kind.MMPROJ for v in resolved.variants),
    )


def _plan_repo(
    reference: Reference,
    runtime: Runtime,
    constraints: Constraints,
    n_ctx: int | None,
    on_event: OnEvent,
    workshop: Workshop,
    brief: bool,
) -> Plan:
    """One header and the listing give the table; the header of the pick is read as well."""
    catalogue = planning_catalogue(constraints.gpus)
    listing = workshop.open_repo(reference, on_event=on_event)
    by_label = _by_label(listing.models)
    if not by_label:
        resolved = workshop.open_variant(listing, variant_of(listing), on_event=on_event)
        return _plan_one(resolved, runtime, constraints, n_ctx, on_event, workshop, brief)
    base = by_label[_baseline(by_label)]
    found = workshop.open_variant(listing, _only_one(listing, base), on_event=on_event)
    model = _model(found, workshop)
    runtime = _with_context(runtime, model, n_ctx)
    check_settings(model.shape, runtime)
    beside = open_beside(runtime, workshop, on_event)
    planner = workshop.planner(model, catalogue, beside.extras)
    allowed = Allowed.by(constraints, catalogue)
    optimization = None
    needed = None
    if constraints.goal is not None and constraints.goal.objective is not None:
        open_quant = _Opener(listing, by_label, catalogue, beside.extras, on_event, workshop)
        model, planner, optimization = open_quant.best(model, planner, runtime, constraints)
        if optimization is not None and optimization.pick is not None:
            runtime = optimization.pick.runtime
    else:
        needed = _needed(planner, model, runtime, allowed, constraints)
    if needed is not None:
        for label in _better(by_label, model.quant):
            better = _upgrade(
                planner, needed, runtime, model, listing, by_label[label], on_event, workshop
            )
            if better is not None:
                model, planner = better
                break
    quants: tuple[QuantPlan, ...] = ()
    if not brief:
        quants = _quant_plans(planner, runtime, allowed, listing, by_label, model)
    baseline = base[0].quant
    because = f"{model.quant} is the best quant on the GPU that {baseline} needs"
    if needed is not None and constraints.load is not None:
        # With a better quant another GPU may have the cheaper month.
        because = f"{model.quant} is the best quant on {needed.label}, the cheapest for {baseline}"
    return make_plan(
        replace(model, ref=f"{listing.repo}:{model.quant}"),
        runtime,
        constraints,
        catalogue,
        planner=planner,
        beside=beside.flags,
        quants=quants,
        smaller=_smaller(listing.repo, by_label, model.quant),
        warnings=(*_source_warnings(listing.ref, listing.is_stale), *beside.warnings),
        because=because if len(by_label) > 1 else "",
        optimization=optimization,
        brief=brief,
    )


def _needed(
    planner: Planner, model: Model, runtime: Runtime, allowed: Allowed, constraints: Constraints
) -> GpuPlan | None:
    """What the baseline would be put on, within the limits there are."""
    rows = planner.rows(runtime, allowed, with_max_n_ctx=False, single_first=True)
    goal = constraints.goal or Goal()
    able = within_limits(rows, planner, runtime, goal, model.size_bytes)
    return cheapest(able, model, runtime, constraints, planner.catalogue)[0]


@dataclass(frozen=True, slots=True)
class _Opener:
    """Quants of a repository for a search: by the sizes of their files, and by their headers."""

    listing: RepoListing
    by_label: dict[str, tuple[Variant, ...]]
    catalogue: GpuCatalogue
    extras: Extras | None
    on_event: OnEvent
    workshop: Workshop

    def best(
        self, model: Model, planner: Planner, runtime: Runtime, constraints: Constraints
    ) -> tuple[Model, Planner, Optimization | None]:
        """The quant that suits the goal best, by its own header.

        Sizes of files scale weights nearly, not to the byte: so the header of each pick is read,
        and the search is repeated with it, until a pick is one whose header is known.
        """
        from ggufctl.core.optimize import QuantOption, own_option

        goal = constraints.goal
        assert goal is not None
        labels = [label for label, found in self.by_label.items() if len(found) == 1]
        known = {str(model.quant): (model, planner)}
        of_bytes, n_params = model.size_bytes, model.n_params
        while True:
            options = []
            for label in goal.searched(labels):
                variant = self.by_label[label][0]
                size = variant.size_bytes
                if label in known:
                    options.append(own_option(label, size, n_params, known[label][1]))
                    continue
                scale = Scale(size, of_bytes, len(variant.paths) > 1, label)
                options.append(QuantOption(label, size, 8 * size / n_params, planner, scale))
            found = optimized(options, runtime, constraints, self.catalogue)
            if found is None or found.pick is None:
                return model, planner, found
            quant = found.pick.quant
            if quant in known:
                return (*known[quant], found)
            opened = self.workshop.open_variant(
                self.listing, self.by_label[quant][0], on_event=self.on_event
            )
            exact = _model(opened, self.workshop)
            known[quant] = (exact, self.workshop.planner(exact, self.catalogue, self.extras))


def _goal_warnings(constraints: Constraints, model: Model) -> tuple[str, ...]:
    if constraints.goal is None or not constraints.goal.min_quant:
        return ()
    named = model.quant or "one model"
    return (f"--min-quant chooses among the quants of a repository: {named} is what was named.",)


def _source_warnings(reference: Reference, is_stale: bool) -> tuple[str, ...]:
    said: tuple[str, ...] = ()
    if reference.revision not in ("", "main"):
        said = (
            f"llama-server's -hf takes the default branch and no revision: download "
            f"{reference.revision} and load it with -m.",
        )
    if is_stale:
        said += ("The Hub cannot be reached: this is the repository as it was last seen.",)
    return said


def _by_label(variants: Sequence[Variant]) -> dict[str, tuple[Variant, ...]]:
    """Complete models by the quant they are labelled with, the best quant first."""
    found: dict[str, tuple[Variant, ...]] = {}
    for variant in variants:
        if variant.kind is Kind.MODEL and variant.complete and variant.quant is not None:
            found[variant.quant] = (*found.get(variant.quant, ()), variant)
    order = {label: index for index, label in enumerate(QUANT_QUALITY_ORDER)}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def _baseline(by_label: dict[str, tuple[Variant, ...]]) -> str:
    """Q4_K_M, or what comes closest to it."""
    if BASELINE_QUANT in by_label:
        return BASELINE_QUANT
    wanted = bits_per_weight(BASELINE_QUANT) or 0.0
    return min(by_label, key=lambda label: abs((bits_per_weight(label) or 99.0) - wanted))


def _only_one(listing: RepoListing, found: tuple[Variant, ...]) -> Variant:
    if len(found) > 1:
        raise AmbiguousReference(
            f"{listing.repo} holds several models with the quant {found[0].quant}.",
            tuple(f"{listing.repo}/{variant.paths[0]}" for variant in found),
            "Name one of the files.",
        )
    return found[0]


def _better(by_label: dict[str, tuple[Variant, ...]], quant: str | None) -> list[str]:
    """Labels above a quant and up to the best that is taken by itself, the best first."""
    order = QUANT_QUALITY_ORDER
    if quant not in order:
        return []
    span = order[order.index(BEST_AUTO_QUANT) : order.index(quant)]
    return [label for label in by_label if label in span]


def _upgrade(
    planner: Planner,
    needed: GpuPlan,
    runtime: Runtime,
    model: Model,
    listing: RepoListing,
    found: tuple[Variant, ...],
    on_event: OnEvent,
    workshop: Workshop,
) -> tuple[Model, Planner] | None:
    """A better quant with its own header and planner, if it fits what the baseline needs."""
    if len(found) > 1:
        return None
    variant = found[0]
    scale = Scale(variant.size_bytes, model.size_bytes, len(variant.paths) > 1, str(variant.quant))

    def fits(using: Planner, by: Scale | None) -> bool:
        row = using.row(needed.gpu, needed.count, runtime, scale=by, with_max_n_ctx=False)
        return row.fits

    if not fits(planner, scale):
        return None
    better = _model(workshop.open_variant(listing, found[0], on_event=on_event), workshop)
    exact = workshop.planner(better, planner.catalogue, planner.extras)
    return (better, exact) if fits(exact, None) else None


def _quant_plans(
    planner: Planner,
    runtime: Runtime,
    allowed: Allowed,
    listing: RepoListing,
    by_label: dict[str, tuple[Variant, ...]],
    model: Model,
) -> tuple[QuantPlan, ...]:
    sizes = [_quant_size(listing.repo, found) for found in by_label.values()]
    return plan_quants(planner, runtime, allowed, sizes, model.size_bytes)


def _quant_size(repo: str, found: tuple[Variant, ...]) -> QuantSize:
    first = found[0]
    return QuantSize(str(first.quant), first.size_bytes, f"{repo}:{first.quant}", len(first.paths))


def _smaller(
    repo: str, by_label: dict[str, tuple[Variant, ...]], quant: str | None
) -> tuple[QuantSize, ...]:
    """Quants below one, the best first."""
    labels = list(by_label)
    if quant not in labels:
        return ()
    own = by_label[quant][0].size_bytes
    return tuple(
        _quant_size(repo, by_label[label])
        for label in labels[labels.index(quant) + 1 :]
        if by_label[label][0].size_bytes < own
    )
