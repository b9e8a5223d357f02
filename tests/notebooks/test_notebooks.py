"""Each notebook runs from top to bottom, and its committed outputs are what it prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from notebooks.execute import FOLDER, METADATA, executed

NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
RECORDED = {"cost-and-quality"}
_SECONDS = re.compile(r" *\b[\d.]+ (s|min)\b")
"""Durations, and latencies, into which the time of the metric counts."""
_ABSOLUTE_PATH = re.compile(r"(?<![\w.:/<])/+[\w.-]+/[\w.-]+|sqlite:////|site-packages")


def read(name: str) -> nbformat.NotebookNode:
    notebook: nbformat.NotebookNode = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def code(notebook: nbformat.NotebookNode) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """What a reader sees below each code cell; of a figure, that it is there."""
    return [_SECONDS.sub(" ... s", "\n".join(map(_text, cell.outputs))) for cell in code(notebook)]


def _text(output: Any) -> str:
    if output.output_type == "stream":
        return f"{output.name}: {output.text}"
    return "\n".join([*sorted(output.data), output.data["text/plain"]])


@pytest.mark.usefixtures("default_store")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_prints_what_is_committed(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in RECORDED:
        data = request.getfixturevalue("shared_data")  # skips where there is none
        monkeypatch.setenv("COMPOUND_OPTIMIZER_SHARED_DATA", str(data))
    fresh = executed(FOLDER / f"{name}.ipynb", Path.cwd())
    assert shown(fresh) == shown(read(name)), f"run notebooks/execute.py {name}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_its_outputs_are_clean(name: str) -> None:
    notebook = read(name)
    assert len(notebook.cells) < 20
    assert notebook.metadata == METADATA
    assert [cell.metadata for cell in notebook.cells if cell.metadata] == []
    numbers = [cell.execution_count for cell in code(notebook)]
    assert numbers == list(range(1, len(numbers) + 1))
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert outputs, f"run notebooks/execute.py {name}"
    assert [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"] == []
    for output in outputs:
        pictures = [v for k, v in output.get("data", {}).items() if k.startswith("image/")]
        assert sum(map(len, pictures)) * 3 / 4 < 60_000, "bytes of a figure"
        texts = [v for k, v in output.get("data", {}).items() if not k.startswith("image/")]
        found = _ABSOLUTE_PATH.search("\n".join([*texts, output.get("text", "")]))
        assert found is None, found and found[0]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_its_links_lead_somewhere(name: str) -> None:
    texts = [cell.source for cell in read(name).cells if cell.cell_type == "markdown"]
    links = [link for text in texts for link in re.findall(r"\]\(([^)#\s]+)\)", text)]
    assert [link for link in links if not (FOLDER / link).is_file()] == []


def test_there_are_four() -> None:
    assert NOTEBOOKS == ["cost-and-quality", "dspy-program", "mlflow-runs", "quickstart"]
