"""Optuna's proposals: configs with a value for every knob, each proposed once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import optuna
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import TrialState

from evaluators.objective import Costs, Objective
from optimizer.quiet_logs import quiet_optuna
from optimizer.stages.structure.knobs import Knobs
from search_spaces import PipelineConfig

STARTUP_TRIALS = 8
"""Draws at random before Optuna's sampler models what was measured."""
TRIES, TRIES_AT_RANDOM = 10, 100
"""Draws for one proposal, by Optuna's sampler and then at random: the sampler repeats itself, and
not every draw makes sense. If neither brings something new, the space counts as used up."""


@dataclass(frozen=True)
class Proposal:
    """A config that has not been proposed before, and Optuna's trial behind it."""

    config: PipelineConfig
    trial: optuna.trial.Trial


class Proposer:
    """Optuna's study behind one search, with an ask-and-tell interface.

    Sequential and seeded, so the same answers bring the same proposals: a search that was killed
    needs nothing but its cache to go on, and the study is kept in memory. Optuna wants the choices
    of a knob to stay the same, so they are those of the beginning, even where other models would be
    mixed in by now.
    """

    def __init__(self, knobs: Knobs, objective: Objective, seed: int) -> None:
        self._knobs = knobs
        self._objective = objective
        self._proposed: set[str] = set()
        with quiet_optuna():
            tpe = TPESampler(
                seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, group=True
            )
            self._samplers = (tpe, RandomSampler(seed=seed))
            self.study = optuna.create_study(
                directions=["maximize"] * (3 if objective.pareto else 1)
            )

    def note(self, config: PipelineConfig) -> None:
        """Never propose this config: it is known already."""
        self._proposed.add(config.key)

    def ask(self, most: int, base: PipelineConfig, *, keep_models: bool = False) -> list[Proposal]:
        """At most `most` configs that are new; fewer when the space is used up.

        Args:
            most: how many.
            base: what the knobs are set on.
            keep_models: leave the base's models as they are.
        """
        knobs = replace(self._knobs, with_models=False) if keep_models else self._knobs
        proposals: list[Proposal] = []
        while len(proposals) < most and (drawn := self._draw(knobs, base)) is not None:
            proposals.append(drawn)
        return proposals

    def _draw(self, knobs: Knobs, base: PipelineConfig) -> Proposal | None:
        for sampler, tries in zip(self._samplers, (TRIES, TRIES_AT_RANDOM), strict=True):
            self.study.sampler = sampler
            for _ in range(tries):
                trial = self.study.ask()
                config = knobs.suggest(trial, base)
                if config is not None and config.key not in self._proposed:
                    self._proposed.add(config.key)
                    return Proposal(config, trial)
                self.study.tell(trial, state=TrialState.FAIL)  # else it would count as measured
        return None

    def tell(self, proposal: Proposal, costs: Costs | None, reference: float = -math.inf) -> None:
        """Report a proposal's result.

        Args:
            proposal: as `ask` returned it.
            costs: None if it could not be scored.
            reference: the score to come close to on its examples, where the cheapest is sought.
        """
        values = None if costs is None else _values(self._objective, costs, reference)
        self.study.tell(proposal.trial, values, TrialState.FAIL if values is None else None)


def _values(objective: Objective, costs: Costs, reference: float) -> tuple[float, ...]:
    """What Optuna maximises: all three figures for a front, else one less the excess over limits.

    That one is the score. Where the cheapest near a reference is sought, it lies in [0, 1] for
    configs that are near enough, falling with the price, and below 0 by what the others miss.
    """
    if objective.pareto:
        return (costs.score, -costs.usd, -costs.latency_s)
    value = costs.score
    if objective.within is not None:
        missed = reference - objective.within - costs.score
        value = -missed if missed > 1e-12 else 1 / (1 + costs.usd)
    return (value - max(0.0, objective.excess(costs) - 1),)
