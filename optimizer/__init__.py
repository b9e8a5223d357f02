"""Everything public. `from optimizer import Module, Pipeline, optimize` is all that users import.

Names are looked up when they are first asked for, so that importing this package stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluators.dataset import Dataset, DatasetError
    from evaluators.metrics import (
        MetricError,
        contains,
        exact_match,
        f1,
        multiple_choice,
        numeric_match,
    )
    from optimizer.door import BudgetTooSmall
    from optimizer.loop import OptimizationError, optimize
    from optimizer.result import Result
    from optimizer.trial import Trial
    from pipelines import Module, ModuleFailed, Pipeline, PipelineError
    from pipelines.llms.budget import Budget
    from pipelines.llms.gateway import Gateway
    from pipelines.llms.limits import Limit
    from pipelines.llms.model import Model
    from pipelines.llms.prices import ModelError
    from pipelines.patterns import locate_solve, majority_vote, multi_agent_debate, self_refine
    from search_spaces import ModuleConfig, PipelineConfig, SearchSpace

_HOMES = {
    "evaluators.dataset": ("Dataset", "DatasetError"),
    "evaluators.metrics": (
        "MetricError",
        "contains",
        "exact_match",
        "f1",
        "multiple_choice",
        "numeric_match",
    ),
    "optimizer.door": ("BudgetTooSmall",),
    "optimizer.loop": ("OptimizationError", "optimize"),
    "optimizer.result": ("Result",),
    "optimizer.trial": ("Trial",),
    "pipelines": ("Module", "ModuleFailed", "Pipeline", "PipelineError"),
    "pipelines.llms.budget": ("Budget",),
    "pipelines.llms.gateway": ("Gateway",),
    "pipelines.llms.limits": ("Limit",),
    "pipelines.llms.model": ("Model",),
    "pipelines.llms.prices": ("ModelError",),
    "pipelines.patterns": ("locate_solve", "majority_vote", "multi_agent_debate", "self_refine"),
    "search_spaces": ("ModuleConfig", "PipelineConfig", "SearchSpace"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Budget",
    "BudgetTooSmall",
    "Dataset",
    "DatasetError",
    "Gateway",
    "Limit",
    "MetricError",
    "Model",
    "ModelError",
    "Module",
    "ModuleConfig",
    "ModuleFailed",
    "OptimizationError",
    "Pipeline",
    "PipelineConfig",
    "PipelineError",
    "Result",
    "SearchSpace",
    "Trial",
    "contains",
    "exact_match",
    "f1",
    "locate_solve",
    "majority_vote",
    "multi_agent_debate",
    "multiple_choice",
    "numeric_match",
    "optimize",
    "self_refine",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value  # importing optimizer.optimize would else leave the module here
    return value


def __dir__() -> list[str]:
    return __all__
