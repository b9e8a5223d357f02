"""Module scores: how good each model is in each module, turn by turn, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Decision = Literal["kept", "chosen", "promising", "eliminated", "not rated"]
"""What a turn made of a model in a module: the incumbent had it and still has it (`kept`); the
incumbent has it now (`chosen`); it may still replace the incumbent's (`promising`); it may not, in
this turn (`eliminated`); or it may, but nothing has been measured or rated yet (`not rated`)."""


@dataclass(frozen=True)
class ModuleScore:
    """One model in one module, as a turn of the loop left it (LLMSelector, arXiv 2502.14815)."""

    module: str
    """The module's name; of an aggregator's role its path, such as `solve.judge`."""
    model: str
    """The model's label."""
    turn: int
    """The round of the loop, from 1."""
    examples: int
    """How many examples `rating` is the mean of; 0 without a diagnoser. Where all models returned
    the same output, the example counts as rated 1 without a question to the diagnoser."""
    rating: float | None
    """Mean in [0, 1] of the diagnoser's ratings of what this model returned, on inputs that all
    models of the module received; an output that failed is rated 0. None if nothing was rated."""
    agreement: float | None
    """Share in [0, 1] of the comparisons in which the diagnoser's ratings of this module ordered
    outputs as the measured scores did; one figure for all models of the module. None where nothing
    could be compared."""
    measured: float | None
    """The search's estimate in [0, 1] of the end-to-end score with this model in the module and all
    else as in the incumbent at the end of the turn; None if that was never run."""
    measured_se: float | None
    """Standard error of `measured`; None if that is None."""
    decision: Decision


def latest_scores(scores: Sequence[ModuleScore]) -> list[ModuleScore]:
    """The last one of each module and model, in the order in which they were first scored."""
    return list({(score.module, score.model): score for score in scores}.values())


def module_score_rows(scores: Sequence[ModuleScore], diagnoser: str | None) -> list[dict[str, Any]]:
    """The scores as plain data, each with the label of the diagnoser's model."""
    return [{**asdict(score), "diagnoser": diagnoser} for score in scores]


def module_scores_frame(scores: Sequence[ModuleScore], diagnoser: str | None) -> pd.DataFrame:
    """One row per module, model and turn; figures are NaN where there is no value.

    Args:
        scores: in the order in which they are shown.
        diagnoser: label of the model that rated; None if none did.
    """
    import pandas as pd  # 0.3 s

    columns = [*(field.name for field in fields(ModuleScore)), "diagnoser"]
    frame = pd.DataFrame(module_score_rows(scores, diagnoser), columns=columns)
    figures = ["rating", "agreement", "measured", "measured_se"]
    return frame.astype(dict.fromkeys(figures, float))
