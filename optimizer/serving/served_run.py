"""Runs of a served pipeline: capped by the hour, and cut off when the client leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.requests import Request

from optimizer.serving.metering import Metering
from pipelines import Trace, Tunable
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.gateway import Gateway, Session
from pipelines.modules.plain_data import plain_record
from pipelines.programs.bound_program import Prediction
from pipelines.programs.concurrency import begin

HOUR_S = 3600
MOST_RUNS = 64
"""How many runs go on at the same time; others wait for their turn."""


@dataclass(frozen=True)
class Served:
    """One prediction of a run."""

    outputs: Mapping[str, Any]
    """Plain data."""
    confidence: float
    trace: Trace | None = None
    """The whole run's; None before the final prediction."""


class RunFailed(Exception):
    """A module brought no outputs."""

    def __init__(self, trace: Trace) -> None:
        assert trace.failure is not None
        self.failure = trace.failure
        super().__init__(f"module {self.failure.module!r} failed: {self.failure.message}")


class CapReached(Exception):
    """This hour's cap leaves no room for a call."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ClientGone(Exception):
    """The client closed the connection."""


class MeteredPipeline:
    """A pipeline that answers requests, within caps on dollars and calls per hour of the clock.

    The caps hold for all processes that serve a pipeline of this name from the same cache folder,
    and over restarts: every hour is a study of the gateway's.
    """

    def __init__(self, pipeline: Tunable, gateway: Gateway, hourly: Budget) -> None:
        self.pipeline = pipeline
        self.hourly = hourly
        self.metering = Metering()
        self.in_flight = 0
        self._gateway = gateway
        self._models = pipeline.named_models()
        self._config = pipeline.config or pipeline.default_config()
        self._turns = asyncio.Semaphore(MOST_RUNS)
        self._settled_for = ""

    def session(self) -> Session:
        """An account of this hour's, for one run."""
        study = f"served {self.pipeline.name} {int(time.time()) // HOUR_S}"
        if study != self._settled_for:  # charge what a crash left in flight
            self._settled_for = study
            return self._gateway.session(study, self.hourly)
        return Session(self._gateway, study, self.hourly)

    async def predictions(
        self, inputs: Mapping[str, Any], request: Request
    ) -> AsyncGenerator[Served]:
        """Provisional predictions as they come, then the final one.

        Raises:
            RunFailed: a module brought no outputs.
            CapReached: a call could break a cap.
            ClientGone: the client left; calls in flight are cut off.
        """
        started = time.monotonic()
        gone = asyncio.create_task(_disconnected(request))
        try:
            async with self._turns:
                self.in_flight += 1
                try:
                    first = True
                    async for served in self._run(inputs, gone):
                        self._count(served, time.monotonic() - started, first)
                        first = False
                        yield served
                finally:
                    self.in_flight -= 1
        finally:
            gone.cancel()

    async def _run(
        self, inputs: Mapping[str, Any], gone: asyncio.Task[None]
    ) -> AsyncGenerator[Served]:
        loop = asyncio.get_running_loop()
        coming: asyncio.Queue[Prediction | None] = asyncio.Queue()
        session = self.session()

        def put(prediction: Prediction | None) -> None:
            with suppress(RuntimeError):  # the server has stopped
                loop.call_soon_threadsafe(coming.put_nowait, prediction)

        run = begin(partial(self._trace, session, inputs, put))
        run.add_done_callback(lambda _: put(None))
        try:
            while (prediction := await _unless(gone, coming)) is not None:
                yield Served(plain_record(dict(prediction.items())), prediction._agreement)
            trace: Trace = run.result()
        except BudgetExhausted as exhausted:
            left_s = HOUR_S - int(time.time()) % HOUR_S
            raise CapReached(f"this hour's cap is reached: {exhausted}", left_s) from None
        finally:
            if not run.done():
                session.cancel()
        self.metering.count_run(trace)
        if trace.failure is not None:
            raise RunFailed(trace)
        yield Served(plain_record(trace.outputs or {}), trace.confidence, trace)

    def _trace(self, session: Session, inputs: Mapping[str, Any], put: Any) -> Trace:
        program = self.pipeline.bind(self._config, self._models, session)
        return program.reporting(inputs, put)

    def _count(self, served: Served, seconds: float, first: bool) -> None:
        is_final = served.trace is not None
        self.metering.count("answers_total", final=str(is_final).lower())
        if first:
            self.metering.observe("first_answer_seconds", seconds)
        if is_final:
            self.metering.observe("final_answer_seconds", seconds)


async def _disconnected(request: Request) -> None:
    """Wait until the client leaves. The request's body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _unless(
    gone: asyncio.Task[None], coming: asyncio.Queue[Prediction | None]
) -> Prediction | None:
    """What comes next; raises ClientGone if the client leaves before."""
    item = asyncio.ensure_future(coming.get())
    await asyncio.wait((item, gone), return_when=asyncio.FIRST_COMPLETED)
    if item.done():
        return item.result()
    item.cancel()
    raise ClientGone
