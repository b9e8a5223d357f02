"""The finalists' answers to each example, and which examples were gained and lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from evaluators.evaluator import Evaluator
from evaluators.outcome import Evaluation, Outcome
from optimizer.results.embedded_media import without_media

if TYPE_CHECKING:
    import pandas as pd

Change = Literal["gained", "lost", "same", "unscored"]


@dataclass(frozen=True)
class ScoredExample:
    """One example under all finalists."""

    row: int
    """Its number in the dataset as given, from 0."""
    inputs: Mapping[str, Any]
    labels: Mapping[str, Any]
    """The metric's columns; of a callable, all that are no inputs."""
    outcomes: Mapping[str, Outcome]
    """By finalist: `baseline`, `tuned`, and where there is one `single_model` and `withdrawn`."""
    replies: Mapping[str, str] = field(default_factory=dict)
    """What models replied, by the key of the call (`CallRecord.key`)."""

    @property
    def change(self) -> Change:
        """How the tuned pipeline's score compares with the baseline's."""
        before, after = self.outcomes["baseline"].score, self.outcomes["tuned"].score
        if before is None or after is None:
            return "unscored"
        return "gained" if after > before else "lost" if after < before else "same"


def scored_examples(
    evaluator: Evaluator, rows: Sequence[int], finalists: Mapping[str, Evaluation]
) -> tuple[ScoredExample, ...]:
    """The examples that baseline and tuned pipeline were both run on, in the order of their rows.

    `rows` are the numbers of the evaluator's examples in the dataset as given.
    """
    common = finalists["baseline"].outcomes.keys() & finalists["tuned"].outcomes.keys()
    examples = []
    for index in sorted(common, key=rows.__getitem__):
        known = {name: each.outcomes.get(index) for name, each in finalists.items()}
        outcomes = {name: outcome for name, outcome in known.items() if outcome is not None}
        keys = sorted({call.key for outcome in outcomes.values() for call in outcome.trace.calls})
        texts = {key: evaluator.session.reply_text(key) for key in keys}
        replies = {key: text for key, text in texts.items() if text is not None}
        inputs, labels = evaluator.inputs(index), evaluator.labels(index)
        examples.append(ScoredExample(rows[index], inputs, labels, outcomes, replies))
    return tuple(examples)


def examples_frame(examples: Sequence[ScoredExample]) -> pd.DataFrame:
    """One row per example: inputs, labels, `change`, and of each finalist its `_answer`, `_score`,
    `_failure`, `_cost_usd`, `_latency_s`, and `_agreement` if it has a wide module.

    A column of the data that is called like one of these, or `row`, has a `_` behind its name.
    Embedded images are named by type and size alone.
    """
    import pandas as pd  # 0.3 s

    ours = [{"change": example.change, **_columns(example)} for example in examples]
    taken = {"row", *(name for columns in ours for name in columns)}
    given = [
        {
            f"{name}_" if name in taken else name: without_media(value)
            for name, value in {**example.inputs, **example.labels}.items()
        }
        for example in examples
    ]
    rows = [{**own, **columns} for own, columns in zip(given, ours, strict=True)]
    index = pd.Index([example.row for example in examples], name="row")
    frame = pd.DataFrame(rows, index=index)
    finalists = {name for example in examples for name in example.outcomes}
    return frame.astype({f"{name}_score": float for name in finalists})


def failures_frame(examples: Sequence[ScoredExample]) -> pd.DataFrame:
    """One row per finalist and example that failed: which module, why, and the last raw reply."""
    import pandas as pd

    rows = [
        {
            "row": example.row,
            "finalist": name,
            "module": failure.module,
            "kind": failure.kind,
            "message": without_media(failure.message),
            "reply": without_media(_last_reply(example, outcome)),
        }
        for example in examples
        for name, outcome in example.outcomes.items()
        if (failure := outcome.failure) is not None
    ]
    return pd.DataFrame(rows, columns=["row", "finalist", "module", "kind", "message", "reply"])


def answer_of(outcome: Outcome, labels: Mapping[str, Any]) -> Any:
    """The outputs that have a label, else all, by field if there are several; None if it failed."""
    outputs = outcome.trace.outputs
    if outputs is None:
        return None
    shown = {name: value for name, value in outputs.items() if name in labels} or dict(outputs)
    return next(iter(shown.values())) if len(shown) == 1 else shown


def _columns(example: ScoredExample) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, outcome in example.outcomes.items():
        columns |= {
            f"{name}_answer": without_media(answer_of(outcome, example.labels)),
            f"{name}_score": outcome.score,
            f"{name}_failure": outcome.failure.kind if outcome.failure else "",
            f"{name}_cost_usd": outcome.usd,
            f"{name}_latency_s": outcome.latency_s,
        }
        if outcome.agreement:
            columns[f"{name}_agreement"] = min(outcome.agreement.values())
    return columns


def _last_reply(example: ScoredExample, outcome: Outcome) -> str:
    """Empty if no model answered."""
    keys = (call.key for call in outcome.trace.calls[::-1])
    return next((example.replies[key] for key in keys if key in example.replies), "")
