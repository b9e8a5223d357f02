"""Runs that are not trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Probe:
    """Runs that informed the search without being trials."""

    kind: Literal["module", "prompt"]
    """`module`: one module alone, on what it receives in the incumbent, for the diagnoser to rate.
    `prompt`: the whole pipeline with a prompt that one of DSPy's optimizers tried."""
    stage: str
    """The stage that ran it, as in trials' tags."""
    turn: int
    """The round of the loop, from 1."""
    base: int | None
    """Number of the last trial of the config in which the module stood, or from which the prompt
    departed."""
    module: str
    model: str
    """Labels of the models that the module asked, joined by commas."""
    examples: int
    """How many examples it ran on; answers from the cache included."""
    score: float | None
    """In [0, 1]: a module's mean rating, or a prompt's mean score end to end. None if unknown."""
    usd: float
    """Dollars of these runs at recorded prices, those from the cache included."""
    detail: str = ""
    """For a prompt, the optimizer and what it changed."""

    @property
    def findings(self) -> tuple[str | float | None, ...]:
        """Its run and figures, without stage, turn and base."""
        ran = self.kind, self.module, self.model, self.detail
        return (*ran, self.examples, self.score, self.usd)


def probes_frame(probes: Sequence[Probe]) -> pd.DataFrame:
    """One row per probe; `score` is NaN where it is unknown."""
    import pandas as pd  # 0.3 s

    columns = [field.name for field in fields(Probe)]
    frame = pd.DataFrame([asdict(probe) for probe in probes], columns=columns)
    return frame.astype({"score": float})
