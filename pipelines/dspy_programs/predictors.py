"""The predictors of a DSPy program: where they are, and copies of the program with others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import dspy
from dspy.primitives.base_module import BaseModule

from pipelines.errors import PipelineError


def tunable_predictors(program: dspy.Module) -> dict[str, dspy.Predict]:
    """The predictors by DSPy's own names, in its order.

    Those that DSPy does not name (of a sub-module that was compiled before, or in a list within a
    list) are left as they are.

    Raises:
        PipelineError: there are none; two have one name, or one has two.
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
    for _, predictor in named:
        shared = places[id(predictor)]
        if len(shared) > 1:
            raise PipelineError(
                f"{shared[0]!r} and {shared[1]!r} are one predictor: what is found for one place "
                "would change the other too; make one for each place"
            )
    return dict(named)


def every_predictor(value: Any, place: str = "") -> Iterator[tuple[str, dspy.Predict]]:
    """All predictors with their places, at any depth, those also that DSPy does not name.

    One that stands in two places comes twice.
    """
    yield from _walk(value, place, ())


def copy_program(program: dspy.Module, predictors: Mapping[int, dspy.Predict]) -> Any:
    """A copy of a program with other predictors.

    Modules, lists, tuples, sets and dicts are copied; whatever else the program holds, such as a
    retriever, is shared with the original.

    Args:
        program: stays as it is.
        predictors: what stands in for each one, by the `id` of the original.
    """
    return _copied(program, dict(predictors))


def _walk(value: Any, place: str, inside: tuple[int, ...]) -> Iterator[tuple[str, dspy.Predict]]:
    if id(value) in inside:
        return
    inside = (*inside, id(value))
    if isinstance(value, dspy.Predict):
        yield place or "self", value
    elif isinstance(value, BaseModule):
        for name, each in vars(value).items():
            yield from _walk(each, f"{place}.{name}" if place else name, inside)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _walk(each, f"{place}[{index}]", inside)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _walk(each, f"{place}[{key!r}]", inside)


def _copied(value: Any, made: dict[int, Any]) -> Any:
    """The copy, made once: what is shared within the program is shared within the copy."""
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, BaseModule):
        new = made[id(value)] = object.__new__(type(value))
        vars(new).update({name: _copied(each, made) for name, each in vars(value).items()})
        return new
    if type(value) in (list, set):
        made[id(value)] = new = type(value)()
        (new.extend if isinstance(value, list) else new.update)(_copied(v, made) for v in value)
        return new
    if type(value) is dict:
        made[id(value)] = new = {}
        new.update({key: _copied(each, made) for key, each in value.items()})
        return new
    if type(value) is tuple:
        return tuple(_copied(each, made) for each in value)
    return value
