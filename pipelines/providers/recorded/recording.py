"""A file of questions with what real models answered to them."""

from __future__ import annotations

import gzip
import random
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from pipelines.providers.output_fields import message_text

Stripped = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class RecordingError(ValueError):
    """The recording has no such answer, or is no recording."""


class RecordedAnswer(BaseModel):
    """What one model answered to one question."""

    model_config = ConfigDict(frozen=True)

    text: str
    parsed: str | None = None
    """The answer's letter as the recording's authors read it; None if they found none."""

    @property
    def final(self) -> str:
        """The letter; empty if no letter was found, and the text if none was looked for."""
        return self.parsed or ("" if "parsed" in self.model_fields_set else self.text)


class RecordedQuestion(BaseModel):
    """One line of a recording."""

    model_config = ConfigDict(frozen=True)

    question: Stripped
    options: tuple[Stripped, ...] = ()
    answer: str
    category: str = ""
    responses: Mapping[str, RecordedAnswer]
    """The answers by model."""

    @property
    def prompt(self) -> str:
        """The question with its lettered options, one a line."""
        lettered = (f"{chr(ord('A') + i)}. {option}" for i, option in enumerate(self.options))
        return "\n".join([self.question, *lettered])


class Recording:
    """Recorded questions, found again by their text in a prompt. Immutable, so safe for threads.

    A question with the same options as an earlier one is left out: what it holds is a second
    sample, and a recording has one.
    """

    def __init__(self, questions: Sequence[RecordedQuestion]) -> None:
        first = {(_collapsed(each.question), each.options): each for each in reversed(questions)}
        self.questions: tuple[RecordedQuestion, ...] = tuple(reversed(first.values()))
        self.models: tuple[str, ...] = tuple(
            dict.fromkeys(model for each in self.questions for model in each.responses)
        )
        self._by_rarest_word = _index(self.questions)

    def find(self, messages: Sequence[Mapping[str, Any]]) -> RecordedQuestion:
        """The recorded question that the messages ask, the last of them that asks one.

        Earlier messages hold worked examples and older turns. Of several questions in one
        message, those whose options are there too come first, then the longest. Without its
        options a question must start a line, but for a label such as "Question:", since "Which
        of the following is true?" ends many a question that nobody recorded.

        Raises:
            RecordingError: none is there, or several with nothing to tell them apart.
        """
        for message in reversed(messages):
            text = message_text(message)
            flat = _collapsed(text)
            words = set(_WORD.findall(flat))
            found = [
                each
                for word in words & self._by_rarest_word.keys()
                for key, each in self._by_rarest_word[word]
                if key in flat
            ]
            complete = [
                q for q in found if q.options and all(_collapsed(o) in flat for o in q.options)
            ]
            if complete:
                return _asked(complete, with_options=True)
            asked = [each for each in found if _starts_a_line(each, text)]
            if asked:
                return _asked(asked, with_options=False)
        raise RecordingError(
            f"the messages contain none of the {len(self.questions)} recorded questions; "
            "a recorded model answers nothing else"
        )


_WORD = re.compile(r"\w+")
_loading = threading.Lock()


def load_recording(path: str | Path) -> Recording:
    """Read a `.jsonl` or `.jsonl.gz` file of recorded answers; read again only if it changes.

    Each line is an object with `question`, `options`, `answer` (a letter), `category` and
    `responses` (`{model: {"text": ..., "parsed": letter or null}}`; without `parsed` the text
    itself is the answer).

    Raises:
        RecordingError: there is no such file, or a line is no recorded question.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise RecordingError(f"there is no recording at {path}")
    stat = path.stat()
    with _loading:
        return _loaded(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _loaded(path: Path, _changed_ns: int, _size: int) -> Recording:
    packed = path.suffix == ".gz"
    with (
        gzip.open(path, "rt", encoding="utf-8") if packed else path.open(encoding="utf-8") as lines
    ):
        return Recording(
            [_parsed(line, path, i) for i, line in enumerate(lines, 1) if line.strip()]
        )


def _parsed(line: str, path: Path, number: int) -> RecordedQuestion:
    try:
        return RecordedQuestion.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        raise RecordingError(f"{path}, line {number}: {where}: {first['msg']}") from None


def recorded_dataset(
    path: str | Path, n: int | None = None, seed: int | None = None
) -> list[dict[str, str]]:
    """Rows of `question` (with its lettered options), `answer` (a letter) and `category`.

    Args:
        path: A recording, as `load_recording` reads it.
        n: How many rows; all, if None.
        seed: Draws them at random; None takes the first in the order of the file.

    Raises:
        RecordingError: the file is no recording.
        ValueError: it holds fewer than `n` questions.
    """
    questions = load_recording(path).questions
    n = len(questions) if n is None else n
    if not 0 <= n <= len(questions):
        raise ValueError(f"0 <= n <= {len(questions)} must hold for {path}, but got n={n}")
    drawn = questions[:n] if seed is None else random.Random(seed).sample(questions, n)
    return [{"question": q.prompt, "answer": q.answer, "category": q.category} for q in drawn]


def _collapsed(text: str) -> str:
    return " ".join(text.split())


def _starts_a_line(question: RecordedQuestion, text: str) -> bool:
    head = _collapsed(question.question.splitlines()[0])
    before = [
        line[: line.find(head)].rstrip()
        for line in map(_collapsed, text.splitlines())
        if head in line
    ]
    return any(not re.search(r"[\w.,;!?)]$", each) for each in before)


def _asked(candidates: Sequence[RecordedQuestion], with_options: bool) -> RecordedQuestion:
    asked = max(candidates, key=lambda each: (len(each.question), sum(map(len, each.options))))
    rivals = [
        each for each in candidates if each is not asked and not _within(each, asked, with_options)
    ]
    if any(each.question == asked.question for each in rivals):
        raise RecordingError(
            f"the recording has {asked.question[:60]!r} with several lists of options: the "
            "messages must contain the options too"
        )
    if rivals:
        raise RecordingError(
            "the messages must ask one recorded question, but ask several: "
            f"{asked.question[:60]!r} and {rivals[0].question[:60]!r}"
        )
    return asked


def _within(small: RecordedQuestion, large: RecordedQuestion, with_options: bool) -> bool:
    """Whether a prompt for the large one contains the small one by necessity."""
    if small.question != large.question:
        return _collapsed(small.question) in _collapsed(large.prompt)
    return with_options and set(small.options) < set(large.options)


def _index(
    questions: Sequence[RecordedQuestion],
) -> Mapping[str, list[tuple[str, RecordedQuestion]]]:
    """The questions under their rarest word: a prompt's words then lead to the few to compare."""
    keys = [_collapsed(each.question) for each in questions]
    words = [set(_WORD.findall(key)) for key in keys]
    seen = Counter(word for each in words for word in each)
    index: dict[str, list[tuple[str, RecordedQuestion]]] = defaultdict(list)
    for key, its_words, question in zip(keys, words, questions, strict=True):
        if its_words:
            rarest = min(its_words, key=lambda word: (seen[word], -len(word), word))
            index[rarest].append((key, question))
    return index
