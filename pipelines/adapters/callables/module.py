"""A place in the user's code that asks a model, as a module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipelines.errors import PipelineError
from pipelines.modules.module import Module

SIGNATURE = "messages: list[dict[str, str]] -> reply: str"


@dataclass(frozen=True)
class CodeModule(Module):
    """A place in code that writes its prompts itself: it has a model and a temperature."""

    def __post_init__(self) -> None:
        """Nothing to check: `code_modules` has."""

    @property
    def knobs(self) -> tuple[str, ...]:
        """What the gateway can set in a call that it is handed."""
        return ("models", "temperature")


def code_modules(given: Iterable[str] | Mapping[str, str | None]) -> tuple[CodeModule, ...]:
    """The modules of these names; a mapping says with which models they start.

    Raises:
        PipelineError: no name is given, one is no identifier, or two are equal.
    """
    models = dict(given) if isinstance(given, Mapping) else {}
    names = [given] if isinstance(given, str) else list(given)
    if not names:
        raise PipelineError(
            "modules must name the places where the code asks a model, such as ['plan', 'solve']",
            ("modules",),
        )
    for place, name in enumerate(names):
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise PipelineError(
                f"a module's name must be an identifier, such as 'solve', but got {name!r}",
                ("modules", place),
            )
        if name in names[:place]:
            raise PipelineError(f"two modules are called {name!r}", ("modules", place))
        model = models.get(name)
        if model is not None and (not isinstance(model, str) or not model.strip()):
            raise PipelineError(
                f"module {name!r} must start with a model's name, but got {model!r}",
                ("modules", name),
            )
    return tuple(CodeModule(name, SIGNATURE, model=models.get(name)) for name in names)
