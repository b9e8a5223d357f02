"""Module scores: the models of one module on the same upstream values, rated by the diagnoser."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluators.agreement import Agreement, agreement, given_others
from evaluators.diagnoser import Diagnoser
from optimizer.study import Study
from pipelines import ModuleStep
from search_spaces import PipelineConfig
from search_spaces.config import canonical_json

Fields = dict[str, Any]

PROBE_RUNGS = (4, 8, 16, 32)
"""On how many examples the models of a module are rated, before the worse of them may drop."""
ENOUGH_PAIRS = 16
"""From so many pairs of configs that differ in one module alone, only those count."""


@dataclass
class ModuleScores:
    """What the diagnoser said of one module in one round."""

    module: str
    ranking: list[str] = field(default_factory=list)
    """All model labels, most promising first."""
    agreement: Agreement = field(default_factory=Agreement)
    """How far the ratings agree with the end-to-end scores measured so far."""
    by_model: dict[str, list[float]] = field(default_factory=dict)
    """Ratings in [0, 1] by model label."""
    by_output: dict[str, dict[str, float]] = field(default_factory=dict)
    """Ratings by the module's inputs, then by its output, both as canonical JSON."""
    steps: dict[str, dict[int, ModuleStep]] = field(default_factory=dict)
    """What the module returned, by model label and example."""

    @property
    def promising(self) -> list[str]:
        """The labels that the diagnoser's word alone may not drop, most promising first."""
        return self.ranking[: len(self.ranking) - self.agreement.may_drop(len(self.ranking))]

    def rank(self, labels: Sequence[str]) -> list[str]:
        """The labels by mean rating; the cheaper first where ratings tie."""
        return sorted(labels, key=lambda label: (-self._mean(label), self._usd(label)))

    def _mean(self, label: str) -> float:
        ratings = self.by_model.get(label)
        return float(np.mean(ratings)) if ratings else 0.0

    def _usd(self, label: str) -> float:
        return float(np.mean([step.usd for step in self.steps[label].values()]))


def score_modules(study: Study, diagnoser: Diagnoser) -> dict[str, ModuleScores]:
    """Rate the models of every module, upstream modules first.

    A module receives what the best-rated models of the modules before it returned, so that one
    weak module does not hide how good the models are in those after it.

    Raises:
        BudgetExhausted: the calls can't be paid.
    """
    evaluator, config = study.evaluator, study.incumbent
    indices = study.examples[: PROBE_RUNGS[-1]]
    values = {index: evaluator.inputs(index) for index in indices}
    scored = {}
    for module in itertools.chain.from_iterable(evaluator.pipeline.levels):
        if module in study.space.models:
            scores = _score_module(study, diagnoser, config, module, values)
            scored[module] = scores
            config = config.with_models({module: scores.ranking[0]})
        steps = _run(study, config, module, values)
        values = {
            index: {**fields, **outputs}
            for index, fields in values.items()
            if (outputs := steps[index].outputs) is not None
        }
    return scored


def _score_module(
    study: Study,
    diagnoser: Diagnoser,
    config: PipelineConfig,
    module: str,
    values: Mapping[int, Fields],
) -> ModuleScores:
    """Rate all models on a few examples, the better ones on more.

    As many may drop on the way as the diagnoser's agreement with measured scores allows, and
    never more than the worse half at a time.
    """
    labels = study.space.models[module]
    scores = ModuleScores(module)
    alive, dropped = list(labels), list[str]()
    seen = 0
    for size in PROBE_RUNGS:
        rung = {index: values[index] for index in list(values)[seen:size]}
        seen = size
        if not rung:
            break
        study.check_calls(len(rung) * (len(alive) + 1))
        _rate(study, diagnoser, scores, _run_models(study, config, module, alive, rung))
        scores.agreement = _against_measured(study, scores)
        kept = max(len(labels) - scores.agreement.may_drop(len(labels)), -(-len(alive) // 2))
        ranked = scores.rank(alive)
        alive, dropped = ranked[:kept], ranked[kept:] + dropped
    scores.ranking = alive + dropped
    study.agreement[module] = scores.agreement
    return scores


def _run_models(
    study: Study,
    config: PipelineConfig,
    module: str,
    labels: Sequence[str],
    values: Mapping[int, Fields],
) -> dict[str, dict[int, ModuleStep]]:
    """The module's step by model label and example, all on the same inputs."""
    programs = {
        label: study.evaluator.program(config.with_models({module: label})) for label in labels
    }
    tasks = [(label, index) for label in labels for index in values]
    steps = study.evaluator.map(lambda t: programs[t[0]].run_module(module, values[t[1]]), tasks)
    by_label: dict[str, dict[int, ModuleStep]] = {label: {} for label in labels}
    for (label, index), step in zip(tasks, steps, strict=True):
        by_label[label][index] = step
    return by_label


def _run(
    study: Study, config: PipelineConfig, module: str, values: Mapping[int, Fields]
) -> dict[int, ModuleStep]:
    program = study.evaluator.program(config)
    steps = study.evaluator.map(lambda i: program.run_module(module, values[i]), list(values))
    return dict(zip(values, steps, strict=True))


def _rate(
    study: Study,
    diagnoser: Diagnoser,
    scores: ModuleScores,
    steps: Mapping[str, Mapping[int, ModuleStep]],
) -> None:
    """Fill in what the diagnoser says about what the models returned on some examples."""
    indices = list(next(iter(steps.values())))
    diagnoses = study.evaluator.map(
        lambda i: _diagnose(study, diagnoser, scores.module, [s[i] for s in steps.values()], i),
        indices,
    )
    for label, of_label in steps.items():
        scores.steps.setdefault(label, {}).update(of_label)
    for index, ratings in zip(indices, diagnoses, strict=True):
        if ratings is None:
            study.diagnoses_failed += 1
            continue
        study.judged[scores.module] = study.judged.get(scores.module, 0) + 1
        for label, of_label in steps.items():
            _note(scores, label, of_label[index], ratings)


def _note(scores: ModuleScores, label: str, step: ModuleStep, ratings: Mapping[str, float]) -> None:
    of_model = scores.by_model.setdefault(label, [])
    if step.failure is None:
        rating = ratings[_shown(step)]
        of_model.append(rating)
        scores.by_output.setdefault(canonical_json(step.inputs), {})[_shown(step)] = rating
    elif not step.failure.infrastructure:
        of_model.append(0.0)


def _diagnose(
    study: Study, diagnoser: Diagnoser, module: str, steps: Sequence[ModuleStep], index: int
) -> dict[str, float] | None:
    """Rating by output; equal outputs are judged once, and a single one needs no judge."""
    distinct = {_shown(step): step for step in steps if step.failure is None}
    if len(distinct) <= 1:
        return dict.fromkeys(distinct, 1.0)
    outputs = [_judged(step) for step in distinct.values()]
    inputs = next(iter(distinct.values())).inputs
    diagnosis = diagnoser.diagnose(module, inputs, outputs, study.desired(index))
    return dict(zip(distinct, diagnosis.ratings, strict=True)) if diagnosis else None


def _against_measured(study: Study, scores: ModuleScores) -> Agreement:
    """Compare ratings with end-to-end scores, where only the module can have made a difference.

    Two kinds of pairs tell: configs that differ in this module alone, and, while there are few of
    those, single models on the same inputs of the module. Any other two configs differ elsewhere
    too, and the search picked them, so that what follows the module would count for the module.
    """
    clean: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    singles: dict[str, list[tuple[float, float]]] = defaultdict(list)
    probed = set(study.examples[: PROBE_RUNGS[-1]])
    single_keys = {config.key for config in study.singles.values()}
    for config, index, score in study.measured():
        steps = study.evaluator.trace(config, index).steps if index in probed else ()
        step = next((step for step in steps if step.module == scores.module), None)
        if step is None or step.outputs is None:
            continue
        inputs = canonical_json(step.inputs)
        rating = scores.by_output.get(inputs, {}).get(_shown(step))
        if rating is None:
            continue
        rest = config.with_models({scores.module: ""}).key
        clean[rest, inputs].append((rating, score))
        if config.key in single_keys:
            singles[inputs].append((rating, score))
    alone = agreement(list(clean.values()))
    others = (a for module, a in study.agreement.items() if module != scores.module)
    enough = alone.compared >= ENOUGH_PAIRS
    return given_others(alone if enough else agreement(list(singles.values())), others)


def _judged(step: ModuleStep) -> Fields:
    """What the diagnoser sees of a step: its outputs but the reasoning."""
    return {k: v for k, v in (step.outputs or {}).items() if k != "reasoning"}


def _shown(step: ModuleStep) -> str:
    return canonical_json(_judged(step))
