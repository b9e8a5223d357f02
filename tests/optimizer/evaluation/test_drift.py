"""Drift: what the file records, which comparison is made, and how often it errs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.drift import Rows, rates
from evaluators.outcome import Evaluation, Outcome
from evaluators.statistics import difference_interval, paired_interval
from optimizer.cli import main
from optimizer.evaluation.drift import Drift
from optimizer.evaluation.evaluation import evaluate
from optimizer.results.held_out_scores import HeldOutScores, example_key
from optimizer.results.result import Result
from pipelines import Pipeline, PipelineError
from pipelines.gateway.gateway import Gateway, default_gateway
from pipelines.providers.simulated import simulated_dataset
from tests.optimizer.runs import HELD_OUT, tune

OTHERS = simulated_dataset("locate_solve", 30, rows=4, seed=9)
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drift")


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    found = tune(cache=folder / "cache")
    found.save(folder / "tuned.yaml")
    return found


def evaluation(scores: list[float]) -> Evaluation:
    outcomes = [Outcome(score, 0.0, 1, 0.0, None) for score in scores]
    return Evaluation(dict(enumerate(outcomes)))


def test_a_saved_pipeline_keeps_the_score_of_every_held_out_example(
    result: Result, folder: Path
) -> None:
    recorded = HeldOutScores.kept_in(Pipeline.load(folder / "tuned.yaml").provenance)
    assert recorded is not None
    assert recorded == result.held_out_scores
    expected = {
        example_key(example.inputs): [example.outcomes["tuned"].score]
        for example in result.examples_
    }
    assert recorded.by_key == expected
    assert len(expected) == HELD_OUT
    result.save(folder / "again.yaml", result.points[0])
    point = HeldOutScores.kept_in(Pipeline.load(folder / "again.yaml").provenance)
    assert point is not None
    assert np.mean(point.scores) == pytest.approx(result.points[0].score.mean)


def test_nothing_is_kept_without_a_holdout(folder: Path) -> None:
    found = tune(holdout=0)
    found.save(folder / "searched.yaml")
    pipeline = Pipeline.load(folder / "searched.yaml")
    assert HeldOutScores.kept_in(pipeline.provenance) is None
    assert evaluate(pipeline, OTHERS, gateway=Gateway(None)).drift is None


def test_recorded_examples_are_paired_and_others_are_not(result: Result, folder: Path) -> None:
    tuned = Pipeline.load(folder / "tuned.yaml")
    mixed = [dict(example.inputs) | dict(example.labels) for example in result.examples_]
    drift = evaluate(tuned, [*OTHERS, *mixed], gateway=Gateway(None)).drift
    assert drift is not None
    paired, other = drift.comparisons
    assert (paired.paired, paired.examples) == (True, HELD_OUT)
    assert (other.paired, other.examples) == (False, len(OTHERS))
    assert paired.change.mean == 0, "the same seed, the same answers"
    assert paired.verdict.startswith("no change shown (+0.0 points [")
    assert drift.replayed == 0
    gateway = Gateway(folder / "cache")
    again = evaluate(tuned, mixed, gateway=gateway).drift
    assert again is not None
    assert again.replayed == HELD_OUT
    assert again.comparisons == ()
    assert f"{HELD_OUT} held-out examples answered from the cache" in str(again)
    gateway.close()


def test_copies_of_an_example_are_matched_one_by_one() -> None:
    recorded = HeldOutScores((("a" * 12, 1.0), ("a" * 12, 0.0), ("b" * 12, 0.5)))
    drift = Drift.between(recorded, evaluation([1.0, 0.0, 1.0]), ["a" * 12] * 3)
    assert drift is not None
    assert [(each.paired, each.examples) for each in drift.comparisons] == [(True, 2), (False, 1)]
    assert drift.comparisons[0].change.mean == 0


def test_the_sentence_says_what_is_shown() -> None:
    keys = [f"{number:012x}" for number in range(50)]
    recorded = HeldOutScores(tuple((key, 1.0) for key in keys))
    drift = Drift.between(recorded, evaluation([0.0] * 20 + [1.0] * 30), keys)
    assert drift is not None
    change = paired_interval([0.0] * 20 + [1.0] * 30, [1.0] * 50)
    assert drift.comparisons[0].change == change, "a single comparison is made at 95%"
    assert str(drift) == (
        "against 50 recorded scores: 50 held-out examples: worse by 40.0 points "
        f"[{-100 * change.high:.1f}, {-100 * change.low:.1f}]"
    )
    assert drift.drops_by_more_than(0.2)
    assert not drift.drops_by_more_than(0.3), "the interval reaches above a drop of 30 points"
    better = Drift.between(
        HeldOutScores(tuple((key, 0.0) for key in keys)), evaluation([1.0] * 50), ["other"] * 50
    )
    assert better is not None
    assert "50 other examples: better by 100.0 points" in str(better)


def test_an_example_that_was_held_out_but_not_scored_is_known_and_not_compared() -> None:
    recorded = HeldOutScores.of({1: 0.5}, ["a" * 12, "b" * 12])
    assert recorded is not None
    assert HeldOutScores.kept_in({"held_out_scores": str(recorded)}) == recorded
    assert recorded.keys == {"a" * 12, "b" * 12}
    assert recorded.by_key == {"b" * 12: [0.5]}
    assert recorded.scores == [0.5]
    nothing = HeldOutScores.of({}, ["a" * 12])
    assert nothing is not None
    assert Drift.between(nothing, evaluation([1.0, 0.0]), ["a" * 12, "c" * 12]) is None


@pytest.mark.parametrize("text", ["3f2a91c0b7d4", "3f2a91c0b7d4 2", "xyz 1", "3f2a91c0b7d4 nan"])
def test_a_damaged_record_is_refused(text: str) -> None:
    with pytest.raises(PipelineError, match="held_out_scores must have a line"):
        HeldOutScores.kept_in({"held_out_scores": text})


def test_the_command_ends_with_4_where_a_drop_is_shown(
    result: Result, folder: Path, capsys: Captured
) -> None:
    default_gateway.cache_clear()
    text = "".join(json.dumps(row) + "\n" for row in OTHERS)
    Path("rows.jsonl").write_text(text)
    wrong = [{**row, "answer": "no such answer"} for row in OTHERS]
    Path("wrong.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wrong))
    command = ["evaluate", str(folder / "tuned.yaml")]
    assert main([*command, "rows.jsonl", "--max-drop", "0"]) == 0
    assert "30 other examples: no change shown" in capsys.readouterr().out
    assert main([*command, "wrong.jsonl", "--max-drop", "0", "--json"]) == 4
    shown = capsys.readouterr()
    assert json.loads(shown.out)["drift"]["comparisons"][0]["change"]["high"] < 0
    assert "a drop of more than --max-drop 0 is shown" in shown.err
    assert main([*command, "rows.jsonl", "--max-drop", "0", "--metric", "f1"]) == 2
    assert "--max-drop needs held-out scores by f1" in capsys.readouterr().err
    assert main([*command, "rows.jsonl", "--max-drop", "7"]) == 2


@pytest.mark.parametrize(("recorded", "new"), [(36, 36), (100, 20), (20, 100)])
def test_exact_false_alarms_of_other_examples(recorded: int, new: int) -> None:
    ends = np.array(
        [
            [_ends(right, new, before, recorded) for right in range(new + 1)]
            for before in range(recorded + 1)
        ]
    )
    worst = 0.0
    for mean in np.linspace(0.01, 0.99, 50):
        chance = np.outer(
            binom.pmf(range(recorded + 1), recorded, mean), binom.pmf(range(new + 1), new, mean)
        )
        below, above = chance[ends[..., 1] < 0].sum(), chance[ends[..., 0] > 0].sum()
        assert max(below, above) <= 0.025
        worst = max(worst, below + above)
    assert 0.02 < worst <= 0.05


def _ends(right: int, new: int, before: int, recorded: int) -> tuple[float, float]:
    now, then = [1.0] * right + [0.0] * (new - right), [1.0] * before + [0.0] * (recorded - before)
    interval = difference_interval(now, then)
    return interval.low, interval.high


@pytest.mark.parametrize("rows", ["same", "both"])
def test_simulated_false_alarms_and_power(rows: Rows) -> None:
    alarms, *_ = rates(100, 100, rows, 0.0, False, 100)
    _, power, _ = rates(100, 100, rows, 0.2, False, 100)
    assert alarms <= 0.06, "at most 5%, within what 100 draws can tell"
    assert power > 0.7
