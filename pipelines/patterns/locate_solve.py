"""Find the task, then solve it."""

from __future__ import annotations

from pipelines.modules.module import Module
from pipelines.modules.signature import Strategy
from pipelines.spec.pipeline import Pipeline


def locate_solve(
    locate: str = "table, question -> task",
    solve: str = "task -> answer",
    *,
    locate_instructions: str | None = "Extract the task whose ID is asked for.",
    solve_instructions: str | None = None,
    strategy: Strategy = "predict",
) -> Pipeline:
    """Two modules: `locate` finds one task in a table of many, `solve` solves it.

    After the synthetic pipeline of LLMSelector (arXiv 2502.14815), where no single model is good
    at both.

    Args:
        locate: signature of the first module.
        solve: signature of the second, which reads what the first writes.
        locate_instructions: of the first module; None leaves DSPy's sentence.
        solve_instructions: of the second module.
        strategy: of both modules.
    """
    return Pipeline(
        "locate-solve",
        [
            Module("locate", locate, instructions=locate_instructions, strategy=strategy),
            Module("solve", solve, instructions=solve_instructions, strategy=strategy),
        ],
    )
