"""Racing configs on growing sets of examples: those that are clearly behind stop early."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from evaluators.evaluator import Evaluator
from evaluators.objective import QUALITY, Objective
from evaluators.outcome import Evaluation
from evaluators.racing.stopping import UNHURRIED, ErrorRate, Patience, stopping
from pipelines.llms.call import BudgetExhausted
from search_spaces import PipelineConfig


@dataclass(frozen=True)
class Standing:
    """One entrant after a race."""

    config: PipelineConfig
    evaluation: Evaluation
    finished: bool
    """Whether it stayed in the race to its end; else it was clearly behind, and stopped."""
    reason: str = ""
    """Why it stopped."""


@dataclass(frozen=True)
class Race:
    """How a race ended."""

    standings: tuple[Standing, ...]
    """One per config, in the order given."""
    cut_off: BudgetExhausted | None
    """Why it could not go on, if it could not; the standings are those of the last full rung."""

    @property
    def finished(self) -> list[Standing]:
        """Those that were not stopped: they share their examples."""
        return [standing for standing in self.standings if standing.finished]


def race(
    configs: Sequence[PipelineConfig],
    evaluator: Evaluator,
    examples: Sequence[int],
    errors: ErrorRate,
    *,
    first: int = 16,
    patience: Patience = UNHURRIED,
    objective: Objective = QUALITY,
    keep: PipelineConfig | None = None,
    before_rung: Callable[[Sequence[tuple[PipelineConfig, int]]], None] | None = None,
) -> Race:
    """Run all configs on the first few examples, the remaining ones on twice as many, and so on.

    After each rung those stop that can't win any more; see `evaluators.racing.stopping`. The race
    is over when one is left, or all examples were used.

    Args:
        configs: distinct entrants, in order of preference on ties.
        examples: indices, in the order in which they are used.
        keep: who is never stopped, since more is known of it than this race shows.
        before_rung: called with the runs of the coming rung; it may raise `BudgetExhausted`, like
            the evaluation itself.
    """
    running = {config.key: config for config in configs}
    stopped: dict[str, str] = {}
    ran: dict[str, Evaluation] = {}
    cut_off: BudgetExhausted | None = None
    for size in rungs(len(examples), first):
        rung = examples[:size]
        try:
            runs = list(product(running.values(), rung))
            if before_rung:
                before_rung(runs)
            evaluator.run(runs)
            scored = {key: evaluator.known(c).on(rung) for key, c in running.items()}
        except BudgetExhausted as exhausted:
            cut_off = exhausted
            break
        ran.update(scored)
        singles = {key for key, config in running.items() if config.single_model}
        losers = stopping(scored, errors, patience, objective, singles)
        stopped.update({key: why for key, why in losers.items() if keep is None or key != keep.key})
        running = {key: config for key, config in running.items() if key not in stopped}
        if len(running) <= 1 < len(configs):
            break
    standings = [
        Standing(c, ran.get(c.key, Evaluation({})), c.key not in stopped, stopped.get(c.key, ""))
        for c in configs
    ]
    return Race(tuple(standings), cut_off)


def rungs(total: int, first: int) -> Iterator[int]:
    """Sizes that double from `first` up to `total`."""
    size = first
    while size < total:
        yield size
        size *= 2
    yield total
