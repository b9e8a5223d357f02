"""A tuned program of a script's as an MLflow model that runs where this library is not."""

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
from optimizer.export import save_dspy_program
from optimizer.results.result import Result
from optimizer.tracking.outputs import file_events
from optimizer.tracking.tracker import import_mlflow
from pipelines import PipelineError
from pipelines.adapters.dspy_programs import DSPyPipeline, from_dspy
from pipelines.gateway.model import Model
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve

SECRET = "sk-planted-31de"
LOAD = """
import json, sys, mlflow.pyfunc
loaded = mlflow.pyfunc.load_model(sys.argv[1])
said = loaded.predict({"table": "t", "question": "q"})
ours = [n for n in sys.modules if n.split(".")[0] in ("pipelines", "optimizer", "evaluators")]
print(json.dumps([said, ours]))
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

    pipeline = from_dspy(OfAScript()).with_fallback(Model("openai/other", "other", url))
    models = [Model("openai/small", "small", url)]
    return pipeline.with_config(pipeline.default_config("small"), models)


def test_it_runs_in_a_process_without_this_library(tmp_path: Path) -> None:
    def reply(messages: Any, params: Any) -> str:
        name = "hint" if "`[[ ## hint" in str(messages) else "answer"
        return f"[[ ## {name} ## ]]\n{name} by {params['model']}"

    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with LoopbackServer(reply=reply) as server:
        save_dspy_program(
            tuned(server.url), tmp_path / "model", example_inputs={"table": "t", "question": "q"}
        )
        assert server.requests == 0, "saving asks nobody"
        done = subprocess.run(
            [sys.executable, "-c", LOAD, str(tmp_path / "model")],
            env={**kept, "OPENAI_API_KEY": "none"}, cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said, ours = json.loads(done.stdout.splitlines()[-1])
    assert said == {"answer": "answer by small", "hint": "hint by other"}
    assert ours == []


def test_it_holds_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    pipeline = tuned()
    models = [Model("openai/small", "small", api_key_env="MY_KEY")]
    save_dspy_program(replace(pipeline, models=models), tmp_path / "model")
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    told = [path.name for path in files if SECRET.encode() in path.read_bytes()]
    assert set(told) <= {Path(__file__).name}, "but for the copy of this very file"
    assert (tmp_path / "model" / "code" / "pipelines").is_dir(), "it asks through this library"


def test_what_can_not_be_pickled_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"the program can't be pickled: .*lock"):
        save_dspy_program(tuned(lock=threading.Lock()), tmp_path / "model")


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
    flavours = {}
    locked = tuned(lock=threading.Lock())
    for name, pipeline in (("dspy", tuned()), ("ours", ours), ("none", locked)):
        with caplog.at_level(logging.WARNING):
            events = file_events(_with(result, pipeline), tmp_path / name)
        described = tmp_path / name / "model" / "MLmodel"
        flavours[name] = described.is_file() and "mlflow.dspy" in described.read_text()
        assert [event.folder for event in events if event.name == "tuned"] == (
            [""] if name == "none" else ["model"]
        )
    assert flavours == {"dspy": True, "ours": False, "none": False}
    assert (
        "the tuned pipeline's model in MLflow can't be loaded: the program can't be pickled"
        in caplog.text
    )


def test_what_needs_this_library_is_logged_without_the_warning_of_to_dspy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = from_dspy(LocateSolve())
    simulated = program.with_config(program.default_config("sim/birch"), [])
    save_dspy_program(simulated, tmp_path / "model")
    assert (tmp_path / "model" / "code" / "pipelines").is_dir(), "it asks through this library"
    assert [record for record in caplog.records if record.name.startswith("pipelines")] == []
