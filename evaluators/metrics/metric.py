"""Metrics: functions of an example and a prediction that give a score in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dspy

from evaluators.errors import MetricError
from pipelines import Failure

if TYPE_CHECKING:
    from evaluators.metrics.judged import Judging
    from pipelines.gateway.gateway import Session


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one prediction."""

    value: float | None
    """In [0, 1]; higher is better. None where a judge failed, which says nothing of the answer."""

    feedback: str | None = None
    """The metric's comment; a diagnoser reads it where there is no gold answer."""

    failure: Failure | None = None
    """Why there is no value."""

    usd: float = 0.0
    """Price of the calls to a judge."""


Compare = Callable[[Any, Any], float]
"""`compare(label, answer) -> score in [0, 1]`; raises ValueError for a label it cannot read."""
Names = str | Sequence[str] | None


@dataclass(frozen=True)
class LabelMetric:
    """A metric that compares output fields with label columns; unbound, it knows no pipeline yet.

    A label that is a list holds several right answers, and the best match counts (unless the
    answer is one, or a tuple or a set).
    """

    name: str

    compare: Compare

    fields: tuple[str, ...] = ()
    """Output fields to compare; empty for all that have a column of the same name."""

    columns: tuple[str, ...] = ()
    """The label column of each field."""

    combine: Callable[[Iterable[float]], float] = min
    """Combines the scores of several fields: `min` asks all of them to match."""

    settings: str = ""
    """What else distinguishes this metric from others of its name, for its identity."""

    @classmethod
    def of(
        cls, name: str, compare: Compare, field: Names, column: Names, **options: Any
    ) -> LabelMetric:
        """The metric with its fields and columns as users give them; columns are by default named
        as the fields. Raises MetricError unless there is a column for each field.
        """
        fields, columns = (
            (given,) if isinstance(given, str) else tuple(given or ()) for given in (field, column)
        )
        if columns and len(columns) != len(fields):
            raise MetricError(
                f"one column for each field is needed, as in {name}(field='answer', "
                f"column='label'), but got {field=!r} and {column=!r}"
            )
        return cls(name, compare, fields, columns or fields, **options)


@dataclass(frozen=True)
class BoundMetric:
    """A metric fitted to one pipeline and dataset: `metric(example, prediction) -> Score`."""

    name: str

    fields: tuple[str, ...]
    """The label columns compared; () for a callable, which may compare anything."""

    identity: str
    """Changes whenever scores may change; part of the key of a resumable search."""

    score: Callable[[Any, Any], Any]
    """The metric itself, unchecked."""

    check_labels: Callable[[Any], None] | None = None
    """Raises ValueError when an example has a label that no answer could match."""

    judging: Judging | None = None
    """How it asks a judge; None for a metric without one."""

    @property
    def calls(self) -> int:
        """Calls to a judge per answer, unless one must be repeated."""
        return self.judging.metric.asks if self.judging else 0

    @property
    def human_labels(self) -> int:
        """How many human-labelled answers the judge scores before anything else."""
        labels = self.judging.labels if self.judging else None
        return len(labels.scores) if labels else 0

    def open(self, session: Session) -> BoundMetric:
        """The metric, ready to score; its judge, if any, is called through this session."""
        return replace(self, score=self.judging.scorer(session)) if self.judging else self

    def __call__(self, example: Any, prediction: Any) -> Score:
        """The score of `prediction`.

        Args:
            example: a `dspy.Example`, or anything with the label columns as items.
            prediction: a `dspy.Prediction`, or anything with the output fields as items.

        Raises:
            MetricError: the metric raised (its exception is the cause), or returned no score.
        """
        try:
            raw = self.score(example, prediction)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise MetricError(f"metric '{self.name}' raised {problem}") from error
        if self.judging is not None and isinstance(raw, Score):
            return raw  # within bounds, or without a value
        if isinstance(raw, (dspy.Example, Mapping)):  # dspy.Prediction is an Example
            value, feedback = raw.get("score"), raw.get("feedback")
        else:
            value, feedback = (raw.value, raw.feedback) if isinstance(raw, Score) else (raw, None)
        number = _number(value)
        if number is not None and 0.0 <= number <= 1.0:
            return Score(number, None if feedback is None else str(feedback))
        if number is None:
            shown = repr(raw) if len(repr(raw)) <= 200 else f"{repr(raw)[:200]}..."
            rule = "a score is a number in [0, 1], or has one as its `score`"
        else:
            shown, rule = repr(number), "a score must lie in [0, 1]"
        raise MetricError(f"metric '{self.name}' returned {shown}, but {rule}")

    def check(self, examples: Iterable[Any]) -> None:
        """Check that every example has labels which some answer could match.

        Raises:
            MetricError: names the first example that has none, and says why.
        """
        for index, example in enumerate(examples):
            try:
                if self.check_labels is not None:
                    self.check_labels(example)
            except ValueError as error:
                raise MetricError(f"metric '{self.name}' on example {index}: {error}") from error


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


def bind_labels(
    metric: LabelMetric, fields: Sequence[str], columns: Sequence[str], *, certain: bool = True
) -> BoundMetric:
    """`metric` comparing output `fields` with label `columns`, pair by pair.

    Unless `certain`, predictions may lack fields, which then do not count.
    """
    pairs = tuple(zip(fields, columns, strict=True))
    compare, combine = metric.compare, metric.combine

    def score(example: Any, prediction: Any) -> float:
        there = pairs if certain else [pair for pair in pairs if pair[0] in prediction]
        compared = there or pairs  # without any, the first one is missed
        return combine([_best(compare, example[c], _output(prediction, f)) for f, c in compared])

    def check_labels(example: Any) -> None:
        for column in columns:
            try:
                _best(compare, example[column], "")
            except ValueError as error:
                raise ValueError(f"column {column!r}: {error}") from error

    compared = ",".join(f if f == c else f"{f}={c}" for f, c in pairs)
    joined = combine.__name__ if len(pairs) > 1 else ""
    identity = f"{metric.name}[{compared}]{joined}{metric.settings}"
    return BoundMetric(metric.name, tuple(columns), identity, score, check_labels)


def _output(prediction: Any, field: str) -> Any:
    try:
        return prediction[field]
    except KeyError:
        there = ", ".join(prediction.keys())
        raise ValueError(f"the prediction has no field {field!r}; its fields: {there}") from None


def _best(compare: Compare, label: Any, answer: Any) -> float:
    if isinstance(label, (list, tuple)) and not isinstance(answer, (list, tuple, set, frozenset)):
        if not label:
            raise ValueError("the label is an empty list: no answer could match it")
        return max(compare(alternative, answer) for alternative in label)
    return compare(label, answer)
