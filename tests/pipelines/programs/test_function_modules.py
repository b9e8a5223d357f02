"""Functions as modules: what they are given, what they may return, how they fail."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pipelines import (
    Module,
    Pipeline,
)
from search_spaces import ModuleConfig, PipelineConfig


def count_words(text: str, least: int = 0) -> int:
    return max(least, len(text.split()))


def split(text: str) -> dict[str, str]:
    head, _, tail = text.partition(" ")
    return {"head": head, "tail": tail}


def leave(text: str) -> int:
    sys.exit(3)


def explode(text: str) -> str:
    raise ZeroDivisionError(f"cannot divide {text}")


def test_functions_get_the_params_of_module_and_config_and_need_no_session() -> None:
    pipeline = Pipeline("x", [Module("n", "text -> n: int", function=count_words)])
    config = PipelineConfig(modules={"n": ModuleConfig(params={"least": 5})})
    assert pipeline.bind(config, {}, None).run({"text": "a b"}).outputs == {"n": 5}
    assert pipeline(text="a b c").n == 3


def test_a_function_may_return_a_record() -> None:
    pipeline = Pipeline("x", [Module("s", "text -> head, tail", function=split)])
    trace = pipeline.bind(pipeline.default_config(), {}, None).run({"text": "a b c"})
    assert trace.outputs == {"head": "a", "tail": "b c"}


def test_a_function_that_changes_its_input_changes_nobody_elses() -> None:
    def drain(items: list[int]) -> int:
        return items.pop()

    pipeline = Pipeline("x", [Module("d", "items: list[int] -> last", function=drain)])
    given = [1, 2]
    trace = pipeline.bind(pipeline.default_config(), {}, None).run({"items": given})
    assert given == [1, 2] == trace.steps[0].inputs["items"]


@pytest.mark.parametrize(
    ("signature", "function", "message"),
    [
        ("text -> n", explode, "ZeroDivisionError: cannot divide x"),
        ("text -> n", leave, "SystemExit: 3"),
        ("text -> n, m", count_words, "must return a mapping with the keys ['n', 'm']"),
        ("text -> head, tails", split, "but returned the keys ['head', 'tail']"),
    ],
)
def test_a_function_that_fails_is_a_failure_of_its_own(
    signature: str, function: Any, message: str
) -> None:
    pipeline = Pipeline("x", [Module("f", signature, function=function)])
    trace = pipeline.bind(pipeline.default_config(), {}, None).run({"text": "x"})
    assert trace.outputs is None
    assert trace.failure is not None
    assert (trace.failure.kind, trace.failure.module) == ("function_error", "f")
    assert not trace.failure.infrastructure
    assert message in trace.failure.message
