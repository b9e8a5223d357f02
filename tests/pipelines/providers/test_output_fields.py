from __future__ import annotations

from typing import Any

import dspy
import pytest

from pipelines.providers.output_fields import RequestedFields, message_text, requested_fields

SIGNATURE = dspy.Signature("question -> reasoning, answer: str, ratings: list[int]")
VALUES = {"reasoning": 'He said "seven",\nso 7.', "answer": "7", "ratings": "[3, 4]"}


def prompt(adapter: dspy.Adapter, question: str = "How many?") -> list[dict[str, Any]]:
    demo = {"question": "Which?", "reasoning": "r", "answer": "a", "ratings": [1]}
    messages: list[dict[str, Any]] = adapter.format(SIGNATURE, [demo], {"question": question})
    return messages


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(), dspy.JSONAdapter()])
def test_what_is_written_is_what_dspy_reads(adapter: dspy.Adapter) -> None:
    fields = requested_fields(prompt(adapter))
    assert fields is not None
    read = adapter.parse(SIGNATURE, fields.written(VALUES))
    assert read == {**VALUES, "ratings": [3, 4]}


def test_xml_is_written_with_its_tags() -> None:
    fields = requested_fields(prompt(dspy.XMLAdapter()))
    assert fields == RequestedFields(("reasoning", "answer", "ratings"), "xml")
    assert fields.written(VALUES).endswith("<ratings>\n[3, 4]\n</ratings>")


def test_a_prompt_without_the_sentence_asks_for_no_fields() -> None:
    assert requested_fields([{"role": "user", "content": "[[ ## answer ## ]] is a marker"}]) is None


def test_a_sentence_quoted_in_the_question_does_not_count() -> None:
    quoted = "Explain: Respond with a JSON object in the following order of fields: `trap`."
    fields = requested_fields(prompt(dspy.JSONAdapter(), quoted))
    assert fields is not None
    assert fields.names == ("reasoning", "answer", "ratings")


def test_the_last_prompt_of_a_conversation_counts() -> None:
    later = dspy.ChatAdapter().format(dspy.Signature("draft -> verdict"), [], {"draft": "x"})
    fields = requested_fields([*prompt(dspy.ChatAdapter()), *later])
    assert fields == RequestedFields(("verdict",), "chat")


def test_a_field_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="answer"):
        RequestedFields(("answer",), "chat").written({"reasoning": "r"})


def test_text_of_content_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert message_text({"role": "user", "content": parts}) == "a\nb"
    assert message_text({"role": "assistant", "content": None}) == ""
