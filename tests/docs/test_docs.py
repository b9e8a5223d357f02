"""All that the documentation shows is run, and all that it points to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.__main__ import benchmarks
from optimizer.cli.arguments import parser
from tests.docs.pages import PAGES, blocks, commands, links, name_of
from tests.launching import REPOSITORY, Launcher

SHOWING = [page for page in PAGES if blocks(page, "python")]
ANY_PAGE = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pytest.mark.parametrize("page", SHOWING, ids=name_of)
@pytest.mark.usefixtures("default_store")
def test_every_python_block_runs(page: Path, launch: Launcher) -> None:
    launch.ran(Path.cwd(), REPOSITORY / "tests" / "docs" / "run_page.py", str(page))


def test_pages_and_examples_run_on_what_is_shipped(launch: Launcher, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys; print('benchmarks.worlds' in sys.modules)")
    assert launch.ran(Path.cwd(), script).strip() == "False"


@ANY_PAGE
def test_every_command_exists(page: Path) -> None:
    for words in commands(page):
        assert problem_with(words) is None, f"{' '.join(words)}: {problem_with(words)}"


@ANY_PAGE
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = {link: page.parent / link.partition("#")[0] for link in links(page)}
    assert [link for link, path in targets.items() if not path.exists()] == []


def test_all_pages_are_in_the_index() -> None:
    index = REPOSITORY / "docs" / "README.md"
    pages = {path.name for path in index.parent.glob("*.md")} - {index.name}
    assert pages <= set(links(index))


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("make demonstration", "no such target"),
        ("python -m benchmarks nothing", "no such benchmark"),
        ("python -m benchmarks repeat --exampels 3", "no option --exampels"),
        ("compound-optimizer tune a.yaml", "not understood"),
        ("rm -rf all", "unknown"),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: str, problem: str) -> None:
    assert problem_with(command.split()) == problem


def problem_with(words: list[str]) -> str | None:
    """Why this command can't be right, as far as can be told without running it."""
    match words:
        case ["make", *targets]:
            known = re.findall(
                r"^([\w-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE
            )
            return None if set(targets) <= set(known) else "no such target"
        case ["compound-optimizer", *arguments]:
            return None if _parses(arguments) else "not understood"
        case ["python", "-m", "benchmarks"] | ["python", "-m", "benchmarks", "all"]:
            return None
        case ["python", "-m", "benchmarks", name, *options]:
            if name not in benchmarks():
                return "no such benchmark"
            return _unknown_option(REPOSITORY / "benchmarks" / f"{name}.py", options)
        case ["python", script, *options]:
            path = REPOSITORY / script
            return _unknown_option(path, options) if path.is_file() else "no such script"
        case ["mlflow", "ui" | "models" | "artifacts", *_] | ["pip", "install", *_]:
            return None
        case ["optuna-dashboard", _]:
            return None
    return "unknown"


def _parses(arguments: list[str]) -> bool:
    try:
        parser().parse_args(arguments)
    except SystemExit:
        return False
    return True


def _unknown_option(script: Path, options: list[str]) -> str | None:
    texts = [script.read_text(encoding="utf-8")]
    for module in re.findall(r"(?m)^from benchmarks\.(resuming|searching|splits) import", texts[0]):
        texts.append((REPOSITORY / "benchmarks" / f"{module}.py").read_text(encoding="utf-8"))
    known = "".join(texts)
    unknown = [o for o in options if o.startswith("--") and f'"{o}"' not in known]
    return f"no option {unknown[0]}" if unknown else None
