"""When two answers mean the same."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_NUMBER = re.compile(r"([-+]?)(\d{1,3}(?:,\d{3})+|\d+|(?=\.))(?:\.(\d+))?", re.ASCII)
_AROUND = " \"'`*\u201c\u201d\u2018\u2019"
_LETTER = re.compile(r"\(?([a-z])\)")


def normalised(answer: Any) -> str:
    """A text equal for answers that mean the same, and empty for no answer.

    Case, spaces, quotes, emphasis and closing punctuation do not count; nor do thousands
    separators and trailing zeros of a number, nor brackets around a single letter, or after it.
    """
    if answer is None:
        return ""
    return _normalised(answer if isinstance(answer, str) else json_text(answer, sort_keys=True))


def json_text(value: Any, *, sort_keys: bool = False) -> str:
    """The value as JSON; as Python writes it, where its keys have no JSON or no order."""
    try:
        return json.dumps(value, sort_keys=sort_keys, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        return str(value)


@lru_cache(maxsize=65536)
def _normalised(answer: str) -> str:
    text = " ".join(unicodedata.normalize("NFC", answer).casefold().split())
    text = text.strip(_AROUND).rstrip(_AROUND + ".,;:").lstrip(_AROUND)
    if letter := _LETTER.fullmatch(text):
        return letter.group(1)
    if number := _NUMBER.fullmatch(text):
        return _canonical_number(*number.groups(default=""))
    return text


def _canonical_number(sign: str, whole: str, fraction: str) -> str:
    whole = whole.replace(",", "").lstrip("0") or "0"
    fraction = fraction.rstrip("0")
    value = f"{whole}.{fraction}" if fraction else whole
    return f"-{value}" if sign == "-" and value != "0" else value


_DOUBT = re.compile(
    r"(?:sorry, )?(?:i (?:do not|don't|don\u2019t) know|i(?:'m|\u2019m| am) (?:not sure|unsure)|"
    r"(?:it )?(?:can(?:not|'t|\u2019t| not)) (?:be (?:determined|answered)|say|tell)|"
    r"no idea|unsure$|unknown$)"
)


def admits_doubt(record: Mapping[str, Any]) -> bool:
    """Whether any field says "I don't know" instead of an answer."""
    return any(_DOUBT.match(normalised(value)) for value in record.values())
