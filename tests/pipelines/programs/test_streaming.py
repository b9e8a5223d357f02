"""Streams and awaited runs: quick answers first, the last as a call's, and early ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer
from pipelines import Module, ModuleFailed, Pipeline, PipelineError
from pipelines.gateway.gateway import default_gateway
from pipelines.gateway.model import Model
from pipelines.programs.bound_program import Prediction
from tests.slow_model import Slow

NAMES = ("quick", "other", "slow", "check")


def says(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    if params["model"] == "check":
        return "[[ ## accepted ## ]]\nFalse\n\n[[ ## completed ## ]]"
    return f"[[ ## answer ## ]]\n{params['model']}\n\n[[ ## completed ## ]]"


def shout(answer: str) -> str:
    return answer.upper()


def no_quick_ones(answer: str) -> str:
    if answer == "quick":
        raise ValueError("too quick")
    return answer.upper()


def tuned(server: LoopbackServer, network: str, *more: Module, outputs: Sequence[str] = ()) -> Any:
    models = [
        Model(
            f"openai/{name}", label=name, api_base=server.url,
            input_usd_per_million=1.0, output_usd_per_million=1.0,
        )
        for name in NAMES
    ]  # fmt: skip
    modules = [Module("think", "question -> answer", model=network), *more]
    given = Pipeline("thinker", modules, outputs)
    return given.with_config(given.default_config(), models)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("COMPOUND_OPTIMIZER_CACHE", str(tmp_path / "replies"))
    default_gateway.cache_clear()
    yield
    default_gateway().close()
    default_gateway.cache_clear()


def streamed(pipeline: Pipeline, slow: Slow) -> list[Prediction]:
    """All predictions; `slow` answers once the first is there."""
    found = []
    for prediction in pipeline.stream(question="why?"):
        found.append(prediction)
        slow.go_on.set()
    return found


@pytest.mark.parametrize(
    ("network", "confidences"),
    [
        ("quick + slow -> cascade(check)", [0.5, 0.5]),
        ("quick + other + slow -> cascade(check, steps=[1, 1, 1])", [1 / 3, 1 / 3, 1 / 3]),
        ("quick + slow + slow -> first_to_finish(count=2)", [0.5, 0.5]),
    ],
)
def test_answers_come_as_they_are_found_and_the_last_is_a_calls(
    network: str, confidences: list[float]
) -> None:
    slow = Slow()
    with LoopbackServer(slow, reply=says) as server:
        pipeline = tuned(server, network)
        found = streamed(pipeline, slow)
        called = pipeline(question="why?")
    assert found[0].answer == "quick"
    assert [each.final for each in found] == [False] * (len(found) - 1) + [True]
    assert [each.confidence for each in found] == pytest.approx(confidences)
    assert found[-1] == called
    assert found[-1].confidence == called.confidence


@pytest.mark.parametrize(
    ("function", "answers"),
    [(shout, [("quick", "QUICK"), ("slow", "SLOW")]), (no_quick_ones, [("slow", "SLOW")])],
)
def test_functions_run_on_provisional_answers_and_drop_those_they_fail_on(
    function: Callable[..., Any], answers: list[tuple[str, str]]
) -> None:
    slow = Slow()
    if function is no_quick_ones:
        slow.go_on.set()
    with LoopbackServer(slow, reply=says) as server:
        after = Module("shout", "answer -> loud", function=function)
        pipeline = tuned(
            server, "quick + slow -> cascade(check)", after, outputs=["answer", "loud"]
        )
        found = streamed(pipeline, slow)
    assert [(each.answer, each.loud) for each in found] == answers


def test_a_run_calls_one_function_at_a_time_while_a_race_goes_on() -> None:
    slow, busy, overlapped = Slow(), threading.Lock(), threading.Event()

    def alone(answer: str) -> str:
        if not busy.acquire(blocking=False):
            overlapped.set()
            return answer
        slow.go_on.set()  # the race ends while this runs on its first answer
        if answer == "quick":
            overlapped.wait(0.5)
        busy.release()
        return answer.upper()

    with LoopbackServer(slow, reply=says) as server:
        after = Module("alone", "answer -> loud", function=alone)
        pipeline = tuned(server, "quick + slow + slow -> first_to_finish(count=2)", after)
        found = [prediction.loud for prediction in pipeline.stream(question="why?")]
    assert not overlapped.is_set()
    assert found[0] == "QUICK"


def test_no_further_call_is_made_for_a_provisional_answer() -> None:
    slow = Slow()
    slow.go_on.set()
    with LoopbackServer(slow, reply=says) as server:
        again = Module("again", "question, answer -> accepted: bool", model="check")
        pipeline = tuned(server, "quick + slow -> cascade(check)", again)
        found = streamed(pipeline, slow)
        assert [each.final for each in found] == [True]
        assert server.requests == 4


def test_a_stream_without_a_wide_module_has_the_final_answer_alone() -> None:
    with LoopbackServer(reply=says) as server:
        pipeline = tuned(server, "quick")
        (only,) = pipeline.stream(question="why?")
    assert only.final
    assert only.answer == "quick"


def test_closing_a_stream_cuts_off_the_call_in_flight() -> None:
    slow = Slow(hangs=True)
    with LoopbackServer(slow, reply=says) as server:
        stream = tuned(server, "quick + slow -> cascade(check)").stream(question="why?")
        assert next(stream).answer == "quick"
        assert slow.asked.wait(30)
        stream.close()
        _until(lambda: server.meter.abandoned == 1)


def test_errors_are_those_of_a_call() -> None:
    with LoopbackServer(Behaviour(status=400), reply=says) as server:
        pipeline = tuned(server, "quick")
        with pytest.raises(ModuleFailed, match="think"):
            list(pipeline.stream(question="why?"))
        with pytest.raises(ModuleFailed, match="think"):
            asyncio.run(pipeline.arun(question="why?"))
        with pytest.raises(PipelineError, match="needs the input 'question'"):
            pipeline.stream()


def test_many_runs_are_awaited_together() -> None:
    async def run_all(pipeline: Pipeline) -> list[Any]:
        return await asyncio.gather(*(pipeline.arun(question=f"{n}") for n in range(20)))

    waiting = threading.Barrier(20)

    def together(request: LoopbackRequest) -> Behaviour:
        waiting.wait(30)  # fails unless all are in flight at once
        return Behaviour()

    with LoopbackServer(together, reply=says) as server:
        found = asyncio.run(run_all(tuned(server, "quick")))
    assert [each.answer for each in found] == ["quick"] * 20


def test_cancelling_an_awaited_run_cuts_off_its_call() -> None:
    slow = Slow(hangs=True)

    async def cancelled(pipeline: Pipeline) -> None:
        run = asyncio.create_task(pipeline.arun(question="why?"))
        await asyncio.to_thread(slow.asked.wait, 30)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    with LoopbackServer(slow, reply=says) as server:
        asyncio.run(cancelled(tuned(server, "slow")))
        _until(lambda: server.meter.abandoned == 1)
        worst = default_gateway().session("calls").spent.usd
    assert worst > 2048 / 1e6  # all that it might have written


def _until(happened: Callable[[], bool]) -> None:
    for _ in range(1000):
        if happened():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not happen")
