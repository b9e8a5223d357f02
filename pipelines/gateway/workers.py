"""The interface of workers, which make calls in other processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipelines.gateway.call import LMCall
from pipelines.gateway.provider import ProviderReply


class WorkersGone(BaseException):
    """No worker is connected any more. Not an `Exception`: only `on_workers` may catch it."""


class Workers(Protocol):
    """Processes that stand in for providers. On the event loop."""

    async def enter(self, check: Callable[[], None], /) -> None:
        """Wait for a place; each `enter` must be followed by `leave`.

        `check` is called while waiting; what it raises ends the wait.

        Raises:
            WorkersGone: for too long no worker was connected.
        """
        ...

    def leave(self) -> None:
        """Give the place back."""
        ...

    async def send(self, call: LMCall, timeout_s: float, /) -> ProviderReply:
        """As `Provider.send`, by a worker."""
        ...
