"""Best-of-K with a verifier, predicted from six samples per example: how far off?

python -m benchmarks best_of_k [--examples 1000] [--seeds 20]

Twenty combinations of base accuracy, the verifier's two rates, and K. The logits of the examples'
right rates are normal with standard deviation 1.5. Predictions see six samples of each example and
the verifier's verdict on each of them; its two rates are estimated too. Then the same with verdicts
on a few examples only, as many as a search asks for, and from two samples per example. The rivals,
with our rates of the verifier: the formula at the mean rate, and its mean over the shares of six.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.vote_widths import logit_normal
from evaluators.statistics.best_of_k import BestOfK, best_of_k
from optimizer.stages.structure.predictions import VERIFIED_EXAMPLES

BASES = (0.3, 0.45, 0.6, 0.75)
VERIFIERS_AND_K = ((0.9, 0.5, 4), (0.8, 0.8, 4), (0.95, 0.9, 8), (0.7, 0.9, 16), (0.6, 0.6, 8))
SPREAD = 1.5
SAMPLES = 6
NAMES = ("ours", "few verified", "2 samples", "mean rate", "shares of 6")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    print(f"{'mean absolute error in points':46} | {' | '.join(f'{n:>15}' for n in NAMES)}")
    print(" base | accepts right | rejects wrong |  K | true |" + len(NAMES) * f"{'':16} |")
    rows = []
    for base in BASES:
        for accepts, rejects, k in VERIFIERS_AND_K:
            true = BestOfK(logit_normal(base, SPREAD), accepts, rejects)
            errors = np.mean([run(true, k, options.examples, s) for s in range(options.seeds)], 0)
            rows.append(errors)
            print(
                f" {base:4.2f} | {accepts:13.2f} | {rejects:13.2f} | {k:2d} | "
                f"{true.accuracy(k):.2f} | {' | '.join(f'{e:15.2f}' for e in errors)}",
                flush=True,
            )
    means, worst = np.mean(rows, axis=0), np.max(rows, axis=0)
    print(f"{'mean':46} | {' | '.join(f'{e:15.2f}' for e in means)}")
    print(f"{'worst combination':46} | {' | '.join(f'{e:15.2f}' for e in worst)}")


def run(true: BestOfK, k: int, examples: int, seed: int) -> list[float]:
    """How far off each way of predicting is, in points, on one sample of examples."""
    rng = np.random.default_rng(seed)
    rates = rng.choice(true.difficulty.rates, examples, p=true.difficulty.weights)
    right = rng.random((examples, SAMPLES)) < rates[:, None]
    accept = np.where(right, true.accepts_right, 1 - true.rejects_wrong)
    accepted = rng.random(right.shape) < accept
    truth = true.accuracy(k)
    return [100 * abs(guess - truth) for guess in predictions(right, accepted, k)]


def predictions(right: NDArray[np.bool_], accepted: NDArray[np.bool_], k: int) -> Iterator[float]:
    """By each of the ways."""
    ours = fitted(right, accepted)
    yield ours.accuracy(k)
    few = fitted(right[:VERIFIED_EXAMPLES], accepted[:VERIFIED_EXAMPLES])
    yield BestOfK(ours.difficulty, few.accepts_right, few.rejects_wrong).accuracy(k)
    yield fitted(right[:, :2], accepted[:, :2]).accuracy(k)
    rates = ours.accepts_right, ours.rejects_wrong
    yield float(best_of_k(right.mean(), *rates, k))
    yield float(best_of_k(right.mean(axis=1), *rates, k).mean())


def fitted(right: NDArray[np.bool_], accepted: NDArray[np.bool_]) -> BestOfK:
    return BestOfK.fit(
        right.sum(axis=1),
        right.shape[1],
        accepted_right=int((right & accepted).sum()),
        rejected_wrong=int((~right & ~accepted).sum()),
    )
