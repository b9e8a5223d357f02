"""The state of one search: what it knows, how it races configs, and what stages left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluators.diagnosis.diagnoser import Diagnoser
from evaluators.metrics.human_labels import JudgeAgreement
from optimizer.search.race import RacingState
from pipelines import ModuleStep
from pipelines.gateway.model import Model
from search_spaces import PipelineConfig, SearchSpace
from search_spaces.config import canonical_json

if TYPE_CHECKING:
    from optimizer.stages.structure.proposals import Proposer


def judged(step: ModuleStep) -> dict[str, Any]:
    """What the diagnoser sees of a step: its outputs without the reasoning."""
    return {k: v for k, v in (step.outputs or {}).items() if k != "reasoning"}


def shown(step: ModuleStep) -> str:
    """The same as canonical JSON: outputs that read alike are one output."""
    return canonical_json(judged(step))


def rating_key(step: ModuleStep) -> tuple[str, str, str]:
    """What a rating is of: a module, its inputs and its output, both as canonical JSON."""
    return step.module, canonical_json(step.inputs), shown(step)


@dataclass(kw_only=True)
class SearchState(RacingState):
    """One search over one pipeline. Sequential: concurrency lives inside the evaluator."""

    space: SearchSpace
    searched_models: frozenset[str] = frozenset()
    """Labels of the models whose allocations an earlier search has tried."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Why models were left out for their price, by label."""
    diagnoser: Diagnoser | None = None
    judge: JudgeAgreement | None = None
    """What is known of the metric's judge, if it asks one."""
    finished: set[str] = field(default_factory=set)
    """Names of the stages that came to their end at least once, not cut short."""
    settled: dict[str, PipelineConfig] = field(default_factory=dict)
    """The incumbent when a stage last ended with nothing left to try, by the stage's name."""
    proposer: Proposer | None = None
    """Optuna's study, once the structure stage has begun one."""
    prompted: list[tuple[str, str, str, int]] = field(default_factory=list)
    """Runs of prompt optimizers: the config's key, the module, the optimizer and the attempt."""
    ratings: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """The diagnoser's ratings in [0, 1] of modules' outputs, of all rounds, by `rating_key`."""
    verdicts: dict[str, bool] = field(default_factory=dict)
    """Whether verifiers accepted an answer when they were tried, by verifier and answer."""

    def desired(self, index: int) -> dict[str, Any]:
        """What the diagnoser may see of the right answer: the metric's feedback, and labels."""
        outcome = self.evaluator.known(self.incumbent).outcomes.get(index)
        feedback = {"feedback": outcome.feedback} if outcome and outcome.feedback else {}
        return {**feedback, **self.evaluator.labels(index)}

    def enumerate_paid(self, configs: Sequence[PipelineConfig], size: int) -> list[PipelineConfig]:
        """Run the configs that make no new call, and return them, best mean first.

        Args:
            configs: the candidates.
            size: how many of the search examples they run on.
        """
        examples = self.examples[:size]
        free = [config for config in configs if self.forecast.are_free(config, examples)]
        self.evaluator.run(list(product(free, examples)))
        means = {config.key: self.evaluator.known(config).on(examples).mean for config in free}
        return sorted(free, key=lambda config: -np.nan_to_num(means[config.key], nan=-1.0))

    @property
    def has_it_all(self) -> bool:
        """Whether only quality counts, and the best so far is right on all search examples."""
        if self.objective.limited or self.objective.pareto or not self.has_seen_all(self.incumbent):
            return False
        return self.evaluator.known(self.incumbent).mean == 1.0

    @property
    def rater(self) -> str | None:
        """Label of the diagnoser's model; None without a diagnoser."""
        return self.diagnoser.model.label if self.diagnoser else None

    @property
    def ablest_model(self) -> Model:
        """The model that does best alone, as far as is known."""
        best = next(iter(self.ranked_singles()), self.incumbent)
        return self.evaluator.models[best.labels[0]]

    @property
    def uniform(self) -> dict[str, tuple[str, ...]]:
        """The labels to choose from, by module, for modules whose members all ask one model.

        Members that differ are not changed when models are allocated: the structure stage decides
        which ones go together.
        """
        modules = self.incumbent.modules
        choices = self.space.models.items()
        return {m: labels for m, labels in choices if len(set(modules[m].labels)) == 1}
