"""The diagnoser: one blind question for all outputs of an example, and its answer read strictly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.diagnosis.diagnoser import Diagnoser, Diagnosis
from pipelines import Module, Pipeline
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall
from pipelines.gateway.model import Model
from tests.pipelines.scripted_session import Script, ScriptedSession, received, written

PIPELINE = Pipeline(
    "locate-solve",
    [
        Module("locate", "table, question -> task", instructions="Extract the task."),
        Module("solve", "task -> answer"),
    ],
)
INPUTS = {"table": "1: add, 2: sub", "question": "task 2?"}


def diagnoser(script: Script) -> tuple[Diagnoser, ScriptedSession]:
    session = ScriptedSession(script)
    account: Any = session
    return Diagnoser(Model("sim/a"), PIPELINE, account), session


def candidates(call: LMCall) -> list[dict[str, Any]]:
    """What is to be judged, in the order shown."""
    lines = received(call)["candidates"].splitlines()
    assert [line.partition(" ")[0] for line in lines] == [f"[{n + 1}]" for n in range(len(lines))]
    return [json.loads(line.partition(" ")[2]) for line in lines]


def by_length(call: LMCall) -> str:
    """Rates every candidate by how long its task is."""
    return written(ratings=[len(c["task"]) for c in candidates(call)], reason="too short")


def ask(script: Script, *tasks: str, desired: dict[str, Any] | None = None) -> Diagnosis | None:
    return diagnoser(script)[0].diagnose(
        "locate", INPUTS, [{"task": task} for task in tasks], desired or {}
    )


def test_one_call_carries_all_that_a_judge_needs() -> None:
    judge, session = diagnoser(by_length)
    judge.diagnose("locate", INPUTS, [{"task": "sub"}, {"task": "ad"}], {"answer": "7"})
    [call] = session.calls
    shown = received(call)
    assert set(shown) == {"pipeline", "module", "inputs", "candidates", "desired_final_answer"}
    assert "locate" in shown["pipeline"]
    assert "solve" in shown["pipeline"]
    assert shown["module"] == "locate: table, question -> task\nExtract the task."
    assert json.loads(shown["inputs"]) == INPUTS
    assert json.loads(shown["desired_final_answer"]) == {"answer": "7"}
    assert (call.purpose, call.temperature, call.sample) == ("diagnoser", 0.0, 0)


def test_images_in_messages_are_shown_as_images_and_not_as_text() -> None:
    """Their base64 would cost thousands of tokens, and say nothing."""
    judge, session = diagnoser(lambda _: written(ratings=[5, 5], reason="no"))
    url = "data:image/png;base64," + "A" * 5000
    part = {"type": "image_url", "image_url": {"url": url}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]
    judge.diagnose("solve", {"messages": messages}, [{"answer": "a"}, {"answer": "b"}], {})
    content = session.calls[0].messages[-1]["content"]
    assert [each["image_url"]["url"] for each in content if each["type"] == "image_url"] == [url]
    assert "AAAA" not in "".join(each.get("text", "") for each in content)


@given(st.lists(st.text("ab", max_size=9), min_size=1, max_size=8, unique=True))
def test_ratings_come_back_in_the_order_of_the_outputs(tasks: list[str]) -> None:
    diagnosis = ask(by_length, *tasks)
    assert diagnosis is not None
    assert diagnosis.ratings == tuple(len(task) / 10 for task in tasks)
    assert diagnosis.reason == "too short"


def test_the_order_shown_depends_on_the_example_alone_and_is_not_always_the_given() -> None:
    judge, session = diagnoser(by_length)
    outputs = [{"task": letter * n} for n, letter in enumerate("abcdef", start=1)]
    for example in range(8):
        for _ in range(2):
            judge.diagnose("locate", {**INPUTS, "question": f"task {example}?"}, outputs, {})
    orders = [[c["task"] for c in candidates(call)] for call in session.calls]
    assert orders[::2] == orders[1::2]
    assert len({tuple(order) for order in orders}) >= 6
    firsts = {order[0] for order in orders}
    assert len(firsts) >= 3, "no place in the list goes with a place among the models"


@pytest.mark.parametrize(
    ("said", "expected"), [("[12, -3]", {1.0, 0.0}), ("[10, 0]", {1.0, 0.0}), ("[5, 5]", {0.5})]
)
def test_ratings_are_kept_within_their_scale(said: str, expected: set[float]) -> None:
    diagnosis = ask(lambda call: written(ratings=said, reason="r"), "a", "b")
    assert diagnosis is not None
    assert set(diagnosis.ratings) == expected


@pytest.mark.parametrize(
    "said",
    [
        written(ratings="[7]", reason="one of two"),
        written(ratings="[7, 8, 9]", reason="three of two"),
        written(ratings="good, bad", reason="no numbers"),
        written(ratings="", reason=""),
        "I'm sorry, but I can't help with that.",
        "",
    ],
)
def test_an_answer_without_a_rating_for_each_says_nothing(said: str) -> None:
    assert ask(lambda call: said, "a", "b") is None


@pytest.mark.parametrize("kind", ["server_error", "refusal", "context_window"])
def test_a_call_that_fails_says_nothing(kind: str) -> None:
    def script(call: LMCall) -> str:
        raise CallFailed(kind, "down")

    assert ask(script, "a", "b") is None


def test_a_spent_budget_passes_through() -> None:
    def script(call: LMCall) -> str:
        raise BudgetExhausted("no room")

    with pytest.raises(BudgetExhausted, match="no room"):
        ask(script, "a", "b")


def test_a_mistake_of_ours_is_not_taken_for_a_failed_call() -> None:
    def script(call: LMCall) -> str:
        raise AttributeError("a bug")

    with pytest.raises(Exception, match="a bug"):
        ask(script, "a", "b")


def test_nothing_shown_names_the_models() -> None:
    judge, session = diagnoser(by_length)
    judge.diagnose("locate", INPUTS, [{"task": "1"}, {"task": "22"}], {"answer": "7"})
    text = " ".join(message["content"] for message in session.calls[0].messages)
    assert "sim/" not in text


def test_what_could_not_be_read_is_counted_once_for_each_question() -> None:
    judge, _ = diagnoser(lambda call: "no idea")
    for _ in range(2):
        assert judge.diagnose("locate", INPUTS, [{"task": "sub"}, {"task": "ad"}], {}) is None
    assert judge.diagnose("solve", {"task": "sub"}, [{"answer": "7"}], {}) is None
    assert sorted(module for module, _ in judge.failures) == ["locate", "solve"]
    assert {failure and failure.kind for failure in judge.failures.values()} == {"unparsable"}
    able, _ = diagnoser(by_length)
    able.diagnose("locate", INPUTS, [{"task": "sub"}], {})
    assert list(able.failures.values()) == [None]
