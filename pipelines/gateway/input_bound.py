"""A bound on the input tokens of a call, by which it is reserved.

Text is bounded by its UTF-8 bytes: no tokenizer makes more tokens than there are bytes. Images are
charged by their size in pixels, which base64 does not tell, so each has a bound of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

BYTES_PER_MESSAGE = 32
"""Room for the role and the separators that a chat template puts around each message."""
IMAGE_TOKENS = 16_384
"""Of one image, at its largest. Claude: 1,600, and 4,784 in high resolution. Gemini: 2,240. OpenAI:
1,445 in tiles, 10,000 patches of full detail at 1.2 tokens each. Qwen-VL, the most of the open
models: 16,384."""
DEAREST_IMAGE_TOKENS = {"gpt-4o-mini": 48_169}
"""By a part of the model's name. That one counts 2,833 and 5,667 for each of up to 8 tiles."""
TOOL_PROMPT_TOKENS = 1_024
"""What a provider may write around tools; Claude's own prompt takes up to 804."""


def most_input_tokens(
    model: str, messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]
) -> int:
    """The bound for one call.

    Args:
        model: its name.
        messages: in OpenAI's form; parts that are no images count by the bytes of their JSON.
        params: tools, the form of the reply and all others count by the bytes of their JSON.
    """
    images = sum(1 for message in messages for part in _parts(message) if _is_image(part))
    each = next((n for name, n in DEAREST_IMAGE_TOKENS.items() if name in model), IMAGE_TOKENS)
    texts = map(_without_image_data, messages)
    written = sum(_bytes(text) + BYTES_PER_MESSAGE for text in texts)
    if params:
        written += _bytes(params)
    return written + images * each + (TOOL_PROMPT_TOKENS if params.get("tools") else 0)


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
