"""The site: it builds without a warning, has every public name, and needs no network."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.launching import REPOSITORY, run_python

pytest.importorskip("mkdocs", reason="mkdocs-material is in the dev extra")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. `strict` in mkdocs.yml makes errors of broken links and pages left out."""
    folder = tmp_path_factory.mktemp("site")
    config = str(REPOSITORY / "mkdocs.yml")
    built = run_python("-m", "mkdocs", "build", "--config-file", config, "--site-dir", str(folder))
    assert built.returncode == 0, built.stderr
    return folder


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    pages = (page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html"))
    documented = {name for page in pages for name in re.findall(r'id="([\w.]+)"', page)}
    for package in ("optimizer", "search_spaces", "pipelines"):
        for name in importlib.import_module(package).__all__:
            homes = {f"{package}.{name}", f"optimizer.{name}"}
            assert homes & documented, f"{package}.{name} is in none of docs/reference/"


def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r'<(?:script|link|img|iframe)[^>]* (?:src|href)="(https?:)?//[^"]*"')
    for page in site.rglob("*.html"):
        found = fetched.search(page.read_text(encoding="utf-8"))
        assert found is None, f"{page.name}: {found and found[0]}"


def test_what_lies_beside_the_docs_is_reachable(site: Path) -> None:
    plain_python = (site / "plain-python.html").read_text(encoding="utf-8")
    assert 'href="repository/examples/langgraph_agent.py"' in plain_python
    assert (site / "repository" / "examples" / "langgraph_agent.py").is_file()
    assert (site / "repository" / "CONTRIBUTING.html").is_file()


def test_the_drawings_are_those_that_the_script_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs"))
    diagrams = importlib.import_module("diagrams")
    for draw in diagrams.DRAWINGS:
        drawing = draw()
        written = REPOSITORY / "docs" / "images" / f"{drawing.name}.svg"
        assert written.read_text(encoding="utf-8") == drawing.svg(), "run docs/diagrams.py"
