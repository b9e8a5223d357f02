"""Two made-up models that can add, over HTTP, and examples for each kind of program."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.loopback import images_of
from pipelines.providers.output_fields import message_text, requested_fields

SUM = re.compile(r"(\d+) \+ (\d+)")


def rows(kind: str) -> list[dict[str, Any]]:
    """Sums as plain data; the first numbers are even and odd in turn."""
    question = {"multi-hop": "What is the sum {n}?", "image": "How bright is it?"}
    found: list[dict[str, Any]] = []
    for n in range(6):
        asked = question.get(kind, "What is {n} + 7?").format(n=n)
        label = {"total": {"value": n + 7}} if kind == "bare" else {"answer": str(n + 7)}
        seen = {"image": image(n)} if kind == "image" else {}
        found.append({"question": asked, **seen, **label})
    return found


def inputs(kind: str) -> list[dict[str, Any]]:
    """What one of the rows asks, which the two models answer differently."""
    return [{k: v for k, v in row.items() if k in ("question", "image")} for row in rows(kind)[1:2]]


def image(shade: int) -> str:
    """A PNG of 8 x 8 pixels of one shade of grey, as a data URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress((b"\0" + bytes([shade]) * 8) * 8))
    file = b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(file).decode()


def reply(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    """`large` adds right, `small` only where the first number is even."""
    fields = requested_fields(messages)
    if fields is None:
        return "Add the numbers."
    text = message_text(messages[-1])
    if images := images_of(messages):
        data = base64.b64decode(images[-1].partition(",")[2])
        first, second = zlib.decompress(data[data.index(b"IDAT") + 4 :])[1], 7
    else:
        first, second = map(int, (SUM.findall(text) or [("0", "0")])[-1])
    is_right = params["model"] == "large" or first % 2 == 0
    total = first + second if is_right else first * second + 1
    number = re.search(r"the sum (\d+)", text)
    done = "observation_0" in text
    values = {
        "draft": f"{first} + {second}",
        "task": f"{first} + {second}",
        "answer": str(total),
        "total": json.dumps({"value": total, "unit": "pieces"}),
        "query": f"sum {number[1]}" if number else "none",
        "next_tool_name": "finish" if done else "add",
        "next_tool_args": "{}" if done else json.dumps({"a": first, "b": second}),
        "ratings": "[]",
    }
    return fields.written({name: values.get(name, "so") for name in fields.names})
