from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.dataset import Dataset
from evaluators.errors import DatasetError

ROWS = [{"question": "1+1?", "answer": "2"}, {"question": "2+2?", "answer": "4"}]


def rows_of(dataset: Dataset) -> list[dict[str, Any]]:
    return [dict(example.items()) for example in dataset]


def written(name: str, text: str) -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def numbered(n: int) -> Dataset:
    return Dataset.load([{"id": i} for i in range(n)], minimum=0)


class EvaluationRecords:
    """As an evaluation dataset of MLflow's: no list, but it gives a DataFrame."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def to_df(self) -> pd.DataFrame:
        return pd.DataFrame([{**row, "source": None, "source_id": "1"} for row in self._rows])


class TestLoad:
    def test_every_form_of_the_same_rows_gives_the_same_dataset(self) -> None:
        frame = pd.DataFrame(ROWS)
        frame.to_parquet("rows.parquet")
        frame.to_csv("rows.csv", index=False)
        written("rows.jsonl", "\n".join(json.dumps(row) for row in ROWS) + "\n\n")
        forms: list[Any] = [
            ROWS,
            iter(ROWS),
            frame,
            [dspy.Example(row) for row in ROWS],
            "rows.jsonl",
            Path("rows.csv"),
            "rows.parquet",
        ]
        datasets = [Dataset.load(form) for form in forms]
        assert all(rows_of(dataset) == ROWS for dataset in datasets)
        assert {dataset.columns for dataset in datasets} == {("question", "answer")}
        assert len({dataset.digest for dataset in datasets}) == 1

    def test_rows_of_mlflow_become_a_column_for_each_input_and_expectation(self) -> None:
        nested: list[dict[str, Any]] = [
            {"inputs": {"question": row["question"]}, "expectations": {"answer": row["answer"]}}
            for row in ROWS
        ]
        answered = [{**row, "outputs": "ignored", "tags": {"by": "us"}} for row in nested]
        labelled = [{"inputs": r["inputs"], "outputs": r["expectations"]} for r in nested]
        for form in (nested, answered, labelled, pd.DataFrame(answered), EvaluationRecords(nested)):
            assert rows_of(Dataset.load(form)) == ROWS  # type: ignore[arg-type]

    def test_outputs_without_a_name_are_the_expected_response(self) -> None:
        rows = [{"inputs": {"question": "1+1?"}, "outputs": "2", "expectations": None}]
        assert rows_of(Dataset.load(rows, minimum=1)) == [
            {"question": "1+1?", "expected_response": "2"}
        ]
        unlabelled = [{"inputs": {"question": "1+1?"}, "outputs": float("nan")}]
        assert rows_of(Dataset.load(unlabelled, minimum=1)) == [{"question": "1+1?"}]

    def test_an_expectation_named_like_an_input_is_refused(self) -> None:
        row = {"inputs": {"answer": "1"}, "expectations": {"answer": "2"}}
        with pytest.raises(DatasetError, match=r"row 2 of the dataset has 'answer' among its in"):
            Dataset.load([{"inputs": {"question": "1"}, "expectations": {"answer": "2"}}, row])

    def test_columns_of_these_names_beside_others_stay(self) -> None:
        rows = [{"inputs": {"a": 1}, "expectations": {"b": 2}, "answer": "3"}]
        assert rows_of(Dataset.load(rows, minimum=1)) == rows

    def test_csv_values_stay_text_as_written(self) -> None:
        path = written("ids.csv", "id,answer\n007,NA\n1e3,\n")
        assert rows_of(Dataset.load(path)) == [
            {"id": "007", "answer": "NA"},
            {"id": "1e3", "answer": ""},
        ]

    @pytest.mark.parametrize("blank", [",\n", " , \n\n,\n", ",,,\n"])
    def test_blank_rows_at_the_end_are_dropped_and_others_are_rows(self, blank: str) -> None:
        path = written("blank.csv", f"q,answer\n1,2\n,\n3,\n{blank}")
        assert rows_of(Dataset.load(path)) == [
            {"q": "1", "answer": "2"},
            {"q": "", "answer": ""},
            {"q": "3", "answer": ""},
        ]
        nothing = written("nothing.csv", "q,answer\n,\n")
        with pytest.raises(DatasetError, match=r"'nothing\.csv' has 0"):
            Dataset.load(nothing)

    def test_csv_with_byte_order_mark_quotes_newlines_and_a_huge_cell(self) -> None:
        document = "x" * 300_000
        path = written(
            "spreadsheet.csv", f'\ufeffid,text\n1,"two\nlines, ""quoted"""\n2,{document}\n'
        )
        dataset = Dataset.load(path)
        assert dataset.columns == ("id", "text")
        assert dataset[0]["text"] == 'two\nlines, "quoted"'
        assert dataset[1]["text"] == document

    def test_cells_without_a_value_become_none(self) -> None:
        frame = pd.DataFrame(
            {"answer": [1.5, np.nan], "when": [pd.Timestamp("2024-01-01"), pd.NaT]}
        )
        assert Dataset.load(frame)[1].toDict() == {"answer": None, "when": None}
        assert Dataset.load([{"a": float("nan")}, {"a": 1}])[0]["a"] is None

    def test_parquet_keeps_integers_beside_nulls_and_drops_pandas_index(self) -> None:
        column = pd.array([1, None], dtype="Int64")
        pd.DataFrame({"n": column}, index=["x", "y"]).to_parquet("rows.parquet")
        assert rows_of(Dataset.load("rows.parquet")) == [{"n": 1}, {"n": None}]

    def test_numpy_values_become_pythons(self) -> None:
        dataset = Dataset.load([{"a": np.int64(3), "b": np.array([1.0, np.nan])}], minimum=1)
        assert type(dataset[0]["a"]) is int
        assert dataset[0]["b"] == [1.0, None]

    def test_columns_named_like_arguments_survive(self) -> None:
        assert rows_of(Dataset.load([{"base": 1, "self": 2}] * 2)) == [{"base": 1, "self": 2}] * 2

    def test_marked_inputs_stay_marked(self) -> None:
        marked = [dspy.Example(row).with_inputs("question") for row in ROWS]
        assert list(Dataset.load(marked)[0].labels().keys()) == ["answer"]

    def test_loading_a_dataset_keeps_it_and_copies_leave_the_users_examples_alone(self) -> None:
        theirs = [dspy.Example(row) for row in ROWS]
        dataset = Dataset.load(theirs)
        assert Dataset.load(dataset) is dataset
        dataset[0]["answer"] = "changed"
        assert theirs[0].answer == "2"

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ([*ROWS, {"question": "?"}], "row 3 of the dataset lacks the column 'answer'"),
            ([*ROWS, {**ROWS[0], "hint": "x"}], "row 3 of the dataset has the column 'hint'"),
            ([*ROWS, "text"], "row 3 of the dataset is a str"),
            ([{1: "a"}, {1: "b"}], "row 1 of the dataset has the column 1; names are text"),
            ([{}, {}], "row 1 of the dataset has no columns"),
        ],
    )
    def test_what_is_wrong_is_named(self, data: Any, message: str) -> None:
        with pytest.raises(DatasetError, match=message):
            Dataset.load(data)

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("a.jsonl", '{"a": 1}\n\n{"a": 2\n', "'a.jsonl', line 3: not valid JSON"),
            ("a.jsonl", '{"a": 1}\n[2]\n', "line 2: expected an object, but got a list"),
            ("a.jsonl", "[" * 100_000, "line 1: not valid JSON"),
            ("a.json", "[" * 100_000, "'a.json': not valid JSON"),
            ("a.json", '[{"a": 1},', "'a.json': not valid JSON"),
            ("a.jsonl", "", "'a.jsonl' has 0"),
            ("a.parquet", "a,b", "'a.parquet' cannot be read as parquet"),
        ],
    )
    def test_what_is_wrong_in_a_file_is_named(self, name: str, text: str, message: str) -> None:
        with pytest.raises(DatasetError, match=message):
            Dataset.load(written(name, text))

    @pytest.mark.parametrize(("encoding", "place"), [("cp1252", "line 2, byte 0xe9"),
                                                     ("utf-16", "line 1, byte 0xff")])  # fmt: skip
    def test_text_in_another_encoding_is_named(self, encoding: str, place: str) -> None:
        text = "a,b\n1,caf\u00e9\n2,x\n"
        Path("a.csv").write_bytes(text.encode(encoding))
        with pytest.raises(DatasetError) as refused:
            Dataset.load("a.csv")
        assert f"'a.csv' is not UTF-8 text ({place}), but most likely {encoding}" in str(
            refused.value
        )
        advice = str(refused.value).partition(" UTF-8, or ")[2]
        exec(advice, {"Path": Path})
        assert [row["b"] for row in Dataset.load("a.csv")] == ["caf\u00e9", "x"]

    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    def test_what_separates_the_cells_of_a_csv_shows_in_its_header(self, delimiter: str) -> None:
        cells = [["question, or so", "answer"], ["a; b", "1,5"], ["c", ""], ["", ""]]
        lines = [delimiter.join(f'"{cell}"' if cell else "" for cell in row) for row in cells]
        path = written("rows.csv", "\n".join(lines))
        assert rows_of(Dataset.load(path)) == [
            {"question, or so": "a; b", "answer": "1,5"},
            {"question, or so": "c", "answer": ""},
        ]

    def test_a_tsv_may_have_any_commas(self) -> None:
        path = written("rows.tsv", "q\ta,b,c\n1\t2\n")
        assert rows_of(Dataset.load(path, minimum=1)) == [{"q": "1", "a,b,c": "2"}]

    def test_columns_by_name_are_rows(self) -> None:
        columns = {"question": ("1+1?", "2+2?"), "answer": np.array(["2", "4"])}
        assert rows_of(Dataset.load(columns)) == ROWS
        frame = pd.DataFrame(ROWS)
        assert rows_of(Dataset.load({name: frame[name] for name in frame})) == ROWS
        with pytest.raises(DatasetError, match="one length, but got 'a' 2, 'b' 1"):
            Dataset.load({"a": [1, 2], "b": [1]})

    @pytest.mark.parametrize("part", [pd.DataFrame(ROWS), ROWS, Dataset.load(ROWS)])
    def test_a_dict_of_splits_is_refused_with_their_names(self, part: Any) -> None:
        with pytest.raises(DatasetError, match=r"parts \('train', 'test'\).*: data\['train'\]"):
            Dataset.load({"train": part, "test": part})

    @pytest.mark.parametrize("data", [ROWS, {"question": ["1+1?", "2+2?"], "answer": ["2", "4"]}])
    def test_a_json_holds_a_list_of_objects_or_an_object_of_lists(self, data: Any) -> None:
        assert rows_of(Dataset.load(written("rows.json", json.dumps(data, indent=1)))) == ROWS

    def test_a_json_may_hold_json_lines(self) -> None:
        path = written("rows.json", "\n".join(map(json.dumps, ROWS)))
        assert rows_of(Dataset.load(path)) == ROWS

    def test_frame_with_a_repeated_column(self) -> None:
        with pytest.raises(DatasetError, match="DataFrame has the column 'a' more than once"):
            Dataset.load(pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]))

    def test_real_recorded_questions(self, shared_data: Path) -> None:
        import gzip

        packed = (shared_data / "mmlu_pro_recorded.jsonl.gz").read_bytes()
        written("mmlu.jsonl", gzip.decompress(packed).decode())
        dataset = Dataset.load("mmlu.jsonl")
        assert len(dataset) == 2000
        assert {"question", "options", "answer"} <= set(dataset.columns)


class TestDigest:
    def test_knows_values_and_order_but_not_the_order_of_columns(self) -> None:
        digest = Dataset.load(ROWS).digest
        turned = [dict(reversed(list(row.items()))) for row in ROWS]
        assert Dataset.load(turned).digest == digest
        assert Dataset.load(ROWS[::-1]).digest != digest
        assert Dataset.load([ROWS[0], {**ROWS[1], "answer": "5"}]).digest != digest

    def test_takes_what_json_has_no_form_for(self) -> None:
        values: list[Any] = [
            {"a": {"x", "y", "z"}, "b": pd.Timestamp("2024-01-01"), "c": ["\ud800"]}
        ]
        again = [{**values[0], "a": {"z", "y", "x"}}]
        assert Dataset.load(values, minimum=1).digest == Dataset.load(again, minimum=1).digest

    def test_says_which_example_it_cannot_write(self) -> None:
        dataset = Dataset.load([{"a": 1}, {"a": {(1, 2): 3}}])
        with pytest.raises(DatasetError, match="example 1 cannot be written as JSON"):
            _ = dataset.digest


def test_half_a_character_is_found_at_the_door() -> None:
    rows = [*ROWS, {**ROWS[0], "answer": "4\udc80"}]
    expected_message = rf"row {len(rows)} of .* half a character \(U\+DC80\) in the column 'answer'"
    with pytest.raises(DatasetError, match=expected_message):
        Dataset.load(rows)


class TestSplit:
    @given(
        n=st.integers(2, 200),
        holdout=st.floats(0.001, 0.999),
        seed=st.integers(0, 2**32),
    )
    def test_sides_are_disjoint_complete_and_never_empty(
        self, n: int, holdout: float, seed: int
    ) -> None:
        search, held = numbered(n).split(holdout, seed)
        assert sorted(example.id for example in [*search, *held]) == list(range(n))
        assert [example.id for example in held] == list(held.rows)
        assert [example.id for example in search[1:]] == list(search.rows[1:])
        assert len(search) >= 1
        assert len(held) >= 1
        assert abs(len(held) - n * holdout) <= 1

    def test_depends_on_the_seed_alone(self) -> None:
        first = numbered(50).split(0.3, 1)
        assert [x.id for x in first[0]] == [x.id for x in numbered(50).split(0.3, 1)[0]]
        assert [x.id for x in first[0]] != [x.id for x in numbered(50).split(0.3, 2)[0]]
        assert [x.id for x in first[0]] != sorted(x.id for x in first[0])

    def test_more_search_examples_extend_fewer(self) -> None:
        few, many = (numbered(50).split(holdout, 4)[0] for holdout in (0.6, 0.3))
        assert [x.id for x in many][-len(few) :] == [x.id for x in few]

    @given(
        st.lists(st.integers(0, 6), min_size=2, max_size=40).filter(lambda ns: len(set(ns)) > 1),
        st.floats(0.05, 0.95),
        st.integers(0, 99),
    )
    def test_equal_inputs_come_to_one_side(
        self, numbers: list[int], holdout: float, seed: int
    ) -> None:
        rows = [{"x": x, "n": n} for n, x in enumerate(numbers)]
        search, held = Dataset.load(rows).split(holdout, seed, ["x"])
        assert sorted(e.n for e in [*search, *held]) == list(range(len(rows)))
        assert search
        assert held
        assert {e.x for e in search}.isdisjoint(e.x for e in held)
        smallest = min(numbers.count(x) for x in numbers)
        assert len(held) <= max(round(len(rows) * holdout), 1) or len(held) >= smallest

    def test_distinct_inputs_are_cut_as_without_a_look_at_them(self) -> None:
        sides = [numbered(50).split(0.3, 4, inputs) for inputs in ((), ("id",))]
        assert [e.id for e in sides[0][1]] == [e.id for e in sides[1][1]]

    def test_where_all_inputs_are_equal_nothing_can_be_held_out(self) -> None:
        rows = [{"x": 1, "n": n} for n in range(5)]
        with pytest.raises(DatasetError, match="all 5 examples have the same x, so that none"):
            Dataset.load(rows).split(0.3, 0, ["x"])

    def test_nothing_held_out(self) -> None:
        search, held = numbered(3).split(0, 0)
        assert (len(search), len(held)) == (3, 0)
        assert len(numbered(1).split(0, 0)[0]) == 1

    @pytest.mark.parametrize("holdout", [-0.1, 1, 1.5, 30, float("nan")])
    def test_a_fraction_is_asked_for(self, holdout: float) -> None:
        with pytest.raises(DatasetError, match=r"`0 <= holdout < 1` must hold .* but got"):
            numbered(10).split(holdout, 0)

    def test_one_example_cannot_be_cut(self) -> None:
        with pytest.raises(DatasetError, match=r"at least 2 examples are needed to hold out 0\.3"):
            numbered(1).split(0.3, 0)


def test_require_names_the_nearest_column_and_lists_all() -> None:
    dataset = Dataset.load(ROWS)
    dataset.require(["question", "answer"], "the pipeline")
    message = (
        "pipeline 'locate-solve' needs a column 'questoin', which the dataset does not have; "
        "nearest: 'question' (columns: question, answer)"
    )
    with pytest.raises(DatasetError) as caught:
        dataset.require(["answer", "questoin"], "pipeline 'locate-solve'")
    assert str(caught.value) == message


def test_is_a_sequence_of_examples() -> None:
    dataset = numbered(5)
    assert isinstance(dataset[1:3], Dataset)
    assert [example.id for example in dataset[1:3]] == [1, 2]
    assert dataset[-1].id == 4
    assert repr(dataset) == "Dataset(5 examples: id)"
