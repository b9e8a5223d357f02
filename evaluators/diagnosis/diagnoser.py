"""The diagnoser: an LLM that judges one module's outputs from a trace (arXiv 2502.14815).

One call judges all distinct outputs of one example. It never learns which model wrote which:
equal outputs are shown once, and the order is shuffled by the example.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy
import numpy as np

from pipelines import Module, Tunable
from pipelines.gateway.gateway import Session
from pipelines.gateway.model import Model
from pipelines.modules.signature import own_instructions, signature_text
from pipelines.programs.adapter import chat_adapter
from pipelines.programs.engine import GatewayLM
from pipelines.programs.failures import failure_of
from pipelines.programs.trace import Failure
from search_spaces.config import canonical_json

BEST_RATING = 10


class DiagnoseModule(dspy.Signature):
    """Judge the outputs that different candidates gave for one module of a pipeline.

    Look only at this module: given what it received, is the candidate's output right, so that
    the pipeline can reach the desired final answer? An output that other modules could not
    rescue gets 0, a fully right one 10. Judge each candidate by itself; several may be right.
    """

    pipeline: str = dspy.InputField(desc="the modules and how they are wired")
    module: str = dspy.InputField(desc="the module under judgement")
    inputs: str = dspy.InputField(desc="what the module received")
    candidates: str = dspy.InputField(desc="the outputs to judge, one a line, numbered")
    desired_final_answer: str = dspy.InputField(desc="what the whole pipeline should answer")
    ratings: list[int] = dspy.OutputField(desc="0 to 10, one per candidate, in order")
    reason: str = dspy.OutputField(desc="what the worst candidates did wrong, in a sentence")


@dataclass(frozen=True)
class Diagnosis:
    """The diagnoser's judgement of one example."""

    ratings: tuple[float, ...]
    """In [0, 1], one per output, in the order in which the outputs were given."""
    reason: str


class Diagnoser:
    """Judges outputs of a pipeline's modules with one model, through the gateway."""

    def __init__(self, model: Model, pipeline: Tunable, session: Session) -> None:
        self.model = model
        self._pipeline = pipeline
        self._predict = dspy.Predict(DiagnoseModule)
        self._predict.lm = GatewayLM(model, session, temperature=0.0, purpose="diagnoser")
        self.failures: dict[tuple[str, str], Failure | None] = {}
        """Why each question brought no diagnosis, by its module and what it was about; None if it
        brought one."""

    def diagnose(
        self,
        module: str,
        inputs: Mapping[str, Any],
        outputs: Sequence[Mapping[str, Any]],
        desired: Mapping[str, Any],
    ) -> Diagnosis | None:
        """Judge distinct outputs that a module gave on the same inputs.

        Args:
            desired: the example's labels and the metric's feedback; may be empty.

        Returns:
            None when the diagnoser failed: no reply, or not one rating per candidate.
        """
        order = _shuffled(len(outputs), canonical_json(inputs))
        lines = [f"[{n}] {canonical_json(outputs[i])}" for n, i in enumerate(order, start=1)]
        about = module, canonical_json([inputs, *outputs])
        verdict = self._verdict(module, inputs, lines, desired)
        if isinstance(verdict, Failure):
            self.failures[about] = verdict
            return None
        if len(verdict.ratings) != len(outputs):
            problem = f"{len(verdict.ratings)} ratings of {len(outputs)} outputs"
            self.failures[about] = Failure("unparsable", module, problem, infrastructure=False)
            return None
        self.failures[about] = None
        scaled = [min(max(rating, 0), BEST_RATING) / BEST_RATING for rating in verdict.ratings]
        in_order = [scaled[order.index(i)] for i in range(len(outputs))]
        return Diagnosis(tuple(in_order), str(verdict.reason))

    def _verdict(
        self, module: str, inputs: Mapping[str, Any], lines: list[str], desired: Mapping[str, Any]
    ) -> dspy.Prediction | Failure:
        try:
            with dspy.context(adapter=chat_adapter(), disable_history=True, trace=None):
                return self._predict(
                    pipeline=self._pipeline.describe(),
                    module=_described(self._pipeline.module(module)),
                    inputs=canonical_json(_with_images(inputs)),
                    candidates="\n".join(lines),
                    desired_final_answer=canonical_json(desired),
                )
        except Exception as error:
            failure = failure_of(error, (), "diagnoser")
            if failure is None:
                raise
            return failure


def _with_images(value: Any) -> Any:
    """The same with images that DSPy sends as such; in code's messages they would be text."""
    if isinstance(value, Mapping):
        if value.get("type") == "image_url":
            return dspy.Image(value["image_url"]["url"])
        return {name: _with_images(each) for name, each in value.items()}
    return [_with_images(each) for each in value] if isinstance(value, list) else value


def _described(module: Module) -> str:
    instructions = module.instructions or own_instructions(module.signature)
    text = f"{module.name}: {signature_text(module.signature)}"
    return f"{text}\n{instructions}" if instructions else text


def _shuffled(count: int, text: str) -> list[int]:
    """A permutation that depends on the text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return [int(i) for i in np.random.default_rng(seed).permutation(count)]
