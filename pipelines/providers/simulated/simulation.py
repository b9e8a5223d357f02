"""A simulated call: the request is read, a role answers it, and the answer is written and cut.

`simulate` is a pure function of the model, the messages and the call's parameters. It holds no
gold answers and knows no modules; what is right is computed from the text of the messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any, Literal

from pipelines.providers.output_fields import message_text
from pipelines.providers.simulated.draws import digest, normal, pick, uniform
from pipelines.providers.simulated.judging import diagnose, judge, verify
from pipelines.providers.simulated.mind import Mind, phrases_in
from pipelines.providers.simulated.models import SimulatedModel
from pipelines.providers.simulated.request import Answer, OutputField, ParsedRequest, parse_request
from pipelines.providers.simulated.roles import Role, improvise, solve, write_instructions

ROLES: list[Role] = [write_instructions, diagnose, judge, verify, solve, improvise]
"""In the order in which they are tried: the last two take whatever the others leave."""

BYTES_PER_TOKEN = 4  # about what English costs; input tokens never exceed the number of bytes
MOST_OUTPUT_TOKENS = 32_000
"""What a reply is cut at where the call sets no limit."""
LATENCY_SPREAD = 0.25
"""Standard deviation of the logarithm of the latency."""
_MOST_SENTENCES = 4_000  # more than any reply may hold

_COMMENTS = ("reason", "explanation", "justification", "comment", "note")
_OPENINGS = ("Let me see what is asked.", "I start with the inputs.", "First, the task itself.")
_STEPS = (
    "I take it one piece at a time and write each piece down.",
    "The next part follows from what stands above.",
    "I keep the intermediate result in mind and go on.",
    "This step needs a little care.",
    "I compare this with what was given.",
    "Nothing else in the inputs bears on it.",
    "I go over that part once more.",
    "That leaves only the last step.",
)
_REMARKS = (
    "(there may be another way to read this, but it seems the most natural one)",
    "(I went over one of the steps twice and it came out differently)",
    "(as far as I can tell from what was given)",
)
_REFUSALS = (
    "I'm sorry, but I can't help with that request.",
    "I am not able to answer this. Is there anything else I can help you with?",
)


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
    """The model's reply; the same arguments give the same reply, byte by byte.

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
    mind = model.thinking(mind, request, call, reasoning_effort)
    answer = next(answer for role in ROLES if (answer := role(request, mind)) is not None)
    text = _written(request, answer, mind)
    if uniform("refuses", call) < model.refusal_rate:
        text = pick(_REFUSALS, "refusal", call)
    elif uniform("malformed", call) < model.malformed_rate:
        text = _spoilt(text, request)
    for word in filter(None, stop):
        text = text.partition(word)[0]
    most = MOST_OUTPUT_TOKENS if max_tokens is None else max_tokens
    unseen = min(most, mind.unseen_tokens(request, answer))
    is_cut = count_tokens(text) > most - unseen
    if is_cut:
        text = text.encode()[: (most - unseen) * BYTES_PER_TOKEN].decode(errors="ignore")
    tokens = unseen + count_tokens(text)
    mean_s = model.first_token_seconds + model.seconds_per_1k_tokens * tokens / 1000
    return SimulatedReply(
        text=text,
        finish_reason="length" if is_cut else "stop",
        input_tokens=sum(count_tokens(content) for _, content in texts),
        output_tokens=tokens,
        latency_s=mean_s * exp(LATENCY_SPREAD * normal("latency", call) - LATENCY_SPREAD**2 / 2),
        reasoning_tokens=unseen,
    )


def count_tokens(text: str) -> int:
    """The tokens of one text; an empty text has none."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def shows_thoughts(answer: Answer, mind: Mind) -> bool:
    """Whether plain chat is answered with the thoughts before the answer."""
    text = str(answer.value)
    return "\n" not in text and len(text) <= 120 and mind.model.verbosity > 0


def sentences(answer: Answer, mind: Mind) -> float:
    """How many sentences stand between opening and closing at ordinary length."""
    length = 3.0 * mind.model.verbosity * (1.0 if answer.sure else mind.model.slip_length)
    for phrase in mind.phrases:
        length *= phrase.length
    return length * (0.6 + 0.8 * mind.luck("length", *_thoughts(answer, mind)))


def _written(request: ParsedRequest, answer: Answer, mind: Mind) -> str:
    """The reply in the form that the request asks for."""
    if request.form == "text":
        return _reasoning(answer, mind) if shows_thoughts(answer, mind) else str(answer.value)
    values = {out.name: _field_value(out, answer, mind) for out in request.outputs}
    if request.form == "json":
        return json.dumps(values, indent=2, ensure_ascii=False)
    texts = {n: json.dumps(v) if isinstance(v, list | dict) else v for n, v in values.items()}
    parts = [f"[[ ## {name} ## ]]\n{text}" for name, text in texts.items()]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])


def _spoilt(text: str, request: ParsedRequest) -> str:
    """The reply without a marker, or with JSON that breaks off."""
    if request.form != "chat":
        return text[: max(1, len(text) * 2 // 3)]
    marker = f"[[ ## {request.outputs[-1].name} ## ]]\n" if request.outputs else ""
    return text.replace(marker, "", 1)


def _field_value(output: OutputField, answer: Answer, mind: Mind) -> Any:
    if output.is_reasoning:
        return _reasoning(answer, mind)
    if output.name in answer.fields:
        return _as_type(answer.fields[output.name], output.type)
    if output.name == "confidence":
        share = answer.confidence
        return round(100 * share) if output.type == "int" else round(share, 2)
    if answer.comment and output.name in _COMMENTS:
        return answer.comment
    if output.type == "bool" and not isinstance(answer.value, bool):
        return answer.confidence > 0.5
    value = _as_type(answer.value, output.type)
    return f"{value}{_remark(answer, mind)}" if output.type == "str" else value


def _as_type(value: Any, kind: str) -> Any:
    """The value as the field's type where it can be read so, else as it is."""
    if kind == "int" and re.fullmatch(r"-?\d+", str(value)):
        return int(value)
    if kind == "float" and re.fullmatch(r"-?\d+(\.\d+)?", str(value)):
        return float(value)
    return value


def _reasoning(answer: Answer, mind: Mind) -> str:
    """Some sentences; the last one states the answer, and is there in any case."""
    key = _thoughts(answer, mind)
    count = min(round((2 + round(sentences(answer, mind))) * mind.length), _MOST_SENTENCES)
    opening = [pick(_OPENINGS, "opening", *key)] if count >= 2 else []
    steps = (pick(_STEPS, "step", number, *key) for number in range(count - 2))
    closing = answer.comment or f"So the answer is {answer.value}."
    return " ".join([*opening, *steps, closing])


def _thoughts(answer: Answer, mind: Mind) -> tuple[str, str, str]:
    """What the draws of one train of thought have in common."""
    return mind.model.name, mind.variant, str(answer.value)


def _remark(answer: Answer, mind: Mind) -> str:
    """What a quarter of the wrong answers have after them, at ordinary verbosity."""
    chatty = min(0.5, 0.25 * mind.model.verbosity)
    if answer.sure or mind.luck("remark", answer.value) > chatty or "\n" in str(answer.value):
        return ""
    return " " + pick(_REMARKS, "remark", mind.model.name, answer.value)
