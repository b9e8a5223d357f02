from __future__ import annotations

import math

from optimizer.search.records.trial import config_text, flat_config, trials_frame
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


def test_frame_shows_lineage_and_what_each_module_took() -> None:
    frame = trials_frame([*make_trials(), make_trial(5, base=4, turn=2)])
    assert frame["base"].isna().tolist() == [True, False, False, False, False, False]
    assert list(frame["base"][1:]) == [0, 0, 0, 0, 4]
    assert list(frame["turn"]) == [0, 1, 1, 1, 1, 2]
    assert frame["changed"][4] == "solve.model: openai/small -> openai/large"
    assert frame["solve.usd"][4] == 0.004
    assert frame["locate.seconds"][4] == 0.5
    assert math.isnan(frame["solve.usd"][0])


def test_a_parameter_is_not_hidden_by_a_cost_of_the_same_name() -> None:
    config = PipelineConfig(modules={"wait": ModuleConfig(params={"seconds": 3})})
    costs = {"wait": 0.25}
    trial = make_trial(0, config=config, usd_by_module=costs, seconds_by_module=costs)
    frame = trials_frame([trial])
    assert (frame["wait.seconds"][0], frame["wait.usd"][0]) == (3, 0.25)
    assert frame.columns.is_unique


def test_frame_of_no_trials_keeps_its_columns() -> None:
    frame = trials_frame([])
    assert len(frame) == 0
    assert {"number", "score", "status", "turn", "base", "changed"} <= set(frame.columns)


def test_name_is_one_readable_line_however_long_the_labels() -> None:
    assert make_trial(7).name == "7 allocation: more examples"
    assert make_trial(7, changed="solve.model: a -> b").name == "7 allocation: solve.model: a -> b"
    assert len(make_trial(7, changed="solve.model: " + "x" * 300).name) == 80
