"""Operations on a word."""

from __future__ import annotations

from benchmarks.worlds.operation import Operation, Outcome, first_word, operation
from benchmarks.worlds.slips import word_slips
from pipelines.providers.simulated.tasks import number_slips

_NUMERALS = {"one": 1, "two": 2, "three": 3, "four": 4}


@operation("reverse", r"\breverse the (?:word|letters|text)\b", "Reverse the word.")
def reverse(text: str, _: tuple[str, ...]) -> Outcome | None:
    """planet -> tenalp."""
    word = first_word(text)
    return Outcome(word[::-1], (*word_slips(word[::-1]), word)) if word else None


@operation(
    "caesar",
    r"\bshift (?:every|each) letter (?:forward )?by (\d{1,2})\b",
    "Shift every letter forward by 3 places in the alphabet, with a after z.",
)
def caesar(text: str, parameters: tuple[str, ...]) -> Outcome | None:
    """abz by 3 -> dec."""
    word, places = first_word(text), int(parameters[0])
    if not word:
        return None
    right = _shifted(word, places)
    return Outcome(right, (_shifted(word, places + 1), _shifted(word, -places), *word_slips(right)))


@operation(
    "rotate",
    r"\bmove the first (one|two|three|four|\d) letters? (?:of the word )?to (?:its|the) end\b",
    "Move the first two letters of the word to its end.",
)
def rotate(text: str, parameters: tuple[str, ...]) -> Outcome | None:
    """planet by two -> anetpl."""
    word, count = first_word(text), parameters[0].lower()
    if not word:
        return None
    places = _NUMERALS.get(count) or int(count)
    right = word[places:] + word[:places]
    other = word[places + 1 :] + word[: places + 1]
    return Outcome(right, (other, word[-places:] + word[:-places], *word_slips(right)))


@operation("sort_letters", r"\bsort the letters\b", "Sort the letters of the word.")
def sort_letters(text: str, _: tuple[str, ...]) -> Outcome | None:
    """planet -> aelnpt."""
    word = first_word(text)
    right = "".join(sorted(word)) if word else ""
    return Outcome(right, (*word_slips(right), right[::-1])) if right else None


@operation(
    "uppercase", r"\b(?:upper ?case|capital letters)\b", "Write the word in capital letters."
)
def uppercase(text: str, _: tuple[str, ...]) -> Outcome | None:
    """planet -> PLANET."""
    word = first_word(text)
    return Outcome(word.upper(), (word.capitalize(), *word_slips(word.upper()))) if word else None


@operation("count_vowels", r"\bcount the vowels\b|\bhow many vowels\b", "Count the vowels.")
def count_vowels(text: str, _: tuple[str, ...]) -> Outcome | None:
    """planet -> 2."""
    word = first_word(text)
    if not word:
        return None
    count = sum(letter in "aeiou" for letter in word.lower())
    return Outcome(str(count), tuple(str(count + slip) for slip in (1, -1, 2) if count + slip >= 0))


@operation(
    "letter_sum",
    r"\bweighted letter sum\b",
    "Work out the weighted letter sum of the word (the place of each letter in the alphabet "
    "times its place in the word, all added up).",
)
def letter_sum(text: str, _: tuple[str, ...]) -> Outcome | None:
    """abc -> 1*1 + 2*2 + 3*3 = 14."""
    word = first_word(text)
    if not word:
        return None
    values = [ord(letter) - ord("a") + 1 for letter in word.lower()]
    total = sum(place * value for place, value in enumerate(values, start=1))
    unweighted, from_zero = sum(values), total - sum(values)
    return Outcome(str(total), (str(unweighted), str(from_zero), *number_slips(total)))


def _shifted(word: str, places: int) -> str:
    return "".join(
        chr((ord(letter.lower()) - ord("a") + places) % 26 + ord("a")) for letter in word
    )


WORD_OPERATIONS: tuple[Operation, ...] = (
    reverse,
    caesar,
    rotate,
    sort_letters,
    uppercase,
    count_vowels,
    letter_sum,
)
