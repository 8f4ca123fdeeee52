"""A workshop for plans of many references: what one row found out, the next need not."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from ggufctl.core.gpus import GpuCatalogue
from ggufctl.core.header import Header
from ggufctl.core.memory import Graphs, ModelShape
from ggufctl.core.model import Model
from ggufctl.core.names import Variant
from ggufctl.core.planner import Extras, Planner
from ggufctl.core.shapes import graphs_key, shape_key
from ggufctl.core.sweep import SweepPlanner
from ggufctl.errors import RemoteError
from ggufctl.services.plan import Workshop
from ggufctl.sources.base import OnEvent, ignore
from ggufctl.sources.references import Reference
from ggufctl.sources.resolve import RepoListing, ResolvedModel, Role

__all__ = ["Crew", "SharedWorkshop"]

_T = TypeVar("_T")
_A = TypeVar("_A")
_B = TypeVar("_B")

KEPT_MODELS = 64
"""Listings and headers kept at a time."""

KEPT_SHAPES = 32
"""Shapes kept at a time, each with its planner."""

SHAPES_PER_GRAPHS = 300
"""Graphs that served more are made anew, so that a long batch does not grow."""

PLANS_PER_PLANNER = 300
"""A planner that made more is replaced, so that a long batch does not grow."""


class _Recent(Generic[_T]):
    """The values used last, at most `size` of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, _T] = OrderedDict()

    def get(self, key: Hashable) -> _T | None:
        found = self._values.get(key)
        if found is not None:
            self._values.move_to_end(key)
        return found

    def put(self, key: Hashable, value: _T) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        self._values.pop(key, None)


@dataclass(slots=True)
class _Counted:
    """A planner and how often it was used."""

    planner: Planner
    n_plans: int = 0


@dataclass(slots=True)
class _Served:
    """Graphs and how many shapes use them."""

    graphs: Graphs
    n_shapes: int = 0


class SharedWorkshop(Workshop):
    """Keeps listings, headers, shapes and planners, for threads that plan in turns.

    A thread plans inside `turn()`, alone: planning is all processor, and planners are shared. The
    turn is given up while something is fetched, so that fetches run side by side, and what two
    threads want at once is fetched once.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._fetched: _Recent[Future[Any]] = _Recent(KEPT_MODELS)
        self._shapes: _Recent[ModelShape] = _Recent(KEPT_SHAPES)
        self._graphs: _Recent[_Served] = _Recent(KEPT_SHAPES)
        self._planners: _Recent[_Counted] = _Recent(KEPT_SHAPES)
        self._keys: _Recent[tuple[Header, Hashable]] = _Recent(KEPT_MODELS)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """While one plans, nobody else does."""
        with self._turn:
            yield

    def open_model(
        self, ref: str | Reference, *, role: Role = Role.MODEL, on_event: OnEvent = ignore
    ) -> ResolvedModel:
        """As `Workshop.open_model`, once for every reference."""
        fetch = super().open_model
        return self._fetch(("model", ref, role), lambda: fetch(ref, role=role, on_event=on_event))

    def open_repo(self, ref: Reference, *, on_event: OnEvent = ignore) -> RepoListing:
        """As `Workshop.open_repo`, once for every repository."""
        fetch = super().open_repo
        return self._fetch(("repo", ref), lambda: fetch(ref, on_event=on_event))

    def open_variant(
        self, listing: RepoListing, variant: Variant, *, on_event: OnEvent = ignore
    ) -> ResolvedModel:
        """As `Workshop.open_variant`, once for every variant at one commit."""
        fetch = super().open_variant
        key = ("variant", listing.ref, listing.commit, variant.paths)
        return self._fetch(key, lambda: fetch(listing, variant, on_event=on_event))

    def shape(self, header: Header) -> ModelShape:
        """One shape for all models that are the same to a plan."""
        kept = self._keys.get(id(header))
        if kept is None or kept[0] is not header:
            kept = (header, shape_key(header))
            self._keys.put(id(header), kept)
        key = kept[1]
        found = self._shapes.get(key)
        if found is None:
            found = ModelShape(header, self._graphs_of(header))
            self._shapes.put(key, found)
        return found

    def _graphs_of(self, header: Header) -> Graphs:
        """Those that another quant or fine-tune of the model has left."""
        key = graphs_key(header)
        found = self._graphs.get(key)
        if found is None or found.n_shapes >= SHAPES_PER_GRAPHS:
            found = _Served(Graphs())
            self._graphs.put(key, found)
        found.n_shapes += 1
        return found.graphs

    def planner(self, model: Model, catalogue: GpuCatalogue, extras: Extras | None) -> Planner:
        """One planner for all models of one shape."""
        if extras is not None:
            return super().planner(model, catalogue, extras)
        key = (id(model.shape), id(catalogue), model.is_sharded)
        found = self._planners.get(key)
        if (
            found is None
            or found.planner.shape is not model.shape
            or found.planner.catalogue is not catalogue
            or found.n_plans >= PLANS_PER_PLANNER
        ):
            found = _Counted(
                SweepPlanner(model.shape, catalogue, is_sharded=model.is_sharded, extras=extras)
            )
            self._planners.put(key, found)
        found.n_plans += 1
        return found.planner

    def _fetch(self, key: Hashable, fetch: Callable[[], _T]) -> _T:
        """What was fetched before, or is now; the network's failures are tried again."""
        known = self._fetched.get(key)
        future: Future[_T] = known if known is not None else Future()
        if known is None:
            self._fetched.put(key, future)
        self._turn.release()
        try:
            if known is None:
                _settle(future, fetch)
            future.exception()
        finally:
            self._turn.acquire()
        if isinstance(future.exception(), RemoteError):
            self._fetched.drop(key)
        return future.result()


def _settle(future: Future[_T], make: Callable[[], _T]) -> None:
    try:
        future.set_result(make())
    except BaseException as error:
        future.set_exception(error)


class Crew(Generic[_A, _B]):
    """Threads that work off what is submitted; none of them keeps the process from ending.

    Args:
        work: turns an item into a result.
        n_threads: how many.
    """

    def __init__(self, work: Callable[[_A], _B], n_threads: int) -> None:
        self._work = work
        self._queue: SimpleQueue[tuple[_A, Future[_B]] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"plan-{n}", daemon=True)
            for n in range(n_threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, item: _A) -> Future[_B]:
        """The result of an item, in the future."""
        future: Future[_B] = Future()
        self._queue.put((item, future))
        return future

    def close(self) -> None:
        """Let the threads end once they have nothing left; what waits is not begun."""
        with suppress(Exception):
            while True:
                self._queue.get_nowait()
        for _ in self._threads:
            self._queue.put(None)

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            item, future = task
            _settle(future, lambda item=item: self._work(item))  # type: ignore[misc]
