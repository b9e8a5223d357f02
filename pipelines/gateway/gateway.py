"""The one door to language models: cache, single flight, budget, rate limits, retries, ledger.

See docs/gateway.md for the life of a call.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.gateway.budget import Budget
from pipelines.gateway.call import CallFailed
from pipelines.gateway.concurrency.flights import Flights
from pipelines.gateway.concurrency.limits import Limit, ProviderGate
from pipelines.gateway.execution.batches import Batches
from pipelines.gateway.session import Session
from pipelines.gateway.storage.store import Store
from search_spaces.refusals import check_number, check_whole, refusing_with

if TYPE_CHECKING:
    from pipelines.gateway.model import Model
    from pipelines.gateway.provider import BatchEndpoint, Provider

__all__ = ["Gateway", "Session", "default_cache_folder", "default_gateway", "default_session"]

_MOST_BACKOFF_S = 60.0


def default_cache_folder() -> Path:
    """`COMPOUND_OPTIMIZER_CACHE`, else `compound-optimizer` in the user's cache folder."""
    chosen = os.environ.get("COMPOUND_OPTIMIZER_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "compound-optimizer"


@refusing_with(ValueError)
class Gateway:
    """How calls are made: where replies are kept, what providers allow, how often to retry.

    `limits` gives a `Limit` by provider (the part of a model's name before the slash, or its
    `api_base`). A transient failure is retried up to `retries` times, first after about
    `backoff_s` seconds, then after twice that, and so on, or when `Retry-After` says.

    `timeout_s` is how long a provider may stay silent: to connect, and from one byte to the next.
    A server that drips its answer can hold a call for longer. Once a model has replied 20 times,
    it may stay silent for five times its longest latency, and at least 30 seconds, if that is less.

    `outage_s` is how long a provider that was reached before may be away: all of its calls wait
    while one tries to connect. After that, its models are set aside: the search goes on without
    them. So is a model that never answers in time.
    """

    def __init__(
        self,
        cache: str | Path | None = "",
        *,
        limits: Mapping[str, Limit] | None = None,
        retries: int = 5,
        backoff_s: float = 0.5,
        timeout_s: float = 120.0,
        outage_s: float = 300.0,
    ) -> None:
        """`cache` is a folder, by default the user's; None keeps replies in memory only.

        Raises:
            ValueError: retries, a time or a limit is not as described.
            StoreError: the folder can't be written.
        """
        check_whole("retries", retries, 0)
        check_number("backoff_s", backoff_s, zero=True)
        check_number("timeout_s", timeout_s, zero=False)
        check_number("outage_s", outage_s, zero=True)
        for provider, limit in (limits or {}).items():
            if not isinstance(limit, Limit):
                raise ValueError(f"limits[{provider!r}] must be a Limit(...), but got {limit!r}")
        folder = default_cache_folder() if cache == "" else Path(cache) if cache else None
        self.folder = folder
        """Where replies are kept; None for memory."""
        self.store = Store(folder)
        self.flights = Flights()
        self.batches = Batches(self.store)
        self.retries = retries
        self.timeout_s = timeout_s
        self.outage_s = outage_s
        self._backoff_s = backoff_s
        self._limits = dict(limits or {})
        self._gates: dict[str, ProviderGate] = {}

    def provider(self, model: Model) -> Provider:
        """Makes the model's calls; imported with the first one that is not in the cache."""
        from pipelines.providers import provider_of

        return provider_of(model)

    def batch_endpoint(self) -> BatchEndpoint:
        """Sends batches; imported with the first one."""
        from pipelines.providers import batch_endpoint

        return batch_endpoint()

    def session(self, study: str = "", budget: Budget | None = None) -> Session:
        """Open the account of one study.

        What the study spent before counts against its dollars and calls, also what other
        processes spent; its seconds begin anew.
        """
        self.store.settle_orphans(study)
        return Session(self, study, budget or Budget())

    def gate(self, provider: str) -> ProviderGate:
        """The gate that all calls to this provider share."""
        return self._gates.setdefault(provider, ProviderGate(self.limit(provider)))

    def limit(self, provider: str) -> Limit:
        """What this provider allows."""
        return self._limits.get(provider, Limit())

    def backoff(self, attempt: int, failure: CallFailed) -> float:
        """Seconds to wait before the next attempt: what the provider asks, else exponential."""
        if failure.retry_after is not None:
            return min(failure.retry_after, _MOST_BACKOFF_S)
        most = self._backoff_s * 2.0**attempt
        return min(most * random.uniform(0.5, 1.0), _MOST_BACKOFF_S)

    def close(self) -> None:
        """Close the store."""
        self.store.close()


@functools.cache
def default_gateway() -> Gateway:
    """The gateway of pipelines that are called without one; opened at the first call."""
    return Gateway()


def default_session() -> Session:
    """An account without caps at the default gateway."""
    return default_gateway().session("calls")
