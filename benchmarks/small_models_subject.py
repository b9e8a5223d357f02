"""Prompt, temperature and width chosen together on real samples of a small model.

    python -m benchmarks small_models_subject [--halves 50] [--live 4] [--plot FILE.png]

Which of four subjects does an MMLU-Pro question belong to? A 0.5B model answered 160 questions with
two prompts: greedily, and in 8 samples at temperature 0.7. A config is a prompt with the greedy
answer, or with a vote of the first 1 or 3 to 8 samples (a vote of two takes the first). A call is
one answer; wider votes reuse it.

For each random half of the questions, every rival chooses on it. Regret is measured on the other
half, against the best config there. Enumeration makes all 18 calls on each question; the others
make at most a third of them. `--live` halves go through the whole search of `optimize`, with the
answers served over HTTP. Beside it: the closed form's curve of votes, from three samples.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.__main__ import shared_data
from benchmarks.loopback import LoopbackServer, Price, sample_of
from benchmarks.searching import Bench
from evaluators.racing.posterior import Floats
from evaluators.statistics.vote_scaling import VoteScaling
from optimizer.search.strategies import STRATEGIES, Arena, Strategy
from pipelines import Module, Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.providers.output_fields import message_text, requested_fields
from search_spaces import MemberConfig, PipelineConfig, SearchSpace

DATA = "small_models_subject.jsonl.gz"
SMALL, LARGER = "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct"
PROMPTS = ("direct", "examples")
SAMPLED = 0.7
SAMPLES = 8
WIDTHS = (1, *range(3, SAMPLES + 1))
FITTED = 3
"""The closed form sees so many samples of each question."""
SHARE = 1 / 3
"""Of enumeration's calls, which the others may make."""
LIVE = "ours, live"
GOAL = 0.01
"""Mean regret may exceed enumeration's by so much."""


Call = tuple[str, float, int]
"""By prompt, temperature and sample."""


class Choice(NamedTuple):
    """One config."""

    prompt: str
    temperature: float
    width: int

    @property
    def calls(self) -> list[Call]:
        """Whose answers are put to the vote."""
        return [(self.prompt, self.temperature, sample) for sample in range(self.width)]


CHOICES = [
    *(Choice(prompt, 0.0, 1) for prompt in PROMPTS),
    *(Choice(prompt, SAMPLED, width) for prompt in PROMPTS for width in WIDTHS),
]


@dataclass(frozen=True)
class Recording:
    """What the models answered."""

    instructions: Mapping[str, str]
    """By prompt, the text before the question."""
    subjects: Mapping[int, str]
    """By question, the right answer."""
    answers: Mapping[tuple[str, str, float, int, int], str | None]
    """By model, prompt, temperature, sample and question; None where it names no subject."""

    @property
    def ids(self) -> list[int]:
        """Of the questions."""
        return sorted(self.subjects)

    def right(self, model: str, calls: Sequence[Call]) -> Floats:
        """By question, 1 where a vote of these answers is right."""
        return np.array([
            float(_vote([self.answers[(model, *call, i)] for call in calls]) == subject)
            for i, subject in sorted(self.subjects.items())
        ])  # fmt: skip


@lru_cache(maxsize=1)
def recording() -> Recording:
    """The recorded answers."""
    with gzip.open(shared_data(DATA), "rt", encoding="utf-8") as lines:
        first, *rows = map(json.loads, lines)
    return Recording(
        {name: text.split("Question: {q}")[0].strip() for name, text in first["prompts"].items()},
        {row["id"]: row["subject"] for row in rows},
        {
            (row["model"], row["prompt"], row["temperature"], row["sample"], row["id"]): row[
                "parsed"
            ]
            for row in rows
        },
    )


def _vote(answers: Sequence[str | None]) -> str | None:
    """The most frequent subject, the first of equals."""
    votes = Counter(answer for answer in answers if answer is not None)
    return votes.most_common(1)[0][0] if votes else None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--halves", type=int, default=50)
    parser.add_argument("--live", type=int, default=4, help="halves that are searched live, too")
    parser.add_argument("--plot", type=Path, default=None)
    options = parser.parse_args()
    if not (path := shared_data(DATA)).is_file():
        print(f"skipped: no {path}; COMPOUND_OPTIMIZER_SHARED_DATA says where it is")
        return
    scores = np.array([recording().right(SMALL, choice.calls) for choice in CHOICES])
    tell_all(scores)
    found = [row for half in range(options.halves) for row in run_half(scores, half, options.live)]
    summarise(pd.DataFrame(found))
    curves = vote_curves()
    print(f"\nright in % by width of the vote, predicted from {FITTED} samples of each question")
    print((100 * curves).round(1).to_string())
    if options.plot:
        plot(curves, options.plot)


def tell_all(scores: Floats) -> None:
    """Print what every config scores on all questions."""
    print("right in % of all questions, 0.5B model")
    table = pd.DataFrame(CHOICES).assign(right=(100 * scores.mean(axis=1)).round(1))
    named = table.assign(config=[f"T={c.temperature:g} width {c.width}" for c in CHOICES])
    print(named.pivot_table("right", "prompt", "config", sort=False).T.to_string())
    larger = {p: recording().right(LARGER, [(p, 0.0, 0)]).mean() for p in PROMPTS}
    told = ", ".join(f"{prompt} {100 * score:.1f}" for prompt, score in larger.items())
    print(f"1.5B model, greedy, no choice here: {told}\n")


def run_half(scores: Floats, half: int, live: int) -> Iterator[dict[str, Any]]:
    """What every rival chooses on one half: its regret on the other half, and its calls."""
    shuffled = np.random.default_rng(half).permutation(scores.shape[1])
    searched, other = np.split(shuffled, 2)
    everything = len({call for choice in CHOICES for call in choice.calls}) * len(searched)
    means, elsewhere = scores[:, searched].mean(axis=1), scores[:, other].mean(axis=1)

    def row(rival: str, chosen: int, calls: int) -> dict[str, Any]:
        regret = float(elsewhere.max() - elsewhere[chosen])
        return {"rival": rival, "half": half, "regret": regret, "calls": calls / everything}

    yield row("enumeration", int(means.argmax()), everything)
    for name in ("default", "halving", "random"):
        ours = "ours, on the table" if name == "default" else name
        most = int(SHARE * everything)
        yield row(ours, *search(STRATEGIES[name], scores[:, searched], most, half))
    singles = [place for place, choice in enumerate(CHOICES) if choice.width == 1]
    best_single = max(singles, key=lambda place: means[place])
    yield row("best single answer", best_single, len(singles) * len(searched))
    if half < live:
        ids = [recording().ids[place] for place in searched]
        votes, calls = search_live(ids, int(SHARE * everything), half)
        score = recording().right(SMALL, votes)[other].mean()
        regret = float(elsewhere.max() - score)
        yield {"rival": LIVE, "half": half, "regret": regret, "calls": calls / everything}


def search(strategy: Strategy, scores: Floats, calls: int, seed: int) -> tuple[int, int]:
    """A strategy's choice and the calls it made, at most so many."""
    factors = [
        (PROMPTS.index(choice.prompt), int(choice.temperature > 0), choice.width)
        for choice in CHOICES
    ]
    arena = Arena(
        choices=(len(CHOICES),),
        calls_of=lambda levels: CHOICES[levels[0]].calls,
        factors_of=lambda levels: factors[levels[0]],
        examples=scores.shape[1],
        left=calls,
        planned=calls,
        listed=True,
        seed=seed,
    )
    order = np.random.default_rng(seed).permutation(scores.shape[1])
    for batch in strategy.runs(arena):
        for run in batch:
            cost = arena.field.calls([run])
            if cost > arena.left:
                return strategy.pick(arena), int(arena.field.made.sum())
            arena.left -= cost
            arena.field.note(run, float(scores[run[0], order[run[1]]]))
    return strategy.pick(arena), int(arena.field.made.sum())


def search_live(ids: Sequence[int], calls: int, seed: int) -> tuple[list[Call], int]:
    """Whose vote the whole search takes, and its calls, at most so many, the baseline's included.

    It begins with one sample of the `direct` prompt.
    """
    said = recording()
    with LoopbackServer(reply=_reply, prices={SMALL: Price(0.1, 0.1)}) as server:
        model = Model(
            f"openai/{SMALL}", api_base=server.url, input_usd_per_million=0.1,
            output_usd_per_million=0.1,
        )  # fmt: skip
        bench = Bench(
            pipeline=Pipeline("subject", [
                Module("classify", "question -> subject", temperature=SAMPLED,
                       instructions=said.instructions["direct"])
            ]),
            rows=[{"question": f"question {i}", "subject": said.subjects[i]} for i in ids],
            models=[model],
            gateway=Gateway(cache=None),
            diagnoser=None,
            seed=seed,
            stages=("structure",),
            space=SearchSpace(
                instructions={"classify": tuple(said.instructions.values())},
                temperature=(0.0, SAMPLED),
                width=tuple(range(1, SAMPLES + 1)),
                aggregator=("majority_vote",),
            ),
        )  # fmt: skip
        state, made = bench.search(budget=Budget(calls=calls))
    return _calls(state.incumbent), made


def _reply(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    """The recorded answer to the question, by the prompt that the messages contain."""
    text = "\n".join(map(message_text, messages))
    found = re.search(r"question (\d+)\b", message_text(messages[-1]))
    fields = requested_fields(messages)
    assert found is not None
    assert fields is not None
    prompt = PROMPTS["Classify exam questions" in text]
    temperature, sample = params["temperature"], sample_of(messages, params)
    question = (SMALL, prompt, temperature, 0 if temperature == 0 else sample, int(found[1]))
    return fields.written(dict.fromkeys(fields.names, recording().answers[question] or ""))


def _calls(config: PipelineConfig) -> list[Call]:
    """The members of the config, which may mix prompts and temperatures."""
    prompts = {text: name for name, text in recording().instructions.items()}
    samples: Counter[MemberConfig] = Counter()
    calls = []
    for member in config.modules["classify"].resolved_members:
        temperature = member.temperature or 0.0
        sample = samples[member] if temperature else 0
        samples[member] += 1
        calls.append((prompts[member.instructions or ""], temperature, sample))
    return calls


def summarise(found: pd.DataFrame) -> None:
    """Print mean regrets, and whether ours reach the goal."""
    by_rival = found.groupby("rival", sort=False)
    table = pd.DataFrame({
        "halves": by_rival["half"].count(),
        "regret": 100 * by_rival["regret"].mean(),
        "standard error": 100 * by_rival["regret"].sem(),
        "share of enumeration's calls": by_rival["calls"].mean(),
    })  # fmt: skip
    print("regret on the other half in points, against the best config there")
    print(table.round(2).to_string())
    wide = found.pivot(index="half", columns="rival", values="regret")
    for ours in [name for name in by_rival.groups if str(name).startswith("ours")]:
        excess = (wide[ours] - wide["enumeration"]).dropna()
        verdict = "reached" if excess.mean() <= GOAL else "missed"
        print(f"{ours}: {100 * excess.mean():+.2f} points beside enumeration, goal {verdict}")


def vote_curves() -> pd.DataFrame:
    """By prompt, the accuracy of votes by width: as measured over all samples, and as predicted."""
    curves = {}
    for prompt in PROMPTS:
        measured = [
            np.mean([
                recording().right(SMALL, [(prompt, SAMPLED, s) for s in samples]).mean()
                for samples in itertools.combinations(range(SAMPLES), width)
            ])
            for width in WIDTHS
        ]  # fmt: skip
        curves[f"{prompt}, measured"] = measured
        curves[f"{prompt}, predicted"] = list(predicted_curve(prompt))
    return pd.DataFrame(curves, index=pd.Index(WIDTHS, name="width"))


def predicted_curve(prompt: str) -> Floats:
    """As the structure stage predicts it: from right samples, and the most frequent wrong one."""
    said = recording()
    right, rival = [], []
    for i, subject in sorted(said.subjects.items()):
        votes = Counter(said.answers[SMALL, prompt, SAMPLED, s, i] for s in range(FITTED))
        wrong = [count for answer, count in votes.items() if answer not in (subject, None)]
        right.append(votes[subject])
        rival.append(max(wrong, default=0))
    decided = np.add(right, rival)
    told = decided > 0
    decisive = float(decided.sum() / (told.sum() * FITTED))
    scaling = VoteScaling.fit(np.array(right)[told], decided[told], decisive)
    return float(told.mean()) * scaling.curve(WIDTHS)


def plot(curves: pd.DataFrame, path: Path) -> None:
    """Draw the measured and the predicted curves."""
    figure, axes = plt.subplots()
    curves.plot(ax=axes, style=["o-", "s--", "o-", "s--"], color=["C0", "C0", "C1", "C1"])
    axes.set(xlabel="samples in the vote", ylabel="accuracy")
    figure.savefig(path, dpi=120)
    print(f"plot: {path}")
