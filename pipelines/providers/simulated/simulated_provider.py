"""The provider of `sim/<model>`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from pipelines.gateway.call import LMCall
from pipelines.gateway.failures import BAD_REQUEST
from pipelines.gateway.model import Model
from pipelines.gateway.prices import Price
from pipelines.gateway.provider import Knob, Provider, ProviderReply
from pipelines.providers.prices import resolve_price
from pipelines.providers.simulated.models import find_model
from pipelines.providers.simulated.simulation import simulate

SLEEP_VARIABLE = "COMPOUND_OPTIMIZER_SIM_SLEEP"
"""Environment variable; where it is 1 at the time of a call, its latency is really slept."""


class SimulatedProvider(Provider):
    """Answers at once; the latency that it reports is that of the model it imitates."""

    limits = "simulated models only solve the tasks of simulated_dataset(...)"
    connects = False

    def price_of(self, model: Model) -> Price:
        """The user's figures, else the catalogue's."""
        known = find_model(model.name)
        listed = (known.input_usd_per_million / 1e6, known.output_usd_per_million / 1e6)
        return resolve_price(model, lambda _: listed)

    def takes(self, model: Model, knob: Knob, value: object) -> bool:
        return knob not in ("response_format", "tools")

    async def send(self, call: LMCall, timeout_s: float) -> ProviderReply:
        params = call.all_params
        effort, stop = params.get("reasoning_effort"), params.get("stop") or ()
        if isinstance(effort, Mapping):  # its other form: {"effort": "low", "summary": "auto"}
            effort = effort.get("effort")
        try:
            reply = simulate(
                find_model(call.model.name),
                call.messages,
                temperature=call.temperature,
                max_tokens=call.model.max_tokens,
                seed=call.seed,
                stop=(stop,) if isinstance(stop, str) else tuple(stop),
                reasoning_effort=effort,
            )
        except ValueError as error:
            raise BAD_REQUEST.failure(call, str(error)) from error
        if params.get("sim_sleep") or os.environ.get(SLEEP_VARIABLE) == "1":
            await asyncio.sleep(reply.latency_s)
        tokens = reply.input_tokens, reply.output_tokens
        return ProviderReply(reply.text, reply.finish_reason, reply.latency_s, *tokens)


SIMULATED = SimulatedProvider()
