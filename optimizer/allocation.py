"""Which model in which module: LLMSelector (arXiv 2502.14815) with measured trust.

The module under test runs with every model on the same upstream values, and the diagnoser rates
the distinct outputs. Its word alone may drop only as many models as its agreement with measured
scores allows; the others meet the best so far end to end, on growing sets of examples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from evaluators.racing import UNLIKELY, Patience, rungs
from optimizer.measured_agreement import measured_agreement
from optimizer.module_scores import score_modules
from optimizer.study import Study
from search_spaces import PipelineConfig

FIRST_RUNG = 8
"""On how many examples the first comparisons end to end run; then on twice as many, and so on."""
PATIENCE = Patience(better_half=UNLIKELY, worse_half=1.0)
MOST_ROUNDS = 10
MOST_ENUMERATED = 4096
"""Largest number of allocations that are scored again from answers already paid for."""
FINALISTS = 8
"""How many of those may lead."""

Moves = Mapping[str, Sequence[str]]
"""By module, the labels that may still replace its own, most promising first."""


@dataclass(frozen=True)
class Allocation:
    """The stage that chooses a model for every module."""

    name: str = "allocation"

    def improve(self, study: Study) -> None:
        """Run rounds until the incumbent stays.

        The first round settles on few examples what it can before more are paid for, and may take
        a new base each time; what a later one finds promising meets a base that has seen them all.
        """
        everything = len(study.examples)
        races = [(size, size) for size in rungs(everything, FIRST_RUNG)]
        dropped: set[tuple[str, str]] = set()
        for _ in range(MOST_ROUNDS):
            before = study.incumbent
            promising = _promising(study)
            for first, most in races:
                self._settle(study, promising, dropped, first, most)
            if study.incumbent == before:
                break
            races = [(FIRST_RUNG, everything)]
        for module in study.agreement:
            study.agreement[module] = measured_agreement(study, module)

    def _settle(
        self, study: Study, promising: Moves, dropped: set[tuple[str, str]], first: int, most: int
    ) -> None:
        """Compare the models of each module end to end; take the best of all modules at once.

        Models only meet those of their own module. Whoever loses there is dropped for good: that
        other modules change later is taken not to matter, since a better module makes a better
        pipeline whatever surrounds it.
        """
        race = partial(study.race, self.name, first=first, most=most, patience=PATIENCE)
        race([study.incumbent, _top(study.incumbent, promising, dropped)], keep=study.incumbent)
        base = study.incumbent
        best = {}
        for module, labels in promising.items():
            left = [label for label in labels if (module, label) not in dropped]
            moves = {label: base.with_models({module: label}) for label in left}
            entrants = [base, *(move for move in moves.values() if move != base)]
            standings = race(entrants, keep=base if first < most else None)
            finished = [standing.config for standing in standings if standing.finished]
            dropped.update((module, label) for label in left if moves[label] not in finished)
            best[module] = (study.best(finished) or base).allocation[module]
        free = best_already_paid(study, promising, dropped, most)
        race([study.incumbent, base.with_models(best), *free], keep=study.incumbent)


def best_already_paid(
    study: Study, promising: Moves, dropped: set[tuple[str, str]], size: int
) -> list[PipelineConfig]:
    """The best few of all allocations that can be scored without a single new call.

    A vote shows why: with one solver changed the majority stays as it was, so no single change
    helps, while every combination of solvers that have answered already can be scored for free.
    """
    labels = [
        [label for label in of_module if (module, label) not in dropped]
        for module, of_module in promising.items()
    ]
    if not 1 < math.prod(map(len, labels)) <= MOST_ENUMERATED:
        return []
    configs = [
        study.incumbent.with_models(dict(zip(promising, mix, strict=True)))
        for mix in itertools.product(*labels)
    ]
    return study.enumerate_paid(configs, size)[:FINALISTS]


def _promising(study: Study) -> Moves:
    """What the diagnoser may not drop; without one, all models."""
    if study.diagnoser is None:
        return study.space.models
    scores = score_modules(study, study.diagnoser)
    return {module: scores[module].promising for module in study.space.models}


def _top(config: PipelineConfig, promising: Moves, dropped: set[tuple[str, str]]) -> PipelineConfig:
    """The most promising model in every module at once."""
    first = {}
    for module, labels in promising.items():
        left = [label for label in labels if (module, label) not in dropped]
        if left:
            first[module] = left[0]
    return config.with_models(first)
