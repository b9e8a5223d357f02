"""Two made-up models that can add, over HTTP, and the examples for each kind of program."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.loopback import images_of
from pipelines.gateway.model import Model
from pipelines.providers.output_fields import message_text, requested_fields

SUM = re.compile(r"(\d+) \+ (\d+)")


def rows(kind: str) -> list[dict[str, Any]]:
    """Examples of sums, from which every second is hard."""
    found: list[dict[str, Any]] = []
    for n in range(8):
        question = f"What is the sum {n}?" if kind == "multi-hop" else f"What is {n} + 7?"
        row: dict[str, Any] = {"question": question, "answer": str(n + 7)}
        if kind == "image":
            row |= {"image": png(n), "question": "How bright is it?"}
        if kind == "bare":
            del row["answer"]
            row["total"] = {"value": n + 7, "unit": "pieces"}
        found.append(row)
    return found


def png(shade: int) -> str:
    """An image whose pixels are all so bright, as a data URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress((b"\0" + bytes([shade]) * 8) * 8, 0))
    file = b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(file).decode()


def models(url: str) -> list[Model]:
    return [
        Model(
            f"openai/{name}",
            name,
            url,
            input_usd_per_million=usd,
            output_usd_per_million=usd,
            max_tokens=200,
        )
        for name, usd in (("small", 0.1), ("large", 0.2))
    ]


def reply(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    """`large` is right, and `small` where the first number is even."""
    fields = requested_fields(messages)
    if fields is None:
        return "Add the numbers."
    text = message_text(messages[-1])
    if images := images_of(messages):
        data = base64.b64decode(images[-1].partition(",")[2])
        first, second = zlib.decompress(data[data.index(b"IDAT") + 4 :])[1], 7
    else:
        found = SUM.findall(text) or [("0", "0")]
        first, second = map(int, found[-1])
    right = params["model"] == "large" or first % 2 == 0
    answer = first + second if right else first * second + 1
    number = re.search(r"the sum (\d+)", text)
    done = "observation_0" in text
    said = {
        "draft": f"{first} + {second}",
        "task": f"{first} + {second}",
        "answer": str(answer),
        "total": json.dumps({"value": answer, "unit": "pieces"}),
        "query": f"sum {number[1]}" if number else "none",
        "next_tool_name": "finish" if done else "add",
        "next_tool_args": "{}" if done else json.dumps({"a": first, "b": second}),
        "ratings": "[]",
    }
    return fields.written({name: said.get(name, "so") for name in fields.names})
