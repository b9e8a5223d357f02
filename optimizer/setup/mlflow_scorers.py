"""A scorer of `mlflow.genai` as a metric."""

from __future__ import annotations

import inspect
import sys
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeGuard

from evaluators.errors import MetricError
from evaluators.metrics import BoundMetric, Score
from pipelines import Tunable
from pipelines.modules.function_identity import function_identity
from pipelines.modules.signature import REASONING
from search_spaces.config import canonical_json

if TYPE_CHECKING:
    from mlflow.genai.scorers import Scorer

_RULES = ("RegexMatch", "PIIDetection", "ResponseLength")
"""The built-in scorers that call no model."""
_OWN_CODE = ("DECORATOR", "CLASS")
"""Kinds of scorers that a user writes."""
_RATINGS = {"yes": 1.0, "no": 0.0}


def is_scorer(metric: Any) -> TypeGuard[Scorer]:
    """Whether it is a scorer. Does not import MLflow, which any scorer has imported already."""
    base = sys.modules.get("mlflow.genai.scorers.base")
    return base is not None and isinstance(metric, base.Scorer)


def bind_scorer(scorer: Scorer, pipeline: Tunable) -> BoundMetric:
    """A metric that runs the scorer as `mlflow.genai.evaluate` does.

    It gets `inputs`, the pipeline's input fields; `outputs`, the bare value of a single output
    field, else all of them by name (but the reasoning); and `expectations`, all other columns.
    Numbers and truth values are scores; "yes" is 1 and "no" 0; a `Feedback` is scored by its value,
    and its rationale becomes the feedback; several are averaged.

    Raises:
        MetricError: it calls a model, past any budget, or reads a trace or a session.
    """
    from mlflow.genai.scorers.base import flatten_scorers

    parts = flatten_scorers([scorer])
    for part in parts:
        _check(part)

    def score(example: Any, prediction: Any) -> Score:
        labels = {name: value for name, value in example.items() if name not in pipeline.inputs}
        returned = scorer.run(  # type: ignore[no-untyped-call]
            inputs={field: example[field] for field in pipeline.inputs},
            outputs=_answer(prediction),
            expectations=labels,
        )
        return _score(returned)

    combined = getattr(scorer, "_ensemble_fn", None)
    codes = [getattr(part, "_original_func", None) or part for part in parts]
    identity = [scorer.name, *map(function_identity, [*codes, *([combined] if combined else [])])]
    return BoundMetric(scorer.name, (), canonical_json(identity), score)


def _check(scorer: Scorer) -> None:
    if scorer.kind.name not in _OWN_CODE and type(scorer).__name__ not in _RULES:
        raise MetricError(
            f"metric: MLflow's scorer '{scorer.name}' ({type(scorer).__name__}) asks a model by "
            "itself, past the gateway, so that no budget would hold. Use "
            'llm_judge("what a good answer is"), whose calls are counted, or a @scorer of your own'
        )
    parameters = inspect.signature(scorer.__call__).parameters
    trace = parameters.get("trace")
    if scorer.is_session_level_scorer or (trace and trace.default is trace.empty):
        raise MetricError(
            f"metric: MLflow's scorer '{scorer.name}' reads "
            f"{'a session' if scorer.is_session_level_scorer else 'the trace'}, which there is not "
            "during a search: a score may depend on inputs, outputs and expectations"
        )


def _answer(prediction: Any) -> Any:
    outputs = {field: value for field, value in prediction.items() if field != REASONING}
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def _score(returned: Any) -> Score:
    """The score of what a scorer returned; for several feedbacks, their mean."""
    if isinstance(returned, list | tuple) and returned:
        scores = [_score(each) for each in returned]
        comments = [score.feedback for score in scores if score.feedback]
        mean = fmean(score.value for score in scores if score.value is not None)
        return Score(mean, "; ".join(comments) or None)
    if not hasattr(returned, "rationale"):
        return Score(_number(returned, "it returned"))
    if returned.error is not None:
        raise ValueError(f"its feedback '{returned.name}' is an error: {returned.error}")
    value = _number(returned.value, f"its feedback '{returned.name}' has the value")
    return Score(value, returned.rationale)


def _number(value: Any, what: str) -> float:
    number = _RATINGS.get(value.strip().casefold()) if isinstance(value, str) else value
    if not isinstance(number, int | float) or not 0 <= number <= 1:
        raise ValueError(
            f"{what} {value!r}, but a score is a number in [0, 1], a truth value, 'yes' or 'no'"
        )
    return float(number)
