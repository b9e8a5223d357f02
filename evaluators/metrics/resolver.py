"""Resolves what a user gives as `metric`: a name, a metric of ours or any callable."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from types import MappingProxyType
from typing import Any

from evaluators.errors import MetricError
from evaluators.metrics.contains import contains
from evaluators.metrics.exact_match import exact_match
from evaluators.metrics.f1 import f1
from evaluators.metrics.llm_judge import llm_judge
from evaluators.metrics.llm_preference import llm_preference
from evaluators.metrics.metric import BoundMetric, LabelMetric, bind_labels
from evaluators.metrics.multiple_choice import multiple_choice
from evaluators.metrics.numeric_match import numeric_match
from evaluators.mlflow_rows import EXPECTED_RESPONSE
from pipelines.modules.function_identity import function_identity
from pipelines.modules.signature import REASONING
from search_spaces.refusals import nearest

METRICS: Mapping[str, Callable[[], LabelMetric]] = MappingProxyType(
    {made.__name__: made for made in (exact_match, contains, numeric_match, f1, multiple_choice)}
)
"""The metrics that can be given by name."""

_JUDGED: Mapping[Callable[..., Any], str] = MappingProxyType(
    {
        llm_judge: 'llm_judge("what a good answer is")',
        llm_preference: 'llm_preference("the column of a reference answer")',
    }
)
"""Metrics that need arguments, with an example."""

_MOST_ARGUMENTS = 5
"""GEPA's metrics take `(gold, pred, trace, pred_name, pred_trace)`, DSPy's the first three."""

_LABELS = frozenset(
    {"label", "labels", "target", "targets", "gold", "expected", "reference", "ground_truth"}
    | {"answer", "answers", "output", "solution", "correct", "y"}
)
"""Common names of label columns."""


def resolve_metric(
    metric: str | LabelMetric | BoundMetric | Callable[..., Any],
    output_fields: Iterable[str],
    columns: Iterable[str],
    *,
    inputs: Collection[str] = (),
    certain: bool = True,
) -> BoundMetric:
    """The metric for a pipeline with these outputs and a dataset with these columns.

    A name of `METRICS`, or the function of that name, compares every output field (but the
    reasoning) that has a column, and a single one with MLflow's `expected_response` where it has
    none; `exact_match(field="answer", column="gold")` says which.
    Any other callable is called as `metric(example, prediction)`.

    Args:
        metric: what a user gives.
        output_fields: of the pipeline.
        columns: of the dataset.
        inputs: the columns that the pipeline reads, and so are not labels.
        certain: whether every prediction has all the output fields. Otherwise only those present
            are compared; fields that the metric names must always be there.

    Raises:
        MetricError: an unknown name, or nothing to compare; it names what there is, nearest first.
    """
    for made, example in _JUDGED.items():
        if metric in (made, made.__name__):
            raise MetricError(
                f"metric {made.__name__!r} needs a description of a good answer, such as "
                f"metric={example}, but got {made.__name__!r} alone"
            )
    if isinstance(metric, str) and metric not in METRICS:
        known = [*METRICS, *(made.__name__ for made in _JUDGED)]
        raise MetricError(
            f"there is no metric {metric!r}{nearest(metric, known)} "
            f"(metrics: {', '.join(known)}, or any callable)"
        )
    for name, constructor in METRICS.items():
        if metric in (name, constructor):
            metric = constructor()
    if isinstance(metric, BoundMetric):
        return metric
    if isinstance(metric, LabelMetric):
        return _bound(metric, tuple(output_fields), tuple(columns), inputs, certain)
    if not callable(metric):
        raise MetricError(
            f"a metric is a name ({', '.join(METRICS)}) or a callable "
            f"metric(example, prediction), but got {metric!r}"
        )
    return _bind_callable(metric)


def _bound(
    metric: LabelMetric,
    outputs: Sequence[str],
    columns: Sequence[str],
    inputs: Collection[str],
    certain: bool,
) -> BoundMetric:
    if metric.fields:
        if certain:
            _check_known(metric.name, "output", metric.fields, outputs)
        _check_known(metric.name, "column", metric.columns, columns)
        return bind_labels(metric, metric.fields, metric.columns)
    if not outputs:
        raise MetricError(
            f"metric '{metric.name}' compares outputs with columns of the same name, but nothing "
            "says what the outputs are: from_callable(..., outputs=['answer']) would, or give a "
            "function as metric(example, prediction)"
        )
    answers = [field for field in outputs if field != REASONING]
    fields = [field for field in answers if field in columns]
    if not fields and len(answers) == 1 and EXPECTED_RESPONSE in {*columns} - {*inputs}:
        return bind_labels(metric, answers, [EXPECTED_RESPONSE], certain=certain)
    if not fields:
        raise _nothing_in_common(metric.name, outputs, columns, inputs)
    return bind_labels(metric, fields, fields, certain=certain)


def _check_known(metric: str, kind: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise MetricError(
                f"metric '{metric}' compares the {kind} {name!r}, but there is none of that name"
                f"{nearest(name, known)} ({kind}s: {', '.join(known)})"
            )


def _is_label(column: str) -> bool:
    words = column.lower().replace("-", "_")
    return words in _LABELS or not _LABELS.isdisjoint(words.split("_"))


def _likeness(output: str, column: str) -> float:
    return SequenceMatcher(None, output.lower(), column.lower()).ratio()


def _nothing_in_common(
    metric: str, outputs: Sequence[str], columns: Sequence[str], inputs: Collection[str]
) -> MetricError:
    """Name the columns that may be labels, and the nearest pair to compare."""
    labels = [column for column in columns if column not in inputs]
    rule = (
        f"metric '{metric}' compares outputs with columns of the same name, but the outputs "
        f"({', '.join(outputs)}) and the dataset's columns ({', '.join(columns)}) share none"
    )
    if not labels:
        return MetricError(f"{rule}; all columns are inputs of the pipeline: add one of labels")
    answers = [output for output in outputs if output != REASONING] or ["answer"]
    pairs = [(output, column) for output in answers for column in labels]
    field, column = max(pairs, key=lambda pair: (_is_label(pair[1]), _likeness(*pair)))
    may_be = f"; columns that are no inputs, and so may be labels: {', '.join(labels)}"
    return MetricError(
        f"{rule}{may_be if inputs else ''}; nearest: output {field!r} and column {column!r}, "
        f"which {metric}(field={field!r}, column={column!r}) would compare"
    )


def _bind_callable(metric: Callable[..., Any]) -> BoundMetric:
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
