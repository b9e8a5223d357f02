"""The whole story of a simulated call: parse -> recognise -> draw -> write -> cut.

`simulate` is a pure function of the model, the messages and the call's parameters. It holds no
gold answers and knows no modules; what is right is computed from the text of the messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Any, Literal

from pipelines.providers.output_fields import message_text
from pipelines.providers.simulated.demos import demo_shift
from pipelines.providers.simulated.mind import DEFAULT_TEMPERATURE, Mind
from pipelines.providers.simulated.model import SimulatedModel
from pipelines.providers.simulated.phrases import phrases_in
from pipelines.providers.simulated.randomness import digest, normal, uniform
from pipelines.providers.simulated.rendering import garbled, refusal, render, unseen_tokens
from pipelines.providers.simulated.request import ParsedRequest, parse_request
from pipelines.providers.simulated.roles import play
from pipelines.providers.simulated.tokens import (
    MOST_OUTPUT_TOKENS,
    count_message_tokens,
    count_tokens,
    truncate,
)

LATENCY_SPREAD = 0.25
"""Standard deviation of the logarithm of the latency."""


@dataclass(frozen=True)
class SimulatedReply:
    """What comes back from a simulated call."""

    text: str
    finish_reason: Literal["stop", "length"]
    input_tokens: int
    output_tokens: int
    latency_s: float
    """How long the model would have taken; nobody waits for it by default."""
    reasoning_tokens: int = 0
    """Those of the output tokens that were thought and are not in the text."""


def simulate(
    model: SimulatedModel,
    messages: Sequence[Mapping[str, Any]],
    *,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int = 0,
    stop: Sequence[str] = (),
    reasoning_effort: str | None = None,
) -> SimulatedReply:
    """Return the model's reply; the same arguments give the same reply, byte by byte.

    Args:
        model: who answers.
        messages: role and content of each message, in any of the forms of `parse_request`.
        temperature: None is what hosted models do by default, 1.0. At 0 the seed has no effect.
        max_tokens: the reply is cut after so many tokens, with finish reason `length`; thoughts
            that it does not show come first and count, so that nothing may be left for the text.
        seed: index of the sample; another index is another draw.
        stop: texts before the first of which the reply ends.
        reasoning_effort: one of the model's own; ignored by a model without any.

    Raises `ValueError` for an effort that is not among the model's own.
    """
    request = parse_request(messages)
    mind, effort = _mind(model, request, temperature, seed), model.effort(reasoning_effort)
    call = _identity(mind, messages)
    length = effort.length * _drawn_length(model, call)
    mind = replace(mind, effort_shift=effort.shift, thought_length=length)
    answer = play(request, mind)
    text = _misbehave(render(request, answer, mind), request, model, call)
    most = MOST_OUTPUT_TOKENS if max_tokens is None else max_tokens
    unseen = min(most, unseen_tokens(request, answer, mind))
    text, finish_reason = _cut(text, stop, most - unseen)
    output_tokens = unseen + count_tokens(text)
    return SimulatedReply(
        text=text,
        finish_reason=finish_reason,
        input_tokens=count_message_tokens([message_text(message) for message in messages]),
        output_tokens=output_tokens,
        latency_s=_latency(model, output_tokens, call),
        reasoning_tokens=unseen,
    )


def _mind(
    model: SimulatedModel, request: ParsedRequest, temperature: float | None, seed: int
) -> Mind:
    return Mind(
        model=model,
        variant=request.variant,
        phrases=phrases_in(request.instructions),
        reasons_first=request.reasons_first,
        demo_shift=demo_shift(request),
        temperature=DEFAULT_TEMPERATURE if temperature is None else float(temperature),
        sample=0 if temperature == 0 else seed,
    )


def _identity(mind: Mind, messages: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a digest of all that makes this call different from others."""
    texts = [(message.get("role"), message_text(message)) for message in messages]
    return digest("call", mind.model.name, texts, mind.temperature, mind.sample)


def _drawn_length(model: SimulatedModel, call: bytes) -> float:
    """Return this call's factor of the length: log-normal, with the ordinary length as median."""
    return exp(model.length_spread * normal("length", call)) if model.length_spread else 1.0


def _misbehave(text: str, request: ParsedRequest, model: SimulatedModel, call: bytes) -> str:
    """Return a refusal or a garbled reply now and then, else the text."""
    if uniform("refuses", call) < model.refusal_rate:
        return refusal(call)
    if uniform("malformed", call) < model.malformed_rate:
        return garbled(text, request)
    return text


def _cut(text: str, stop: Sequence[str], max_tokens: int) -> tuple[str, Literal["stop", "length"]]:
    ends = [place for word in stop if word and (place := text.find(word)) >= 0]
    text = text[: min(ends, default=len(text))]
    if count_tokens(text) <= max_tokens:
        return text, "stop"
    return truncate(text, max_tokens), "length"


def _latency(model: SimulatedModel, output_tokens: int, call: bytes) -> float:
    """Return log-normal seconds whose mean is that of the model's speed."""
    mean = model.first_token_seconds + model.seconds_per_1k_tokens * output_tokens / 1000
    return mean * exp(LATENCY_SPREAD * normal("latency", call) - LATENCY_SPREAD**2 / 2)
