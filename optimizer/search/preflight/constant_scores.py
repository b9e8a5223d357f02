"""Checks for scores that are all equal: the metric can't tell answers apart, or all are right."""

from __future__ import annotations

from evaluators.outcome import Evaluation
from optimizer.errors import OptimizationError
from optimizer.formatting import counted
from optimizer.search.preflight.baseline import limits_text
from optimizer.search.state import SearchState
from search_spaces import PipelineConfig

LOOK, GLANCE = 16, 4
"""On how many examples single models are run, and mixes of models, to see whether any score
differs."""
FEWEST = 8
"""On fewer examples, scores below 1 may be equal by chance."""


def check_scores_differ(state: SearchState) -> str | None:
    """Whether the baseline's scores leave anything to search for.

    Returns:
        Why there is nothing to search for: all scores are 1, and the objective wants only quality.

    Raises:
        OptimizationError: all answers score the same, below 1, and so do those of other models;
            shows an example with its answer.
        BudgetExhausted: the runs with other models can't be paid.
    """
    known = state.evaluator.known(state.baseline)
    score = _constant(known)
    if score is None:
        return None
    if score == 1:
        return _nothing_to_gain(state, known)
    others = _other_models(state)
    for config in others:
        examples = state.examples[: LOOK if config.single_model else GLANCE]
        state.forecast.check([(config, index) for index in examples])
        if {*_answered(state.evaluator.evaluate(config, examples))} - {score}:
            return None
    if any(state.space.params.values()) or any(state.space.instructions.values()):
        return None  # what the user lists beside models may be what is missing
    raise OptimizationError(_constant_text(state, score, len(others)))


def all_scores_equal(state: SearchState) -> str | None:
    """A message where every score of the search was the same and below 1; else None."""
    raced = [state.evaluator.known(config) for config in state.raced()]
    scores = {score for known in raced for score in known.scores.values()}
    if len(scores) != 1 or scores == {1}:
        return None
    (score,) = scores
    return (
        f"metric {state.evaluator.metric.name!r} scores {score:g} on every example with "
        f"{counted(len(raced), 'config')}, so there was nothing to choose by. {_example(state)}"
        f"{'' if score else limits_text(state)}"
    )


def _constant(known: Evaluation) -> float | None:
    """The score that all examples have, or all answered ones; None if these differ or are too few.

    A score of 1 counts on any number of examples, but not beside failures, which could be fewer.
    """
    equal = len({*known.scores.values()}) == 1
    scores = [*known.scores.values()] if equal else _answered(known)
    if len({*scores}) != 1 or known.disqualified:
        return None
    if scores[0] == 1:
        return 1 if equal else None
    return scores[0] if len(scores) >= FEWEST else None


def _answered(known: Evaluation) -> list[float]:
    """The scores that the metric gave; failures score 0 whatever the metric."""
    return [score for i, score in known.scores.items() if known.outcomes[i].failure is None]


def _other_models(state: SearchState) -> list[PipelineConfig]:
    """Every single model in all modules, then every other model in one module."""
    baseline, choices = state.baseline, state.space.models
    found = [baseline.with_single_model(label) for label in state.space.single_models()]
    found += [baseline.with_models({m: label}) for m, labels in choices.items() for label in labels]
    return [config for config in {c.key: c for c in found}.values() if config != baseline]


def _nothing_to_gain(state: SearchState, known: Evaluation) -> str | None:
    if state.objective.limited or state.objective.pareto:
        return None
    few = len(known.scores) < FEWEST
    gain = "no gain can be measured on so few" if few else "no quality can be gained"
    return (
        f"metric {state.evaluator.metric.name!r} scores 1 on {_all(known)}, so {gain}, and the "
        "pipeline stays as given. Objective(within=0.01) looks for one that is as good for less. "
        f"{_example(state)}"
    )


def _constant_text(state: SearchState, score: float, others: int) -> str:
    metric, outputs = state.evaluator.metric, ", ".join(state.evaluator.pipeline.outputs)
    known = state.evaluator.known(state.baseline)
    equal = {*known.scores.values()} == {score}
    where = _all(known) if equal else f"all {len(_answered(known))} search examples answered"
    elsewhere = f", and on some of them with {counted(others, 'other choice')} of models"
    forgiving = "; contains and numeric_match accept more forms than exact_match"
    return (
        f"metric {metric.name!r} scores {score:g} on {where} "
        f"with the pipeline as given{elsewhere if others else ''}: there is nothing to choose by. "
        f"{_example(state)}. Check that the metric compares the label with what the pipeline "
        f"writes{f' ({outputs})' if outputs else ''}, and accepts the form in which answers are "
        f"written{forgiving if metric.fields else ''}{'' if score else limits_text(state)}"
    )


def _all(known: Evaluation) -> str:
    count = len(known.scores)
    return f"all {count} search examples" if count > 1 else "the only search example"


def _example(state: SearchState) -> str:
    """The first example that the baseline answered, with its answer."""
    for index, outcome in state.evaluator.known(state.baseline).outcomes.items():
        outputs = None if outcome.failure else state.evaluator.trace(state.baseline, index).outputs
        if outputs is not None:
            return f"An example: {state.evaluator.shown(index, outputs)}"
    failures = state.evaluator.known(state.baseline).failures
    return f"No example was answered: {', '.join(f'{k} x{n}' for k, n in failures.items())}"
