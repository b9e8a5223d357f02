from __future__ import annotations

import math
from dataclasses import replace

from optimizer.results.result import Result
from optimizer.search.records.module_score import (
    latest_scores,
    module_score_rows,
    module_scores_frame,
)
from tests.optimizer.made import MODELS, make_module_scores

COLUMNS = [
    "module", "model", "turn", "examples", "rating", "agreement", "measured", "measured_se",
    "decision", "diagnoser",
]  # fmt: skip


def test_a_row_per_module_model_and_turn_names_the_diagnoser(result: Result) -> None:
    frame = result.module_scores
    assert list(frame.columns) == COLUMNS
    assert len(frame) == 6
    assert set(frame["diagnoser"]) == {MODELS[1]}
    eliminated = frame[frame["decision"] == "eliminated"]
    assert list(eliminated["module"]) == ["locate", "solve"]
    assert math.isnan(eliminated["measured"].iloc[0])


def test_without_scores_the_columns_are_there_and_are_numbers() -> None:
    frame = module_scores_frame([], None)
    assert list(frame.columns) == COLUMNS
    assert len(frame) == 0
    assert frame["rating"].dtype == float


def test_rows_have_four_digits() -> None:
    (score,) = make_module_scores()[:1]
    (row,) = module_score_rows([replace(score, rating=2 / 3, measured=None)], None)
    assert (row["rating"], row["measured"]) == (0.6667, None)


def test_the_latest_turn_that_scored_a_module_counts_as_a_whole() -> None:
    bare = replace(make_module_scores()[0], turn=2, rating=None, measured=None)
    latest = latest_scores([*make_module_scores(), bare])
    assert [(score.module, score.turn) for score in latest] == [
        ("locate", 1), ("locate", 1), ("solve", 2), ("solve", 2),
    ]  # fmt: skip
