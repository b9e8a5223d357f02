"""What may vary: the knobs of a pipeline, and the values that a config gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search_spaces.config import AggregatorConfig, Difference, ModuleConfig, PipelineConfig
from search_spaces.member import MemberConfig

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace, SearchSpaceError

__all__ = [
    "AggregatorConfig",
    "Difference",
    "MemberConfig",
    "ModuleConfig",
    "PipelineConfig",
    "SearchSpace",
    "SearchSpaceError",
]


def __getattr__(name: str) -> Any:
    """Import the search space when it is first used: it needs Optuna, which is slow to import."""
    if name in ("SearchSpace", "SearchSpaceError"):
        from search_spaces import space

        return getattr(space, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
