"""A tuned program whose class can't be imported, as an MLflow model."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest

from benchmarks.loopback import LoopbackServer
from optimizer.export import save_pickled
from optimizer.export.pyfunc_model import _load_pyfunc
from optimizer.results.result import Result
from optimizer.tracking.outputs import file_events
from optimizer.tracking.tracker import import_mlflow
from pipelines import PipelineError
from pipelines.adapters.dspy_programs import DSPyPipeline, from_dspy
from pipelines.gateway import secrets
from pipelines.gateway.model import Model
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve

SECRET = "sk-planted-31de"
LOAD = """
import json, sys, mlflow.pyfunc
loaded = mlflow.pyfunc.load_model(sys.argv[1])
said = loaded.predict([{"table": "t", "question": "q"}]).to_dict("records")
import optimizer
print(json.dumps([said, optimizer.__file__]))
"""


@pytest.fixture(autouse=True)
def _mlflow() -> None:
    import_mlflow()


def tuned(url: str = "http://127.0.0.1:9/v1", **attributes: Any) -> DSPyPipeline:
    """Of a class that nobody can import, whose code asks a model of its own as well."""

    class OfAScript(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answer = dspy.Predict("table, question -> answer")
            self.__dict__.update(attributes)

        def forward(self, table: str, question: str) -> Any:
            hint = dspy.Predict("question -> hint")(question=question).hint
            return {"answer": self.answer(table=table, question=question).answer, "hint": hint}

    free: Any = {"input_usd_per_million": 0.0, "output_usd_per_million": 0.0}
    pipeline = from_dspy(OfAScript()).with_fallback(Model("openai/other", "other", url, **free))
    models = [Model("openai/small", "small", url, **free)]
    return pipeline.with_config(pipeline.default_config("small"), models)


def test_it_runs_elsewhere_with_the_code_that_it_carries(tmp_path: Path) -> None:
    def reply(messages: Any, params: Any) -> str:
        name = "hint" if "`[[ ## hint" in str(messages) else "answer"
        return f"[[ ## {name} ## ]]\n{name} by {params['model']}"

    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with LoopbackServer(reply=reply) as server:
        save_pickled(
            tuned(server.url, lock=threading.Lock()),
            tmp_path / "model",
            example_inputs={"table": "t", "question": "q"},
        )
        assert server.requests == 0, "saving asks nobody"
        done = subprocess.run(
            [sys.executable, "-c", LOAD, str(tmp_path / "model")],
            env=kept, cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said, ours = json.loads(done.stdout.splitlines()[-1])
    assert said == [{"answer": "answer by small", "hint": "hint by other", "failure": None}]
    assert Path(ours).is_relative_to(tmp_path / "model" / "code")


def test_it_holds_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    monkeypatch.setattr(secrets, "_GIVEN", {})
    unseen = "sk-unseen-77ab"

    def headers() -> dict[str, str]:
        return {"Authorization": "Bearer sk-planted-31de"}

    pipeline = tuned(
        key=SECRET, headers=headers, own=dspy.LM("openai/own", api_key=unseen), greeting="<hello>"
    )
    models = [Model("openai/small", "small", api_key_env="MY_KEY")]
    example = {"table": f"t {SECRET}", "question": "q"}
    save_pickled(replace(pipeline, models=models), tmp_path / "model", example_inputs=example)
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    for key in (SECRET, unseen):
        assert [path.name for path in files if key.encode() in path.read_bytes()] == []
    (saved,) = (tmp_path / "model" / "data").glob("*.pkl")
    program: Any = _load_pyfunc(str(saved)).pipeline.program  # type: ignore[attr-defined]
    assert program.key == SECRET, "where its variable is set, the key is there again"
    assert program.headers() == headers()
    assert program.greeting == "<hello>"
    monkeypatch.delenv("MY_KEY")
    program = _load_pyfunc(str(saved)).pipeline.program  # type: ignore[attr-defined]
    assert program.key == "<MY_KEY>"


def test_what_can_not_be_pickled_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"the program can't be pickled: .*generator"):
        save_pickled(tuned(rows=(n for n in range(3))), tmp_path / "model")


def test_it_names_what_code_without_a_module_imports(tmp_path: Path) -> None:
    def read(text: str) -> Any:
        import yaml

        return yaml.safe_load(text)

    save_pickled(tuned(read=read), tmp_path / "model")
    named = (tmp_path / "model" / "requirements.txt").read_text()
    assert "PyYAML==" in named
    assert "pytest" not in named, "this module is not imported where the model is loaded"


def _with(result: Result, pipeline: DSPyPipeline) -> Result:
    config = pipeline.config or pipeline.default_config()
    example = {"table": "t", "question": "q"}
    return replace(
        result, pipeline=pipeline, config=config, baseline_config=config, trials_=(),
        example_inputs=example,
    )  # fmt: skip


def test_a_run_leaves_the_one_form_or_the_other_or_says_why_not(
    result: Result, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    importable = from_dspy(LocateSolve())
    ours = importable.with_config(importable.default_config("openai/small"), [])
    held = {}
    broken = tuned(rows=(n for n in range(3)))
    for name, pipeline in (("pickle", tuned()), ("yaml", ours), ("none", broken)):
        with caplog.at_level(logging.WARNING):
            events = file_events(_with(result, pipeline), tmp_path / name)
        held[name] = [path.name for path in (tmp_path / name / "model").glob("data/*")]
        assert [event.folder for event in events if event.name == "tuned"] == (
            [""] if name == "none" else ["model"]
        )
    assert held == {"pickle": ["pipeline.pkl"], "yaml": ["pipeline.yaml"], "none": []}
    assert (
        "the tuned pipeline's model in MLflow can't be loaded: the program can't be pickled"
        in caplog.text
    )
