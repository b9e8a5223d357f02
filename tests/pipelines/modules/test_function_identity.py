"""What tells one function from another, in this run and the next."""

from __future__ import annotations

import functools
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from pipelines.modules.function_identity import function_identity


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


@pytest.mark.parametrize(
    ("one", "other"),
    [(Path("a"), Path("b")), (Decimal(1), Decimal(2)), ({1}, {2}), (b"a", b"b"), (len, max),
     ({1: 2, "a": 3}, {1: 2, "a": 4})],
)  # fmt: skip
def test_values_that_json_has_no_form_for_count_too(one: object, other: object) -> None:
    first, again, second = (functools.partial(scaled, by=by) for by in (one, one, other))  # type: ignore[arg-type]
    assert function_identity(first) == function_identity(again) != function_identity(second)


def test_captured_values_count() -> None:
    assert function_identity(scaler(2.0)) == function_identity(scaler(2.0))
    assert function_identity(scaler(2.0)) != function_identity(scaler(3.0))


def test_a_builtin_is_its_name() -> None:
    assert function_identity(len) == "builtins.len"
