"""Given a task, a draft and feedback, answer: follow the feedback, think again, or stand firm."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.worlds.case import Case, main_text, read_case
from benchmarks.worlds.feedback import Feedback, is_feedback, read_feedback
from benchmarks.worlds.models import persuadability
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import Answer, ParsedRequest, extract_answer, same_answer


def refine(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Return the answer, where some input gives feedback.

    Good feedback repairs a draft; bad feedback misleads, the more so the persuadable.
    """
    case = read_case(request)
    if case is None:
        return None
    notes = [name for name, text in case.others.items() if is_feedback(name, text)]
    if not notes:
        return None
    like = case.solution.right
    drafts = [text for name, text in case.others.items() if name not in notes]
    draft = extract_answer(main_text(drafts[0]), like) if drafts else None
    feedback = read_feedback(case.others[notes[-1]])
    value = _decide(mind, case, draft, feedback)
    return Answer(value, sure=value == like, confidence=mind.believe(case.solution).confidence)


def _decide(mind: Mind, case: Case, draft: str | None, feedback: Feedback) -> str:
    """Return the draft, the suggestion, or a thought of its own."""
    solution = case.solution
    own = mind.believe(solution).value
    firmness = 1.0 - persuadability(mind)
    follows = mind.luck("follows feedback", solution.item) > 0.5 * firmness
    if draft is not None and feedback.approves and follows:
        return draft
    if feedback.suggestion and (follows or same_answer(feedback.suggestion, own)):
        return extract_answer(feedback.suggestion, solution.right)
    # trying once more, less bound to its first thought
    again = replace(mind, variant=mind.variant + "again", temperature=mind.temperature + 1.0)
    if draft is not None and feedback.approves is False and same_answer(own, draft) and follows:
        return again.believe(solution).value
    return own
