"""DSPy's language models as ours, and back."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from pipelines import PipelineError
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.adapters.dspy_programs.inspection.lms import as_lm, as_model
from pipelines.gateway.model import Model
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve

SECRET = "sk-planted-77aa"


def test_an_lm_is_a_model_with_its_address_and_parameters() -> None:
    lm = dspy.LM(
        "openai/x", temperature=0.5, max_tokens=99, api_base="http://127.0.0.1/v1", top_k=3
    )
    model = as_model(lm, "it")
    assert model == Model(
        "openai/x", api_base="http://127.0.0.1/v1", max_tokens=99, params={"top_k": 3}
    )


def test_what_dspy_itself_does_with_an_lm_is_no_parameter() -> None:
    assert as_model(dspy.LM("openai/x", cache=False, num_retries=7), "it") == Model("openai/x")


@pytest.mark.parametrize(
    "given", [{"api_key": SECRET}, {"extra_headers": {"Authorization": f"Bearer {SECRET}"}}]
)
def test_a_key_is_refused_and_not_printed(given: Any) -> None:
    program = LocateSolve()
    program.solve.lm = dspy.LM("openai/x", **given)
    with pytest.raises(PipelineError, match="predictor 'solve' has an LM") as caught:
        from_dspy(program)
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None
    configuring = dspy.context(lm=dspy.LM("openai/x", **given))
    with configuring, pytest.raises(PipelineError, match="has an LM") as configured:
        from_dspy(LocateSolve())
    assert SECRET not in repr(configured.value)


class Engine:
    def complete(self, request: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize(
    ("lm", "called"),
    [
        (dspy.utils.DummyLM([{}]), "DummyLM"),
        (dspy.LM("openai/x", engine=Engine()), "dspy.LM with an engine of its own"),
    ],
)
def test_an_lm_that_would_go_past_the_gateway_is_refused(lm: Any, called: str) -> None:
    with pytest.raises(PipelineError, match=f"it asks a {called}, which goes past the gateway"):
        as_model(lm, "it")


def test_two_lms_of_one_name_that_differ_are_refused() -> None:
    program = LocateSolve()
    program.locate.lm = dspy.LM("openai/x", max_tokens=10)
    program.solve.lm = dspy.LM("openai/x", max_tokens=20)
    with pytest.raises(PipelineError, match="'openai/x' with different settings"):
        from_dspy(program)


def test_predictors_without_an_lm_start_with_what_is_configured() -> None:
    program = LocateSolve()
    program.solve.lm = dspy.LM("sim/a", temperature=0.1)
    with dspy.context(lm=dspy.LM("sim/b", temperature=0.9)):
        pipeline = from_dspy(program)
    modules = pipeline.default_config().modules
    assert (modules["locate"].models, modules["locate"].temperature) == (("sim/b",), 0.9)
    assert (modules["solve"].models, modules["solve"].temperature) == (("sim/a",), 0.1)
    assert [model.label for model in pipeline.models] == ["sim/a", "sim/b"]


@pytest.mark.parametrize("name", ["openai/gpt-5", "openai/o3-mini", "openai/gpt-5-nano"])
def test_a_reasoning_model_gets_neither_temperature_nor_max_tokens(name: str) -> None:
    lm = as_lm(Model(name), 0.7, {"reasoning_effort": "low"})
    assert lm.model == name
    assert lm.kwargs["reasoning_effort"] == "low"
    assert lm.kwargs.get("temperature") is None
    assert lm.kwargs.get("max_completion_tokens") is None


def test_an_lm_says_all_that_the_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    model = Model(
        "openai/x", api_base="http://127.0.0.1/v1", api_key_env="MY_KEY", params={"top_k": 3}
    )
    lm = as_lm(model, 0.2, {"reasoning_effort": "low"})
    told = {"temperature": 0.2, "max_tokens": 2048, "top_k": 3, "reasoning_effort": "low"}
    assert {name: lm.kwargs[name] for name in told} == told
    assert lm.kwargs["api_base"] == "http://127.0.0.1/v1"
    assert lm.kwargs["api_key"] == SECRET
    assert SECRET not in str(lm.dump_state())
