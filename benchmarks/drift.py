"""How often drift is reported where nothing changed, and how often a real drop is.

    python -m benchmarks drift [--draws 1000]

Simulated scores, whose true means are known. The recorded holdout and the new rows are drawn anew
each time; `same` are the recorded examples themselves, of which a tenth is answered differently by
chance, `other` are new ones, `both` half of each. A drop turns that share of answers from right to
wrong, and takes as much from graded ones on average.
"""

from __future__ import annotations

import argparse
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluators.outcome import Evaluation, Outcome
from evaluators.statistics import mean_interval
from optimizer.evaluation.drift import Drift
from optimizer.results.held_out_scores import HeldOutScores

MEAN, CHANGED = 0.7, 0.1
SIZES = ((36, 36), (100, 100), (100, 300), (300, 300))
DROPS = (0.0, 0.05, 0.1, 0.2)
Rows = Literal["same", "other", "both"]
KINDS: tuple[Rows, ...] = ("same", "other", "both")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print(
        "scores | rows  | recorded, new | any change shown, naive | drop shown of 5, 10, 20 points"
    )
    for graded in (False, True):
        for rows in KINDS:
            for recorded, new in SIZES if not graded else SIZES[:2]:
                shares = [
                    rates(recorded, new, rows, drop, graded, draws if not graded else draws // 5)
                    for drop in DROPS
                ]
                shown = ", ".join(f"{dropped:.1%}" for _, dropped, _ in shares[1:])
                alarms = f"{shares[0][0]:.1%}, {shares[0][2]:.1%}"
                name = "graded" if graded else "0 or 1"
                print(f"{name} | {rows:5} | {recorded:3}, {new:3} | {alarms} | {shown}", flush=True)


def rates(
    recorded: int, new: int, rows: Rows, drop: float, graded: bool, draws: int
) -> tuple[float, float, float]:
    """The shares of draws in which a change is shown, in which a drop is, and in which the naive
    rule reports a change."""
    generator = np.random.default_rng(recorded * 1000 + new)
    found = []
    for _ in range(draws):
        drift, then, now = _drift(generator, recorded, new, rows, drop, graded)
        changes = [each.change for each in drift.comparisons]
        shown = any(change.low > 0 or change.high < 0 for change in changes)
        interval = mean_interval(then)
        naive = not interval.low <= now <= interval.high
        found.append((shown, drift.drops_by_more_than(0), naive))
    shares = np.mean(found, axis=0)
    return float(shares[0]), float(shares[1]), float(shares[2])


def _drift(
    generator: np.random.Generator, recorded: int, new: int, rows: Rows, drop: float, graded: bool
) -> tuple[Drift, NDArray[np.float64], float]:
    """The drift of one draw, the recorded scores, and the new mean."""
    then = _scores(generator, recorded, graded)
    again = then.copy()
    anew = generator.random(recorded) < CHANGED
    again[anew] = _scores(generator, int(anew.sum()), graded)
    share = {"same": 1.0, "other": 0.0, "both": 0.5}[rows]
    kept = min(recorded, round(share * new))
    now = np.concatenate([again[:kept], _scores(generator, new - kept, graded)])
    now = np.where(generator.random(new) < drop / MEAN, 0.0, now)
    keys = [f"{number:012x}" for number in range(recorded)]
    names = [*keys[:kept], *(f"other {number}" for number in range(new - kept))]
    evaluation = Evaluation(
        {i: Outcome(float(score), 0.0, 1, 0.0, None) for i, score in enumerate(now)}
    )
    scores = HeldOutScores(tuple(zip(keys, map(float, then), strict=True)))
    drift = Drift.between(scores, evaluation, names)
    assert drift is not None
    return drift, then, float(now.mean())


def _scores(generator: np.random.Generator, count: int, graded: bool) -> NDArray[np.float64]:
    if graded:
        return generator.beta(3 * MEAN, 3 * (1 - MEAN), count).round(2)
    return (generator.random(count) < MEAN).astype(np.float64)


if __name__ == "__main__":
    main()
