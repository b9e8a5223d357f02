from __future__ import annotations

import json
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.worlds import simulated_dataset
from evaluators.objective import Objective, as_objective
from evaluators.statistics import Interval
from optimizer.cli import main
from optimizer.results.operating_points import OperatingPoint
from optimizer.results.result import Result
from pipelines import Module, Pipeline
from pipelines.gateway.model import Model
from pipelines.patterns import locate_solve
from search_spaces import ModuleConfig, PipelineConfig
from tests.launching import Launcher, run_python
from tests.optimizer.made import make_config, make_pipeline, make_result

Captured = pytest.CaptureFixture[str]
MODELS = "sim/hazel,sim/alder,sim/birch"


@pytest.fixture
def dataset() -> str:
    rows = simulated_dataset("locate_solve", 24, seed=1)
    Path("rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return "rows.jsonl"


@pytest.fixture
def pipeline() -> str:
    locate_solve().save("pipeline.yaml")
    return "pipeline.yaml"


@pytest.fixture
def tuned() -> str:
    config = PipelineConfig(
        modules={
            "locate": ModuleConfig(models=("sim/alder",)),
            "solve": ModuleConfig(models=("sim/birch",)),
        }
    )
    Pipeline("locate-solve", locate_solve().modules, config=config).save("tuned.yaml")
    return "tuned.yaml"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from optimizer.cli import main\n"
        "try: main(['optimize', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'mlflow', 'litellm', 'dspy', 'optuna', 'numpy', 'pandas', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = run_python("-c", code)
    assert "PIPELINE DATASET" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "[]"


def test_python_m_ends_with_the_commands_code() -> None:
    ran = run_python("-m", "optimizer.cli", "run", "nowhere.yaml", "--input", "a=b")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "nowhere.yaml: no such file" in ran.stderr


@pytest.mark.usefixtures("default_store")
def test_optimize_reads_files_and_writes_files(
    pipeline: str, dataset: str, capsys: Captured
) -> None:
    arguments = ["optimize", pipeline, dataset, "--models", MODELS, "--models", "sim/elm",
                 "--budget-calls", "900", "--seed", "3", "--diagnoser", "none",
                 "--stages", "allocation",
                 "--save", "out/best.yaml", "--report", "out/best.html"]  # fmt: skip
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert "scored on 7 examples held out" in first
    assert "out/best.yaml: the tuned pipeline\n" in first
    assert "compound-optimizer run out/best.yaml --dataset" in first
    saved = Pipeline.load("out/best.yaml")
    assert saved.provenance["seed"] == 3
    assert "diagnoser" not in first.split("What it took")[1].split("total")[0]

    assert main(arguments) == 0
    again = capsys.readouterr().out
    assert "paid now: $0.00 for 0 calls" in again
    assert "out/best.yaml: the tuned pipeline (replaces the file that was there)\n" in again
    assert again.count("(replaces the file that was there)") == 2
    assert Pipeline.load("out/best.yaml").config == saved.config


def _point(held_out: float | None, usd: float) -> OperatingPoint:
    config = make_config(temperature=usd)
    mean = 0.7 if held_out is None else held_out
    return OperatingPoint(
        replace(make_pipeline(), config=config), Interval(mean, 0.1, 0.9), usd, 1.5, 2.5,
        "search" if held_out is None else "holdout", estimate=0.7 + usd,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "code", "saved_usd"),
    [
        ("--max-cost-usd 0.01", 0, None),
        ("--max-cost-usd 0.004", 3, None),
        ("--max-latency-s 2 --within 0.02", 3, None),
        ("--max-latency-p95-s 5", 0, None),
        ("--max-latency-p95-s 4", 3, None),
        ("--pareto --max-latency-p95-s 2.5", 0, 0.1),
        ("--pareto", 0, None),
        ("--pareto --max-cost-usd 0.05", 0, 0.02),
        ("--pareto --within 0.2", 0, 0.01),
        ("--pareto --max-cost-usd 0.001", 3, 0.01),
    ],
)
def test_limits_that_are_not_met_end_with_a_code_of_their_own(
    limits: str, code: int, saved_usd: float | None, pipeline: str, capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    points = (_point(0.9, 0.1), _point(None, 0.02), _point(0.6, 0.01))

    def found(*_: object, objective: object, **__: object) -> Result:
        return make_result(objective=as_objective(objective), points=points)  # type: ignore[arg-type]

    monkeypatch.setattr("optimizer.optimize", found, raising=False)
    assert main(["optimize", pipeline, "rows.jsonl", *limits.split()]) == code
    message = capsys.readouterr()
    assert ("does not meet the objective" in message.err) is (code == 3)
    saved = Pipeline.load("tuned.yaml")
    expected = make_result().config if saved_usd is None else make_config(temperature=saved_usd)
    assert saved.config == expected
    assert ("baseline" in saved.provenance) is (saved_usd is None), "points have no gain"


def test_what_is_cheaper_than_the_best_single_model_can_be_asked_for(
    pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def found(*_: object, objective: object, **__: object) -> Result:
        asked.append(objective)
        return make_result()

    monkeypatch.setattr("optimizer.optimize", found, raising=False)
    arguments = ["--within", "0.01", "--of", "single_model"]
    assert main(["optimize", pipeline, "rows.jsonl", *arguments]) == 0
    assert asked == [Objective(within=0.01, of="single_model")]


@pytest.mark.parametrize("command", ["optimize", "run"])
def test_help_tells_the_codes(command: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    message = " ".join(capsys.readouterr().out.split())
    assert "3 what was found, and saved, does not meet the limits" in message
    assert ("carries its confidence, the share of members that agreed" in message) is (
        command == "run"
    )


def test_run_answers_one_input(tuned: str, capsys: Captured) -> None:
    row = simulated_dataset("locate_solve", 1, seed=2)[0]
    Path("table.txt").write_text(row["table"])
    question = f"question={row['question']}"
    assert main(["run", tuned, "--input", "table=@table.txt", question]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["answer"]


def test_run_tells_how_far_members_agree(dataset: str, capsys: Captured) -> None:
    three = Module("solve", "question -> answer", model="3x sim/rowan -> majority_vote")
    Pipeline("votes", [three]).save("votes.yaml")
    assert main(["run", "votes.yaml", "--input", "question=Compute 17 * 23 - 5"]) == 0
    message = capsys.readouterr()
    assert list(json.loads(message.out)) == ["answer"]
    assert re.fullmatch(r"confidence (0\.33|0\.67|1\.00)\n", message.err)
    assert main(["run", "votes.yaml", "--dataset", dataset]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    shares = {round(line["confidence"], 2) for line in lines}
    assert len(shares) > 1
    assert shares <= {0.33, 0.67, 1.0}


def test_run_keeps_rows_that_fail_and_says_so(dataset: str, capsys: Captured) -> None:
    Path("odd.py").write_text("def number(answer):\n    return 1 / (int(answer) % 2)\n")
    Path("odd.yaml").write_text(
        "name: odd\nmodules:\n- name: odd\n  signature: 'answer -> number: float'\n"
        "  function: odd:number\n"
    )
    assert (
        main(["run", "odd.yaml", "--allow-code", "--dataset", dataset, "--output", "out.jsonl"])
        == 1
    )
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert len(lines) == 24
    for line in lines:
        even = int(line["example"]["answer"]) % 2 == 0
        assert (line["outputs"] is None) is even
        assert ("ZeroDivisionError" in (line["failure"] or "")) is even
        assert line["confidence"] == (None if even else 1.0)
    failed = sum(line["failure"] is not None for line in lines)
    assert f"24 rows, {failed} failed, $0.000000 -> out.jsonl" in capsys.readouterr().err


def test_run_reads_values_by_their_type(capsys: Captured) -> None:
    Path("adding.py").write_text("def add(numbers, more):\n    return sum(numbers) + len(more)\n")
    Path("adding.yaml").write_text(
        "name: adding\nmodules:\n- name: add\n"
        "  signature: 'numbers: list[int], more -> total: int'\n  function: adding:add\n"
    )
    assert (
        main(["run", "adding.yaml", "--allow-code", "--input", "numbers=[1, 2]", "more=007"]) == 0
    )
    assert json.loads(capsys.readouterr().out) == {"total": 6}
    assert main(["run", "adding.yaml", "--allow-code", "--input", "numbers=1, 2", "more=x"]) == 2
    assert "--input numbers=... must be JSON" in capsys.readouterr().err


def test_debug_shows_where_an_error_comes_from() -> None:
    with pytest.raises(FileNotFoundError):
        main(["--debug", "run", "nowhere.yaml", "--input", "a=b"])


@pytest.mark.usefixtures("default_store")
def test_models_described_in_the_pipeline_are_meant_by_their_labels(
    dataset: str, capsys: Captured
) -> None:
    described = (Model("sim/alder", label="finder"), Model("sim/birch", label="solver"))
    Pipeline("locate-solve", locate_solve().modules, models=described).save("own.yaml")
    assert main(["optimize", "own.yaml", dataset, "--diagnoser", "finder"]) == 0
    saved = Pipeline.load("tuned.yaml")
    assert saved.config is not None
    labels = {label for labels in saved.config.allocation.values() for label in labels}
    assert labels <= {"finder", "solver"}
    assert all(model in described for model in saved.models)


@pytest.mark.usefixtures("default_store")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_search_shows_the_best_so_far_and_how_to_resume(
    number: int, dataset: str, launch: Launcher
) -> None:
    Path("slow.py").write_text(
        "import time\ndef wait(task):\n    time.sleep(0.4)\n    return task\n"
    )
    waiting = "- name: wait\n  signature: task -> waited\n  function: slow:wait\n"
    solving = "- name: solve\n  signature: waited -> answer\n"
    locating = "- name: locate\n  signature: table, question -> task\n"
    Path("slow.yaml").write_text(f"name: slow\nmodules:\n{locating}{waiting}{solving}")
    command = ["optimize", "slow.yaml", dataset, "--allow-code", "--models", MODELS,
               "--concurrency", "2", "--diagnoser", "none"]  # fmt: skip
    process = launch.start(Path.cwd(), command=command)
    _wait_for_two_trials()
    os.kill(process, number)
    code, err = launch.wait(), Path("err").read_text()
    assert code == 128 + number, err
    assert "interrupted. Best so far: 0." in err
    assert "to resume" in err
    assert "Traceback" not in err
    assert not Path("tuned.yaml").exists()
    assert Path("out").read_text() == ""


def _wait_for_two_trials() -> None:
    """Until MLflow knows of two trials: the search is in its middle then."""
    import sqlite3

    ends = time.monotonic() + 90
    while time.monotonic() < ends:
        if Path("mlruns/mlflow.db").exists():
            connection = sqlite3.connect("mlruns/mlflow.db", timeout=10)
            try:
                (runs,) = connection.execute("SELECT COUNT(*) FROM runs").fetchone()
            except sqlite3.OperationalError:
                runs = 0
            finally:
                connection.close()
            if runs >= 3:
                return
        time.sleep(0.1)
    raise AssertionError("no trial in 90 s")
