"""The stages by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optimizer.setup.stage import Stage
from optimizer.stages.allocation.stage import Allocation
from optimizer.stages.prompts import Prompts
from optimizer.stages.structure.stage import Structure
from search_spaces.refusals import nearest

STAGES: Mapping[str, Stage] = {
    "allocation": Allocation(),
    "structure": Structure(),
    "prompts": Prompts(),
}
"""The stages by name, in the order in which they run by default."""


_MEANT: Mapping[str, str] = {
    **dict.fromkeys(("model", "models", "selection"), "allocation"),
    **dict.fromkeys(("width", "temperature", "aggregator", "network", "networks"), "structure"),
    **dict.fromkeys(("instructions", "demos"), "prompts"),
}
"""By what is tuned, the stage that tunes it."""


def resolve_stages(given: str | Stage | Sequence[str | Stage]) -> list[Stage]:
    """The stages in the order given; names stand for the stages of `STAGES`.

    Raises:
        ValueError: there are none, or a name is unknown; names the nearest.
    """
    known = f"(stages: {', '.join(STAGES)})"
    if isinstance(given, str) and "," in given:
        names = [name.strip() for name in given.split(",")]
        raise ValueError(f"stages must be a list, such as {names}, but got {given!r}")
    listed = [given] if isinstance(given, str) or hasattr(given, "improve") else given
    if not isinstance(listed, list | tuple) or not listed:
        raise ValueError(
            f"stages must name at least one stage, but got {given!r} {known}; to measure without "
            "a search, give one model, and the stage 'allocation'"
        )
    return [_stage(each, known) for each in listed]


def _stage(given: Any, known: str) -> Stage:
    if isinstance(given, str) and given in STAGES:
        return STAGES[given]
    if callable(getattr(given, "improve", None)) and not isinstance(given, type):
        if not isinstance(getattr(given, "name", None), str):
            raise ValueError(
                f"a stage has a `name`, as its trials are tagged, but {given!r} has none"
            )
        stage: Stage = given
        return stage
    meant = _MEANT.get(given, given) if isinstance(given, str) else given
    raise ValueError(f"there is no stage {given!r}{nearest(meant, STAGES)} {known}")


def chosen_stages(names: Sequence[str], strategy: str, prompt_optimizer: str) -> list[str | Stage]:
    """The stages of these names, with the search strategy and the optimizer of prompts."""
    own: dict[str, Stage] = {
        stage.name: stage for stage in (Prompts(prompt_optimizer), Allocation(strategy))
    }
    return [own.get(name, name) for name in names]
