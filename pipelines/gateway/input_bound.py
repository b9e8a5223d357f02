"""A bound on the input tokens of a call, by which it is reserved.

Text is bounded by its UTF-8 bytes: no tokenizer makes more tokens than there are bytes. Images are
charged by their size in pixels, which base64 does not tell, so each has a bound of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BYTES_PER_MESSAGE = 32
"""Room for the role and the separators that a chat template puts around each message."""
IMAGE_TOKENS = (
    (re.compile("gpt-4o-mini", re.I), 25_501, 48_169),
    (
        re.compile(r"claude|gemini|gpt-[45]|\bo[134]\b|qwen|llama|mistral|pixtral|gemma", re.I),
        1_000,
        16_384,
    ),
    (re.compile(""), 1_229, 73_728),
)
"""By the model's name, those of an image of 1,024 by 1,024 pixels and the most; the first that fits
counts. GPT-4o mini: 2,833, and 5,667 for each of up to 8 tiles, here of 4. Of the others Qwen-VL
counts most by default, 16,384; GPT-5 up to 10,000 patches at 1.2 tokens; Claude, Gemini and GPT-4
less than 5,000. Where the name does not tell: OpenAI's GPT-6 counts 1.2 tokens for each 1,024
pixels and takes up to about 60 million, 70,313; nobody is known to count more."""
TOOL_PROMPT_TOKENS = 1_024
"""What a provider may write around tools; Claude's own prompt takes up to 804."""


def most_input_tokens(
    model: str, messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]
) -> int:
    """The bound for one call to the model of this name.

    All counts by the bytes of its JSON, except images, which have a bound of their own.
    """
    images = sum(1 for message in messages for part in _parts(message) if _is_image(part))
    texts = map(_without_image_data, messages)
    written = sum(_bytes(text) + BYTES_PER_MESSAGE for text in texts)
    if params:  # chat templates may escape what is not ASCII
        written += len(json.dumps(params, default=str))
    if params.get("tools"):
        written += TOOL_PROMPT_TOKENS
    return written + images * image_tokens(model)


def image_tokens(model: str) -> int:
    """The bound for one image that a model of this name is sent."""
    return next(most for name, _, most in IMAGE_TOKENS if name.search(model))


def typical_image_tokens(model: str) -> int:
    """Those of an image of about a million pixels that a model of this name is sent."""
    return next(typical for name, typical, _ in IMAGE_TOKENS if name.search(model))


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, default=str).encode(errors="replace"))


def _parts(message: Mapping[str, Any]) -> Iterator[Any]:
    content = message.get("content")
    yield from content if isinstance(content, list | tuple) else ()


def _is_image(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "image_url"


def _without_image_data(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message with what is counted as an image left out; addresses stay."""
    if not any(map(_is_image, _parts(message))):
        return message
    parts = [_without_data(part) if _is_image(part) else part for part in _parts(message)]
    return {**message, "content": parts}


def _without_data(part: Mapping[str, Any]) -> Mapping[str, Any]:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    if not (isinstance(url, str) and url.startswith("data:image/")):
        return part
    return {**part, "image_url": {**image, "url": ""} if isinstance(image, Mapping) else ""}
