"""Cheap models first, and stronger ones only where these are in doubt."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from pipelines.aggregators.aggregator import (
    Aggregator,
    Answer,
    Members,
    Verdict,
    elect,
    validated,
    vote,
)
from pipelines.aggregators.normalising import admits_doubt, normalised
from pipelines.aggregators.role import YES_OR_NO
from pipelines.aggregators.selection.checking import accepted
from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from search_spaces import MemberConfig, ModuleConfig

CONFIDENCE = "confidence"
"""The output field in which models state their confidence."""


@validated
class Cascade(Aggregator):
    """Steps of members, each asked only if the one before is in doubt (FrugalGPT, 2305.05176).

    A step's answer is the vote of its members. It is accepted if all tests pass that apply: enough
    of them agree (where there are several), the `verifier` says yes (where there is one), the field
    `confidence` is high enough (where that is asked for), and it is not "I don't know". The last
    step is always accepted; if it fails or is empty, the answer before it is kept.
    """

    roles: ClassVar = {"verifier": YES_OR_NO}

    steps: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """How many members each step has, in their order; by default neighbours of one model, prompt
    and temperature are a step."""
    agreement: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of a step's members that must agree."""
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    """The least value of the output field `confidence` (0 to 1, or up to 100), if it counts; that
    field then is no part of what members must agree on."""

    choices: ClassVar = {"agreement": (0.6, 1.0)}

    def check(self, config: ModuleConfig, module: Module) -> None:
        """At least two steps that hold all members; a field to read the confidence from."""
        sizes = self.sizes(config.resolved_members)
        if len(sizes) < 2:
            raise PipelineError(
                "a cascade needs at least two steps, such as a cheap model and a stronger one, but "
                f"got one: {list(config.labels)}"
            )
        if sum(sizes) != config.width:
            raise PipelineError(
                f"steps must add up to the width {config.width}, but got {list(sizes)}"
            )
        if self.confidence is not None and CONFIDENCE not in module.output_fields:
            raise PipelineError(
                f"confidence={self.confidence} needs an output field {CONFIDENCE!r}, but there are "
                f"{list(module.output_fields)}"
            )

    def sizes(self, members: Sequence[MemberConfig]) -> tuple[int, ...]:
        """How many members each step has."""
        return self.steps or tuple(len(list(run)) for _, run in itertools.groupby(members))

    def aggregate(self, members: Members) -> Verdict | None:
        answers: list[Answer] = []
        asked, best = 0, None
        beside = () if self.confidence is None else (CONFIDENCE,)
        ends = itertools.accumulate(self.sizes(members.configs), initial=0)
        steps = [range(start, end) for start, end in itertools.pairwise(ends)]
        for step in steps:
            given = [replace(answer, beside=beside) for answer in members.ask(step)]
            answers += given
            asked += len(step)
            verdict = vote(given, len(step))
            if verdict is None or (best and verdict.answer.empty):
                continue
            best = verdict
            convincing = self._convinces(verdict, len(step))
            if step is steps[-1] or (convincing and "verifier" not in members.roles):
                break
            if not _says_nothing(best.answer):
                members.provisional(elect(best.answer, answers, len(members.models)))
            if convincing and accepted(members, "verifier", [best.answer])[0]:
                break
        return elect(best.answer, answers, asked) if best else None

    def _convinces(self, verdict: Verdict, width: int) -> bool:
        """Whether it passes all tests but the verifier's."""
        answer = verdict.answer
        if _says_nothing(answer):
            return False
        if width > 1 and verdict.agreement < self.agreement - 1e-9:
            return False
        least = self.confidence
        return least is None or least <= _stated_confidence(answer) <= 1  # NaN is neither


def _says_nothing(answer: Answer) -> bool:
    return answer.empty or admits_doubt(answer.record)


def _stated_confidence(answer: Answer) -> float:
    """The stated confidence as a share; NaN if it is no number."""
    text = normalised(answer.record[CONFIDENCE])
    try:
        stated = float(text.removesuffix("%"))
    except ValueError:
        return math.nan
    return stated / 100 if stated > 1 or text.endswith("%") else stated
