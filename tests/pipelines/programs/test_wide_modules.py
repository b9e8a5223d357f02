"""A wide module asks several members and returns the winner's whole record."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

import dspy
import pytest

from pipelines import Module, ModuleFailed, ModuleStep, Pipeline, PipelineError, Program
from pipelines.aggregators import Aggregator, Answer, Members, Verdict
from pipelines.aggregators.aggregator import everyone
from pipelines.aggregators.notation import parse_network
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall, LMReply
from pipelines.gateway.model import Model
from search_spaces import ModuleConfig, PipelineConfig
from tests.pipelines.scripted_session import ScriptedSession, bind, one, reply, signed, written

MODELS = {label: Model(f"sim/{label}", label=label) for label in ("a", "b", "c")}


def wide(
    session: ScriptedSession,
    models: tuple[str, ...] = ("a",),
    width: int = 3,
    temperature: float | None = 0.7,
    signature: str = "question -> answer",
    strategy: Any = "predict",
) -> Program:
    pipeline = Pipeline("wide", [Module("solve", signature, strategy=strategy)])
    knobs = ModuleConfig(
        models=models, width=width, temperature=temperature, aggregator="majority_vote"
    )
    account: Any = session
    made = pipeline.bind(PipelineConfig(modules={"solve": knobs}), MODELS, account)
    assert isinstance(made, Program)
    return made


def ask(program: Program) -> ModuleStep:
    return program.run({"question": "q"}).step("solve")


def says(*answers: str | LMReply | Exception) -> ScriptedSession:
    """The member of sample index i says the i-th answer."""

    def script(call: LMCall) -> str | LMReply:
        answer = answers[call.sample]
        if isinstance(answer, Exception):
            raise answer
        return written(answer=answer) if isinstance(answer, str) else answer

    return ScriptedSession(script)


@pytest.mark.parametrize("temperature", [0.7, None])
def test_members_of_one_model_draw_different_samples(temperature: float | None) -> None:
    session = ScriptedSession()
    ask(wide(session, temperature=temperature))
    assert sorted(call.sample for call in session.calls) == [0, 1, 2]


def test_at_temperature_zero_members_share_one_draw() -> None:
    session = ScriptedSession()
    ask(wide(session, temperature=0.0))
    assert [call.sample for call in session.calls] == [0, 0, 0]


def test_members_of_different_models_draw_the_first_sample_each() -> None:
    session = ScriptedSession()
    ask(wide(session, models=("a", "b", "a")))
    drawn = sorted((call.model.label, call.sample) for call in session.calls)
    assert drawn == [("a", 0), ("a", 1), ("b", 0)]


def test_the_majority_wins_and_ties_go_to_the_earlier_member() -> None:
    assert ask(wide(says("Lyon", "Paris", "paris."))).outputs == {"answer": "Paris"}
    assert ask(wide(says("Lyon", "Paris", "Nice"))).outputs == {"answer": "Lyon"}


def test_all_output_fields_vote_together_and_the_winners_whole_record_is_returned() -> None:
    replies = [("r0", "Paris", "low"), ("r1", "Paris", "high"), ("r2", "paris", "High")]

    def script(call: LMCall) -> str:
        reasoning, answer, trust = replies[call.sample]
        return written(reasoning=reasoning, answer=answer, trust=trust)

    program = wide(
        ScriptedSession(script),
        signature="question -> answer, trust",
        strategy="chain_of_thought",
    )
    assert ask(program).outputs == {"reasoning": "r1", "answer": "Paris", "trust": "high"}


def test_members_are_asked_at_the_same_time_and_noted_in_their_order() -> None:
    together = threading.Barrier(3, timeout=10)

    def script(call: LMCall) -> LMReply:
        together.wait()
        return reply(signed(call), latency_s=float(call.model.label == "b") + 1)

    step = ask(wide(ScriptedSession(script), models=("c", "b", "a")))
    assert [call.model for call in step.calls] == ["c", "b", "a"]
    assert step.latency_s == 2.0
    assert step.usd == pytest.approx(0.003)


@pytest.mark.parametrize("unknown", ["a", "b", "c"])
def test_the_latency_is_unknown_if_that_of_any_member_is(unknown: str) -> None:
    def late(call: LMCall) -> LMReply:
        return reply(signed(call), latency_s=math.nan if call.model.label == unknown else 1.0)

    def failed(call: LMCall) -> str:
        if call.model.label == unknown:
            raise CallFailed("refusal", "no", latency_s=math.nan)
        return signed(call)

    for script in (late, failed):
        step = ask(wide(ScriptedSession(script), models=("c", "b", "a")))
        assert step.failure is None
        assert math.isnan(step.latency_s)


def test_a_member_that_fails_abstains() -> None:
    step = ask(wide(says(reply(""), "Paris", "paris")))
    assert step.outputs == {"answer": "Paris"}
    assert step.failure is None
    assert [call.asked_again for call in step.calls] == [True, False, False, False]


def test_a_module_all_of_whose_members_fail_has_the_first_members_failure() -> None:
    replies = (reply("", finish_reason="length"), reply(""), reply("no fields"))
    step = ask(wide(says(*replies)))
    assert step.outputs is None
    assert step.failure is not None
    assert (step.failure.kind, step.failure.module) == ("truncated", "solve")
    assert len(step.calls) == 3 + 3  # each is asked again as JSON
    with pytest.raises(ModuleFailed, match="truncated"):
        wide(says(*replies)).solve(question="q")


def test_the_others_decide_when_a_member_meets_an_outage_which_is_noted() -> None:
    step = ask(wide(says("Lyon", CallFailed("timeout", "late"), "Paris")))
    assert step.outputs == {"answer": "Lyon"}
    assert step.failure is None
    assert step.agreement == pytest.approx(1 / 3)
    ((kind, outage),) = [(f.kind, f.infrastructure) for f in step.members_failed]
    assert (kind, outage) == ("timeout", True)


def test_when_all_fail_and_one_met_an_outage_there_is_no_score() -> None:
    step = ask(wide(says(reply(""), CallFailed("timeout", "late"), reply(""))))
    assert step.failure is not None
    assert (step.failure.kind, step.failure.infrastructure) == ("timeout", True)


def test_an_exhausted_budget_rises_from_a_member() -> None:
    def script(call: LMCall) -> str:
        if call.sample == 1:
            raise BudgetExhausted("no room")
        return signed(call)

    with pytest.raises(BudgetExhausted):
        ask(wide(ScriptedSession(script)))


@pytest.mark.parametrize(
    ("strategy", "name"), [("predict", "solve"), ("chain_of_thought", "solve.predict")]
)
def test_the_predictor_keeps_its_name(strategy: str, name: str) -> None:
    program = wide(ScriptedSession(), strategy=strategy)
    assert [found for found, _ in program.named_predictors()] == [name]


def test_dspys_trace_has_one_entry_for_the_module() -> None:
    program = wide(says("Lyon", "Paris", "Paris"))
    with dspy.context(trace=[]):
        program(question="q")
        ((predictor, inputs, prediction),) = dspy.settings.trace
    assert predictor is program.solve
    assert inputs == {"question": "q"}
    assert prediction.answer == "Paris"


def test_another_language_model_replaces_all_members() -> None:
    session, other = ScriptedSession(), ScriptedSession()
    program = wide(session).deepcopy()
    program.set_lm(wide(other, models=("b",)).solve.lm)
    program.run({"question": "q"})
    assert (len(session.calls), len(other.calls)) == (0, 1)


def test_dspys_reset_leaves_the_members_and_no_other_model() -> None:
    session = ScriptedSession()
    with dspy.context(lm=dspy.LM("openai/elsewhere")):
        ask(wide(session).reset_copy())
    assert len(session.calls) == 3


def test_a_copy_keeps_its_members() -> None:
    session = ScriptedSession()
    ask(wide(session).deepcopy())
    assert sorted(call.sample for call in session.calls) == [0, 1, 2]


@dataclass(frozen=True)
class Returns(Aggregator):
    """A user's own that returns what it should not."""

    what: str

    def aggregate(self, members: Members) -> Verdict | None:
        answers = members.ask(everyone(members))
        first: Any = answers[0]
        wrong: dict[str, Any] = {
            "record": first.record,
            "answer": first,
            "text in a verdict": Verdict("x", 1.0),  # type: ignore[arg-type]
            "share": Verdict(first, 1.5),
            "nan": Verdict(first, float("nan")),
            "no field": Verdict(Answer(None, {}), 1.0),
            "none": None,
        }
        return wrong[self.what]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("record", r"must return a Verdict with an Answer, or None, not \{'answer'"),
        ("answer", r"must return a Verdict with an Answer, or None, not Answer\("),
        ("text in a verdict", "must return a Verdict with an Answer, or None"),
        ("share", "must return an agreement from 0 to 1, not 1.5"),
        ("nan", "must return an agreement from 0 to 1, not nan"),
        ("no field", r"must return the field 'answer', not \{\}"),
        ("none", "chose none of the answers"),
    ],
)
def test_what_an_own_aggregator_returns_wrongly_is_named(what: str, message: str) -> None:
    network = f'2x a -> {Returns.__module__}:Returns(what="{what}")'
    config = PipelineConfig(modules={"solve": parse_network(network, temperature=0.7)})
    where = f"aggregator '{Returns.__module__}:Returns' of module 'solve' "
    with pytest.raises(PipelineError, match=where + message):
        ask(bind(one(), ScriptedSession(), config))


def test_what_an_own_aggregator_raises_ends_the_run() -> None:
    network = f"2x a -> {Returns.__module__}:Returns(what=unheard)"
    config = PipelineConfig(modules={"solve": parse_network(network, temperature=0.7)})
    with pytest.raises(KeyError, match="unheard"):
        ask(bind(one(), ScriptedSession(), config))


def test_a_shuffled_vote_without_options_says_so_in_the_trace() -> None:
    config = parse_network("3x a -> shuffled_vote", temperature=0.7)
    step = ask(bind(one(), ScriptedSession(), PipelineConfig(modules={"solve": config})))
    assert [failure.kind for failure in step.members_failed] == ["no_options"]
    assert step.failure is None
