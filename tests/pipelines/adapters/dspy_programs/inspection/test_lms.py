"""DSPy's language models as ours, and back."""

from __future__ import annotations

import os
from typing import Any

import dspy
import pytest

from pipelines import PipelineError
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.adapters.dspy_programs.inspection.lms import as_consulted, as_lm, as_model
from pipelines.gateway import secrets
from pipelines.gateway.model import Model
from pipelines.gateway.secrets import key_of, redacted
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


def test_the_price_that_an_lm_has_is_the_models() -> None:
    lm = dspy.LM("openai/own", input_cost_per_token=2e-7, output_cost_per_token=0)
    assert as_model(lm, "it") == Model(
        "openai/own", input_usd_per_million=0.2, output_usd_per_million=0.0
    )


def test_a_price_of_the_models_is_the_lms() -> None:
    model = Model("openai/own", input_usd_per_million=0.1, output_usd_per_million=0.0)
    lm = as_lm(model, None, {})
    assert lm.kwargs["input_cost_per_token"] == pytest.approx(1e-7)
    assert lm.kwargs["output_cost_per_token"] == 0
    assert as_model(lm, "it") == model
    assert "input_cost_per_token" not in as_lm(Model("openai/x"), None, {}).kwargs
    half = as_lm(Model("openai/gpt-4o-mini", input_usd_per_million=7.0), None, {})
    assert half.kwargs["output_cost_per_token"] == pytest.approx(6e-7)  # alone, half is ignored


def test_what_dspy_itself_does_with_an_lm_is_no_parameter() -> None:
    assert as_model(dspy.LM("openai/x", cache=False, num_retries=7), "it") == Model("openai/x")


@pytest.mark.parametrize(
    "given",
    [
        {"extra_headers": {"Authorization": f"Bearer {SECRET}"}},
        {"aws_secret_access_key": SECRET},
        {"api_base": f"http://me:{SECRET}@127.0.0.1/v1"},
    ],
)
def test_a_secret_without_a_variable_is_refused_and_not_printed(given: Any) -> None:
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


def test_a_key_stays_in_memory_under_the_name_of_a_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(secrets, "_GIVEN", {})
    model = as_model(dspy.LM("groq/x", api_key=SECRET), "it")
    assert model.api_key_env == "GROQ_API_KEY"
    assert key_of("GROQ_API_KEY") == SECRET
    assert "GROQ_API_KEY" not in os.environ
    assert redacted(f"bad key {SECRET}") == "bad key <GROQ_API_KEY>"
    assert as_model(dspy.LM("groq/y", api_key=SECRET), "it").api_key_env == "GROQ_API_KEY"
    unprefixed = as_model(dspy.LM("gpt-4o-mini", api_key="sk-planted-99cc"), "it")
    assert key_of(unprefixed.api_key_env) == "sk-planted-99cc"
    other = as_model(dspy.LM("groq/x", api_key="sk-planted-88bb"), "it")
    assert other.api_key_env == "GROQ_API_KEY_2"
    assert as_lm(other, None, {}).kwargs["api_key"] == "sk-planted-88bb"


def test_a_key_that_a_variable_holds_goes_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_KEY", SECRET)
    assert as_model(dspy.LM("openai/x", api_key=SECRET), "it").api_key_env == "TEAM_KEY"
    assert SECRET not in secrets._GIVEN.values()


def test_the_key_of_an_own_server_never_goes_by_a_hosted_providers_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else whoever loads the pipeline would send a real key there."""
    monkeypatch.setattr(secrets, "_GIVEN", {})
    lm = dspy.LM("openai/x", base_url="http://127.0.0.1/v1", api_key=SECRET)
    model = as_model(lm, "it")
    assert (model.api_base, model.api_key_env) == ("http://127.0.0.1/v1", "OWN_SERVER_API_KEY")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"model_type": "responses"}, "model_type='responses': models are asked for chat"),
        ({"use_developer_role": True}, "use_developer_role=True"),
        ({"callbacks": [object()]}, r"callbacks=\.\.\.: calls go through the gateway"),
        ({"n": 2}, "'n': one call brings one reply"),
        ({"timeout": 3}, r"'timeout': the gateway sets it: Gateway\(timeout_s"),
    ],
)
def test_a_setting_that_calls_do_not_have_is_refused_by_name(
    setting: dict[str, Any], told: str
) -> None:
    with pytest.raises(PipelineError, match=told):
        as_model(dspy.LM("openai/x", **setting), "it")


def test_who_is_consulted_has_no_temperature() -> None:
    assert as_consulted(dspy.LM("openai/x", max_tokens=9), "it") == Model("openai/x", max_tokens=9)
    with pytest.raises(PipelineError, match=r"it has an LM with temperature=0\.7"):
        as_consulted(dspy.LM("openai/x", temperature=0.7), "it")


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
    with pytest.raises(PipelineError, match=f"it has a {called}, which goes past the gateway"):
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
