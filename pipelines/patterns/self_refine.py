"""Write a draft, criticise it, write it anew."""

from __future__ import annotations

from pipelines.modules.module import Module
from pipelines.patterns.question import parse_question
from pipelines.spec.pipeline import Pipeline

CRITICISE = "Criticise the draft: say what is wrong and how to mend it."
REFINE = "Improve the draft by means of the feedback."


def self_refine(
    signature: str = "task -> answer", *, draft: str = "draft", feedback: str = "feedback"
) -> Pipeline:
    """Three modules: `generate`, `criticise`, `refine` (arXiv 2303.17651, one round).

    Args:
        signature: of the whole; one output, the answer.
        draft: name of the field between generate and the other two.
        feedback: name of the field between criticise and refine.
    """
    asked = parse_question(signature)
    written = f"{draft}{asked.kind}"
    refined = f"{asked.reading(written, feedback)} -> {asked.answer}{asked.kind}"
    return Pipeline(
        "self-refine",
        [
            Module("generate", f"{asked.inputs} -> {written}"),
            Module("criticise", f"{asked.reading(written)} -> {feedback}", instructions=CRITICISE),
            Module("refine", refined, instructions=REFINE),
        ],
    )
