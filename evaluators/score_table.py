"""A table of scores: every combination of choices on every example, to search without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ScoreTable:
    """What every combination of choices scores on every example.

    `ScoreTable(scores, {"answer": ["a", "b"], "critic": ["a", "b", "c"]})` is of a chain of two
    modules, with scores of shape (2, 3, examples).
    """

    scores: NDArray[np.float64] = field(repr=False)
    """In [0, 1], with an axis for each module and a last one for the examples."""
    modules: Mapping[str, Sequence[Any]]
    """Each module's choices, in the order of the axes."""
    shared: bool = True
    """Whether a module's answer is one call per example and choices upstream, which all
    combinations that begin alike reuse; else every run makes a call per module."""

    def __post_init__(self) -> None:
        """Raises ValueError if these are no scores, or do not fit the modules."""
        try:
            values = np.asarray(self.scores, dtype=np.float64)
        except (TypeError, ValueError):
            message = f"scores must be an array of numbers, but got {self.scores!r}"
            raise ValueError(message) from None
        expected = tuple(len(choices) for choices in self.modules.values())
        if not expected or values.ndim != len(expected) + 1 or values.shape[:-1] != expected:
            raise ValueError(
                f"scores must have an axis for each module and one for examples, that is shape "
                f"{(*expected, 'examples')} for modules of {list(expected)} choices, but have "
                f"shape {values.shape}"
            )
        if not values.size:
            raise ValueError(f"there must be a choice and an example, but shape is {values.shape}")
        if not bool(np.all((values >= 0) & (values <= 1))):  # NaN fails this too
            raise ValueError("scores must lie in [0, 1], and none may be missing")
        values.setflags(write=False)
        object.__setattr__(self, "scores", values)

    @property
    def examples(self) -> int:
        """How many examples there are."""
        return int(self.scores.shape[-1])

    def levels(self, choices: Mapping[str, Any]) -> tuple[int, ...]:
        """The indices of one choice for each module.

        Raises:
            ValueError: a module or a choice is not in the table; names those that are.
        """
        if set(choices) != set(self.modules):
            raise ValueError(
                f"a choice is needed for each of {list(self.modules)}, but got {dict(choices)}"
            )
        for module, choice in choices.items():
            if choice not in list(self.modules[module]):
                raise ValueError(
                    f"module {module!r} has no choice {choice!r}; it has "
                    f"{list(self.modules[module])}"
                )
        return tuple(list(own).index(choices[name]) for name, own in self.modules.items())

    def choices(self, levels: Sequence[int]) -> dict[str, Any]:
        """The choices at these indices, by module."""
        pairs = zip(self.modules.items(), levels, strict=True)
        return {name: own[level] for (name, own), level in pairs}

    def calls_of(self, levels: Sequence[int]) -> list[int]:
        """Numbers of the calls that a run makes: equal numbers are the same call."""
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
