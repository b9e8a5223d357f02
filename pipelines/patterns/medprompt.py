"""Similar solved examples, a chain of thought, and a vote over shuffled options."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from pipelines.patterns.question import parse_question
from pipelines.spec.pipeline import Pipeline


def medprompt(
    pool: Iterable[Mapping[str, Any]],
    model: str,
    signature: str = "question -> answer",
    *,
    k: int = 5,
    votes: int = 5,
    temperature: float | None = 0.7,
) -> Pipeline:
    """Two modules: the function `recall`, and `solve`, which is a vote (arXiv 2311.16452).

    `recall` finds the k solved examples whose first input is most alike by its words; `solve` sees
    them, thinks step by step, and votes over orders of the options of a multiple-choice question.

    Args:
        pool: solved examples with the signature's fields, and maybe `reasoning`. They are part of
            the pipeline and its file. One with the very input that is asked is never shown.
        model: label or name of the model that votes; the search may choose others.
        signature: of the whole; the first input holds the options, the one output is the answer.
        k: how many examples are shown; 0 shows none.
        votes: how many members vote, at least 2.
        temperature: of the members.
    """
    if votes < 2:
        raise PipelineError(f"votes >= 2 must hold, but got {votes}")
    asked = parse_question(signature)
    first = asked.inputs.split(",")[0].split(":")[0].strip()
    fields = (first, "reasoning", asked.answer)
    try:
        kept = [{"text": str(row[first]), "shown": _shown(row, fields)} for row in pool]
    except KeyError as error:
        raise PipelineError(f"each example of the pool needs {first!r} and {asked.answer!r}, but "
                            f"one has no {error}") from None  # fmt: skip
    solve = Module(
        "solve",
        f"examples, {asked.inputs} -> {asked.answer}{asked.kind}",
        strategy="chain_of_thought",
        model=f"{votes}x {model} -> shuffled_vote(options={first})",
        temperature=temperature,
    )
    recall = Module(
        "recall",
        "text -> examples",
        function=nearest,
        params={"k": k, "pool": kept},
        rename={"text": first},
    )
    return Pipeline("medprompt", [recall, solve])


def nearest(text: str, pool: Sequence[Mapping[str, str]], k: int) -> str:
    """The k examples of the pool whose words are most alike, by the cosine of tf-idf weights."""
    others = [row for row in pool if row["text"] != text]
    counts = [Counter(_words(row["text"])) for row in others]
    known = Counter(word for count in counts for word in count)
    weight = {word: math.log((1 + len(others)) / (1 + n)) + 1 for word, n in known.items()}
    asked = Counter(_words(text))

    def alike(count: Counter[str]) -> float:
        shared = sum(asked[word] * n * weight[word] ** 2 for word, n in count.items())
        return shared / math.sqrt(sum((n * weight[word]) ** 2 for word, n in count.items()) or 1)

    scores = [alike(count) for count in counts]
    best = sorted(range(len(others)), key=lambda place: -scores[place])[:k]
    return "\n\n".join(others[place]["shown"] for place in best) or "none"


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _shown(row: Mapping[str, Any], fields: Sequence[str]) -> str:
    given = [name for name in fields if name != "reasoning" or "reasoning" in row]
    return "\n".join(f"{name}: {row[name]}" for name in given)
