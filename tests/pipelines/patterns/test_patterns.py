"""The ready-made pipelines: their modules, their wiring, and that they run."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines import Module, Pipeline, PipelineError, Trace
from pipelines.gateway.call import LMCall
from pipelines.gateway.model import Model
from pipelines.patterns import (
    locate_solve,
    majority_vote,
    medprompt,
    multi_agent_debate,
    rag,
    self_refine,
)
from pipelines.patterns.medprompt import nearest
from tests.pipelines.scripted_session import ScriptedSession, received, written


def run(pipeline: Pipeline, session: ScriptedSession, **inputs: Any) -> Trace:
    account: Any = session
    program = pipeline.bind(pipeline.default_config("m"), {"m": Model("sim/m", label="m")}, account)
    return program.run(inputs)


def test_locate_solve_is_the_readmes_example() -> None:
    pipeline = locate_solve()
    assert pipeline.name == "locate-solve"
    assert [module.signature for module in pipeline.modules] == [
        "table, question -> task",
        "task -> answer",
    ]
    assert pipeline.module("locate").instructions == "Extract the task whose ID is asked for."


def test_self_refine_hands_draft_and_feedback_on() -> None:
    pipeline = self_refine("question -> reply: int", draft="attempt", feedback="advice")
    assert pipeline.levels == (("generate",), ("criticise",), ("refine",))
    assert pipeline.inputs == ("question",)
    assert pipeline.outputs == ("reply",)
    assert pipeline.module("refine").reads == ("question", "attempt", "advice")
    assert pipeline.module("generate").output_fields == {"attempt": int}
    assert pipeline.module("criticise").output_fields == {"advice": str}


@pytest.mark.parametrize("strategy", ["predict", "chain_of_thought"])
def test_the_majority_of_the_solvers_is_the_answer(strategy: Any) -> None:
    says = ["Lyon", "Paris", "paris"]
    session = ScriptedSession(lambda call: written(reasoning="r", answer=says[call.sample]))
    pipeline = majority_vote(3, strategy=strategy)
    assert pipeline.levels == (("solver_1", "solver_2", "solver_3"), ("vote",))
    assert run(pipeline, session, question="q").outputs == {"answer": "Paris"}


def test_votes_keep_the_answers_type() -> None:
    pipeline = majority_vote(2, "table, question -> label: Literal['a, b', 'c']")
    session = ScriptedSession(lambda call: written(label="a, b"))
    assert run(pipeline, session, table="t", question="q").outputs == {"label": "a, b"}


def test_debaters_see_their_own_last_answer_and_those_of_the_others() -> None:
    def script(call: LMCall) -> str:
        inputs = received(call)
        if "own_answer" in inputs:
            return written(answer="+".join([inputs["own_answer"], inputs["other_answer_2"]]))
        if "answer_1_round_2" in inputs:
            return written(answer=" ".join(inputs[f"answer_{n}_round_2"] for n in (1, 2, 3)))
        return written(answer=str(call.sample + 1))

    pipeline = multi_agent_debate()
    assert [len(level) for level in pipeline.levels] == [3, 3, 1]
    assert len(pipeline.llm_modules) == 7
    trace = run(pipeline, ScriptedSession(script), question="q")
    assert trace.outputs == {"answer": "1+3 2+3 3+2"}
    assert trace.latency_s == 3.0


def test_a_debate_may_end_in_a_vote() -> None:
    pipeline = multi_agent_debate(2, 1, "task -> n: int", final="vote")
    session = ScriptedSession(lambda call: written(n=7))
    assert run(pipeline, session, task="t").outputs == {"n": 7}
    assert len(session.calls) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: majority_vote(0), "n >= 1 must hold, but got 0"),
        (lambda: majority_vote(signature="q -> a, b"), "it must have one output, the answer"),
        (lambda: self_refine("q a"), "bad signature 'q a': it must have exactly one '->'"),
        (lambda: multi_agent_debate(1), r"must hold, but got \(debaters=1, rounds=2\)"),
        (lambda: multi_agent_debate(final="votes"), "'model' or 'vote', but got 'votes'"),  # type: ignore[arg-type]
    ],
)
def test_senseless_patterns_are_refused(make: Any, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        make()


def test_the_reader_sees_as_many_passages_as_k() -> None:
    def search(question: str, k: int) -> str:
        return " ".join(["pears", "plums", "figs"][:k])

    seen: list[str] = []

    def script(call: LMCall) -> str:
        seen.append(received(call)["passages"])
        return written(answer="42")

    pipeline = rag(search, k=2)
    assert pipeline.levels == (("retrieve",), ("read",))
    assert run(pipeline, ScriptedSession(script), question="q").outputs == {"answer": "42"}
    assert seen == ["pears plums"]


POOL = [
    {"question": "Which planet is largest?\n(A) Mars\n(B) Jupiter", "answer": "B"},
    {"question": "Which metal melts first?\n(A) tin\n(B) iron", "answer": "A", "reasoning": "232"},
    {"question": "Which planet is nearest the sun?\n(A) Venus\n(B) Mercury", "answer": "B"},
]


def test_medprompt_shows_the_nearest_examples_but_never_the_question_itself() -> None:
    shown = nearest(POOL[0]["question"], medprompt(POOL, "m").module("recall").params["pool"], k=1)
    assert shown == f"question: {POOL[2]['question']}\nanswer: B"
    metals = nearest("a metal", medprompt(POOL, "m").module("recall").params["pool"], k=1)
    assert "reasoning: 232" in metals
    assert nearest("a metal", [], k=3) == "none"


def test_medprompt_votes_over_orders_of_the_options() -> None:
    orders = set()

    def script(call: LMCall) -> str:
        question = received(call)["question"]
        orders.add(question)
        letter = "A" if question.index("Pluto") < question.index("Ceres") else "B"
        return written(reasoning="r", answer=letter)

    asked = "Which one is larger?\n(A) Ceres\n(B) Pluto"
    pipeline = medprompt(POOL, "m", votes=5)
    assert run(pipeline, ScriptedSession(script), question=asked).outputs == {"answer": "B"}
    assert len(orders) == 2
    assert Pipeline.from_yaml(pipeline.to_yaml()) == pipeline


def test_medprompt_needs_solved_examples_and_voters() -> None:
    with pytest.raises(PipelineError, match="one has no 'answer'"):
        medprompt([{"question": "q"}], "m")
    with pytest.raises(PipelineError, match="votes >= 2 must hold, but got 1"):
        medprompt(POOL, "m", votes=1)


PROGRAMS = ["def f(x): return x + x", "def f(x): return x * x", "def f(x): return 2 * x", "def f("]


def passes(task: str, program: str) -> bool:
    """Whether it passes the test in the task: f(2) == 4, which two kinds of programs do."""
    space: dict[str, Any] = {}
    exec(program, space)
    return bool(space["f"](2) == 4)


def behaviour(task: str, program: str) -> list[int]:
    """What it returns on inputs that nobody has the answers for."""
    space: dict[str, Any] = {}
    exec(program, space)
    return [space["f"](x) for x in (3, 5)]


def test_samples_are_filtered_by_tests_and_clustered_by_behaviour() -> None:
    here = "tests.pipelines.patterns.test_patterns"
    network = f"4x m -> filter_cluster(check_function={here}:passes, key_function={here}:behaviour)"
    pipeline = Pipeline(
        "programs", [Module("write", "task -> program", model=network, temperature=1.0)]
    )
    session = ScriptedSession(lambda call: written(program=PROGRAMS[call.sample]))
    trace = run(pipeline, session, task="Double x.")
    assert trace.outputs == {"program": PROGRAMS[0]}
    assert trace.confidence == 0.5
