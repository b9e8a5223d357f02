"""What a run leaves behind: steps, draws, failures; and how its models are asked again."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import pickle
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import litellm
import pytest
from litellm.exceptions import BadRequestError

from pipelines import ModuleFailed, PipelineError
from pipelines.adapters.callables import from_callable
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall
from pipelines.programs.memo import Memo
from tests.pipelines.adapters.callables.agents import (
    FEW,
    ROUTES,
    Models,
    asked,
    bound,
    by_gateway,
    by_litellm,
    content,
    locate_and_solve,
    once,
    user,
)
from tests.pipelines.scripted_session import MODELS, ScriptedSession

A_FEW_ROUTES = pytest.mark.parametrize("route", FEW)
CHAIN = ["plan", "solve"]


def echo(call: LMCall) -> str:
    return f"[{call.messages[-1]['content']}]"


def chain(route: str) -> Callable[[Models, str], str]:
    """Plans, then solves what was planned."""
    ask = ROUTES[route]
    return lambda models, q: ask(models["solve"], ask(models["plan"], q))


def failing(kind: str, where: str = "q") -> Callable[[LMCall], str]:
    def script(call: LMCall) -> str:
        if call.messages[-1]["content"] == where:
            raise CallFailed(kind, "away")
        return echo(call)

    return script


@A_FEW_ROUTES
def test_every_run_has_exactly_its_own_calls(route: str) -> None:
    """64 at once, each asking three times, in threads of clients and servers."""

    def script(call: LMCall) -> str:
        time.sleep(random.random() * 0.01)
        return echo(call)

    def ask(models: Models, question: str) -> str:
        return "".join(ROUTES[route](models["solve"], f"{question}/{n}") for n in range(3))

    program = bound(once(ask), ScriptedSession(script))
    with ThreadPoolExecutor(64) as threads:
        traces = list(threads.map(lambda n: program.run({"question": str(n)}), range(64)))
    for n, trace in enumerate(traces):
        told = [step.inputs["messages"][0]["content"] for step in trace.steps]
        assert told == [f"{n}/0", f"{n}/1", f"{n}/2"]
        assert trace.outputs == {"answer": f"[{n}/0][{n}/1][{n}/2]"}


def test_each_run_at_a_time_has_an_instance_of_its_own() -> None:
    made = []
    together = threading.Barrier(3)

    def build(models: Models) -> Any:
        made.append(models["solve"])

        def agent(question: str) -> str:
            together.wait(10)
            return question

        return agent

    program = bound(from_callable(build, ["solve"], outputs=["answer"]), ScriptedSession())
    made.clear()
    for turn in "ab":
        with ThreadPoolExecutor(3) as threads:
            list(
                threads.map(lambda n: program.run({"question": n}), (turn + "1", turn + "2", turn))
            )
        assert len(set(made)) == len(made) == 3


def test_a_config_gets_instances_of_its_own() -> None:
    """What code keeps from one run to the next must not reach another config."""

    def build(models: Models) -> Any:
        kept: dict[str, str] = {}

        def agent(question: str) -> str:
            return kept.setdefault("reply", by_gateway(models["solve"], question))

        return agent

    pipeline = from_callable(build, ["solve"], outputs=["answer"])
    memo = Memo()
    session: Any = ScriptedSession(lambda call: call.model.label)
    for label in ("a", "b"):
        program = pipeline.bind(pipeline.default_config(label), MODELS, session, memo)
        assert program.run({"question": "q"}).outputs == {"answer": label}


@pytest.mark.parametrize("route", ROUTES)
def test_equal_calls_of_a_run_are_different_draws(route: str) -> None:
    def vote(models: Models, question: str) -> str:
        return " ".join(ROUTES[route](models["solve"], question) for _ in range(3))

    program = bound(once(vote), ScriptedSession(lambda call: f"#{call.sample}"))
    assert program.run({"question": "q"}).outputs == {"answer": "#0 #1 #2"}
    assert program.run({"question": "r"}).outputs == {"answer": "#0 #1 #2"}


def test_asynchronous_votes_draw_too() -> None:
    def vote(models: Models, question: str) -> Any:
        async def ask() -> str:
            calls = (models["solve"].acomplete(user(question)) for _ in range(20))
            return " ".join(sorted(await asyncio.gather(*calls), key=int))

        return ask()

    program = bound(once(vote), ScriptedSession(lambda call: str(call.sample)))
    assert program.run({"question": "q"}).outputs == {"answer": " ".join(map(str, range(20)))}


def test_asynchronous_runs_share_an_event_loop(caplog: pytest.LogCaptureFixture) -> None:
    """On a loop for each, litellm would carry its logging from one to the next, and say so."""

    def ask(models: Models, question: str) -> Any:
        async def asked() -> str:
            return content(await litellm.acompletion(models["solve"], user(question)))

        return asked()

    program = bound(once(ask), ScriptedSession(echo))
    program.run({"question": "first"})  # moves what other tests left on loops of theirs
    caplog.clear()
    with ThreadPoolExecutor(16) as threads:
        traces = list(threads.map(lambda n: program.run({"question": str(n)}), range(32)))
    assert [trace.outputs for trace in traces] == [{"answer": f"[{n}]"} for n in range(32)]
    assert "event loop changed" not in caplog.text


def test_a_seed_names_the_draw_and_twins_do_not_share_one() -> None:
    def ask(models: Models, question: str) -> str:
        seeded = [by_litellm(models["plan"], question, seed=seed) for seed in (7, 7, 3)]
        twins = [by_litellm(models[name], question) for name in CHAIN]
        return " ".join([*seeded, *twins])

    program = bound(once(ask, modules=CHAIN), ScriptedSession(lambda call: f"#{call.sample}"))
    assert program.run({"question": "q"}).outputs == {"answer": "#7 #7 #3 #0 #1"}


def test_at_temperature_0_a_model_has_one_answer() -> None:
    session = ScriptedSession(echo)
    vote = once(lambda models, q: [by_litellm(models["solve"], q, temperature=1) for _ in "ab"])
    bound(vote, session, temperature=0.0).run({"question": "q"})
    assert asked(session) == [("q", 0), ("q", 0)]
    assert {call.temperature for call in session.calls} == {0.0}


def test_the_codes_temperature_holds_where_the_config_has_none() -> None:
    session = ScriptedSession(echo)
    tell = once(
        lambda models, q: (
            by_litellm(models["solve"], q, temperature=0.4),
            models["solve"].temperature,
            models["solve"].name,
        )
    )
    told = bound(tell, session).run({"question": "q"}).outputs
    assert told == {"answer": ("[q]", None, "sim/a")}
    assert session.calls[0].temperature == 0.4


@A_FEW_ROUTES
def test_the_end_of_the_budget_ends_the_run_whatever_the_code_does(route: str) -> None:
    def script(call: LMCall) -> str:
        if call.messages[-1]["content"] == "[q]":
            raise BudgetExhausted("no room")
        return echo(call)

    def stubborn(models: Models, question: str) -> str:
        planned = ROUTES[route](models["plan"], question)
        for _ in range(3):
            try:
                return ROUTES[route](models["solve"], planned)
            except Exception:
                continue
        return "never mind"

    session = ScriptedSession(script)
    with pytest.raises(BudgetExhausted, match="no room"):
        bound(once(stubborn, modules=CHAIN), session).run({"question": "q"})
    assert len(session.calls) == 2  # what comes after the end is not asked any more


@A_FEW_ROUTES
@pytest.mark.parametrize(
    ("kind", "infrastructure"), [("server_error", True), ("rate_limited", True), ("refusal", False)]
)
def test_a_failed_call_is_the_runs_failure(route: str, kind: str, infrastructure: bool) -> None:
    program = bound(once(chain(route), modules=CHAIN), ScriptedSession(failing(kind, "[q]")))
    trace = program.run({"question": "q"})
    assert trace.outputs is None
    assert trace.failure is not None
    told = (trace.failure.kind, trace.failure.module, trace.failure.infrastructure)
    assert told == (kind, "solve", infrastructure)
    with pytest.raises(ModuleFailed, match=f"module 'solve' failed \\({kind}\\): away"):
        program.prediction_of({"question": "q"})


@A_FEW_ROUTES
def test_an_outage_that_the_code_deals_with_is_noted(route: str) -> None:
    def careful(models: Models, question: str) -> str:
        try:
            return ROUTES[route](models["plan"], question)
        except Exception:
            return ROUTES[route](models["solve"], "instead")

    program = bound(once(careful, modules=CHAIN), ScriptedSession(failing("timeout")))
    trace = program.run({"question": "q"})
    assert (trace.outputs, trace.failure) == ({"answer": "[instead]"}, None)
    assert [failure.kind for failure in trace.made_up_for] == ["timeout"]


def test_what_the_code_raises_is_its_own_failure_and_its_cause_is_kept() -> None:
    def wrong(models: Models, question: str) -> float:
        return 1 / len(by_gateway(models["solve"], question)[3:])

    program = bound(once(wrong), ScriptedSession(echo))
    failure = program.run({"question": "q"}).failure
    assert failure is not None
    assert (failure.kind, failure.module, failure.infrastructure) == (
        "program_error",
        "build",
        False,
    )
    assert failure.message == "ZeroDivisionError: division by zero"
    with pytest.raises(ModuleFailed) as raised:
        program.prediction_of({"question": "q"})
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("returned", "outputs", "message"),
    [
        ("42", ["answer", "reason"], "must return a mapping of outputs"),
        (None, ["answer"], "returned None"),
        ({"anwser": 1}, ["answer"], "must return the output 'answer', but returned ['anwser']"),
    ],
)
def test_wrong_outputs_are_the_programs_failure(
    returned: Any, outputs: list[str], message: str
) -> None:
    agent = once(lambda models, q: returned, outputs=outputs)
    failure = bound(agent, ScriptedSession()).run({"question": "q"}).failure
    assert failure is not None
    assert failure.kind == "program_error"
    assert message in failure.message


def test_outputs_need_not_be_known() -> None:
    agent = once(lambda models, q: {"answer": q, "steps": 3}, outputs=())
    assert bound(agent, ScriptedSession()).run({"question": "q"}).outputs == {
        "answer": "q",
        "steps": 3,
    }


def test_a_missing_input_is_named() -> None:
    program = bound(from_callable(locate_and_solve, ["locate", "solve"]), ScriptedSession())
    with pytest.raises(PipelineError, match="the input 'table' is missing; nearest: 'tables'"):
        program.run({"tables": "", "question": ""})


def test_inputs_are_copied_for_each_run() -> None:
    def spoil(models: Models, question: Any) -> int:
        question.append("more")
        return len(question)

    program, given = bound(once(spoil), ScriptedSession()), ["q"]
    assert program.run({"question": given}).outputs == {"answer": 2}
    assert given == ["q"]


def test_the_same_inputs_are_run_once_unless_an_outage_was_met() -> None:
    runs = []

    def ask(models: Models, question: str) -> str:
        runs.append(question)
        return by_gateway(models["solve"], question)

    program = bound(once(ask), ScriptedSession(failing("timeout", "down")))
    for question in ("q", "q", "down", "down"):
        program.run({"question": question})
    assert runs == ["q", "down", "down"]


@A_FEW_ROUTES
def test_what_a_module_receives_is_found_without_asking_it(route: str) -> None:
    session = ScriptedSession(echo)
    program = bound(once(chain(route), modules=[*CHAIN, "never"]), session)
    received = program.inputs_of("solve", {"question": "q"})
    assert received == {"messages": user("[q]")}
    assert asked(session) == [("q", 0)]
    assert program.inputs_of("never", {"question": "q"}) is None
    assert program.run({"question": "q"}).step("solve").inputs == received
    with pytest.raises(PipelineError, match="has no module 'slove'; nearest: 'solve'"):
        program.inputs_of("slove", {"question": "q"})


def test_what_fails_on_the_way_is_not_reached() -> None:
    program = bound(once(chain("openai"), modules=CHAIN), ScriptedSession(failing("timeout")))
    assert program.inputs_of("solve", {"question": "q"}) is None


def test_a_module_answers_the_same_messages_under_the_same_parameters() -> None:
    session = ScriptedSession(echo)
    ask = once(lambda models, q: by_litellm(models["solve"], q, temperature=0.2, max_tokens=9))
    step = bound(ask, session).run({"question": "q"}).steps[0]
    again = bound(ask, session).run_module("solve", step.inputs)
    assert (again.inputs, again.outputs) == (step.inputs, step.outputs)
    assert session.calls[0].key == session.calls[1].key
    failed = bound(ask, ScriptedSession(failing("refusal"))).run_module("solve", step.inputs)
    assert failed.failure is not None
    assert failed.failure.kind == "refusal"
    with pytest.raises(PipelineError, match="messages must be a list"):
        bound(ask, session).run_module("solve", {"messages": "q"})


def test_calls_that_the_run_does_not_wait_for_reach_no_other_run() -> None:
    late: list[Any] = []
    waiting = threading.Event()

    def script(call: LMCall) -> str:
        if call.messages[-1]["content"] == "late":
            waiting.wait(10)
        return echo(call)

    def hasty(models: Models, question: str) -> str:
        def linger() -> None:
            by_gateway(models["solve"], "late")
            try:
                by_gateway(models["solve"], "later")
            except Exception as error:
                late.append(str(error))

        if not late:
            thread = threading.Thread(target=linger)
            thread.start()
            late.append(thread)
            while not session.calls:
                time.sleep(0.001)
        return by_gateway(models["solve"], question)

    session = ScriptedSession(script)
    program = bound(once(hasty), session)
    program.run({"question": "a"})
    second = program.run({"question": "b"})
    waiting.set()
    late[0].join()
    assert [step.inputs["messages"][0]["content"] for step in second.steps] == ["b"]
    assert "later" not in dict(asked(session))
    assert len(late) == 2


def test_a_handle_is_text_and_outlives_nothing() -> None:
    kept: list[Any] = []
    program = bound(once(lambda models, q: kept.append(models["solve"])), ScriptedSession(echo))
    program.run({"question": "q"})
    (handle,) = kept
    assert handle.startswith("compound/")
    assert handle.endswith("/solve")
    assert copy.deepcopy(handle) is handle
    assert type(pickle.loads(pickle.dumps(handle))) is str
    assert json.loads(json.dumps(handle)) == handle
    with pytest.raises(BadRequestError, match="outside of a run"):
        by_litellm(handle, "x")
    del program
    gc.collect()  # the error's traceback has seen the instance
    with pytest.raises(BadRequestError, match="belonged to a run that is over"):
        by_litellm(handle, "x")


async def leaving(models: Models, question: str) -> Any:
    await asyncio.sleep(0)
    sys.exit(3)


@pytest.mark.parametrize("code", [lambda models, question: sys.exit(3), leaving])
def test_an_exit_is_the_codes_own_failure(code: Any) -> None:
    program = bound(once(code, modules=CHAIN), ScriptedSession(echo))
    for question in ("q", "again"):  # the event loop goes on
        trace = program.run({"question": question})
        assert trace.failure is not None
        assert (trace.failure.kind, trace.failure.message) == ("program_error", "SystemExit: 3")
