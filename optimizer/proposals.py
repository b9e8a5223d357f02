"""Optuna's proposals: one value for every knob that matters, none of them twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.knobs import Knobs
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    import optuna

    from evaluators.objective import Costs, Objective

logger = logging.getLogger(__name__)

STARTUP_TRIALS = 8
"""Draws at random before Optuna's sampler models what was measured."""
MOST_TRIES = 30
"""Draws for one proposal: Optuna repeats itself, and not every draw makes sense. After so many in
vain the space counts as used up."""


@dataclass(frozen=True)
class Proposal:
    """A config that has not been proposed before, and Optuna's trial behind it."""

    config: PipelineConfig
    trial: optuna.trial.Trial


class Proposer:
    """Optuna's study behind one search: ask for configs, tell what they were worth.

    Sequential and seeded, so the same answers bring the same proposals. Its journal file, if there
    is one, opens in Optuna's own tools.
    """

    def __init__(
        self, knobs: Knobs, objective: Objective, seed: int, journal: Path | None, name: str
    ) -> None:
        self._knobs = knobs
        self._objective = objective
        self._proposed: set[str] = set()
        with _quiet():
            self._study = _new_study(objective, seed, journal, name)

    def note(self, config: PipelineConfig) -> None:
        """It is known already, and need not be proposed."""
        self._proposed.add(config.key)

    def ask(self, most: int, base: PipelineConfig) -> list[Proposal]:
        """Up to so many configs that are new; fewer when the space is used up.

        Args:
            most: how many.
            base: what the knobs are set on.
        """
        proposals: list[Proposal] = []
        with _quiet():
            while len(proposals) < most and (drawn := self._draw(base)) is not None:
                proposals.append(drawn)
        return proposals

    def _draw(self, base: PipelineConfig) -> Proposal | None:
        for _ in range(MOST_TRIES):
            trial = self._study.ask()
            config = self._knobs.suggest(trial, base)
            if config is not None and config.key not in self._proposed:
                self._proposed.add(config.key)
                trial.set_user_attr("config", config.key)
                return Proposal(config, trial)
            self._study.tell(trial, state=_pruned())
        return None

    def tell(self, proposal: Proposal, costs: Costs | None) -> None:
        """What the proposal was worth; None if it could not be scored."""
        with _quiet():
            if costs is None:
                self._study.tell(proposal.trial, state=_failed())
                return
            self._study.tell(proposal.trial, list(_values(self._objective, costs)))


def _values(objective: Objective, costs: Costs) -> tuple[float, ...]:
    """What Optuna maximises: all three figures on a front, else the score less what limits cost."""
    if objective.pareto:
        return (costs.score, -costs.usd, -costs.latency_s)
    return (costs.score - max(0.0, objective.excess(costs) - 1),)


def _new_study(
    objective: Objective, seed: int, journal: Path | None, name: str
) -> optuna.study.Study:
    import optuna

    return optuna.create_study(
        study_name=f"{name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}",
        storage=None if journal is None else _storage(journal),
        sampler=optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, group=True
        ),
        directions=["maximize"] * (3 if objective.pareto else 1),
    )


def _storage(journal: Path) -> optuna.storages.JournalStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    journal.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(journal)))


def _pruned() -> Any:
    from optuna.trial import TrialState

    return TrialState.PRUNED


def _failed() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna logs every trial, and warns of what is experimental in it."""
    import warnings

    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
