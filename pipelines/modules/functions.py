"""Plain functions as modules: how they are named, found, checked and called."""

from __future__ import annotations

import copy
import importlib
import inspect
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pipelines.errors import PipelineError

Function = Callable[..., Any]

OWN = frozenset(
    {"pipelines.aggregators.majority_vote:majority_vote", "pipelines.patterns.medprompt:nearest"}
)
"""The function that built-in patterns name. Others of the library import names given to them."""
_REFUSED: ContextVar[list[str] | None] = ContextVar("refused", default=None)


@contextmanager
def refusing_code(refuses: bool) -> Iterator[list[str]]:
    """Within it, only our own code is imported by name; the list collects what was refused.

    With `refuses` false, everything may be imported.
    """
    refused: list[str] = []
    token = _REFUSED.set(refused if refuses else None)
    try:
        yield refused
    finally:
        _REFUSED.reset(token)


def check_allowed(reference: str) -> None:
    """Check that this code may be imported.

    Raises:
        PipelineError: it is named by a file that is not trusted.
    """
    refused = _REFUSED.get()
    if refused is not None and reference not in OWN:
        refused.append(reference)
        raise PipelineError(f"{reference!r} is code, which only trusted files may name")


def import_function(reference: str) -> Function:
    """The function that `"package.module:name"` stands for.

    Raises:
        PipelineError: the text has another form, nothing callable is found there, or it may not
            be imported.
    """
    package, colon, name = reference.partition(":") if isinstance(reference, str) else ("",) * 3
    if not (package and colon and name):
        raise PipelineError(f"function {reference!r} must read 'package.module:name'")
    check_allowed(reference)
    try:
        found = operator.attrgetter(name)(importlib.import_module(package))
    except (Exception, SystemExit) as error:  # importing runs the user's code
        problem = f"{type(error).__name__}: {error}"
        raise PipelineError(f"cannot import function {reference!r}: {problem}") from error
    if not callable(found):
        raise PipelineError(f"{reference!r} must be callable, but is a {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def reference_of(function: Function) -> str:
    """The `"package.module:name"` from which the function or class can be imported.

    Raises:
        PipelineError: nothing does, because it is a lambda, a local function, a function of a
            script, or an object without a name of its own.
    """
    package = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    kind = "class" if isinstance(function, type) else "function"
    rule = "must be importable as 'package.module:name' to be written to YAML"
    if not package or not name:
        raise PipelineError(f"{kind} {function!r} {rule}")
    reference = f"{package}:{name}"
    if package == "__main__":
        raise PipelineError(f"{kind} {reference!r} {rule}; move it from the script to a module")
    if "<" in name:
        local = "a lambda" if name.endswith("<lambda>") else f"a local {kind}"
        raise PipelineError(
            f"{kind} {reference!r} {rule}, but is {local}; define it at the top level of a module"
        )
    if import_function(reference) != function:
        raise PipelineError(f"{kind} {reference!r} {rule}, but another one has that name")
    return reference


def check_arguments(function: Function, inputs: Iterable[str], params: Mapping[str, Any]) -> None:
    """Check that the function can be called with these inputs and parameters, by name.

    Raises:
        PipelineError: it is asynchronous, or an argument is missing, unknown or given twice.
    """
    if inspect.iscoroutinefunction(function):
        raise PipelineError(f"function {_name(function)!r} must not be asynchronous")
    inputs = tuple(inputs)
    both = sorted(set(inputs) & set(params))
    if both:
        raise PipelineError(f"params must differ from the input fields, but both have {both[0]!r}")
    try:
        expected = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins do not tell their arguments
        return
    try:
        expected.bind(**dict.fromkeys((*inputs, *params)))
    except TypeError as error:
        given = ", ".join((*inputs, *params))
        raise PipelineError(
            f"function {_name(function)}{expected} must take the arguments ({given}): {error}"
        ) from error


def call_function(
    function: Function, inputs: Mapping[str, Any], params: Mapping[str, Any], fields: Sequence[str]
) -> dict[str, Any]:
    """The record that the function makes of its inputs, by output field.

    With one output field the function may return the bare value. Lists and dicts are copied
    first, so that a function that changes its inputs affects no other module.

    Raises:
        TypeError: it returns a record with other fields.
        Exception: whatever the function itself raises.
    """
    arguments = {name: own_copy(value) for name, value in {**params, **inputs}.items()}
    value = function(**arguments)
    if isinstance(value, Mapping) and set(value) == set(fields):
        return {field: value[field] for field in fields}
    if len(fields) == 1:
        return {fields[0]: value}
    got = f"the keys {list(value)}" if isinstance(value, Mapping) else f"a {type(value).__name__}"
    raise TypeError(f"must return a mapping with the keys {list(fields)}, but returned {got}")


def own_copy(value: Any) -> Any:
    """A copy of what a function may change in place; anything else as it is."""
    return copy.deepcopy(value) if isinstance(value, list | dict | set) else value


def _name(function: Function) -> str:
    return getattr(function, "__name__", None) or repr(function)
