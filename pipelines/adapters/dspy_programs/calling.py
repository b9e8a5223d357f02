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


def outputs_of(returned: Any) -> dict[str, Any] | None:
    """The fields of a prediction or a mapping; None of anything else."""
    return dict(returned.items()) if isinstance(returned, dspy.Example | Mapping) else None


def wrong_outputs(program: dspy.Module, names: Iterable[str], returned: Any) -> Failure | None:
    """The failure of a program that returned no fields, or not all of these; None if it did."""
    outputs = outputs_of(returned)
    if outputs is None:
        problem = f"a dspy.Prediction, or a mapping of outputs, but returned {returned!r}"
    elif missing := [name for name in names if name not in outputs]:
        there = f"{sorted(map(str, outputs))}{nearest(missing[0], outputs)}"
        problem = f"the output {missing[0]!r}, but returned {there}"
    else:
        return None
    message = f"{type(program).__name__}.{entry_point(program)} must return {problem}"
    return Failure("program_error", FORWARD, message, infrastructure=False)
