"""Removes secrets from everything that is written."""

from __future__ import annotations

import os
import re

_SOUNDS_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_LOOKS_LIKE_A_KEY = re.compile(r"(?=.*\d)(?=.*[A-Za-z])\S{12,}")
"""A word such as `LABEL_TOKEN=positive` is none: it may be an answer."""
_SHORTEST = 8
"""Characters of a named key; shorter values are words, as `EMPTY` for a server without keys."""


def redacted(text: str, *names: str | None) -> str:
    """The text without secrets: the values of environment variables are replaced by their names.

    Of those that `names` gives, whatever they hold, and of all that sound like a secret and hold
    what looks like a key.
    """
    for name in os.environ:
        if name in names or _SOUNDS_SECRET.search(name):
            value = os.environ.get(name, "")
            named = name in names and len(value) >= _SHORTEST
            if named or _LOOKS_LIKE_A_KEY.fullmatch(value):
                text = text.replace(value, f"<{name}>")
    return text
