"""What the loopback server's models say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.providers.output_fields import message_text, requested_fields

Reply = Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any]], str]
"""`reply(messages, params) -> text`, called from many threads; `params` has the model's name."""


def echo(messages: Sequence[Mapping[str, Any]], _params: Mapping[str, Any]) -> str:
    """The last message's first non-empty line that is no field marker, in every output field."""
    lines = message_text(messages[-1]).splitlines() if messages else []
    said = next((line for line in lines if line.strip() and not line.startswith("[[ ##")), "")
    fields = requested_fields(messages)
    return said if fields is None else fields.written(dict.fromkeys(fields.names, said))
