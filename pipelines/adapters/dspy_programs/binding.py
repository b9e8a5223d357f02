"""The binding of a running program's predictor, and its memo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import dspy

from pipelines.adapters.dspy_programs.run import Visit
from pipelines.programs.binding import BoundModule
from pipelines.programs.engine import GatewayLM
from pipelines.programs.members import Network
from pipelines.programs.memo import Memo
from pipelines.programs.parsed import ParsedOutputs
from pipelines.programs.trace import MemoKey


@dataclass(eq=False)
class Binding:
    """What a predictor is bound to; copies that a program makes of the predictor share it."""

    bound: BoundModule
    lm: GatewayLM
    """The predictor's `lm`; see `TunedPredict`."""
    member: GatewayLM
    """The model that is asked; the first, if there are several."""
    network: Network | None
    """The members, if there are several."""
    memo: Memo | None
    parsed: ParsedOutputs | None
    """What a single member said before; None where more than the config decides its prompts."""
    state: tuple[Any, ...] = ()
    """Of the predictor as it was bound; see `state_of`."""
    had_lm: bool = False
    """Whether the program's own predictor has an LM, and not just that of DSPy's settings."""

    def key(self, inputs: Mapping[str, Any]) -> MemoKey | None:
        """The key of a step on these inputs; None if it is not remembered."""
        return None if self.memo is None else self.bound.memo_key(inputs)

    def recall(self, key: MemoKey | None) -> Visit | None:
        """A copy of the remembered visit, or of one that another run is making right now.

        None if there is none: the caller then makes the visit, and must `remember` it.
        """
        if self.memo is None or key is None:
            return None
        while True:
            flight, is_mine = self.memo.claim(key)
            if is_mine:
                return None
            known: Visit | None = flight.result()
            if known is not None:
                return known.copied()

    def remember(self, key: MemoKey | None, visit: Visit) -> None:
        """Hand the visit to waiting runs, and keep it unless it is transient."""
        if self.memo is not None and key is not None:
            self.memo.land(key, visit.copied() if visit.is_shareable else None, lasts=visit.lasts)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def state_of(predictor: dspy.Predict) -> tuple[Any, ...]:
    """What a config sets; it differs once the program has changed the predictor."""
    demos = tuple(map(id, predictor.demos))
    return (id(predictor.signature), id(predictor.lm), demos, list(predictor.config.items()))
