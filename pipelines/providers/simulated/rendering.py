"""Writes an answer down: in DSPy's chat form, as a JSON object, or as plain text.

Reasoning grows with the model's verbosity, is longer where the model slipped, and shrinks or grows
with some phrases. A slip in a text field may end with a remark in brackets.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pipelines.providers.simulated.draws import pick
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import Answer, OutputField, ParsedRequest

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


def render(request: ParsedRequest, answer: Answer, mind: Mind) -> str:
    """Return the reply text in the form that the request asks for."""
    if request.form == "text":
        return _reasoning(answer, mind) if shows_thoughts(answer, mind) else str(answer.value)
    values = {out.name: _field_value(out, answer, mind) for out in request.outputs}
    if request.form == "json":
        return json.dumps(values, indent=2, ensure_ascii=False)
    texts = {n: json.dumps(v) if isinstance(v, list | dict) else v for n, v in values.items()}
    parts = [f"[[ ## {name} ## ]]\n{text}" for name, text in texts.items()]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])


def refusal(*key: object) -> str:
    """Return a refusal, without any field."""
    return pick(_REFUSALS, "refusal", *key)


def garbled(text: str, request: ParsedRequest) -> str:
    """Return the reply as a model spoils it: a marker is missing, or the JSON breaks off."""
    if request.form != "chat":
        return text[: max(1, len(text) * 2 // 3)]
    marker = f"[[ ## {request.outputs[-1].name} ## ]]\n" if request.outputs else ""
    return text.replace(marker, "", 1)


def shows_thoughts(answer: Answer, mind: Mind) -> bool:
    """Return whether plain chat is answered with the thoughts before the answer."""
    text = str(answer.value)
    return "\n" not in text and len(text) <= 120 and mind.model.verbosity > 0


def sentences(answer: Answer, mind: Mind) -> float:
    """Return how many sentences stand between opening and closing at ordinary length."""
    length = 3.0 * mind.model.verbosity * (1.0 if answer.sure else mind.model.slip_length)
    for phrase in mind.phrases:
        length *= phrase.length
    return length * (0.6 + 0.8 * mind.luck("length", *_thoughts(answer, mind)))


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
    """Return the value as the field's type where it can be read so, else as it is."""
    text = str(value)
    if kind == "int" and re.fullmatch(r"-?\d+", text):
        return int(text)
    if kind == "float" and re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text)
    return value


def _reasoning(answer: Answer, mind: Mind) -> str:
    """Return some sentences; the last one states the answer, and is there in any case."""
    key = _thoughts(answer, mind)
    count = round((2 + round(sentences(answer, mind))) * mind.thinking.length)
    steps = (
        pick(_STEPS, "step", number, *key) for number in range(min(count, _MOST_SENTENCES) - 2)
    )
    opening = [pick(_OPENINGS, "opening", *key)] if count >= 2 else []
    closing = answer.comment or f"So the answer is {answer.value}."
    return " ".join([*opening, *steps, closing])


def _thoughts(answer: Answer, mind: Mind) -> tuple[str, str, str]:
    """Return what the draws of one train of thought have in common."""
    return mind.model.name, mind.variant, str(answer.value)


def _remark(answer: Answer, mind: Mind) -> str:
    """Return what a quarter of the wrong answers have after them, at ordinary verbosity."""
    chatty = min(0.5, 0.25 * mind.model.verbosity)
    if answer.sure or mind.luck("remark", answer.value) > chatty or "\n" in str(answer.value):
        return ""
    return " " + pick(_REMARKS, "remark", mind.model.name, answer.value)
