"""Which knobs a model has, by what litellm would send to its provider."""

from __future__ import annotations

import pytest

from pipelines.gateway.model import Model
from pipelines.providers import check_models, takes


@pytest.mark.parametrize(
    ("model", "temperature", "effort"),
    [
        (Model("openai/gpt-4o-mini"), True, False),
        (Model("openai/o3-mini"), False, True),
        (Model("openai/gpt-5-mini"), False, True),
        (Model("anthropic/claude-haiku-4-5"), True, True),
        (Model("anthropic/claude-3-haiku-20240307"), True, False),
        (Model("openai/something-of-mine", api_base="http://127.0.0.1:1/v1"), True, True),
        (Model("sim/alder"), True, True),
    ],
    ids=lambda given: given.name if isinstance(given, Model) else None,
)
def test_a_knob_is_there_if_the_provider_is_sent_it(
    model: Model, temperature: bool, effort: bool
) -> None:
    assert takes(model, "temperature", 0.0) == temperature
    assert takes(model, "reasoning_effort", "low") == effort


@pytest.mark.parametrize(
    ("name", "takes_tools"),
    [
        ("openai/gpt-4o-mini", True),
        ("openai/a-name-that-nobody-lists", True),
        ("anthropic/claude-haiku-4-5", True),
        ("deepseek/deepseek-reasoner", False),  # litellm's list says so
        ("perplexity/sonar", False),  # litellm would leave them out
        ("sim/alder", False),
        ("recorded/Yi-34B", False),
    ],
)
def test_tools_are_for_models_that_would_be_sent_them(name: str, takes_tools: bool) -> None:
    assert takes(Model(name), "tools", [{"type": "function"}]) == takes_tools


@pytest.mark.parametrize("name", ["anthropic/claude-haiku-4-5", "gemini/gemini-2.5-flash"])
def test_an_effort_that_leaves_no_room_for_an_answer_is_none(name: str) -> None:
    assert takes(Model(name), "reasoning_effort", "low")
    assert not takes(Model(name), "reasoning_effort", "high")
    assert takes(Model(name, max_tokens=8192), "reasoning_effort", "high")
    thoughtful = Model(name, api_key_env="PATH", params={"reasoning_effort": "high"})
    with pytest.raises(ValueError, match=r"think for 4096 tokens .* max_tokens=.* but is 2048"):
        check_models([thoughtful])
