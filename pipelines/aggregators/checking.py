"""Users' functions about one candidate: checks, scores and keys, found by their names."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator

from pipelines.aggregators.aggregator import Answer, Members
from pipelines.functions import check_arguments, import_function
from pipelines.module import Module
from pipelines.signature import REASONING


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


def call_on_each(members: Members, reference: str, answers: Sequence[Answer]) -> list[Any]:
    """What the function says of each answer; None where it raises, which is noted.

    It may run code or tests, and gets copies, so that it can spoil nothing.
    """
    return [_call(members, reference, answer) for answer in answers]


def _call(members: Members, reference: str, answer: Answer) -> Any:
    arguments = copy.deepcopy({**members.inputs, **answer.record})
    try:
        return import_function(reference)(**arguments)
    except Exception as error:  # whatever the user's function raises is a failure of this answer
        members.failed("function_error", f"{type(error).__name__}: {error}")
        return None
