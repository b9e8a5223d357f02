from __future__ import annotations

import time

import pytest

from optimizer.export import failure_of, run_rows
from pipelines import Module, Pipeline, PipelineError
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from search_spaces import ModuleConfig, PipelineConfig


def halve(number: int) -> int:
    time.sleep(0.02 * (number % 3))
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


HALVING = Pipeline("halving", [Module("halve", "number: int -> half: int", function=halve)])


def test_outcomes_come_in_order_with_failures_beside_them() -> None:
    session = Gateway(cache=None).session("test")
    rows = [{"number": number} for number in range(8)]
    traces = list(run_rows(HALVING, rows, session, concurrency=4))
    assert [o.outputs and o.outputs["half"] for o in traces] == [
        0,
        None,
        1,
        None,
        2,
        None,
        3,
        None,
    ]
    assert failure_of(traces[1]) == "function_error in halve: ValueError: 1 is odd"
    assert failure_of(traces[2]) is None


def test_a_row_without_an_input_is_the_callers_mistake() -> None:
    with pytest.raises(PipelineError, match="'number' is missing"):
        list(run_rows(HALVING, [{"nummer": 1}], Gateway(cache=None).session("test")))


def test_models_are_those_the_config_names_as_the_pipeline_describes_them() -> None:
    own = Model("openai/own", label="own", api_base="http://127.0.0.1:1", max_tokens=9)
    config = PipelineConfig(modules={"a": ModuleConfig(models=("own", "openai/x", "own"), width=3,
                                                       aggregator="majority_vote")})  # fmt: skip
    pipeline = Pipeline("p", [Module("a", "q -> r")], config=config,
                        models=(own, Model("openai/x"), Model("openai/unused")))  # fmt: skip
    assert pipeline.named_models() == {"own": own, "openai/x": Model("openai/x")}
    assert HALVING.named_models() == {}
