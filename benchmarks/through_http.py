"""Real outcomes of MathQA through `optimize()` over loopback HTTP: regret and calls.

    python -m benchmarks through_http [--seeds 10] [--calls 2000,2800] [--jobs 2]
        [--results FILE.jsonl]

Two modules, `answer` and `critic`, nine models each, and a server of OpenAI's form that knows the
recorded outcomes: a reply of `answer` names its model and question, and `critic` then answers
rightly where that pair of models did. The baseline (a random pair, by seed), the single models and
the diagnoser, which rates all outputs alike, count as calls. Nothing is held out, so that regret is
over the same 135 questions.

What leads is, after each batch, the pair that the search would run on all questions next, or has
run on all: the most wanted by its estimates. The share of calls after it leads for good is that of
the calls after the batch with which what leads changed last, among all calls after the baseline.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from benchmarks.__main__ import shared_data
from benchmarks.loopback import LoopbackServer
from benchmarks.resuming import ALL_CODE, FinishedRuns, Goal
from benchmarks.search_tables import MATHQA, is_there, numbers
from evaluators.racing.field import Run
from optimizer import Budget, Gateway, Model, Module, Pipeline, optimize
from optimizer.search.config_arena import ConfigArena
from optimizer.search.strategies import Arena
from optimizer.search.strategies.posterior_search import PosteriorSearch
from pipelines.providers.output_fields import message_text, requested_fields

GOALS = {2000: 0.005, 2800: 0.002}
"""Mean regret by calls."""
SHARE_GOAL = 1 / 3
MODULES = ("answer", "critic")


class Searches(NamedTuple):
    """The searches of one seed, from one pair."""

    seed: int
    calls: str
    """The budgets, with commas."""


class Watched(PosteriorSearch):
    """The default strategy, which notes after each batch the calls so far and what leads."""

    leads: list[tuple[int, str]]
    """Set by the benchmark on the class, since `optimize` makes the strategy."""

    def runs(self, arena: Arena) -> Iterator[Sequence[Run]]:
        assert isinstance(arena, ConfigArena)
        for batch in super().runs(arena):
            yield batch
            wanted = next(iter(self.wanted(arena.posterior.mean)), None)
            if wanted is not None:
                calls = arena.evaluator.session.nominal.calls
                self.leads.append((calls, str(arena.configs[wanted].allocation)))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--calls", type=numbers, default=list(GOALS))


def goals(options: argparse.Namespace) -> list[Goal]:
    """Search, print regret and calls by budget, and compare with the goals."""
    if not is_there("mathqa"):
        return []
    budgets = ",".join(map(str, options.calls))
    runs = [Searches(seed, budgets) for seed in range(options.seeds)]
    finished = FinishedRuns(options.results, (*ALL_CODE, "benchmarks/through_http.py"))
    found = finished.of(runs, searches, options.jobs)
    reached = []
    for place, calls in enumerate(options.calls):
        cells = [cells[place] for cells in found["by_budget"]]
        regrets, shares, made = (
            np.array([cell[name] for cell in cells]) for name in ("regret", "after", "made")
        )
        error = regrets.std(ddof=1) / np.sqrt(len(regrets)) if len(regrets) > 1 else np.nan
        by_seed = ", ".join(f"{share:.0%}" for share in shares)
        print(
            f"{calls:,} calls: regret {regrets.mean():.4f} ±{error:.4f}, worst "
            f"{regrets.max():.4f}; calls made {made.mean():,.0f}, of which after what leads "
            f"changed last {shares.mean():.0%} (by seed {by_seed})"
        )
        what = f"through HTTP, {calls:,} calls, {len(cells)} seeds"
        if calls in GOALS:
            met = bool(regrets.mean() <= GOALS[calls])
            reached.append(
                Goal(f"{what}: mean regret", f"{regrets.mean():.4f}", f"{GOALS[calls]}", met)
            )
        reached.append(
            Goal(
                f"{what}: calls after the pick leads for good",
                f"{shares.mean():.0%}",
                f"{SHARE_GOAL:.0%}",
                bool(shares.mean() <= SHARE_GOAL),
            )
        )
    return reached


def searches(run: Searches) -> dict[str, Any]:
    """A search by budget, over one server and one cache."""
    data = json.loads(gzip.decompress(shared_data(MATHQA).read_bytes()))
    scores = np.array(data["score"])
    names = data["answer_models"]
    assert names == data["critic_models"]
    usd = np.array(data["usd"]).mean(axis=-1).diagonal()
    given = np.random.default_rng(run.seed).integers(len(names), size=2)
    with (
        LoopbackServer(reply=_Replies(scores)) as server,
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
    ):
        models = [
            Model(
                f"openai/model-{number}",
                label=name,
                api_base=server.url,
                input_usd_per_million=1e3 * usd[number],
                output_usd_per_million=1e3 * usd[number],
            )
            for number, name in enumerate(names)
        ]
        modules = [
            Module("answer", "question -> draft", model=names[given[0]]),
            Module("critic", "question, draft -> answer", model=names[given[1]]),
        ]
        gateway = Gateway(cache=None)
        found = [
            _search(modules, models, gateway, scores, int(calls), run.seed)
            for calls in run.calls.split(",")
        ]
    return {"by_budget": found}


def _search(
    modules: Sequence[Module],
    models: Sequence[Model],
    gateway: Gateway,
    scores: np.ndarray,
    calls: int,
    seed: int,
) -> dict[str, float]:
    # A column that nothing reads makes it another search, whose account does not begin with what
    # the search before it has paid.
    rows = [
        {"question": f"Question {number}?", "answer": f"right {number}", "budget": str(calls)}
        for number in range(scores.shape[-1])
    ]
    Watched.leads = []
    with patch("optimizer.search.race.PosteriorSearch", Watched):
        result = optimize(
            Pipeline("mathqa", modules),
            rows,
            models,
            budget=Budget(calls=calls),
            stages="allocation",
            holdout=0,
            seed=seed,
            gateway=gateway,
        )
    labels = [model.label for model in models]
    pair = [labels.index(result.config.allocation[module][0]) for module in MODULES]
    means = scores.mean(axis=-1)
    assert result.spent.paid_now_calls <= result.spent.calls <= calls
    made, last = result.spent.calls, Watched.leads[-1][1]
    since = next((n for n, leads in reversed(Watched.leads) if leads != last), 0)
    led = min((n for n, _ in Watched.leads if n > since), default=made)
    return {
        "regret": round(float(means.max() - means[tuple(pair)]), 9),
        "made": made,
        "after": (made - led) / max(1, made - 2 * len(rows)),
    }


class _Replies:
    """The server's models, which know the recorded outcomes."""

    def __init__(self, scores: np.ndarray) -> None:
        self._scores = scores

    def __call__(self, messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
        """A draft that names its model; the critic's answer; or the same rating for all outputs."""
        fields = requested_fields(messages)
        if fields is None:  # the first call to each model
            return "OK"
        asked = message_text(messages[-1])
        if "ratings" in fields.names:
            count = len(re.findall(r"(?m)^\[\d+\] ", asked))
            return fields.written({"ratings": str([5] * count), "reason": "They look alike."})
        question = int(re.findall(r"Question (\d+)\?", asked)[-1])
        model = int(params["model"].rpartition("-")[2])
        if "draft" in fields.names:
            return fields.written({"draft": f"draft {question} by {model}"})
        by = int(re.findall(r"draft \d+ by (\d)", asked)[-1])
        right = self._scores[by, model, question] == 1
        return fields.written({"answer": f"right {question}" if right else "wrong"})
