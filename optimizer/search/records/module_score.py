"""Module scores: how good each model is in each module, turn by turn, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Decision = Literal["kept", "chosen", "promising", "eliminated", "not rated", "members differ"]
"""What a turn decided on a model in a module: the incumbent had it and still has it (`kept`); the
incumbent has it now (`chosen`); it is better than the incumbent's with a probability of at least 5%
(`promising`) or less (`eliminated`); there is no estimate of it (`not rated`); or the module's
members ask different models, which are left to the structure stage (`members differ`)."""


@dataclass(frozen=True)
class ModuleScore:
    """One model in one module after a turn of the loop (LLMSelector, arXiv 2502.14815)."""

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
    """Share in [0, 1] of the pairs of models that `rating` and `measured` order alike, ties apart;
    one figure for all models of the module. None without such pairs. The ratings inform `measured`,
    so models that hardly ran agree by construction."""
    measured: float | None
    """Posterior mean of the end-to-end score with this model in the module and all else as in the
    incumbent at the end of the turn, whether or not that ran; None if it was no candidate, or the
    turn ended before there were any."""
    measured_se: float | None
    """Posterior standard deviation of `measured`; None if that is None."""
    decision: Decision


def latest_scores(scores: Sequence[ModuleScore]) -> list[ModuleScore]:
    """Each module's scores of its last turn with figures; of its last turn if none has any."""
    turns = {score.module: score.turn for score in scores}
    known = (score for score in scores if (score.rating, score.measured) != (None, None))
    turns |= {score.module: score.turn for score in known}
    return [score for score in scores if score.turn == turns[score.module]]


def module_score_rows(scores: Sequence[ModuleScore], diagnoser: str | None) -> list[dict[str, Any]]:
    """The scores as plain data to four digits, each with the label of the diagnoser's model."""
    rows = [{**asdict(score), "diagnoser": diagnoser} for score in scores]
    return [{k: round(v, 4) if isinstance(v, float) else v for k, v in r.items()} for r in rows]


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
