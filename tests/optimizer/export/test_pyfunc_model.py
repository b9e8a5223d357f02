"""The saved model, loaded and served in processes that know nothing of this checkout."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from benchmarks.worlds import simulated_dataset
from optimizer.export import save_pyfunc
from optimizer.export.pyfunc_model import ServedPipeline
from optimizer.tracking.tracker import import_mlflow
from pipelines import Module, Pipeline
from search_spaces import ModuleConfig, PipelineConfig

ROWS = simulated_dataset("locate_solve", 3, seed=5)
SECRET = "sk-planted-4471be"
INPUTS = [{"table": row["table"], "question": row["question"]} for row in ROWS]


def _tuned(*extra: Module) -> Pipeline:
    return Pipeline(
        "locate-solve",
        [
            Module("locate", "table, question -> task", instructions="Extract the task."),
            Module("solve", "task -> answer"),
            *extra,
        ],
        config=PipelineConfig(
            modules={
                "locate": ModuleConfig(models=("sim/alder",)),
                "solve": ModuleConfig(models=("sim/birch",)),
                **{module.name: ModuleConfig() for module in extra},
            }
        ),
    )


@pytest.fixture(autouse=True)
def _mlflow() -> None:
    import_mlflow()


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the user's, with a secret lying beside the code."""
    package = tmp_path / "own" / "rounding"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / ".env").write_text("OPENAI_API_KEY=sk-planted-0123456789")
    (package / "steps.py").write_text(
        "def whole(answer):\n"
        "    if answer.startswith('-'):\n"
        "        raise ValueError('negative')\n"
        "    return int(float(answer))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    return package


def _environment(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return kept | {"XDG_CACHE_HOME": str(tmp_path / "elsewhere-cache")}


def _in_fresh_process(model: Path, tmp_path: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    code = (
        "import json, sys, mlflow.pyfunc\n"
        "loaded = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "frame = loaded.predict(json.loads(sys.argv[2]))\n"
        "import optimizer\n"
        "told = {'home': optimizer.__file__, 'rows': frame.to_dict('records')}\n"
        "print(json.dumps(told))\n"
    )
    (tmp_path / "elsewhere").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", code, str(model), json.dumps(rows)],
        cwd=tmp_path / "elsewhere", env=_environment(tmp_path), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    message: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return message


def test_loads_elsewhere_with_the_code_it_carries(tmp_path: Path) -> None:
    save_pyfunc(_tuned().to_yaml(), tmp_path / "model", example_inputs=INPUTS[0])
    message = _in_fresh_process(tmp_path / "model", tmp_path, INPUTS)
    assert Path(message["home"]).is_relative_to(tmp_path / "model" / "code")
    assert [row["failure"] for row in message["rows"]] == [None] * 3
    assert sum(row["answer"] == right["answer"] for row, right in zip(message["rows"], ROWS)) >= 2  # noqa: B905
    assert not (tmp_path / "elsewhere-cache").exists()


def test_carries_the_users_functions_and_nothing_else_of_their_folder(
    tmp_path: Path, own_module: Path
) -> None:
    whole = Module("whole", "answer -> number: int", function="rounding.steps:whole")
    save_pyfunc(_tuned(whole).to_yaml(), tmp_path / "model")
    carried = {path.name for path in (tmp_path / "model" / "code" / "rounding").iterdir()}
    assert carried == {"__init__.py", "steps.py"}
    message = _in_fresh_process(tmp_path / "model", tmp_path, INPUTS)
    for row in message["rows"]:
        assert (row["number"] is None) is (row["failure"] is not None)


def test_carries_what_the_users_code_imports_and_names_its_libraries(
    tmp_path: Path, own_module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELF_KEY", SECRET)
    for name in ("rounding", "rounding.steps"):  # an earlier test's
        monkeypatch.delitem(sys.modules, name, raising=False)
    (own_module / "steps.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from shelf_of_words import WORDS\n"
        "from . import more\n"
        "if TYPE_CHECKING:\n    import pytest\n"
        "def whole(answer):\n    return 1\n"
    )
    (own_module / "more.py").write_text("def later():\n    import yaml, no_such_module\n")
    shelf = own_module.parent / "shelf_of_words.py"
    shelf.write_text(f"import regex, json\nWORDS = '{SECRET}'\n")
    whole = Module("whole", "answer -> number: int", function="rounding.steps:whole")
    save_pyfunc(_tuned(whole).to_yaml(), tmp_path / "model")
    carried = (tmp_path / "model" / "code" / "shelf_of_words.py").read_text()
    assert carried == "import regex, json\nWORDS = '<SHELF_KEY>'\n"
    named = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert {"PyYAML", "regex"} <= {each.partition("==")[0] for each in named}
    assert not [each for each in named if each.startswith("pytest")]


def test_serves_rows_over_http(tmp_path: Path) -> None:
    save_pyfunc(_tuned().to_yaml(), tmp_path / "model", example_inputs=INPUTS[0])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(tmp_path / "model"),
               "--env-manager", "local", "--port", str(port)]  # fmt: skip
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (tmp_path / "log.txt").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=_environment(tmp_path) | {"PATH": path}, stdout=log,
            stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        message = _posted(f"http://127.0.0.1:{port}/invocations", {"dataframe_records": INPUTS})
        assert [row["failure"] for row in message["predictions"]] == [None] * 3
        assert all(row["answer"] for row in message["predictions"])
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _posted(address: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    ends = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                message: dict[str, Any] = json.load(response)
                return message
        except urllib.error.HTTPError:
            raise
        except OSError:  # not there yet
            if time.monotonic() > ends:
                raise
        time.sleep(0.2)


def test_saving_asks_no_model_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("a model was asked")

    monkeypatch.setattr("pipelines.gateway.gateway.Gateway.session", forbidden)
    save_pyfunc(_tuned().to_yaml(), tmp_path / "model", example_inputs=INPUTS[0])
    assert Pipeline.load(tmp_path / "model" / "data" / "pipeline.yaml") == _tuned()
    assert (tmp_path / "model" / "input_example.json").exists()
    requirements = (tmp_path / "model" / "requirements.txt").read_text()
    assert "mlflow==" in requirements
    assert "compound-optimizer" not in requirements


def test_signature_takes_text_where_it_is_text_and_anything_elsewhere(tmp_path: Path) -> None:
    from mlflow.models import Model

    pipeline = Pipeline(
        "count", [Module("count", "table, texts: list[str] -> n: int", model="sim/elm")]
    )
    example = {"table": [["a", 1]], "texts": ["x"]}
    save_pyfunc(pipeline.to_yaml(), tmp_path / "model", example_inputs=example)
    save_pyfunc(pipeline.to_yaml(), tmp_path / "other", example_inputs={**example, "table": "a 1"})
    kinds = [
        [str(column.type) for column in Model.load(str(tmp_path / name)).signature.inputs.inputs]
        for name in ("model", "other")
    ]
    assert kinds[0][0] != kinds[1][0]
    assert "string" in kinds[1][0]
    outputs = Model.load(str(tmp_path / "model")).signature.outputs.input_names()
    assert outputs == ["n", "failure"]


def test_cells_reach_the_pipeline_as_pythons_own_values() -> None:
    import pandas as pd

    seen = []

    def look(number: object, text: object) -> str:
        seen.append((type(number), text))
        return "seen"

    look_at = Module("look", "number, text -> answer", function=look)
    frame = pd.DataFrame({"number": [1, 2], "text": ["a", float("nan")]}, index=[7, 9])
    message = ServedPipeline(Pipeline("looking", [look_at])).predict(frame)
    assert sorted(seen, key=str) == sorted([(int, "a"), (int, None)], key=str)
    assert list(message.index) == [7, 9]
    assert list(message.columns) == ["answer", "failure"]


@pytest.mark.parametrize(
    ("outputs", "columns"),
    [
        ("answer", ["answer", "confidence", "failure"]),
        ("answer, confidence", ["answer", "confidence", "failure"]),
    ],
)
def test_wide_pipelines_tell_their_confidence_unless_they_write_one(
    outputs: str, columns: list[str], tmp_path: Path
) -> None:
    from mlflow.models import Model

    three = Module("solve", f"question -> {outputs}", model="3x sim/rowan -> majority_vote")
    pipeline = Pipeline("votes", [three])
    save_pyfunc(pipeline.to_yaml(), tmp_path / "model")
    signature = Model.load(str(tmp_path / "model")).signature
    assert signature.outputs.input_names() == columns
    assert list(ServedPipeline(pipeline).predict([{"question": "?"}]).columns) == columns


def test_the_confidence_of_a_row_is_the_share_of_members_that_agree() -> None:
    three = Module("solve", "question -> answer", model="3x sim/rowan -> majority_vote")
    rows = [{"question": row["question"]} for row in simulated_dataset("arithmetic", 12, 1)]
    message = ServedPipeline(Pipeline("votes", [three])).predict([*rows, {"question": ""}])
    answered = message["failure"].isna()
    shares = {round(share, 2) for share in message["confidence"][answered]}
    assert len(shares) > 1
    assert shares <= {0.33, 0.67, 1.0}
    assert [message["confidence"][i] for i in message.index[~answered]] == [None] * int(
        (~answered).sum()
    )
