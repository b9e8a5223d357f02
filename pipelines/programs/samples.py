"""Which sample of its model each member asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable

from pipelines.programs.binding import BoundModule
from search_spaces import MemberConfig
from search_spaces.config import canonical_json


def sample_indices(bound_modules: Iterable[BoundModule]) -> dict[str, tuple[int, ...]]:
    """Sample index by member of each module, by its path, in the order of the pipeline.

    Equal calls must not share one draw: members of a wide module that ask the same model with the
    same settings, and twins (members of modules of one signature and strategy, with the same
    instructions and demos) that ask the same model at the same temperature above 0, count up from
    0. Members with another prompt or temperature make other calls, and count by themselves. At
    temperature 0 a model has one answer, so every index is 0. With no temperature given, members
    still count and twins do not.
    """
    drawn: Counter[Hashable] = Counter()
    indices = {}
    for bound in bound_modules:
        samples = []
        for member in bound.members:
            among = _alike(bound, member)
            samples.append(0 if member.temperature == 0 else drawn[among])
            drawn[among] += 1
        indices[bound.path] = tuple(samples)
    return indices


def _alike(bound: BoundModule, member: MemberConfig) -> Hashable:
    """What two members have in common when their calls on equal inputs are equal."""
    module, prompt = bound.module, _prompt(bound, member)
    if not member.temperature:
        return bound.path, member.model, prompt, member.temperature
    fields = (*module.input_fields.items(), None, *module.output_fields.items())
    return fields, module.strategy, member.model, prompt, member.temperature


def _prompt(bound: BoundModule, member: MemberConfig) -> Hashable:
    return member.instructions, canonical_json(member.demos), bound.config.reply_format
