"""Several debaters that see each other's answers and may change their own, and a final decision."""

from __future__ import annotations

from typing import Literal

from pipelines import aggregators
from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from pipelines.patterns.question import parse_question
from pipelines.spec.pipeline import Pipeline

DEBATE = (
    "Other agents answered the same question. Weigh their answers against your own, and give "
    "your updated answer."
)
DECIDE = "Several agents debated the question. Give the final answer."


def multi_agent_debate(
    debaters: int = 3,
    rounds: int = 2,
    signature: str = "question -> answer",
    *,
    final: Literal["model", "vote"] = "model",
    temperature: float | None = 0.7,
) -> Pipeline:
    """Modules `debater_1_round_1` and so on, and `final` (arXiv 2305.14325).

    In the first round each debater answers alone; in each later one it reads its own last answer
    and those of the others.

    Args:
        debaters: how many, at least 2.
        rounds: how many, at least 1.
        signature: of the whole; one output, the answer.
        final: who decides: a language model that reads the last answers, or their majority.
        temperature: of the debaters. Above 0, so that debaters of one model differ in the first
            round; with None or 0 they give the same answer.
    """
    if debaters < 2 or rounds < 1:
        got = f"(debaters={debaters}, rounds={rounds})"
        raise PipelineError(f"debaters >= 2 and rounds >= 1 must hold, but got {got}")
    if final not in ("model", "vote"):
        raise PipelineError(f"final must be 'model' or 'vote', but got {final!r}")
    asked = parse_question(signature)
    answer, kind, everyone = asked.answer, asked.kind, range(1, debaters + 1)
    seen = [f"own_{answer}", *(f"other_{answer}_{number}" for number in range(1, debaters))]
    debate = f"{asked.reading(*(f'{field}{kind}' for field in seen))} -> {answer}{kind}"
    modules = []
    for turn in range(1, rounds + 1):
        for debater in everyone:
            rename = {answer: f"{answer}_{debater}_round_{turn}"}
            if turn > 1:
                order = [debater, *(other for other in everyone if other != debater)]
                before = [f"{answer}_{each}_round_{turn - 1}" for each in order]
                rename |= dict(zip(seen, before, strict=True))
            name = f"debater_{debater}_round_{turn}"
            read, prompt = (signature, None) if turn == 1 else (debate, DEBATE)
            modules.append(
                Module(name, read, instructions=prompt, temperature=temperature, rename=rename)
            )
    ballots = [f"{answer}_{debater}_round_{rounds}{kind}" for debater in everyone]
    if final == "vote":
        text = f"{', '.join(ballots)} -> {answer}{kind}"
        closing = Module("final", text, function=aggregators.majority_vote)
    else:
        text = f"{asked.reading(*ballots)} -> {answer}{kind}"
        closing = Module("final", text, instructions=DECIDE)
    return Pipeline("multi-agent-debate", [*modules, closing])
