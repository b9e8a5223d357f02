"""The field of a race: candidates, their scores so far, and the calls that they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluators.racing.posterior import Design, Floats

Run = tuple[int, int]
"""A candidate and an example, by their indices."""

Ints = NDArray[np.int64]


@dataclass
class Field:
    """C candidates on N examples, whose runs make some of K calls each."""

    factors: Ints
    """C x F: the level of each factor, such as which model a module has."""
    uses: NDArray[np.bool_]
    """C x K: the calls that a run of each candidate makes; a call that candidates share is made
    once per example."""
    scores: Floats
    """C x N, in [0, 1]; NaN where there is no score."""
    ran: NDArray[np.bool_]
    """C x N: which candidates were run on which examples; an outage leaves a run without score."""
    made: NDArray[np.bool_]
    """K x N: the calls that were made."""
    entrants: NDArray[np.bool_]
    """C: which candidates are in the race; the scores of the others only inform it."""
    ratings: Floats | None = None
    """C x M: module scores, NaN where there is none; see `Design`."""
    mixtures: tuple[Floats, ...] = ()
    """See `Design`."""

    @classmethod
    def of(cls, factors: Ints, calls: Sequence[Iterable[int]], examples: int) -> Field:
        """A field of entrants before any run.

        `factors` is C x F, and `calls` has the numbers of the calls of each candidate's run.
        """
        listed = [np.fromiter(each, dtype=np.int64) for each in calls]
        count = 1 + max((int(each.max()) for each in listed if each.size), default=-1)
        uses = np.zeros((len(listed), count), dtype=bool)
        for candidate, each in enumerate(listed):
            uses[candidate, each] = True
        shape = (len(listed), examples)
        return cls(
            factors,
            uses,
            scores=np.full(shape, np.nan),
            ran=np.zeros(shape, dtype=bool),
            made=np.zeros((count, examples), dtype=bool),
            entrants=np.ones(len(listed), dtype=bool),
        )

    @cached_property
    def design(self) -> Design:
        """What is known of the candidates before any score, at the time of the first access."""
        uses = self.uses.astype(np.float64)
        sizes = uses.sum(axis=1)
        shared = (uses @ uses.T) / np.maximum(np.maximum(sizes[:, None], sizes[None]), 1)
        return Design(self.factors, shared, self.ratings, self.mixtures)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """C: which candidates were run on all examples."""
        everywhere: NDArray[np.bool_] = np.asarray(self.ran.all(axis=1))
        return everywhere

    @property
    def unfinished(self) -> Ints:
        """The entrants that were not run on all examples."""
        return np.flatnonzero(self.entrants & ~self.complete)

    def new_calls(self, candidates: Sequence[int] | Ints) -> Ints:
        """How many new calls running all of the candidates takes, on each example."""
        asked = self.uses[np.asarray(candidates)].any(axis=0)
        count: Ints = (asked[:, None] & ~self.made).sum(axis=0)
        return count

    def missing(self, candidates: Iterable[int], most_calls: float) -> list[Run]:
        """The missing runs of the candidates, example by example, within `most_calls` new calls.

        Candidates that were run on fewer examples catch up first.
        """
        chosen = np.array(sorted(set(candidates)), dtype=np.int64)
        lacking = ~self.ran[chosen]
        runs: list[Run] = []
        left = most_calls
        for example in np.flatnonzero(lacking.any(axis=0)):
            new = ~self.made[:, example]
            for candidate in chosen[lacking[:, example]]:
                left -= int((self.uses[candidate] & new).sum())
                if left < 0:
                    return runs
                new &= ~self.uses[candidate]
                runs.append((int(candidate), int(example)))
        return runs

    def free(self, candidates: Iterable[int]) -> list[Run]:
        """The missing runs of the candidates whose calls were all made already."""
        runs: list[Run] = []
        for candidate in candidates:
            paid = self.made[self.uses[candidate]].all(axis=0) & ~self.ran[candidate]
            runs.extend((int(candidate), int(example)) for example in np.flatnonzero(paid))
        return runs

    def calls(self, runs: Iterable[Run]) -> int:
        """How many new calls the runs take together."""
        by_example: dict[int, list[int]] = {}
        for candidate, example in runs:
            by_example.setdefault(example, []).append(candidate)
        return sum(
            int((self.uses[candidates].any(axis=0) & ~self.made[:, example]).sum())
            for example, candidates in by_example.items()
        )

    def note(self, run: Run, score: float | None) -> None:
        """Record the outcome of a run; None where an outage left it without a score."""
        candidate, example = run
        self.ran[candidate, example] = True
        self.scores[candidate, example] = np.nan if score is None else score
        self.made[self.uses[candidate], example] = True
