from __future__ import annotations

import math

from optimizer.search.trial import config_text, flat_config, trials_frame
from search_spaces import MemberConfig, ModuleConfig, PipelineConfig
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


def test_flat_config_names_what_members_have_of_their_own_by_their_place() -> None:
    own = MemberConfig("b", instructions="Be brief.", demos=({"task": "1+1", "answer": "2"},))
    members = (MemberConfig("a", temperature=0.2), own)
    module = ModuleConfig(members=members, aggregator="judge")
    config = PipelineConfig(modules={"solve": module})
    assert flat_config(config) == {
        "solve.model": "a, b",
        "solve.members.0.temperature": 0.2,
        "solve.members.1.instructions": "Be brief.",
        "solve.members.1.demos": 1,
        "solve.width": 2,
        "solve.aggregator": "judge",
    }
    assert config_text(config) == "solve=[1x a at 0.2 + 1x b(prompt 2) -> judge]"


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
