"""Removes secrets from everything that is written."""

from __future__ import annotations

import os
import re

_SOUNDS_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 8
"""Characters; shorter values are words, such as `EMPTY` for a server that wants no key."""


def redacted(text: str, *names: str | None) -> str:
    """The text without secrets: the values of environment variables are replaced by their names.

    Of those that `names` gives, whatever they are called, and of all that sound like a secret.
    """
    for name in os.environ:
        if name in names or _SOUNDS_SECRET.search(name):
            value = os.environ.get(name, "")
            if len(value) >= _SHORTEST:
                text = text.replace(value, f"<{name}>")
    return text
