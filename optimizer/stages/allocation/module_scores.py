"""Module scores: the models of one module on the same upstream values, rated by the diagnoser."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluators.diagnosis.diagnoser import Diagnoser
from evaluators.racing.stopping import UNLIKELY, standard_errors_behind
from optimizer.search.judgements import judged, shown
from optimizer.search.state import SearchState
from optimizer.stages.allocation.measured_agreement import measured_agreement
from pipelines import ModuleStep
from pipelines.aggregators.calls import most_calls
from search_spaces import PipelineConfig

Fields = dict[str, Any]

RATING_RUNGS = (4, 8, 16)
"""On how many examples the models of a module are rated, before the worse of them may drop."""


@dataclass
class ModuleScores:
    """What the diagnoser said of the models of one module on the same inputs."""

    module: str
    promising: list[str]
    """The labels that its word alone may not drop, most promising first."""
    judge: str = ""
    """The diagnoser's own label. It favours what it would have said itself (arXiv 2404.13076), so
    its own model is neither dropped nor the measure of others."""
    ratings: dict[str, dict[int, float]] = field(default_factory=dict)
    """In [0, 1], by label and example."""
    usd: dict[str, list[float]] = field(default_factory=dict)
    """What the outputs cost, by label."""

    def note(self, label: str, index: int, step: ModuleStep, rating: float | None) -> None:
        """Add one output; what the model itself did wrong counts as rated 0."""
        self.usd.setdefault(label, []).append(step.usd)
        if step.failure is not None:
            rating = None if step.failure.infrastructure else 0.0
        if rating is not None:
            self.ratings.setdefault(label, {})[index] = rating

    def drop(self, most: int) -> None:
        """Drop up to so many of the worse half that are rated clearly below the best."""
        ranked = self._ranked()
        worse = [label for label in ranked[(len(ranked) + 1) // 2 :] if label != self.judge]
        clearly_worse = [label for label in worse if self._behind(label, ranked[0])]
        dropped = clearly_worse[max(0, len(clearly_worse) - most) :]
        self.promising = [label for label in ranked if label not in dropped]

    def _ranked(self) -> list[str]:
        """By mean rating, the cheaper first where ratings tie; the judge's own never first."""
        ranked = sorted(
            self.promising, key=lambda label: (-self._mean(label), float(np.mean(self.usd[label])))
        )
        if ranked[0] == self.judge and len(ranked) > 1:
            ranked[:2] = ranked[1::-1]
        return ranked

    def _mean(self, label: str) -> float:
        ratings = list(self.ratings.get(label, {}).values())
        return float(np.mean(ratings)) if ratings else 0.0

    def _behind(self, label: str, best: str) -> bool:
        ours, theirs = self.ratings.get(label, {}), self.ratings.get(best, {})
        differences = np.array([ours[i] - theirs[i] for i in ours if i in theirs])
        return standard_errors_behind(differences) >= UNLIKELY


def score_modules(
    state: SearchState,
    diagnoser: Diagnoser,
    modules: Collection[str],
    scored: dict[str, ModuleScores],
) -> dict[str, ModuleScores]:
    """Rate the models of these modules, upstream modules first.

    A module receives what the best-rated models of the modules before it returned, so that one
    weak module does not hide how good the models are in those after it.

    Args:
        state: whose incumbent the modules stand in.
        diagnoser: rates them.
        modules: which ones.
        scored: gets what was rated, also where the budget ends it; and is returned.

    Raises:
        BudgetExhausted: the calls can't be paid.
    """
    config, examples = state.incumbent, state.examples[: RATING_RUNGS[-1]]
    for module in itertools.chain.from_iterable(state.evaluator.pipeline.levels):
        if module not in modules:  # what comes after it needs its outputs
            state.forecast.check_calls(len(examples) * most_calls(config.modules[module]))
            continue
        received = _received(state, config, module, examples)
        scored[module] = ModuleScores(
            module, list(state.space.models[module]), diagnoser.model.label
        )
        _score_module(state, diagnoser, config, scored[module], received)
        config = config.with_models({module: scored[module].promising[0]})
    return scored


def _received(
    state: SearchState, config: PipelineConfig, module: str, examples: Sequence[int]
) -> dict[int, Fields]:
    """What the module receives by example, where it is reached."""
    evaluator = state.evaluator
    program = evaluator.program(config)
    received = evaluator.map(lambda i: program.inputs_of(module, evaluator.inputs(i)), examples)
    pairs = zip(examples, received, strict=True)
    return {index: dict(fields) for index, fields in pairs if fields is not None}


def _score_module(
    state: SearchState,
    diagnoser: Diagnoser,
    config: PipelineConfig,
    scores: ModuleScores,
    values: Mapping[int, Fields],
) -> None:
    """Rate all models on a few examples, the better ones on more, while any may still drop.

    As many may drop as the diagnoser's agreement with measured scores allows.
    """
    module, labels = scores.module, state.space.models[scores.module]
    for start, end in itertools.pairwise((0, *RATING_RUNGS)):
        rung = {index: values[index] for index in list(values)[start:end]}
        if not rung:
            break
        asked = len(scores.promising) * most_calls(config.modules[module])
        state.forecast.check_calls(len(rung) * (asked + 1))
        _rate(state, diagnoser, scores, _run_models(state, config, scores, rung))
        state.judgements.agreement[module] = measured_agreement(state, module)
        fewest = len(labels) - state.judgements.agreement[module].may_drop(len(labels))
        scores.drop(len(scores.promising) - fewest)


def _run_models(
    state: SearchState, config: PipelineConfig, scores: ModuleScores, values: Mapping[int, Fields]
) -> dict[int, dict[str, ModuleStep]]:
    """The module's step by example and model label, all on the same inputs."""
    module = scores.module
    programs = {
        label: state.evaluator.program(config.with_models({module: label}))
        for label in scores.promising
    }
    tasks = [(index, label) for index in values for label in programs]
    steps = state.evaluator.map(lambda t: programs[t[1]].run_module(module, values[t[0]]), tasks)
    by_index: dict[int, dict[str, ModuleStep]] = {index: {} for index in values}
    for (index, label), step in zip(tasks, steps, strict=True):
        by_index[index][label] = step
    return by_index


def _rate(
    state: SearchState,
    diagnoser: Diagnoser,
    scores: ModuleScores,
    steps: Mapping[int, Mapping[str, ModuleStep]],
) -> None:
    """Note what the diagnoser says of what the models returned, by example and label."""
    outputs = {index: _distinct(of_index.values()) for index, of_index in steps.items()}
    unclear = [i for i, of_index in outputs.items() if not _is_clear(state, of_index)]
    diagnoses = state.evaluator.map(
        lambda i: diagnoser.diagnose(
            scores.module, outputs[i][0].inputs, [judged(s) for s in outputs[i]], state.desired(i)
        ),
        unclear,
    )
    for index, diagnosis in zip(unclear, diagnoses, strict=True):
        if diagnosis is not None:
            state.judgements.note(outputs[index], diagnosis)
    for index, of_index in steps.items():
        clear = _is_clear(state, outputs[index])
        for label, step in of_index.items():
            rating = 1.0 if len(outputs[index]) == 1 else state.judgements.rating(step)
            scores.note(label, index, step, rating if clear else None)


def _distinct(steps: Iterable[ModuleStep]) -> list[ModuleStep]:
    """One step for every distinct output; those that failed have none."""
    return list({shown(step): step for step in steps if step.outputs is not None}.values())


def _is_clear(state: SearchState, steps: Sequence[ModuleStep]) -> bool:
    """Whether the diagnoser has rated all of them; a single output needs no judge."""
    return len(steps) <= 1 or all(state.judgements.rating(step) is not None for step in steps)
