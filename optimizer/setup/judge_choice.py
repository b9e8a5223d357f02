"""Binds the metric to the pipeline, and chooses its judge if it has one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluators.metrics import BoundMetric, JudgedMetric, LabelMetric, resolve_metric
from optimizer.setup.mlflow_scorers import bind_scorer, is_scorer
from pipelines import Tunable
from pipelines.gateway.model import Model


def bind_metric(
    metric: str | LabelMetric | JudgedMetric | Callable[..., Any],
    pipeline: Tunable,
    columns: Sequence[str],
    known: Mapping[str, Model],
    choices: Sequence[Model],
) -> BoundMetric:
    """The metric for this pipeline and the dataset's columns, with its judge if it asks one.

    By default, the judge is the choice with the most expensive output tokens, as nothing else is
    known of the models yet; `known` maps labels to all models of the run.

    Raises:
        MetricError: it does not fit them; names the nearest that would.
        ModelError: it names no judge, and a model that might be it has no known price.
    """
    if is_scorer(metric):
        return bind_scorer(metric, pipeline)
    if not isinstance(metric, JudgedMetric):
        outputs = [field for field in pipeline.outputs if field not in pipeline.inputs]
        certain = pipeline.knows_outputs
        return resolve_metric(metric, outputs, columns, inputs=pipeline.inputs, certain=certain)
    judge = metric.model
    if judge is None:
        from pipelines.providers import price_of

        judge = max(choices, key=lambda model: price_of(model).output_usd)
    elif isinstance(judge, str):
        judge = known.get(judge) or Model(judge)
    return metric.bind(pipeline, judge)
