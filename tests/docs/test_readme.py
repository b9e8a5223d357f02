"""What the README shows of the demo is what it prints, but for the clock; and what it leaves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from optimizer import Pipeline
from optimizer.cli import main
from pipelines.gateway.gateway import default_gateway
from tests.launching import REPOSITORY

_SECONDS = re.compile(r"(?m)^  in [\d.:]+(?: s)?$")


@pytest.mark.usefixtures("default_store")
def test_the_demo_prints_what_the_readme_shows(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- demo -->\n```text\n(.*?)```", readme, re.DOTALL)
    default_gateway.cache_clear()  # an earlier test's would know the answers
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    result = printed[printed.index("\n\n") + 2 : printed.index("\nSaved\n")]
    assert _SECONDS.sub("", shown) == _SECONDS.sub("", result), (
        f"paste into README.md, under <!-- demo -->:\n{result}"
    )
    for told in ("nothing is paid", "mlflow ui",
                 "compound-optimizer run mlruns/demo/tuned.yaml --input table=..."):  # fmt: skip
        assert told in printed
    assert "result." not in printed, "that is for Python"
    assert Pipeline.load("mlruns/demo/tuned.yaml").config is not None
    assert "<html" in Path("mlruns/demo/report.html").read_text()
