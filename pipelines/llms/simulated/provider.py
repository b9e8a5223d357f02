"""The whole story of a simulated call: parse -> recognise -> draw -> write -> cut.

`simulate` is a pure function of the model, the messages and the call's parameters. It holds no
gold answers and knows no modules; what is right is computed from the text of the messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any, Literal

from pipelines.llms.output_fields import message_text
from pipelines.llms.simulated.demos import demo_shift
from pipelines.llms.simulated.mind import DEFAULT_TEMPERATURE, Mind
from pipelines.llms.simulated.model import SimulatedModel
from pipelines.llms.simulated.phrases import phrases_in
from pipelines.llms.simulated.randomness import digest, normal, uniform
from pipelines.llms.simulated.rendering import garbled, refusal, render
from pipelines.llms.simulated.request import ParsedRequest, parse_request
from pipelines.llms.simulated.roles import play
from pipelines.llms.simulated.tokens import count_message_tokens, count_tokens, truncate

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


def simulate(
    model: SimulatedModel,
    messages: Sequence[Mapping[str, Any]],
    *,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> SimulatedReply:
    """Return the model's reply; the same arguments give the same reply, byte by byte.

    Args:
        model: who answers.
        messages: role and content of each message, in any of the forms of `parse_request`.
        temperature: None is what hosted models do by default, 1.0. At 0 the seed has no effect.
        max_tokens: the reply is cut after so many tokens, with finish reason `length`.
        seed: index of the sample; another index is another draw.
        stop: texts before the first of which the reply ends.
    """
    request = parse_request(messages)
    mind = _mind(model, request, temperature, seed)
    answer = play(request, mind)
    call = _identity(mind, messages)
    text = _misbehave(render(request, answer, mind), request, model, call)
    text, finish_reason = _cut(text, stop, max_tokens)
    output_tokens = count_tokens(text)
    return SimulatedReply(
        text=text,
        finish_reason=finish_reason,
        input_tokens=count_message_tokens([message_text(message) for message in messages]),
        output_tokens=output_tokens,
        latency_s=_latency(model, output_tokens, call),
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


def _misbehave(text: str, request: ParsedRequest, model: SimulatedModel, call: bytes) -> str:
    """Return a refusal or a garbled reply now and then, else the text."""
    if uniform("refuses", call) < model.refusal_rate:
        return refusal(call)
    if uniform("malformed", call) < model.malformed_rate:
        return garbled(text, request)
    return text


def _cut(
    text: str, stop: Sequence[str], max_tokens: int | None
) -> tuple[str, Literal["stop", "length"]]:
    ends = [place for word in stop if word and (place := text.find(word)) >= 0]
    text = text[: min(ends, default=len(text))]
    if max_tokens is None or count_tokens(text) <= max_tokens:
        return text, "stop"
    return truncate(text, max_tokens), "length"


def _latency(model: SimulatedModel, output_tokens: int, call: bytes) -> float:
    """Return log-normal seconds whose mean is that of the model's speed."""
    mean = model.first_token_seconds + model.seconds_per_1k_tokens * output_tokens / 1000
    return mean * exp(LATENCY_SPREAD * normal("latency", call) - LATENCY_SPREAD**2 / 2)
