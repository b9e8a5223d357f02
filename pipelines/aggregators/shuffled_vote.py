"""Shuffled vote: every member sees the question's options in another order."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.aggregators.aggregator import (
    Aggregator,
    Answer,
    Members,
    Verdict,
    everyone,
    validated,
    vote,
)
from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from search_spaces import ModuleConfig
from search_spaces.refusals import nearest

_OPTION = re.compile(r"^([ \t]*\(?)([A-Z])([).:][ \t]+)(\S.*?)[ \t]*$", re.MULTILINE)
_LETTER = re.compile(r"[^\w+#]*([A-Za-z])[^\w+#]*")


@validated
class ShuffledVote(Aggregator):
    """The majority over several orders of a multiple-choice question's options.

    After Medprompt (arXiv 2311.16452): a model that prefers some letters then prefers different
    options each time. The first member sees the order given. Options are the last lettered lines,
    such as `(A) ...` or `A. ...`, or a list. An answer that is a letter is translated back, unless
    one of the list's options is a letter too, or begins with one; letters in the reasoning are not.
    With fewer than two options it is a plain vote, which is noted.
    """

    options: str | None = None
    """The input field that holds the options. Needed unless it is clear: the field is called
    `options` or `choices`, it is the only one, or it is called `question`. Others, such as few-shot
    examples with options of their own, are never shuffled."""

    def check(self, config: ModuleConfig, module: Module) -> None:
        """The field must be there, and if it is not named, it must be clear which it is."""
        fields = module.input_fields
        if self.options is not None and self.options not in fields:
            hint = nearest(self.options, fields)
            raise PipelineError(f"options names the unknown input field {self.options!r}{hint}")
        if self.options is None and _clear_field(fields) is None:
            raise PipelineError(
                "options= must name the input field that holds the question's options: it is not "
                f"clear which of {list(fields)} that is{nearest('question', fields)}"
            )

    def aggregate(self, members: Members) -> Verdict | None:
        field = self.options or _clear_field(members.inputs)
        if field is None or len(_options(members.inputs.get(field))) < 2:
            answers = members.ask(everyone(members))
            problem = f"the input {field!r} holds fewer than two options to shuffle"
            members.failed("no_options", problem)
            return vote(answers, len(members.models))
        orders = [_shuffled(members.inputs[field], member) for member in everyone(members)]
        inputs = [{**members.inputs, field: order.shown} for order in orders]
        answers = members.ask(everyone(members), inputs=inputs)
        restored = []
        for answer in answers:
            original = orders[answer.member or 0].original
            record = {field: _restored(value, original) for field, value in answer.record.items()}
            restored.append(Answer(answer.member, record, answer.tokens))
        return vote(restored, len(members.models))


def _clear_field(fields: Iterable[str]) -> str | None:
    """The only field that can hold the options; None if that is not clear."""
    names = list(fields)
    named = [name for name in names if name in ("options", "choices")]
    found = named or (names if len(names) == 1 else [name for name in names if name == "question"])
    return found[0] if len(found) == 1 else None


class _Order(NamedTuple):
    shown: Any
    """The field as a member sees it."""
    original: Mapping[str, str]
    """The letter in the order given, by the letter shown; empty where letters are no places."""


def _options(value: Any) -> list[str]:
    """The options' texts: a list's, or those of the lettered lines."""
    if isinstance(value, list | tuple):
        return [str(option) for option in value]
    return [line[4] for line in _lettered(value)] if isinstance(value, str) else []


def _lettered(text: str) -> list[re.Match[str]]:
    """The last lines that are lettered from A on; a line such as "Q. Choose:" may precede them."""
    found = list(_OPTION.finditer(text))
    start = max((place for place, line in enumerate(found) if line[2] == "A"), default=0)
    letters = "".join(line[2] for line in found[start:])
    return found[start:] if string.ascii_uppercase.startswith(letters) else []


def _shuffled(value: Any, member: int) -> _Order:
    """The options in the member's order, which depends on nothing but them and its place."""
    options = _options(value)
    order = list(range(len(options)))
    if member:
        random.Random(f"{member}/{options}").shuffle(order)
    original = {chr(ord("A") + p): chr(ord("A") + source) for p, source in enumerate(order)}
    # an option that is a letter, or begins with one, takes it along
    lettered = any(_LETTER.fullmatch(option) or _OPTION.match(option) for option in options)
    places = isinstance(value, str) or not lettered
    return _Order(_written(value, order), original if places else {})


def _written(value: Any, order: Sequence[int]) -> Any:
    if not isinstance(value, str):
        return [value[source] for source in order]
    lines, written, end = _lettered(value), "", 0
    for line, source in zip(lines, order, strict=True):
        written += value[end : line.start(4)] + lines[source][4]
        end = line.end(4)
    return written + value[end:]


def _restored(value: Any, original: Mapping[str, str]) -> Any:
    """A single letter as in the original order; other answers stay as they are."""
    found = _LETTER.fullmatch(value) if isinstance(value, str) else None
    letter = original.get(found[1].upper()) if found else None
    if found is None or letter is None:
        return value
    same_case = letter if found[1].isupper() else letter.lower()
    return value[: found.start(1)] + same_case + value[found.end(1) :]
