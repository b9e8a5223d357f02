"""What a metric is: a function of an example and a prediction that gives a score in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dspy

from evaluators.errors import MetricError
from pipelines import Failure

if TYPE_CHECKING:
    from evaluators.metrics.judged import Judging
    from pipelines.llms.gateway import Session


@dataclass(frozen=True, slots=True)
class Score:
    """How good one prediction is."""

    value: float | None
    """In [0, 1]; higher is better. None where a judge failed: that says nothing of the answer."""

    feedback: str | None = None
    """What the metric has to say about it; a diagnoser reads this where there is no gold answer."""

    failure: Failure | None = None
    """Why there is no value."""

    usd: float = 0.0
    """What asking a judge took, at recorded prices."""


Compare = Callable[[Any, Any], float]
"""`compare(label, answer) -> score in [0, 1]`; raises ValueError for a label it cannot read."""


@dataclass(frozen=True)
class LabelMetric:
    """A metric that compares output fields with label columns; unbound, it knows no pipeline yet.

    A label that is a list holds several right answers, and the best match counts (unless the
    answer is a list too). Several fields are combined by `combine`.
    """

    name: str

    compare: Compare

    combine: Callable[[Iterable[float]], float] = min
    """From the scores of the fields to one: `min` asks all of them to match."""

    fields: tuple[str, ...] = ()
    """Output fields to compare; empty for all that have a column of the same name."""

    columns: tuple[str, ...] = ()
    """The label column of each field; empty where they are named alike."""

    settings: str = ""
    """What else distinguishes this metric from others of its name, for its identity."""


@dataclass(frozen=True)
class BoundMetric:
    """A metric fitted to one pipeline and dataset: `metric(example, prediction) -> Score`."""

    name: str

    fields: tuple[str, ...]
    """The label columns compared; () for a callable, which may compare anything."""

    identity: str
    """Changes when the metric may score otherwise: for keys of what was scored and for resuming."""

    score: Callable[[Any, Any], Any]
    """The metric itself, unchecked."""

    check_labels: Callable[[Any], None] | None = None
    """Raises ValueError when an example has a label that no answer could match."""

    judging: Judging | None = None
    """How it asks a judge; None for a metric that asks none."""

    @property
    def calls(self) -> int:
        """Calls to a judge that scoring one answer takes, but for one that is asked again."""
        return self.judging.metric.asks if self.judging else 0

    @property
    def human_labels(self) -> int:
        """How many answers that people have scored the judge scores too, before anything else."""
        labels = self.judging.labels if self.judging else None
        return len(labels.scores) if labels else 0

    def open(self, session: Session) -> BoundMetric:
        """Ready to score: with its judge, if it asks one, reached through this session."""
        return replace(self, score=self.judging.scorer(session)) if self.judging else self

    def __call__(self, example: Any, prediction: Any, index: int | None = None) -> Score:
        """The score of `prediction`; `index` is the example's number, for the error.

        Args:
            example: a `dspy.Example`, or anything with the label columns as items.
            prediction: a `dspy.Prediction`, or anything with the output fields as items.
            index: which example it is.

        Raises:
            MetricError: the metric raised (its exception is the cause), or returned no score.
        """
        try:
            raw = self.score(example, prediction)
        except Exception as error:
            where = self._where(index)
            raise MetricError(f"{where} raised {type(error).__name__}: {error}") from error
        if self.judging is not None and isinstance(raw, Score):
            return raw  # within bounds, or without a value
        if type(raw) is float and 0.0 <= raw <= 1.0:
            return _ONE if raw == 1.0 else _ZERO if raw == 0.0 else Score(raw)
        return self._score_of(raw, index)

    def check(self, examples: Iterable[Any]) -> None:
        """Check at the door that every example has labels which some answer could match.

        Raises:
            MetricError: names the first example that has none, and says why.
        """
        if self.check_labels is None:
            return
        for index, example in enumerate(examples):
            try:
                self.check_labels(example)
            except ValueError as error:
                raise MetricError(f"{self._where(index)}: {error}") from error

    def _where(self, index: int | None) -> str:
        return f"metric '{self.name}'" + ("" if index is None else f" on example {index}")

    def _score_of(self, raw: Any, index: int | None) -> Score:
        value, feedback = _parts(raw)
        number = _number(value)
        if number is None:
            shown = repr(raw) if len(repr(raw)) <= 200 else f"{repr(raw)[:200]}..."
            rule = "a score is a number in [0, 1], or has one as its `score`"
        elif not 0.0 <= number <= 1.0:
            shown, rule = f"{number!r}", "a score must lie in [0, 1]"
        else:
            return Score(number, None if feedback is None else str(feedback))
        raise MetricError(f"{self._where(index)} returned {shown}, but {rule}")


_ZERO, _ONE = Score(0.0), Score(1.0)


def _parts(raw: Any) -> tuple[Any, Any]:
    """The score and the feedback of what a metric returned."""
    if isinstance(raw, (dspy.Example, Mapping)):  # dspy.Prediction is an Example
        return raw.get("score"), raw.get("feedback")
    if isinstance(raw, Score):
        return raw.value, raw.feedback
    return raw, None


def _number(value: Any) -> float | None:
    """`value` as a float, or None when it is no single number."""
    if isinstance(value, (bool, int, float)):
        return float(value)
    if isinstance(value, (str, bytes)) or not hasattr(value, "item"):  # numpy's and torch's have it
        return None
    try:
        return float(value.item())
    except (TypeError, ValueError):
        return None


def mean(scores: Iterable[float]) -> float:
    """The mean of at least one score, for metrics that give partial credit."""
    values = list(scores)
    return math.fsum(values) / len(values)


def bind_labels(
    metric: LabelMetric, fields: Sequence[str], columns: Sequence[str], *, certain: bool = True
) -> BoundMetric:
    """`metric` comparing output `fields` with label `columns`, pair by pair.

    If it is not certain that a prediction has them all, those count that it has.
    """
    pairs = tuple(zip(fields, columns, strict=True))
    compare, combine = metric.compare, metric.combine
    if len(pairs) == 1:
        [(field, column)] = pairs

        def score(example: Any, prediction: Any) -> float:
            return _best(compare, example[column], _said(prediction, field))
    else:

        def score(example: Any, prediction: Any) -> float:
            there = pairs if certain else [pair for pair in pairs if pair[0] in prediction]
            compared = there or pairs  # without any, the first one is missed
            return combine(_best(compare, example[c], _said(prediction, f)) for f, c in compared)

    def check_labels(example: Any) -> None:
        for column in columns:
            _check_label(compare, example[column], column)

    compared = ",".join(f if f == c else f"{f}={c}" for f, c in pairs)
    joined = metric.combine.__name__ if len(pairs) > 1 else ""
    identity = f"{metric.name}[{compared}]{joined}{metric.settings}"
    return BoundMetric(metric.name, tuple(columns), identity, score, check_labels)


def _said(prediction: Any, field: str) -> Any:
    try:
        return prediction[field]
    except KeyError:
        there = ", ".join(prediction.keys())
        raise ValueError(f"the prediction has no field {field!r}; its fields: {there}") from None


def _best(compare: Compare, label: Any, answer: Any) -> float:
    if isinstance(label, (list, tuple)) and not isinstance(answer, (list, tuple)):
        if not label:
            raise ValueError("the label is an empty list: no answer could match it")
        return max(compare(alternative, answer) for alternative in label)
    return compare(label, answer)


def _check_label(compare: Compare, label: Any, column: str) -> None:
    """Read the label, or each of its alternatives, as scoring will."""
    try:
        _best(compare, label, "")
    except ValueError as error:
        raise ValueError(f"column {column!r}: {error}") from error
