"""`init`, `show`, `report`, `diff` and `--version`."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from optimizer.cli import main
from optimizer.cli.first_steps import SCRIPT
from optimizer.version import library_version
from pipelines import Module, Pipeline
from pipelines.gateway.gateway import default_gateway

Captured = pytest.CaptureFixture[str]


def test_version(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"compound-optimizer {library_version()}\n"


@pytest.mark.usefixtures("default_store")
def test_what_init_writes_runs_and_is_shown_reported_and_compared(capsys: Captured) -> None:
    default_gateway.cache_clear()
    assert main(["show"]) == 2
    assert "no finished run of optimize" in capsys.readouterr().err
    assert main(["init", "mine"]) == 0
    assert "change two lines of mine/tune.py: MODELS and DATA" in capsys.readouterr().out
    assert len(Path("mine/data.jsonl").read_text().splitlines()) == 10
    runpy.run_path("mine/tune.py", run_name="__main__")
    printed = capsys.readouterr().out
    tuned = Pipeline.load("mine/tuned.yaml")
    assert tuned.config is not None
    run_id = tuned.provenance["mlflow_run"]

    assert main(["show"]) == 0
    shown = capsys.readouterr()
    assert f"run {run_id}: locate-solve" in shown.out
    table = printed[printed.index("baseline  ") : printed.index("\n\n", printed.index("tuned  "))]
    assert table in shown.out
    assert "result." not in shown.out
    assert " of 3\n" in shown.out[shown.out.index("Gained: ") :]
    assert shown.err == ""
    assert main(["show", run_id, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["metrics"]["final/score"] == tuned.provenance["score"]["mean"]
    changed = {row["row"]: row["change"] for row in figures["changed_examples"]}
    assert set(changed.values()) <= {"gained", "lost"}

    assert main(["show", "mine/tuned.yaml"]) == 0
    saved = capsys.readouterr().out
    assert "on 3 held-out examples" in saved
    assert "not shown to be better: " in saved
    assert f"run {run_id}" in saved

    assert main(["report", "--output", "pages/page.html"]) == 0
    assert f"pages/page.html: the page of run {run_id}\n" in capsys.readouterr().out
    assert "<html" in Path("pages/page.html").read_text()

    assert main(["diff", "mine/pipeline.yaml", "mine/tuned.yaml", "--json"]) == 0
    knobs = {change["knob"] for change in json.loads(capsys.readouterr().out)["changed"]}
    assert knobs == {"locate.model", "solve.model"}

    for arguments, message in (
        (["show", "0123"], "there is no run '0123' in sqlite:"),
        (["show", "--experiment", "other"], "in experiment 'other'"),
        (["report", "--output", "."], "--output must name a file, but . is a folder"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


def test_init_replaces_nothing(capsys: Captured) -> None:
    Path("tune.py").write_text("mine")
    assert main(["init"]) == 2
    assert "has tune.py already, which init does not replace" in capsys.readouterr().err
    assert Path("tune.py").read_text() == "mine"
    assert not Path("pipeline.yaml").exists()
    compile(SCRIPT, "tune.py", "exec")


def test_show_where_nothing_ran(capsys: Captured) -> None:
    assert main(["show"]) == 2
    message = capsys.readouterr().err
    assert "mlflow.db does not exist; work in the folder of the run" in message
    assert not Path("mlruns").exists()


def test_prompts_are_compared_line_by_line(capsys: Captured) -> None:
    text = (
        "name: ask\nmodules:\n- name: solve\n  signature: question -> answer\n"
        "  model: sim/elm\n  instructions: |-\n    Think first.\n    {}\n"
    )
    Path("a.yaml").write_text(text.format("Answer briefly."))
    Path("b.yaml").write_text(text.format("Answer with a number."))
    assert main(["diff", "a.yaml", "b.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "solve.instructions" in lines
    assert lines[-2:] == ["-Answer briefly.", "+Answer with a number."]
    assert " Think first." in lines
    assert main(["diff", "a.yaml", "a.yaml"]) == 0
    assert capsys.readouterr().out == "nothing differs\n"
    Path("c.yaml").write_text(text.format("x").replace("solve", "guess"))
    assert main(["diff", "a.yaml", "c.yaml"]) == 2
    assert "but a.yaml has solve and c.yaml has guess" in capsys.readouterr().err


def test_modules_themselves_are_compared(capsys: Captured) -> None:
    Pipeline("ask", [Module("solve", "question -> answer")]).save("a.yaml")
    thinking = Module("solve", "question, hint -> answer, why", strategy="chain_of_thought")
    Pipeline("ask", [thinking]).save("b.yaml")
    assert main(["diff", "a.yaml", "b.yaml"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "solve.signature: 'question -> answer' -> 'question, hint -> answer, why'",
        "solve.strategy: predict -> chain_of_thought",
        "outputs: answer -> answer, why",
    ]


@pytest.mark.parametrize(
    ("rest", "code", "message"),
    [
        ("config:\n  solve:\n", 2, "odd.yaml, line 6: a module's config must be a mapping"),
        ("config: [1]\n", 2, "odd.yaml, line 5: config must be a mapping by module, but is [1]"),
        ("provenance: me\n", 2, "odd.yaml, line 5: provenance must be a mapping, but is 'me'"),
        ("provenance:\n  score: 0.8\n  gain: {low: 0}\n", 0, "score 0.8 on the examples"),
        ("provenance:\n  score: {mean: 0.8, low: a, high: 1}\n", 0, "score {'mean': 0.8, 'low'"),
        ("provenance:\n  mlflow_run: [3]\n  score:\n", 0, "score None"),
    ],
)
@pytest.mark.parametrize("kind", ["modules:\n- name: solve\n  signature: question -> answer\n",
                                  "program: mine:Solve\ninputs:\n- question\n",
                                  "factory: mine:make\nmodules:\n- solve\n"])  # fmt: skip
def test_show_of_odd_yaml_says_what_is_odd(
    kind: str, rest: str, code: int, message: str, capsys: Captured
) -> None:
    Path("odd.yaml").write_text(f"name: odd\n{kind}{rest}")
    assert main(["show", "odd.yaml"]) == code
    shown = capsys.readouterr()
    assert message in (shown.err if code else shown.out)
