"""Judgements of candidates by a role, or by a user's function found by its name."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator

from pipelines.aggregators.aggregator import Answer, Members
from pipelines.modules.functions import check_arguments, import_function
from pipelines.modules.module import Module
from pipelines.modules.signature import REASONING
from search_spaces.config import canonical_json

T = TypeVar("T")


def _importable(reference: str) -> str:
    import_function(reference)
    return reference


FunctionName = Annotated[str, AfterValidator(_importable)]
"""`"package.module:name"` of a function that takes the module's input and output fields by name."""


def check_function(reference: str | None, module: Module) -> None:
    """Raises PipelineError unless the function takes the module's fields, apart from its
    reasoning."""
    if reference is not None:
        fields = [*module.input_fields, *(f for f in module.output_fields if f != REASONING)]
        check_arguments(import_function(reference), dict.fromkeys(fields), {})


def accepted(members: Members, role: str, answers: Sequence[Answer]) -> list[bool]:
    """Whether a yes-or-no role accepts each answer; where it fails, it does not."""
    replies = members.consult(role, [answer.shown for answer in answers])
    return [bool(verdict and verdict["accepted"]) for verdict in replies]


def checks(members: Members, reference: str, answers: Sequence[Answer]) -> list[bool]:
    """Whether the function accepts each answer; a failure is recorded, and counts as no."""
    return [bool(_call(members, reference, answer, bool)) for answer in answers]


def scores(members: Members, reference: str, answers: Sequence[Answer]) -> list[float | None]:
    """The function's score of each answer; None where it fails, which is recorded."""
    return [_call(members, reference, answer, _score) for answer in answers]


def keys(members: Members, reference: str, answers: Sequence[Answer]) -> list[str | None]:
    """Each answer's key as JSON; None where there is none, or where it fails, which is recorded."""

    def key(returned: Any) -> str | None:
        return None if returned is None else canonical_json(returned)

    return [_call(members, reference, answer, key) for answer in answers]


def finite(value: Any) -> float | None:
    """The value as a finite number; None if it is not one."""
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _score(returned: Any) -> float:
    number = finite(returned)
    if number is None:
        shown = repr(returned) if len(repr(returned)) <= 200 else f"{repr(returned)[:200]}..."
        raise TypeError(f"a score must be a finite number, but got {shown}")
    return number


def _call(members: Members, reference: str, answer: Answer, read: Callable[[Any], T]) -> T | None:
    """What the function returns for the answer, converted; None where it fails."""
    arguments = copy.deepcopy({**members.inputs, **answer.record})  # it may change them
    try:
        return read(import_function(reference)(**arguments))
    except Exception as error:  # the user's function may raise anything
        members.failed("function_error", f"{reference}: {type(error).__name__}: {error}")
        return None
