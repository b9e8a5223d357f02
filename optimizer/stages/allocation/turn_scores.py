"""What a turn of the allocation leaves behind: module scores, and the runs they rest on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from statistics import NormalDist

import numpy as np

from evaluators.outcome import Evaluation
from optimizer.search.module_score import Decision, ModuleScore
from optimizer.search.probe import Probe
from optimizer.search.state import SearchState
from optimizer.stages.allocation.module_scores import ModuleScores
from search_spaces import PipelineConfig

_Z95 = NormalDist().inv_cdf(0.975)


def turn_scores(
    state: SearchState,
    before: PipelineConfig,
    choices: Mapping[str, Sequence[str]],
    rated: Mapping[str, ModuleScores],
    beaten: Collection[tuple[str, str]],
) -> list[ModuleScore]:
    """The module scores of the turn that ends now.

    Args:
        state: whose incumbent is the turn's outcome.
        before: the incumbent when the turn began.
        choices: labels of the models to choose from, by module.
        rated: what the diagnoser said, by module; empty without one.
        beaten: modules and labels that lost end to end.
    """
    return [
        _turn_score(state, before, module, label, rated.get(module), (module, label) in beaten)
        for module, labels in choices.items()
        for label in labels
    ]


def module_probes(state: SearchState, stage: str, scores: ModuleScores) -> Iterator[Probe]:
    """The runs of one module with each model that the diagnoser was to rate."""
    base = state.last_trial(state.incumbent)
    for label, usd in scores.usd.items():
        yield Probe(
            kind="module",
            stage=stage,
            turn=state.turn,
            base=base.number if base else None,
            module=scores.module,
            model=label,
            examples=len(usd),
            score=_mean(_ratings(scores, label)),
            usd=float(np.sum(usd)),
        )


def _turn_score(
    state: SearchState,
    before: PipelineConfig,
    module: str,
    label: str,
    rated: ModuleScores | None,
    beaten: bool,
) -> ModuleScore:
    ratings = _ratings(rated, label) if rated else []
    evaluation = state.evaluator.known(state.incumbent.with_models({module: label}))
    agreement = state.judgements.agreement.get(module)
    compared = agreement is not None and agreement.compared
    had, has = (label in config.allocation[module] for config in (before, state.incumbent))
    dropped = rated is not None and label not in rated.promising
    return ModuleScore(
        module=module,
        model=label,
        turn=state.turn,
        examples=len(ratings),
        rating=_mean(ratings),
        agreement=agreement.concordant / compared if agreement and compared else None,
        measured=evaluation.mean if evaluation.scores else None,
        measured_se=_standard_error(evaluation),
        decision=_decision(had, has, dropped or beaten, bool(ratings or evaluation.scores)),
    )


def _decision(had: bool, has: bool, out: bool, seen: bool) -> Decision:
    if has:
        return "kept" if had else "chosen"
    if out:
        return "eliminated"
    return "promising" if seen else "not rated"


def _ratings(scores: ModuleScores, label: str) -> list[float]:
    return list(scores.ratings.get(label, {}).values())


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _standard_error(evaluation: Evaluation) -> float | None:
    """From the interval's width: a few equal scores do not make a mean certain."""
    interval = evaluation.interval
    return None if interval is None else (interval.high - interval.low) / (2 * _Z95)
