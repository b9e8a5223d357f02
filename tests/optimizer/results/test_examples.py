"""Evidence about single examples: what each finalist answered, what was gained and lost."""

from __future__ import annotations

import json

import dspy
import pytest

from optimizer.results.embedded_media import without_media
from optimizer.results.examples import ScoredExample, examples_frame
from optimizer.results.report.example_rows import ExamplePage
from optimizer.tracking.outputs import examples_table
from pipelines.gateway.secrets import plain_json
from tests.optimizer.made import make_four_examples, make_outcome, make_result

EXAMPLES = make_four_examples()
RESULT = make_result(examples_=EXAMPLES)


def test_examples_are_gained_lost_or_the_same_and_outages_are_neither() -> None:
    assert list(RESULT.examples["change"]) == ["gained", "lost", "same", "unscored"]
    assert list(RESULT.gained.index) == [0]
    assert list(RESULT.lost.index) == [1]
    assert RESULT.examples.index.name == "row"


def test_columns_of_the_data_that_are_called_like_ours_stay() -> None:
    given = {"row": "r", "change": "c", "tuned_answer": "t", "risk_score": "low"}
    example = ScoredExample(3, given, {"answer": "5"}, EXAMPLES[0].outcomes)
    frame = examples_frame([example])
    (shown,) = frame.to_dict("records")
    assert (shown["row_"], shown["change_"], shown["tuned_answer_"]) == ("r", "c", "t")
    assert (shown["risk_score"], shown["change"], shown["tuned_answer"]) == ("low", "gained", "4")
    assert examples_table(frame)["columns"][0] == "row"


def test_nothing_gained_leaves_the_columns() -> None:
    frame = make_result(examples_=EXAMPLES[2:]).gained
    assert len(frame) == 0
    assert "tuned_score" in frame


def test_failed_runs_are_listed_with_the_raw_reply_if_there_was_one() -> None:
    rows = RESULT.failures.to_dict("records")
    assert [(row["row"], row["finalist"], row["kind"]) for row in rows] == [
        (0, "baseline", "unparsable"), (3, "tuned", "timeout"),
    ]  # fmt: skip
    assert [row["reply"] for row in rows] == ["Four!", ""]


def test_the_summary_counts_them() -> None:
    assert "Of 4 examples, 1 gained and 1 lost." in str(RESULT)


@pytest.mark.filterwarnings("error")
def test_mlflows_table_is_json_whatever_the_answers_are() -> None:
    table = json.loads(json.dumps(plain_json(examples_table(RESULT.examples), str)))
    column = table["columns"].index
    assert [row[column("row")] for row in table["data"]] == [0, 1, 2, 3]
    assert table["data"][3][column("tuned_score")] is None
    assert "'a'" in table["data"][2][column("tuned_answer")]


def test_images_are_named_by_type_and_size_and_kept_in_traces() -> None:
    address = "data:image/png;base64," + "QUJD" * 4000
    image, text = dspy.Image(address), f"It is {address}."
    outcome = make_outcome(1.0, [image], inputs={"image": image})
    example = ScoredExample(
        0, {"image": image, "text": text}, {}, {"baseline": outcome, "tuned": outcome}
    )
    result = make_result(examples_=(example,))
    (shown,) = result.examples.to_dict("records")
    assert shown["image"] == "<image/png, 12 kB>"
    assert shown["text"] == "It is <image/png, 12 kB>."
    assert shown["tuned_answer"] == ["<image/png, 12 kB>"]
    assert address not in json.dumps(ExamplePage(result).data)
    assert outcome.trace.steps[0].inputs["image"].url == address
    assert without_media("data:text/plain;base64,QUJDREVGR0hJSktM") == "<text/plain, 12 B>"
    assert without_media("no data:image/png;base64, here") == "no data:image/png;base64, here"
