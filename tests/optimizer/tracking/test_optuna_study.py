"""The trials as a study of Optuna's, read back by Optuna."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from optimizer.tracking.optuna_study import write_study
from tests.optimizer.made import MODELS, make_config, make_trial, make_trials

SMALL, LARGE = MODELS


def read_back(trials: Any) -> optuna.Study:
    path = Path("optuna.log")
    write_study(trials, "locate-solve", path)
    backend = optuna.storages.journal.JournalFileBackend(str(path.absolute()))
    return optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_study_has_every_trial_with_its_state_score_and_knobs() -> None:
    study = read_back(make_trials())
    assert (study.study_name, study.direction.name) == ("locate-solve", "MAXIMIZE")
    states = ["COMPLETE", "COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert [trial.state.name for trial in study.trials] == states
    assert study.best_trial.number == 4
    assert study.best_value == 0.9
    assert study.best_params == {"locate.model": SMALL, "solve.model": LARGE}
    assert study.best_trial.user_attrs["changed"] == f"solve.model: {SMALL} -> {LARGE}"
    assert study.trials[2].intermediate_values == {8: 0.21}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_knob_that_a_trial_leaves_alone_is_default_and_secrets_stay_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "sk-123456789")
    config = make_config()
    solve = config.modules["solve"].model_copy(
        update={"temperature": 0.7, "instructions": "Say sk-123456789."}
    )
    warm = config.model_copy(update={"modules": {**config.modules, "solve": solve}})
    study = read_back([make_trial(0), make_trial(1, config=warm)])
    assert [trial.params["solve.temperature"] for trial in study.trials] == ["default", 0.7]
    assert "sk-123456789" not in Path("optuna.log").read_text(encoding="utf-8")
    assert "SHOP_API_KEY" in study.trials[1].params["solve.instructions"]
