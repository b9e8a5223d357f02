"""What the README shows of the demo is what it prints; the rows that it shows are right."""

from __future__ import annotations

import json
import re
from operator import add, floordiv, mul, sub
from pathlib import Path

import pytest

from optimizer import Pipeline, locate_solve
from optimizer.cli import main
from pipelines.gateway.gateway import default_gateway
from tests.docs.pages import PAGES, blocks
from tests.launching import REPOSITORY

CALCULATION = {"+": add, "-": sub, "*": mul, "/": floordiv}


@pytest.mark.usefixtures("default_store")
def test_the_demo_prints_what_the_readme_shows(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- demo -->\n```text\n(.*?)```", readme, re.DOTALL)
    default_gateway.cache_clear()  # an earlier test's would know the answers
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    result = printed[printed.index("\n\n") + 2 : printed.index("\nSaved\n")]
    assert "\ntuned " in shown
    assert (result + "\n").startswith(shown + "\n"), (
        f"paste into README.md, under <!-- demo -->, up to the table's end:\n{result}"
    )
    for told in ("nothing is paid", "mlflow ui",
                 "compound-optimizer run mlruns/demo/tuned.yaml --input table=...",
                 "compound-optimizer serve mlruns/demo/tuned.yaml\n"):  # fmt: skip
        assert told in printed
    assert "result." not in printed, "that is for Python"
    assert Pipeline.load("mlruns/demo/tuned.yaml").config is not None
    assert "<html" in Path("mlruns/demo/report.html").read_text()


def test_the_rows_that_the_readme_shows_fit_its_pipeline() -> None:
    (readme,) = (page for page in PAGES if page.name == "README.md" and page.parent == REPOSITORY)
    (shown,) = blocks(readme, "json")
    rows = [json.loads(line) for line in shown.text.splitlines()]
    assert len(rows) == 3
    for row in rows:
        assert list(row) == [*locate_solve().inputs, "answer"]
        name = row["question"].removeprefix("What is the result of task ").removesuffix("?")
        (sum_,) = re.findall(rf"{name}: Compute (.*)", row["table"])
        left, operator, right = sum_.split()
        assert CALCULATION[operator](int(left), int(right)) == int(row["answer"])


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").split()) < 900
