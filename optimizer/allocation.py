"""Which model in which module: LLMSelector (arXiv 2502.14815) with measured trust.

A round walks the modules in order. The module under test runs with every model on the same
upstream values, those of the best so far, and the diagnoser rates the distinct outputs. Its word
alone may drop only as many models as its agreement with measured scores allows; the others meet
the incumbent end to end. Rounds go on until no module moves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from optimizer.module_scores import score_modules
from optimizer.study import Study
from search_spaces import PipelineConfig

MOST_ENUMERATED = 4096
"""Largest number of allocations that are scored again from answers already paid for."""
FINALISTS = 8
"""How many of those go on to a race on all examples."""
MOST_ROUNDS = 10
FIRST_RUNG = 4
SCREENED = 32
"""On how many examples rounds run before they run on all."""


@dataclass(frozen=True)
class Allocation:
    """The stage that chooses a model for every module."""

    name: str = "allocation"

    def improve(self, study: Study) -> None:
        """Run rounds until the incumbent stays: on a few examples first, then on all.

        What a few examples can settle is so paid for once, not again around every incumbent.
        """
        for examples in (SCREENED, len(study.examples)):
            promising = self._promising(study)
            for _ in range(MOST_ROUNDS):
                before = study.incumbent
                self._round(study, promising, examples)
                if study.incumbent == before:
                    break
        study.race(self.name, [study.incumbent])  # a won race may have ended before its last rung

    def _round(self, study: Study, promising: Mapping[str, Sequence[str]], examples: int) -> None:
        top = study.incumbent.with_models({m: labels[0] for m, labels in promising.items()})
        free = best_already_paid(study, promising)
        self._race(study, [study.incumbent, top, *free], examples)
        base = study.incumbent
        moves = [move for move in _single_changes(base, promising) if not beaten(study, base, move)]
        self._race(study, [base, *moves], examples)
        self._race(study, [study.incumbent, combined(study, base, moves)], examples)

    def _race(self, study: Study, configs: Sequence[PipelineConfig], examples: int) -> None:
        study.race(self.name, configs, first=FIRST_RUNG, most=examples, worse_half=1.0)

    def _promising(self, study: Study) -> dict[str, list[str]]:
        """By module, the models to race, most promising first; without a diagnoser, all."""
        if study.diagnoser is not None:
            scores = score_modules(study, study.diagnoser)
            return {module: scores[module].promising for module in study.space.models}
        current = study.incumbent.allocation
        return {
            module: sorted(labels, key=lambda label: (label,) != current[module])
            for module, labels in study.space.models.items()
        }


def best_already_paid(study: Study, promising: Mapping[str, Sequence[str]]) -> list[PipelineConfig]:
    """The best few of all allocations that can be scored without a single new call.

    A vote shows why: with one solver changed the majority stays as it was, so no single change
    helps, while every combination of solvers that have answered already can be scored for free.
    """
    if not 1 < math.prod(map(len, promising.values())) <= MOST_ENUMERATED:
        return []
    configs = [
        study.incumbent.with_models(dict(zip(promising, labels, strict=True)))
        for labels in itertools.product(*promising.values())
    ]
    return study.enumerate_paid(configs)[:FINALISTS]


def combined(study: Study, base: PipelineConfig, moves: Sequence[PipelineConfig]) -> PipelineConfig:
    """`base` with the best single change of every module that measured better than it."""
    best: dict[str, tuple[float, PipelineConfig]] = {}
    for move in moves:
        (change,) = base.differences(move)
        gain = study.gain(move, base)
        if gain is not None and gain > best.get(change.module, (0.0, move))[0]:
            best[change.module] = (gain, move)
    return base.with_models({module: move.allocation[module] for module, (_, move) in best.items()})


def beaten(study: Study, base: PipelineConfig, move: PipelineConfig) -> bool:
    """Whether the label that `move` brings in has lost to that of `base` in an earlier race.

    Only races count in which nothing else differed; that other modules have changed since is
    taken not to matter: a better module makes a better pipeline, whatever surrounds it.
    """
    (change,) = base.differences(move)
    pair = (change.module, change.new, change.old)
    return pair in study.lost


def _single_changes(
    config: PipelineConfig, promising: Mapping[str, Sequence[str]]
) -> Iterator[PipelineConfig]:
    for module, labels in promising.items():
        for label in labels:
            if (label,) != config.allocation[module]:
                yield config.with_models({module: label})
