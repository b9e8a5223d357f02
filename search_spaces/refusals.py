"""One-line errors about refused values: the field, the rule and the nearest valid name."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Annotated, Any, TypeVar, cast

from pydantic import BeforeValidator, StrictInt, ValidationError
from pydantic_core import ErrorDetails

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def _as_int(given: Any) -> Any:
    """NumPy's integers are whole numbers too; True and False are not."""
    return int(given) if isinstance(given, Integral) and not isinstance(given, bool) else given


Whole = Annotated[StrictInt, BeforeValidator(_as_int)]
"""The type of fields that are whole numbers."""


def refusing_with(
    error: type[ValueError], instead: Mapping[str, str] | None = None
) -> Callable[[type[T]], type[T]]:
    """Make a class raise a one-line error where pydantic would raise one of many lines.

    The error names arguments as the user wrote them, as in `SearchSpace(width=...) must be ...`,
    and the nearest name for a misspelt one. Works for pydantic's models, dataclasses and other
    classes. With pydantic's `hide_input_in_errors`, only numbers are quoted.

    Args:
        error: the class of the error.
        instead: what to write instead of arguments that users try and the class does not have.
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
                    advice = f": {instead[name]}" if instead and name in instead else ""
                    raise error(_unknown(made.__name__, name, names, advice))
            for name in _needed(own)[len(args) :]:
                if name not in given:
                    listed = ", ".join(names)
                    raise error(f"{made.__name__}({name}=...) is missing (it has {listed})")
            try:
                initialise(self, *args, **given)
            except ValidationError as refused:
                by_name = {**dict(zip(names, args, strict=False)), **given}
                hidden = config.get("hide_input_in_errors", False)
                problems = [
                    _problem(made.__name__, names, each, by_name, hidden)
                    for each in _closest(refused)
                ]
                raise error("; ".join(problems)) from None

        made.__init__ = checked  # type: ignore[assignment]
        return made

    return decorated


def naming_arguments(function: F) -> F:
    """Make a function name the nearest argument when it is given an unknown one."""
    names = tuple(inspect.signature(function).parameters)

    @functools.wraps(function)
    def checked(*args: Any, **given: Any) -> Any:
        for name in given:
            if name not in names:
                raise TypeError(_unknown(function.__name__, name, names))
        return function(*args, **given)

    return cast(F, checked)


def _unknown(owner: str, name: str, names: tuple[str, ...], advice: str = "") -> str:
    return f"{owner} has no {name!r}{advice or nearest(name, names)} (it has {', '.join(names)})"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as `; nearest: 'solve'`, or an empty text when there is nothing to choose.

    The closest spelling; where none is close, the first name with the given one among its words.
    """
    choices = [str(choice) for choice in known]
    words = (choice for choice in choices if str(name) in choice.split("_"))
    close, any_ = (difflib.get_close_matches(str(name), choices, 1, cutoff) for cutoff in (0.7, 0))
    found = [*close, *words, *any_]
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


def check_temperature(value: Any) -> float | None:
    """The temperature as a float; None stays. Raises ValueError unless it is from 0 to 2."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2:
        raise ValueError(f"0 <= temperature <= 2 must hold, but got {value!r}")
    return float(value)


@functools.cache
def _needed(made: type) -> tuple[str, ...]:
    """The arguments without a default."""
    parameters = inspect.signature(made).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return tuple(p.name for p in parameters if p.default is p.empty and p.kind not in kinds)


@functools.cache
def _names(made: type) -> tuple[str, ...]:
    return tuple(inspect.signature(made).parameters)


def _closest(refused: ValidationError) -> Iterable[ErrorDetails]:
    """One error for each field: that of the type which matched most of the value."""
    errors: dict[Any, ErrorDetails] = {}
    for error in refused.errors(include_url=False):
        field = error["loc"][:1]
        if field not in errors or len(error["loc"]) > len(errors[field]["loc"]):
            errors[field] = error
    return errors.values()


def _problem(
    made: str, names: tuple[str, ...], error: ErrorDetails, by_name: Mapping[str, Any], hidden: bool
) -> str:
    field, *path = error["loc"] or ("",)
    name = dict[Any, Any](enumerate(names)).get(field, field)
    place = f"{made}({name}={_keys(path, by_name.get(name))})"
    if error["type"] == "value_error":  # raised by a check of ours, whose message is complete
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
    if error["type"] == "tuple_type" and isinstance(error["input"], str):
        rule += f", such as ({error['input']!r},)"
    quoted = not hidden or isinstance(error["input"], int | float)
    given = f", but got {error['input']!r}" if quoted else ""
    return f"{place}{rule}{given}{hint}"


def _keys(path: Iterable[str | int], value: Any) -> str:
    """`{'solve': ...}`: the keys in the value, without the types that pydantic adds in between."""
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
