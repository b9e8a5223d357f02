"""The trials as a study of Optuna's, for its dashboard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optimizer.quiet_logs import quiet_optuna
from optimizer.search.records.trial import Trial, flat_config
from pipelines.gateway.secrets import redacted
from search_spaces.config import canonical_json


def write_study(trials: Sequence[Trial], study_name: str, path: Path) -> None:
    """Write one study of all trials, in their order, to a new file for `optuna-dashboard`.

    The objective is the score. Every knob is a categorical parameter with the values that were
    tried, or "default". Trials that did not see all search examples are pruned; those that were
    disqualified, or never scored, have failed.
    """
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    params = [{name: _choice(v) for name, v in flat_config(t.config).items()} for t in trials]
    names = dict.fromkeys(name for each in params for name in each)
    values = {name: [each.get(name, "default") for each in params] for name in names}
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(tuple(dict.fromkeys(tried))) for name, tried in values.items()
    }
    with quiet_optuna():
        # absolute, for the lock is a symlink to it
        storage = JournalStorage(JournalFileBackend(str(path.absolute())))
        study = optuna.create_study(storage=storage, study_name=study_name, direction="maximize")
        study.set_metric_names(["score"])
        study.add_trials(
            optuna.trial.create_trial(
                params={name: tried[place] for name, tried in values.items()},
                distributions=distributions,
                user_attrs={
                    "stage": trial.stage,
                    "turn": trial.turn,
                    "base": trial.base,
                    "changed": redacted(trial.changed),
                    "examples": trial.examples,
                    "score_low": trial.score and trial.score.low,
                    "score_high": trial.score and trial.score.high,
                    "cost_usd": trial.usd_per_example,
                    "latency_s": None if math.isnan(trial.latency_s) else trial.latency_s,
                },
                **_outcome(trial),
            )
            for place, trial in enumerate(trials)
        )


def _choice(value: Any) -> str | int | float | bool:
    if isinstance(value, bool | int | float):
        return value
    return redacted(value if isinstance(value, str) else canonical_json(value))


def _outcome(trial: Trial) -> dict[str, Any]:
    from optuna.trial import TrialState

    if trial.score is None or trial.status in ("disqualified", "failed"):
        return {"state": TrialState.FAIL}
    score = trial.score.mean
    if trial.status == "complete":
        return {"state": TrialState.COMPLETE, "value": score}
    return {"state": TrialState.PRUNED, "intermediate_values": {trial.examples: score}}
