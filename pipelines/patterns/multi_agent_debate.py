"""Several debaters, who see each other's answers and may change their own, and a final decision."""

from __future__ import annotations

from typing import Literal

from pipelines import aggregators
from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from pipelines.patterns.question import Question, parse_question
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
    modules = [
        Module(
            f"debater_{debater}_round_{turn}",
            signature if turn == 1 else _debate(asked, debaters),
            instructions=None if turn == 1 else DEBATE,
            temperature=temperature,
            rename=_wiring(asked, debater, turn, debaters),
        )
        for turn in range(1, rounds + 1)
        for debater in range(1, debaters + 1)
    ]
    last = [_field(asked, debater, rounds) for debater in range(1, debaters + 1)]
    ballots = [f"{field}{asked.kind}" for field in last]
    written = f"{asked.answer}{asked.kind}"
    if final == "vote":
        text = f"{', '.join(ballots)} -> {written}"
        closing = Module("final", text, function=aggregators.majority_vote)
    else:
        text = f"{asked.reading(*ballots)} -> {written}"
        closing = Module("final", text, instructions=DECIDE)
    return Pipeline("multi-agent-debate", [*modules, closing])


def _debate(asked: Question, debaters: int) -> str:
    others = [f"other_{asked.answer}_{number}{asked.kind}" for number in range(1, debaters)]
    own = f"own_{asked.answer}{asked.kind}"
    return f"{asked.reading(own, *others)} -> {asked.answer}{asked.kind}"


def _wiring(asked: Question, debater: int, turn: int, debaters: int) -> dict[str, str]:
    rename = {asked.answer: _field(asked, debater, turn)}
    if turn > 1:
        rename[f"own_{asked.answer}"] = _field(asked, debater, turn - 1)
        others = (number for number in range(1, debaters + 1) if number != debater)
        for place, other in enumerate(others, start=1):
            rename[f"other_{asked.answer}_{place}"] = _field(asked, other, turn - 1)
    return rename


def _field(asked: Question, debater: int, turn: int) -> str:
    return f"{asked.answer}_{debater}_round_{turn}"
