"""Errors of one line, for pydantic's models and for dataclasses of both kinds."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import numpy as np
import pydantic
import pydantic.dataclasses
import pytest

from search_spaces.refusals import Whole, nearest, refusing_with


class OddError(ValueError):
    """What these classes raise."""


@refusing_with(OddError)
class Model(pydantic.BaseModel):
    count: int = pydantic.Field(default=1, ge=1)
    names: dict[str, int] = {}


@refusing_with(OddError)
@pydantic.dataclasses.dataclass(frozen=True)
class Checked:
    count: int = pydantic.Field(default=1, ge=1)
    names: dict[str, int] = dataclasses.field(default_factory=dict)


@refusing_with(OddError)
@dataclasses.dataclass(frozen=True)
class Plain:
    count: int = 1


@refusing_with(OddError)
class Ordinary:
    def __init__(self, count: int = 1) -> None:
        self.count = count


class Own(Ordinary):
    def __init__(self, own: int) -> None:
        super().__init__(count=own)


@pytest.mark.parametrize("made", [Model, Checked, Plain, Ordinary])
def test_a_misspelt_field_is_told_with_the_nearest(made: Any) -> None:
    with pytest.raises(OddError, match=rf"^{made.__name__} has no 'cuont'; nearest: 'count' \(it "):
        made(cuont=2)


@pytest.mark.parametrize("made", [Model, Checked])
def test_every_field_that_is_wrong_is_told_where_it_is(made: Any) -> None:
    name = made.__name__
    with pytest.raises(OddError) as raised:
        made(count=0, names={"a": 1, "b": "x"})
    assert str(raised.value) == (
        f"{name}(count=...) must be greater than or equal to 1, but got 0; {name}(names={{'b': "
        "...}) must be a valid integer, unable to parse string as an integer, but got 'x'"
    )


@pytest.mark.parametrize("made", [Model, Checked, Plain])
def test_what_is_accepted_is_as_before(made: Any) -> None:
    one = made(count=2)
    assert one == pickle.loads(pickle.dumps(one)) == copy.copy(one) != made()
    assert next(iter(inspect.signature(made).parameters)) == "count"
    with pytest.raises(OddError, match="has no 'x'"):
        made(**{"x": 1})


def test_a_subclass_may_have_arguments_of_its_own() -> None:
    assert Own(own=2).count == 2


def test_whole_numbers_may_be_numpys() -> None:
    whole = pydantic.TypeAdapter(Whole)
    assert whole.validate_python(np.int64(3)) == 3
    for wrong in (True, "3", 3.0):
        with pytest.raises(pydantic.ValidationError):
            whole.validate_python(wrong)


def test_nearest_says_nothing_where_there_is_nothing() -> None:
    assert nearest("a", ["b"]) == "; nearest: 'b'"
    assert nearest("a", []) == ""


def test_a_word_of_a_name_is_nearer_than_letters_in_common() -> None:
    names = ["majority_vote", "filter_vote", "votes"]
    assert nearest("vote", names[:2]) == "; nearest: 'majority_vote'"
    assert nearest("vote", names) == "; nearest: 'votes'"
    assert nearest("vote", ["tv", "xyz"]) == "; nearest: 'tv'"
