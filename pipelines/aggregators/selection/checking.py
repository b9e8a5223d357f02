"""Users' functions about one candidate: checks, scores and keys, found by their names."""

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
    """Whether the function takes the module's fields; its reasoning is not among them.

    Raises:
        PipelineError: an argument is missing or unknown.
    """
    if reference is not None:
        fields = [*module.input_fields, *(f for f in module.output_fields if f != REASONING)]
        check_arguments(import_function(reference), dict.fromkeys(fields), {})


def checks(members: Members, reference: str, answers: Sequence[Answer]) -> list[bool]:
    """Whether the function accepts each answer; where it fails, it does not, which is noted."""
    return [bool(_call(members, reference, answer, bool)) for answer in answers]


def scores(members: Members, reference: str, answers: Sequence[Answer]) -> list[float | None]:
    """How good the function finds each answer; None where it fails, which is noted."""
    return [_call(members, reference, answer, _score) for answer in answers]


def keys(members: Members, reference: str, answers: Sequence[Answer]) -> list[str | None]:
    """Each answer's key as JSON; None where there is none, or where it fails, which is noted."""
    return [_call(members, reference, answer, _key) for answer in answers]


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


def _key(returned: Any) -> str | None:
    return None if returned is None else canonical_json(returned)


def _call(members: Members, reference: str, answer: Answer, read: Callable[[Any], T]) -> T | None:
    """What the function says of the answer, read; None where it fails, which is noted.

    It gets copies, so that it can spoil nothing.
    """
    arguments = copy.deepcopy({**members.inputs, **answer.record})
    try:
        return read(import_function(reference)(**arguments))
    except Exception as error:  # the user's function may raise anything
        members.failed("function_error", f"{reference}: {type(error).__name__}: {error}")
        return None
