from __future__ import annotations

import asyncio
import time
from typing import Any

import dspy
import pytest
from dspy.adapters import ChatAdapter

from pipelines.providers.litellm.litellm_import import load_litellm
from pipelines.providers.simulated import MODELS, SimulatedModel, find_model, register, simulate

MESSAGES = [{"role": "user", "content": "Compute 17 * 23 - 5"}]


@pytest.fixture(scope="module")
def litellm() -> Any:
    return load_litellm()


def call(litellm: Any, **arguments: Any) -> Any:
    settings = {"model": "sim/birch", "messages": MESSAGES, "num_retries": 0, "max_retries": 0}
    return litellm.completion(**{**settings, **arguments})


def test_a_call_through_litellm_is_the_pure_function(litellm: Any) -> None:
    response = call(litellm, temperature=0.7, seed=3, max_tokens=400)
    model = find_model("birch")
    expected = simulate(model, MESSAGES, temperature=0.7, seed=3, max_tokens=400)
    assert response.choices[0].message.content == expected.text
    assert response.choices[0].finish_reason == expected.finish_reason
    assert response.usage.prompt_tokens == expected.input_tokens
    assert response.usage.completion_tokens == expected.output_tokens
    assert response._hidden_params["declared_latency_s"] == expected.latency_s
    usd = expected.input_tokens * 0.10e-6 + expected.output_tokens * 0.40e-6
    assert response._hidden_params["response_cost"] == pytest.approx(usd)


def test_parameters_arrive(litellm: Any) -> None:
    texts = {
        call(litellm, temperature=1.5, seed=seed).choices[0].message.content for seed in range(6)
    }
    assert len(texts) > 1
    assert call(litellm, max_tokens=2).choices[0].finish_reason == "length"
    assert "answer" not in call(litellm, stop=["answer"]).choices[0].message.content


def test_async_calls_give_the_same_reply(litellm: Any) -> None:
    response = asyncio.run(litellm.acompletion(model="sim/birch", messages=MESSAGES, seed=4))
    assert (
        response.choices[0].message.content == simulate(find_model("birch"), MESSAGES, seed=4).text
    )


def test_reasoning_effort_and_unseen_thoughts_pass_through(litellm: Any) -> None:
    efforts = {"low": -0.4, "high": 0.4}
    model = register(SimulatedModel("test-thinker", effort_shifts=efforts))
    messages = ChatAdapter().format(dspy.Signature("task -> answer"), [], {"task": "Compute 6 * 7"})
    asked = {"model": "sim/test-thinker", "messages": messages, "drop_params": True}
    tokens = []
    for effort in efforts:
        expected = simulate(model, messages, reasoning_effort=effort)
        forms = (effort, {"effort": effort, "summary": "auto"})
        plain, nested = (call(litellm, **asked, reasoning_effort=form) for form in forms)
        within = call(litellm, **asked, extra_body={"reasoning_effort": effort})
        for response in (plain, nested, within):
            usage = response.usage
            assert usage.completion_tokens == expected.output_tokens
            assert usage.completion_tokens_details.reasoning_tokens == expected.reasoning_tokens
        tokens.append(expected.output_tokens)
    assert tokens[0] < tokens[1]
    with pytest.raises(litellm.BadRequestError, match="one of low, high, but got 'medium'"):
        call(litellm, **asked, reasoning_effort="medium")
    ignored = call(litellm, reasoning_effort="medium", drop_params=True)
    assert ignored.choices[0].message.content == call(litellm).choices[0].message.content


def test_latency_is_slept_only_on_request(litellm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    register(SimulatedModel("test-sleeper", seconds_per_1k_tokens=0.0, first_token_seconds=0.3))

    def seconds(**arguments: Any) -> float:
        started = time.perf_counter()
        response = call(litellm, model="sim/test-sleeper", **arguments)
        assert response._hidden_params["declared_latency_s"] > 0.1
        return time.perf_counter() - started

    assert seconds() < 0.1 < seconds(sim_sleep=True)
    monkeypatch.setenv("COMPOUND_OPTIMIZER_SIM_SLEEP", "1")
    assert seconds() > 0.1


def reckoned(litellm: Any, response: Any) -> Any:
    """What litellm makes of the tokens by the prices that it was told."""
    response._hidden_params.pop("response_cost")
    return litellm.completion_cost(response, model=response.model)


def test_models_registered_late_have_a_price(litellm: Any) -> None:
    register(SimulatedModel("test-late", input_usd_per_million=3.0))
    response = call(litellm, model="sim/test-late")
    assert response._hidden_params["response_cost"] > 0
    assert reckoned(litellm, response) > 0


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_call_costs_what_litellm_would_reckon_to_the_last_digit(
    litellm: Any, model: SimulatedModel
) -> None:
    for effort in (None, *model.effort_shifts):
        thinking = {"reasoning_effort": effort, "drop_params": True} if effort else {}
        for seed in range(3):
            response = call(litellm, model=f"sim/{model.name}", seed=seed, **thinking)
            said = response._hidden_params["response_cost"]
            assert said == reckoned(litellm, response) > 0


def test_an_unknown_model_is_not_found_and_the_nearest_named(litellm: Any) -> None:
    with pytest.raises(litellm.NotFoundError, match="nearest: 'sim/birch'"):
        call(litellm, model="sim/brich")


def test_several_samples_in_one_call_are_refused(litellm: Any) -> None:
    with pytest.raises(litellm.BadRequestError, match="one sample per call, but got n=3"):
        call(litellm, n=3)


@pytest.mark.usefixtures("litellm")
def test_dspy_predicts_with_it() -> None:
    lm = dspy.LM("sim/birch", engine="litellm", temperature=0.0, cache=False, num_retries=0)
    with dspy.context(lm=lm):
        plain = dspy.Predict("task -> answer: int")(task="Compute 17 * 23 - 5")
        thought = dspy.ChainOfThought("task -> answer")(task="Compute 6 * 7")
    assert plain.answer == 386
    assert thought.answer == "42"
    assert thought.reasoning.endswith("So the answer is 42.")


def test_our_own_time_per_call_is_small() -> None:
    model = find_model("birch")
    started = time.process_time()
    for seed in range(300):
        simulate(model, MESSAGES, seed=seed)
    assert (time.process_time() - started) / 300 < 0.002  # seconds; it takes about 0.0002
