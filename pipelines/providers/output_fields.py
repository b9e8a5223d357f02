"""The output fields that a prompt asks for, read from its words alone, and how to fill them in.

DSPy's adapters end every prompt with a sentence that lists the output fields. A fake model sees
nothing but the prompt, so that sentence is where it learns the form of its answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Style = Literal["chat", "json", "xml"]

_SENTENCES: tuple[tuple[Style, str, str], ...] = (
    (
        "chat",
        "Respond with the corresponding output fields, starting with",
        r"\[\[ ## (\w+) ## \]\]",
    ),
    ("json", "Respond with a JSON object in the following order of fields:", r"`(\w+)`"),
    ("xml", "Respond with the corresponding output fields wrapped in XML tags", r"`<(\w+)>`"),
)
"""How `ChatAdapter`, `JSONAdapter` and `XMLAdapter` of DSPy 3.4 open the sentence."""


@dataclass(frozen=True)
class RequestedFields:
    """The output fields that a prompt asks for, in order, and the form it wants them in."""

    names: tuple[str, ...]
    style: Style

    def written(self, values: Mapping[str, str]) -> str:
        """The reply text with these values in their fields.

        Raises:
            KeyError: a requested field has no value.
        """
        if self.style == "json":
            return json.dumps({name: values[name] for name in self.names}, ensure_ascii=False)
        if self.style == "xml":
            return "\n".join(f"<{name}>\n{values[name]}\n</{name}>" for name in self.names)
        fields = [f"[[ ## {name} ## ]]\n{values[name]}" for name in self.names]
        return "\n\n".join([*fields, "[[ ## completed ## ]]"])


def requested_fields(messages: Sequence[Mapping[str, Any]]) -> RequestedFields | None:
    """The fields that the last prompt with such a sentence asks for; None if there is none."""
    for message in reversed(messages):
        text = message_text(message)
        for style, opening, field in _SENTENCES:
            start = text.rfind(opening)
            names = re.findall(field, text[start:]) if start >= 0 else []
            if names:
                return RequestedFields(tuple(n for n in names if n != "completed"), style)
    return None


def message_text(message: Mapping[str, Any]) -> str:
    """A message's text, whether its content is a string or a list of content parts."""
    return "\n".join(_texts(message.get("content")))


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            text = part.get("text") if isinstance(part, Mapping) else None
            if isinstance(text, str):
                yield text
