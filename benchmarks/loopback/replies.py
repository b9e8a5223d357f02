"""What the loopback server's models say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.providers.output_fields import message_text, requested_fields

Reply = Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any]], str | Mapping[str, Any]]
"""`reply(messages, params)`, called from many threads; `params` has the model's name and tools.

It returns the text, or the whole message: `content`, which may be None, and `tool_calls`.
"""


def calling(name: str, **arguments: Any) -> dict[str, Any]:
    """A message that calls one tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "content": None,
        "tool_calls": [{"id": "call_0", "type": "function", "function": function}],
    }


def images_of(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The addresses of all images, in their order."""
    contents = (message.get("content") for message in messages)
    parts = (part for content in contents if isinstance(content, list) for part in content)
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def echo(messages: Sequence[Mapping[str, Any]], _params: Mapping[str, Any]) -> str:
    """The last message's first non-empty line that is no field marker, in every output field."""
    lines = message_text(messages[-1]).splitlines() if messages else []
    said = next((line for line in lines if line.strip() and not line.startswith("[[ ##")), "")
    fields = requested_fields(messages)
    return said if fields is None else fields.written(dict.fromkeys(fields.names, said))
