"""Which knobs a model has, by what litellm would send to its provider."""

from __future__ import annotations

import pytest

from pipelines.gateway.model import Model
from pipelines.providers import has_knob


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
    assert has_knob(model, "temperature") == temperature
    assert has_knob(model, "reasoning_effort") == effort
