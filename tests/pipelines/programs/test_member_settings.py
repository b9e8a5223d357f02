"""Every member is asked with its own prompt and temperature, and the others with the module's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import Module, ModuleStep, Pipeline, PipelineError
from pipelines.adapters.callables import from_callable
from pipelines.gateway.call import LMCall
from pipelines.programs.memo import Memo
from pipelines.spec.config_checks import check_config
from search_spaces import AggregatorConfig, MemberConfig, ModuleConfig, PipelineConfig
from tests.pipelines.scripted_session import ScriptedSession, bind, one, signed, written

SOLVE = one(instructions="Solve it.", demos=[{"question": "1 + 1", "answer": "2"}])
DEMOS = ({"question": "6 * 7", "answer": "42"},)


TWO = (MemberConfig("a"), MemberConfig("b", temperature=0.2))


def told(call: LMCall) -> str:
    """All that a call says."""
    return json.dumps(call.messages)


def solving(*members: Any, aggregator: Any = "majority_vote", **knobs: Any) -> PipelineConfig:
    knobs = {"temperature": 0.7, "instructions": "Solve it.", **knobs}
    return PipelineConfig(
        modules={"solve": ModuleConfig(members=members, aggregator=aggregator, **knobs)}
    )


def ask(session: ScriptedSession, config: PipelineConfig, pipeline: Pipeline = SOLVE) -> ModuleStep:
    return bind(pipeline, session, config).run({"question": "q"}).step("solve")


@pytest.mark.parametrize("strategy", ["predict", "chain_of_thought"])
def test_each_members_own_prompt_and_temperature_reach_its_calls(strategy: Any) -> None:
    session = ScriptedSession()
    config = solving(
        "a", MemberConfig("b", temperature=0.2, instructions="Be brief."),
        MemberConfig("c", demos=DEMOS),
    )  # fmt: skip
    ask(session, config, one(strategy=strategy))
    calls = {call.model.label: call for call in session.calls}
    assert {label: call.temperature for label, call in calls.items()} == {
        "a": 0.7, "b": 0.2, "c": 0.7,
    }  # fmt: skip
    for text, tells in (("Solve it.", "ac"), ("Be brief.", "b"), ("6 * 7", "c")):
        assert {label for label, call in calls.items() if text in told(call)} == set(tells)


def test_a_member_without_demos_shows_none_where_the_module_has_some() -> None:
    session = ScriptedSession()
    config = solving("a", MemberConfig("b", demos=()), demos=DEMOS)
    ask(session, config)
    shown = {call.model.label: "6 * 7" in told(call) for call in session.calls}
    assert shown == {"a": True, "b": False}


SETTINGS = {
    "temperature": st.sampled_from([0.0, 0.2, 0.7]),
    "instructions": st.sampled_from(["Be brief.", "Think.", "Solve it."]),
    "demos": st.sampled_from([(), DEMOS]),
}
MEMBERS = st.builds(
    lambda model, own: MemberConfig(model, **own),
    st.sampled_from("ab"),
    st.fixed_dictionaries({}, optional=SETTINGS),
)


@settings(max_examples=40)
@given(
    st.lists(MEMBERS, min_size=2, max_size=4),
    st.sampled_from([None, 0.7]),
    st.sampled_from(["predict", "chain_of_thought"]),
)
def test_a_member_makes_the_very_call_that_a_module_with_its_settings_makes(
    members: list[MemberConfig], temperature: float | None, strategy: Any
) -> None:
    config, pipeline = solving(*members, temperature=temperature), one(strategy=strategy)
    together, alone = ScriptedSession(), ScriptedSession()
    ask(together, config, pipeline)
    for member in config.modules["solve"].resolved_members:
        own = PipelineConfig(modules={"solve": ModuleConfig(members=(member,))})
        ask(alone, own, pipeline)
    first = {call.key for call in together.calls if call.sample == 0}
    assert first == {call.key for call in alone.calls}, "so that nothing is paid twice"


@settings(max_examples=40)
@given(st.lists(MEMBERS, min_size=2, max_size=4), st.sampled_from([None, 0.7]))
def test_equal_members_draw_samples_and_others_begin_at_the_first(
    members: list[MemberConfig], temperature: float | None
) -> None:
    config = solving(*members, temperature=temperature)
    bound = bind(SOLVE, ScriptedSession(), config).bound["solve"]
    for place, member in enumerate(bound.members):
        before = sum(member == other for other in bound.members[:place])
        assert bound.samples[place] == (0 if member.temperature == 0 else before)


def test_the_memo_keeps_members_with_other_prompts_apart() -> None:
    session, memo = ScriptedSession(), Memo()
    brief = MemberConfig("a", instructions="Be brief.")
    for config in (solving("a", "b"), solving(brief, "b"), solving("b", brief)):
        bind(SOLVE, session, config, memo).run({"question": "q"})
    asked = [(call.model.label, "Be brief." in told(call)) for call in session.calls]
    assert sorted(asked) == [("a", False), ("a", True), ("b", False)]


def test_a_vote_in_doubt_asks_a_member_again_with_its_own_prompt() -> None:
    session = ScriptedSession()  # all members differ, as each signs its answer
    config = solving(
        "a", MemberConfig("b", instructions="Be brief."),
        aggregator=AggregatorConfig(name="confident_vote", params={"member": 1}),
    )  # fmt: skip
    ask(session, config)
    greedy = session.calls[-1]
    assert (len(session.calls), greedy.model.label, greedy.temperature) == (3, "b", 0.0)
    assert "Be brief." in told(greedy)
    assert "Solve it." not in told(greedy)


def unsure(call: LMCall) -> str:
    """Told to be brief, a model does not know; else it does."""
    return written(answer="I don't know" if "Be brief." in told(call) else "42")


def test_a_cascade_of_two_prompts_asks_the_second_where_the_first_is_in_doubt() -> None:
    session = ScriptedSession(unsure)
    brief = MemberConfig("a", instructions="Be brief.")
    step = ask(session, solving(brief, "a", aggregator="cascade"))
    assert step.outputs == {"answer": "42"}
    assert [("Be brief." in told(call), call.sample) for call in session.calls] == [
        (True, 0), (False, 0),
    ]  # fmt: skip
    session = ScriptedSession(unsure)
    assert ask(session, solving("a", brief, aggregator="cascade")).outputs == {"answer": "42"}
    assert len(session.calls) == 1, "the first step is believed"


def test_two_prompts_that_disagree_call_for_the_stronger_model() -> None:
    session = ScriptedSession(
        lambda call: written(answer="1" if "Be brief." in told(call) else "2")
    )
    steps = AggregatorConfig(name="cascade", params={"steps": [2, 1]})
    config = solving("a", MemberConfig("a", instructions="Be brief."), "b", aggregator=steps)
    assert ask(session, config).outputs == {"answer": "2"}
    assert [call.model.label for call in session.calls] == ["a", "a", "b"]


def test_a_judge_is_told_what_the_module_says() -> None:
    session = ScriptedSession(
        lambda call: written(choice="1") if call.model.label == "c" else signed(call)
    )
    judge = AggregatorConfig(name="judge", modules={"judge": ModuleConfig(models=("c",))})
    ask(session, solving("a", MemberConfig("b", instructions="Be brief."), aggregator=judge))
    (judged,) = (call for call in session.calls if call.model.label == "c")
    assert "Solve it." in told(judged)
    assert "Be brief." not in told(judged)


def test_copies_keep_members_their_own_prompts() -> None:
    session = ScriptedSession()
    config = solving("a", MemberConfig("b", instructions="Be brief."))
    bind(SOLVE, session, config).deepcopy().run({"question": "q"})
    assert {c.model.label: "Be brief." in told(c) for c in session.calls} == {"a": False, "b": True}


RACE = AggregatorConfig(name="first_to_finish")


def test_members_that_race_may_differ_in_temperature_but_not_in_their_prompt() -> None:
    session = ScriptedSession()
    ask(session, solving("a", MemberConfig("a", temperature=0.2), aggregator=RACE))
    assert {call.temperature for call in session.calls} == {0.7, 0.2}
    own = solving("a", MemberConfig("b", instructions="Be brief.", demos=DEMOS), aggregator=RACE)
    with pytest.raises(PipelineError, match=r"share one prompt.*with demos and instructions of"):
        check_config(SOLVE.modules, own, None)


def test_an_own_aggregator_is_told_when_it_has_other_prompts_race() -> None:
    config = solving("a", MemberConfig("b", instructions="Be brief."))
    members = bind(SOLVE, ScriptedSession(), config).solve.members({"question": "q"})
    with pytest.raises(PipelineError, match="must not have members race that have prompts of th"):
        members.first(1)


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (MemberConfig("z", temperature=0.1), "unknown model 'z'; nearest"),
        (MemberConfig("a", demos=({"qestion": "x"},)),
         "member 1: a demo has the unknown field 'qestion'; nearest: 'question'"),
    ],
)  # fmt: skip
def test_a_member_that_does_not_fit_is_refused(member: MemberConfig, message: str) -> None:
    with pytest.raises(PipelineError, match=f"config of module 'solve': {message}"):
        check_config(SOLVE.modules, solving("a", member), ["a", "b"])


def test_plain_python_has_no_members() -> None:
    pipeline = from_callable(lambda models: lambda question: question, ["solve"])
    own = ModuleConfig(members=TWO)
    with pytest.raises(PipelineError, match="calls plain Python makes has no members, but got"):
        check_config(pipeline.modules, PipelineConfig(modules={"solve": own}), None)
    told = ModuleConfig(members=(MemberConfig("a", instructions="Be brief."),))
    with pytest.raises(PipelineError, match=r"has no instructions, but got 'Be brief\.'"):
        check_config(pipeline.modules, PipelineConfig(modules={"solve": told}), None)


def test_function_modules_have_no_members() -> None:
    pipeline = Pipeline("trim", [Module("trim", "a -> b", function="builtins:str")])
    config = ModuleConfig(members=TWO)
    with pytest.raises(PipelineError, match="a function module has no models"):
        check_config(pipeline.modules, PipelineConfig(modules={"trim": config}), None)
