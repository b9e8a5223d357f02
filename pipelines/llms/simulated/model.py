"""What there is to say about one simulated model: its skills, prices, speed and habits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SimulatedModel:
    """One simulated language model; litellm calls it by the name `sim/<name>`.

    Raises `pydantic.ValidationError` (a `ValueError`) for a share outside [0, 1] or a negative
    price or speed.
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
    phrase_effects: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Shifts of ability by phrase and skill, in place of the drawn ones (see `phrases.py`)."""

    def skill(self, name: str) -> float:
        """Return the expected accuracy in skill `name`."""
        return self.skills.get(name, self.default_skill)
