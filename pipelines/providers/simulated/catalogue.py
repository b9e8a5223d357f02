"""Ten general models, none of them best at everything, and the ones that users add.

The numbers are invented. Their shape is that of the locate-solve table of LLMSelector
(arXiv 2502.14815): one model finds nearly every task but can't calculate, another calculates but
can't find, and the best single model stays far behind the best mix. Prices spread a thousandfold
and say little about quality.
"""

from __future__ import annotations

from pipelines.providers.simulated.model import SimulatedModel
from search_spaces.refusals import nearest

_NAMES = (
    "alder", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "rowan", "willow",
)  # fmt: skip

_SKILLS: dict[str, tuple[float, ...]] = {
    # skill             alder  birch  cedar  elm    fir    hazel  larch  maple  rowan  willow
    "locate":           (0.99, 0.25,  0.92,  0.88,  0.30,  0.52,  0.15,  0.80,  0.42,  0.70),
    "arithmetic":       (0.26, 0.99,  0.28,  0.30,  0.91,  0.50,  0.82,  0.33,  0.58,  0.20),
    "knowledge":        (0.60, 0.42,  0.76,  0.69,  0.55,  0.50,  0.38,  0.71,  0.35,  0.64),
    "reverse":          (0.70, 0.62,  0.80,  0.86,  0.75,  0.55,  0.99,  0.92,  0.50,  0.66),
    "caesar":           (0.58, 0.99,  0.72,  0.85,  0.91,  0.64,  0.78,  0.48,  0.69,  0.75),
    "rotate":           (0.82, 0.71,  0.60,  0.86,  0.99,  0.92,  0.65,  0.74,  0.55,  0.47),
    "letter_sum":       (0.45, 0.76,  0.68,  0.84,  0.62,  0.73,  0.80,  0.57,  0.91,  0.99),
    "multiply_add":     (0.74, 0.91,  0.66,  0.85,  0.80,  0.52,  0.70,  0.60,  0.99,  0.78),
    "convert_units":    (0.66, 0.80,  0.90,  0.84,  0.50,  0.99,  0.73,  0.77,  0.62,  0.58),
    "add_days":         (0.78, 0.55,  0.72,  0.86,  0.67,  0.81,  0.46,  0.99,  0.76,  0.92),
    "date_words":       (0.92, 0.68,  0.99,  0.87,  0.78,  0.60,  0.74,  0.82,  0.65,  0.71),
    "sort_letters":     (0.72, 0.99,  0.64,  0.83,  0.75,  0.90,  0.58,  0.69,  0.50,  0.61),
    "uppercase":        (0.97, 0.94,  0.97,  0.97,  0.92,  0.88,  0.99,  0.96,  0.90,  0.93),
    "count_vowels":     (0.75, 0.64,  0.70,  0.85,  0.99,  0.60,  0.72,  0.90,  0.55,  0.80),
    "to_roman":         (0.60, 0.72,  0.90,  0.84,  0.65,  0.78,  0.98,  0.74,  0.56,  0.69),
    "from_roman":       (0.70, 0.91,  0.66,  0.85,  0.76,  0.98,  0.80,  0.62,  0.72,  0.54),
    "number_words":     (0.90, 0.75,  0.82,  0.88,  0.70,  0.66,  0.60,  0.78,  0.98,  0.73),
    "criticise":        (0.78, 0.60,  0.90,  0.93,  0.72,  0.58,  0.45,  0.85,  0.40,  0.70),
    "verify":           (0.80, 0.66,  0.88,  0.94,  0.75,  0.60,  0.50,  0.84,  0.42,  0.68),
    "judge":            (0.76, 0.64,  0.90,  0.94,  0.70,  0.56,  0.48,  0.86,  0.45,  0.72),
    "diagnose":         (0.74, 0.60,  0.88,  0.96,  0.68,  0.52,  0.40,  0.85,  0.38,  0.66),
    "compare":          (0.98, 0.95,  0.99,  0.995, 0.97,  0.93,  0.88,  0.98,  0.85,  0.96),
    "write_instructions": (0.72, 0.50, 0.92, 0.88,  0.60,  0.55,  0.30,  0.84,  0.35,  0.66),
}  # fmt: skip
"""Accuracy at temperature 0; the columns are the models in the order of `_NAMES`."""

_HABITS: dict[str, tuple[float, ...]] = {
    # dollars per million tokens in and out, seconds per 1k tokens and to the first token,
    # rates of refusals and malformed replies, persuadability, verbosity
    "alder":  (2.50, 10.00, 12.0, 0.45, 0.002, 0.002, 0.45, 1.0),
    "birch":  (0.10,  0.40,  6.0, 0.20, 0.002, 0.003, 0.60, 0.7),
    "cedar":  (15.0, 60.00, 28.0, 0.90, 0.006, 0.002, 0.25, 1.6),
    "elm":    (5.00, 20.00, 18.0, 0.60, 0.004, 0.002, 0.35, 1.2),
    "fir":    (0.80,  3.20,  9.0, 0.30, 0.003, 0.004, 0.50, 0.9),
    "hazel":  (0.25,  1.00,  7.0, 0.25, 0.003, 0.006, 0.70, 1.1),
    "larch":  (0.02,  0.06,  3.0, 0.12, 0.002, 0.005, 0.80, 0.6),
    "maple":  (20.0, 80.00, 35.0, 1.10, 0.008, 0.003, 0.30, 1.4),
    "rowan":  (0.05,  0.15,  4.0, 0.15, 0.002, 0.004, 0.75, 0.8),
    "willow": (1.20,  5.00, 10.0, 0.40, 0.005, 0.008, 0.55, 1.3),
}  # fmt: skip


class UnknownSimulatedModel(LookupError):
    """No simulated model has this name."""


def register(model: SimulatedModel) -> SimulatedModel:
    """Add a model, to be called as `sim/<name>` in this process, and return it.

    Raises `ValueError` if another model has the name already; adding an equal one changes nothing.
    """
    if _catalogue.get(model.name, model) != model:
        raise ValueError(f"model names must be new, but sim/{model.name} exists already")
    _catalogue[model.name] = model
    return model


def find_model(name: str) -> SimulatedModel:
    """Return the model `sim/<name>`; the prefix may be there or not.

    Raises `UnknownSimulatedModel`, which names the nearest one.
    """
    bare = name.removeprefix("sim/")
    if bare in _catalogue:
        return _catalogue[bare]
    hint = nearest(f"sim/{bare}", [f"sim/{known}" for known in _catalogue])
    raise UnknownSimulatedModel(f"there is no simulated model 'sim/{bare}'{hint}")


def _built_in(name: str) -> SimulatedModel:
    usd_in, usd_out, per_1k, first, refusals, malformed, persuadability, verbosity = _HABITS[name]
    column = _NAMES.index(name)
    return SimulatedModel(
        name=name,
        skills={skill: levels[column] for skill, levels in _SKILLS.items()},
        input_usd_per_million=usd_in,
        output_usd_per_million=usd_out,
        seconds_per_1k_tokens=per_1k,
        first_token_seconds=first,
        refusal_rate=refusals,
        malformed_rate=malformed,
        persuadability=persuadability,
        verbosity=verbosity,
    )


MODELS: tuple[SimulatedModel, ...] = tuple(_built_in(name) for name in _NAMES)
"""The ten built-in models."""

_catalogue: dict[str, SimulatedModel] = {model.name: model for model in MODELS}
