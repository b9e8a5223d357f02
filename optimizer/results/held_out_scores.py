"""The scores of the held-out examples, as a tuned pipeline's YAML keeps them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from evaluators.outcome import Evaluation
from pipelines import PipelineError
from search_spaces.config import canonical_json

KEPT_AS = "held_out_scores"
"""The entry of the provenance."""
_LINE = re.compile(r"([0-9a-f]{12}) (\d+(?:\.\d+)?(?:e-\d+)?)")
_DIGITS = 6


def example_key(inputs: Mapping[str, Any]) -> str:
    """A short digest of an example's inputs, by which it is known again."""
    return hashlib.sha256(canonical_json(dict(inputs)).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class HeldOutScores:
    """Pairs of an example's key and its score in [0, 1]; copies of an example each have one."""

    pairs: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, evaluation: Evaluation, keys: Sequence[str]) -> Self:
        """The scores of an evaluation, in the order of its examples, of which `keys` has all."""
        scores = sorted(evaluation.scores.items())
        return cls(tuple((keys[index], round(score, _DIGITS)) for index, score in scores))

    @classmethod
    def kept_in(cls, provenance: Mapping[str, Any]) -> Self | None:
        """What a saved pipeline keeps; None if it keeps none.

        Raises:
            PipelineError: the entry can't be read.
        """
        text = provenance.get(KEPT_AS)
        return None if text is None else cls(tuple(_read(str(text))))

    @property
    def scores(self) -> list[float]:
        """All scores."""
        return [score for _, score in self.pairs]

    @property
    def by_key(self) -> dict[str, list[float]]:
        """The scores of each example, in their order."""
        found: dict[str, list[float]] = {}
        for key, score in self.pairs:
            found.setdefault(key, []).append(score)
        return found

    def __str__(self) -> str:
        """A line per example: its key and its score."""
        return "".join(f"{key} {score:g}\n" for key, score in self.pairs)


def _read(text: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None or not 0 <= float(found[2]) <= 1:
            raise PipelineError(
                f"{KEPT_AS} must have a line `<12 hex digits> <score in [0, 1]>` per example, but "
                f"has {line[:60]!r}"
            )
        yield found[1], float(found[2])
