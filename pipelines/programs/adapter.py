"""How prompts are written and replies read: DSPy's adapters, which forgive models' slips."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin

import dspy
from dspy.adapters.utils import parse_value
from dspy.utils.exceptions import AdapterParseError

from pipelines.gateway.call_record import current_recorder
from pipelines.programs.failures import reply_kind
from search_spaces.config import ReplyFormat

_HINT = re.compile(
    r"""[ \t]*# note: the value you produce must [^\n"<]*(?:"(?! *[,}]?\n)[^\n"<]*)*"""
)
"""What DSPy's prompts say of a field's type, up to the end of the value."""
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

    These are copies of the prompt's own hints, and quotes and periods around `Literal` values.
    Whatever reading still raises, a field's own validator included, is an `AdapterParseError`, and
    is noted in the record of the call.
    """

    def __init_subclass__(cls) -> None:
        """DSPy's own would report every event to callbacks twice."""

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

        try:
            return read(processed_signature, outputs)
        except Exception as error:  # parsing a reply may raise anything
            strict = error
        literals = {
            name: field.annotation
            for name, field in processed_signature.output_fields.items()
            if get_origin(field.annotation) is Literal
        }
        try:
            loose = processed_signature
            for name in literals:
                loose = loose.with_updated_fields(name, type_=str)
            values = read(loose, [_without_hints(output) for output in outputs])
            for value in values:
                value |= {n: _literal(value[n], kind) for n, kind in literals.items()}
            return values
        except Exception:
            raise self._unread(strict, processed_signature, outputs) from strict

    def _unread(
        self, error: Exception, signature: type[dspy.Signature], outputs: list[Any]
    ) -> AdapterParseError:
        """The error to raise; marks the records of the calls."""
        recorder, name = current_recorder(), type(self).__name__
        if not isinstance(error, AdapterParseError):
            told = f"{type(error).__name__}: {error}"
            error = AdapterParseError(name, signature, _text(outputs[-1]), told)
        calls = recorder.calls[-len(outputs) :]
        unread = reply_kind(error, calls[-1].finish_reason if calls else "stop") == "unparsable"
        recorder.mark(len(outputs), unread=unread, asked_again=self._falls_back)
        return error

    @property
    def _falls_back(self) -> bool:
        is_json = isinstance(self, dspy.JSONAdapter)
        return not is_json and getattr(self, "use_json_adapter_fallback", False)

    def _make_json_adapter_fallback(self) -> dspy.Adapter:
        return forgiving(super()._make_json_adapter_fallback())


def _text(output: Any) -> str:
    return str(output.get("text") if isinstance(output, dict) else output)


def _without_hints(output: Any) -> Any:
    if isinstance(output, dict):
        return {**output, "text": _without_hints(output.get("text"))}
    return _HINT.sub("", output) if isinstance(output, str) else output


def _literal(text: Any, kind: Any) -> Any:
    """The choice that the text names.

    Raises:
        ValueError: it names none.
    """
    bare = str(text).strip(_AROUND_LITERALS)
    named: Sequence[Any] = [c for c in get_args(kind) if str(c).strip(_AROUND_LITERALS) == bare]
    return named[0] if len(named) == 1 else parse_value(bare, kind)
