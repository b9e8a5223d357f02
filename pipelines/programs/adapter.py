"""DSPy's adapters, which write prompts and parse replies, made to forgive models' slips."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin

import dspy
from dspy.adapters.utils import parse_value
from dspy.utils.exceptions import AdapterParseError

from pipelines.gateway.call_record import current_recorder
from pipelines.programs.engine import CUT_OFF
from pipelines.programs.failures import reply_kind
from search_spaces.config import ReplyFormat

_HINT = re.compile(
    r"""[ \t]*# note: the value you produce must [^\n"<]*(?:"(?! *[,}]?\n)[^\n"<]*)*"""
)
"""DSPy's hint at a field's type in its prompts, up to the end of the value."""
_AROUND_LITERALS = " \t\n\"'`*."


def chat_adapter() -> dspy.Adapter:
    """DSPy's default adapter, without its second request for replies that can't be read."""
    return _adapter("chat", falls_back=False)


def reply_adapter(reply_format: ReplyFormat) -> dspy.Adapter:
    """DSPy's adapter of this format; all but `json` ask again, as JSON, for what can't be read."""
    return _adapter(reply_format, falls_back=True)


@contextmanager
def asking_for(reply_format: ReplyFormat) -> Iterator[None]:
    """Context in which replies have this format; `chat` leaves what is set already."""
    if reply_format == "chat":
        yield
    else:
        with dspy.context(adapter=reply_adapter(reply_format)):
            yield


@lru_cache(maxsize=4)
def _adapter(reply_format: ReplyFormat, *, falls_back: bool) -> dspy.Adapter:
    if reply_format == "json":
        return forgiving(dspy.JSONAdapter())
    kind = dspy.XMLAdapter if reply_format == "xml" else dspy.ChatAdapter
    return forgiving(kind(use_json_adapter_fallback=falls_back))


def forgiving(adapter: dspy.Adapter) -> dspy.Adapter:
    """A copy that reads replies as `Forgiving` does and is in all else the same."""
    made = copy.copy(adapter)
    made.__class__ = _forgiving_class(cast(Any, type(adapter)))
    return made


@lru_cache(maxsize=64)
def _forgiving_class(kind: type[dspy.Adapter]) -> type[dspy.Adapter]:
    return kind if issubclass(kind, Forgiving) else type(kind.__name__, (Forgiving, kind), {})


class Forgiving(dspy.Adapter if TYPE_CHECKING else object):  # type: ignore[misc]
    """Mixin for adapters that parses an unreadable reply again, without models' usual slips.

    These are quotes and periods around `Literal` values, and copies of the prompt's own hints. A
    model that copies hints is often wrong, too: where the adapter can ask again as JSON, it does so
    first. A reply cut off by `max_tokens` counts if all of its fields are whole. What parsing still
    raises, in a field's own validator too, becomes an `AdapterParseError` and marks the call.
    """

    def __init_subclass__(cls) -> None:
        """Does nothing: DSPy's own would report every event to callbacks twice."""

    def __call__(self, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """As the adapter's own."""
        with _collecting_cut_off():
            try:
                values: list[dict[str, Any]] = super().__call__(*args, **kwargs)
                return values
            except AdapterParseError as error:
                return _guess(error)

    async def acall(self, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """As the adapter's own."""
        with _collecting_cut_off():
            try:
                values: list[dict[str, Any]] = await super().acall(*args, **kwargs)
                return values
            except AdapterParseError as error:
                return _guess(error)

    def _call_postprocess(
        self,
        processed_signature: type[dspy.Signature],
        original_signature: type[dspy.Signature],
        outputs: list[Any],
        *rest: Any,
    ) -> list[dict[str, Any]]:
        def read(signature: type[dspy.Signature], replies: list[Any]) -> list[dict[str, Any]]:
            read = super(Forgiving, self)._call_postprocess
            values: list[dict[str, Any]] = read(signature, original_signature, replies, *rest)
            return values

        if problem := self._cut_off(processed_signature, outputs):
            error = AdapterParseError(
                type(self).__name__, processed_signature, _text(outputs[-1]), problem
            )
            error.cut_off = True
            raise self._unread(error, processed_signature, outputs)
        try:
            return read(processed_signature, outputs)
        except Exception as error:  # parsing a reply may raise anything
            strict = error
        guess = None
        with suppress(Exception):
            return _read_loosely(read, processed_signature, outputs)
        with suppress(Exception):
            bare = [_without_hints(output) for output in outputs]
            guess = _read_loosely(read, processed_signature, bare)
        if guess is not None and not self._falls_back:
            return guess
        unread = self._unread(strict, processed_signature, outputs)
        unread.guess = guess
        raise unread from strict

    def _cut_off(self, signature: type[dspy.Signature], outputs: list[Any]) -> str | None:
        """The message for a reply that was cut off within a field; None if there is none."""
        cut_off = CUT_OFF.get() or {}
        texts = [text for text in map(_text, outputs) if text in cut_off]
        return next((cut_off[t] for t in texts if not self._is_whole(signature, t)), None)

    def _is_whole(self, signature: type[dspy.Signature], text: str) -> bool:
        """Whether the reply goes on after the end of its last field."""
        if isinstance(self, dspy.JSONAdapter):
            with suppress(ValueError):
                json.JSONDecoder().raw_decode(text, text.index("{"))
                return True
            return False
        if isinstance(self, dspy.XMLAdapter):
            return all(f"</{name}>" in text for name in signature.output_fields)
        return "[[ ## completed ## ]]" in text

    def _unread(
        self, error: Exception, signature: type[dspy.Signature], outputs: list[Any]
    ) -> AdapterParseError:
        """The error to raise; marks the records of the calls."""
        recorder, name = current_recorder(), type(self).__name__
        if not isinstance(error, AdapterParseError):
            problem = f"{type(error).__name__}: {error}"
            error = AdapterParseError(name, signature, _text(outputs[-1]), problem)
        calls = recorder.calls[-len(outputs) :]
        kind = reply_kind(error, calls[-1].finish_reason if calls else "stop")
        unread = kind in ("unparsable", "truncated")
        recorder.mark(len(outputs), unread=unread, asked_again=self._falls_back)
        return error

    @property
    def _falls_back(self) -> bool:
        is_json = isinstance(self, dspy.JSONAdapter)
        return not is_json and getattr(self, "use_json_adapter_fallback", False)

    def _make_json_adapter_fallback(self) -> dspy.Adapter:
        return forgiving(super()._make_json_adapter_fallback())


@contextmanager
def _collecting_cut_off() -> Iterator[None]:
    token = CUT_OFF.set({})
    try:
        yield
    finally:
        CUT_OFF.reset(token)


def _guess(error: BaseException) -> list[dict[str, Any]]:
    """The outputs of the first reply without hints, if none could be parsed; else raises."""
    cause: BaseException | None = error
    while cause is not None:
        guess: list[dict[str, Any]] | None = getattr(cause, "guess", None)
        if guess is not None:
            return guess
        cause = cause.__context__
    raise error


def _read_loosely(
    read: Callable[[type[dspy.Signature], list[Any]], list[dict[str, Any]]],
    signature: type[dspy.Signature],
    outputs: list[Any],
) -> list[dict[str, Any]]:
    """The outputs' values, without what is around those of `Literal` fields."""
    literals = {
        name: field.annotation
        for name, field in signature.output_fields.items()
        if get_origin(field.annotation) is Literal
    }
    for name in literals:
        signature = signature.with_updated_fields(name, type_=str)
    values = read(signature, outputs)
    for value in values:
        value |= {name: _literal(value[name], kind) for name, kind in literals.items()}
    return values


def _text(output: Any) -> str:
    return str(output.get("text") if isinstance(output, dict) else output)


def _without_hints(output: Any) -> Any:
    if isinstance(output, dict):
        return {**output, "text": _without_hints(output.get("text"))}
    return _HINT.sub("", output) if isinstance(output, str) else output


def _literal(text: Any, kind: Any) -> Any:
    """The choice that the text names. Raises ValueError if it names none."""
    bare = str(text).strip(_AROUND_LITERALS)
    named: Sequence[Any] = [c for c in get_args(kind) if str(c).strip(_AROUND_LITERALS) == bare]
    return named[0] if len(named) == 1 else parse_value(bare, kind)
