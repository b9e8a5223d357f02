"""Simulated models: what there is to say about one, ten built-in ones, and those that users add.

The ten are invented. Their shape is that of the locate-solve table of LLMSelector (arXiv
2502.14815): one model finds nearly every task but can't calculate, another calculates but can't
find, and the best single model stays far behind the best mix. Prices spread a thousandfold and say
little about quality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from pipelines.gateway.prices import ModelError
from search_spaces.refusals import nearest, refusing_with

if TYPE_CHECKING:
    from pipelines.providers.simulated.mind import Mind
    from pipelines.providers.simulated.request import ParsedRequest

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@refusing_with(ValueError)
@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SimulatedModel:
    """One simulated language model, called as `sim/<name>`; subclass it to change its thinking.

    Raises:
        ValueError: a share outside [0, 1], or a negative price or speed.
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
    verbosity: Positive = 1.0
    """Length of its reasoning, relative to an ordinary model."""
    slip_length: Positive = 1.7
    """How much longer its reasoning is where the answer is wrong."""
    phrase_effects: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Shifts of ability by phrase and skill, in place of the drawn ones (see `mind.py`)."""

    def skill(self, name: str) -> float:
        """Expected accuracy in this skill."""
        return self.skills.get(name, self.default_skill)

    def thinking(self, mind: Mind, request: ParsedRequest, call: bytes, effort: str | None) -> Mind:
        """The mind that answers this call; a subclass may raise `ValueError` for an effort."""
        return mind


_NAMES = (
    "alder", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "rowan", "willow",
)  # fmt: skip

_SKILLS: Mapping[str, tuple[float, ...]] = {
    # skill               alder birch cedar elm    fir   hazel larch maple rowan willow
    "locate":             (0.99, 0.25, 0.92, 0.88,  0.30, 0.52, 0.15, 0.80, 0.42, 0.70),
    "arithmetic":         (0.26, 0.99, 0.28, 0.30,  0.91, 0.50, 0.82, 0.33, 0.58, 0.20),
    "verify":             (0.80, 0.66, 0.88, 0.94,  0.75, 0.60, 0.50, 0.84, 0.42, 0.68),
    "judge":              (0.76, 0.64, 0.90, 0.94,  0.70, 0.56, 0.48, 0.86, 0.45, 0.72),
    "diagnose":           (0.74, 0.60, 0.88, 0.96,  0.68, 0.52, 0.40, 0.85, 0.38, 0.66),
    "compare":            (0.98, 0.95, 0.99, 0.995, 0.97, 0.93, 0.88, 0.98, 0.85, 0.96),
    "write_instructions": (0.72, 0.50, 0.92, 0.88,  0.60, 0.55, 0.30, 0.84, 0.35, 0.66),
}  # fmt: skip
"""Accuracy at temperature 0; the columns are the models in the order of `_NAMES`."""

_HABITS: Mapping[str, tuple[Any, ...]] = {
    "input_usd_per_million":  (2.5, 0.1, 15.0, 5.0, 0.8, 0.25, 0.02, 20.0, 0.05, 1.2),
    "output_usd_per_million": (10.0, 0.4, 60.0, 20.0, 3.2, 1.0, 0.06, 80.0, 0.15, 5.0),
    "seconds_per_1k_tokens":  (12.0, 6.0, 28.0, 18.0, 9.0, 7.0, 3.0, 35.0, 4.0, 10.0),
    "first_token_seconds":    (0.45, 0.2, 0.9, 0.6, 0.3, 0.25, 0.12, 1.1, 0.15, 0.4),
    "refusal_rate":   (0.002, 0.002, 0.006, 0.004, 0.003, 0.003, 0.002, 0.008, 0.002, 0.005),
    "malformed_rate": (0.002, 0.003, 0.002, 0.002, 0.004, 0.006, 0.005, 0.003, 0.004, 0.008),
    "verbosity":              (1.0, 0.7, 1.6, 1.2, 0.9, 1.1, 0.6, 1.4, 0.8, 1.3),
}  # fmt: skip

MODELS: tuple[SimulatedModel, ...] = tuple(
    SimulatedModel(
        name,
        {skill: levels[place] for skill, levels in _SKILLS.items()},
        **{habit: values[place] for habit, values in _HABITS.items()},
    )
    for place, name in enumerate(_NAMES)
)
"""The ten built-in models."""

_known: dict[str, SimulatedModel] = {model.name: model for model in MODELS}


class UnknownSimulatedModel(ModelError, LookupError):
    """No simulated model has this name."""


def register(model: SimulatedModel, *, replace: bool = False) -> SimulatedModel:
    """Add a model, to be called as `sim/<name>` in this process, and return it.

    Raises:
        ValueError: another model has the name already, and is not to be replaced.
    """
    if not replace and _known.get(model.name, model) != model:
        raise ValueError(f"model names must be new, but sim/{model.name} exists already")
    _known[model.name] = model
    return model


def find_model(name: str) -> SimulatedModel:
    """The model `sim/<name>`; the prefix may be there or not.

    Raises:
        UnknownSimulatedModel: names the nearest one.
    """
    bare = name.removeprefix("sim/")
    if bare in _known:
        return _known[bare]
    hint = nearest(f"sim/{bare}", [f"sim/{known}" for known in _known])
    raise UnknownSimulatedModel(f"there is no simulated model 'sim/{bare}'{hint}")
