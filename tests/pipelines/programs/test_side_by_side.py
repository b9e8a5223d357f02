"""Independent modules run at the same time, and twins draw different samples."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import pytest

from pipelines import Module, Pipeline, Trace, patterns
from pipelines.gateway.call import LMCall, LMReply
from search_spaces import PipelineConfig
from tests.pipelines.scripted_session import (
    LOCATE_SOLVE,
    ScriptedSession,
    bind,
    received,
    reply,
    requested,
    signed,
    written,
)

SECONDS = {"a": 1.0, "b": 5.0, "c": 7.0, "d": 1.0}


def test_independent_modules_run_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)

    def meet(call: LMCall) -> str:
        together.wait()  # breaks, and fails the test, unless all three calls are in flight
        return signed(call)

    pipeline = patterns.majority_vote()
    trace = bind(pipeline, ScriptedSession(meet)).run({"question": "q"})
    assert trace.failure is None
    assert trace.latency_s == 1.0
    assert [step.module for step in trace.steps] == ["solver_1", "solver_2", "solver_3", "vote"]


def run_paced(seconds: dict[str, float]) -> Trace:
    """Two paths, of which the replies with each field take so long."""
    modules = [
        Module("fast", "q -> a"),
        Module("slow", "q -> b"),
        Module("long", "a -> c"),
        Module("short", "b -> d"),
    ]

    def paced(call: LMCall) -> LMReply:
        (field,) = requested(call)
        return reply(signed(call), latency_s=seconds[field])

    return bind(Pipeline("x", modules), ScriptedSession(paced)).run({"q": "q"})


def test_the_latency_is_that_of_the_slowest_path_not_of_the_slowest_levels() -> None:
    trace = run_paced(SECONDS)
    assert trace.latency_s == 8.0  # 1 + 7, where the levels' slowest would give 5 + 7


@pytest.mark.parametrize("unknown", SECONDS)
def test_the_latency_is_unknown_if_that_of_any_step_is(unknown: str) -> None:
    trace = run_paced({**SECONDS, unknown: math.nan})
    assert math.isnan(trace.latency_s)
    began = {field: start for step, start in trace.timed_steps() for field in step.outputs or ()}
    assert math.isnan(began["c"]) == (unknown == "a")
    assert math.isnan(began["d"]) == (unknown == "b")


def test_many_threads_share_one_program() -> None:
    def echo(call: LMCall) -> str:
        time.sleep(0.001)
        (field,) = requested(call)
        return written(**{field: "/".join(received(call).values())})

    program = bind(LOCATE_SOLVE, ScriptedSession(echo))
    answers: dict[int, Any] = {}

    def work(number: int) -> None:
        answers[number] = program.run({"table": f"t{number}", "question": "q"})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: trace.outputs["answer"] for n, trace in answers.items()} == {
        n: f"t{n}/q" for n in range(16)
    }
    assert all(len(trace.calls) == 2 for trace in answers.values())


def samples(session: ScriptedSession) -> list[tuple[str, int]]:
    return sorted((call.model.label, call.sample) for call in session.calls)


def test_twins_of_one_model_draw_different_samples() -> None:
    session = ScriptedSession()
    bind(patterns.majority_vote(temperature=0.7), session).run({"question": "q"})
    assert samples(session) == [("a", 0), ("a", 1), ("a", 2)]


def test_twins_are_told_by_their_fields_and_not_by_how_a_signature_is_written() -> None:
    pipeline = Pipeline(
        "x",
        [
            Module("one", "question -> answer", temperature=0.7, rename={"answer": "a"}),
            Module("two", "question->answer:str", temperature=0.7, rename={"answer": "b"}),
        ],
    )
    session = ScriptedSession()
    bind(pipeline, session).run({"question": "q"})
    assert samples(session) == [("a", 0), ("a", 1)]


def test_twins_of_different_models_draw_the_first_sample_each() -> None:
    pipeline = patterns.majority_vote(temperature=0.7)
    session = ScriptedSession()
    bind(pipeline, session, pipeline.default_config("a").with_models({"solver_2": "b"})).run(
        {"question": "q"}
    )
    assert samples(session) == [("a", 0), ("a", 1), ("b", 0)]


@pytest.mark.parametrize("temperature", [None, 0.0])
def test_twins_that_do_not_vary_share_the_first_sample(temperature: float | None) -> None:
    session = ScriptedSession()
    bind(patterns.majority_vote(temperature=temperature), session).run({"question": "q"})
    assert samples(session) == [("a", 0)] * 3


def test_modules_told_different_things_are_no_twins() -> None:
    pipeline = patterns.majority_vote(temperature=0.7)
    config = pipeline.default_config("a")
    told = config.modules["solver_2"].model_copy(update={"instructions": "Think twice."})
    session = ScriptedSession()
    bind(pipeline, session, PipelineConfig(modules={**config.modules, "solver_2": told})).run(
        {"question": "q"}
    )
    assert samples(session) == [("a", 0), ("a", 0), ("a", 1)]
