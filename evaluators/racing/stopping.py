"""Who can't win a race any more, and stops."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from evaluators.objective import MOST_SLOW, Costs, Objective, front
from evaluators.outcome import Evaluation
from evaluators.statistics import PairedTest

UNLIKELY = 1.28
"""Who is so many standard errors behind has a chance of 10% at most to be the better one: enough
to stop paying for it, not to claim that it is worse."""


@dataclass(frozen=True)
class Patience:
    """How many standard errors behind the leader a config may fall before it stops."""

    better_half: float = math.inf
    worse_half: float = math.inf
    """For those in the worse half, where most of the calls go; 0 is successive halving."""

    @property
    def surely(self) -> float:
        """How many standard errors make sure enough that something is no better than a rival."""
        return min(self.better_half, self.worse_half) or UNLIKELY


UNHURRIED = Patience()
"""Only who is shown to be worse stops."""
CAUTIOUS = Patience(better_half=1.64, worse_half=1.64)
"""Who has a chance of 5% to be the better one stops: for few entrants, or where many may win."""
HURRIED = Patience(better_half=UNLIKELY, worse_half=1.0)
"""For many entrants, where most of the calls go to those that will not win."""
HALVING = Patience(worse_half=0.0)
"""The worse half stops after every rung, ties too: a fixed cost, for a rough answer."""


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


ALIKE = 64
"""So many examples without any difference, and two configs count as equal."""

Scored = Mapping[str, Evaluation]
"""Evaluations by config key, all on the same examples, in order of preference on ties."""


def stopping(
    scored: Scored,
    errors: ErrorRate,
    patience: Patience,
    objective: Objective,
    singles: Collection[str] = (),
) -> dict[str, str]:
    """Which entrants stop now, and why.

    Who met too many outages stops (a single one may be bad luck), and who is clearly over a limit
    that others meet. Else the score decides: who is clearly behind the best by more than the
    objective allows stops, and where costs count too, who is clearly no better than something
    cheaper (and, on a front, faster). Where nobody meets the limits, who is clearly farther from
    them than the closest stops.
    """
    stopped = {
        key: f"disqualified: outages hit {e.hit} of {len(e.outcomes)} examples ({_kinds(e)})"
        for key, e in scored.items()
        if e.disqualified and (e.hit > 1 or not e.scores)
    }
    fit = {key: e for key, e in scored.items() if key not in stopped}
    met = {key: e for key, e in fit.items() if objective.meets(e.costs)}
    if met:
        stopped |= {key: why for key in fit if (why := _over_limits(fit[key], objective))}
        fit = {key: e for key, e in fit.items() if key not in stopped}
    if objective.pareto:
        return stopped | _dominated(fit, patience)
    if fit and not met:
        return stopped | _farther(fit, objective)
    leaders = {key: e for key, e in (met or fit).items() if key in fit}
    if objective.of == "single_model":
        leaders = {key: e for key, e in leaders.items() if key in singles} or leaders
    stopped |= _behind(fit, leaders, errors, patience, objective.within or 0.0)
    if objective.within is not None:
        fit = {key: e for key, e in fit.items() if key not in stopped}
        stopped |= _too_dear(fit, leaders, patience, objective.within)
    return stopped


def paired_differences(a: Evaluation, b: Evaluation) -> np.ndarray:
    """Scores of `a` less those of `b`, on the examples that both have a score for."""
    first, second = a.scores, b.scores
    return np.array([first[i] - second[i] for i in first if i in second], dtype=float)


def standard_errors_behind(differences: np.ndarray) -> float:
    """How many standard errors the mean difference lies below 0; 0 when there is no telling."""
    if len(differences) < 2:
        return 0.0
    mean, spread = float(np.mean(differences)), float(np.std(differences, ddof=1))
    if spread == 0:
        return math.inf if mean < 0 else 0.0
    return -mean / (spread / math.sqrt(len(differences)))


def _behind(
    fit: Scored, leaders: Scored, errors: ErrorRate, patience: Patience, margin: float
) -> dict[str, str]:
    """Those that are behind the leader by more than the margin."""
    stopped: dict[str, str] = {}
    ranking = sorted(fit, key=lambda key: -fit[key].mean)  # stable: ties keep their order
    leader = next((key for key in ranking if key in leaders), None)
    for place, key in enumerate(ranking):
        if leader is None or key == leader:
            continue
        differences = paired_differences(fit[key], fit[leader])
        if len(differences) == 0:
            continue  # nothing in common was scored, so that nothing can be said
        behind = f"{_behind_by(-float(np.mean(differences)))} the leader on {len(differences)}"
        allowed = np.clip(differences + margin, -1, 1)
        if PairedTest().update(allowed).rejects(errors.alpha(key, leader)):
            stopped[key] = behind
            continue
        most = patience.better_half if place < len(ranking) / 2 else patience.worse_half
        if standard_errors_behind(allowed) >= most:
            stopped[key] = behind
    return stopped


def _behind_by(difference: float) -> str:
    """A difference of scores in points; who stops at a tie is not said to be behind."""
    points = f"{100 * difference:.1f}"
    return "level with" if float(points) == 0 else f"{points} points behind"


def _over_limits(evaluation: Evaluation, objective: Objective) -> str:
    """Why its costs are clearly over a limit; empty if they are not."""
    limits = (
        ("usd", objective.max_cost_usd, "dollars"),
        ("latency_s", objective.max_latency_s, "seconds"),
    )
    for name, limit, unit in limits:
        values = np.array([getattr(o, name) for o in evaluation.outcomes.values()])
        if limit is not None and standard_errors_behind(limit - values) >= UNLIKELY:
            return f"{float(np.mean(values)):.3g} {unit} per example, over the limit of {limit:g}"
    return _over_tail(evaluation, objective)


def _over_tail(evaluation: Evaluation, objective: Objective) -> str:
    """Why clearly more than 5% of its runs exceed the limit; empty if that is not clear.

    An exact binomial test at 10%, as for the means above.
    """
    limit = objective.max_latency_p95_s
    if limit is None:
        return ""
    from scipy.special import bdtrc, ndtr  # 0.4 s

    slow, runs = len(_slow(evaluation, objective)), len(evaluation.outcomes)
    if slow == 0 or bdtrc(slow - 1, runs, MOST_SLOW) > ndtr(-UNLIKELY):
        return ""
    return f"{slow} of {runs} runs took longer than {limit:g} seconds, more than 5%"


def _slow(evaluation: Evaluation, objective: Objective) -> set[int]:
    """The examples whose run took longer than 95% of them may."""
    limit = objective.max_latency_p95_s
    if limit is None:
        return set()
    return {i for i, outcome in evaluation.outcomes.items() if outcome.latency_s > limit}


def _farther(fit: Scored, objective: Objective) -> dict[str, str]:
    """Those that exceed the limits clearly more than the closest does, whatever they score."""
    closest = min(fit, key=lambda key: objective.excess(fit[key].costs))
    nearest = _excesses(fit[closest], objective)
    stopped = {}
    for key, evaluation in fit.items():
        own = _excesses(evaluation, objective)
        differences = np.array([nearest[i] - own[i] for i in own if i in nearest])
        if standard_errors_behind(differences) >= UNLIKELY:
            factor = objective.excess(evaluation.costs)
            stopped[key] = f"{factor:.3g} times the limit, farther from it than another"
    return stopped


def _excesses(evaluation: Evaluation, objective: Objective) -> dict[int, float]:
    """By what factor each example exceeds the limits.

    One example has no percentile. It is slow or not, and the mean of that divided by the share that
    may be slow is the factor by which the limit is exceeded.
    """
    slow = _slow(evaluation, objective)
    means = replace(objective, max_latency_p95_s=None)
    costs = {i: Costs(0.0, o.usd, o.latency_s) for i, o in evaluation.outcomes.items()}
    return {i: max(means.excess(cost), (i in slow) / MOST_SLOW) for i, cost in costs.items()}


def _too_dear(fit: Scored, leaders: Scored, patience: Patience, margin: float) -> dict[str, str]:
    """Those that cost more than something that is clearly good enough; the best itself stays."""
    best = max((key for key in fit if key in leaders), key=lambda key: fit[key].mean, default=None)
    enough = [
        key
        for key in fit
        if best is not None
        and standard_errors_behind(-_slack(fit[key], fit[best], margin)) >= patience.surely
    ]
    if not enough:
        return {}
    cheapest = min(enough, key=lambda key: fit[key].usd_per_example)
    price = fit[cheapest].usd_per_example
    told = f"dearer than one at ${price:.3g} per example that is good enough"
    return {key: told for key, e in fit.items() if e.usd_per_example > price and key != best}


def _slack(evaluation: Evaluation, best: Evaluation, margin: float) -> np.ndarray:
    return paired_differences(evaluation, best) + margin


def _dominated(fit: Scored, patience: Patience) -> dict[str, str]:
    """Those with a rival that costs no more, is no slower, and is clearly no worse."""
    keys = list(fit)
    costs = [fit[key].costs for key in keys]
    leaders = [(keys[place], costs[place]) for place in front(costs)]
    stopped = {}
    for key, own in zip(keys, costs, strict=True):
        for rival, theirs in leaders:
            if theirs.dominates(own) and _surely_no_worse(fit[rival], fit[key], patience):
                stopped[key] = (
                    f"{_behind_by(theirs.score - own.score)} one at "
                    f"${theirs.usd:.3g} and {theirs.latency_s:.2g} s"
                )
                break
    return stopped


def _surely_no_worse(rival: Evaluation, other: Evaluation, patience: Patience) -> bool:
    differences = paired_differences(other, rival)
    if len(differences) >= ALIKE and not differences.any():
        return True
    return standard_errors_behind(differences) >= patience.surely


def _kinds(evaluation: Evaluation) -> str:
    """The kinds of outages, without what models did wrong themselves."""
    outcomes = evaluation.outcomes.values()
    failures = [f for o in outcomes for f in (o.failure, *o.members_failed) if f is not None]
    counts = Counter(failure.kind for failure in failures if failure.infrastructure)
    return ", ".join(f"{kind} x{counts[kind]}" for kind in sorted(counts))
