"""What the user's function takes, and what it returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pipelines.errors import PipelineError
from pipelines.modules.functions import own_copy
from pipelines.programs.bound_program import taken
from search_spaces.refusals import nearest

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class WrongOutputs(TypeError):
    """What the function returned can't be read."""


def arguments_of(
    function: Callable[..., Any], given: Iterable[str] | None, where: str
) -> tuple[str, ...]:
    """The inputs: those given, or the function's parameters without a default.

    Raises:
        PipelineError: the function can't be called with them, or does not name its parameters;
            `where` names the factory.
    """
    expected = inspect.signature(function)
    if given is not None:
        inputs = (given,) if isinstance(given, str) else tuple(given)
        try:
            expected.bind(**dict.fromkeys(inputs))
        except TypeError as error:
            raise PipelineError(
                f"the function {expected} that {where} returns must take the inputs "
                f"({', '.join(inputs)}) by name: {error}",
                ("inputs",),
            ) from None
        return inputs
    parameters = expected.parameters.values()
    needed = tuple(p.name for p in parameters if p.kind in _NAMED and p.default is p.empty)
    if not needed or any(p.kind is p.POSITIONAL_ONLY for p in parameters):
        raise PipelineError(
            f"the function {expected} that {where} returns does not name what it takes: give it "
            "parameters such as (question), or say inputs=['question']",
            ("inputs",),
        )
    return needed


def copied(inputs: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The inputs of these names, for the code to change; errors as `taken`."""
    return {name: own_copy(value) for name, value in taken(inputs, names).items()}


def outputs_of(returned: Any, names: Sequence[str]) -> dict[str, Any]:
    """The outputs by name: of a mapping those that are asked for, or all; else the one.

    Raises:
        WrongOutputs: it is a bare value without exactly one name, or an output is missing.
    """
    if not isinstance(returned, Mapping):
        if len(names) == 1 and returned is not None:
            return {names[0]: returned}
        raise WrongOutputs(
            f"the function must return a mapping of outputs, such as {{'answer': ...}}, but "
            f"returned {returned!r}; a bare value needs one name, as in outputs=['answer']"
        )
    for name in names:
        if name not in returned:
            raise WrongOutputs(
                f"the function must return the output {name!r}, but returned "
                f"{sorted(map(str, returned))}{nearest(name, map(str, returned))}"
            )
    return {name: returned[name] for name in names} if names else dict(returned)
