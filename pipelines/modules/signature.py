"""Signatures: DSPy's `"table, question -> task"` or a class of DSPy's, and their checks."""

from __future__ import annotations

import ast
import typing
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from pipelines.errors import PipelineError
from pipelines.modules.functions import check_allowed

if TYPE_CHECKING:
    import dspy

    Signature = str | type[dspy.Signature]

Strategy = Literal["predict", "chain_of_thought"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

REASONING = "reasoning"
"""The output field that `chain_of_thought` puts before a module's own."""

RESERVED_INPUTS = {
    "self", "instance", "signature", "new_signature", "demos", "config", "lm", "completions",
    "prediction",
}  # fmt: skip
"""Names that `dspy.Predict` takes for itself when it is called (DSPy 3.4)."""

_PLAIN_TYPES = {
    *vars(typing), "int", "str", "float", "bool", "list", "tuple", "dict", "set", "frozenset",
    "complex", "bytes", "bytearray", "NoneType", "typing", "dspy", "datetime", "decimal",
}  # fmt: skip


class Fields(NamedTuple):
    """A signature's fields by name, each with its type, in the order written."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


def signature_fields(signature: Signature) -> Fields:
    """The fields of a signature.

    Raises:
        PipelineError: it is not a signature; names the rule it breaks.
    """
    parsed = _class_of(signature)
    return Fields(
        {name: field.annotation for name, field in parsed.input_fields.items()},
        {name: field.annotation for name, field in parsed.output_fields.items()},
    )


def signature_text(signature: Signature) -> str:
    """The fields and their types in a line; what a class says beyond that is left out."""
    if isinstance(signature, str):
        return signature
    sides = (", ".join(map(_field_text, side.items())) for side in signature_fields(signature))
    return " -> ".join(sides)


def signature_identity(signature: Signature) -> str:
    """Everything that the signature says, as text."""
    return signature if isinstance(signature, str) else repr(signature)


def own_instructions(signature: Signature) -> str | None:
    """A signature class's own instructions; None for text, which has none."""
    return None if isinstance(signature, str) else signature.instructions


def fresh_signature(signature: Signature, instructions: str | None) -> type[dspy.Signature]:
    """A new signature class, since some of DSPy's optimizers change theirs in place."""
    parsed = _class_of(signature)
    chosen = parsed.instructions if instructions is None else instructions
    fresh: type[dspy.Signature] = parsed.with_instructions(chosen)
    return fresh


def check_fields(signature: type[dspy.Signature]) -> None:
    """Check the names of a class's fields.

    Raises:
        PipelineError: a name is not allowed, or there is no output.
    """
    fields = signature_fields(signature)
    _check_names([*fields.inputs, *fields.outputs])
    if not fields.outputs:
        raise PipelineError("it must have at least one output field")


def _class_of(signature: Signature) -> type[dspy.Signature]:
    return _parsed(signature) if isinstance(signature, str) else signature


def _field_text(field: tuple[str, Any]) -> str:
    from dspy.adapters.utils import get_annotation_name

    name, kind = field
    return name if kind is str else f"{name}: {get_annotation_name(kind)}"


@lru_cache(maxsize=1024)
def _parsed(text: str) -> type[dspy.Signature]:
    """DSPy's class for the text; shared, so never handed out."""
    import dspy

    sides = text.split("->")
    if len(sides) != 2:
        raise PipelineError(f"it must have exactly one '->', but has {len(sides) - 1}")
    _check_names([name for side in sides for name in _names(side)])
    for module in modules_of_types(text):
        check_allowed(module)
    if not _names(sides[1]):
        raise PipelineError("it must name at least one output after '->'")
    try:
        # No custom types: DSPy would look for them in the callers' frames, and the same text
        # would then mean one thing in Python and another in YAML.
        parsed: type[dspy.Signature] = dspy.Signature(text, custom_types={})
    except Exception as error:  # DSPy passes on whatever error an unknown type causes
        types = "types are Python's: str, int, float, bool, list[str], Literal['a', 'b']"
        raise PipelineError(f"DSPy cannot read it ({types}): {error}") from error
    return parsed


def modules_of_types(text: str) -> list[str]:
    """The modules that DSPy imports for the types of the fields, as in `a -> b: package.Kind`."""
    written = (each.annotation for side in text.split("->") for each in _fields(side))
    nodes = (node for kind in written if kind for node in ast.walk(kind))
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    return [name for name in names if name not in _PLAIN_TYPES and find_spec(name)]


def _names(side: str) -> list[str]:
    return [field.arg for field in _fields(side)]


def _fields(side: str) -> list[ast.arg]:
    """The fields of one side. DSPy silently drops what is not a plain `name: type`."""
    rule = f"{side.strip()!r} must be a list of fields such as 'question, k: int'"
    try:
        (definition,) = ast.parse(f"def fields({side.strip()}): pass").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # deep brackets
        raise PipelineError(rule) from error
    assert isinstance(definition, ast.FunctionDef)
    arguments = definition.args
    starred = arguments.vararg, arguments.kwarg, *arguments.kwonlyargs, *arguments.posonlyargs
    if any(starred) or arguments.defaults:
        raise PipelineError(rule)
    return arguments.args


def _check_names(names: list[str]) -> None:
    import dspy

    for name in names:
        if names.count(name) > 1:
            raise PipelineError(f"it must name each field once, but names {name!r} more often")
        if name.startswith("_"):
            raise PipelineError(f"field names must not begin with an underscore, but got {name!r}")
        if hasattr(dspy.Signature, name):
            raise PipelineError(f"{name!r} is a name that DSPy's signatures use; choose another")
