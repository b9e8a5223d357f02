"""Which model judges, where the metric asks a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluators.metrics import BoundMetric, JudgedMetric, LabelMetric, resolve_metric
from pipelines import Tunable
from pipelines.llms.model import Model


def bind_metric(
    metric: str | LabelMetric | JudgedMetric | Callable[..., Any],
    pipeline: Tunable,
    columns: Sequence[str],
    known: Mapping[str, Model],
    choices: Sequence[Model],
) -> BoundMetric:
    """The metric for this pipeline and dataset, with its judge if it asks one.

    Args:
        metric: as `optimize` takes it.
        pipeline: whose outputs are scored.
        columns: the dataset's.
        known: every model of the run by its label.
        choices: those that the search chooses from.

    Raises:
        MetricError: it does not fit them; names the nearest that would.
        ModelError: it names no judge, and a model that might be it has no known price.
    """
    if not isinstance(metric, JudgedMetric):
        outputs = [field for field in pipeline.outputs if field not in pipeline.inputs]
        certain = pipeline.knows_outputs
        return resolve_metric(metric, outputs, columns, inputs=pipeline.inputs, certain=certain)
    named = metric.model
    if named is None:
        return metric.bind(pipeline, _dearest(choices))
    return metric.bind(
        pipeline, named if isinstance(named, Model) else known.get(named) or Model(named)
    )


def _dearest(models: Sequence[Model]) -> Model:
    """The one with the dearest output tokens, the first of equals.

    Before a call that is the only sign of which is the ablest.
    """
    from pipelines.llms.prices import price_of

    return max(models, key=lambda model: price_of(model).output_usd)
