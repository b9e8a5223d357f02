"""What a call may take in at most: no server counts more, and images are not counted as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.loopback import LoopbackServer, Price
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted, LMCall
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.input_bound import TOOL_PROMPT_TOKENS, image_tokens, most_input_tokens
from pipelines.gateway.model import Model

Parts = list[dict[str, Any]]


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def bound(content: Any, name: str = "openai/gpt-5", **params: Any) -> int:
    return most_input_tokens(name, [{"role": "user", "content": content}], params)


SMALL, LARGE = (image("data:image/png;base64," + "A" * size) for size in (8, 4_000_000))
TEXT = {"type": "text", "text": "What is it?"}


def test_an_image_counts_by_itself_and_not_as_text() -> None:
    assert bound([TEXT, SMALL]) == bound([TEXT, LARGE])
    one, two = bound([TEXT, SMALL]), bound([TEXT, SMALL, LARGE])
    each = image_tokens("openai/gpt-5")
    assert each < two - one < each + 100
    assert one > bound([TEXT]) + each
    assert bound([TEXT, image("https://example.com/cat.png")]) > bound([TEXT]) + each


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("openai/gpt-4o-mini", 2_833 + 8 * 5_667),
        ("openai/gpt-6-astra", 60_000_000 / 1024 * 1.2),
        ("azure/our-deployment", 60_000_000 / 1024 * 1.2),
        ("openai/o3", 1_445),
        ("anthropic/claude-opus-4-8", 4_005),
        ("openai/gpt-5.5", 10_000 * 1.2),
        ("hosted_vllm/Qwen/qwen2.5-vl-7b", 12_845_056 / 28**2),
    ],
)
def test_no_model_is_known_to_count_more_for_its_largest_image(name: str, most: float) -> None:
    assert image_tokens(name) >= most
    assert image_tokens(name) <= 12 * most


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "A" * 5000, "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64," + "A" * 5000}},
        image("data:application/pdf;base64," + "A" * 5000),
        {"type": "text", "text": "é" * 2500},
    ],
)
def test_all_else_counts_by_its_bytes(part: dict[str, Any]) -> None:
    assert bound([part]) >= 5000


def test_tools_count_by_their_bytes_and_by_what_providers_write_around_them() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "é" * 1000}}]
    assert bound("hi", tools=tools) >= bound("hi") + 2000 + TOOL_PROMPT_TOKENS


texts = st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=30))
images = st.builds(lambda data: image(f"data:image/png;base64,{data}"), st.text("AB=", max_size=90))
contents = st.one_of(st.text(max_size=50), st.lists(texts | images, min_size=1, max_size=4))
tools = st.lists(
    st.builds(
        lambda name, description: {
            "type": "function", "function": {"name": name, "description": description},
        },
        st.text(max_size=9), st.text(max_size=40),
    ),
    max_size=3,
)  # fmt: skip


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(calls=st.lists(st.tuples(contents, tools), min_size=1, max_size=6), share=st.floats(0.2, 1))
def test_dollars_stay_under_the_cap_with_tools_and_images(
    calls: list[tuple[Any, Any]], share: float, open_gateway: Callable[..., Gateway]
) -> None:
    """The server counts bytes, and 765 for an image."""
    price = Price(50.0, 200.0)
    with LoopbackServer(
        reply=lambda *_: "yes", prices={"tiny": price}, count_tokens=lambda text: len(text.encode())
    ) as server:
        model = Model(
            "openai/tiny", api_base=server.url, max_tokens=8,
            input_usd_per_million=price.input, output_usd_per_million=price.output,
        )  # fmt: skip
        made = [
            LMCall(model, ({"role": "user", "content": c},), params={"tools": t} if t else {})
            for c, t in calls
        ]
        worst = [call.most_input_tokens * 50e-6 + 8 * 200e-6 for call in made]
        cap = share * sum(worst)
        session = open_gateway().session("caps", Budget(usd=cap))
        for call, most in zip(made, worst, strict=True):
            try:
                assert session.complete(call).usd <= most
            except BudgetExhausted:
                continue
        assert server.usd <= session.spent.usd * (1 + 1e-9)
        assert session.spent.usd <= cap


scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2)
plain = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner), 
    max_leaves=5,
)  # fmt: skip
settings_of_tools = st.fixed_dictionaries(
    {},
    optional={
        "tools": st.lists(plain, max_size=2),
        "tool_choice": plain,
        "parallel_tool_calls": st.booleans(),
        "response_format": plain,
    },
)
said = st.fixed_dictionaries(
    {"role": st.sampled_from(["assistant", "tool"]), "content": st.none() | st.just("x")},
    optional={"tool_calls": st.lists(plain, max_size=2), "tool_call_id": st.text("ab", max_size=1)},
)


@given(params=st.tuples(*[settings_of_tools] * 2), messages=st.tuples(*[said] * 2))
def test_calls_share_a_key_only_if_they_are_the_same(
    params: tuple[dict[str, Any], ...], messages: tuple[dict[str, Any], ...]
) -> None:
    one, other = (
        LMCall(Model("openai/tiny"), (message,), params=each)
        for message, each in zip(messages, params, strict=True)
    )
    same = [json.dumps([m, p], sort_keys=True) for m, p in zip(messages, params, strict=True)]
    assert (one.key == other.key) == (same[0] == same[1])
    again = LMCall(
        Model("openai/tiny"),
        (dict(reversed(messages[0].items())),),
        params=dict(reversed(params[0].items())),
    )
    assert again.key == one.key
    assert again.seed == one.seed
