"""The short notation of networks: both ways, and what is said when it is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import Module, Pipeline, PipelineError
from pipelines.aggregators.notation import is_network, labels_of, network_text, parse_network
from search_spaces import AggregatorConfig, MemberConfig, ModuleConfig

labels = st.one_of(
    st.sampled_from(["a", "bedrock/claude-3-5:0", "3x", "8x7b", "-1x", "3", "3*a"]),
    st.text("ab +,()='\"x-> é/", min_size=1, max_size=8).filter(str.strip),
)
values = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text('ab1 ,"{', max_size=4)
)
mappings = st.dictionaries(st.text('ab1 ,"{}', max_size=4), values, max_size=3)
nested = st.one_of(values, mappings, st.lists(st.one_of(values, mappings), max_size=3))
params = st.dictionaries(st.sampled_from(["weights", "threshold"]), nested)
OWN = "tests.pipelines.aggregators.functions:Own"


def networks(deeper: st.SearchStrategy[ModuleConfig]) -> st.SearchStrategy[ModuleConfig]:
    def built(
        models: list[str], asked: dict[str, ModuleConfig], params: dict[str, Any]
    ) -> ModuleConfig:
        own = AggregatorConfig(name=OWN, modules=asked, params={"asks": [*asked], **params})
        return ModuleConfig().with_members(models, own)

    asked = st.dictionaries(st.sampled_from(["judge", "verifier"]), deeper, max_size=2)
    return st.builds(built, st.lists(labels, min_size=2, max_size=4), asked, params)


singles = st.builds(lambda label: ModuleConfig(models=(label,)), labels)


@given(st.recursive(singles, networks, max_leaves=4))
def test_what_is_written_can_be_read(config: ModuleConfig) -> None:
    assert parse_network(network_text(config)) == config


def test_the_example() -> None:
    text = "3x openai/gpt-4o-mini + 1x anthropic/claude-haiku-4-5 -> judge(openai/gpt-4o)"
    config = parse_network(text, temperature=0.7)
    assert config.labels == ("openai/gpt-4o-mini",) * 3 + ("anthropic/claude-haiku-4-5",)
    assert config.roles["judge"].models == ("openai/gpt-4o",)
    assert config.temperature == 0.7
    assert network_text(config) == text
    assert labels_of(text) == [*dict.fromkeys(config.labels), "openai/gpt-4o"]


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (["a", MemberConfig("a", instructions="x")], "1x a + 1x a(prompt 2)"),
        (["a", MemberConfig("b", temperature=0.25)], "1x a + 1x b at 0.25"),
        ([MemberConfig("a", instructions="x", temperature=0.0)] * 2 + ["b"],
         "2x a(prompt 2) at 0 + 1x b"),
        ([MemberConfig("a", instructions="x"), MemberConfig("a", instructions="y"),
          MemberConfig("b", instructions="x")], "1x a(prompt 2) + 1x a(prompt 3) + 1x b(prompt 2)"),
        ([MemberConfig("a b", demos=({"q": "1"},)), "c"], '1x "a b"(prompt 2) + 1x c'),
        ([MemberConfig("a", instructions="x")] * 2, "2x a"),
    ],
)  # fmt: skip
def test_what_members_have_of_their_own_is_shown(members: Any, text: str) -> None:
    config = ModuleConfig(members=members, aggregator="majority_vote")
    assert network_text(config) == f"{text} -> majority_vote"


def test_a_network_in_a_network() -> None:
    config = parse_network("2x a -> judge(3x b -> verifier(c, fallback=first), answer=write)")
    judge = config.roles["judge"]
    assert (judge.labels, judge.roles["verifier"].models) == (("b", "b", "b"), ("c",))
    assert judge.aggregation is not None
    assert judge.aggregation.params == {"fallback": "first"}


def test_a_module_may_start_as_a_network() -> None:
    pipeline = Pipeline("p", [Module("solve", "task -> answer", model="2x a + b -> majority_vote")])
    config = pipeline.default_config()
    assert config.modules["solve"].labels == ("a", "a", "b")
    assert config.allocation == {"solve": ("a", "a", "b")}
    assert Pipeline.from_yaml(pipeline.to_yaml()) == pipeline


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0x a -> majority_vote", "1 to 1000 members, but got '0x'"),
        ("3 x a -> majority_vote", "expected members as in '3x a' .*, but found '3 x a -> maj"),
        *[
            (f"{text} -> majority_vote", f"expected members as in '3x a' .*, but found '{text} ->")
            for text in ("1.5x a", "-1x a", "3xa", "3X a", "3 a")
        ],
        ("b + 3x 2x a -> majority_vote", "expected members as in '3x a'"),
        ("-> ", "expected a model's label, but found '->'"),
        ('3x "a\\q" -> judge(b)', "expected a model's label in quotes as JSON writes it"),
        ("3x a -> judge b)", r"expected the end, but found 'b\)'"),
        ("3x a ->", "expected an aggregator's name, but it ends there"),
        (
            "3x a -> judg(b)",
            r"^network '3x a -> judg\(b\)': unknown aggregator 'judg'; nearest: 'judge' ",
        ),
        ("3x a -> judge(b", r"expected ',' or '\)', but it ends there"),
        (
            "a(prompt 2) at 0.7 + b -> majority_vote",
            "own prompt or temperature is not part of the notation, but found '\\(prompt 2",
        ),
        ("a at 0.7", "not part of the notation, but found 'at 0.7'; write ModuleConfig\\(members="),
        ("a b", "expected '\\+', '->' or the end, but found 'b'"),
        ("2x a -> majority_vote(b)", "majority_vote: it asks no model, but got b"),
        ("2x a -> judge(=)", "expected a model's label"),
        ("2x a -> judge(b, c)", "judge is given twice"),
        ("2x a -> judge(b, judge=c)", "judge is given twice"),
        ("2x a -> majority_vote(weights=[1, 2], weights=[3, 4])", "weights is given twice"),
        ("2x a -> verifier(b, fallbak=first)", "no such parameter or role; nearest: 'fallback'"),
        (f"2x a -> {OWN}(b)", "missing 1 required positional argument: 'asks'"),
        (
            f"2x a -> {OWN}(b, asks=[judge, verifier])",
            r"name its role \(judge, verifier\), but got b",
        ),
        (f"2x a -> {OWN}(weights={{'x': 1}})", "expected a JSON object, but found \"{'x'"),
        ("", "expected a model's label, but it ends there"),
    ],
)
def test_what_is_wrong_is_shown(text: str, message: str) -> None:
    with pytest.raises(PipelineError, match=message) as raised:
        parse_network(text)
    assert str(raised.value).startswith(f"network {text!r}: ")


@pytest.mark.parametrize("text", ["3 x a", "1.5x a", "3X a", "2x a", "a + b", "a -> judge(b)"])
def test_what_is_meant_as_a_network_is_taken_for_one(text: str) -> None:
    assert is_network(text)


@pytest.mark.parametrize("label", ["a", "openai/gpt-4o-mini", "8x7b", "mixtral-8x7b"])
def test_a_label_is_none(label: str) -> None:
    assert not is_network(label)


def test_a_knob_out_of_range_is_told_in_one_line() -> None:
    with pytest.raises(PipelineError, match=r"^network 'a': .*temperature=.* got 9$"):
        parse_network("a", temperature=9)
