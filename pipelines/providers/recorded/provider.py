"""The provider of `recorded/<model>`: what that model really answered."""

from __future__ import annotations

from pipelines.gateway.call import LMCall
from pipelines.gateway.failures import BAD_REQUEST
from pipelines.gateway.model import Model
from pipelines.gateway.prices import Price
from pipelines.gateway.provider import Knob, ProviderReply
from pipelines.providers.prices import price_problem, resolve_price
from pipelines.providers.recorded.prices import USD_PER_MILLION_TOKENS
from pipelines.providers.recorded.recording import RecordingError
from pipelines.providers.recorded.replay import recording_for, replay


class RecordedProvider:
    """Replays real answers. Sees the messages and the call's parameters, nothing else."""

    limits = "recorded models only answer the questions of their recording"

    def problem_of(self, model: Model, *, keys: bool = True) -> str | None:
        """No price."""
        return price_problem(self.price_of, model)

    def price_of(self, model: Model) -> Price:
        """The user's figures, else what hosts asked for the model.

        Raises:
            ModelError: neither is known.
        """
        usd = USD_PER_MILLION_TOKENS.get(model.name.partition("/")[2])
        listed = None if usd is None else usd / 1e6
        return resolve_price(model, lambda: (listed, listed))

    def is_remote(self, model: Model) -> bool:
        """It is not."""
        return False

    def takes(self, model: Model, knob: Knob, value: object) -> bool:
        """All but the form of the reply and tools; the answer is the same."""
        return knob not in ("response_format", "tools")

    async def send(self, call: LMCall, timeout_s: float) -> ProviderReply:
        """See `Provider`; the recording holds no times."""
        params = {**call.all_params, "max_tokens": call.model.max_tokens, "seed": call.seed}
        try:
            reply = replay(
                recording_for(params), call.model.name.partition("/")[2], call.messages, params
            )
        except RecordingError as error:
            raise BAD_REQUEST.failure(call, str(error)) from error
        return ProviderReply(
            text=reply.text,
            finish_reason=reply.finish_reason,
            input_tokens=reply.input_tokens,
            output_tokens=reply.output_tokens,
            latency_s=0.0,
        )


RECORDED = RecordedProvider()
