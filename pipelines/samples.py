"""Which sample of its model each member asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable

from pipelines.binding import BoundModule
from search_spaces.config import canonical_json


def sample_indices(bound_modules: Iterable[BoundModule]) -> dict[str, tuple[int, ...]]:
    """Sample index by member of each module, by its path, in the order of the pipeline.

    Equal calls must not share one draw: members of a wide module that ask the same model, and
    twins (modules of one signature, instructions, strategy and demos) that ask the same model
    at the same temperature above 0, count up from 0. At temperature 0 a model has one answer, so
    every index is 0. With no temperature given, members still count and twins do not.
    """
    drawn: Counter[Hashable] = Counter()
    indices = {}
    for bound in bound_modules:
        members = []
        for label in bound.config.members:
            among = (_alike(bound), label)
            members.append(0 if bound.config.temperature == 0 else drawn[among])
            drawn[among] += 1
        indices[bound.path] = tuple(members)
    return indices


def _alike(bound: BoundModule) -> Hashable:
    """What two modules have in common when their calls on equal inputs are equal."""
    temperature = bound.config.temperature
    if not temperature:
        return bound.path
    module, demos = bound.module, canonical_json(bound.config.demos)
    fields = (*module.input_fields.items(), None, *module.output_fields.items())
    return fields, bound.instructions, module.strategy, demos, temperature
