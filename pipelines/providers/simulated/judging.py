"""The roles that judge candidates: a diagnoser that rates, a verifier, and a judge that picks.

A judging model first solves the item itself, and so rates its own mistakes high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.providers.simulated.answers import (
    as_object,
    extract_answer,
    listed_texts,
    same_answer,
)
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import REASONING_NAMES, Answer, ParsedRequest
from pipelines.providers.simulated.roles import Case, read_case
from pipelines.providers.simulated.tasks import Solution


@dataclass(frozen=True)
class Candidate:
    """One output of the module under judgement."""

    label: str
    fields: Mapping[str, Any]
    """Its output fields, without thoughts and confidence."""

    def value(self, solution: Solution) -> str:
        """Return its answer: the last field that is no by-product of the task."""
        values = [value for name, value in self.fields.items() if name not in solution.extras]
        return extract_answer(str(values[-1]), solution.right) if values else ""


class Judging:
    """What all judging has in common: beside its own solution, a candidate looks good or bad."""

    def assess(self, mind: Mind, case: Case, candidate: Candidate, skill: str) -> float:
        """Return how good a candidate looks, from about 0 to about 1: its worst field decides."""
        fields = candidate.fields.items()
        return min(
            (self.assess_field(mind, case, n, str(v), skill) for n, v in fields), default=0.0
        )

    def assess_field(self, mind: Mind, case: Case, name: str, text: str, skill: str) -> float:
        """Return how good one field of the candidate looks."""
        solution = case.solution
        if name in solution.extras:
            text = solution.right if text == solution.extras[name] else text
        return mind.assess(solution, extract_answer(text, solution.right), skill)


class Diagnose(Judging):
    """Rates `candidates`, outputs of one module of a pipeline, 0 to 10 each, in a list `ratings`.

    Fields that appear in the desired final answer are compared with it, which is easy (skill
    `compare`). Otherwise the model solves the module's item itself (skill `diagnose`).
    """

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        asked = [o.name for o in request.wanted if "rating" in o.name and "list" in o.type]
        candidates = numbered_candidates(request)
        if not asked or not candidates:
            return None
        inputs = {"inputs": request.inputs.get("inputs", "")}
        module = ParsedRequest(request.inputs.get("module", ""), inputs, ())
        case = read_case(module, _values(candidates))
        desired = as_object(request.inputs.get("desired_final_answer", "")) or {}
        ratings = [self._rate(mind, case, candidate, desired) for candidate in candidates]
        shown = [round(10 * min(1.0, max(0.0, rating))) for rating in ratings]
        worst = candidates[shown.index(min(shown))].label
        comment = f"Candidate {worst} fits what the module received least."
        return Answer(comment, dict.fromkeys(asked, shown), comment=comment)

    def _rate(
        self, mind: Mind, case: Case | None, candidate: Candidate, desired: Mapping[str, Any]
    ) -> float:
        outputs = candidate.fields
        shared = [name for name in outputs if name in desired]
        if shared:
            return min(_compared(mind, str(outputs[n]), str(desired[n])) for n in shared)
        if case is None:
            return 0.5 + 0.2 * mind.latent("no idea", *map(str, outputs.values()))
        return self.assess(mind, case, candidate, "diagnose")


class Verify(Judging):
    """Accepts a `candidate` that looks more right than wrong; also gives a `score` or `grade`."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        asked = [out.name for out in request.wanted if out.type == "bool"]
        scored = any(
            out.type == "float" and out.name in ("score", "grade") for out in request.wanted
        )
        candidate = read_candidate("1", request.inputs.get("candidate", ""))
        case = judged_case(request, "candidate", [candidate]) if asked or scored else None
        if case is None or "candidate" not in request.inputs:
            return None
        return self.verdict(request, mind, case, candidate, dict.fromkeys(asked, (True, False)))

    def verdict(
        self,
        request: ParsedRequest,
        mind: Mind,
        case: Case,
        candidate: Candidate,
        asked: Mapping[str, tuple[Any, Any]],
    ) -> Answer:
        """Return whether it is accepted, in the words of each field asked for, and its score."""
        shown = candidate.value(case.solution)
        seeming = min(1.0, max(0.0, self.assess(mind, case, candidate, "verify")))
        accepts = seeming > 0.5
        comment = f"The answer {shown} {'holds up' if accepts else 'does not hold up'}."
        verdicts = {name: words[0 if accepts else 1] for name, words in asked.items()}
        scores = {out.name: round(seeming, 2) for out in request.wanted if out.type == "float"}
        sure, certainty = accepts == (shown == case.solution.right), max(seeming, 1.0 - seeming)
        return Answer(comment, {**scores, **verdicts}, sure, certainty, comment)


class Judge(Judging):
    """Picks one of `candidates` by its number, the first where two look alike."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        asked = [output.name for output in request.wanted if output.type == "int"]
        candidates = numbered_candidates(request)
        case = judged_case(request, "candidates", candidates) if asked and candidates else None
        return self.choice(mind, case, candidates, asked) if case else None

    def choice(
        self, mind: Mind, case: Case, candidates: Sequence[Candidate], asked: Sequence[str]
    ) -> Answer:
        """Return the best candidate's label, in the fields asked for."""
        ratings = [self.assess(mind, case, candidate, "judge") for candidate in candidates]
        best = ratings.index(max(ratings))
        label, value = candidates[best].label, candidates[best].value(case.solution)
        comment = f"Candidate {label} answers {value}, which fits best."
        sure = value == case.solution.right
        return Answer(comment, dict.fromkeys(asked, label), sure, ratings[best], comment)


def read_candidate(label: str, text: str) -> Candidate:
    """Return the candidate that a text shows: a JSON object of output fields, or a bare answer."""
    outputs = as_object(text)
    outputs = {"answer": text} if outputs is None else outputs
    hidden = {*REASONING_NAMES, "confidence"}
    return Candidate(label, {n: value for n, value in outputs.items() if n not in hidden})


def numbered_candidates(request: ParsedRequest) -> tuple[Candidate, ...]:
    """Return the entries of the input `candidates`; none without such a list."""
    listed = listed_texts(request.inputs.get("candidates", ""))
    return tuple(read_candidate(label, text) for label, text in listed)


def judged_case(request: ParsedRequest, field: str, candidates: Sequence[Candidate]) -> Case | None:
    """Return what the module was asked whose candidates stand in the input `field`."""
    inputs = {name: text for name, text in request.inputs.items() if name != field}
    return read_case(replace(request, inputs=inputs), _values(candidates))


def _values(candidates: Sequence[Candidate]) -> list[str]:
    return [str(value) for candidate in candidates for value in candidate.fields.values()]


def _compared(mind: Mind, value: str, desired: str) -> float:
    """Return the rating against the desired answer, now and then misread."""
    equal = same_answer(extract_answer(value, desired), desired)
    if not mind.passes("compare", repr((value, desired))):
        equal = not equal
    return (0.93 if equal else 0.07) + 0.05 * mind.latent("rating", value, desired)
