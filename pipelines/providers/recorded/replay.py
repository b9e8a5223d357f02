"""What a recorded model replies to a call: a pure function of recording, messages and params."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.gateway.call import seed_of
from pipelines.gateway.provider import ProviderReply
from pipelines.providers.output_fields import message_text, requested_fields
from pipelines.providers.recorded.recording import (
    RecordedAnswer,
    Recording,
    RecordingError,
    load_recording,
)
from search_spaces.refusals import nearest

CHARACTERS_PER_TOKEN = 4
RECORDED_TOKENS = 2048
"""MMLU-Pro's answers were made with at most so many new tokens, so none counts as more."""


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
    params: Mapping[str, Any],
) -> ProviderReply:
    """What the model answered to the question that the messages ask.

    Tokens are estimated from the text's length; a recording holds no times.

    Raises:
        RecordingError: unknown model or question, or a sample beyond the first.
    """
    _require_first_sample(messages, params.get("seed"))
    if model not in recording.models:
        hint = nearest(model, recording.models)
        raise RecordingError(f"no recorded model is named {model!r}{hint}")
    question = recording.find(messages)
    if model not in question.responses:
        raise RecordingError(f"{model} has no recorded answer to {question.question[:60]!r}")
    text = _written(question.responses[model], messages)
    limit = params.get("max_tokens") or RECORDED_TOKENS
    tokens = min(_tokens(text), RECORDED_TOKENS)
    input_tokens = sum(_tokens(message_text(message)) for message in messages)
    if tokens > limit:
        text = text[: limit * CHARACTERS_PER_TOKEN]
        return ProviderReply(text, "length", 0.0, input_tokens, limit)
    return ProviderReply(text, "stop", 0.0, input_tokens, tokens)


def _require_first_sample(messages: Sequence[Mapping[str, Any]], seed: object) -> None:
    if seed not in (None, 0, seed_of(messages, 0)):
        raise RecordingError(
            "a recording holds one sample per model and question, but got a request for another; "
            "use different models instead of more samples"
        )


def _written(answer: RecordedAnswer, messages: Sequence[Mapping[str, Any]]) -> str:
    """The text under `reasoning`, the letter everywhere else; the text where no form is asked."""
    fields = requested_fields(messages)
    if fields is None:
        return answer.text
    return fields.written(
        {name: answer.text if name == "reasoning" else answer.final for name in fields.names}
    )


def _tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)
