"""How long the user's code takes: measured when it first runs, and reused in every repeated run.

Calls keep the latency of the first time with their reply; functions run again, and no clock may
decide what a search does (docs/decisions/005-nominal-and-real-spend.md).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from pipelines.aggregators import AGGREGATORS, Aggregator
from pipelines.gateway.gateway import Session
from pipelines.modules.function_identity import function_identity
from pipelines.modules.functions import import_function
from search_spaces.config import canonical_json

if TYPE_CHECKING:
    from pipelines.programs.members import AskedMembers

P = ParamSpec("P")
R = TypeVar("R")


def first_seconds(
    session: Session | None, measured: float, code: str, given: Sequence[Any] | None
) -> float:
    """The seconds, in hundredths, that a piece of work took when the study first did it.

    `code` identifies what was run, and `given` what it was run on; without either a session or
    `given`, the seconds measured now count.
    """
    rounded = round(max(measured, 0.0), 2)
    if session is None or given is None:
        return rounded
    return session.first_seconds(canonical_json([code, *given]), rounded)


def waiting(
    method: Callable[Concatenate[AskedMembers, P], R],
) -> Callable[Concatenate[AskedMembers, P], R]:
    """Count the time within the method as spent on members, not by the aggregator itself."""

    @functools.wraps(method)
    def timed(members: AskedMembers, /, *args: P.args, **kwargs: P.kwargs) -> R:
        started = time.perf_counter()
        try:
            return method(members, *args, **kwargs)
        finally:
            members.waited_s += time.perf_counter() - started

    return timed


@contextmanager
def own_time(members: AskedMembers) -> Iterator[None]:
    """Context in which an aggregator decides; the user's code in it counts as latency."""
    network = members.network
    started = time.perf_counter()
    yield
    if network.users_code:
        own = time.perf_counter() - started - members.waited_s
        calls = [call.key for call in members.recorder.calls]  # they identify what it decided about
        seconds = first_seconds(network.session, own, network.users_code, calls)
        members.recorder.latency_s += seconds


def users_code(made: Aggregator) -> str:
    """What identifies the user's code that the aggregator runs; empty if it runs none.

    Built-in aggregators that call no user function take microseconds and are not measured: on a
    busy machine the clock may show anything.
    """
    functions = [function_identity(import_function(name)) for name in made.functions]
    if type(made) in AGGREGATORS.values() and not functions:
        return ""
    return "\n".join((function_identity(made.aggregate), *functions))
