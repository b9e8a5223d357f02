"""A table of scores: every combination of choices on every example, to search without a model."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search_spaces.refusals import nearest, refusing_with


@refusing_with(ValueError)
@dataclass(frozen=True)
class ScoreTable:
    """What every combination of choices scores on every example.

    `ScoreTable(scores, {"answer": ["a", "b"], "critic": ["a", "b", "c"]})` is of a chain of two
    modules, with scores of shape (2, 3, examples).
    """

    scores: NDArray[np.float64] = field(repr=False)
    """In [0, 1], with an axis for each module and a last one for the examples; a copy of what was
    given, such as nested lists. None may be missing."""
    modules: Mapping[str, Sequence[Any]]
    """Each module's choices, in the order of the axes."""
    shared: bool = True
    """Whether a module's answer is one call per example and choices upstream, which all
    combinations that begin alike reuse; else every run makes a call per module."""

    def __post_init__(self) -> None:
        """Raise ValueError unless these are scores that fit the modules."""
        modules, values = _choices(self.modules), _numbers(self.scores)
        expected = tuple(len(choices) for choices in modules.values())
        if not expected or values.ndim != len(expected) + 1 or values.shape[:-1] != expected:
            raise ValueError(
                f"scores must have an axis for each module and one for examples, that is shape "
                f"{(*expected, 'examples')} for modules of {list(expected)} choices, but have "
                f"shape {values.shape}"
            )
        if not values.size:
            raise ValueError(f"there must be an example, but the scores have shape {values.shape}")
        wrong = np.argwhere(~((values >= 0) & (values <= 1)))  # NaN is among them
        if wrong.size:
            place = tuple(map(int, wrong[0]))
            raise ValueError(
                "scores must lie in [0, 1], and none may be missing (NaN), but "
                f"scores{list(place)} is {values[place]:g}"
            )
        if not isinstance(self.shared, bool):
            raise ValueError(f"shared must be True or False, but got {self.shared!r}")
        values.setflags(write=False)
        object.__setattr__(self, "scores", values)
        object.__setattr__(self, "modules", modules)

    @property
    def examples(self) -> int:
        """How many examples there are."""
        return int(self.scores.shape[-1])

    def levels(self, choices: Mapping[str, Any]) -> tuple[int, ...]:
        """The indices of one choice for each module.

        Raises:
            ValueError: a module or a choice is not in the table; names those that are.
        """
        if not isinstance(choices, Mapping) or set(choices) != set(self.modules):
            example = {name: own[0] for name, own in self.modules.items()}
            raise ValueError(
                f"a choice is needed for each module, such as {example}, but got {choices!r}"
            )
        for module, choice in choices.items():
            own = self.modules[module]
            if choice not in own:
                raise ValueError(
                    f"module {module!r} has no choice {choice!r}{nearest(choice, own)} "
                    f"(choices: {', '.join(map(str, own))})"
                )
        return tuple(own.index(choices[name]) for name, own in self.modules.items())

    def choices(self, levels: Sequence[int]) -> dict[str, Any]:
        """The choices at these indices, by module."""
        pairs = zip(self.modules.items(), levels, strict=True)
        return {name: own[level] for (name, own), level in pairs}

    def calls_of(self, levels: Sequence[int]) -> list[int]:
        """The numbers of the calls that a run makes; equal numbers mean the same call."""
        sizes = self.scores.shape[:-1]
        if not self.shared:
            first = int(np.ravel_multi_index(tuple(levels), sizes)) * len(sizes)
            return list(range(first, first + len(sizes)))
        calls, offset = [], 0
        for depth in range(1, len(sizes) + 1):
            beginning = tuple(levels[:depth])
            calls.append(offset + int(np.ravel_multi_index(beginning, sizes[:depth])))
            offset += int(np.prod(sizes[:depth]))
        return calls


def _numbers(given: ArrayLike) -> NDArray[np.float64]:
    """A copy as floats; raises ValueError unless it holds numbers."""
    try:
        values = np.array(given)
    except ValueError:  # rows of different lengths
        values = np.array(None)
    if values.dtype.kind not in "biuf":
        raise ValueError(
            "scores must be an array of numbers, or nested lists of equal lengths, but got "
            f"{reprlib.repr(given)}"
        )
    return values.astype(np.float64)


def _choices(given: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The choices by module; raises ValueError for a module without any, or with duplicates."""
    if not isinstance(given, Mapping):
        raise ValueError(f"modules must map names to choices, but got {given!r}")
    modules = {}
    for module, choices in given.items():
        if not isinstance(module, str):
            raise ValueError(f"a module's name must be text, but got {module!r}")
        if isinstance(choices, str | Set) or not isinstance(choices, Iterable):
            raise ValueError(f"choices of module {module!r} must be a list, but got {choices!r}")
        modules[module] = listed = list(choices)
        twice = [choice for place, choice in enumerate(listed) if choice in listed[:place]]
        if twice or not listed:
            got = f"{twice[0]!r} twice" if twice else "none"
            raise ValueError(f"module {module!r} needs choices that differ, but got {got}")
    return modules
