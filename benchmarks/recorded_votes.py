"""Three solvers and a vote on recorded answers: held-out gain, and regret against all 343 mixes.

    python -m benchmarks recorded_votes --recording mmlu_pro_recorded.jsonl.gz [--splits 50]

Real answers of seven mid-size models to MMLU-Pro questions; no model is called. There is no LLM to
diagnose with, so the search goes by end-to-end races alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import dspy
import numpy as np

from benchmarks.searching import Bench
from benchmarks.splits import over_splits
from optimizer.search.state import SearchState
from pipelines.aggregators import majority_vote as vote
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.patterns import majority_vote
from pipelines.providers.recorded import load_recording, recorded_dataset

HOLDOUT = 0.3

MODELS = (
    "Qwen1.5-72B-Chat",
    "Meta-Llama-3.1-8B-Instruct",
    "mathstral-7B",
    "Yi-34B",
    "Mixtral-8x7B-Instruct-v0.1",
    "Phi-3-mini-4k-instruct",
    "c4ai-command-r-v01",
)
"""All but Llama-3.1-70B, which beats every vote of the others by far."""


def main() -> None:
    print("split | best of 343 | ours  regret  calls | held out: ours  single  three best")
    table = []
    for seed, row in over_splits(__doc__ or "", run_split):
        table.append(row)
        best, ours, calls, held_out, single, three = row
        print(
            f"{seed:5d} | {100 * best:11.2f} | {100 * ours:5.2f} {100 * (best - ours):6.2f} "
            f"{calls:6.0f} | {100 * held_out:14.2f} {100 * single:7.2f} {100 * three:11.2f}",
            flush=True,
        )
    summarise(np.array(table))


def run_split(recording: str, seed: int) -> tuple[float, ...]:
    """Everything on one split: scores on the search set, calls, and held-out scores."""
    bench = Bench(
        pipeline=majority_vote(3, temperature=None),
        rows=recorded_dataset(recording),
        models=[Model(f"recorded/{name}", params={"recording": recording}) for name in MODELS],
        gateway=Gateway(cache=None),
        diagnoser=None,
        holdout=HOLDOUT,
        seed=seed,
    )
    plan = bench.plan()
    state, calls = bench.search()
    searched = Votes(recording, state, plan.search)
    held_out = Votes(recording, state, plan.holdout)
    chosen = [labels[0] for labels in state.incumbent.allocation.values()]
    labels = list(plan.models)
    singles = sorted(labels, key=lambda label: -searched.score([label] * 3))
    best = max(searched.score(mix) for mix in itertools.product(labels, repeat=3))
    return (
        best,
        searched.score(chosen),
        calls,
        held_out.score(chosen),
        held_out.score([singles[0]] * 3),
        held_out.score(singles[:3]),
    )


class Votes:
    """Scores of any three solvers on one side of a split, outside of the library's own loop."""

    def __init__(
        self, recording: str, state: SearchState, examples: Sequence[dspy.Example]
    ) -> None:
        self._metric: Callable[..., Any] = state.evaluator.metric
        self._examples = examples
        asked = {each.prompt: each for each in load_recording(recording).questions}
        questions = [asked[example["question"]] for example in examples]
        self._answers = {
            label: [each.responses[label.removeprefix("recorded/")].final for each in questions]
            for label in state.singles
        }
        self._scores: dict[tuple[int, tuple[Any, ...]], float] = {}

    def score(self, mix: Sequence[str]) -> float:
        """Mean score of a vote of these three, in this order."""
        return float(np.mean([self._score(i, mix) for i in range(len(self._examples))]))

    def _score(self, index: int, mix: Sequence[str]) -> float:
        answers = tuple(self._answers[label][index] for label in mix)
        key = (index, answers)
        if key not in self._scores:
            answer = vote(**{str(n): given for n, given in enumerate(answers)})
            prediction = dspy.Prediction(answer=answer)
            self._scores[key] = self._metric(self._examples[index], prediction).value
        return self._scores[key]


def summarise(table: np.ndarray) -> None:
    """The figures that the documentation quotes."""
    best, ours, calls, held_out, single, three = table.T
    print(f"\nbest of 343 mixes on the search sets: {100 * best.mean():.2f} on average")
    print(f"mean regret: {100 * (best - ours).mean():.2f} points; calls {calls.mean():.0f}")
    print(f"held-out gain over the best single model: {points(held_out - single)}")
    print(f"the vote of the three best single models: {points(three - single)}")


def points(gains: np.ndarray) -> str:
    """Mean gain over the splits in points, with its 95% interval.

    Splits share examples, so their gains are correlated; the variance is corrected for it as
    Nadeau and Bengio (2003, Inference for the Generalization Error) propose.
    """
    mean, spread = 100 * float(np.mean(gains)), 100 * float(np.std(gains, ddof=1))
    half = 1.96 * spread * np.sqrt(1 / len(gains) + HOLDOUT / (1 - HOLDOUT))
    return f"{mean:+.2f} points [{mean - half:+.2f}, {mean + half:+.2f}]"
