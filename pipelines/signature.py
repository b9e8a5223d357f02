"""Signatures: DSPy's `"table, question -> task"`, parsed by DSPy and checked at the door."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pipelines.errors import PipelineError

if TYPE_CHECKING:
    import dspy

Strategy = Literal["predict", "chain_of_thought"]
STRATEGIES: tuple[Strategy, ...] = ("predict", "chain_of_thought")

REASONING = "reasoning"
"""The output field that `chain_of_thought` puts before a module's own."""

RESERVED_INPUTS = frozenset(
    {"self", "instance", "signature", "new_signature", "demos", "config", "lm", "completions"}
    | {"prediction"}
)
"""Names that `dspy.Predict` takes for itself when it is called (DSPy 3.4)."""


class Fields(NamedTuple):
    """A signature's fields by name, each with its type, in the order written."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


def signature_fields(text: str) -> Fields:
    """The fields of a signature.

    Raises:
        PipelineError: the text is no signature; says the rule it breaks.
    """
    parsed = _parsed(text)
    return Fields(
        {name: field.annotation for name, field in parsed.input_fields.items()},
        {name: field.annotation for name, field in parsed.output_fields.items()},
    )


def fresh_signature(text: str, instructions: str | None) -> type[dspy.Signature]:
    """A signature class of its own: some of DSPy's optimizers change one in place."""
    parsed = _parsed(text)
    told = parsed.instructions if instructions is None else instructions
    signature: type[dspy.Signature] = parsed.with_instructions(told)
    return signature


@lru_cache(maxsize=1024)
def _parsed(text: str) -> type[dspy.Signature]:
    """DSPy's class for the text; shared, so never handed out."""
    import dspy

    sides = text.split("->")
    if len(sides) != 2:
        raise PipelineError(f"it must have exactly one '->', but has {len(sides) - 1}")
    names = [name for side in sides for name in _names(side)]
    for name in names:
        _check_name(name, names)
    if not _names(sides[1]):
        raise PipelineError("it must name at least one output after '->'")
    try:
        # No custom types: DSPy would look for them in the callers' frames, and the same text
        # would then mean one thing in Python and another in YAML.
        parsed: type[dspy.Signature] = dspy.Signature(text, custom_types={})
    except Exception as error:  # DSPy lets through whatever an unknown type runs into
        raise PipelineError(f"DSPy cannot read it: {error}") from error
    return parsed


def _names(side: str) -> list[str]:
    """The field names of one side. DSPy silently drops what is not a plain `name: type`."""
    rule = f"{side.strip()!r} must be a list of fields such as 'question, k: int'"
    try:
        (definition,) = ast.parse(f"def fields({side.strip()}): pass").body
    except (SyntaxError, ValueError) as error:
        raise PipelineError(rule) from error
    assert isinstance(definition, ast.FunctionDef)
    arguments = definition.args
    starred = arguments.vararg, arguments.kwarg, *arguments.kwonlyargs, *arguments.posonlyargs
    if any(starred) or arguments.defaults:
        raise PipelineError(rule)
    return [argument.arg for argument in arguments.args]


def _check_name(name: str, names: list[str]) -> None:
    import dspy

    if names.count(name) > 1:
        raise PipelineError(f"it must name each field once, but names {name!r} more often")
    if name.startswith("_"):
        raise PipelineError(f"field names must not begin with an underscore, but got {name!r}")
    if hasattr(dspy.Signature, name):
        raise PipelineError(f"{name!r} is a name that DSPy's signatures use; choose another")
