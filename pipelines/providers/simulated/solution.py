"""What a skill finds in a message: the right value, plausible wrong ones, how hard it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from pipelines.providers.simulated.randomness import normal, uniform
from pipelines.providers.simulated.request import ParsedRequest

NOTHING_PLAUSIBLE = ("unknown",)


@dataclass(frozen=True)
class Solution:
    """One item with its right answer, computed from the message alone."""

    skill: str
    """The skill whose level decides how often a model gets it right."""
    item: str
    """The item in one canonical text: field names, prompt, model and the order of options play
    no part in it."""
    right: str
    wrong: tuple[str, ...]
    """Plausible wrong answers; at least one, without duplicates, none of them right."""
    via: Solution | None = None
    """The item whose answer is the task of this one, where two steps are done in one call."""
    used: frozenset[str] = frozenset()
    """Names of the input fields that the item was read from."""
    extras: Mapping[str, str] = field(default_factory=dict)
    """Right values of output fields with other names, such as the `id` of a located task."""

    options: Mapping[str, str] = field(default_factory=dict)
    """The options by letter, in the order shown, where the answer is one of these letters."""

    def __post_init__(self) -> None:
        distinct = tuple(dict.fromkeys(text for text in self.wrong if text != self.right))
        object.__setattr__(self, "wrong", distinct or NOTHING_PLAUSIBLE)

    @property
    def wrong_by_popularity(self) -> tuple[str, ...]:
        """The wrong answers in an order that all models share, most tempting first."""
        named = {text: self.options.get(text, text) for text in self.wrong}
        return tuple(sorted(named, key=lambda text: uniform("popular", self.item, named[text])))

    @property
    def order(self) -> str:
        """The order of the options; empty where there are none."""
        return repr(tuple(self.options.values())) if self.options else ""

    def place(self, text: str) -> float:
        """Return where an option stands, from 0 (first) to 1 (last); 0 if it is no option."""
        letters = list(self.options)
        return letters.index(text) / (len(letters) - 1) if text in letters[1:] else 0.0


@lru_cache(maxsize=65536)
def difficulty_of(skill: str, item: str) -> float:
    """Return how hard an item is, on the scale of abilities: a standard normal draw."""
    return normal("difficulty", skill, item)


class Skill(Protocol):
    """A kind of task whose right answer follows from the text of the message."""

    def solve(self, request: ParsedRequest) -> Solution | None:
        """Return the solution, or None if the request holds no task of this kind.

        Pure: the same request gives the same solution. Never raises on odd text.
        """
        ...
