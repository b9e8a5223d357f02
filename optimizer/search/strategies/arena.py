"""The arena of a strategy: choices for each module, and a field of candidates made of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from evaluators.racing.field import Field, Run
from evaluators.racing.posterior import Floats, Posterior
from search_spaces.refusals import nearest

MOST_LISTED = 256
"""Up to this many combinations are all candidates from the beginning."""

Levels = tuple[int, ...]
"""The number of each module's choice."""


def swapped(levels: Levels, module: int, level: int) -> Levels:
    """The candidate with another choice for one module."""
    return (*levels[:module], level, *levels[module + 1 :])


@dataclass(eq=False)
class Arena:
    """Candidates that a strategy may run, and how many calls it has left."""

    choices: Sequence[int]
    """How many choices each module has."""
    calls_of: Callable[[Levels], Iterable[Hashable]]
    """The calls that a candidate makes on an example; equal ones are one call."""
    examples: int
    left: float = math.inf
    """How many more calls may be made."""
    cut_short: bool = False
    """Whether too few calls were left for what a strategy wanted to run."""
    planned: float | None = None
    """How many calls to plan for; None leaves it to the strategy."""
    start: Levels | None = None
    """The candidate in place; one that replaces it must have seen all examples."""
    rate: Callable[[int, Levels, int], Floats] | None = None
    """Takes a module's number, a candidate and a number of examples, and returns the ratings in
    [0, 1] of the module's outputs with each of its choices, the other modules being as in the
    candidate: choices x examples, NaN where there is none. None without a diagnoser."""
    ratings: Sequence[Floats] | None = None
    """For each module, the mean rating of each of its choices, NaN where there is none."""
    factors_of: Callable[[Levels], Sequence[int]] = lambda levels: levels
    """A candidate's level of each factor that candidates share; by default its choices."""
    seed: int = 0
    listed: bool = False
    """Whether all possible candidates are in the field from the beginning, even if many."""
    field: Field = dataclasses.field(init=False)
    places: dict[Levels, int] = dataclasses.field(init=False, default_factory=dict)
    """Each candidate's index in the field."""
    _numbers: dict[Hashable, int] = dataclasses.field(init=False, default_factory=dict)
    _posterior: Posterior | None = None
    _fitted: int = -1
    """How many runs the posterior is fitted to."""

    def __post_init__(self) -> None:
        """Begin with all candidates where they are few, else with the one in place."""
        self.rng = np.random.default_rng(self.seed)
        listed = self.listed or self.size <= MOST_LISTED
        first_ones: Iterable[Levels] = np.ndindex(*self.choices) if listed else ()
        self._build(dict.fromkeys([*first_ones, self.origin]), kept=0)

    @property
    def origin(self) -> Levels:
        """Where a search starts: the candidate in place, else the first choice of each module."""
        return (0,) * len(self.choices) if self.start is None else self.start

    @property
    def size(self) -> int:
        """How many candidates there could be."""
        return math.prod(self.choices)

    @property
    def is_listed(self) -> bool:
        """Whether all possible candidates are in the field."""
        return len(self.places) >= self.size

    def add(self, candidates: Iterable[Levels]) -> None:
        """Add candidates to the field."""
        wanted = dict.fromkeys([*self.places, *candidates])
        if len(wanted) > len(self.places):
            self._build(wanted, kept=len(self.places))

    def take_ratings(self, ratings: Sequence[Floats]) -> None:
        """Set `ratings`, and add them to the field."""
        self.ratings = ratings
        self._build(self.places, kept=len(self.places))

    def forget_unseen(self) -> None:
        """Drop the candidates that were never run from the field, but for the one in place."""
        seen = [
            (levels, place)
            for levels, place in self.places.items()
            if self.field.ran[place].any() or levels == self.start
        ]
        if seen:
            places = [place for _, place in seen]
            for name in ("scores", "ran", "entrants"):
                setattr(self.field, name, getattr(self.field, name)[places])
            self._build([levels for levels, _ in seen], kept=len(seen))

    def _build(self, rows: Iterable[Levels], kept: int) -> None:
        """A field of these candidates, of which the first ones keep their scores."""
        before = self.field if kept else None
        self.places = {levels: place for place, levels in enumerate(rows)}
        factors = np.array([self.factors_of(levels) for levels in self.places], dtype=np.int64)
        self.field = Field.of(
            factors, [self.call_numbers(levels) for levels in self.places], self.examples
        )
        if self.ratings is not None:
            columns = zip(self.ratings, zip(*self.places, strict=True), strict=True)
            self.field.ratings = np.stack([own[list(levels)] for own, levels in columns], axis=1)
        if before is not None:
            self.field.scores[:kept], self.field.ran[:kept] = before.scores, before.ran
            self.field.entrants[:kept] = before.entrants
            shared = min(len(before.made), len(self.field.made))
            self.field.made[:shared] = before.made[:shared]
        self._fitted = -1

    def call_numbers(self, levels: Levels) -> list[int]:
        """A candidate's calls, numbered in the order in which calls were first met."""
        return [
            self._numbers.setdefault(call, len(self._numbers)) for call in self.calls_of(levels)
        ]

    @property
    def calls_ahead(self) -> float:
        """About how many calls it would take to run all entrants on all examples."""
        return float(self.field.new_calls(self.field.unfinished).sum())

    def place(self, levels: Levels) -> int:
        """The candidate's index in the field; adds it if it is missing."""
        self.add([levels])
        return self.places[levels]

    def levels(self, candidate: int) -> Levels:
        """The choices that a candidate of the field is made of."""
        return list(self.places)[candidate]

    @property
    def posterior(self) -> Posterior:
        """The posterior of the candidates in the field, by the scores so far."""
        known = int(self.field.ran.sum())
        if self._posterior is None or self._fitted != known:
            before = self._posterior.variances if self._posterior else None
            self._posterior = Posterior.fit(self.field.scores, self.field.design, before)
            self._fitted = known
        return self._posterior

    def sample(self) -> Levels:
        """A candidate at random."""
        return tuple(int(self.rng.integers(count)) for count in self.choices)

    def means(self) -> Floats:
        """Mean scores; minus infinity for candidates without one."""
        seen = ~np.isnan(self.field.scores)
        counts = seen.sum(axis=1)
        sums = np.where(seen, self.field.scores, 0.0).sum(axis=1)
        means: Floats = np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
        return means


class BestMean:
    """The pick of strategies that go by plain means."""

    def pick(self, arena: Arena) -> int:
        """The best mean, of those that were run on the most examples, or one fewer."""
        depth = arena.field.ran.sum(axis=1)
        deepest = np.flatnonzero(depth >= depth.max() - 1)
        return int(deepest[arena.means()[deepest].argmax()])


class Strategy(Protocol):
    """One way to search: which runs to make, in which order, and which candidate to pick."""

    @property
    def name(self) -> str:
        """The name that users write."""
        ...

    def runs(self, arena: Arena) -> Iterable[Sequence[Run]]:
        """Batches of runs of candidates in the arena's field on examples.

        The scores of a batch are in `arena.field` before the next one is asked for. Where
        `arena.left` does not reach for a batch, its beginning is run, and none is asked for again.
        The same scores must bring the same batches.
        """
        ...

    def pick(self, arena: Arena) -> int:
        """The candidate that the strategy would choose now."""
        ...


def named(given: str | Strategy, strategies: Mapping[str, Strategy]) -> Strategy:
    """The strategy of that name; an object of the user's own is returned as it is.

    Raises:
        ValueError: there is none of that name, or the user's own lacks a method.
    """
    missing = [name for name in ("runs", "pick") if not callable(getattr(given, name, None))]
    if not missing and not isinstance(given, type):
        return cast(Strategy, given)
    if len(missing) == 1:
        raise ValueError(f"a strategy has `runs` and `pick`, but {given!r} has no `{missing[0]}`")
    if not isinstance(given, str) or given not in strategies:
        hint = nearest(given, strategies) if isinstance(given, str) else ""
        raise ValueError(
            f"there is no strategy {given!r}{hint} (strategies: {', '.join(strategies)})"
        )
    return strategies[given]
