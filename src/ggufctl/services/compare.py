"""Plans of several models or quants side by side."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from ggufctl.core.plan import Plan
from ggufctl.core.planner import Constraints
from ggufctl.core.runtime import Runtime
from ggufctl.errors import DoesNotFit, GgufctlError
from ggufctl.services.plan import plan_reference
from ggufctl.services.sharing import Crew, SharedWorkshop
from ggufctl.sources.base import OnEvent, ignore

__all__ = ["Compared", "compare"]

N_THREADS = 8


@dataclass(frozen=True, slots=True)
class Compared:
    """One of the models."""

    ref: str
    """As written."""
    plan: Plan | None
    error: GgufctlError | None
    """Why there is no plan, or nothing that fits."""

    @property
    def exit_code(self) -> int:
        """As `ggufctl plan` would exit for this model alone."""
        return 0 if self.error is None else self.error.exit_code


def compare(
    refs: Sequence[str],
    runtime: Runtime,
    constraints: Constraints,
    *,
    n_ctx: int | None = None,
    quant: str = "",
    on_event: OnEvent = ignore,
) -> tuple[Compared, ...]:
    """Plans of all references with the same settings, in their order.

    What one of them fails with is kept beside the others' plans.

    Args:
        refs: as in `plan_reference`.
        runtime: settings, but for the context.
        constraints: what every choice must keep to.
        n_ctx: as in `plan_reference`.  [tokens]
        quant: as in `plan_reference`.
        on_event: hears of progress.
    """
    workshop = SharedWorkshop()

    def work(ref: str) -> Compared:
        plan = None
        try:
            with workshop.turn():
                plan = plan_reference(
                    ref,
                    runtime,
                    constraints,
                    n_ctx=n_ctx,
                    quant=quant,
                    on_event=on_event,
                    workshop=workshop,
                )
            plan.require_choice()
        except DoesNotFit as error:
            return Compared(ref, plan, error)
        except GgufctlError as error:
            return Compared(ref, None, error)
        return Compared(ref, plan, None)

    crew = Crew(work, min(N_THREADS, len(refs)))
    try:
        futures: list[Future[Compared]] = [crew.submit(ref) for ref in refs]
        return tuple(future.result() for future in futures)
    finally:
        crew.close()
