"""The memo answers for what was seen, and never for anything else."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipelines import Module, Pipeline, patterns
from pipelines.gateway.call import CallFailed, LMCall
from pipelines.programs.concurrency import finish
from pipelines.programs.memo import Memo
from tests.pipelines.scripted_session import (
    INPUTS,
    LOCATE_SOLVE,
    ScriptedSession,
    bind,
    one,
    signed,
)


def test_a_memorised_run_asks_nothing_and_tells_the_same() -> None:
    memo = Memo()
    session = ScriptedSession()
    first = bind(LOCATE_SOLVE, session, memo=memo).run(INPUTS)
    second = bind(LOCATE_SOLVE, session, memo=memo).run(INPUTS)
    assert second == first
    assert len(session.calls) == 2


def test_another_config_asks_only_for_what_it_changes() -> None:
    memo = Memo()
    session = ScriptedSession()
    bind(LOCATE_SOLVE, session, memo=memo).run(INPUTS)
    changed = LOCATE_SOLVE.default_config("a").with_models({"solve": "b"})
    trace = bind(LOCATE_SOLVE, session, changed, memo).run(INPUTS)
    assert trace.outputs == {"answer": "answer by b#0"}
    assert [call.model.label for call in session.calls] == ["a", "a", "b"]


def test_an_outage_is_not_memorised_and_a_refusal_is() -> None:
    kinds = ["timeout", "refusal"]

    def fail(call: LMCall) -> str:
        raise CallFailed(kinds.pop(0), "no")

    program = bind(one(), ScriptedSession(fail), memo=Memo())
    outcomes = [program.run({"question": "q"}).failure for _ in range(3)]
    assert [failure.kind for failure in outcomes if failure] == ["timeout", "refusal", "refusal"]


def test_twins_do_not_answer_for_each_other_from_the_memo() -> None:
    memo = Memo()
    trace = bind(patterns.majority_vote(), ScriptedSession(), memo=memo).run({"question": "q"})
    answers = [step.outputs for step in trace.steps[:3] if step.outputs]
    assert answers == [{f"answer_{n}": f"answer by a#{n - 1}"} for n in (1, 2, 3)]


class Opaque:
    def __str__(self) -> str:
        return "the same for all"


@pytest.mark.parametrize(
    ("one_value", "other_value"), [(1, True), ("1", 1), ([1], "[1]"), (Opaque(), Opaque())]
)
def test_inputs_that_differ_are_never_taken_for_each_other(
    one_value: Any, other_value: Any
) -> None:
    seen = []

    def watch(thing: Any) -> str:
        seen.append(thing)
        return "seen"

    pipeline = Pipeline("x", [Module("watch", "thing -> done", function=watch)])
    program = pipeline.bind(pipeline.default_config(), {}, None, Memo())
    for value in (one_value, other_value):
        program.run({"thing": value})
    assert len(seen) == 2


def test_a_memo_keeps_no_copies_of_long_inputs() -> None:
    memo = Memo()
    wide = one().default_config("a").with_knobs("solve", width=3, aggregator="majority_vote")
    bind(one(), ScriptedSession(), wide, memo).run({"question": "long " * 10_000})
    assert len(memo) == 4, "of the module, and of its members"
    assert max(len(part) for key in memo for part in key if isinstance(part, str)) < 1000


def test_a_memorised_module_costs_tens_of_microseconds() -> None:
    program = bind(LOCATE_SOLVE, ScriptedSession(), memo=Memo())
    inputs = {"table": "row\n" * 200, "question": "q"}
    program.run(inputs)
    fastest = float("inf")
    for _ in range(200):
        started = time.perf_counter()
        program.run(inputs)
        fastest = min(fastest, time.perf_counter() - started)
    assert fastest / 2 < 100e-6


def test_what_is_asked_for_at_the_same_time_is_made_once() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def script(call: LMCall) -> str:
        begun.set()
        assert go_on.wait(5)
        return signed(call)

    memo, session = Memo(), ScriptedSession(script)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(bind(one(), session, memo=memo).run, {"question": "q"}) for _ in "1234"]
        assert begun.wait(5)
        time.sleep(0.02)
        go_on.set()
        traces = [run.result() for run in runs]
    assert len(session.calls) == 1
    assert all(trace == traces[0] for trace in traces)


def test_members_that_two_networks_share_are_asked_once() -> None:
    def script(call: LMCall) -> str:
        time.sleep(0.01)
        return signed(call)

    memo, session = Memo(), ScriptedSession(script)
    plain = one(temperature=1.0).default_config("a")
    wide = [plain.with_knobs("solve", width=n, aggregator="majority_vote") for n in (2, 3, 5)]
    with ThreadPoolExecutor(3) as pool:
        programs = [bind(one(temperature=1.0), session, config, memo) for config in wide]
        list(pool.map(lambda program: program.run({"question": "q"}), programs))
    assert sorted(call.sample for call in session.calls) == [0, 1, 2, 3, 4]


def test_what_its_maker_gives_up_is_made_by_the_next_one() -> None:
    memo = Memo()
    _, is_mine = memo.claim("key")
    waiting = memo.make({"key": lambda: "theirs"}, lambda value: True)
    assert next(waiting) is None
    flight = next(waiting)
    assert is_mine
    assert flight is not None
    assert not flight.done()
    memo.land("key")
    assert finish(waiting) == {"key": "theirs"}
    assert memo["key"] == "theirs"


def test_a_maker_that_raises_leaves_no_claim() -> None:
    memo = Memo()

    def broken() -> str:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            finish(memo.make({"a": lambda: "a", "b": broken}, lambda value: True))
    assert dict(memo) == {"a": "a"}
    assert memo.claim("b")[1]


def test_what_does_not_last_is_known_only_while_all_is_kept() -> None:
    memo, made = Memo(), itertools.count()

    def ask() -> int:
        return finish(memo.make({"key": lambda: next(made)}, lambda value: False))["key"]

    assert (ask(), ask()) == (0, 1)
    with memo.keeping_all():
        with memo.keeping_all():
            assert ask() == 2
        assert ask() == 2
    assert ask() == 3
