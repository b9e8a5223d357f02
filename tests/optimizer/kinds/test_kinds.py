"""Every kind of DSPy program comes back usable, wherever its class is defined."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import nbformat
import pytest
from nbclient import NotebookClient

from benchmarks.loopback import LoopbackServer
from tests.launching import REPOSITORY, Launcher
from tests.optimizer.kinds.world import inputs, reply

HERE = Path(__file__).parent
PLACES = ("module", "script", "notebook")
KINDS = (
    "predictor", "chain of thought", "ReAct with tools", "nested", "lists and dicts", "async",
    "Refine", "Parallel", "typed", "multi-hop", "image", "bare",
)  # fmt: skip
TUNE = """
from pathlib import Path
from tests.optimizer.kinds.tuning import tune_all

tune_all(PROGRAMS, Path("tuned"), {how!r})
"""


class Found(NamedTuple):
    """What came back, by place and kind."""

    facts: Mapping[str, Mapping[str, Any]]
    elsewhere: Mapping[str, Mapping[str, Any]]
    """In a fresh process."""
    carried: str
    """The place of this library in it."""


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory, launch: Launcher, ready_database: Path
) -> Iterator[Found]:
    """Each place in a process of its own, and then all that it left in a fresh one."""
    folder = tmp_path_factory.mktemp("kinds")
    with LoopbackServer(reply=reply) as server:
        database = folder / "mlflow.db"
        shutil.copy(ready_database, database)
        environment = {
            "KINDS_URL": server.url,
            "KINDS_REPOSITORY": str(REPOSITORY),
            "MLFLOW_TRACKING_URI": f"sqlite:///{database}",
            "OPENAI_API_KEY": "none",  # of the plain programs; the server asks for none
            "PYTHONPATH": str(REPOSITORY),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "IPYTHONDIR": str(folder / "ipython"),
        }
        with patch.dict(os.environ, environment):
            _tuned(folder, launch)
            for place in PLACES:
                shutil.copy(folder / place / "tuned" / "facts.json", folder / place)
            asked = {kind: inputs(kind) for kind in KINDS}
            (folder / "inputs.json").write_text(json.dumps(asked))
            del os.environ["PYTHONPATH"]
            elsewhere = folder / "elsewhere"
            elsewhere.mkdir()
            done = subprocess.run(
                [sys.executable, str(HERE / "loading.py"), str(folder), *PLACES],
                cwd=elsewhere, capture_output=True, text=True,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        facts = {p: json.loads((folder / p / "facts.json").read_text()) for p in PLACES}
        yield Found(facts, **_elsewhere(folder))


def _elsewhere(folder: Path) -> dict[str, Any]:
    written = json.loads((folder / "found.json").read_text())
    return {"elsewhere": written["found"], "carried": written["carried"]}


def _tuned(folder: Path, launch: Launcher) -> None:
    programs = (HERE / "programs.py").read_text()
    for place in PLACES:
        (folder / place).mkdir()
        shutil.copy(HERE / "shelf.py", folder / place)
    (folder / "module" / "my_programs.py").write_text(programs)
    script = f"from my_programs import PROGRAMS\n{TUNE.format(how='exportable')}"
    (folder / "module" / "go.py").write_text(script)
    (folder / "script" / "go.py").write_text(programs + TUNE.format(how="allocation"))
    with ThreadPoolExecutor(1) as pool:
        notebook = pool.submit(_run_notebook, folder / "notebook", programs)
        for place in ("module", "script"):
            launch.ran(folder / place, folder / place / "go.py")
        notebook.result()


def _run_notebook(folder: Path, programs: str) -> None:
    texts = programs, TUNE.format(how="allocation")
    cells = [nbformat.v4.new_code_cell(text) for text in texts]  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, resources=resources).execute()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_it_comes_back_usable(found: Found, place: str, kind: str) -> None:
    facts, elsewhere = found.facts[place][kind], found.elsewhere[place][kind]
    answers, wide = facts["answers"], facts["wide answers"]
    assert all(each.get("answer") or each.get("total") for each in (*answers, *wide))
    assert facts["answers of to_dspy"] == facts["answers of its state"] == answers
    assert facts["wide answers of to_dspy"] == wide
    assert facts["wide"] == "TunedProgram"
    if place == "module":  # searched with SearchSpace(exportable=True)
        assert {facts["plain"], *facts["points"]} == {facts["class"]}
    assert elsewhere.pop("served") == answers
    loaded = {"saved": answers, "saved wide": wide, "pickled": answers, "wide pickled": wide}
    if kind == "Parallel":  # holds a lock, which DSPy's own pickle refuses
        loaded = {"saved": answers, "saved wide": wide}
    assert elsewhere == loaded


def test_the_served_models_bring_their_code(found: Found) -> None:
    assert Path(found.carried).parent.parent.name == "code"
    for place in PLACES:
        model = Path(found.facts[place]["multi-hop"]["model"].removeprefix("file://"))
        assert (model / "code" / "shelf.py").is_file()
        assert "PyYAML==" in (model / "requirements.txt").read_text()


def test_images_are_not_in_tables(found: Found) -> None:
    examples = found.facts["module"]["image"]["examples"]
    assert "<image" in examples
    assert "base64" not in examples
