"""Write a draft, criticise it, write it anew."""

from __future__ import annotations

from pipelines.modules.module import Module
from pipelines.modules.signature import Strategy
from pipelines.patterns.question import parse_question
from pipelines.spec.pipeline import Pipeline


def self_refine(
    signature: str = "task -> answer",
    *,
    draft: str = "draft",
    feedback: str = "feedback",
    generate_instructions: str | None = None,
    criticise_instructions: str
    | None = "Criticise the draft: say what is wrong and how to mend it.",
    refine_instructions: str | None = "Improve the draft by means of the feedback.",
    strategy: Strategy = "predict",
) -> Pipeline:
    """Three modules: `generate`, `criticise`, `refine` (arXiv 2303.17651, one round).

    Args:
        signature: of the whole; one output, the answer.
        draft: name of the field between generate and the other two.
        feedback: name of the field between criticise and refine.
        generate_instructions: of the first module; None leaves DSPy's sentence.
        criticise_instructions: of the second module.
        refine_instructions: of the third module.
        strategy: of all modules.
    """
    asked = parse_question(signature)
    written, judged = f"{draft}{asked.kind}", feedback
    steps = [
        ("generate", f"{asked.inputs} -> {written}", generate_instructions),
        ("criticise", f"{asked.reading(written)} -> {judged}", criticise_instructions),
        (
            "refine",
            f"{asked.reading(written, judged)} -> {asked.answer}{asked.kind}",
            refine_instructions,
        ),
    ]
    return Pipeline(
        "self-refine",
        [
            Module(name, text, instructions=prompt, strategy=strategy)
            for name, text, prompt in steps
        ],
    )
