"""Many configs in one pool: the same outcomes at any concurrency, every shared step taken once."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.evaluator import Evaluator
from evaluators.metrics import resolve_metric
from evaluators.outcome import Outcome
from evaluators.pool import Raised, first_error, run_pool
from pipelines import Module, Pipeline
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.aggregators.notation import parse_network
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall, LMReply
from pipelines.programs.concurrency import Resumable
from pipelines.spec.tunable import Tunable
from search_spaces import PipelineConfig
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve
from tests.pipelines.scripted_session import (
    MODELS,
    CachingSession,
    Script,
    ScriptedSession,
    reply,
    requested,
    written,
)

CHAIN = Pipeline(
    "chain", [Module("draft", "question -> task"), Module("solve", "question, task -> answer")]
)
QUESTIONS = [f"Question {number}" for number in range(4)]
PAIRS = list(itertools.product("abc", "abc"))


def evaluator(
    script: Script, concurrency: int, pipeline: Tunable = CHAIN, session: type = ScriptedSession
) -> Evaluator:
    examples = [dspy.Example(question=text, table="t", answer="A") for text in QUESTIONS]
    metric = resolve_metric("exact_match", ("answer",), ("question", "table", "answer"))
    return Evaluator(pipeline, MODELS, examples, metric, session(script), concurrency)


def calls(made: Evaluator) -> list[LMCall]:
    session: Any = made.session
    return list(session.calls)


def config(draft: str = "a", solve: str = "a") -> PipelineConfig:
    modules = {"draft": draft, "solve": solve}
    return PipelineConfig(
        modules={name: parse_network(text, temperature=0.7) for name, text in modules.items()}
    )


def unreliable(call: LMCall) -> LMReply:
    """Late by up to 3 ms; outages, refusals and replies without a form by chance, which the call
    decides."""
    drawn = zlib.crc32(call.key.encode())
    time.sleep(drawn % 4 / 1000)
    if drawn % 7 == 0:
        raise CallFailed(("timeout", "refusal")[drawn % 2], "no")
    fields = dict.fromkeys(requested(call), "AB"[drawn % 2])
    text = "no form" if drawn % 7 == 1 else written(**fields)
    return reply(text, latency_s=drawn % 1000 / 100)


NETWORKS = st.sampled_from(
    ["a", "b", "c", "2x a -> majority_vote", "a + b -> cascade", "b + a + b -> majority_vote"]
)
RUNS = st.lists(
    st.tuples(st.builds(config, NETWORKS, NETWORKS), st.integers(0, 3)), min_size=1, max_size=30
)


@settings(max_examples=25)
@given(RUNS, st.randoms())
def test_outcomes_are_the_same_at_any_concurrency_and_in_any_order(
    runs: list[tuple[PipelineConfig, int]], random: Any
) -> None:
    pools = [evaluator(unreliable, concurrency) for concurrency in (1, 3, 32)]
    for made in pools:
        made.run(runs)
        random.shuffle(runs)
    known = [[made.known(c).outcomes[i] for c, i in runs] for made in pools]
    scored = [run for run, outcome in zip(runs, known[0], strict=True) if not outcome.outage]
    traces = [[made.trace(c, i) for c, i in scored] for made in pools]
    assert known[0] == known[1] == known[2]
    assert traces[0] == traces[1] == traces[2]


def test_what_ended_before_ctrl_c_is_kept() -> None:
    over = threading.Event()

    def interrupted(call: LMCall) -> LMReply:
        if "Question 2" in str(call.messages):
            os.kill(os.getpid(), signal.SIGINT)
            over.wait(10)
        return reply(written(**dict.fromkeys(requested(call), "A")))

    made = evaluator(interrupted, 1)
    try:
        with pytest.raises(KeyboardInterrupt):
            made.run([(config(), index) for index in range(4)])
    finally:
        over.set()
    assert [*made.known(config()).scores] == [0, 1]


@pytest.mark.parametrize("concurrency", [1, 3, 32])
def test_a_step_that_runs_share_is_taken_once(concurrency: int) -> None:
    made = evaluator(lambda call: written(**dict.fromkeys(requested(call), "A")), concurrency)
    configs = [config(draft, solve) for draft, solve in PAIRS]
    made.run(list(itertools.product(configs, range(4))))
    times = Counter(call.key for call in calls(made))
    assert set(times.values()) == {1}
    assert len(times) == 4 * (3 + 3), "all drafts are alike, and so are the tasks that they set"
    assert [run.example for run in made.history] == [*range(4)] * 9, "in the order given"


def test_an_outage_in_a_shared_step_is_one_outage_for_all_of_the_pool() -> None:
    down = threading.Event()
    down.set()

    def script(call: LMCall) -> str:
        if down.is_set():
            raise CallFailed("timeout", "no")
        return written(**dict.fromkeys(requested(call), "A"))

    made = evaluator(script, 1)
    configs = [config(solve=solve) for solve in "abc"]
    made.run([(each, 0) for each in configs])
    assert len(calls(made)) == 1
    assert all(made.known(each).unscored == 1 for each in configs)
    down.clear()
    made.run([(config(solve="a + b -> majority_vote"), 0)])
    assert len(calls(made)) == 4, "later runs try again"


def test_no_thread_is_held_up_by_a_step_that_another_run_takes() -> None:
    other = threading.Event()

    def script(call: LMCall) -> str:
        if call.model.label == "b":
            other.set()
        elif "task" in requested(call):
            assert other.wait(5), "both threads wait for the same draft"
        return written(**dict.fromkeys(requested(call), "A"))

    made = evaluator(script, 2)
    sharing = [config("a", solve) for solve in ("a", "c", "2x a -> majority_vote")]
    made.run([*((each, 0) for each in sharing), (config("b", "a"), 1)])
    assert all(made.known(each).mean == 1.0 for each in sharing)


def test_the_shared_steps_of_a_dspy_program_are_taken_once() -> None:
    def script(call: LMCall) -> str:
        time.sleep(0.005)
        return written(**dict.fromkeys(requested(call), "A"))

    pipeline = from_dspy(LocateSolve())
    made = evaluator(script, 8, pipeline)
    first = pipeline.default_config("a")
    made.run([(first.with_models({"solve": label}), 0) for label in "abc"])
    assert Counter(call.model.label for call in calls(made)) == {"a": 2, "b": 1, "c": 1}


def test_an_answer_that_runs_share_is_scored_once() -> None:
    scored: list[str] = []

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        time.sleep(0.005)
        scored.append(example.question)
        return 1.0

    made = evaluator(lambda call: written(**dict.fromkeys(requested(call), "A")), 8)
    made.metric = resolve_metric(metric, ("answer",), ("question", "answer"))
    made.run([(config(draft, solve), 0) for draft, solve in PAIRS])
    assert len(scored) == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 30), st.sampled_from([1, 3, 32]))
def test_whatever_the_budget_the_runs_that_ended_are_kept(budget: int, concurrency: int) -> None:
    def script(call: LMCall) -> str:
        if next(spent) >= budget:
            raise BudgetExhausted("no call is left")
        time.sleep(zlib.crc32(call.key.encode()) % 3 / 1000)
        return written(**dict.fromkeys(requested(call), call.model.label))

    spent = itertools.count()
    made = evaluator(script, concurrency, session=CachingSession)
    pairs = itertools.product("ab", "ab")
    runs = list(itertools.product([config(draft, solve) for draft, solve in pairs], range(4)))
    needed = 4 * (2 + 4)
    try:
        made.run(runs)
        assert budget >= needed
    except BudgetExhausted:
        assert budget < needed
    kept = [made.known(c).outcomes[i] for c, i in runs if i in made.known(c).outcomes]
    assert [run.outcome for run in made.history] == kept
    assert all(outcome.failure is None and outcome.calls == 2 for outcome in kept)
    spent = itertools.count(-1000)
    made.run(runs)
    assert all(len(made.known(c).outcomes) == 4 for c, _ in runs)
    assert [made.known(c).outcomes[i] for c, i in runs] == _outcomes(runs)


def _outcomes(runs: Sequence[tuple[PipelineConfig, int]]) -> list[Outcome]:
    """Those of a search without a budget."""
    script = lambda call: written(**dict.fromkeys(requested(call), call.model.label))  # noqa: E731
    made = evaluator(script, 1)
    made.run(runs)
    return [made.known(c).outcomes[i] for c, i in runs]


def working(log: list[str], name: str, parts: int) -> Resumable[str]:
    for part in range(parts):
        yield None
        log.append(f"{name}{part}")
    return name


def test_runs_are_finished_in_turn_and_only_the_last_ones_go_step_by_step() -> None:
    log: list[str] = []
    ended = run_pool([working(log, name, 2) for name in "abcd"], 2)
    assert ended == list("abcd")
    alone: list[str] = []
    run_pool([working(alone, name, 2) for name in "abc"], 1)
    assert alone == ["a0", "a1", "b0", "c0", "b1", "c1"]


def test_a_run_that_needs_no_work_ends_in_the_callers_thread() -> None:
    def known() -> Resumable[int]:
        yield from ()
        return threading.get_ident()

    assert run_pool([known() for _ in range(3)], 8) == [threading.get_ident()] * 3


def test_a_run_that_waits_for_another_goes_on_after_it() -> None:
    landed: Future[int] = Future()

    def maker() -> Resumable[int]:
        yield None
        landed.set_result(1)
        return 1

    def waiter() -> Resumable[int]:
        yield None
        yield landed
        return landed.result()

    assert run_pool([waiter(), waiter(), maker()], 1) == [1, 1, 1]


def test_an_error_ends_the_pool_and_comes_before_the_budgets_end() -> None:
    begun: list[int] = []

    def task(number: int) -> Resumable[int]:
        yield None
        begun.append(number)
        if number == 0:
            raise BudgetExhausted("no call is left")
        return 1 // (number - 2)

    ended = run_pool([task(number) for number in range(50)], 1)
    assert begun == [0, 1, 2]
    assert isinstance(first_error(ended), ZeroDivisionError)
    assert sum(isinstance(each, Raised) for each in ended) == 49
