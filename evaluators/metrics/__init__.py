"""Metrics: names for the common ones, judges, and any callable."""

from evaluators.metrics.contains import contains
from evaluators.metrics.exact_match import exact_match
from evaluators.metrics.f1 import f1
from evaluators.metrics.judged import JudgedMetric
from evaluators.metrics.llm_judge import llm_judge
from evaluators.metrics.llm_preference import llm_preference
from evaluators.metrics.metric import BoundMetric, LabelMetric, Score
from evaluators.metrics.multiple_choice import multiple_choice
from evaluators.metrics.numeric_match import numeric_match
from evaluators.metrics.resolver import METRICS, resolve_metric

__all__ = [
    "METRICS",
    "BoundMetric",
    "JudgedMetric",
    "LabelMetric",
    "Score",
    "contains",
    "exact_match",
    "f1",
    "llm_judge",
    "llm_preference",
    "multiple_choice",
    "numeric_match",
    "resolve_metric",
]
