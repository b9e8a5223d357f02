"""How long simulated models think, what that costs, and what a reasoning effort does."""

from __future__ import annotations

import dspy
import numpy as np
import pytest

from benchmarks.worlds import MODELS, SimulatedModel, SimulatedReply, simulated_dataset
from pipelines.providers.simulated.simulation import MOST_OUTPUT_TOKENS
from tests.pipelines.providers.simulated.asking import QUESTION, reply, steady

ROWS = simulated_dataset("arithmetic", 400, seed=51)
THINKING = dspy.Signature("question -> reasoning, answer")
EFFORTS = {"low": -0.4, "medium": 0.0, "high": 0.4}


def is_right(got: SimulatedReply, row: dict[str, str]) -> bool:
    return f"[[ ## answer ## ]]\n{row['answer']}\n" in got.text


def replies(
    model: SimulatedModel, signature: object = QUESTION, **params: object
) -> list[SimulatedReply]:
    return [reply(model, signature, {"question": row["question"]}, **params) for row in ROWS]


@pytest.mark.parametrize("signature", [QUESTION, THINKING])
def test_lengths_are_log_normal_with_long_tails(signature: object) -> None:
    for spread in (0.5, 1.3):
        model = steady(skills={"arithmetic": 1.0}, verbosity=8.0, length_spread=spread)
        tokens = np.array([got.output_tokens for got in replies(model, signature)])
        assert np.std(np.log(tokens)) == pytest.approx(spread, abs=0.12)
        assert np.percentile(tokens, 98) > 0.8 * np.exp(2 * spread) * np.median(tokens)


def test_the_ordinary_length_is_the_median_and_no_spread_changes_nothing() -> None:
    plain, spread = (
        [got.output_tokens for got in replies(steady(length_spread=sd, verbosity=3.0), THINKING)]
        for sd in (0.0, 0.8)
    )
    assert np.median(spread) == pytest.approx(np.median(plain), rel=0.12)
    assert all(got.reasoning_tokens == 0 for got in replies(MODELS[0]))


def test_length_is_drawn_with_the_sample_but_fixed_at_temperature_zero() -> None:
    model = steady(skills={"arithmetic": 1.0}, length_spread=1.3)
    drawn = {reply(model, QUESTION, ROWS[0], seed=seed).output_tokens for seed in range(30)}
    fixed = {
        reply(model, QUESTION, ROWS[0], seed=seed, temperature=0).output_tokens
        for seed in range(30)
    }
    assert len(drawn) > 15
    assert len(fixed) == 1


def test_unseen_thoughts_leave_the_text_alone_but_cost_tokens_and_time() -> None:
    seen = replies(steady("one"))
    unseen = replies(steady("one", length_spread=0.7))
    assert [got.text for got in unseen] == [got.text for got in seen]
    for with_thoughts, without in zip(unseen, seen, strict=True):
        extra = with_thoughts.output_tokens - without.output_tokens
        assert extra == with_thoughts.reasoning_tokens > 0
        assert with_thoughts.latency_s > without.latency_s


def test_unseen_thoughts_are_longer_where_the_model_slips() -> None:
    got = replies(steady(skills={"arithmetic": 0.5}, length_spread=0.3))
    thoughts: dict[bool, list[float]] = {True: [], False: []}
    for each, row in zip(got, ROWS, strict=True):
        thoughts[is_right(each, row)].append(np.log(each.reasoning_tokens))
    ratio = np.exp(np.mean(thoughts[False]) - np.mean(thoughts[True]))
    assert ratio == pytest.approx(1.7, rel=0.1)


def test_the_first_of_several_to_finish_is_no_worse_and_much_faster() -> None:
    model = steady(skills={"arithmetic": 0.6}, length_spread=1.3, verbosity=5.0)
    first, single = [], []
    for row in ROWS[:250]:
        asked = {"question": row["question"]}
        drawn = [reply(model, QUESTION, asked, seed=n, temperature=0.7) for n in range(5)]
        fastest = min(drawn, key=lambda got: got.latency_s)
        first.append((is_right(fastest, row), fastest.latency_s))
        single.append((is_right(drawn[0], row), drawn[0].latency_s))
    (accuracy, seconds), (alone, seconds_alone) = np.mean(first, axis=0), np.mean(single, axis=0)
    assert accuracy > alone
    assert seconds < seconds_alone / 3


def test_the_limit_cuts_thoughts_and_text() -> None:
    model = steady(skills={"arithmetic": 1.0}, length_spread=1.3)
    cut = [got for got in replies(model, max_tokens=30) if got.finish_reason == "length"]
    assert 0.2 * len(ROWS) < len(cut) < len(ROWS)
    assert all(got.output_tokens == 30 for got in cut)
    assert any(got.text == "" and got.reasoning_tokens == 30 for got in cut)
    endless = steady(verbosity=1e6, length_spread=0.1)
    for signature in (QUESTION, THINKING):
        got = reply(endless, signature, ROWS[0])
        assert (got.output_tokens, got.finish_reason) == (MOST_OUTPUT_TOKENS, "length")


@pytest.mark.parametrize("signature", [QUESTION, THINKING])
def test_more_effort_is_abler_longer_and_slower(signature: object) -> None:
    model = steady("able", skills={"arithmetic": 0.5}, effort_shifts=EFFORTS)
    accuracy, tokens, seconds = [], [], []
    for effort in EFFORTS:
        got = replies(model, signature, temperature=0, reasoning_effort=effort)
        pairs = zip(got, ROWS, strict=True)
        accuracy.append(np.mean([is_right(each, row) for each, row in pairs]))
        tokens.append(np.mean([each.output_tokens for each in got]))
        seconds.append(np.mean([each.latency_s for each in got]))
    for figures in (accuracy, tokens, seconds):
        assert figures == sorted(figures)
    assert accuracy[2] > accuracy[0] + 0.1
    assert tokens[2] > 1.8 * tokens[0]


def test_effort_has_a_middle_and_its_own_lengths() -> None:
    shifts, lengths = {"low": 0.0, "high": 0.0}, {"low": 1.0, "high": 3.0}
    model = steady(effort_shifts=shifts, effort_lengths=lengths)
    low, high, none = (
        reply(model, QUESTION, ROWS[0], temperature=0, reasoning_effort=effort)
        for effort in ("low", "high", None)
    )
    assert low == none
    assert high.reasoning_tokens == pytest.approx(3 * low.reasoning_tokens, abs=2)
    assert high.text == low.text


def test_effort_is_ignored_without_the_knob_and_checked_with_it() -> None:
    plain, knob = steady("plain"), steady("knob", effort_shifts=EFFORTS)
    assert reply(plain, QUESTION, ROWS[0], reasoning_effort="odd") == reply(
        plain, QUESTION, ROWS[0]
    )
    with pytest.raises(ValueError, match="must be one of low, medium, high, but got 'odd'"):
        reply(knob, QUESTION, ROWS[0], reasoning_effort="odd")
    with pytest.raises(ValueError, match=r"needs a shift, but \['hihg'\] have none"):
        steady(effort_shifts=EFFORTS, effort_lengths={"hihg": 2.0})
    with pytest.raises(ValueError, match="less than or equal to 3"):
        steady(length_spread=30.0)
