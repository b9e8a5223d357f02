"""Forms, limits, misbehaviour, tokens and latency of one reply."""

from __future__ import annotations

import json

import dspy
import numpy as np
import pytest
from dspy.adapters import JSONAdapter
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.worlds import SimulatedModel, simulate, simulated_dataset
from tests.pipelines.providers.simulated.asking import QUESTION, ask, messages_for, reply, steady

ABLE = steady("able", skills={"arithmetic": 1.0, "locate": 1.0})
QUESTIONS = simulated_dataset("arithmetic", 400, seed=21)


def test_json_form_is_answered_in_json_with_types() -> None:
    signature = dspy.Signature("task -> reasoning, answer: int, sure: bool, confidence: float")
    messages = messages_for(signature, {"task": "Compute 6 * 7"}, JSONAdapter())
    fields = json.loads(simulate(ABLE, messages).text)
    assert list(fields) == ["reasoning", "answer", "sure", "confidence"]
    assert fields["answer"] == 42
    assert fields["sure"] in (True, False)
    assert isinstance(fields["confidence"], float)


def test_plain_chat_is_answered_in_words() -> None:
    text = simulate(ABLE, [{"role": "user", "content": "Compute 6 * 7"}]).text
    assert text.endswith("So the answer is 42.")


def test_a_table_can_be_asked_for_a_task_or_for_its_result() -> None:
    row = simulated_dataset("locate_solve", 1)[0]
    inputs = {"table": row["table"], "question": row["question"]}
    assert ask(ABLE, dspy.Signature("table, question -> answer"), inputs)["answer"] == row["answer"]
    task = ask(ABLE, dspy.Signature("table, question -> task"), inputs)["task"]
    assert task.startswith("Compute ")
    both = ask(ABLE, dspy.Signature("table, question -> id, task"), inputs)
    assert row["question"].endswith(f"{both['id']}?")


def test_max_tokens_truncates() -> None:
    whole = reply(ABLE, dspy.Signature("question -> reasoning, answer"), QUESTIONS[0])
    short = reply(ABLE, dspy.Signature("question -> reasoning, answer"), QUESTIONS[0], max_tokens=9)
    assert (whole.finish_reason, short.finish_reason) == ("stop", "length")
    assert short.output_tokens == 9 < whole.output_tokens
    assert whole.text.startswith(short.text)


def test_stop_ends_the_reply() -> None:
    got = reply(ABLE, QUESTION, QUESTIONS[0], stop=["[[ ## completed"])
    assert got.text.endswith(f"{QUESTIONS[0]['answer']}\n\n")
    assert got.finish_reason == "stop"


@given(st.lists(st.text(), min_size=1, max_size=4), st.integers(1, 50))
def test_tokens_never_exceed_bytes_nor_the_limit(texts: list[str], limit: int) -> None:
    messages = [{"role": "user", "content": text} for text in texts]
    got = simulate(ABLE, messages, max_tokens=limit)
    assert got.input_tokens <= sum(len(text.encode()) for text in texts)
    assert got.output_tokens <= limit


def test_refusals_and_garbled_replies_come_at_their_rates() -> None:
    model = SimulatedModel("odd", {"arithmetic": 1.0}, refusal_rate=0.1, malformed_rate=0.2)
    texts = [reply(model, QUESTION, row).text for row in QUESTIONS]
    refused = [text for text in texts if "[[ ##" not in text]
    garbled = [text for text in texts if "[[ ##" in text and "[[ ## answer ## ]]" not in text]
    assert len(refused) / len(texts) == pytest.approx(0.1, abs=0.05)
    assert len(garbled) / len(texts) == pytest.approx(0.18, abs=0.06)


def test_latency_is_log_normal_around_the_speed() -> None:
    model = steady("slow", seconds_per_1k_tokens=50.0, first_token_seconds=1.0)
    replies = [reply(model, QUESTION, row) for row in QUESTIONS]
    expected = np.mean([1.0 + 0.05 * got.output_tokens for got in replies])
    latencies = [got.latency_s for got in replies]
    assert np.mean(latencies) == pytest.approx(expected, rel=0.05)
    assert np.std(np.log(latencies)) == pytest.approx(0.25, abs=0.08)


def test_what_no_skill_knows_is_answered_all_the_same() -> None:
    signature = dspy.Signature("text -> summary, sound: bool, stars: int, tags: list[str]")
    fields = ask(ABLE, signature, {"text": "The harbour was quiet that morning."})
    assert "harbour" in fields["summary"]
    assert isinstance(fields["sound"], bool)
    assert isinstance(fields["stars"], int)


@given(st.text(), st.text())
def test_any_request_has_a_reply_and_has_it_again(system: str, text: str) -> None:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    got = simulate(ABLE, messages)
    assert got.text.strip()
    assert got == simulate(ABLE, messages)


@pytest.mark.parametrize(
    "settings", [{"skills": {"locate": 1.2}}, {"refusal_rate": -0.1}, {"input_usd_per_million": -1}]
)
def test_impossible_models_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^SimulatedModel\(.* must be .*, but got "):
        SimulatedModel("bad", **settings)  # type: ignore[arg-type]
