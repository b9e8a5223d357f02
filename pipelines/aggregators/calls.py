"""How many calls a config makes at most, so that budgets can keep them.

Those that ask again, since a reply could not be read, come on top.
"""

from __future__ import annotations

from pipelines.aggregators import aggregator
from search_spaces import ModuleConfig, PipelineConfig


def calls_per_run(config: PipelineConfig) -> int:
    """The most calls that one run of the pipeline makes."""
    return sum(map(most_calls, config.modules.values()))


def most_calls(config: ModuleConfig) -> int:
    """The most calls that one run of the module makes, its aggregator's included."""
    if not config.models:
        return 0
    if config.aggregation is None:
        return config.width
    made = aggregator(config.aggregation)
    asked = (
        made.roles[role].most_times(config.width) * most_calls(module)
        for role, module in config.roles.items()
    )
    return config.width + made.asks_again + sum(asked)
