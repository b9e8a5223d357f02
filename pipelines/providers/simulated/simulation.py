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
from pipelines.providers.simulated.draws import digest, normal, uniform
from pipelines.providers.simulated.judging import Diagnose, Judge, Verify
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.models import SimulatedModel
from pipelines.providers.simulated.phrases import phrases_in
from pipelines.providers.simulated.rendering import garbled, refusal, render
from pipelines.providers.simulated.request import Answer, ParsedRequest, parse_request
from pipelines.providers.simulated.roles import Improvise, Role, Solve
from pipelines.providers.simulated.writing import WriteInstructions

ROLES: list[Role] = [WriteInstructions(), Diagnose(), Judge(), Verify(), Solve(), Improvise()]
"""In the order in which they are tried: the last two take whatever the others leave."""

BYTES_PER_TOKEN = 4  # about what English costs; input tokens never exceed the number of bytes
MOST_OUTPUT_TOKENS = 32_000
"""What a reply is cut at where the call sets no limit."""
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
        max_tokens: the reply is cut after so many tokens, with finish reason `length`.
        seed: index of the sample; another index is another draw.
        stop: texts before the first of which the reply ends.
        reasoning_effort: see `SimulatedModel.thinking`.
    """
    request = parse_request(messages)
    mind = Mind(
        model=model,
        variant=request.variant,
        phrases=phrases_in(request.instructions),
        reasons_first=request.reasons_first,
        temperature=1.0 if temperature is None else float(temperature),
        sample=0 if temperature == 0 else seed,
    )
    texts = [(message.get("role"), message_text(message)) for message in messages]
    call = digest("call", model.name, texts, mind.temperature, mind.sample)
    mind = replace(mind, thinking=model.thinking(request, call, reasoning_effort))
    answer = _play(request, mind)
    text = _misbehave(render(request, answer, mind), request, model, call)
    most = MOST_OUTPUT_TOKENS if max_tokens is None else max_tokens
    unseen = min(most, model.unseen_tokens(request, answer, mind))
    text, finish_reason = _cut(text, stop, most - unseen)
    output_tokens = unseen + count_tokens(text)
    return SimulatedReply(
        text=text,
        finish_reason=finish_reason,
        input_tokens=sum(count_tokens(content) for _, content in texts),
        output_tokens=output_tokens,
        latency_s=_latency(model, output_tokens, call),
        reasoning_tokens=unseen,
    )


def count_tokens(text: str) -> int:
    """Return the tokens of one text; an empty text has none."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def _play(request: ParsedRequest, mind: Mind) -> Answer:
    answers = (role.play(request, mind) for role in ROLES)
    return next(answer for answer in answers if answer is not None)


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
    return text.encode()[: max_tokens * BYTES_PER_TOKEN].decode(errors="ignore"), "length"


def _latency(model: SimulatedModel, output_tokens: int, call: bytes) -> float:
    """Return log-normal seconds whose mean is that of the model's speed."""
    mean = model.first_token_seconds + model.seconds_per_1k_tokens * output_tokens / 1000
    return mean * exp(LATENCY_SPREAD * normal("latency", call) - LATENCY_SPREAD**2 / 2)
