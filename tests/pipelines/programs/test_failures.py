"""A failure is a value: whose it is, what it stops, and what is no failure."""

from __future__ import annotations

import pytest

from pipelines import ModuleFailed, patterns
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall, LMReply
from tests.pipelines.scripted_session import (
    INPUTS,
    LOCATE_SOLVE,
    ScriptedSession,
    bind,
    one,
    reply,
    written,
)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply("The answer is (I)."), "unparsable"),
        (reply(written(wrong="x")), "unparsable"),
        (reply("", finish_reason="length"), "truncated"),
        (reply("[[ ## ans", finish_reason="length"), "truncated"),
        (reply(""), "empty"),
        (reply("  \n "), "empty"),
        (reply("", finish_reason="content_filter"), "refusal"),
        (reply("I'm sorry, but I can't help with that."), "refusal"),
        (reply("I\u2019m sorry, but I can\u2019t assist with that request."), "refusal"),
        (reply("I cannot provide this."), "refusal"),
        (reply("As an AI language model, I am unable to help."), "refusal"),
        (reply("Sorry, I won't do that."), "refusal"),
        (reply("I cannot see any table."), "unparsable"),
        (reply("The clerk said: I cannot help."), "unparsable"),
    ],
)
def test_a_reply_that_does_not_parse_is_the_models_own_failure(answer: LMReply, kind: str) -> None:
    session = ScriptedSession(lambda call: answer)
    trace = bind(one(), session).run({"question": "q"})
    assert trace.outputs is None
    assert trace.failure is not None
    assert (trace.failure.kind, trace.failure.infrastructure) == (kind, False)
    assert len(trace.calls) == len(session.calls) == 2  # again as JSON; its cost is in the trace
    assert [call.unread for call in trace.calls] == [kind in ("unparsable", "truncated")] * 2
    assert trace.usd > 0


@pytest.mark.parametrize(
    ("kind", "infrastructure"),
    [("timeout", True), ("rate_limited", True), ("refusal", False), ("context_window", False)],
)
def test_a_call_that_failed_keeps_its_kind(kind: str, infrastructure: bool) -> None:
    def fail(call: LMCall) -> str:
        raise CallFailed(kind, "the provider said no")

    trace = bind(one(), ScriptedSession(fail)).run({"question": "q"})
    assert trace.failure is not None
    assert (trace.failure.kind, trace.failure.infrastructure) == (kind, infrastructure)
    assert "the provider said no" in trace.failure.message


def test_a_failure_stops_what_comes_after_it() -> None:
    session = ScriptedSession(lambda call: "nothing to parse")
    trace = bind(LOCATE_SOLVE, session).run(INPUTS)
    assert [step.module for step in trace.steps] == ["locate"]
    assert trace.failure == trace.steps[0].failure
    assert len(session.calls) == 2  # once in each form


def test_a_called_program_raises_its_failure() -> None:
    program = bind(one(), ScriptedSession(lambda call: ""))
    with pytest.raises(ModuleFailed, match=r"module 'solve' failed \(empty\)") as failed:
        program(question="q")
    assert failed.value.failure.kind == "empty"


def test_an_exhausted_budget_rises_through_everything() -> None:
    def exhaust(call: LMCall) -> str:
        raise BudgetExhausted("no room")

    for pipeline in (one(), patterns.majority_vote()):
        with pytest.raises(BudgetExhausted, match="no room"):
            bind(pipeline, ScriptedSession(exhaust)).run({"question": "q"})


def test_what_is_no_known_failure_is_a_bug_and_rises() -> None:
    def crash(call: LMCall) -> str:
        raise KeyError("a bug")

    with pytest.raises(Exception, match="a bug"):
        bind(one(), ScriptedSession(crash)).run({"question": "q"})
