"""Simulated models that think unseen, may be persuaded, and learn from worked examples.

The ten built-in ones take their places under their names, with the skills of all worlds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from math import exp
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from benchmarks.worlds.demos import demo_shift
from benchmarks.worlds.mind import Mind
from pipelines.providers.simulated import MODELS as SHIPPED
from pipelines.providers.simulated import SimulatedModel as ShippedModel
from pipelines.providers.simulated import register
from pipelines.providers.simulated.draws import normal
from pipelines.providers.simulated.mind import Mind as ShippedMind
from pipelines.providers.simulated.models import Positive, Share
from pipelines.providers.simulated.request import ParsedRequest
from search_spaces.refusals import refusing_with

Spread = Annotated[float, Field(ge=0, le=3)]
Shift = Annotated[float, Field(ge=-3, le=3)]


@refusing_with(ValueError)
@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SimulatedModel(ShippedModel):
    """A simulated model with more habits.

    Raises `ValueError` for a share outside [0, 1], a negative
    price or speed, or a length for an effort that has no shift.
    """

    persuadability: Share = 0.5
    """How readily it gives up its own answer for that of others (0 never, 1 at once)."""
    length_spread: Spread = 0.0
    """Standard deviation of the logarithm of the length of its thoughts, drawn in each call."""
    effort_shifts: Mapping[str, Shift] = field(default_factory=dict)
    """Shift of ability by `reasoning_effort`; a model without any ignores the parameter."""
    effort_lengths: Mapping[str, Positive] = field(default_factory=dict)
    """What an effort multiplies the length of the thoughts by; e^(2 * shift) if not named."""
    admits_doubt: Share = 0.0
    """Share of the items it more likely gets wrong than right where it says "I don't know"."""

    def thinking(
        self, mind: ShippedMind, request: ParsedRequest, call: bytes, effort: str | None
    ) -> Mind:
        """Return how it thinks: worked examples, a reasoning effort and the luck of the call count.

        Raises `ValueError` for an effort that is not among the model's own, if it has any.
        """
        shift, length = self._effort(effort)
        if self.length_spread:  # log-normal, with the ordinary length as median
            length *= exp(self.length_spread * normal("length", call))
        habits = {each.name: getattr(mind, each.name) for each in fields(mind)}
        return Mind(
            **{**habits, "length": length},
            more_ability=demo_shift(request) + shift,
            thinks_unseen=self.length_spread > 0 or bool(self.effort_shifts),
        )

    def _effort(self, name: str | None) -> tuple[float, float]:
        """Return what an effort adds to the ability and multiplies the thoughts by."""
        if name is None or not self.effort_shifts:
            return 0.0, 1.0
        if name not in self.effort_shifts:
            known = ", ".join(self.effort_shifts)
            raise ValueError(f"reasoning_effort must be one of {known}, but got {name!r}")
        shift = self.effort_shifts[name]
        return shift, self.effort_lengths.get(name, exp(2 * shift))

    @model_validator(mode="after")
    def _efforts_have_shifts(self) -> Self:
        unknown = sorted(set(self.effort_lengths) - set(self.effort_shifts))
        if unknown:
            raise ValueError(
                f"every effort of effort_lengths needs a shift, but {unknown} have none"
            )
        return self


_SKILLS: Mapping[str, tuple[float, ...]] = {
    # skill            alder birch cedar elm   fir   hazel larch maple rowan willow
    "knowledge":    (0.60, 0.42, 0.76, 0.69, 0.55, 0.50, 0.38, 0.71, 0.35, 0.64),
    "reverse":      (0.70, 0.62, 0.80, 0.86, 0.75, 0.55, 0.99, 0.92, 0.50, 0.66),
    "caesar":       (0.58, 0.99, 0.72, 0.85, 0.91, 0.64, 0.78, 0.48, 0.69, 0.75),
    "rotate":       (0.82, 0.71, 0.60, 0.86, 0.99, 0.92, 0.65, 0.74, 0.55, 0.47),
    "letter_sum":   (0.45, 0.76, 0.68, 0.84, 0.62, 0.73, 0.80, 0.57, 0.91, 0.99),
    "multiply_add": (0.74, 0.91, 0.66, 0.85, 0.80, 0.52, 0.70, 0.60, 0.99, 0.78),
    "convert_units":(0.66, 0.80, 0.90, 0.84, 0.50, 0.99, 0.73, 0.77, 0.62, 0.58),
    "add_days":     (0.78, 0.55, 0.72, 0.86, 0.67, 0.81, 0.46, 0.99, 0.76, 0.92),
    "date_words":   (0.92, 0.68, 0.99, 0.87, 0.78, 0.60, 0.74, 0.82, 0.65, 0.71),
    "sort_letters": (0.72, 0.99, 0.64, 0.83, 0.75, 0.90, 0.58, 0.69, 0.50, 0.61),
    "uppercase":    (0.97, 0.94, 0.97, 0.97, 0.92, 0.88, 0.99, 0.96, 0.90, 0.93),
    "count_vowels": (0.75, 0.64, 0.70, 0.85, 0.99, 0.60, 0.72, 0.90, 0.55, 0.80),
    "to_roman":     (0.60, 0.72, 0.90, 0.84, 0.65, 0.78, 0.98, 0.74, 0.56, 0.69),
    "from_roman":   (0.70, 0.91, 0.66, 0.85, 0.76, 0.98, 0.80, 0.62, 0.72, 0.54),
    "number_words": (0.90, 0.75, 0.82, 0.88, 0.70, 0.66, 0.60, 0.78, 0.98, 0.73),
    "criticise":    (0.78, 0.60, 0.90, 0.93, 0.72, 0.58, 0.45, 0.85, 0.40, 0.70),
}  # fmt: skip
"""Accuracy at temperature 0 in the skills of the worlds."""

_PERSUADABILITY = (0.45, 0.60, 0.25, 0.35, 0.50, 0.70, 0.80, 0.30, 0.75, 0.55)


def _with_more_skills(place: int, shipped: ShippedModel) -> SimulatedModel:
    habits = {each.name: getattr(shipped, each.name) for each in fields(shipped)}
    more = {skill: levels[place] for skill, levels in _SKILLS.items()}
    habits["skills"] = {**shipped.skills, **more}
    return SimulatedModel(**habits, persuadability=_PERSUADABILITY[place])


MODELS: tuple[SimulatedModel, ...] = tuple(
    _with_more_skills(place, shipped) for place, shipped in enumerate(SHIPPED)
)
"""The ten built-in models, with the skills of all worlds."""

for _model in MODELS:
    register(_model, replace=True)


def persuadability(mind: ShippedMind) -> float:
    """Return how readily a model gives up its own answer; 0.5 where it does not say."""
    model = mind.model
    return model.persuadability if isinstance(model, SimulatedModel) else 0.5
