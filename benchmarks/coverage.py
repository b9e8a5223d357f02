"""Coverage and width of 95% intervals for means and paired differences.

python -m benchmarks coverage [--repeats 1000] [--plot FILE.png]

Means of 0/1 scores: exact, at 2,000 values of p and on both sides of every p where coverage jumps.
Paired differences of 0/1 scores: exact up to 36 examples, over a grid of the rates at which only
one side is right. More examples, and graded scores: simulated.

The rivals are the normal interval (mean +- 1.96 standard errors) and Wilson's. Wilson's treats the
mean of graded scores as a proportion; for paired 0/1 scores it is Newcombe's (1998, method 10).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy
from scipy.stats import binom, binomtest, norm

from evaluators.statistics import Interval, mean_interval, paired_interval

Floats = NDArray[np.float64]
SIZES = (5, 10, 18, 36, 60, 100, 300)
EXACT = (5, 10, 18, 36)
PLOTTED = (18, 36, 100)
Z = float(norm.ppf(0.975))
ROUNDING = 1e-9


class Ends(NamedTuple):
    """The ends of an interval for each possible outcome."""

    low: Floats
    high: Floats

    def cover(self, truth: float | Floats) -> NDArray[np.bool_]:
        return (self.low <= truth + ROUNDING) & (truth - ROUNDING <= self.high)


def normal(values: Floats) -> Interval:
    mean, half = float(values.mean()), Z * float(values.std()) / math.sqrt(values.size)
    return Interval(mean, mean - half, mean + half)


def wilson(values: Floats) -> Interval:
    """Wilson's interval of scores in [0, 1], by their mean alone."""
    n, mean = values.size, float(values.mean())
    centre = (mean + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(mean * (1 - mean) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return Interval(mean, centre - half, centre + half)


MEANS: dict[str, Callable[[Floats], Interval]] = {
    "ours": mean_interval,
    "Wilson": wilson,
    "normal": normal,
}


def newcombe(a: Floats, b: Floats) -> Interval:
    """Wilson's intervals of both sides, combined by way of their correlation."""
    one, other, difference = wilson(a), wilson(b), float((a - b).mean())
    both, neither = float(a @ b), float((1 - a) @ (1 - b))
    only_a, only_b = float(a @ (1 - b)), float((1 - a) @ b)
    spread = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    excess = both * neither - only_a * only_b
    if excess > 0:
        excess = max(0.0, excess - a.size / 2)
    phi = excess / math.sqrt(spread) if spread > 0 else 0.0

    def half(this: float, that: float) -> float:
        return math.sqrt(max(0.0, this**2 - 2 * phi * this * that + that**2))

    low = difference - half(one.mean - one.low, other.high - other.mean)
    high = difference + half(one.high - one.mean, other.mean - other.low)
    return Interval(difference, low, high)


PAIRED: dict[str, Callable[[Floats, Floats], Interval]] = {
    "ours": paired_interval,
    "Wilson": newcombe,
    "normal": lambda a, b: normal(a - b),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    print_means()
    print_paired_exactly()
    print_paired(options.repeats)
    print_graded(options.repeats)
    if options.plot:
        plot(options.plot)


def print_means() -> None:
    print(
        "Means of 0/1 scores, exact: mean coverage over p in [0.5, 0.99], lowest coverage over all "
        "p,\nmean width at p = 0.6 and at p = 0.9"
    )
    row("n", MEANS)
    for n in SIZES:
        row(str(n), (mean_cell(n, name) for name in MEANS))


def mean_cell(n: int, name: str) -> str:
    ends = ends_of_means(n, name)
    average = mean_coverage(ends, n, np.linspace(0.5, 0.99, 500)).mean()
    jumps = np.concatenate([end + shift for end in ends for shift in (-1e-7, 1e-7)])
    everywhere = np.concatenate([np.linspace(0.0005, 0.9995, 2000), jumps])
    everywhere = everywhere[(everywhere > 0) & (everywhere < 1)]
    worst = mean_coverage(ends, n, everywhere).min()
    widths = [binom.pmf(np.arange(n + 1), n, p) @ (ends.high - ends.low) for p in (0.6, 0.9)]
    return f"{average:.3f} {worst:.3f} {widths[0]:.3f} {widths[1]:.3f}"


@cache
def ends_of_means(n: int, name: str) -> Ends:
    """By the number of scores that are 1."""
    found = [MEANS[name](np.repeat([1.0, 0.0], [right, n - right])) for right in range(n + 1)]
    if name == "Wilson":
        by_scipy = [binomtest(k, n).proportion_ci(method="wilson") for k in range(n + 1)]
        assert np.allclose([(i.low, i.high) for i in found], by_scipy)
    return Ends(np.array([i.low for i in found]), np.array([i.high for i in found]))


def mean_coverage(ends: Ends, n: int, rates: Floats) -> Floats:
    chances = binom.pmf(np.arange(n + 1), n, rates[:, None])
    covered: Floats = (chances * ends.cover(rates[:, None])).sum(axis=1)
    return covered


def print_paired_exactly() -> None:
    print(
        "\nPaired differences of 0/1 scores, exact: lowest coverage, and highest probability of "
        "low > 0\nwhere both are equally good (Wilson's where half of the ties are right)"
    )
    row("n", PAIRED)
    for n in EXACT:
        row(str(n), (pairs_cell(n, name) for name in PAIRED))


def pairs_cell(n: int, name: str) -> str:
    counts = np.array([(w, m) for w in range(n + 1) for m in range(n + 1 - w)])
    ends = ends_of_pairs(n, name, counts)
    some = np.concatenate([[0], np.geomspace(0.001, 0.1, 15), np.linspace(0.15, 1, 18)])
    pairs = np.array([(w, m) for w in some for m in some if w + m <= 1])
    chances = trinomial(counts, n, pairs)
    covered = (chances * ends.cover((pairs[:, 0] - pairs[:, 1])[:, None])).sum(axis=1)
    equal = np.repeat(np.concatenate([some[:16], np.linspace(0.1, 0.5, 41)])[:, None], 2, axis=1)
    claimed = trinomial(counts, n, equal) @ (ends.low > ROUNDING)
    return f"{covered.min():.3f} {claimed.max():.3f}"


def ends_of_pairs(n: int, name: str, counts: NDArray[np.int64]) -> Ends:
    """By the counts of examples on which only a and only b is right."""
    found = [pair_of_counts(n, int(wins), int(losses), name) for wins, losses in counts]
    return Ends(np.array([i.low for i in found]), np.array([i.high for i in found]))


@cache  # half of the ties are right on both sides, which matters to Wilson's only
def pair_of_counts(n: int, wins: int, losses: int, name: str) -> Interval:
    right = (n - wins - losses) // 2
    a = np.repeat([1.0, 0.0, 1.0, 0.0], [wins, losses, right, n - wins - losses - right])
    b = np.repeat([0.0, 1.0, 1.0, 0.0], [wins, losses, right, n - wins - losses - right])
    return PAIRED[name](a, b)


def trinomial(counts: NDArray[np.int64], n: int, rates: Floats) -> Floats:
    """The chance of every pair of counts (a row per pair of rates)."""
    cells = np.column_stack([counts, n - counts.sum(axis=1)])
    shares = np.column_stack([rates, np.maximum(0, 1 - rates.sum(axis=1))])
    logs = xlogy(cells[None, :, :], shares[:, None, :]).sum(axis=2)
    chances: Floats = np.exp(gammaln(n + 1) - gammaln(cells + 1).sum(axis=1) + logs)
    return chances


WINS_AND_LOSSES = {
    "nothing differs": (0.0, 0.0),
    "2% won, none lost": (0.02, 0.0),
    "10% won, none lost": (0.1, 0.0),
    "2% won, 2% lost": (0.02, 0.02),
    "5% won, 5% lost": (0.05, 0.05),
    "20% won, 20% lost": (0.2, 0.2),
    "15% won, 5% lost": (0.15, 0.05),
    "90% won, none lost": (0.9, 0.0),
}


def print_paired(repeats: int) -> None:
    print("\nPaired differences of 0/1 scores, simulated: coverage, how often low > 0, mean width")
    for n in SIZES:
        row(f"n = {n}", PAIRED)
        for title, (win, lose) in WINS_AND_LOSSES.items():
            drawn = np.random.default_rng(0).multinomial(n, (win, lose, 1 - win - lose), repeats)
            cells = []
            for name in PAIRED:
                ends = ends_of_pairs(n, name, drawn[:, :2])
                cells.append(draws_cell(ends, win - lose, claims=True))
            row(title, cells)


def draws_cell(ends: Ends, truth: float, claims: bool = False) -> str:
    width = f"{(ends.high - ends.low).mean():.3f}"
    gains = f"{(ends.low > ROUNDING).mean():.3f} " if claims else ""
    return f"{ends.cover(truth).mean():.3f} {gains}{width}"


Draw = Callable[[np.random.Generator, int], Floats]
GRADED: dict[str, tuple[Draw, float]] = {
    "evenly spread": (lambda g, n: g.random(n), 0.5),
    "mostly near 1: Beta(5, 1)": (lambda g, n: g.beta(5, 1, n), 5 / 6),
    "near 0 or 1: Beta(.3, .3)": (lambda g, n: g.beta(0.3, 0.3, n), 0.5),
    "grades 0, 1/4, ..., 1": (
        lambda g, n: g.choice([0, 0.25, 0.5, 0.75, 1], n, p=[0.05, 0.05, 0.2, 0.3, 0.4]),
        0.7375,
    ),
    "1, but 5% are 0.5": (lambda g, n: g.choice([1, 0.5], n, p=[0.95, 0.05]), 0.975),
    "0.9, but 5% are 0": (lambda g, n: g.choice([0.9, 0.0], n, p=[0.95, 0.05]), 0.855),
}
DIFFERENCES: dict[str, tuple[Draw, float]] = {
    "small on every example": (lambda g, n: np.clip(g.normal(0.02, 0.1, n), -1, 1), 0.02),
    "70% tie, equal means": (
        lambda g, n: g.choice([-0.5, -0.25, 0, 0.25, 0.5], n, p=[0.05, 0.1, 0.7, 0.1, 0.05]),
        0.0,
    ),
    "90% tie, 8% gain, 2% lose": (
        lambda g, n: g.choice([-1.0, 0, 0.5], n, p=[0.02, 0.9, 0.08]),
        0.02,
    ),
    "small losses, rare gains": (lambda g, n: g.choice([-0.05, 0.95], n, p=[0.95, 0.05]), 0.0),
}


def print_graded(repeats: int) -> None:
    for title, kinds, claims in (
        ("Means of graded scores, simulated: coverage, mean width", GRADED, False),
        ("Differences of graded scores, simulated: coverage, low > 0, width", DIFFERENCES, True),
    ):
        print(f"\n{title}")
        ways = list(MEANS) if not claims else ["ours", "normal"]
        for n in (5, 18, 36, 100):
            row(f"n = {n}", ways)
            for kind, (draw, truth) in kinds.items():
                generator = np.random.default_rng(0)
                drawn = [draw(generator, n) for _ in range(repeats)]
                ends = (ends_of_draws(drawn, way, claims) for way in ways)
                row(kind, (draws_cell(of, truth, claims) for of in ends))


def ends_of_draws(drawn: list[Floats], way: str, paired: bool) -> Ends:
    if not paired:
        found = [MEANS[way](scores) for scores in drawn]
    else:
        sides = ((np.maximum(d, 0), np.maximum(-d, 0)) for d in drawn)
        found = [PAIRED[way](a, b) for a, b in sides]
    return Ends(np.array([i.low for i in found]), np.array([i.high for i in found]))


def plot(path: Path) -> None:
    """Exact coverage of means of 0/1 scores by p, a panel per number of examples."""
    figure, panels = plt.subplots(
        len(PLOTTED), 1, figsize=(8, 8), sharex=True, sharey=True, layout="constrained"
    )
    rates = np.linspace(0.5, 0.9995, 3000)
    for n, axes in zip(PLOTTED, panels, strict=True):
        for name in reversed(MEANS):
            axes.plot(rates, mean_coverage(ends_of_means(n, name), n, rates), label=name, lw=0.8)
        axes.axhline(0.95, color="grey", lw=0.8, ls="--")
        axes.set(title=f"{n} examples", ylim=(0.7, 1.005), ylabel="coverage")
    panels[-1].set_xlabel("true mean")
    panels[0].legend(loc="lower left")
    figure.savefig(path, dpi=150)
    print(f"\nplot: {path}")


def row(title: str, cells: Iterable[str]) -> None:
    print(f"{title:26} | " + " | ".join(f"{cell:23}" for cell in cells), flush=True)
