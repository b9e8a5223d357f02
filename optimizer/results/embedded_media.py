"""Placeholders for images and other media that are embedded in values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import dspy

_EMBEDDED = re.compile(r"data:([\w.+-]+/[\w.+-]+)[^,\s]*;base64,([A-Za-z0-9+/=_-]{16,})")
"""Media in a data URL."""


def without_media(value: Any) -> Any:
    """A copy that names embedded media by type and size, such as `<image/png, 12 kB>`.

    For tables: traces keep the media themselves.
    """
    if isinstance(value, dspy.Image):
        return without_media(value.url)
    if isinstance(value, str):
        return _EMBEDDED.sub(_placeholder, value) if ";base64," in value else value
    if isinstance(value, Mapping):
        return {name: without_media(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_media(each) for each in value]
    return value


def _placeholder(found: re.Match[str]) -> str:
    size = len(found[2]) * 3 // 4 - found[2].count("=")
    return f"<{found[1]}, {size} B>" if size < 1000 else f"<{found[1]}, {size / 1000:.0f} kB>"
