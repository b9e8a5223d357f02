"""Lets DSPy's optimizers try prompts of one module in a whole pipeline.

An optimizer sees a program with a single predictor. Every variant of it becomes a config, which the
state's evaluator runs on the whole pipeline: each module keeps its own models, every call is in the
budget, equal calls are paid once, and outages are not scores.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import dspy
import numpy as np

from evaluators.outcome import Outcome
from optimizer.search.records.config_changes import changed_text
from optimizer.search.records.probe import Probe
from optimizer.search.state import SearchState
from pipelines.programs.binding import BoundModule
from pipelines.programs.predictors import bare_predictor
from search_spaces import PipelineConfig
from search_spaces.config import canonical_json

NUMBER = "example_number"
"""The input by which a run finds its example."""


@dataclass
class Workbench:
    """One module's prompt, open to change, in a pipeline that is otherwise as its base."""

    state: SearchState
    module: str
    base: PipelineConfig
    examples: Sequence[int]
    """Prompts are tried on these."""
    reasons: Mapping[int, str] = field(default_factory=dict)
    """The module's mistakes in the incumbent by example, in the diagnoser's words."""
    tried: dict[str, PipelineConfig] = field(default_factory=dict)
    """By key, every config that was run."""
    broken: Exception | None = None
    """The first exception that no prompt caused; optimizers would take it for a bad score."""
    _given: str = field(init=False)
    """The base's instructions, those of its signature included."""

    def __post_init__(self) -> None:
        shown = self.state.evaluator.shown_in(self.base)
        self.examples = [index for index in self.examples if index not in shown]
        self._given = bare_predictor(self.bound).signature.instructions

    @property
    def bound(self) -> BoundModule:
        """The module in the base, or the role of an aggregator."""
        bound = self.state.evaluator.program(self.base).bound
        return next(
            each for top in bound.values() for each in top.walk() if each.path == self.module
        )

    def student(self) -> Student:
        """A program with the module's predictor alone, for an optimizer."""
        return Student(bare_predictor(self.bound), self)

    def dataset(self) -> list[dspy.Example]:
        """The examples, as optimizers take them."""
        columns = self.state.evaluator.examples
        rows = ({**columns[i].toDict(), NUMBER: i} for i in self.examples)
        return [dspy.Example(**row).with_inputs(NUMBER) for row in rows]

    def config_of(self, predictor: dspy.Predict) -> PipelineConfig:
        """The base with the predictor's instructions and demos in this module."""
        own = self.base.part(self.module)
        instructions: Any = predictor.signature.instructions
        if instructions == self._given:
            instructions = own.instructions
        fields = predictor.signature.fields
        demos = tuple({k: v for k, v in demo.items() if k in fields} for demo in predictor.demos)
        return self.base.with_knobs(self.module, instructions=instructions, demos=demos)

    def run(self, predictor: dspy.Predict, index: int) -> Outcome:
        """Run one example, and add it to DSPy's trace of the predictor; safe for threads.

        Raises:
            Exception: the run failed (kept in `broken`), or no config can hold the predictor.
        """
        config, evaluator = self.config_of(predictor), self.state.evaluator
        self.tried.setdefault(config.key, config)
        try:
            if index in evaluator.shown_in(config):  # the model would only repeat the demo
                config = self.base
            outcome = evaluator.outcome(config, index)
            if dspy.settings.trace is not None and not outcome.outage:
                self._trace(config, predictor, index)
        except Exception as error:
            self.broken = self.broken or error
            raise
        return outcome

    def score(self, index: int, outcome: Outcome) -> float:
        """The score in [0, 1]; after an outage the base's, so that it changes nothing."""
        if outcome.score is not None:
            return outcome.score
        return self.state.evaluator.known(self.base).scores.get(index, 0.0)

    def feedback(self, index: int, outcome: Outcome) -> str:
        """A description of one run."""
        wanted = canonical_json(self.state.evaluator.labels(index))
        text = f"The whole pipeline scored {self.score(index, outcome):g} of 1; wanted: {wanted}."
        if outcome.failure is not None:
            text += f" {outcome.failure.module} failed: {outcome.failure.message}"
        if outcome.feedback:
            text += f" {outcome.feedback}"
        if self.reasons.get(index):
            text += f" Of an earlier attempt at this step it was said: {self.reasons[index]}"
        return text

    def ranked(self) -> list[PipelineConfig]:
        """The prompts that were tried and are not known to be worse, best first: by their gain over
        the base if they ran on at least half of the examples, then the others."""
        gains = [(self.gain(config), config) for config in self._others()]
        known = [(gain, config) for gain, config in gains if gain is not None and gain >= 0]
        best = [config for _, config in sorted(known, key=lambda pair: -pair[0])]
        return [*best, *(config for gain, config in gains if gain is None)]

    def gain(self, config: PipelineConfig) -> float | None:
        """Mean gain over the base; None where too little is known."""
        known = self.state.evaluator.known
        gains = known(config).on(self.examples).gains_over(known(self.base))
        return float(np.mean(gains)) if len(gains) >= len(self.examples) / 2 else None

    def probes(self, stage: str, optimizer: str) -> Iterator[Probe]:
        """One for every prompt that was tried, with all that is known of it so far."""
        base = self.state.last_trial(self.base)
        for config in self._others():
            known = self.state.evaluator.known(config)
            yield Probe(
                kind="prompt",
                stage=stage,
                turn=self.state.turn,
                base=base.number if base else None,
                module=self.module,
                model=", ".join(config.part(self.module).models),
                examples=len(known.scores),
                score=known.mean if known.scores else None,
                usd=math.fsum(outcome.usd for outcome in known.outcomes.values()),
                detail=f"{optimizer}: {changed_text(self.base, config)}",
            )

    def _others(self) -> list[PipelineConfig]:
        """The configs that were tried, without the base, in an order that no thread decides."""
        others = (config for key, config in self.tried.items() if key != self.base.key)
        return sorted(others, key=lambda config: config.canonical_json())

    def _trace(self, config: PipelineConfig, predictor: dspy.Predict, index: int) -> None:
        """Add the module's inputs and outputs to DSPy's trace, by its own field names."""
        if self.module not in config.modules:
            for received, outputs in self._consultations(config, index):
                self._note(predictor, received, outputs, index)
        for step in self.state.evaluator.trace(config, index).steps:
            if step.module == self.module and step.outputs is not None:
                reads = self.bound.reads
                received = {own: step.inputs[wired] for own, wired in reads if wired in step.inputs}
                outputs = {own: step.outputs[wired] for own, wired in self.bound.writes}
                self._note(predictor, received, outputs, index)

    def _consultations(
        self, config: PipelineConfig, index: int
    ) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """What the role of an aggregator received and returned; its calls are in the cache."""
        evaluator = self.state.evaluator
        program: Any = copy.deepcopy(evaluator.program(config))  # without its memo
        top, path = config.place(self.module)
        asked = getattr(program, top)
        for role in path:
            (wide,) = asked.predictors()
            network, asked = wide.network, wide.network.consultants[role]
        asked_for: list[tuple[dict[str, Any], dict[str, Any]]] = []

        def recorded(**received: Any) -> dspy.Prediction:
            answered = asked(**received)
            asked_for.append((received, dict(answered.items())))
            return answered

        network.consultants = {**network.consultants, path[-1]: recorded}
        program.run(evaluator.inputs(index))
        return sorted(asked_for, key=canonical_json)

    def _note(
        self,
        predictor: dspy.Predict,
        received: Mapping[str, Any],
        outputs: Mapping[str, Any],
        index: int,
    ) -> None:
        demo = {**received, **outputs}
        if self._has_form(demo):
            sources = self.state.evaluator.demo_sources
            sources.setdefault(canonical_json(demo), set()).add(index)
            dspy.settings.trace.append((predictor, dict(received), dspy.Prediction(**outputs)))

    def _has_form(self, demo: Mapping[str, Any]) -> bool:
        """Whether a config with this demo can be written down."""
        try:
            return bool(self.base.with_knobs(self.module, demos=(dict(demo),)).key)
        except ValueError:
            return False

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Optimizers copy programs; the workbench stays one."""
        return self


class Student(dspy.Module):
    """A program with one predictor, whose runs are the workbench's."""

    def __init__(self, predictor: dspy.Predict, workbench: Workbench) -> None:
        super().__init__()
        self.module = predictor
        self.workbench = workbench

    def forward(self, example_number: int) -> dspy.Prediction:
        """The outcome of that example."""
        return dspy.Prediction(outcome=self.workbench.run(self.module, example_number))
