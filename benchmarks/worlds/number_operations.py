"""Operations on a whole number."""

from __future__ import annotations

import re

from benchmarks.worlds.operation import Operation, Outcome, first_number, operation
from benchmarks.worlds.slips import word_slips
from pipelines.providers.simulated.tasks import number_slips

UNITS = {
    ("feet", "inches"): 12,
    ("yards", "feet"): 3,
    ("minutes", "seconds"): 60,
    ("hours", "minutes"): 60,
    ("weeks", "days"): 7,
    ("pounds", "ounces"): 16,
    ("kilometres", "metres"): 1000,
}
_ROMAN = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"),
    (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = (
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)  # fmt: skip


@operation(
    "multiply_add",
    r"\bmultiply the number by (\d{1,4}) and (?:then )?(add|subtract) (\d{1,6})\b",
    "Multiply the number by 7 and subtract 12.",
)
def multiply_add(text: str, parameters: tuple[str, ...]) -> Outcome | None:
    """50 -> 338."""
    value = first_number(text)
    if value is None:
        return None
    factor, amount = int(parameters[0]), int(parameters[2])
    signed = amount if parameters[1].lower() == "add" else -amount
    right = value * factor + signed
    wrong = (value * factor - signed, value * factor, (value + signed) * factor)
    return Outcome(str(right), (*(str(number) for number in wrong), *number_slips(right)))


@operation(
    "convert_units",
    r"\b(?:convert|turn)\b.*?\b(" + "|".join(sorted({unit for unit, _ in UNITS})) + r")\s+"
    r"(?:in)?to (" + "|".join(sorted({unit for _, unit in UNITS})) + r")\b",
    "Convert the number from feet to inches.",
)
def convert_units(text: str, parameters: tuple[str, ...]) -> Outcome | None:
    """5 -> 60."""
    value = first_number(text)
    factor = UNITS.get((parameters[0].lower(), parameters[1].lower()))
    if value is None or factor is None:
        return None
    wrong = (value * (factor - 2), value * 10, value * (factor + 1))
    slips = number_slips(value * factor)
    return Outcome(str(value * factor), (*(str(number) for number in wrong), *slips))


@operation(
    "to_roman", r"\b(?:as|to|into|in) (?:a )?roman numerals?\b", "Write it as a Roman numeral."
)
def to_roman(text: str, _: tuple[str, ...]) -> Outcome | None:
    """1994 -> MCMXCIV; from 1 to 3,999."""
    value = first_number(text)
    if value is None or not 1 <= value <= 3999:
        return None
    near = [
        roman_numeral(other) for other in (value + 1, value - 1, value + 10) if 0 < other < 4000
    ]
    return Outcome(roman_numeral(value), (*near, *word_slips(roman_numeral(value))))


@operation(
    "from_roman",
    r"\broman numeral\b.*?\b(?:as|into|in) (?:an? )?(?:ordinary |decimal )?(?:number|digits)\b",
    "Write the Roman numeral as an ordinary number.",
)
def from_roman(text: str, _: tuple[str, ...]) -> Outcome | None:
    """MCMXCIV -> 1994."""
    match = re.search(r"\b[MDCLXVI]+\b", text)
    if match is None:
        return None
    sizes = {sign: size for size, sign in _ROMAN}
    values = [sizes[sign] for sign in match[0]]
    following = [*values[1:], 0]
    total = sum(-v if v < after else v for v, after in zip(values, following, strict=True))
    return Outcome(str(total), (str(sum(values)), *number_slips(total)))


@operation("number_words", r"\b(?:in|into|as) (?:English )?words\b", "Write the number in words.")
def number_words(text: str, _: tuple[str, ...]) -> Outcome | None:
    """342 -> three hundred forty-two; below a million."""
    value = first_number(text)
    if value is None or not 0 <= value < 1_000_000:
        return None
    slips = [int(slip) for slip in number_slips(value)]
    return Outcome(in_words(value), tuple(in_words(s) for s in slips if 0 <= s < 1_000_000))


def roman_numeral(value: int) -> str:
    """Return the Roman numeral of 1 to 3,999."""
    written = ""
    for size, sign in _ROMAN:
        written += sign * (value // size)
        value %= size
    return written


def in_words(value: int) -> str:
    """Return the English words of 0 to 999,999."""
    if value < 20:
        return _ONES[value]
    if value < 100:
        return _TENS[value // 10] + (f"-{_ONES[value % 10]}" if value % 10 else "")
    size, name = (1000, "thousand") if value >= 1000 else (100, "hundred")
    rest = f" {in_words(value % size)}" if value % size else ""
    return f"{in_words(value // size)} {name}{rest}"


NUMBER_OPERATIONS: tuple[Operation, ...] = (
    multiply_add,
    convert_units,
    from_roman,
    to_roman,
    number_words,
)
