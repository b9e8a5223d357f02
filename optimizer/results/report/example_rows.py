"""The examples of the page: a row each, and their traces as JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evaluators.outcome import Outcome
from optimizer.formatting import dollars, number, percent, seconds
from optimizer.results.embedded_media import without_media
from optimizer.results.examples import ScoredExample, answer_of
from optimizer.search.records.trial import shortened
from pipelines import CallRecord, ModuleStep
from pipelines.gateway.secrets import plain_json, redactor

if TYPE_CHECKING:
    from optimizer.results.result import Result

MOST_EXAMPLES = 300
"""More would make the page slow."""
MOST_CHARACTERS = 10_000
"""Of one text; longer ones are cut."""
_IN_A_CELL = 160
_FIRST = ("lost", "gained", "unscored", "same")


class ExamplePage:
    """The examples that the page shows, those that changed or failed first."""

    def __init__(self, result: Result) -> None:
        self._redact = redactor()
        self.total = len(result.examples_)
        self._shown = sorted(result.examples_, key=_interest)[:MOST_EXAMPLES]
        self._texts: dict[str, int] = {}
        self._runs: dict[str, int] = {}
        self._found = [self._example(example) for example in self._shown]
        columns: dict[tuple[int | None, ...], list[str]] = {}
        for name in dict.fromkeys(name for each in self._shown for name in each.outcomes):
            runs = tuple(example["runs"].get(name) for example in self._found)
            columns.setdefault(runs, []).append(name)  # finalists with equal runs share a column
        self.finalists = {
            names[0]: " = ".join(names).replace("single_model", "single")
            for names in columns.values()
        }

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One per example: its cells, shortened."""
        return [
            {
                "row": example.row,
                "change": example.change,
                "kinds": _kinds(example),
                "inputs": self._in_short(example.inputs),
                "labels": self._in_short(example.labels),
                "answers": [
                    self._answer(example.outcomes.get(name), example.labels)
                    for name in self.finalists
                ],
            }
            for example in self._shown
        ]

    @property
    def counts(self) -> dict[str, int]:
        """How many of those shown there are of each kind."""
        counts = Counter(kind for example in self._shown for kind in _kinds(example))
        kinds = ("gained", "lost", "same", "failed", "unscored")
        return {"all": len(self._shown)} | {kind: counts[kind] for kind in kinds if counts[kind]}

    @property
    def data(self) -> dict[str, Any]:
        """Every text once, and the traces that refer to texts by their index."""
        return {
            "texts": list(self._texts),
            "runs": [json.loads(run) for run in self._runs],
            "finalists": self.finalists,
            "examples": self._found,
        }

    def _example(self, example: ScoredExample) -> dict[str, Any]:
        return {
            "row": example.row,
            "change": example.change,
            "inputs": self._fields(example.inputs),
            "labels": self._fields(example.labels),
            "runs": {n: self._run(outcome, example) for n, outcome in example.outcomes.items()},
        }

    def _run(self, outcome: Outcome, example: ScoredExample) -> int:
        """The index of this run; equal runs share one."""
        run = {
            "answer": self._text(answer_of(outcome, example.labels)),
            "score": _score(outcome),
            "usd": dollars(outcome.usd),
            "seconds": seconds(outcome.latency_s),
            "failure": self._failure(outcome),
            "feedback": None if outcome.feedback is None else self._text(outcome.feedback),
            "steps": [self._step(step, example) for step in outcome.trace.steps],
        }
        return self._runs.setdefault(json.dumps(run), len(self._runs))

    def _step(self, step: ModuleStep, example: ScoredExample) -> dict[str, Any]:
        return {
            "module": self._text(step.module),
            "inputs": self._fields(step.inputs),
            "outputs": None if step.outputs is None else self._fields(step.outputs),
            "usd": dollars(step.usd),
            "seconds": seconds(step.latency_s),
            "agreement": "" if step.agreement == 1 else percent(step.agreement),
            "failure": self._failure(step),
            "made_up_for": [self._text(f"{f.kind}: {f.message}") for f in step.members_failed],
            "calls": [self._call(call, example) for call in step.calls],
        }

    def _call(self, call: CallRecord, example: ScoredExample) -> dict[str, Any]:
        about = [
            f"{call.input_tokens:,} + {call.output_tokens:,} tokens",
            dollars(call.usd),
            seconds(call.latency_s),
        ]
        if call.finish_reason != "stop":
            about.append(f"ended by {self._redact(call.finish_reason)}")
        if call.unread:
            about.append("could not be read")
        reply = example.replies.get(call.key)
        return {
            "model": self._text(call.model),
            "about": ", ".join(about),
            "reply": None if reply is None else self._text(reply),
        }

    def _failure(self, of: Outcome | ModuleStep) -> int | None:
        if (failure := of.failure) is None:
            return None
        return self._text(f"{failure.kind} in {failure.module}: {failure.message}")

    def _fields(self, values: Mapping[str, Any]) -> dict[str, int]:
        return {self._redact(str(name)): self._text(value) for name, value in values.items()}

    def _text(self, value: Any) -> int:
        """The index of this text; long ones are cut."""
        text = self._written(value)
        if len(text) > MOST_CHARACTERS:
            cut = f"\n[cut here: {MOST_CHARACTERS:,} of {len(text):,} characters]"
            text = text[:MOST_CHARACTERS] + cut
        return self._texts.setdefault(text, len(self._texts))

    def _written(self, value: Any) -> str:
        """Any value as text, without secrets and media: JSON where it has a form."""
        value = without_media(value)
        if isinstance(value, str):
            return self._redact(value)
        if value is None:
            return ""
        if isinstance(value, Mapping | list | tuple):
            return json.dumps(plain_json(value, self._redact), ensure_ascii=False, indent=1)
        return self._redact(str(value))

    def _in_short(self, values: Mapping[str, Any]) -> str:
        """On one line, short fields first; a single field goes without its name."""
        texts = [(str(name), self._line(value)) for name, value in values.items()]
        if len(texts) == 1:
            return shortened(texts[0][1], _IN_A_CELL)
        most = max(20, _IN_A_CELL // max(1, len(texts)))
        texts.sort(key=lambda item: len(item[1]))
        return "; ".join(f"{name}: {shortened(text, most)}" for name, text in texts)

    def _line(self, value: Any) -> str:
        return " ".join(self._written(value).split())

    def _answer(self, outcome: Outcome | None, labels: Mapping[str, Any]) -> dict[str, Any]:
        if outcome is None:
            return {"text": "not run", "score": "", "value": math.nan, "failure": ""}
        return {
            "text": shortened(self._line(answer_of(outcome, labels)), _IN_A_CELL),
            "score": _score(outcome),
            "value": math.nan if outcome.score is None else outcome.score,
            "failure": outcome.failure.kind if outcome.failure else "",
        }


def _interest(example: ScoredExample) -> tuple[int, bool, int]:
    """The sort key: examples that changed come first, then those that failed."""
    return _FIRST.index(example.change), "failed" not in _kinds(example), example.row


def _kinds(example: ScoredExample) -> Sequence[str]:
    failed = any(outcome.failure for outcome in example.outcomes.values())
    return [example.change, "failed"] if failed else [example.change]


def _score(outcome: Outcome) -> str:
    return "unscored" if outcome.score is None else number(outcome.score)
