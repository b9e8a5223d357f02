"""The final pass: what is reported is measured once, on examples that the search never saw."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from evaluators.evaluation import Evaluation, Evaluator
from evaluators.statistics import Interval, paired_interval
from optimizer.study import Study
from pipelines.llms.call import BudgetExhausted


@dataclass(frozen=True)
class FinalScores:
    """Incumbent, baseline and best single model on the same examples."""

    tuned: Evaluation
    baseline: Evaluation
    single_model: Evaluation | None
    held_out: bool
    """False: these are the estimates that the search chose by, and so are too good."""
    points: Mapping[str, Evaluation] = field(default_factory=dict)
    """Of configs that were scored on the holdout, by their keys."""

    @property
    def usable(self) -> bool:
        """Whether the finalists have examples with a score in common."""
        return bool(self.tuned.scores.keys() & self.baseline.scores.keys())

    def gain(self, over: Evaluation) -> Interval | None:
        """Mean paired gain of the tuned config with its 95% interval; None without pairs."""
        tuned, other = self.tuned.scores, over.scores
        common = [i for i in tuned if i in other]
        if not common:
            return None
        return paired_interval([tuned[i] for i in common], [other[i] for i in common])


def score_finalists(study: Study, holdout: Evaluator) -> FinalScores:
    """Run the finalists on the holdout, with the part of the budget that was kept for it.

    The best single model and a front's points come last: those have no figures that the rest can't
    pay for.

    Raises:
        BudgetExhausted: retries, or a cap in seconds, have used that part up.
    """
    study.evaluator.session.protect()
    indices = range(len(holdout.examples))
    baseline = holdout.evaluate(study.baseline, indices)
    tuned = holdout.evaluate(study.incumbent, indices)
    single = None
    points = {study.baseline.key: baseline, study.incumbent.key: tuned}
    with suppress(BudgetExhausted):
        if study.single_model:
            single = points[study.single_model.key] = holdout.evaluate(study.single_model, indices)
        for config in study.operating_points():
            points[config.key] = holdout.evaluate(config, indices)
    return FinalScores(tuned, baseline, single, held_out=True, points=points)


def search_estimates(study: Study) -> FinalScores:
    """What the search knows of the finalists, where there was no holdout or no pass over it."""
    known = study.evaluator.known
    single = known(study.single_model) if study.single_model else None
    return FinalScores(known(study.incumbent), known(study.baseline), single, held_out=False)
