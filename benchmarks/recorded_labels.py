"""A model's accuracy from 20 to 100 labels: rows spread over agreement, beside other draws.

    python -m benchmarks recorded_labels --recording mmlu_pro_recorded.jsonl.gz [--splits 1000]

Real answers of seven mid-size models to MMLU-Pro questions; no model is called. Each split is a
random pool of 500 questions, some of which get labels. Agreement is the share of the other six that
answer as the model does. The truth is the accuracy on the whole pool.

`spread` is `rows_to_label`, with the interval of `evaluate(..., strata=...)`; `random` draws at
random, with the usual interval. `two_stage` is ABae's way: half of the labels as a pilot over five
strata, the rest where that varies more. `assisted` corrects the mean agreement of the pool by its
error on random rows. `doubtful` labels the rows of least agreement, as active learning would.
The regret is that of choosing the best of the seven by the labels: its true accuracy below that of
the best. `disputed` draws at random from the questions on which the seven do not all agree, which
alone can tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.recorded_votes import MODELS
from benchmarks.splits import over_splits
from evaluators.statistics import Interval, mean_interval, stratified_interval
from optimizer.evaluation.labels import spread
from pipelines.providers.recorded import load_recording

POOL, COUNTS, STRATA = 500, (20, 50, 100), 5
Floats = NDArray[np.float64]


class Row(NamedTuple):
    """One model, one number of labels, one way to draw."""

    model: str
    labels: int
    way: str
    error: float
    covered: float
    width: float
    """Of the interval; NaN where the way has none."""
    regret: float


def main() -> None:
    rows: list[Row] = []
    split: Any = run_split
    for _, found in over_splits(__doc__ or "", split):
        rows += found  # type: ignore[arg-type]
    table = pd.DataFrame(rows, columns=Row._fields)
    table["error"] **= 2
    for keys in (["labels", "way"], ["model", "labels", "way"]):
        means = table.groupby(keys, sort=False)[["error", "covered", "width", "regret"]].mean()
        means["error"] **= 0.5
        print(means.rename(columns={"error": "rms error"}).round(4).to_string(), "\n")


def run_split(recording: str, seed: int) -> tuple[Row, ...]:
    """All models, numbers of labels and ways on one pool."""
    answers, right = _answers(recording)
    generator = np.random.default_rng(seed)
    pool = generator.choice(len(right), POOL, replace=False)
    answers, right = answers[pool], right[pool]
    rows = []
    for place, model in enumerate(MODELS[:3]):
        others = np.delete(answers, place, axis=1)
        same = (others == answers[:, [place]]) & (answers[:, [place]] != "")
        for count in COUNTS:
            rows += _ways(model, same.mean(axis=1), right, place, count, generator)
            disputed = np.flatnonzero((answers != answers[:, [0]]).any(axis=1))
            drawn = generator.choice(disputed, count, replace=False)
            regret = _regret(right, drawn)
            rows.append(Row(model, count, "disputed", np.nan, np.nan, np.nan, regret))
    return tuple(rows)


def _ways(
    model: str,
    agreement: Floats,
    right: Floats,
    place: int,
    count: int,
    generator: np.random.Generator,
) -> list[Row]:
    own = right[:, place]
    truth = own.mean()

    def row(way: str, estimate: Interval | float, chosen: list[int] | None = None) -> Row:
        found = estimate if isinstance(estimate, Interval) else Interval(estimate, np.nan, np.nan)
        regret = np.nan if chosen is None else _regret(right, chosen)
        covered = float(found.low <= truth <= found.high) if found.low == found.low else np.nan
        return Row(model, count, way, found.mean - truth, covered, found.high - found.low, regret)

    chosen = spread(agreement, count, generator)
    drawn = [int(i) for i in generator.choice(POOL, count, replace=False)]
    doubtful = [int(i) for i in np.lexsort((generator.random(POOL), agreement))[:count]]
    assisted = agreement.mean() + (own[drawn] - agreement[drawn]).mean()
    strata = np.array_split(own[chosen], min(STRATA, count // 4))
    return [
        row("spread", stratified_interval(strata), chosen),
        row("random", mean_interval(own[drawn]), drawn),
        row("two_stage", _two_stage(agreement, own, count, generator)),
        row("assisted", float(assisted)),
        row("doubtful", mean_interval(own[doubtful]), doubtful),
    ]


def _regret(right: Floats, chosen: Sequence[int] | NDArray[np.int64]) -> float:
    accuracy = right.mean(axis=0)
    return float(accuracy.max() - accuracy[right[chosen].mean(axis=0).argmax()])


def _two_stage(
    agreement: Floats, right: Floats, count: int, generator: np.random.Generator
) -> float:
    order = np.lexsort((generator.random(POOL), agreement))
    strata = [generator.permutation(stratum) for stratum in np.array_split(order, STRATA)]
    pilot = count // 2 // STRATA
    shares = [(right[each[:pilot]].sum() + 1) / (pilot + 2) for each in strata]
    deviations = np.sqrt([share * (1 - share) for share in shares])
    exact = (count - pilot * STRATA) * deviations / deviations.sum()
    more = exact.astype(int)
    more[np.argsort(more - exact)[: count - pilot * STRATA - more.sum()]] += 1
    means = [right[each[: pilot + n]].mean() for each, n in zip(strata, more, strict=True)]
    return float(np.mean(means))


@lru_cache(maxsize=1)
def _answers(recording: str) -> tuple[NDArray[np.str_], Floats]:
    """What each of the seven answered to each question, and whether it was right."""
    questions = load_recording(recording).questions
    answers = np.array([[each.responses[name].final for name in MODELS] for each in questions])
    labels = np.array([each.answer for each in questions])
    return answers, (answers == labels[:, None]).astype(np.float64)


if __name__ == "__main__":
    main()
