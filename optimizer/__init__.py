"""The public names. `from optimizer import Module, Pipeline, optimize` is all that users import.

Names are imported when they are first used, so that importing this package stays quick.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluators.dataset import Dataset
    from evaluators.errors import DatasetError, MetricError
    from evaluators.metrics import (
        contains,
        exact_match,
        f1,
        llm_judge,
        llm_preference,
        multiple_choice,
        numeric_match,
    )
    from evaluators.metrics.human_labels import JudgeAgreement
    from evaluators.objective import Objective
    from evaluators.score_table import ScoreTable
    from evaluators.statistics.best_of_k import BestOfK, best_of_k
    from evaluators.statistics.vote_scaling import VoteScaling, vote_accuracy
    from optimizer.errors import BudgetTooSmall, OptimizationError, ServiceError
    from optimizer.estimates.estimate import Estimate
    from optimizer.evaluation.drift import Drift
    from optimizer.evaluation.evaluation import Evaluated, evaluate
    from optimizer.evaluation.labels import rows_to_label
    from optimizer.export.finetuning import FinetuningData, finetuning_data
    from optimizer.loop import optimize
    from optimizer.mlflow_prompts import PromptRace
    from optimizer.results.operating_points import OperatingPoint
    from optimizer.results.result import Result
    from optimizer.search.records.module_score import ModuleScore
    from optimizer.search.records.probe import Probe
    from optimizer.search.records.trial import Trial
    from optimizer.search.table_search import TableSearch, search_table
    from optimizer.service.client import RemoteResult, RemoteSearch, SearchService
    from optimizer.stages.allocation.stage import Allocation
    from optimizer.stages.prompts import Prompts
    from pipelines import Module, ModuleFailed, Pipeline, PipelineError
    from pipelines.adapters.callables import from_callable
    from pipelines.adapters.dspy_programs import from_dspy
    from pipelines.aggregators.notation import network_text, parse_network
    from pipelines.gateway.budget import Budget
    from pipelines.gateway.concurrency.limits import Batch, Limit
    from pipelines.gateway.gateway import Gateway
    from pipelines.gateway.model import Model
    from pipelines.gateway.prices import ModelError
    from pipelines.patterns import (
        locate_solve,
        majority_vote,
        medprompt,
        multi_agent_debate,
        rag,
        self_refine,
    )
    from search_spaces import (
        AggregatorConfig,
        MemberConfig,
        ModuleConfig,
        PipelineConfig,
        SearchSpace,
    )

__all__ = [
    "AggregatorConfig", "Allocation", "Batch", "BestOfK", "Budget", "BudgetTooSmall", "Dataset",
    "DatasetError", "Drift", "Estimate", "Evaluated", "FinetuningData", "Gateway",
    "JudgeAgreement", "Limit", "MemberConfig", "MetricError", "Model", "ModelError", "Module",
    "ModuleConfig", "ModuleFailed", "ModuleScore", "Objective", "OperatingPoint",
    "OptimizationError", "Pipeline", "PipelineConfig", "PipelineError", "Probe", "PromptRace",
    "Prompts", "RemoteResult", "RemoteSearch", "Result", "ScoreTable", "SearchService",
    "SearchSpace", "ServiceError", "TableSearch", "Trial", "VoteScaling", "best_of_k", "contains",
    "evaluate", "exact_match", "f1", "finetuning_data", "from_callable", "from_dspy", "llm_judge",
    "llm_preference", "locate_solve", "majority_vote", "medprompt", "multi_agent_debate",
    "multiple_choice", "network_text", "numeric_match", "optimize", "parse_network", "rag",
    "rows_to_label", "search_table", "self_refine", "vote_accuracy",
]  # fmt: skip


def _check_rooms() -> None:
    """Check that Python finds the packages beside this one: a user's folder may have such a name.

    Raises:
        ImportError: names the folder that Python would import instead, and what to do.
    """
    home = Path(__file__).resolve().parents[1]
    for room in ("search_spaces", "pipelines", "evaluators"):
        spec = importlib.util.find_spec(room)
        places = [*(spec.submodule_search_locations or ()), spec.origin] if spec else []
        found = Path(places[0]).resolve() if places and places[0] else None
        # another copy of ours will do: MLflow's models contain one
        if found != home / room and not (found and (found.parent / "optimizer/loop.py").is_file()):
            raise ImportError(
                f"compound-optimizer's own package {room!r} is {home / room}, but Python finds "
                f"{found or 'none'}: rename yours, or keep it off sys.path (a script's own folder "
                "comes first on it)",
                name=room,
                path=str(found) if found else None,
            )


def _homes() -> dict[str, str]:
    """The module of each public name, by the imports above, which only type checkers run."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


_check_rooms()
_HOME_OF = _homes()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value  # importing optimizer.optimize would else leave the module here
    return value


def __dir__() -> list[str]:
    return __all__
