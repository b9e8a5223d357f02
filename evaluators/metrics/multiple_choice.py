"""The answer names the letter of the right option."""

from __future__ import annotations

import re
from typing import Any

from evaluators.metrics.metric import LabelMetric, Names
from evaluators.metrics.text import normalised, text_of

_LETTER = r"(?:\(([A-Za-z])\)|([A-Z])(?![\w'’])|([a-z])(?=[.,;:)*\"']|\s*$))"

# Ordered by how sure they are; of the first that occurs, the last occurrence counts.
_PATTERNS = (
    # \boxed{C}, \boxed{\text{(C)}}
    re.compile(r"\\boxed\s*\{\s*(?:\\\w+\s*\{)?\s*\(?([A-Za-z])\)?\s*\}"),
    # The answer is (C). Answer: **C**  The correct option is C because ...
    re.compile(
        r"(?i:\b(?:answer|correct\s+(?:option|choice|letter))\b(?:\s+(?:is|would\s+be|must\s+be))?)"
        r"\s*:?[\s*_`\"']*(?i:(?:option|choice|letter)\s+)?" + _LETTER
    ),
    # Option C is right
    re.compile(r"(?i:\b(?:option|choice)\s+)" + _LETTER),
    # (C) Paris   C. Paris   C: Paris   at the start
    re.compile(r"^[\s*_`\"']*\(?([A-Za-z])[).:]"),
    # ... so it is (C)
    re.compile(r"\(([A-Ja-j])\)"),
    # ... so it is C. Not the article or the pronoun: A cat, I think, I'd say
    re.compile(r"\b(?:([B-HJ])\b(?!['’])|([AI])\b(?!['’]|\s+[a-z]))"),
)


def multiple_choice(field: Names = None, column: Names = None) -> LabelMetric:
    """1 when every field's answer names its label's letter, else 0.

    Reads the letter from "C", "(c)", "C) Paris", "The answer is (C).", "\\boxed{C}" and, failing
    those, takes the last letter up to J in parentheses or standing alone as a capital (further ones
    are more often formulas). Where an answer is stated twice, the last one counts. The text of the
    option is not needed, and on its own not understood.

    Fields and columns are chosen as for `exact_match`.
    """
    return LabelMetric.of("multiple_choice", compare, field, column)


def compare(label: Any, answer: Any) -> float:
    """1.0 or 0.0 for one label and answer; ValueError for a label that names no letter."""
    wanted = letter_of(label)
    if wanted is None:
        raise ValueError(f"the label {label!r} names no option by its letter, as 'C' or '(C)' do")
    return float(letter_of(answer) == wanted)


def letter_of(value: Any) -> str | None:
    """The option's letter as a capital, or None when the text of `value` names none."""
    bare = normalised(value)
    if len(bare) == 1 and "a" <= bare <= "z":
        return bare.upper()
    text = text_of(value)
    for pattern in _PATTERNS:
        matches = list(pattern.finditer(text))
        if matches:
            return str(matches[-1][matches[-1].lastindex or 0]).upper()
    return None
