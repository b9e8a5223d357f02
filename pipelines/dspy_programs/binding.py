"""What a predictor of a running program is bound to, and what it remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import dspy

from pipelines.binding import BoundModule
from pipelines.dspy_programs.visit import Visit
from pipelines.llms.engine import GatewayLM
from pipelines.members import Network
from pipelines.trace import MemoKey

if TYPE_CHECKING:
    from pipelines.tunable import Memo


@dataclass(eq=False)
class Binding:
    """What a predictor is bound to; copies that a program makes of the predictor share it."""

    bound: BoundModule
    lm: GatewayLM
    """What the predictor has for its own; see `TunedPredict`."""
    member: GatewayLM
    """Who is asked; the first, if there are several."""
    network: Network | None
    """The members, if there are several."""
    memo: Memo | None
    state: tuple[Any, ...] = ()
    """Of the predictor as it was bound; see `state_of`."""
    had_lm: bool = False
    """Whether the program's own predictor has an LM, and not just that of DSPy's settings."""

    def key(self, inputs: Mapping[str, Any]) -> MemoKey | None:
        """Under which a step on these inputs is remembered; None if it is not."""
        return None if self.memo is None else self.bound.memo_key(inputs)

    def recall(self, key: MemoKey | None) -> Visit | None:
        """What is remembered, to be kept by whoever asks for it."""
        known = None if self.memo is None or key is None else self.memo.get(key)
        return known and known.copied()

    def remember(self, key: MemoKey | None, visit: Visit) -> None:
        """Remember it, if it lasts."""
        if self.memo is not None and key is not None and visit.lasts:
            self.memo[key] = visit.copied()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def state_of(predictor: dspy.Predict) -> tuple[Any, ...]:
    """What a config sets; changed, if it is not the same."""
    demos = tuple(map(id, predictor.demos))
    return (id(predictor.signature), id(predictor.lm), demos, list(predictor.config.items()))
