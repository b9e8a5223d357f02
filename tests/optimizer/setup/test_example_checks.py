"""Examples that would mislead are left out, or told, before anything is paid."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from benchmarks.worlds import simulated_dataset
from evaluators.errors import DatasetError
from evaluators.metrics import llm_judge
from optimizer.setup.plan import prepare
from optimizer.stages.resolver import resolve_stages
from pipelines.patterns import locate_solve
from tests.optimizer.runs import MODELS, ROWS


def warned_of(caplog: pytest.LogCaptureFixture, rows: Any, metric: Any = "exact_match") -> str:
    prepare(locate_solve(), rows, MODELS, metric=metric, stages=resolve_stages("allocation"))
    return caplog.text


def test_examples_that_repeat_others_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert warned_of(caplog, ROWS) == ""
    message = warned_of(caplog, [*ROWS, *ROWS[:3]])
    assert f"{len(ROWS) + 3} examples have only {len(ROWS)} different inputs" in message


def test_examples_that_people_have_labelled_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    labels = [{**row, "human": place % 2} for place, row in enumerate(ROWS)]
    metric = llm_judge("The answer is right.", model="sim/alder", labels=labels)
    others = simulated_dataset("locate_solve", 10, seed=77, rows=4)
    assert "human labels" not in warned_of(caplog, others, metric)
    assert "3 of 13 examples have the inputs of human" in warned_of(
        caplog, [*others, *ROWS[:3]], metric
    )


def compiled(rows: list[Any]) -> Any:
    """A program that shows these as demos, as one that was compiled on them does."""
    program = dspy.Predict("table, question -> answer")
    program.demos = [dspy.Example(**row, augmented=True) for row in rows]
    return program


def test_examples_that_the_prompts_show_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    plan = prepare(compiled(ROWS[:3]), ROWS, MODELS, stages=resolve_stages("allocation"))
    tables = [example.table for example in [*plan.search, *plan.holdout]]
    assert sorted(tables) == sorted(row["table"] for row in ROWS[3:])
    assert tables == [ROWS[row]["table"] for row in (*plan.search.rows, *plan.holdout.rows)]
    assert f"3 of {len(ROWS)} examples are demos in the pipeline's own prompts" in caplog.text
    with pytest.raises(DatasetError, match=r"are demos .* give others, or take the demos away"):
        prepare(compiled(ROWS[1:]), ROWS, MODELS, stages=resolve_stages("allocation"))
