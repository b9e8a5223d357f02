"""Calling a DSPy program, and reading what it returns."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy

from pipelines.dspy_programs.blame import FORWARD
from pipelines.errors import PipelineError
from pipelines.llms.call_record import Failure


def entry_point(program: dspy.Module) -> str:
    """`forward`, or `aforward` where there is nothing else.

    Raises:
        PipelineError: there is neither.
    """
    for name in ("forward", "aforward"):
        if callable(getattr(type(program), name, None)):
            return name
    raise PipelineError(f"{type(program).__name__} must have a method `forward` or `aforward`")


def call_program(program: dspy.Module, inputs: Mapping[str, Any]) -> Any:
    """Run it; one that is only asynchronous gets an event loop of its own."""
    if entry_point(program) == "forward":
        return program(**inputs)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(program.acall(**inputs))
    context = contextvars.copy_context()  # in a notebook's thread a loop is running already
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(context.run, asyncio.run, program.acall(**inputs)).result()


def outputs_of(said: Any) -> dict[str, Any] | None:
    """The fields that it returned; None if it is neither a prediction nor a mapping."""
    return dict(said.items()) if isinstance(said, dspy.Example | Mapping) else None


def no_outputs(program: dspy.Module, said: Any) -> Failure:
    """That it returned what is neither."""
    place = f"{type(program).__name__}.{entry_point(program)}"
    rule = "must return a dspy.Prediction, or a mapping of outputs"
    message = f"{place} {rule}, but returned {said!r}"
    return Failure("program_error", FORWARD, message, infrastructure=False)
