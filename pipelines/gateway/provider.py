"""What the gateway asks of whoever makes its calls."""

from __future__ import annotations

from typing import Protocol

from pipelines.gateway.call import LMCall, LMReply
from pipelines.gateway.model import Model
from pipelines.gateway.prices import Price
from pipelines.gateway.races.cut_off import CutOff


class Provider(Protocol):
    """Makes calls, and knows what they cost. Safe for threads."""

    def price_of(self, model: Model, /) -> Price:
        """What the model's tokens cost.

        Raises:
            ModelError: nobody knows.
        """
        ...

    def send(
        self, call: LMCall, price: Price, timeout_s: float, cut: CutOff | None = None, /
    ) -> LMReply:
        """Make the call exactly once. `timeout_s` bounds each wait for bytes, not their sum.

        With `cut` it can be cut off, which closes the connection.

        Raises:
            CallFailed: it brought no answer; says whether a retry may help and whether it was
                billed.
            WasCut: it was cut off.
        """
        ...
