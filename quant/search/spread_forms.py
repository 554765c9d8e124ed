"""Forms of a search that do not wait for each other, made and run by the workers of a pool, one form a task.

A worker is told once what a search is of. One that does not know it, as it took the place of a worker that ended, says
so and is told: what is made of a form depends on nothing else, so it is the same whoever makes it.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from ...converter.errors import ClusterError
from ...converter.ir import Graph
from ...converter.ir.pack import pack, unpack
from ..calibrate.data import Shard, read_shard
from ..cluster.pool import WorkerPool
from ..cluster.tasks import State
from ..ptq.fidelity import Reference, outputs_at, outputs_on
from ..ptq.settings import Samples
from .loss import Values
from .trials import Form

_TRIES = 8  # times that a worker is told what the search is of, for one form
_SEARCHES = 2  # of which a worker remembers what they are of
_SENT = 64 << 20  # bytes of a form's outputs on the samples that judge; larger ones are looked at where they are wanted

Make = Callable[[Form], Graph]


class Recipe(Protocol):
    """What forms of a graph are made by, as it travels. samples: that they are fitted to."""

    def opened(self, graph: Graph, samples: Samples) -> Make: ...


class HasRecipe(Protocol):
    """A family of forms. settled: a form with all by name that making it would choose: what its recipe is for."""

    def recipe(self) -> Recipe: ...
    def settled(self, form: Form) -> Form: ...


@dataclass(frozen=True)
class _Search:
    """fitted, held: samples that forms are fitted to and judged by, and how many. places: of the outputs looked at."""

    recipe: Recipe
    fitted: Shard
    fits: int
    held: Shard | None
    places: tuple[int, ...]


class SpreadForms:
    """Makes forms of `graph`, and runs them on the samples that judge.

    shares: the numbers of the samples that forms are fitted to, and of those that judge.
    """

    def __init__(
        self,
        pool: WorkerPool,
        graph: Graph,
        family: HasRecipe,
        samples: Samples,
        shares: tuple[Sequence[int], Sequence[int]],
        judge: Reference,
    ) -> None:
        self._pool, self._graph, self._family = pool, graph, family
        self._samples, self._shares, self._judge = samples, shares, judge
        self._name = uuid.uuid4().hex
        self._told: set[int] = set()

    @cached_property
    def _state(self) -> State:
        return self._pool.state(unpack, pack(self._graph))

    @cached_property
    def _search(self) -> _Search:
        (fitted, held), judge = self._shares, self._judge
        small = sum(a.nbytes for row in judge.values for a in row) <= _SENT
        of_fitted, of_held = (next(iter(self._samples.shards([rows]))) for rows in (fitted, held))
        return _Search(self._family.recipe(), of_fitted, len(fitted), of_held if small else None, tuple(judge.places))

    def __call__(self, forms: Iterable[Form]) -> Iterator[tuple[Graph, Values | None]]:
        """Yields of each form, in order, its graph, and its outputs by sample where these are small."""
        asked: dict[int, Form] = {}

        def tasks() -> Iterator[tuple[str, _Search | None, Form]]:
            for number, form in enumerate(forms):
                asked[number] = self._family.settled(form)
                lane = number % self._pool.lanes
                search = None if lane in self._told else self._search
                self._told.add(lane)
                yield self._name, search, asked[number]

        found = self._pool.each(_work, self._state, tasks(), lanes=range(1 << 30))
        for number, answer in enumerate(found):
            data, values = answer or self._again(number, asked[number])
            graph = unpack(data)
            graph.meta = self._graph.meta | graph.meta
            yield graph, values

    def _again(self, lane: int, form: Form) -> tuple[bytes, Values | None]:
        for _ in range(_TRIES):
            self._pool.renew()
            (answer,) = self._pool.each(_work, self._state, [(self._name, self._search, form)], lanes=[lane])
            if answer is not None:
                return answer
        raise ClusterError("workers end faster than they make a form")


class _Fitted:
    """Samples of a shard."""

    def __init__(self, shard: Shard, count: int) -> None:
        self._shard, self._count = shard, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return read_shard(self._shard)

    def only(self, rows: Collection[int]) -> Iterator[dict[str, np.ndarray]]:
        return (sample for number, sample in enumerate(self) if number in rows)

    def shards(self, parts: Iterable[Sequence[int]]) -> Iterator[Shard]:
        return (list(self.only(part)) for part in parts)


_searches: OrderedDict[str, tuple[Make, _Search]] = OrderedDict()
_lock = threading.Lock()


def _work(graph: Graph, name: str, search: _Search | None, form: Form) -> tuple[bytes, Values | None] | None:
    """A form's graph, and its outputs; None where this process does not know the search."""
    with _lock:
        known = _searches.get(name)
    if known is None:
        if search is None:
            return None
        known = search.recipe.opened(graph, _Fitted(search.fitted, search.fits)), search
        with _lock:
            _searches[name] = known
            while len(_searches) > _SEARCHES:
                _searches.popitem(last=False)
    make, search = known
    made = make(form)
    if search.held is None:
        return pack(made), None
    outputs, sources = outputs_at(made, search.places), [t.name for t in graph.inputs]
    return pack(made), outputs_on(made, outputs, sources, list(read_shard(search.held)), 1)
