"""What there is to say about one simulated model: its skills, prices, speed and habits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from math import exp
from typing import Annotated, NamedTuple, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from search_spaces.refusals import refusing_with

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Spread = Annotated[float, Field(ge=0, le=3)]
Shift = Annotated[float, Field(ge=-3, le=3)]


class Effort(NamedTuple):
    """What a reasoning effort does."""

    shift: float = 0.0
    """Added to the ability."""
    length: float = 1.0
    """What it multiplies the length of the thoughts by."""


@refusing_with(ValueError)
@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SimulatedModel:
    """One simulated language model; litellm calls it by the name `sim/<name>`.

    Raises `ValueError` for a share outside [0, 1], a negative
    price or speed, or a length for an effort that has no shift.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    skills: Mapping[str, Share] = field(default_factory=dict)
    """Expected accuracy at temperature 0 by skill, over items of average difficulty."""
    default_skill: Share = 0.6
    """Expected accuracy in the skills that are not named."""
    input_usd_per_million: Positive = 1.0
    output_usd_per_million: Positive = 4.0
    seconds_per_1k_tokens: Positive = 10.0
    """Mean seconds to write 1,000 output tokens."""
    first_token_seconds: Positive = 0.3
    """Mean seconds before the first token."""
    refusal_rate: Share = 0.004
    """Share of calls answered by a refusal."""
    malformed_rate: Share = 0.006
    """Share of calls whose reply lacks a field marker or is broken JSON."""
    persuadability: Share = 0.5
    """How readily it gives up its own answer for that of others (0 never, 1 at once)."""
    verbosity: Positive = 1.0
    """Length of its reasoning, relative to an ordinary model."""
    slip_length: Positive = 1.7
    """How much longer its reasoning is where the answer is wrong."""
    length_spread: Spread = 0.0
    """Standard deviation of the logarithm of the length of its thoughts, drawn in each call."""
    effort_shifts: Mapping[str, Shift] = field(default_factory=dict)
    """Shift of ability by `reasoning_effort`; a model without any ignores the parameter."""
    effort_lengths: Mapping[str, Positive] = field(default_factory=dict)
    """What an effort multiplies the length of the thoughts by; e^(2 * shift) if not named."""
    admits_doubt: Share = 0.0
    """Share of the items it more likely gets wrong than right where it says "I don't know"."""
    phrase_effects: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Shifts of ability by phrase and skill, in place of the drawn ones (see `phrases.py`)."""

    def skill(self, name: str) -> float:
        """Return the expected accuracy in skill `name`."""
        return self.skills.get(name, self.default_skill)

    @property
    def thinks_unseen(self) -> bool:
        """Whether it also thinks, and counts the tokens, where it is asked for no reasoning."""
        return self.length_spread > 0 or bool(self.effort_shifts)

    def effort(self, name: str | None) -> Effort:
        """Return what a reasoning effort does to this model; None is an ordinary effort.

        Raises `ValueError` for an effort that is not among the model's own, if it has any.
        """
        if name is None or not self.effort_shifts:
            return Effort()
        if name not in self.effort_shifts:
            known = ", ".join(self.effort_shifts)
            raise ValueError(f"reasoning_effort must be one of {known}, but got {name!r}")
        shift = self.effort_shifts[name]
        return Effort(shift, self.effort_lengths.get(name, exp(2 * shift)))

    @model_validator(mode="after")
    def _efforts_have_shifts(self) -> Self:
        unknown = sorted(set(self.effort_lengths) - set(self.effort_shifts))
        if unknown:
            raise ValueError(
                f"every effort of effort_lengths needs a shift, but {unknown} have none"
            )
        return self
