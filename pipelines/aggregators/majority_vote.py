"""The answer that most members gave, told apart by what they mean rather than how they write."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_NUMBER = re.compile(r"([-+]?)(\d{1,3}(?:,\d{3})+|\d+|(?=\.))(?:\.(\d+))?", re.ASCII)
_AROUND = " \"'`*\u201c\u201d\u2018\u2019"
_LETTER = re.compile(r"\(([a-z])\)")


class MajorityVote:
    """Most members win; a tie goes to the answer given first.

    Answers are compared jointly over all fields, after `normalised`. A member all of whose
    fields are empty abstains, unless all do.
    """

    def aggregate(self, predictions: Sequence[Mapping[str, Any]]) -> int:
        """The index of the first member that gave the winning answer."""
        ballots = [tuple(normalised(p[field]) for field in sorted(p)) for p in predictions]
        votes = Counter(ballot for ballot in ballots if any(ballot)) or Counter(ballots)
        winner = max(votes, key=votes.__getitem__)  # the first of equals: counters keep order
        return ballots.index(winner)


def majority_vote(**answers: Any) -> Any:
    """The winning answer, as the first to give it wrote it; for use as a function module.

    The order of the arguments is that of the members.
    """
    members = list(answers.values())
    return members[MajorityVote().aggregate([{"answer": answer} for answer in members])]


def normalised(answer: Any) -> str:
    """A text equal for answers that mean the same, and empty for no answer.

    Case, spaces, quotes, emphasis and closing punctuation do not count; nor do thousands
    separators and trailing zeros of a number, nor brackets around a single letter.
    """
    if answer is None:
        return ""
    if not isinstance(answer, str):
        answer = json.dumps(answer, sort_keys=True, default=str)
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
