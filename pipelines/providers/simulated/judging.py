"""The roles that judge candidates: a diagnoser that rates, a verifier, and a judge that picks.

A judging model first solves the item itself, and so rates its own mistakes high. A candidate is a
JSON object of output fields, or a bare answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import (
    REASONING_NAMES,
    Answer,
    ParsedRequest,
    as_object,
    extract_answer,
    listed_texts,
    same_answer,
)
from pipelines.providers.simulated.roles import read_solution
from pipelines.providers.simulated.tasks import Solution

Candidate = Mapping[str, Any]
"""The output fields of the module under judgement, without thoughts and confidence."""


def diagnose(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Rate `candidates`, outputs of one module of a pipeline; see `rate`."""
    if "candidates" not in request.inputs:
        return None
    solution = read_solution(module_request(request), values_of(numbered_candidates(request)))
    return rate(request, mind, lambda each: looks(mind, solution, each, "diagnose"))


def rate(request: ParsedRequest, mind: Mind, assess: Callable[[Candidate], float]) -> Answer | None:
    """Rate the candidates, 0 to 10 each, in a list `ratings`.

    Fields that appear in the desired final answer are compared with it, which is easy (skill
    `compare`). Otherwise `assess` says how good a candidate looks.
    """
    asked = [o.name for o in request.wanted if "rating" in o.name and "list" in o.type]
    candidates = numbered_candidates(request)
    if not asked or not candidates:
        return None
    desired = as_object(request.inputs.get("desired_final_answer", "")) or {}
    ratings = []
    for candidate in candidates.values():
        shared = [name for name in candidate if name in desired]
        compared = (_compared(mind, str(candidate[n]), str(desired[n])) for n in shared)
        rating = min(compared) if shared else assess(candidate)
        ratings.append(round(10 * min(1.0, max(0.0, rating))))
    worst = list(candidates)[ratings.index(min(ratings))]
    comment = f"Candidate {worst} fits what the module received least."
    return Answer(comment, dict.fromkeys(asked, ratings), comment=comment)


def verify(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Accept a `candidate` that looks more right than wrong; also give a `score` or `grade`."""
    asked = {out.name: (True, False) for out in request.wanted if out.type == "bool"}
    scored = any(o.type == "float" and o.name in ("score", "grade") for o in request.wanted)
    if "candidate" not in request.inputs or not (asked or scored):
        return None
    candidate = read_candidate(request.inputs["candidate"])
    solution = read_solution(without(request, "candidate"), values_of({"": candidate}))
    if solution is None:
        return None
    seeming = looks(mind, solution, candidate, "verify")
    return verdict(request, solution, answer_in(candidate, solution), seeming, asked)


def verdict(
    request: ParsedRequest, solution: Solution, shown: str, seeming: float,
    asked: Mapping[str, tuple[Any, Any]],
) -> Answer:  # fmt: skip
    """Say if the answer shown is accepted, in each field's words for yes and no, and score it."""
    seeming = min(1.0, max(0.0, seeming))
    accepts = seeming > 0.5
    comment = f"The answer {shown} {'holds up' if accepts else 'does not hold up'}."
    verdicts = {name: yes if accepts else no for name, (yes, no) in asked.items()}
    scores = {out.name: round(seeming, 2) for out in request.wanted if out.type == "float"}
    sure = accepts == (shown == solution.right)
    return Answer(comment, {**scores, **verdicts}, sure, max(seeming, 1.0 - seeming), comment)


def judge(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Pick one of `candidates` by its number."""
    asked = [output.name for output in request.wanted if output.type == "int"]
    candidates = numbered_candidates(request)
    if not asked or not candidates:
        return None
    solution = read_solution(without(request, "candidates"), values_of(candidates))
    if solution is None:
        return None
    seeming = {label: looks(mind, solution, each, "judge") for label, each in candidates.items()}
    return choose(asked, candidates, solution, seeming)


def choose(
    asked: Iterable[str], candidates: Mapping[str, Candidate], solution: Solution,
    seeming: Mapping[str, float],
) -> Answer:  # fmt: skip
    """Give the label of the candidate that looks best, the first where two look alike."""
    best = max(seeming, key=lambda label: seeming[label])
    value = answer_in(candidates[best], solution)
    comment = f"Candidate {best} answers {value}, which fits best."
    sure = value == solution.right
    return Answer(comment, dict.fromkeys(asked, best), sure, seeming[best], comment)


def read_candidate(text: str) -> Candidate:
    """The candidate that a text shows."""
    outputs = as_object(text)
    hidden = {*REASONING_NAMES, "confidence"}
    shown = {"answer": text} if outputs is None else outputs
    return {name: value for name, value in shown.items() if name not in hidden}


def numbered_candidates(request: ParsedRequest) -> dict[str, Candidate]:
    """The entries of the input `candidates`, by their labels; none without such a list."""
    listed = listed_texts(request.inputs.get("candidates", ""))
    return {label: read_candidate(text) for label, text in listed}


def module_request(request: ParsedRequest) -> ParsedRequest:
    """What the module was asked whose outputs are to be diagnosed."""
    inputs = {"inputs": request.inputs.get("inputs", "")}
    return ParsedRequest(request.inputs.get("module", ""), inputs, ())


def without(request: ParsedRequest, field: str) -> ParsedRequest:
    """The request without one of its inputs."""
    inputs = {name: text for name, text in request.inputs.items() if name != field}
    return replace(request, inputs=inputs)


def values_of(candidates: Mapping[str, Candidate]) -> list[str]:
    """All that stands in the fields of the candidates."""
    return [str(value) for each in candidates.values() for value in each.values()]


def answer_in(candidate: Candidate, solution: Solution) -> str:
    """The last field that is no by-product of the task."""
    values = [value for name, value in candidate.items() if name not in solution.extras]
    return extract_answer(str(values[-1]), solution.right) if values else ""


def looks(mind: Mind, solution: Solution | None, candidate: Candidate, skill: str) -> float:
    """How good a candidate looks, from about 0 to about 1: its worst field decides."""
    if solution is None:
        return 0.5 + 0.2 * mind.latent("no idea", *map(str, candidate.values()))
    texts = [
        solution.right if str(text) == solution.extras.get(name) else str(text)
        for name, text in candidate.items()
    ]
    shown = (extract_answer(text, solution.right) for text in texts)
    return min((mind.assess(solution, text, skill) for text in shown), default=0.0)


def _compared(mind: Mind, value: str, desired: str) -> float:
    """The rating against the desired answer, now and then misread."""
    equal = same_answer(extract_answer(value, desired), desired)
    if not mind.passes("compare", repr((value, desired))):
        equal = not equal
    return (0.93 if equal else 0.07) + 0.05 * mind.latent("rating", value, desired)
