"""Calls a DSPy program, reads what it returns, and finds why it failed."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy

from pipelines.adapters.dspy_programs.inspection.arguments import entry_point
from pipelines.gateway.call_record import Failure
from pipelines.programs.failures import failure_of
from pipelines.programs.trace import ModuleStep
from search_spaces.refusals import nearest

FORWARD = "forward"
"""The module that failures of the program's own code are attributed to."""


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


def program_error(module: str, error: BaseException) -> Failure:
    """What the program's own code raised, such as a retriever's error: the config's failure."""
    message = f"{type(error).__name__}: {error}"
    return Failure("program_error", module, message, infrastructure=False)


def why_it_failed(
    error: Exception | SystemExit, steps: Sequence[tuple[BaseException | None, ModuleStep]]
) -> Failure:
    """The failure of the step that the error came from, or the program's own.

    `steps` holds each step with what it raised. An outage takes precedence over an error of the
    program's own code, which it may have caused.
    """
    causes = list(_causes(error))
    for raised, step in steps:
        if step.failure is not None and any(raised is cause for cause in causes):
            return step.failure
    outages = [s.failure for _, s in steps if s.failure is not None and s.failure.infrastructure]
    known = [failure_of(each, (), FORWARD) for each in causes if isinstance(each, Exception)]
    found = [failure for failure in (*known, *outages) if failure is not None]
    return found[0] if found else program_error(FORWARD, error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and what was being handled when it was."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        cause = left.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        left += [cause.__cause__, cause.__context__]
        left += cause.exceptions if isinstance(cause, BaseExceptionGroup) else []
