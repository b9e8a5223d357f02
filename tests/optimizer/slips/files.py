"""Slips in datasets and in files of pipelines."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import dspy
import pandas as pd

from pipelines import Module, Pipeline
from tests.optimizer.slips.slip import Slip, in_file, in_yaml, slip, tuning

ONE = "name: p\nmodules:\n- name: solve\n  signature: question -> answer\n"
QA = Pipeline("qa", [Module("solve", "question -> answer")])
ROWS = [{"question": f"q{n}", "answer": "a"} for n in range(6)]


def _read(text: str, *words: str, name: str = "mine.csv", encoding: str = "utf-8") -> Slip:
    return in_file(name, text, *words, encoding=encoding, pipeline=QA)


def _given(what: str, dataset: Any, *words: str) -> Slip:
    return tuning(what, *words, dataset=dataset, pipeline=QA)


def _load(name: str, text: str, **how: Any) -> Any:
    Path(name).write_text(text)
    return Pipeline.load(name, **how)


SLIPS: list[Slip] = [
    _read(
        "question,label\na,b\nc,d\n",
        "the outputs (answer) and the dataset's columns (question, label) share none",
        "exact_match(field='answer', column='label') would compare",
    ),
    _read(
        "Question,answer\na,b\nc,d\n",
        "reads 'question', which no module writes and the dataset has no column for;",
        "nearest: 'Question' (columns: Question, answer; that no module reads: Question)",
    ),
    in_file(
        "frage.csv",
        "Tabelle,Frage,answer\na,b,c\nd,e,f\n",
        "module 'locate' reads 'table', which no module writes and the dataset has no column for; "
        "nearest: 'Tabelle' (columns: Tabelle, Frage, answer; that no module reads: Tabelle, Fr",
    ),
    in_file(
        "fragen.csv",
        "table,Frage,answer\na,b,c\nd,e,f\n",
        "nearest: 'Frage' (columns: table, Frage, answer; that no module reads: Frage)",
    ),
    _read("what is 1+1,2\nwhat is 2+2,4\nwhat,5\n", "(columns: what is 1+1, 2)"),
    _read("question, answer\na, b\nc, d\n", "column ' answer', which exact_match(field='answer', "),
    _read(
        "question,answer\na,b,c\nd,e\n",
        "'mine.csv', line 2: 3 cells, but the header has 2 columns; a cell that holds",
        "the delimiter goes in quotes",
    ),
    _read('question,answer\n"a,b\nd,e\n', "line 3: unexpected end of data; is a quote left open?"),
    _read("question,question,answer\na,b,c\n", "has the column 'question' more than once; rename"),
    _read("", "at least 2 examples are needed", "but 'mine.csv' has 0"),
    _read("question,answer\n", "one to search on and one to hold out, but 'mine.csv' has 0"),
    _read("question,answer\na,b\n", "at least 2 examples are needed", "but 'mine.csv' has 1"),
    _read(
        "question,answer\na,\nb,\n",
        "metric 'exact_match' needs the column 'answer', which is empty in all rows",
    ),
    _read("question,answer\n,a\n,b\n", "needs the column 'question', which is empty in all rows"),
    _read(
        "question,answer\nçé,b\nd,e\n",
        "'mine.csv' is not UTF-8 text (line 2, byte 0xe7), but most likely cp1252",
        "save it as UTF-8, or Path('mine.csv')",
        encoding="latin-1",
    ),
    _read(
        "question,answer\nçé,b\nd,e\n", "most likely utf-16", "save it as UTF-8", encoding="utf-16"
    ),
    _read(
        json.dumps(ROWS),
        "'mine.jsonl', line 1: expected an object, but got a list; a file of one list",
        "is a .json",
        name="mine.jsonl",
    ),
    _read(
        "{'question': 'a'}\n",
        "line 1: not valid JSON",
        "enclosed in double quotes",
        name="mine.jsonl",
    ),
    _read(
        '{"question": "a", "answer": "b"}\n{"question": "a", "anwser": "b"}\n',
        "row 2 of ",
        "lacks the column 'answer' of row 1 but has 'anwser'; every row needs the",
        "same columns",
        name="mine.jsonl",
    ),
    _read('"a"', "must hold a list of objects, but holds a str", name="mine.json"),
    _given(
        "rows that are tuples", [("a", "b")], "row 1 of the dataset is a tuple; rows are dicts or"
    ),
    _given("a misspelt path", "row.jsonl", "no file 'row.jsonl'; nearest: 'rows.jsonl' (looked in"),
    _given(
        "a spreadsheet",
        "rows.xlsx",
        "is of no known kind; known are .jsonl, .json, .csv, .tsv and .parquet; save",
        "it as .csv",
    ),
    _given(
        "an address", "https://example.com/rows.csv", "is an address, which is not fetched: downl"
    ),
    _given(
        "no dataset",
        None,
        "a dataset is a list of rows, a dict of columns, a DataFrame, a list of",
        "dspy.Examples or a path, but got a NoneType",
    ),
    _given(
        "all splits",
        {"train": ROWS, "test": ROWS},
        "has several parts ('train', 'test'); give one of them: data['train']",
    ),
    _given(
        "one row",
        ROWS[0],
        "whose values must be lists of a value for each row, but 'question' is a str;",
        "put rows in a list",
    ),
    _given(
        "columns of two lengths",
        {"question": ["a"], "answer": ["b", "c"]},
        "must have columns of one length, but got 'question' 1, 'answer' 2",
    ),
    _given(
        "examples of other fields",
        [dspy.Example(q="a", answer="b")] * 3,
        "reads 'question'",
        "nearest: 'q' (columns: q, answer; that no module reads: q)",
    ),
    _given(
        "a DataFrame without labels",
        pd.DataFrame(ROWS).assign(answer=float("nan")),
        "needs the column 'answer', which is null in all rows",
    ),
    _given(
        "equal inputs everywhere",
        ROWS[:1] * 4,
        "all 4 examples have the same question",
        "holdout=0 needs none held out",
    ),
    in_yaml("", "pipeline.yaml, line 1: the YAML is empty"),
    in_yaml("- a\n", "line 1: a pipeline must be a mapping, but is ['a']"),
    in_yaml("name: p\n", "line 1: a pipeline needs the key 'modules'"),
    in_yaml(
        "name: p\nmodules:\n  solve: question -> answer\n", "line 2: modules must be a list, but"
    ),
    in_yaml("name: p\nmodules:\n\t- name: solve\n", "line 3: bad YAML", ": indent with spaces"),
    in_yaml(
        f"{ONE}  instructions: Answer: be short\n",
        "line 5: bad YAML: mapping values are not allowed here: a text with ': ' in",
        "it goes in quotes",
    ),
    in_yaml(
        ONE.replace("signature", "signatur"), "a module has no key 'signatur'; nearest: 'signatu"
    ),
    in_yaml(f"{ONE}  strategy: cot\n", "line 5: module 'solve': strategy must be one of predict"),
    in_yaml(
        f"{ONE}- name: up\n  signature: answer -> loud\n  function: no_such_folder:up\n",
        "line 7: this names code that would be imported, and so be run: no_such_folder:up",
        "allow_code=True), or --allow-c",
    ),
    in_yaml(
        f"{ONE}- name: up\n  signature: answer -> loud\n  function: no_such_folder:up\n",
        "module 'up': cannot import function 'no_such_folder:up': ModuleNotFoundError",
        allow_code=True,
    ),
    in_yaml(
        f"{ONE}config:\n  slove: {{models: [a]}}\n",
        "line 6: config has the unknown module 'slove'; nearest: 'solve'",
    ),
    in_yaml(
        f"{ONE}models:\n- {{name: openai/x, api_key: sk-1}}\n",
        "line 6: a model has no key 'api_key'; nearest: 'api_key_env'",
    ),
    slip(
        "Pipeline.load of no file",
        partial(Pipeline.load, "tunde.yaml"),
        "tunde.yaml: no such file; nearest: 'tuned.yaml'",
    ),
    slip(
        "Pipeline.load of a dataset",
        partial(Pipeline.load, "rows.jsonl"),
        "rows.jsonl, line 2: bad YAML",
        "is this a pipeline, and not a dataset?",
    ),
    slip(
        "Pipeline.load of a page",
        partial(_load, "report.html", "<html></html>"),
        "report.html, line 1: a pipeline must be a mapping, but is '<html></html>'",
    ),
    slip(
        "Pipeline.load with a program",
        partial(_load, "p.yaml", ONE, program=dspy.Predict("a -> b")),
        "program= is for DSPy programs, which this is not: leave it out",
    ),
]
