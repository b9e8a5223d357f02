"""Compares answers as a reader would, and finds the answer within a longer text."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from pipelines.providers.simulated.request import REASONING_NAMES

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_LETTER = re.compile(r"\(?\b([A-J])\b\)?")
_OPTION_LETTER = re.compile(r"[A-J]")
_HEDGE = re.compile(r"\s*\([^()]*\s[^()]*\)\s*$")
_ANSWER_IS = re.compile(r"\banswer is:?\s+(.+)", re.IGNORECASE)
_LABEL = re.compile(
    r"^\s*(?:(?:Agent|Candidate|Answer|Option|Solver|Debater)\s*)?"
    r"(?:\[(\d+)\]|\((\d+)\)|(\d+)[.:])[ \t]+",
    re.MULTILINE | re.IGNORECASE,
)


def same_answer(left: str, right: str) -> bool:
    """Return whether two answers say the same, whatever the case, the hedges and the full stop."""
    return plain(left) == plain(right)


@lru_cache(maxsize=65536)
def plain(text: str) -> str:
    """Return an answer in the form in which it is compared."""
    bare = _HEDGE.sub("", text).strip().strip("\"'`*.«» ").casefold()
    number = bare.replace(",", "")
    if re.fullmatch(r"-?\d+(\.\d+)?", number):
        return f"{float(number):g}" if len(number) < 7 else number
    return " ".join(bare.strip("()").split())


def extract_answer(text: str, like: str) -> str:
    """Return the part of `text` that answers a question whose right answer looks like `like`."""
    stated = _ANSWER_IS.search(text)
    found = stated[1].rstrip(".") if stated else _HEDGE.sub("", text).strip()
    if _OPTION_LETTER.fullmatch(like):
        letters = _LETTER.findall(found)
        return str(letters[0]) if letters else found
    if _NUMBER.fullmatch(like):
        numbers = _NUMBER.findall(found)
        return str(numbers[0 if stated or len(found) < 60 else -1]) if numbers else found
    return found.splitlines()[0].strip() if found else found


def same_kind(text: str, like: str) -> bool:
    """Return whether the text is a number or an option letter if, and only if, `like` is."""
    kinds = (_NUMBER, _OPTION_LETTER)
    return all(bool(k.fullmatch(text.strip())) == bool(k.fullmatch(like)) for k in kinds)


def main_text(text: str) -> str:
    """Return the answer in a JSON object of output fields, or else the text itself."""
    fields = as_object(text)
    if fields is None:
        return text.strip().strip("«»").strip()
    values = [str(value) for name, value in fields.items() if name not in REASONING_NAMES]
    return values[-1] if values else ""


def as_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that the text is, or None."""
    loaded = _load(text) if text.lstrip().startswith("{") else None
    return loaded if isinstance(loaded, dict) else None


def listed_texts(text: str) -> tuple[tuple[str, str], ...]:
    """Return (label, text) of each entry of a numbered or JSON list; empty if it is no list.

    A JSON list is labelled from 1.
    """
    loaded = _load(text) if text.lstrip().startswith("[") else None
    if isinstance(loaded, list):
        dumped = [e if isinstance(e, str) else json.dumps(e) for e in loaded]
        return tuple((str(number), entry) for number, entry in enumerate(dumped, start=1))
    labels = list(_LABEL.finditer(text))
    ends = [label.start() for label in labels[1:]] + [len(text)]
    return tuple(
        (label[1] or label[2] or label[3], text[label.end() : end].strip())
        for label, end in zip(labels, ends, strict=False)
    )


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
