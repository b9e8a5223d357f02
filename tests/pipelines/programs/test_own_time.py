"""The time of the user's functions and aggregators counts, and is the same in a repeated run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines import Module, Pipeline
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.aggregators import Aggregator, Members, Verdict
from pipelines.aggregators.aggregator import everyone, vote
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import LMCall, LMReply
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from search_spaces import AggregatorConfig, ModuleConfig, PipelineConfig
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve, bound
from tests.pipelines.scripted_session import ScriptedSession, bind, one, reply, written

HERE = "tests.pipelines.programs.test_own_time"
TAKES: list[float] = []
"""Seconds that the next call of any of these functions sleeps; none left: none."""
ASKED = ["four", "five", "five"]


def work(value: Any) -> Any:
    time.sleep(TAKES.pop() if TAKES else 0.0)
    return value


def accepts(question: str, answer: str) -> bool:
    return bool(work(True))


def length(question: str, answer: str) -> int:
    return len(work(answer))


@dataclass(frozen=True)
class Own(Aggregator):
    """A vote that takes its time."""

    def aggregate(self, members: Members) -> Verdict | None:
        answers = members.ask(everyone(members))
        return work(vote(answers, len(members.models)))  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    TAKES.clear()
    yield
    assert not TAKES, "no function was called so often"


def answers(call: LMCall) -> LMReply:
    time.sleep(0.03)  # waiting for members is no work of the aggregator's
    return reply(written(answer=ASKED[call.sample]), latency_s=2.0)


def voted(aggregator: AggregatorConfig) -> PipelineConfig:
    knobs = ModuleConfig(models=("a",), width=3, temperature=0.7, aggregator=aggregator)
    return PipelineConfig(modules={"solve": knobs})


def latency(config: PipelineConfig) -> float:
    return bind(one(), ScriptedSession(answers), config).run({"question": "q"}).latency_s


@pytest.mark.parametrize(
    ("aggregator", "takes"),
    [
        (AggregatorConfig(name="best_of", params={"function": f"{HERE}:length"}), [0.05, 0.03]),
        (AggregatorConfig(name="shortest", params={"function": f"{HERE}:accepts"}), [0.08]),
        (
            AggregatorConfig(
                name="filter_cluster",
                params={
                    "check_function": f"{HERE}:accepts",
                    "key_function": f"{HERE}:length",
                    "score_function": f"{HERE}:length",
                },
            ),
            [0.01] * 8,  # two distinct answers are checked, three have keys, and three a score
        ),
        (AggregatorConfig(name=f"{HERE}:Own"), [0.08]),
    ],
    ids=lambda given: given.name if isinstance(given, AggregatorConfig) else "",
)
def test_what_an_aggregators_user_code_takes_is_latency(
    aggregator: AggregatorConfig, takes: list[float]
) -> None:
    assert latency(voted(aggregator)) < 2.04
    TAKES.extend(takes)
    assert 2.0 + sum(takes) - 0.01 <= latency(voted(aggregator)) < 2.0 + sum(takes) + 0.1


def test_an_aggregator_that_runs_no_code_of_the_users_is_not_measured() -> None:
    assert latency(voted(AggregatorConfig(name="majority_vote"))) == 2.0


def test_in_a_dspy_program_too() -> None:
    aggregation = AggregatorConfig(name="shortest", params={"function": f"{HERE}:accepts_task"})
    config = (
        from_dspy(LocateSolve())
        .default_config("a")
        .with_knobs("solve", width=3, temperature=0.7, aggregator=aggregation)
    )
    TAKES.append(0.05)
    trace = bound(LocateSolve(), ScriptedSession(), config).run({"table": "t", "question": "q"})
    assert trace.step("solve").latency_s >= 1.05


def accepts_task(task: str, answer: str) -> bool:
    return bool(work(True))


def shout(text: str) -> str:
    return str(work(text.upper()))


@pytest.mark.parametrize("study", ["first", "second"])
def test_a_run_that_is_repeated_takes_as_long_as_the_first_time(study: str, tmp_path: Path) -> None:
    """Whatever the clock says then; another study measures anew."""
    checked = AggregatorConfig(name="filter_cluster", params={"check_function": f"{HERE}:said"})
    modules = {
        "solve": ModuleConfig(models=("m",), width=2, temperature=0.7, aggregator=checked),
        "shout": ModuleConfig(),
    }
    pipeline = Pipeline(
        "p", [Module("solve", "question -> text"), Module("shout", "text -> loud", function=shout)]
    )
    measured = []
    for again, named in enumerate(("first", "first", study)):
        gateway = Gateway(tmp_path)
        session = gateway.session(named, Budget())
        program = pipeline.bind(
            PipelineConfig(modules=modules), {"m": Model("sim/hazel", "m")}, session
        )
        TAKES.extend([0.04] * 6 if again == 0 else [])
        question = "Compute 17 * 23 - 5"
        measured.append([step.latency_s for step in program.run({"question": question}).steps])
        TAKES.clear()
        gateway.close()
    assert measured[1] == measured[0]
    assert measured[0][1] >= 0.04
    assert (measured[2] == measured[0]) is (study == "first")


def said(question: str, text: str) -> bool:
    return bool(work(True))
