"""The width of a vote, chosen from six samples per example: how often is it as good as the best?

python -m benchmarks vote_widths [--examples 1000] [--seeds 100]

Right if the true accuracy at the chosen width is within half a point of that at the best of the odd
widths 1 to 51. The rivals: the majority formula at the mean accuracy, and its mean over the shares
right out of six; the widest; the best of the widths that six samples measure (1, 3 and 5); and the
best as measured on 51 samples per example, over all choices of so many among them.

First populations whose best width is 1, 3, 9 and 25, chosen where six samples can tell it, and two
that are not of the fitted family. Then ones known to be hard. Then random ones of several kinds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import cache
from math import comb
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from evaluators.statistics.difficulty import Difficulty
from evaluators.statistics.intervals import Floats
from evaluators.statistics.vote_scaling import VoteScaling

WIDTHS = range(1, 52, 2)
SAMPLES = 6
ENOUGH = 0.005
MEASURED = (1, 3, 5)
NAMES = ("ours", "mean rate", "shares of 6", "widest", "best of 1, 3, 5", "51 samples")
Votes = NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args()
    for title, populations in (("chosen", chosen()), ("known to be hard", hard())):
        print(f"{title:39} | best | good enough | {told(NAMES)}")
        for name, population in populations.items():
            truth = VoteScaling(population).curve(WIDTHS)
            good = [w for w, t in zip(WIDTHS, truth, strict=True) if t >= truth.max() - ENOUGH]
            losses = [
                losses_of(population, truth, options.examples, np.random.default_rng(seed))
                for seed in range(options.seeds)
            ]
            best = WIDTHS[int(truth.argmax())]
            print(f"{name:39} | {best:4d} | {good[0]:4d} to {good[-1]:3d} | {rates(losses)}")
        print()
    print(f"{'drawn at random, another for every seed':39} | {'':18} | {told(NAMES)}")
    for name, draw in random_kinds().items():
        losses = []
        for seed in range(options.seeds):
            rng = np.random.default_rng(seed)
            population = draw(rng)
            truth = VoteScaling(population).curve(WIDTHS)
            losses.append(losses_of(population, truth, options.examples, rng))
        print(f"{name:39} | {'':18} | {rates(losses)}", flush=True)
    print(
        "\nEach: share of seeds within half a point, and mean loss in points. "
        f"Calls per example: {SAMPLES};\nmeasuring all widths on the same {WIDTHS[-1]} samples "
        f"takes {WIDTHS[-1] / SAMPLES:.1f} times as many, each width on its own "
        f"{sum(WIDTHS) / SAMPLES:.0f} times."
    )


def chosen() -> dict[str, Difficulty]:
    """Easy and hard examples by best width, and two spreads that the fit does not assume."""
    return {
        "40% at 0.90, 60% at 0.35": points((0.4, 0.9), (0.6, 0.35)),
        "70% at 0.90, 30% at 0.35": points((0.7, 0.9), (0.3, 0.35)),
        "85% at 0.85, 15% at 0.38": points((0.85, 0.85), (0.15, 0.38)),
        "86% at 0.74, 14% at 0.38": points((0.86, 0.74), (0.14, 0.38)),
        "logit-normal, mean 0.60, sd 1.5": logit_normal(0.6, 1.5),
        "logit-normal, mean 0.45, sd 1.5": logit_normal(0.45, 1.5),
    }


def hard() -> dict[str, Difficulty]:
    """Points that six samples cannot tell apart, and three points that look like something else."""
    return {
        "60% at 0.79, 40% at 0.41": points((0.6, 0.79), (0.4, 0.41)),
        "55% at 0.70, 45% at 0.47": points((0.55, 0.7), (0.45, 0.47)),
        "50% at 0.90, 30% at 0.40, 20% at 0.05": points((0.5, 0.9), (0.3, 0.4), (0.2, 0.05)),
        "50% at 0.95, 30% at 0.75, 20% at 0.35": points((0.5, 0.95), (0.3, 0.75), (0.2, 0.35)),
    }


def random_kinds() -> dict[str, Callable[[np.random.Generator], Difficulty]]:
    """Ways to draw a population."""
    return {
        "two points": lambda r: points(
            *zip(shares(r, 2), (r.uniform(0.5, 1), r.uniform(0, 0.5)), strict=True)
        ),
        "three points": lambda r: points(*zip(shares(r, 3), r.uniform(0, 1, 3), strict=True)),
        "logit-normal": lambda r: logit_normal(r.uniform(0.3, 0.8), r.uniform(0.5, 3)),
        "logit-normal, and a point of up to 0.5": lambda r: joined(
            r.uniform(0.1, 0.4),
            points((1.0, r.uniform(0, 0.5))),
            logit_normal(r.uniform(0.3, 0.8), r.uniform(0.5, 3)),
        ),
    }


def points(*shares_and_rates: tuple[float, float]) -> Difficulty:
    """Some groups of examples, in each of which all have the same rate."""
    weights, rates = zip(*shares_and_rates, strict=True)
    return Difficulty(np.array(rates), np.array(weights))


def logit_normal(mean: float, sd: float) -> Difficulty:
    """Rates whose logit is normal with this spread, at 1,000 of their quantiles."""
    z = np.array([NormalDist(0, sd).inv_cdf((i + 0.5) / 1000) for i in range(1000)])
    low, high = -20.0, 20.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(middle + z).mean() < mean else (low, middle)
    return Difficulty(sigmoid(low + z), np.full(z.size, 1 / z.size))


def joined(share: float, one: Difficulty, other: Difficulty) -> Difficulty:
    """A share of the examples from one population, the rest from another."""
    weights = np.concatenate([share * one.weights, (1 - share) * other.weights])
    return Difficulty(np.concatenate([one.rates, other.rates]), weights)


def shares(rng: np.random.Generator, groups: int) -> Floats:
    """Shares of groups, none of them mostly tiny."""
    drawn: Floats = rng.dirichlet(np.full(groups, 2.0))
    return drawn


def sigmoid(logits: Floats) -> Floats:
    chances: Floats = 1 / (1 + np.exp(-logits))
    return chances


def losses_of(
    population: Difficulty, truth: Floats, examples: int, rng: np.random.Generator
) -> dict[str, float]:
    """What each way of choosing a width loses to the best one, on one sample of examples."""
    rates = rng.choice(population.rates, examples, p=population.weights)
    votes = rng.random((examples, WIDTHS[-1])) < rates[:, None]
    loss = dict(zip(WIDTHS, truth.max() - truth, strict=True))
    return {name: loss[width] for name, width in zip(NAMES, choices(votes), strict=True)}


def choices(votes: Votes) -> Iterator[int]:
    """The width that each way chooses; only the last sees more than the first six votes."""
    right = votes[:, :SAMPLES].sum(axis=1)
    yield VoteScaling.fit(right, SAMPLES).best_width(WIDTHS)
    mean = float(right.mean() / SAMPLES)
    yield VoteScaling(points((1.0, mean))).best_width(WIDTHS)
    shares = np.bincount(right, minlength=SAMPLES + 1) / right.size
    plugged_in = Difficulty(np.arange(SAMPLES + 1) / SAMPLES, shares)
    yield VoteScaling(plugged_in).best_width(WIDTHS)
    yield WIDTHS[-1]
    yield max(MEASURED, key=lambda width: measured(right, SAMPLES, width))
    everything = votes.sum(axis=1)
    yield max(WIDTHS, key=lambda width: measured(everything, votes.shape[1], width))


def measured(right: NDArray[np.int64], samples: int, width: int) -> float:
    """The mean accuracy of a vote over all choices of so many among the samples."""
    return float(share_won(samples, width)[right].mean())


@cache
def share_won(samples: int, width: int) -> Floats:
    """By how many of the samples are right, the share of choices that a majority of is right."""
    wins = range(width // 2 + 1, width + 1)
    won = [
        sum(comb(right, k) * comb(samples - right, width - k) for k in wins) / comb(samples, width)
        for right in range(samples + 1)
    ]
    return np.array(won)


def rates(losses: list[dict[str, float]]) -> str:
    """By way of choosing: how often within half a point, and the mean loss in points."""
    cells = []
    for name in NAMES:
        lost = np.array([loss[name] for loss in losses])
        cells.append(f"{np.mean(lost <= ENOUGH):4.0%} {100 * lost.mean():5.2f}")
    return told(cells)


def told(cells: tuple[str, ...] | list[str]) -> str:
    return " | ".join(f"{cell:>15}" for cell in cells)
