"""The failure that ended a program's run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.gateway.call_record import Failure
from pipelines.programs.failures import failure_of
from pipelines.programs.trace import ModuleStep

FORWARD = "forward"
"""The module that failures of the program's own code are attributed to."""


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
