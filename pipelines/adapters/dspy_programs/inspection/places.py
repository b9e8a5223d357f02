"""Where a DSPy program holds its predictors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import dspy
from dspy.primitives.base_module import BaseModule

from pipelines.errors import PipelineError

MOST_ENTRIES = 1000
"""A list or dict of more is data, such as a corpus: neither searched for predictors nor copied."""


def tunable_predictors(program: dspy.Module) -> dict[str, dspy.Predict]:
    """The predictors by DSPy's own names, in its order; PipelineError if there are none, or unclear
    ones.

    Those that DSPy does not name (of a sub-module that was compiled before, or in a list within a
    list)
    are left as they are.
    """
    named = program.named_predictors()
    if not named:
        raise PipelineError(
            f"{type(program).__name__} has no predictors to tune: make them in __init__, as in "
            "self.answer = dspy.Predict('question -> answer'), and not in forward"
        )
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        raise PipelineError(f"two predictors are called {twice[0]!r}: give them names of their own")
    places: dict[int, list[str]] = {}
    for place, predictor in every_predictor(program):
        places.setdefault(id(predictor), []).append(place)
    for name, predictor in named:
        found = places.get(id(predictor), [])
        if not found:
            raise PipelineError(
                f"predictor {name!r} is in a list or dict of more than {MOST_ENTRIES} entries: "
                "hold it in one of its own"
            )
        if len(found) > 1:
            raise PipelineError(
                f"{found[0]!r} and {found[1]!r} are one predictor: what is found for one place "
                "would change the other too; make one for each place"
            )
    return dict(named)


def every_predictor(program: dspy.Module) -> Iterator[tuple[str, dspy.Predict]]:
    """All predictors with their places, at any depth, including those that DSPy does not name. A
    predictor in two places is listed twice."""
    for place, each in every_module(program):
        if isinstance(each, dspy.Predict):
            yield place, each


def every_module(program: dspy.Module) -> Iterator[tuple[str, Any]]:
    """All modules with their places, the program first; one in two places is listed twice."""
    return _walk(program, "", ())


def _walk(value: Any, place: str, inside: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    if id(value) in inside:
        return
    if isinstance(value, BaseModule):
        yield place or "self", value
    if not isinstance(value, dspy.Predict):
        for name, each in _held(value):
            yield from _walk(each, f"{place}{name}".removeprefix("."), (*inside, id(value)))


def _held(value: Any) -> Iterable[tuple[str, Any]]:
    """The values it contains, each with its attribute, key or index."""
    if isinstance(value, BaseModule):
        return ((f".{name}", each) for name, each in vars(value).items())
    if not is_searched(value):
        return ()
    if isinstance(value, dict):
        return ((f"[{key!r}]", each) for key, each in value.items())
    return ((f"[{index}]", each) for index, each in enumerate(value))


def is_searched(value: Any) -> bool:
    """Whether it is a list, tuple, set or dict that may hold predictors."""
    return isinstance(value, list | tuple | set | frozenset | dict) and len(value) <= MOST_ENTRIES
