"""Module scores: the models of one module on the same upstream values, rated by the diagnoser."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from evaluators.racing.posterior import Floats
from optimizer.search.records.probe import Probe
from optimizer.search.state import SearchState, judged, rating_key, shown
from optimizer.search.strategies.posterior_search import RATED
from pipelines import ModuleStep
from pipelines.aggregators.calls import most_calls
from search_spaces import PipelineConfig


@dataclass
class ModuleRatings:
    """The diagnoser's ratings of the models of one module on the same inputs."""

    module: str
    ratings: dict[str, dict[int, float]] = field(default_factory=dict)
    """In [0, 1], by label and example."""
    usd: dict[str, list[float]] = field(default_factory=dict)
    """Dollars of each output, by label."""

    def note(self, label: str, index: int, step: ModuleStep, rating: float | None) -> None:
        """Add one output; the model's own failures count as rated 0."""
        self.usd.setdefault(label, []).append(step.usd)
        if step.failure is not None:
            rating = None if step.failure.infrastructure else 0.0
        if rating is not None:
            self.ratings.setdefault(label, {})[index] = rating

    def mean(self, label: str) -> float | None:
        """Mean rating of a label; None where it has none."""
        ratings = list(self.ratings.get(label, {}).values())
        return float(np.mean(ratings)) if ratings else None

    def best(self, labels: Sequence[str]) -> str:
        """The label with the best mean rating, the cheaper of equals."""
        usd = {label: np.mean(self.usd.get(label, [np.inf])) for label in labels}
        return min(labels, key=lambda label: (-(self.mean(label) or 0.0), usd[label]))

    def table(self, labels: Sequence[str], examples: Sequence[int]) -> Floats:
        """Labels x examples, NaN where there is no rating."""
        rows = (self.ratings.get(label, {}) for label in labels)
        return np.array([[row.get(index, np.nan) for index in examples] for row in rows])

    def probes(self, state: SearchState, stage: str) -> Iterator[Probe]:
        """The runs of the module with each model, as the result lists them."""
        base = state.last_trial(state.incumbent)
        for label, usd in self.usd.items():
            yield Probe(
                kind="module",
                stage=stage,
                turn=state.turn,
                base=base.number if base else None,
                module=self.module,
                model=label,
                examples=len(usd),
                score=self.mean(label),
                usd=float(np.sum(usd)),
            )


def rate_modules(
    state: SearchState, choices: Mapping[str, Sequence[str]]
) -> Iterator[ModuleRatings]:
    """Rate the models of these modules, upstream modules first.

    A module receives what the best-rated models of the modules before it returned, so that one
    weak module does not hide how good the models are in those after it.

    Raises:
        BudgetExhausted: the calls can't be paid.
    """
    config, examples = state.incumbent, state.examples[:RATED]
    for module in itertools.chain.from_iterable(state.evaluator.pipeline.levels):
        if module not in choices:  # what comes after it needs its outputs
            state.forecast.check_calls(len(examples) * most_calls(config.modules[module]))
            continue
        rated = rate_module(state, config, module, choices[module], examples)
        yield rated
        config = config.with_models({module: rated.best(choices[module])})


def rate_module(
    state: SearchState,
    config: PipelineConfig,
    module: str,
    labels: Sequence[str],
    examples: Sequence[int],
) -> ModuleRatings:
    """Rate models of one module on what it receives in a config.

    Raises:
        BudgetExhausted: the calls can't be paid.
    """
    evaluator, rated = state.evaluator, ModuleRatings(module)
    program = evaluator.program(config)
    received = evaluator.map(lambda i: program.inputs_of(module, evaluator.inputs(i)), examples)
    pairs = zip(examples, received, strict=True)
    values = {index: dict(fields) for index, fields in pairs if fields is not None}  # it is reached
    if not values:
        return rated
    asked = len(labels) * most_calls(config.modules[module])
    state.forecast.check_calls(len(values) * (asked + 1))
    programs = {label: evaluator.program(config.with_models({module: label})) for label in labels}
    tasks = [(index, label) for index in values for label in programs]
    steps = evaluator.map(lambda t: programs[t[1]].run_module(module, values[t[0]]), tasks)
    made = dict(zip(tasks, steps, strict=True))
    _rate(state, rated, {i: {label: made[i, label] for label in labels} for i in values})
    return rated


def _rate(
    state: SearchState, rated: ModuleRatings, steps: Mapping[int, Mapping[str, ModuleStep]]
) -> None:
    """Note the diagnoser's ratings of the models' outputs, by example and label."""
    assert state.diagnoser is not None
    diagnose = state.diagnoser.diagnose
    outputs = {index: _distinct(of_index.values()) for index, of_index in steps.items()}
    unclear = [i for i, of_index in outputs.items() if not _is_clear(state, of_index)]
    diagnoses = state.evaluator.map(
        lambda i: diagnose(
            rated.module, outputs[i][0].inputs, [judged(s) for s in outputs[i]], state.desired(i)
        ),
        unclear,
    )
    for index, diagnosis in zip(unclear, diagnoses, strict=True):
        if diagnosis is not None:
            keys = map(rating_key, outputs[index])
            state.ratings.update(zip(keys, diagnosis.ratings, strict=True))
    for index, of_index in steps.items():
        clear = _is_clear(state, outputs[index])
        for label, step in of_index.items():
            rating = 1.0 if len(outputs[index]) == 1 else state.ratings.get(rating_key(step))
            rated.note(label, index, step, rating if clear else None)


def _distinct(steps: Iterable[ModuleStep]) -> list[ModuleStep]:
    """One step for every distinct output; those that failed have none."""
    return list({shown(step): step for step in steps if step.outputs is not None}.values())


def _is_clear(state: SearchState, steps: Sequence[ModuleStep]) -> bool:
    """Whether the diagnoser has rated all of them; a single output needs no rating."""
    return len(steps) <= 1 or all(rating_key(step) in state.ratings for step in steps)
