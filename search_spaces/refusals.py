"""Errors about refused values: one line with the field, the rule and the nearest valid name."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, StrictInt, ValidationError
from pydantic_core import ErrorDetails

T = TypeVar("T")


def _as_int(given: Any) -> Any:
    """NumPy's integers are whole numbers too; True and False are not."""
    return int(given) if isinstance(given, Integral) and not isinstance(given, bool) else given


Whole = Annotated[StrictInt, BeforeValidator(_as_int)]
"""The type of fields that are whole numbers."""


def refusing_with(error: type[ValueError]) -> Callable[[type[T]], type[T]]:
    """Has a class raise an error of one line where pydantic would raise one of many.

    It names arguments as the user wrote them, as in `SearchSpace(width=...) must be ...`, and the
    nearest name for a misspelt one. Works for pydantic's models, for dataclasses and for other
    classes. With pydantic's `hide_input_in_errors`, only numbers are quoted.
    """

    def decorated(made: type[T]) -> type[T]:
        initialise = made.__init__
        config = getattr(made, "__pydantic_config__", None) or {}

        @functools.wraps(initialise)
        def checked(self: T, *args: Any, **given: Any) -> None:
            # a subclass may have arguments of its own, and call this with ours
            own: Any = type(self) if type(self).__init__ is checked else made
            names = _names(own)
            for name in given:
                if name not in names:
                    hint = f"{nearest(name, names)} (it has {', '.join(names)})"
                    raise error(f"{made.__name__} has no {name!r}{hint}")
            try:
                initialise(self, *args, **given)
            except ValidationError as refused:
                by_name = {**dict(zip(names, args, strict=False)), **given}
                hidden = config.get("hide_input_in_errors", False)
                told = [
                    _told(made.__name__, names, each, by_name, hidden) for each in _closest(refused)
                ]
                raise error("; ".join(told)) from None

        made.__init__ = checked  # type: ignore[assignment]
        return made

    return decorated


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as `; nearest: 'solve'`, or an empty text when there is nothing to choose."""
    choices = [str(choice) for choice in known]
    found = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.0)
    return f"; nearest: {found[0]!r}" if found else ""


def check_whole(name: str, value: Any, least: int) -> None:
    """Raises ValueError unless the value is a whole number of at least that."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"`{name} >= {least}` must hold (a whole number), but got {value!r}")


def check_number(name: str, value: Any, *, zero: bool) -> None:
    """Raises ValueError unless the value is a finite number above 0, or 0 where that is allowed."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf or (value == 0 and not zero):
        rule = f"{name} >= 0" if zero else f"{name} > 0"
        raise ValueError(f"`{rule}` must hold (a finite number), but got {value!r}")


@functools.cache
def _names(made: type) -> tuple[str, ...]:
    return tuple(inspect.signature(made).parameters)


def _closest(refused: ValidationError) -> Iterable[ErrorDetails]:
    """One error for each field: of the types that were tried, the one that fitted most of it."""
    errors: dict[Any, ErrorDetails] = {}
    for error in refused.errors(include_url=False):
        field = error["loc"][:1]
        if field not in errors or len(error["loc"]) > len(errors[field]["loc"]):
            errors[field] = error
    return errors.values()


def _told(
    made: str, names: tuple[str, ...], error: ErrorDetails, by_name: Mapping[str, Any], hidden: bool
) -> str:
    field, *path = error["loc"] or ("",)
    name = dict[Any, Any](enumerate(names)).get(field, field)
    place = f"{made}({name}={_keys(path, by_name.get(name))})"
    if error["type"] == "value_error":  # raised by a check of ours, which says all
        message = str(error["ctx"]["error"])
        return f"{place}: {message}" if name else message
    if error["type"].startswith("missing"):
        return f"{place}: {path[-1]!r} is missing" if path else f"{place} is missing"
    rule = f": {error['msg']}".replace(": Input should", " must", 1)
    hint = ""
    if error["type"] == "literal_error":
        hint = nearest(
            str(error["input"]).lower(), re.findall(r"'([^']*)'", error["ctx"]["expected"])
        )
    quoted = not hidden or isinstance(error["input"], int | float)
    given = f", but got {error['input']!r}" if quoted else ""
    return f"{place}{rule}{given}{hint}"


def _keys(path: Iterable[str | int], value: Any) -> str:
    """`{'solve': ...}`: the keys in the value, without the types that pydantic names in between."""
    keys = []
    for part in path:
        if isinstance(value, Mapping) and part in value:
            keys.append(part)
            value = value[part]
        elif isinstance(value, list | tuple) and isinstance(part, int):
            value = value[part]
    text = "..."
    for key in reversed(keys):
        text = f"{{{key!r}: {text}}}"
    return text
