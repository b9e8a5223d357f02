"""How far the diagnoser's ratings agree with the end-to-end scores measured so far."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from evaluators.diagnosis.agreement import Agreement, agreement, given_others
from optimizer.search.judgements import shown
from optimizer.search.state import SearchState
from pipelines import ModuleStep
from search_spaces import PipelineConfig
from search_spaces.config import canonical_json

ENOUGH_PAIRS = 16
"""From so many pairs of outputs that met the same rest of a pipeline, only those count."""

Measured = tuple[str, float, float]
"""A module's output, its rating, and the score that followed end to end."""
Group = tuple[str, str]
"""What came after the module, and what it had received."""


def measured_agreement(state: SearchState, module: str) -> Agreement:
    """Compare ratings with end-to-end scores, where only the module can have made a difference.

    Two kinds of pairs tell: outputs that met the same rest of a pipeline, and, while there are few
    of those, outputs of single models on the same inputs. Any other two configs differ elsewhere
    too, and the search picked them, so that what follows the module would count for the module.
    """
    same_rest: dict[Group, list[Measured]] = defaultdict(list)
    singles: dict[Group, list[Measured]] = defaultdict(list)
    single_keys = {config.key for config in state.singles.values()}
    for config, index, score in _measured(state):
        step = _step(state, config, module, index)
        rating = state.judgements.rating(step) if step else None
        if step is None or rating is None:
            continue
        measured, inputs = (shown(step), rating, score), canonical_json(step.inputs)
        same_rest[config.with_models({module: ""}).key, inputs].append(measured)
        if config.key in single_keys:
            singles["", inputs].append(measured)
    pairs = _differences(same_rest.items())
    if len(pairs) < ENOUGH_PAIRS:
        pairs = _differences([*same_rest.items(), *singles.items()])
    others = (a for name, a in state.judgements.agreement.items() if name != module)
    return given_others(agreement(pairs), others)


def _measured(state: SearchState) -> Iterator[tuple[PipelineConfig, int, float]]:
    """Every config that was raced, on every example with a score."""
    for config in state.raced():
        for index, score in state.evaluator.known(config).scores.items():
            yield config, index, score


def _differences(groups: Iterable[tuple[Group, list[Measured]]]) -> list[tuple[float, float]]:
    """By how much ratings and scores differ, once for every two outputs on the same inputs."""
    scores: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    ratings: dict[tuple[str, str, str], float] = {}
    for (_, inputs), measured in groups:
        for one, other in itertools.combinations(sorted(measured), 2):
            if one[0] != other[0]:
                pair = (inputs, one[0], other[0])
                ratings[pair] = one[1] - other[1]
                scores[pair].append(one[2] - other[2])
    return [(ratings[pair], float(np.mean(scores[pair]))) for pair in scores]


def _step(state: SearchState, config: PipelineConfig, module: str, index: int) -> ModuleStep | None:
    steps = state.evaluator.trace(config, index).steps
    return next((s for s in steps if s.module == module and s.outputs is not None), None)
