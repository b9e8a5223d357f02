"""The last number of the answer is the label's number."""

from __future__ import annotations

import math
import re
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

from evaluators.errors import MetricError
from evaluators.metrics.metric import LabelMetric, Names
from evaluators.metrics.text import text_of

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?"
_NUMBER = re.compile(
    rf"""(?<![\w.])                                   # not within a word or a longer number
    (?P<sign>(?<![)%])[-+−])?                         # 3-5 is no -5
    (?:[$€£¥]\s?(?P<inner>[-−])?)?
    (?:(?P<whole>\d+)\s+(?=\d+\s*/\s*\d))?            # the 3 of 3 1/2
    (?P<digits>{_DIGITS})
    (?:\s*/\s*(?P<under>{_DIGITS}))?
    (?P<percent>\s*\\?%)?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}")


class Number(NamedTuple):
    """A number as written: 12.5% has the value 12.5 and is a percentage."""

    value: float
    percent: bool


def numeric_match(
    field: Names = None, column: Names = None, tolerance: float = 1e-6
) -> LabelMetric:
    """1 when every field's last number is that of its label, else 0.

    Understands thousands separators (1,234.5), currency signs, percentages (12.5% matches 12.5 and
    0.125), fractions (3/4, 3 1/2, LaTeX's too) and exponents (1e-5). The *last* number of a text
    counts, as answers come after their reasoning.

    Args:
        field: as for `exact_match`.
        column: as for `exact_match`.
        tolerance: the largest difference allowed, relative to the larger of the two.
    """
    if not isinstance(tolerance, Real) or not 0 <= tolerance < 1:
        raise MetricError(f"`0 <= tolerance < 1` must hold, but got {tolerance!r}")
    compare_within, settings = partial(compare, tolerance=tolerance), f"{tolerance=!r}"
    return LabelMetric.of("numeric_match", compare_within, field, column, settings=settings)


def compare(label: Any, answer: Any, tolerance: float = 1e-6) -> float:
    """1.0 or 0.0 for one label and answer; ValueError for a label without a number."""
    wanted, given = last_number(label), last_number(answer)
    if wanted is None:
        raise ValueError(f"the label {label!r} has no number")
    if given is None:
        return 0.0
    values = [wanted.value]
    if wanted.percent != given.percent:  # 12.5% is 0.125, or 12.5 where % was left out
        values.append(wanted.value * (0.01 if wanted.percent else 100.0))
    close = partial(math.isclose, given.value, rel_tol=tolerance, abs_tol=1e-12)
    return float(any(map(close, values)))


def last_number(value: Any) -> Number | None:
    """The last number written in the text of `value`; None without one, or beyond a float's."""
    if isinstance(value, float):
        return Number(float(value), percent=False) if math.isfinite(value) else None
    text = text_of(value)
    if "frac" in text:
        text = _LATEX_FRACTION.sub(r"\1/\2", text)
    matches = list(_NUMBER.finditer(text))
    return _parsed(matches[-1]) if matches else None


def _parsed(match: re.Match[str]) -> Number | None:
    value = float(match["digits"].replace(",", ""))
    if match["under"]:
        under = float(match["under"].replace(",", ""))
        if under == 0:
            return None
        value /= under
    if match["whole"]:
        value += float(match["whole"])
    negative = (match["sign"] or match["inner"] or "+") != "+"
    if not math.isfinite(value):
        return None
    return Number(-value if negative else value, percent=bool(match["percent"]))
