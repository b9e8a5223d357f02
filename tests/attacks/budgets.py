"""Searches on a server that does a share of everything wrong, under random budgets."""

from __future__ import annotations

import contextlib
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.loopback import Hostile
from optimizer.errors import BudgetTooSmall, OptimizationError
from optimizer.results.result import Result
from pipelines.gateway.budget import Budget, Spend
from pipelines.gateway.execution.metering import EXCESS
from pipelines.gateway.gateway import Gateway, Session
from pipelines.gateway.prices import ModelError
from pipelines.gateway.storage.store import Claim
from pipelines.providers.simulated import simulated_dataset
from tests.optimizer.runs import counting_server, served_models, tune

ROWS = simulated_dataset("locate_solve", 16, rows=3)
CONCURRENCY = 8
AMPLE_USD, AMPLE_CALLS = 0.4, 240
"""More than a search on these rows takes, retries included."""
AMPLE = Budget(usd=AMPLE_USD, calls=AMPLE_CALLS)


class Witnessed(Gateway):
    """A gateway without long waits that remembers its session and its largest reservation."""

    opened: Session | None = None
    """None where no call could be made."""
    worst_usd = 0.0

    def __init__(self, **settings: Any) -> None:
        super().__init__(None, **{"backoff_s": 0.001, "timeout_s": 60.0, **settings})
        claim = self.store.claim

        def claimed(worst_usd: Mapping[str, float], *rest: Any) -> Claim:
            self.worst_usd = max(self.worst_usd, *worst_usd.values())
            return claim(worst_usd, *rest)

        self.store.claim = claimed  # type: ignore[method-assign, assignment]

    def session(self, study: str = "", budget: Budget | None = None) -> Session:
        """See `Gateway.session`."""
        self.opened = session = super().session(study, budget)
        return session


@dataclass(frozen=True)
class Attacked:
    """What became of one search, by our ledger and by the server's."""

    budget: Budget | None
    result: Result | None
    """None where there is none."""
    refusal: BudgetTooSmall | OptimizationError | ModelError | None
    """Why, then."""
    shown: Counter[str]
    """The faults that the server showed."""
    usd: float
    calls: int
    server_usd: float
    server_calls: int
    excess_usd: float
    """By how much dollars may exceed their cap: a tenth of what calls in flight had reserved."""

    def broken_promises(self) -> Iterator[str]:
        """What the gateway's page promises, and did not come true."""
        if self.server_calls != self.calls:
            yield f"{self.server_calls} requests, but {self.calls} calls are charged"
        if self.server_usd > self.usd * (1 + 1e-9):
            yield f"${self.server_usd} charged by the server, but ${self.usd} by the ledger"
        if self.over_calls > 0:
            yield f"{self.over_calls} calls over the cap"
        if self.over_usd > self.excess_usd:
            yield f"${self.over_usd} over the cap, ${self.excess_usd} are the most"
        if isinstance(self.refusal, OptimizationError) and self._lasting < 2:
            yield f"one reply ended it: {self.refusal}"

    @property
    def over_calls(self) -> float:
        """Calls beyond their cap; negative below it, NaN without one."""
        cap = self.budget.calls if self.budget else None
        return self.calls - (math.nan if cap is None else cap)

    @property
    def over_usd(self) -> float:
        """Dollars beyond their cap, by whichever ledger has more."""
        cap = self.budget.usd if self.budget else None
        return max(self.usd, self.server_usd) - (math.nan if cap is None else cap)

    @property
    def _lasting(self) -> int:
        return sum(n for name, n in self.shown.items() if name.startswith("lasting"))


def random_budget(seed: int) -> Budget:
    """In dollars, calls or both, from nothing to more than enough."""
    draw = random.Random(seed)
    usd = AMPLE_USD * draw.random()
    calls = 1 + int(AMPLE_CALLS * draw.random())
    return (Budget(usd=usd), Budget(calls=calls), Budget(usd=usd, calls=calls))[seed % 3]


def attack(
    budget: Budget | None, script: Hostile, *, provider: str = "openai",
    settings: Mapping[str, Any] | None = None, **arguments: Any,
) -> Attacked:  # fmt: skip
    """Tune on a hostile server; `settings` are the gateway's, `arguments` those of `optimize`."""
    with (
        counting_server(script) as server,
        contextlib.closing(Witnessed(**(settings or {}))) as gateway,
    ):
        result, refusal = None, None
        try:
            models = served_models(server, provider=provider)
            result = tune(
                ROWS, models, gateway=gateway, budget=budget, concurrency=CONCURRENCY, **arguments
            )
        except (BudgetTooSmall, OptimizationError, ModelError) as error:
            refusal = error
        spent = gateway.opened.spent if gateway.opened else Spend()
        return Attacked(
            budget, result, refusal, script.shown, spent.usd, spent.calls, server.usd,
            server.requests, EXCESS * CONCURRENCY * gateway.worst_usd,
        )  # fmt: skip
