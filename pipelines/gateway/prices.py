"""What a model's tokens cost."""

from __future__ import annotations

from typing import NamedTuple

from pipelines.gateway.call import LMCall


class ModelError(ValueError):
    """A model that can't be called: unknown, without a price, or without its key."""


class Price(NamedTuple):
    """Dollars per token."""

    input_usd: float
    output_usd: float

    def worst_usd(self, call: LMCall) -> float:
        """The most that one attempt of this call can cost."""
        inputs = call.most_input_tokens * self.input_usd
        return inputs + call.model.max_tokens * self.output_usd
