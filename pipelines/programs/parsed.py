"""Keeps parsed outputs: most of a cached call's time goes into writing and parsing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin

import dspy

from pipelines.gateway.call_record import CallRecord, current_recorder
from pipelines.gateway.gateway import Session
from pipelines.modules.signature import signature_fields
from pipelines.programs.binding import BoundModule
from search_spaces.config import canonical_json

FORM = 2
"""To be raised when prompts are written, or replies parsed, differently."""

_ADDRESS = " at 0x"
"""In the text of a function, which another process may have at another place."""
_PLAIN = (str, int, float, bool, NoneType)


class ParsedOutputs:
    """The outputs of one member of a bound module, kept in the session's store.

    Only for types that JSON keeps exactly. The key is all that decides a call's prompt and outputs;
    what is found counts as a call, as if it had been made.
    """

    def __init__(self, bound: BoundModule, place: int, session: Session) -> None:
        model, member = bound.models[place], bound.members[place]
        fields = signature_fields(bound.module.signature)
        self._is_plain = _ADDRESS not in bound.prompt(member) and all(
            map(_is_plain_type, (*fields.inputs.values(), *fields.outputs.values()))
        )
        self._session = session
        self._label = model.label
        asked = [model.name, model.destination, model.max_tokens, model.params]
        settings = [member.temperature, bound.samples[place], bound.config.params]
        self._decides = canonical_json(
            [FORM, dspy.__version__, bound.prompt(member), *asked, *settings]
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """One store, however often DSPy copies the program."""
        return self

    def get_or_ask(
        self, inputs: Mapping[str, Any], ask: Callable[[], dspy.Prediction]
    ) -> dspy.Prediction:
        """What is kept for these inputs; else what `ask` returns, which is kept then; errors as
        `ask`."""
        if not self._is_plain or not _is_plain_value(inputs):
            return ask()
        text = f"{self._decides}{json.dumps(inputs)}"  # in their order, as the prompt has them
        key = hashlib.sha256(text.encode()).hexdigest()
        recorder = current_recorder()
        if (known := self._session.parsed(key)) is not None:
            recorder.note(CallRecord.of_reply(self._label, known.call, known.reply))
            return dspy.Prediction(**known.outputs)
        before = len(recorder.calls)
        prediction = ask()
        outputs, calls = dict(prediction.items()), recorder.calls[before:]
        if len(calls) == 1 and _is_plain_value(outputs):
            self._session.keep_parsed(key, calls[0].key, outputs)
        return prediction


def _is_plain_type(kind: Any) -> bool:
    """Whether values of the type are plain, and its text describes it fully."""
    origin = get_origin(kind)
    if origin is Literal:
        return _is_plain_value(list(get_args(kind)))
    if origin in (list, dict, Union, UnionType):
        return all(map(_is_plain_type, get_args(kind)))
    return kind in (*_PLAIN, list, dict)


def _is_plain_value(value: Any) -> bool:
    """Whether JSON gives back an equal value of the same type."""
    if isinstance(value, list) and type(value) is list:
        return all(map(_is_plain_value, value))
    if isinstance(value, dict) and type(value) is dict:
        return all(type(key) is str and _is_plain_value(each) for key, each in value.items())
    if type(value) is float:
        return value - value == 0  # finite
    return type(value) in _PLAIN
