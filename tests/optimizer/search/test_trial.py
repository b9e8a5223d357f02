from __future__ import annotations

import math

from optimizer.search.trial import flat_config, trials_frame
from search_spaces import ModuleConfig, PipelineConfig
from tests.optimizer.made import make_config, make_trial, make_trials


def test_flat_config_lists_only_knobs_that_say_something() -> None:
    config = PipelineConfig(
        modules={
            "solve": ModuleConfig(
                models=("a", "b", "b"),
                temperature=0.0,
                width=3,
                aggregator="majority_vote",
                demos=({"task": "1+1", "answer": "2"},),
            ),
            "round": ModuleConfig(params={"digits": 2}),
        }
    )
    assert flat_config(config) == {
        "solve.model": "a, b, b",
        "solve.temperature": 0.0,
        "solve.width": 3,
        "solve.aggregator": "majority_vote",
        "solve.demos": 1,
        "round.digits": 2,
    }


def test_frame_has_a_row_per_trial_and_a_column_per_knob() -> None:
    trials = [*make_trials(), make_trial(5, config=make_config(temperature=0.7))]
    frame = trials_frame(trials)
    assert list(frame["number"]) == [0, 1, 2, 3, 4, 5]
    assert list(frame["solve.model"][:2]) == ["openai/small", "openai/large"]
    assert math.isnan(frame["solve.temperature"][0])
    assert frame["solve.temperature"][5] == 0.7
    assert math.isnan(frame["score"][3])
    assert frame["failures"][1] == 3


def test_frame_of_no_trials_keeps_its_columns() -> None:
    frame = trials_frame([])
    assert len(frame) == 0
    assert {"number", "score", "status"} <= set(frame.columns)


def test_name_is_one_readable_line_however_long_the_labels() -> None:
    assert make_trial(7).name == "7 allocation: locate=openai/small, solve=openai/small"
    assert len(make_trial(7, config=make_config("x" * 300)).name) == 200
