"""The provider of `recorded/<model>`: what that model really answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.gateway.call import LMCall, seed_of
from pipelines.gateway.failures import BAD_REQUEST
from pipelines.gateway.model import Model
from pipelines.gateway.prices import Price
from pipelines.gateway.provider import Knob, Provider, ProviderReply
from pipelines.providers.output_fields import message_text, requested_fields
from pipelines.providers.prices import resolve_price
from pipelines.providers.recorded.recording import Recording, RecordingError, load_recording
from search_spaces.refusals import nearest

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

CHARACTERS_PER_TOKEN = 4
RECORDED_TOKENS = 2048
"""MMLU-Pro's answers were made with at most so many new tokens, so none counts as more."""


class RecordedProvider(Provider):
    """Replays real answers. Sees the messages and the call's parameters, nothing else."""

    limits = "recorded models only answer the questions of their recording"
    connects = False

    def price_of(self, model: Model) -> Price:
        """The user's figures, else what hosts asked for the model."""
        usd = USD_PER_MILLION_TOKENS.get(model.name.partition("/")[2])
        listed = None if usd is None else usd / 1e6
        return resolve_price(model, lambda _: (listed, listed))

    def takes(self, model: Model, knob: Knob, value: object) -> bool:
        """All but the form of the reply and tools; the answer is the same."""
        return knob not in ("response_format", "tools")

    async def send(self, call: LMCall, timeout_s: float) -> ProviderReply:
        try:
            recording = recording_for(call.all_params)
            name, most = call.model.name.partition("/")[2], call.model.max_tokens
            return replay(recording, name, call.messages, seed=call.seed, max_tokens=most)
        except RecordingError as error:
            raise BAD_REQUEST.failure(call, str(error)) from error


RECORDED = RecordedProvider()


def recording_for(params: Mapping[str, Any]) -> Recording:
    """The recording that the parameter `recording` names.

    Raises:
        RecordingError: there is no such parameter, or the file is no recording.
    """
    path = params.get("recording")
    if not path:
        raise RecordingError(
            "recorded models need a file of answers: "
            "Model('recorded/...', params={'recording': path})"
        )
    return load_recording(path)


def replay(
    recording: Recording,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    seed: int = 0,
    max_tokens: int = RECORDED_TOKENS,
) -> ProviderReply:
    """What the model answered to the question that the messages ask.

    It stands under `reasoning`, and its letter in all other fields that are asked for. Tokens are
    estimated from the text's length; a recording holds no times.

    Raises:
        RecordingError: unknown model or question, or a sample beyond the first.
    """
    if seed not in (0, seed_of(messages, 0)):
        raise RecordingError(
            "a recording holds one sample per model and question, but got a request for another; "
            "use different models instead of more samples"
        )
    if model not in recording.models:
        hint = nearest(model, recording.models)
        raise RecordingError(f"no recorded model is named {model!r}{hint}")
    question = recording.find(messages)
    if model not in question.responses:
        raise RecordingError(f"{model} has no recorded answer to {question.question[:60]!r}")
    answer, fields = question.responses[model], requested_fields(messages)
    text = answer.text
    if fields is not None:
        values = {name: text if name == "reasoning" else answer.final for name in fields.names}
        text = fields.written(values)
    inputs = sum(_tokens(message_text(message)) for message in messages)
    tokens = min(_tokens(text), RECORDED_TOKENS)
    if tokens > max_tokens:
        text = text[: max_tokens * CHARACTERS_PER_TOKEN]
        return ProviderReply(text, "length", 0.0, inputs, max_tokens)
    return ProviderReply(text, "stop", 0.0, inputs, tokens)


def _tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)
