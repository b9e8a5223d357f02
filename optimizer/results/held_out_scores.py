"""The scores of the held-out examples, as a tuned pipeline's YAML keeps them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pipelines import PipelineError
from search_spaces.config import canonical_json

KEPT_AS = "held_out_scores"
"""The entry of the provenance."""
_LINE = re.compile(r"([0-9a-f]{12}) (-|\d+(?:\.\d+)?(?:e-\d+)?)")
_DIGITS = 6


def example_key(inputs: Mapping[str, Any]) -> str:
    """A short digest of an example's inputs, that identifies it."""
    return hashlib.sha256(canonical_json(dict(inputs)).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class HeldOutScores:
    """Pairs of an example's key and its score in [0, 1], None where it was held out but not scored;
    copies of an example each have one."""

    pairs: tuple[tuple[str, float | None], ...]

    @classmethod
    def of(cls, scores: Mapping[int, float], keys: Sequence[str]) -> Self | None:
        """Scores by the index of the held-out example; `keys` has all of them; None without."""
        if not keys:
            return None
        rounded = {index: round(score, _DIGITS) for index, score in scores.items()}
        return cls(tuple((key, rounded.get(index)) for index, key in enumerate(keys)))

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
        return [score for _, score in self.pairs if score is not None]

    @property
    def keys(self) -> set[str]:
        """Of all examples that were held out."""
        return {key for key, _ in self.pairs}

    @property
    def by_key(self) -> dict[str, list[float]]:
        """The scores of each example, in their order."""
        found: dict[str, list[float]] = {}
        for key, score in self.pairs:
            if score is not None:
                found.setdefault(key, []).append(score)
        return found

    def __str__(self) -> str:
        """A line per example: its key and its score, or `-`."""
        shown = ((key, "-" if score is None else f"{score:g}") for key, score in self.pairs)
        return "".join(f"{key} {score}\n" for key, score in shown)


def _read(text: str) -> Iterator[tuple[str, float | None]]:
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        score = float(found[2]) if found and found[2] != "-" else None
        if found is None or (score is not None and score > 1):
            raise PipelineError(
                f"{KEPT_AS} must have a line `<12 hex digits> <score in [0, 1], or ->` per "
                f"example, but has {line[:60]!r}"
            )
        yield found[1], score
