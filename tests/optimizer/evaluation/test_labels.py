"""Which rows to label next, and the interval that they bring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.__main__ import RECORDING, shared_data
from benchmarks.recorded_labels import run_split
from evaluators.statistics import mean_interval, stratified_interval
from optimizer.cli import main
from optimizer.evaluation.evaluation import evaluate
from optimizer.evaluation.labels import rows_to_label, spread
from pipelines import Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway, default_gateway
from pipelines.patterns import locate_solve
from pipelines.providers.simulated import simulated_dataset
from search_spaces import ModuleConfig, PipelineConfig

LABELLED = simulated_dataset("locate_solve", 40, rows=4, seed=6)
ROWS = [{name: row[name] for name in ("table", "question")} for row in LABELLED]
OTHERS = ("sim/birch", "sim/rowan", "sim/hazel")


def pipeline(**solve: Any) -> Pipeline:
    modules = {
        "locate": ModuleConfig(models=("sim/alder",)),
        "solve": ModuleConfig(**{"models": ("sim/birch",), **solve}),
    }
    config = PipelineConfig(modules=modules)
    return Pipeline("locate-solve", locate_solve().modules, config=config)


def choose(rows: Any = ROWS, count: int = 10, **arguments: Any) -> list[dict[str, Any]]:
    arguments = {"models": OTHERS, "gateway": Gateway(None), **arguments}
    return rows_to_label(arguments.pop("pipeline", pipeline()), rows, count, **arguments)


def test_rows_come_from_the_whole_range_of_agreement() -> None:
    chosen = choose()
    shares = [row["agreement"] for row in chosen]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]
    assert set(shares) <= {0.0, 0.3333, 0.6667, 1.0}
    plain = [{name: row[name] for name in ("table", "question")} for row in chosen]
    assert all(row in ROWS for row in plain)
    assert len({json.dumps(row) for row in plain}) == 10
    assert choose() == chosen, "the same seed, the same rows"
    assert choose(seed=1) != chosen


def test_members_of_a_wide_module_need_no_others() -> None:
    wide = pipeline(models=("sim/rowan",), width=3, temperature=1.0, aggregator="majority_vote")
    chosen = choose(pipeline=wide, models=())
    assert {row["agreement"] for row in chosen} <= {0.3333, 0.6667, 1.0, 0.0}
    with pytest.raises(ValueError, match="models must name others to ask"):
        choose(models=())


def test_labelled_rows_are_not_chosen_again() -> None:
    first = choose(count=30)
    rest = choose(count=10, labelled=first)
    asked = [row["question"] + row["table"] for row in (*first, *rest)]
    assert len(set(asked)) == 40
    with pytest.raises(ValueError, match="count must be at most the 10 rows without labels"):
        choose(count=11, labelled=first)


def test_every_row_has_the_same_chance() -> None:
    generator = np.random.default_rng(0)
    agreement = np.array([0.0] * 3 + [0.5] * 9 + [1.0] * 8)
    counts = np.zeros(20)
    for _ in range(4000):
        chosen = spread(agreement, 9, generator)
        assert len(set(chosen)) == 9
        counts[chosen] += 1
    assert np.abs(counts / 4000 - 9 / 20).max() < 0.03
    assert sorted(spread(agreement, 20, generator)) == list(range(20))


def test_the_budget_holds() -> None:
    with pytest.raises(RuntimeError, match="the budget ended"):
        choose(budget=Budget(calls=20))


def test_a_column_of_that_name_is_refused() -> None:
    with pytest.raises(ValueError, match="must not have a column 'agreement'"):
        choose([{**row, "agreement": 1} for row in ROWS])


def test_strata_narrow_the_interval_and_keep_the_mean() -> None:
    labels = {row["table"] + row["question"]: row["answer"] for row in LABELLED}
    chosen = choose(count=24)
    rows = [{**row, "answer": labels[row["table"] + row["question"]]} for row in chosen]
    weak = pipeline(models=("sim/rowan",))
    plain = evaluate(weak, rows, gateway=Gateway(None)).score
    strata = evaluate(weak, rows, gateway=Gateway(None), strata="agreement").score
    assert plain is not None
    assert strata is not None
    assert strata.mean == pytest.approx(plain.mean)
    assert strata.high - strata.low < plain.high - plain.low
    with pytest.raises(ValueError, match=r"strata names no column: 'agreemen'.*'agreement'"):
        evaluate(weak, rows, gateway=Gateway(None), strata="agreemen")
    with pytest.raises(ValueError, match="must have numbers"):
        evaluate(weak, rows, gateway=Gateway(None), strata="question")


def test_one_stratum_is_the_usual_interval() -> None:
    scores = [1.0] * 7 + [0.0] * 5
    joined, usual = stratified_interval([scores]), mean_interval(scores)
    assert (joined.low, joined.high) == pytest.approx((usual.low, usual.high))
    apart = stratified_interval([[1.0] * 6, [0.0] * 6])
    assert apart.high - apart.low < usual.high - usual.low


def test_the_command_writes_rows(capsys: pytest.CaptureFixture[str]) -> None:
    default_gateway.cache_clear()
    pipeline().save("tuned.yaml")
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    command = ["label", "tuned.yaml", "rows.jsonl", "--models", ",".join(OTHERS)]
    assert main([*command, "--count", "8", "--output", "first.jsonl"]) == 0
    assert "8 rows to label, mean agreement" in capsys.readouterr().err
    assert main([*command, "--count", "4", "--labelled", "first.jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = Path("first.jsonl").read_text().splitlines()
    assert (len(lines), len(first)) == (4, 8)
    tables = [json.loads(line)["table"] for line in (*lines, *first)]
    assert len(set(tables)) == 12


@pytest.mark.skipif(not shared_data(RECORDING).is_file(), reason=f"no {RECORDING}")
def test_on_recorded_answers_the_error_is_smaller_than_that_of_random_rows() -> None:
    found = [row for seed in range(40) for row in run_split(str(shared_data(RECORDING)), seed)]

    def squared(way: str) -> float:
        return float(np.mean([row.error**2 for row in found if row.way == way]))

    assert squared("spread") < 0.85 * squared("random")
    assert np.mean([row.covered for row in found if row.way == "spread"]) >= 0.95
    assert squared("doubtful") > squared("random"), "the least sure rows say nothing of the rest"
