"""Traces of successful examples, to fine-tune models on: for DSPy, and as files of chats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dspy

from optimizer.results.held_out_scores import HeldOutScores, example_key
from pipelines import ModuleStep, PipelineError, Tunable
from pipelines.adapters.callables import CallablePipeline
from pipelines.gateway.secrets import plain_json, redactor
from pipelines.programs.adapter import reply_adapter
from pipelines.programs.binding import Binder, BoundModule
from pipelines.programs.predictors import bare_predictor

if TYPE_CHECKING:
    from dspy.teleprompt.bootstrap_trace import TraceData

    from optimizer.evaluation.evaluation import Evaluated

Chat = Mapping[str, Sequence[Mapping[str, Any]]]
"""`{"messages": [...]}` in OpenAI's form, of which the last is the assistant's."""


@dataclass(frozen=True)
class FinetuningData:
    """What each module should answer, from examples that the pipeline was right on."""

    chats: Mapping[str, Sequence[Chat]]
    """By module, a chat for each time it was asked. Its reply is the module's outcome: for several
    members, what their aggregator made of them."""
    traces: Sequence[TraceData]
    """As DSPy's `bootstrap_trace_data` returns them, which `BootstrapFinetune` works on."""
    examples: int
    """How many successful examples they are from."""
    unsuccessful: int
    """How many failed or scored less."""
    held_out: int
    """How many were left out since the recorded scores are theirs."""

    def save(self, folder: str | Path) -> list[Path]:
        """Write `<module>.jsonl` for each module, a chat a line, without secrets; the paths."""
        redact, paths = redactor(), []
        Path(folder).mkdir(parents=True, exist_ok=True)
        for module, chats in self.chats.items():
            lines = [json.dumps(plain_json(chat, redact), ensure_ascii=False) for chat in chats]
            paths.append(Path(folder, f"{module}.jsonl"))
            paths[-1].write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return paths


def finetuning_data(evaluated: Evaluated, at_least: float = 1.0) -> FinetuningData:
    """The successful examples of an evaluation, but for those that the search held out.

    These are known where the pipeline was tuned by `optimize`, or loaded from what it saved.

    Args:
        evaluated: what `evaluate` returned for the examples to learn from.
        at_least: the lowest score of a successful example.

    Raises:
        ValueError: `at_least` is not in (0, 1].
        PipelineError: plain Python, whose modules have no signatures; or no example is left.
    """
    check_at_least(at_least)
    plan, outcomes = evaluated.plan, evaluated.evaluation.outcomes
    check_has_prompts(plan.pipeline)
    held_out = _held_out(plan.pipeline)
    bound = Binder(plan.pipeline, plan.models).bind(plan.baseline)
    writers = {name: _ChatWriter(each) for name, each in bound.items() if each.module.is_llm}
    chats: dict[str, list[Chat]] = {name: [] for name in writers}
    traces: list[TraceData] = []
    left_out = 0
    for index, outcome in sorted(outcomes.items()):
        example = plan.search[index].with_inputs(*plan.pipeline.inputs)
        if example_key(example.inputs().toDict()) in held_out:
            left_out += 1
        elif outcome.failure is None and outcome.score is not None and outcome.score >= at_least:
            steps = [
                s for s in outcome.trace.steps if s.module in writers and s.outputs is not None
            ]
            trace = [writers[step.module].traced(step) for step in steps]
            for step, each in zip(steps, trace, strict=True):
                chats[step.module].append(writers[step.module].chat(*each[1:]))
            prediction = dspy.Prediction(**(outcome.trace.outputs or {}))
            traces.append(
                {"example_ind": index, "example": example, "prediction": prediction,
                 "trace": trace, "score": outcome.score}
            )  # fmt: skip
    if not traces:
        raise PipelineError(
            f"of {len(outcomes)} examples none is left to learn from: {left_out} were held out, "
            f"and the others failed or scored less than {at_least:g}"
        )
    unsuccessful = len(outcomes) - left_out - len(traces)
    return FinetuningData(chats, traces, len(traces), unsuccessful, left_out)


def check_at_least(score: float) -> None:
    """Raises ValueError for what is no lowest score of a success."""
    if not 0 < score <= 1:
        raise ValueError(f"`0 < at_least <= 1` must hold, but got {score!r}")


def check_has_prompts(pipeline: Tunable) -> None:
    """Raises PipelineError for plain Python, which writes its prompts itself."""
    if isinstance(pipeline, CallablePipeline):
        raise PipelineError(f"{pipeline.name!r} is plain Python, whose prompts DSPy can't write")


class _ChatWriter:
    """Writes what one module was asked, and what it should answer, as DSPy writes prompts."""

    def __init__(self, bound: BoundModule) -> None:
        self._bound = bound
        self._predictor = bare_predictor(bound)
        self._adapter = cast(dspy.ChatAdapter, reply_adapter(bound.config.reply_format))

    def traced(self, step: ModuleStep) -> tuple[dspy.Predict, dict[str, Any], dspy.Prediction]:
        """The step as it is in DSPy's traces."""
        outputs = {own: (step.outputs or {}).get(wired) for own, wired in self._bound.writes}
        return self._predictor, self._bound.own_inputs(step.inputs), dspy.Prediction(**outputs)

    def chat(self, inputs: Mapping[str, Any], outputs: dspy.Prediction) -> Chat:
        """The messages in the module's reply format. DSPy's own `format_finetune_data` does the
        same, but not for JSON."""
        signature, demos = self._predictor.signature, self._predictor.demos
        reply = self._adapter.format_assistant_message_content(signature, outputs)
        asked = self._adapter.format(signature, demos, dict(inputs))
        return {"messages": [*asked, {"role": "assistant", "content": reply}]}


def _held_out(pipeline: Tunable) -> set[str]:
    recorded = HeldOutScores.kept_in(pipeline.provenance)
    return recorded.keys if recorded else set()
