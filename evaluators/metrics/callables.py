"""A user's own function as a metric."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from evaluators.errors import MetricError
from evaluators.metrics.metric import BoundMetric
from pipelines.function_identity import function_identity

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def bind_callable(metric: Callable[..., Any]) -> BoundMetric:
    """`metric` called with the example, the prediction, and None for whatever else it insists on.

    DSPy's `(example, prediction, trace)` and GEPA's `(gold, pred, trace, pred_name, pred_trace)`
    fit too.

    Raises:
        MetricError: it takes fewer than two arguments, needs keywords, or is a coroutine function.
    """
    name = _name(metric)
    if inspect.iscoroutinefunction(metric) or inspect.iscoroutinefunction(type(metric).__call__):
        raise MetricError(f"metric '{name}' is a coroutine function; a plain one is needed")
    rest = (None,) * _insisted_on(metric, name)

    def score(example: Any, prediction: Any) -> Any:
        return metric(example, prediction, *rest)

    return BoundMetric(name, (), function_identity(metric), score if rest else metric)


def _insisted_on(metric: Callable[..., Any], name: str) -> int:
    """How many positional arguments beyond two have no default."""
    try:
        parameters = inspect.signature(metric).parameters.values()
    except ValueError:  # some builtins do not tell
        return 0
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if keywords or (len(positional) < 2 and not variadic):
        raise MetricError(
            f"metric '{name}{inspect.signature(metric)}' must be callable as "
            "metric(example, prediction)"
        )
    return sum(p.default is p.empty for p in positional[2:])


def _name(metric: Callable[..., Any]) -> str:
    if isinstance(metric, functools.partial):
        return _name(metric.func)
    return str(getattr(metric, "__name__", type(metric).__name__))
