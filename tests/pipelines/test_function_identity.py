"""What tells one function from another, in this run and the next."""

from __future__ import annotations

import functools
from collections.abc import Callable

from pipelines.function_identity import function_identity


class Settings:
    """An object whose repr holds its address."""


def scaled(value: float, by: float = 1.0, settings: object = None) -> float:
    return value * by


def scaler(by: float) -> Callable[[float], float]:
    return lambda value: value * by


def test_what_is_bound_counts_and_addresses_do_not() -> None:
    first, again = (functools.partial(scaled, by=2.0, settings=Settings()) for _ in range(2))
    other = functools.partial(scaled, by=3.0, settings=Settings())
    assert function_identity(first) == function_identity(again)
    assert len({function_identity(f) for f in (scaled, first, other)}) == 3


def test_captured_values_count() -> None:
    assert function_identity(scaler(2.0)) == function_identity(scaler(2.0))
    assert function_identity(scaler(2.0)) != function_identity(scaler(3.0))


def test_a_builtin_is_its_name() -> None:
    assert function_identity(len) == "builtins.len"
