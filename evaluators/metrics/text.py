"""Labels and answers as text, in the form in which metrics compare them."""

from __future__ import annotations

import unicodedata
from typing import Any

_QUOTES = " \"'`“”‘’«»*"  # the star for **bold**
_PUNCTUATION = ".,;:!?"


def text_of(value: Any) -> str:
    """Any value as text: None is "", a whole float is written as an integer, a list by commas."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(text_of(item) for item in value)
    return str(value)


def normalised(value: Any) -> str:
    """The text of `value` without what does not matter to an answer.

    Case, runs of whitespace, composed or decomposed accents, and around the whole text: quotes,
    bold stars, sentence punctuation and one pair of parentheses. Signs, units and a leading decimal
    point do matter, and text of nothing but punctuation is left as it is.
    """
    text = text_of(value)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    whole = " ".join(text.casefold().split())
    core = _core(whole)
    return core or whole


def _core(text: str) -> str:
    before = None
    while text != before:
        before = text
        text = text.strip(_QUOTES).rstrip(_PUNCTUATION)
        if text[:1] in ",;:!?":
            text = text.lstrip(",;:!?")
        if text[:1] == "(" and text[-1:] == ")" and text.count("(") == text.count(")") == 1:
            text = text[1:-1]
    return text
