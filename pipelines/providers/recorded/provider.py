"""The provider of `recorded/<model>`: what that model really answered."""

from __future__ import annotations

from pipelines.gateway.call import LMCall
from pipelines.gateway.failures import BAD_REQUEST
from pipelines.gateway.model import Model
from pipelines.gateway.prices import Price
from pipelines.gateway.provider import Knob, Provider, ProviderReply
from pipelines.providers.prices import price_problem, resolve_price
from pipelines.providers.recorded.recording import RecordingError
from pipelines.providers.recorded.replay import recording_for, replay

USD_PER_MILLION_TOKENS = {
    "Meta-Llama-3.1-70B-Instruct": 0.88,
    "Qwen1.5-72B-Chat": 0.90,
    "Mixtral-8x7B-Instruct-v0.1": 0.60,
    "Yi-34B": 0.80,
    "c4ai-command-r-v01": 0.50,
    "Meta-Llama-3.1-8B-Instruct": 0.18,
    "mathstral-7B": 0.20,
    "Phi-3-mini-4k-instruct": 0.10,
}
"""What hosts asked for these open models, input and output alike. Other models have no price:
give `Model(..., input_usd_per_million=..., output_usd_per_million=...)`."""


class RecordedProvider(Provider):
    """Replays real answers. Sees the messages and the call's parameters, nothing else."""

    limits = "recorded models only answer the questions of their recording"
    connects = False

    def problem_of(self, model: Model, *, keys: bool = True) -> str | None:
        return price_problem(self.price_of, model)

    def price_of(self, model: Model) -> Price:
        """The user's figures, else what hosts asked for the model."""
        usd = USD_PER_MILLION_TOKENS.get(model.name.partition("/")[2])
        listed = None if usd is None else usd / 1e6
        return resolve_price(model, lambda _: (listed, listed))

    def takes(self, model: Model, knob: Knob, value: object) -> bool:
        """All but the form of the reply and tools; the answer is the same."""
        return knob not in ("response_format", "tools")

    async def send(self, call: LMCall, timeout_s: float) -> ProviderReply:
        params = {**call.all_params, "max_tokens": call.model.max_tokens, "seed": call.seed}
        try:
            return replay(
                recording_for(params), call.model.name.partition("/")[2], call.messages, params
            )
        except RecordingError as error:
            raise BAD_REQUEST.failure(call, str(error)) from error


RECORDED = RecordedProvider()
