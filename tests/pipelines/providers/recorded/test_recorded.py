from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError
from pipelines.providers import price_of
from pipelines.providers.recorded import (
    RecordingError,
    load_recording,
    recorded_dataset,
)
from pipelines.providers.recorded.provider import recording_for, replay


def line(question: str, options: list[str], **answers: str | None) -> dict[str, Any]:
    responses = {
        model: {
            "text": f"{model} thinks long about it. The answer is ({letter}).",
            "parsed": letter,
        }
        for model, letter in answers.items()
    }
    return {
        "id": 1, "category": "math", "question": question, "options": options, "answer": "B",
        "responses": responses,
    }  # fmt: skip


LINES = [
    line("What is\n 2 + 2?", ["three", "four"], wise="B", hasty="A"),
    line("Which is true?", ["water is dry", "water is wet"], wise="B", hasty=None),
    line("Consider fire. Which is true?", ["fire is hot", "fire is cold"], wise="A", hasty="B"),
    line("What is a twin?", ["a sister", "a brother"], wise="A", hasty="A"),
    line("What is a twin?", ["a prime", "a city"], wise="B", hasty="B"),
    line("What is a twin?", ["a prime", "a city"], wise="A", hasty="A"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "recording.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)) + "\n", encoding="utf-8")
    return path


def ask(path: Path, content: str, model: str = "wise", **params: Any) -> str:
    recording = recording_for({"recording": str(path)})
    return replay(recording, model, [{"role": "user", "content": content}], **params).text


def test_an_unformatted_question_is_answered_with_the_recorded_text(path: Path) -> None:
    assert ask(path, "Please: What is 2 + 2?\nA. three\nB. four").endswith("The answer is (B).")


def test_the_longest_question_with_its_options_wins(path: Path) -> None:
    fire = "Consider fire. Which is true?"
    assert "(A)" in ask(path, f"{fire}\nA. fire is hot\nB. fire is cold")
    assert "(A)" in ask(path, fire)
    assert "(B)" in ask(path, "Which is true? A) water is dry B) water is wet")


def test_a_known_ending_does_not_make_an_unknown_question_known(path: Path) -> None:
    with pytest.raises(RecordingError, match="none of the 5 recorded questions"):
        ask(path, "Consider ice. Which is true?\nA. ice is hot\nB. ice is cold")


def test_equal_questions_are_told_apart_by_their_options(path: Path) -> None:
    assert "(A)" in ask(path, "What is a twin?\nA. a sister\nB. a brother")
    assert "(B)" in ask(path, "What is a twin?\nA. a prime\nB. a city")
    with pytest.raises(RecordingError, match="must contain the options too"):
        ask(path, "What is a twin?")


def test_two_questions_at_once_are_not_guessed_between(path: Path) -> None:
    rows = [row["question"] for row in recorded_dataset(path)]
    with pytest.raises(RecordingError, match="ask several"):
        ask(path, f"{rows[0]}\n\n{rows[3]}")


def test_worked_examples_before_the_question_are_not_answered(path: Path) -> None:
    longer, asked = recorded_dataset(path)[2], recorded_dataset(path)[0]
    signature = dspy.Signature("question -> answer")
    demo = {"question": longer["question"], "answer": "A"}
    messages = dspy.ChatAdapter().format(signature, [demo], {"question": asked["question"]})
    assert "\nB\n" in replay(load_recording(path), "wise", messages).text


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(), dspy.JSONAdapter()])
def test_reasoning_gets_the_text_and_answer_the_letter(path: Path, adapter: dspy.Adapter) -> None:
    signature = dspy.Signature("question -> reasoning, answer")
    messages = adapter.format(signature, [], {"question": recorded_dataset(path)[0]["question"]})
    read = adapter.parse(signature, replay(load_recording(path), "hasty", messages).text)
    assert read["answer"] == "A"
    assert read["reasoning"] == LINES[0]["responses"]["hasty"]["text"]


@pytest.mark.parametrize(("without", "answer"), [("letter", ""), ("parsed", "It is dry.")])
def test_an_answer_without_a_letter_is_empty_unless_the_text_is_the_answer(
    tmp_path: Path, without: str, answer: str
) -> None:
    response = {"text": "It is dry."} | ({"parsed": None} if without == "letter" else {})
    recording = tmp_path / "recording.jsonl"
    recording.write_text(json.dumps({**LINES[1], "responses": {"hasty": response}}) + "\n")
    adapter, signature = dspy.ChatAdapter(), dspy.Signature("question -> answer")
    question = recorded_dataset(recording)[0]["question"]
    messages = adapter.format(signature, [], {"question": question})
    read = adapter.parse(signature, replay(load_recording(recording), "hasty", messages).text)
    assert read["answer"] == answer


@pytest.mark.parametrize(
    ("model", "params", "message"),
    [
        ("wize", {}, "no recorded model is named 'wize'; nearest: 'wise'"),
        ("wise", {"seed": 1}, "one sample per model and question"),
    ],
)
def test_nothing_is_invented(path: Path, model: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        ask(path, "What is 2 + 2?", model, **params)


def test_the_first_sample_may_be_asked_for_by_its_index(path: Path) -> None:
    assert ask(path, "What is 2 + 2?", seed=0) == ask(path, "What is 2 + 2?")


def test_max_tokens_cuts_the_reply(path: Path) -> None:
    messages = [{"role": "user", "content": "What is 2 + 2?"}]
    cut = replay(load_recording(path), "wise", messages, max_tokens=3)
    assert (cut.text, cut.finish_reason, cut.output_tokens) == ("wise thinks ", "length", 3)


@given(st.text(), st.text(min_size=1))
def test_tokens_never_exceed_the_bytes(before: str, text: str) -> None:
    from pipelines.providers.recorded.recording import RecordedQuestion, Recording

    response = {"m": {"text": text, "parsed": None}}
    asked = RecordedQuestion.model_validate(
        {"question": "Why is it so?", "answer": "A", "responses": response}
    )
    content = f"{before}\nWhy is it so?"
    reply = replay(Recording([asked]), "m", [{"role": "user", "content": content}])
    assert reply.text == text
    assert isinstance(reply.output_tokens, int)
    assert isinstance(reply.input_tokens, int)
    assert 0 < reply.output_tokens <= len(text.encode(errors="surrogatepass"))
    assert reply.input_tokens <= len(content.encode(errors="surrogatepass"))


def test_the_file_comes_from_the_parameter(path: Path) -> None:
    with pytest.raises(RecordingError, match="need a file of answers"):
        recording_for({})
    assert recording_for({"recording": str(path)}) is load_recording(path)
    with pytest.raises(RecordingError, match="no recording at"):
        recording_for({"recording": "elsewhere.jsonl"})


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(LINES[0]) + '\n{"question": "Why?"}\n')
    with pytest.raises(RecordingError, match=r"bad\.jsonl, line 2: answer: Field required"):
        load_recording(bad)


def test_a_changed_file_is_read_again(path: Path) -> None:
    before = load_recording(path)
    path.write_text(json.dumps(LINES[0]) + "\n")
    assert (len(before.questions), len(load_recording(path).questions)) == (5, 1)


def test_dataset_rows_prompt_with_lettered_options_and_leave_second_samples_out(
    path: Path,
) -> None:
    rows = recorded_dataset(path)
    assert rows[0] == {
        "question": "What is\n 2 + 2?\nA. three\nB. four", "answer": "B", "category": "math",
    }  # fmt: skip
    assert len(rows) == 5


def test_dataset_draws_by_seed(path: Path) -> None:
    assert recorded_dataset(path, 2) == recorded_dataset(path)[:2]
    draws = [recorded_dataset(path, 3, seed=seed) for seed in range(20)]
    assert draws == [recorded_dataset(path, 3, seed=seed) for seed in range(20)]
    assert len({json.dumps(draw) for draw in draws}) > 5
    with pytest.raises(ValueError, match="0 <= n <= 5 must hold"):
        recorded_dataset(path, 6)


def test_the_provider_passes_parameters_on_and_prices_the_reply(tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl.gz"
    one = line("What is 2 + 2?", ["three", "four"], **{"Yi-34B": "B"})
    path.write_bytes(gzip.compress(json.dumps(one).encode()))
    model = Model("recorded/Yi-34B", params={"recording": str(path)})
    call = LMCall(model, ({"role": "user", "content": "What is 2 + 2?"},))
    session = Gateway(None).session("s")
    reply = session.complete(call)
    assert reply.text.endswith("The answer is (B).")
    assert reply.usd == pytest.approx((reply.input_tokens + reply.output_tokens) * 0.80e-6)
    assert reply.latency_s == 0.0
    with pytest.raises(CallFailed, match="one sample") as caught:
        session.complete(replace(call, sample=1))
    assert caught.value.kind == "bad_request"


def test_prices_are_dollars_per_token() -> None:
    assert price_of(Model("recorded/Phi-3-mini-4k-instruct")) == pytest.approx((1e-7, 1e-7))
    with pytest.raises(ModelError, match="no price is known"):
        price_of(Model("recorded/unheard-of"))


def test_every_question_of_the_mmlu_pro_recording_finds_itself(shared_data: Path) -> None:
    path = shared_data / "mmlu_pro_recorded.jsonl.gz"
    recording, rows = load_recording(path), recorded_dataset(path)
    signature = dspy.Signature("question -> reasoning, answer")
    assert len(rows) == 1994
    for question, row in zip(recording.questions, rows, strict=True):
        inputs = {"question": row["question"]}
        messages = dspy.ChatAdapter().format(signature, [], inputs)
        assert recording.find(messages) is question


def test_the_mmlu_pro_recording_replays_whole_answers(shared_data: Path) -> None:
    path = shared_data / "mmlu_pro_recorded.jsonl.gz"
    recording = load_recording(path)
    assert recording.models
    assert all(price_of(Model(f"recorded/{model}")).input_usd > 0 for model in recording.models)
    for question in recording.questions[::20]:
        messages = [{"role": "user", "content": question.prompt}]
        for model, answer in question.responses.items():
            reply = replay(recording, model, messages)
            assert (reply.text, reply.finish_reason) == (answer.text, "stop")
            assert isinstance(reply.output_tokens, int)
            assert reply.output_tokens <= 2048
