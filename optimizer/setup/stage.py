"""The Protocol of a stage: one way to improve the incumbent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from optimizer.search.state import SearchState


class Stage(Protocol):
    """One way to look for better configs. `optimize` calls its stages in turn until none helps."""

    @property
    def name(self) -> str:
        """The name in `stages=`, and the tag of its trials."""
        ...

    def improve(self, state: SearchState) -> None:
        """Propose configs and race them with `state.race`, which keeps the best.

        Run again with the same recorded replies, it must propose the same configs: neither clock,
        unseeded randomness nor real spend may decide.

        Raises:
            BudgetExhausted: from the races; the state keeps what it has.
        """
        ...
