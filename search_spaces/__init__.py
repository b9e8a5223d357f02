"""What may vary: the knobs of a pipeline, and the values that a config gives them."""

from search_spaces.config import AggregatorConfig, Difference, ModuleConfig, PipelineConfig
from search_spaces.space import SearchSpace, SearchSpaceError

__all__ = [
    "AggregatorConfig",
    "Difference",
    "ModuleConfig",
    "PipelineConfig",
    "SearchSpace",
    "SearchSpaceError",
]
