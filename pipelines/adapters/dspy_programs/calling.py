"""Calling a DSPy program, and reading what it returns."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy

from pipelines.adapters.dspy_programs.blame import FORWARD
from pipelines.adapters.dspy_programs.inspection.arguments import entry_point
from pipelines.gateway.call_record import Failure
from search_spaces.refusals import nearest


def call_program(program: dspy.Module, inputs: Mapping[str, Any]) -> Any:
    """Run the program; one with only `aforward` gets its own event loop."""
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
    """The failure of a program that returned something else."""
    return _returned(program, "a dspy.Prediction, or a mapping of outputs", repr(said))


def missing_outputs(
    program: dspy.Module, names: Iterable[str], outputs: Mapping[str, Any]
) -> Failure | None:
    """The failure of a program that did not return one of these; None if it did."""
    for name in names:
        if name not in outputs:
            hint = nearest(name, outputs)
            return _returned(program, f"the output {name!r}", f"{sorted(map(str, outputs))}{hint}")
    return None


def _returned(program: dspy.Module, rule: str, said: str) -> Failure:
    place = f"{type(program).__name__}.{entry_point(program)}"
    message = f"{place} must return {rule}, but returned {said}"
    return Failure("program_error", FORWARD, message, infrastructure=False)
