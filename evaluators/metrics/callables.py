"""A user's own function as a metric."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from evaluators.errors import MetricError
from evaluators.metrics.metric import BoundMetric
from pipelines.modules.function_identity import function_identity

_MOST_ARGUMENTS = 5
"""GEPA's metrics take `(gold, pred, trace, pred_name, pred_trace)`, DSPy's the first three."""


def bind_callable(metric: Callable[..., Any]) -> BoundMetric:
    """`metric` called with the example, the prediction, and None for all else it requires.

    Raises:
        MetricError: it takes fewer than two arguments, needs keywords, or is a coroutine function.
    """
    name = _name(metric)
    if inspect.iscoroutinefunction(metric) or inspect.iscoroutinefunction(type(metric).__call__):
        raise MetricError(f"metric '{name}' is a coroutine function; a plain one is needed")
    rest = (None,) * (_arguments(metric, name) - 2)

    def score(example: Any, prediction: Any) -> Any:
        return metric(example, prediction, *rest)

    return BoundMetric(name, (), function_identity(metric), score)


def _arguments(metric: Callable[..., Any], name: str) -> int:
    """The fewest positional arguments, from two on, with which it can be called."""
    try:
        signature = inspect.signature(metric)
    except ValueError:  # some builtins have none
        return 2
    for count in range(2, _MOST_ARGUMENTS + 1):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return count
    raise MetricError(f"metric '{name}{signature}' must be callable as metric(example, prediction)")


def _name(metric: Callable[..., Any]) -> str:
    if isinstance(metric, functools.partial):
        return _name(metric.func)
    return str(getattr(metric, "__name__", type(metric).__name__))
