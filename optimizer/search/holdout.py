"""The final pass: reported scores are measured once, on examples that the search never saw."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product

from evaluators.evaluator import Evaluator
from evaluators.outcome import Evaluation
from evaluators.statistics import Calibration, Interval, paired_interval
from optimizer.search.state import SearchState
from pipelines.gateway.call import BudgetExhausted

FEWEST_PAIRS = 10
"""A pass that was cut off counts if baseline and incumbent ran on at least this many examples."""


@dataclass(frozen=True)
class FinalScores:
    """Incumbent, baseline and best single model on the same examples."""

    tuned: Evaluation
    baseline: Evaluation
    single_model: Evaluation | None
    held_out: bool
    """False: these are the estimates that the search chose by, and too optimistic."""
    points: Mapping[str, Evaluation] = field(default_factory=dict)
    """The evaluations of all configs scored on the holdout, by their keys."""
    cut_off: str | None = None
    """What ended the pass before all of its examples; None if nothing did."""
    calibration: Calibration | None = None
    """Corrects reported scores for the errors of a judge, if these are known.

    The search does not need it: the best config is the same with and without.
    """

    @property
    def usable(self) -> bool:
        """Whether the finalists have examples with a score in common."""
        return bool(self.tuned.scores.keys() & self.baseline.scores.keys())

    def gain(self, over: Evaluation) -> Interval | None:
        """Mean paired gain of the tuned config with its 95% interval; None without pairs."""
        tuned, other = self._scores(self.tuned), self._scores(over)
        common = [i for i in tuned if i in other]
        if not common:
            return None
        paired = self.calibration.paired_interval if self.calibration else paired_interval
        return paired([tuned[i] for i in common], [other[i] for i in common])

    def mean(self, evaluation: Evaluation) -> Interval | None:
        """Mean score of a config with its 95% interval; None when nothing was scored."""
        if self.calibration is None or not evaluation.scores:
            return evaluation.interval
        return self.calibration.mean_interval(list(self._scores(evaluation).values()))

    def _scores(self, evaluation: Evaluation) -> Mapping[int, float]:
        """Scores by example, on the judge's scale if they are to be corrected.

        Failures of the pipeline score 0, which no judge gave. On the judge's scale that is its
        score for worthless answers.
        """
        scores, outcomes = evaluation.scores, evaluation.outcomes
        if self.calibration is None:
            return scores
        worthless = min(max(0.0, self.calibration.fitted.offset), 1.0)
        return {i: worthless if outcomes[i].failure else score for i, score in scores.items()}


def score_finalists(state: SearchState, holdout: Evaluator) -> FinalScores:
    """Run the finalists on the holdout, with the part of the budget that was reserved for it.

    All whose worst cost fits run in one pool. Baseline and incumbent begin first, example by
    example, and the others have no figures where these use the budget up. Where the budget ends the
    pass, the examples that both have been run on count, if they are not too few.

    Raises:
        BudgetExhausted: retries, or a cap in seconds, have used that part up before.
    """
    state.evaluator.session.protect()
    examples = list(range(len(holdout.examples)))
    needed, others = [state.baseline, state.incumbent], state.other_finalists()
    payable = state.reserve.payable(state.incumbent, others)
    first = [(config, index) for index, config in product(examples, needed)]
    cut_off = None
    try:
        with suppress(BudgetExhausted):
            holdout.run([*first, *product(payable, examples)])
        holdout.run(first)
    except BudgetExhausted as exhausted:
        pairs = set.intersection(*(set(holdout.known(config).outcomes) for config in needed))
        if len(pairs) < min(FEWEST_PAIRS, len(examples)):
            raise
        cut_off = f"after {len(pairs)} of {len(examples)} examples: {exhausted}"
        examples = sorted(pairs)
    with suppress(BudgetExhausted):
        holdout.run(list(product(others, examples)))
    known = {config.key: holdout.known(config) for config in [*needed, *others]}
    known = {key: each.on(examples) for key, each in known.items()}
    points = {key: each for key, each in known.items() if len(each.outcomes) == len(examples)}
    return FinalScores(
        tuned=known[state.incumbent.key],
        baseline=known[state.baseline.key],
        single_model=points.get(state.single_model.key) if state.single_model else None,
        held_out=True,
        points=points,
        cut_off=cut_off,
        calibration=_calibration(state),
    )


def search_estimates(state: SearchState) -> FinalScores:
    """The search's scores of the finalists, where there was no holdout or no pass over it.

    They are for the incumbent's examples, without those that its own demos were made from.
    """
    known = state.evaluator.known
    tuned = known(state.incumbent)
    baseline = known(state.baseline).on(tuned.outcomes)
    single = known(state.single_model).on(tuned.outcomes) if state.single_model else None
    return FinalScores(tuned, baseline, single, False, calibration=_calibration(state))


def _calibration(state: SearchState) -> Calibration | None:
    return state.judge.calibration if state.judge else None
