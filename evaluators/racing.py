"""Racing configs on growing sets of examples: those that are clearly behind stop early."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.evaluation import Evaluation, Evaluator
from evaluators.statistics import PairedTest
from pipelines.llms.call import BudgetExhausted
from search_spaces import PipelineConfig

UNLIKELY = 1.28
"""Who is so many standard errors behind has a chance of 10% at most to be the better one: enough
to stop paying for it, not to claim that it is worse."""


@dataclass(frozen=True)
class Patience:
    """How many standard errors behind the leader a config may fall before it stops."""

    better_half: float = math.inf
    worse_half: float = math.inf
    """For those in the worse half, where most of the calls go; 0 is successive halving."""


UNHURRIED = Patience()
"""Only who is shown to be worse stops."""
HALVING = Patience(worse_half=0.0)
"""The worse half stops after every rung, ties too: a fixed cost, for a rough answer."""


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


class ErrorRate:
    """Shares an error rate among comparisons of a candidate with whoever leads.

    All get the same if it is given how many rivals a candidate may meet: then the chance that the
    best of them is stopped is at most the rate, whoever leads when. (That any of several equals
    is stopped is likelier.) Else the j-th comparison of all may err with probability
    `rate / (j * (j + 1))`, and the chances of all of them add up to at most the rate.
    """

    def __init__(self, rate: float = 0.2, comparisons: int | None = None) -> None:
        self.rate = rate
        self.comparisons = comparisons
        self._numbers: dict[tuple[str, str], int] = {}

    def alpha(self, candidate: str, leader: str) -> float:
        """The share of this pair; asking again is free, since the test is anytime-valid."""
        pair = (candidate, leader)
        number = self._numbers.setdefault(pair, len(self._numbers) + 1)
        return self.rate / (self.comparisons or number * (number + 1))


def race(
    configs: Sequence[PipelineConfig],
    evaluator: Evaluator,
    examples: Sequence[int],
    errors: ErrorRate,
    *,
    first: int = 16,
    patience: Patience = UNHURRIED,
    keep: PipelineConfig | None = None,
    before_rung: Callable[[Sequence[PipelineConfig], Sequence[int]], None] | None = None,
) -> Race:
    """Run all configs on the first few examples, the remaining ones on twice as many, and so on.

    After each rung a config stops when a paired anytime-valid test says that it is worse than
    the leader on the common examples, or when it has used up the race's patience. The race is
    over when one is left, or all examples were used.

    Args:
        configs: distinct entrants, in order of preference on ties.
        examples: indices, in the order in which they are used.
        keep: who is never stopped, since more is known of it than this race shows.
        before_rung: called with the entrants and the examples of the coming rung; it may raise
            `BudgetExhausted`, like the evaluation itself.
    """
    running = {config.key: config for config in configs}
    stopped: dict[str, str] = {}
    ran: dict[str, Evaluation] = {}
    cut_off: BudgetExhausted | None = None
    for size in rungs(len(examples), first):
        rung = examples[:size]
        try:
            if before_rung:
                before_rung(list(running.values()), rung)
            scored = {key: evaluator.evaluate(c, rung) for key, c in running.items()}
        except BudgetExhausted as exhausted:
            cut_off = exhausted
            break
        ran.update(scored)
        losers = _losers(scored, errors, patience)
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


def paired_differences(a: Evaluation, b: Evaluation) -> np.ndarray:
    """Scores of `a` less those of `b`, on the examples that both have a score for."""
    first, second = a.scores, b.scores
    return np.array([first[i] - second[i] for i in first if i in second], dtype=float)


def _losers(
    scored: Mapping[str, Evaluation], errors: ErrorRate, patience: Patience
) -> dict[str, str]:
    """Which entrants stop now, and why."""
    stopped = {
        key: f"disqualified: outages hit {_hit(e)} of {len(e.outcomes)} examples ({_kinds(e)})"
        for key, e in scored.items()
        if e.disqualified
    }
    fit = {key: e for key, e in scored.items() if key not in stopped}
    ranking = sorted(fit, key=lambda key: -fit[key].mean)  # stable: ties keep their order
    for place, key in enumerate(ranking[1:], start=1):
        differences = paired_differences(fit[key], fit[ranking[0]])
        if len(differences) == 0:
            continue  # nothing in common was scored, so that nothing can be said
        behind = f"{-100 * float(np.mean(differences)):.1f} points behind on {len(differences)}"
        if PairedTest().update(differences).rejects(errors.alpha(key, ranking[0])):
            stopped[key] = behind
            continue
        better = place < len(ranking) / 2
        if standard_errors_behind(differences) >= (
            patience.better_half if better else patience.worse_half
        ):
            stopped[key] = behind
    return stopped


def standard_errors_behind(differences: np.ndarray) -> float:
    """How many standard errors the mean difference lies below 0; 0 when there is no telling."""
    if len(differences) < 2:
        return 0.0
    mean, spread = float(np.mean(differences)), float(np.std(differences, ddof=1))
    if spread == 0:
        return math.inf if mean < 0 else 0.0
    return -mean / (spread / math.sqrt(len(differences)))


def _hit(evaluation: Evaluation) -> int:
    return sum(outcome.outage for outcome in evaluation.outcomes.values())


def _kinds(evaluation: Evaluation) -> str:
    counts = Counter(evaluation.failures) + Counter(evaluation.members_failed)
    return ", ".join(f"{kind} x{count}" for kind, count in counts.items())
