"""What identifies a user's function, for the keys under which its results are kept."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import re
from collections.abc import Callable
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def function_identity(function: Callable[..., Any]) -> str:
    """Where it is defined and a hash of its source, defaults and captured values.

    Functions that it calls are not inspected. Without source (a builtin, a REPL), the name alone.
    """
    if isinstance(function, functools.partial):
        bound = short_hash(_written([function.args, function.keywords]))
        return f"{function_identity(function.func)}({bound})"
    described = inspect.unwrap(function) if inspect.isroutine(function) else type(function)
    place = f"{described.__module__}.{described.__qualname__}"
    try:
        source = inspect.getsource(described)
    except (OSError, TypeError):
        return place
    return f"{place}:{short_hash(source + _captured(function))}"


def _captured(called: Callable[..., Any]) -> str:
    """The values besides its source that a function's or an object's behaviour depends on."""
    holder = called if not inspect.isroutine(called) else getattr(called, "__self__", None)
    function = getattr(inspect.unwrap(called), "__func__", inspect.unwrap(called))
    cells = getattr(function, "__closure__", None) or ()
    return _written(
        [
            {} if inspect.ismodule(holder) else getattr(holder, "__dict__", {}),
            [cell.cell_contents for cell in cells],
            getattr(function, "__defaults__", None),
            getattr(function, "__kwdefaults__", None),
        ]
    )


def _written(values: list[Any]) -> str:
    try:
        return json.dumps(values, sort_keys=True, skipkeys=True, default=_described)
    except (TypeError, ValueError):  # circular references
        return _described(values)


def _described(value: Any) -> str:
    """A value without its address in memory, which no two runs share."""
    if inspect.isroutine(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, set | frozenset):
        return repr(sorted(map(_described, value)))
    return without_addresses(repr(value))


def without_addresses(text: str) -> str:
    """Without the addresses in memory of the objects that it shows, which no two runs share."""
    return _ADDRESS.sub("", text)


def short_hash(text: str) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
