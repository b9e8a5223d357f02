"""Routes: who is asked first, when that is enough, and inputs that no rates are known for."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import Module, PipelineError
from pipelines.aggregators import Route, aggregator, check_aggregator
from pipelines.aggregators.notation import network_text, parse_network
from pipelines.aggregators.testing import ScriptedMembers
from search_spaces import AggregatorConfig, ModuleConfig

MODULE = Module("solve", "question, category -> answer")
BY_CATEGORY = Route(
    rates=(0.6, 0.5, 0.4),
    by="category",
    rates_by={"math": (0.2, 0.3, 0.9), "law": (0.5, 0.8, 0.1)},
)


def members(*answers: str | None, **inputs: Any) -> ScriptedMembers:
    records = [None if answer is None else {"answer": answer} for answer in answers]
    return ScriptedMembers(records, received={"question": "?", **inputs})


def decided(route: Route, asked: ScriptedMembers) -> str:
    verdict = route.aggregate(asked)
    assert verdict is not None
    return str(verdict.answer.record["answer"])


@pytest.mark.parametrize(
    ("category", "first"), [("math", "c"), ("law", "b"), ('"Math."', "c"), ("  LAW ", "b")]
)
def test_the_member_with_the_highest_rate_for_the_category_is_asked(
    category: str, first: str
) -> None:
    asked = members("a", "b", "c", category=category)
    assert decided(BY_CATEGORY, asked) == first
    assert asked.asked.total() == 1
    assert asked.failures == []


@pytest.mark.parametrize("inputs", [{}, {"category": None}, {"category": ""}, {"category": "art"}])
def test_without_rates_for_the_input_those_for_all_are_used_and_counted(
    inputs: dict[str, str],
) -> None:
    asked = members("a", "b", "c", **inputs)
    assert decided(BY_CATEGORY, asked) == "a"
    (failure,) = asked.failures
    assert failure.startswith("no_route: the input 'category' ")
    assert ("'art'" in failure) == (inputs.get("category") == "art")


def test_the_next_member_is_asked_where_one_fails_or_abstains() -> None:
    asked = members("a", "", None, category="math")
    assert decided(BY_CATEGORY, asked) == "a"
    assert list(asked.asked) == [2, 1, 0]


def test_an_empty_answer_is_the_last_resort() -> None:
    asked = members("", "", "", category="math")
    assert decided(BY_CATEGORY, asked) == ""


def test_members_are_asked_until_the_answer_is_likely_enough() -> None:
    """One answer of a member that is right in 60% of cases is right with probability 0.6."""
    for until, expected in ((0.59, 1), (0.61, 2), (0.95, 2), (0.96, 3)):
        route = Route(rates=(0.6, 0.6, 0.6), until=until, options=10)
        asked = members("a", "a", "b")
        assert decided(route, asked) == "a"
        assert asked.asked.total() == expected, until
    odds = (0.6 / (0.4 / 9)) ** 2  # of an answer given twice, against each other one
    assert 0.95 < odds / (odds + 9) < 0.96


def test_two_that_agree_may_outweigh_a_better_one() -> None:
    asked = members("a", "b", "b")
    assert decided(Route(rates=(0.6, 0.5, 0.5), until=1.0), asked) == "b"
    assert decided(Route(rates=(0.9, 0.3, 0.3), until=1.0), members("a", "b", "b")) == "a"


def test_an_answer_of_a_member_that_is_worse_than_chance_counts_against_it() -> None:
    route = Route(rates=(0.3, 0.6), until=1.0, options=2)
    assert decided(route, members("yes", "no")) == "no"
    assert decided(Route(rates=(0.3, 0.25), until=1.0, options=2), members("yes", "no")) == "yes"


def test_handicaps_change_the_order_and_not_the_weights() -> None:
    route = Route(rates=(0.6, 0.5), handicaps=(0.2, 0.0))
    assert decided(route, members("a", "b")) == "b"
    assert (
        decided(Route(rates=(0.6, 0.5), handicaps=(0.2, 0.0), until=1.0), members("a", "b")) == "a"
    )


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=6),
    st.lists(st.sampled_from("abcd"), min_size=6, max_size=6),
    st.floats(1.01, 50),
)
def test_probabilities_are_in_range_and_the_winner_has_the_largest_weight(
    rates: list[float], letters: list[str], options: float
) -> None:
    route = Route(rates=tuple(rates), options=options)
    asked = members(*letters[: len(rates)])
    answers = asked.ask(range(len(rates)))
    best, probability = route.likeliest(route.rates, answers)
    assert 0 < probability <= 1
    weights: dict[str, float] = {}
    for letter, rate in zip(letters, rates, strict=False):
        held = min(max(rate, 0.01), 0.99)
        weights[letter] = weights.get(letter, 0) + math.log(held * (options - 1) / (1 - held))
    assert weights[str(best.record["answer"])] == pytest.approx(max(weights.values()))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"by": "categry"}, r"by names the unknown input field 'categry'; nearest: 'category'"),
        ({"rates": (0.5,)}, r"rates: one for each of 3 members is needed, but got \[0.5\]"),
        ({"handicaps": (0.5,)}, r"handicaps: one for each of 3 members"),
        ({"rates_by": {"law": (0.5,) * 3}}, r"rates_by needs by="),
        ({"by": "category", "rates_by": {"law": ()}}, r"rates_by, 'law': one for each of 3"),
        ({"by": "category", "rates_by": {"Law": (0.5,) * 3}}, r"compared as 'law', but got 'Law'"),
        ({"rates": (0.5, 0.5, 1.5)}, r"rates.*less than or equal to 1, but got 1.5"),
        ({"until": -1}, r"until.*greater than or equal to 0, but got -1"),
        ({"options": 1}, r"options.*greater than 1, but got 1"),
    ],
)
def test_parameters_that_do_not_fit_are_named(params: dict[str, Any], message: str) -> None:
    config = ModuleConfig(
        models=("a", "b", "c"), width=3, aggregator=AggregatorConfig(name="route", params=params)
    )
    with pytest.raises(PipelineError, match=message):
        check_aggregator(config, MODULE)


def test_the_notation_has_a_form_for_it() -> None:
    text = (
        "1x a + 1x b -> route(until=0.7, options=4, rates=[0.5, 0.4], by=category, "
        'rates_by={"computer science": [0.4, 0.6]})'
    )
    config = parse_network(text)
    assert network_text(config) == text
    check_aggregator(config, MODULE)
    assert config.aggregation is not None
    made = aggregator(config.aggregation)
    assert isinstance(made, Route)
    assert made.rates_by == {"computer science": (0.4, 0.6)}
