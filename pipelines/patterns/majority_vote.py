"""Several solvers and a vote."""

from __future__ import annotations

from pipelines import aggregators
from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from pipelines.modules.signature import Strategy
from pipelines.patterns.question import parse_question
from pipelines.spec.pipeline import Pipeline


def majority_vote(
    n: int = 3,
    signature: str = "question -> answer",
    *,
    instructions: str | None = None,
    strategy: Strategy = "predict",
    temperature: float | None = 0.7,
) -> Pipeline:
    """Modules `solver_1` to `solver_n`, which answer side by side, and a function `vote`.

    Args:
        n: how many solvers, at least 1.
        signature: of each solver and of the whole; one output, the answer.
        instructions: the solvers' instructions; None leaves DSPy's sentence.
        strategy: of the solvers.
        temperature: of the solvers. Above 0, so that solvers of one model differ from each
            other; with None or 0 they give the same answer.
    """
    if n < 1:
        raise PipelineError(f"n >= 1 must hold, but got {n}")
    asked = parse_question(signature)
    ballots = [f"{asked.answer}_{number}" for number in range(1, n + 1)]
    solvers = [
        Module(
            f"solver_{number}",
            signature,
            instructions=instructions,
            strategy=strategy,
            temperature=temperature,
            rename={asked.answer: ballot},
        )
        for number, ballot in enumerate(ballots, start=1)
    ]
    read = ", ".join(f"{ballot}{asked.kind}" for ballot in ballots)
    vote = Module(
        "vote", f"{read} -> {asked.answer}{asked.kind}", function=aggregators.majority_vote
    )
    return Pipeline("majority-vote", [*solvers, vote])
