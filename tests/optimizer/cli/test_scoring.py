"""`estimate`, `evaluate`, and what `optimize` takes."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import dspy
import pytest

from optimizer.cli import main
from optimizer.results.result import Result
from pipelines import Pipeline
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.gateway.gateway import default_gateway
from pipelines.patterns import locate_solve
from pipelines.providers.simulated import simulated_dataset
from search_spaces import ModuleConfig, PipelineConfig
from tests.optimizer.made import make_result

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def files() -> None:
    default_gateway.cache_clear()  # an earlier test's would know the answers
    rows = simulated_dataset("locate_solve", 12, seed=1)
    Path("rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    locate_solve().save("pipeline.yaml")
    models = {"locate": ("sim/alder",), "solve": ("sim/birch",)}
    config = PipelineConfig(modules={m: ModuleConfig(models=each) for m, each in models.items()})
    Pipeline("locate-solve", locate_solve().modules, config=config).save("tuned.yaml")


def test_estimate_prints_a_table_or_json(capsys: Captured) -> None:
    arguments = ["estimate", "pipeline.yaml", "rows.jsonl", "--models", "sim/hazel,sim/alder",
                 "--stages", "allocation"]  # fmt: skip
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "Suggested budget: --budget-usd " in shown
    assert main([*arguments, "--json", "--budget-calls", "90"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["stages"][0]["calls"] == {"low": 16, "typical": 16, "high": pytest.approx(17.6)}
    assert figures["calls"]["high"] == pytest.approx(90)
    assert figures["budget"] == {"usd": None, "calls": 90, "seconds": None}
    assert not Path("mlruns").exists()


def test_evaluate_scores_and_searches_nothing(capsys: Captured) -> None:
    assert main(["evaluate", "tuned.yaml", "rows.jsonl", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["examples"] == 12
    assert figures["spent"]["calls"] == pytest.approx(12 * figures["calls_per_example"])
    assert 24 <= figures["spent"]["calls"] < 30, "two modules; what can't be read is asked again"
    assert figures["score"]["low"] < figures["score"]["mean"] <= figures["score"]["high"]
    assert main(["evaluate", "tuned.yaml", "rows.jsonl"]) == 0
    assert "locate-solve: " in capsys.readouterr().out
    assert not Path("mlruns").exists()


def test_evaluate_ends_with_4_below_the_least_score(capsys: Captured) -> None:
    weak = ["evaluate", "pipeline.yaml", "rows.jsonl", "--models", "sim/rowan"]
    assert main([*weak, "--min-score", "0.9"]) == 4
    message = capsys.readouterr()
    assert "locate-solve: " in message.out
    assert "is below --min-score 0.9" in message.err
    assert main(["evaluate", "tuned.yaml", "rows.jsonl", "--min-score", "0.2"]) == 0


def test_evaluate_keeps_to_a_budget(capsys: Captured) -> None:
    arguments = ["evaluate", "tuned.yaml", "rows.jsonl", "--budget-calls", "40"]
    assert main(arguments) == 0
    arguments = ["evaluate", "tuned.yaml", "rows.jsonl", "--budget-usd", "0.0001"]
    default_gateway.cache_clear()
    capsys.readouterr()
    rows = simulated_dataset("locate_solve", 12, seed=7)
    Path("other.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    arguments[2] = "other.jsonl"
    assert main(arguments) == 1
    assert "the budget ended after 0 of 12 examples" in capsys.readouterr().err


def test_a_program_in_python_is_named_by_module_and_object(capsys: Captured) -> None:
    Path("programs_of_mine.py").write_text(
        "import dspy\n"
        "from optimizer import locate_solve\n"
        "class Solve(dspy.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.solve = dspy.Predict('table, question -> answer')\n"
        "    def forward(self, table, question):\n"
        "        return self.solve(table=table, question=question)\n"
        "program = Solve()\n"
        "pipeline = locate_solve()\n"
        "def broken():\n"
        "    raise LookupError('no file')\n"
        "number = 3\n"
    )
    rest = ["rows.jsonl", "--models", "sim/hazel", "--json"]
    for name, calls in (("Solve", 1), ("program", 1), ("pipeline", 2)):
        assert main(["evaluate", f"programs_of_mine:{name}", *rest]) == 0
        assert json.loads(capsys.readouterr().out)["calls_per_example"] == calls
    for name, message in (
        ("programs_of_mine:broken", "calling it failed: LookupError: no file"),
        ("programs_of_mine:number", "must be a Pipeline, a DSPy program"),
    ):
        assert main(["evaluate", name, *rest]) == 2
        assert message in capsys.readouterr().err


def test_options_reach_optimize(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    asked: dict[str, object] = {}

    def found(**arguments: object) -> Result:
        asked.update(arguments)
        return make_result()

    monkeypatch.setattr("optimizer.optimize", found, raising=False)
    Path("space.yaml").write_text("width: [1, 3]\nmodels:\n  solve: [sim/elm]\n")
    arguments = ["optimize", "pipeline.yaml", "rows.jsonl", "--search-space", "space.yaml",
                 "--stages", "allocation,prompts", "--strategy", "halving",
                 "--prompt-optimizer", "copro", "--json"]  # fmt: skip
    assert main(arguments) == 0
    message = capsys.readouterr()
    figures = json.loads(message.out)
    assert figures["saved"] == "tuned.yaml"
    assert figures["gain"]["low"] == make_result().gain.low
    assert "Saved" in message.err
    space, stages = asked["search_space"], asked["stages"]
    assert space.width == (1, 3)  # type: ignore[attr-defined]
    assert space.models == {"solve": ("sim/elm",)}  # type: ignore[attr-defined]
    assert [repr(stage) for stage in stages] == [  # type: ignore[attr-defined]
        "Allocation(strategy='halving', name='allocation')",
        "Prompts(optimizer='copro', name='prompts')",
    ]
    assert asked["budget"] is None


def test_code_that_ends_the_process_is_an_error(capsys: Captured) -> None:
    Path("ends_on_import.py").write_text("import sys\nsys.exit(0)\n")
    Path("ends_when_called.py").write_text("def make():\n    raise SystemExit\n")
    Path("ends.yaml").write_text(
        "name: ends\nmodules:\n- name: end\n  signature: question -> answer\n"
        "  function: ends_on_import:end\n"
    )
    rest = ["rows.jsonl", "--models", "sim/hazel", "--min-score", "0.99"]
    for target, message in (
        (["ends_on_import:pipe"], "module 'ends_on_import' can't be imported: SystemExit: 0"),
        (["ends_when_called:make"], "but calling it failed: SystemExit"),
        (["ends.yaml", "--allow-code"], "cannot import function 'ends_on_import:end': SystemExit"),
    ):
        assert main(["evaluate", *target, *rest]) == 2
        assert message in capsys.readouterr().err
    Path("typed.yaml").write_text(
        "name: typed\nmodules:\n- name: solve\n"
        "  signature: 'question -> answer: ends_on_import.Answer'\n"
    )
    assert main(["evaluate", "typed.yaml", "--allow-code", *rest]) == 1
    assert "called sys.exit(0)" in capsys.readouterr().err


def test_what_a_program_prints_is_not_among_the_figures(capsys: Captured) -> None:
    Path("printing_pipe.py").write_text(
        "from optimizer import locate_solve\n"
        "print('imported')\n"
        "def pipeline():\n    print('made')\n    return locate_solve()\n"
        "def half(question):\n    print('ran')\n    return question[:9]\n"
    )
    Path("printing.yaml").write_text(
        "name: half\nmodules:\n- name: half\n  signature: question -> answer\n"
        "  function: printing_pipe:half\n"
    )
    rest = ["rows.jsonl", "--models", "sim/hazel"]
    for command in ("estimate", "evaluate"):
        assert main([command, "printing_pipe:pipeline", *rest, "--json"]) == 0
        message = capsys.readouterr()
        assert json.loads(message.out)["pipeline"] == "locate-solve"
        assert "made\n" in message.err
    assert main(["run", "printing.yaml", "--allow-code", "--input", "question=Compute 1 + 1"]) == 0
    message = capsys.readouterr()
    assert json.loads(message.out) == {"answer": "Compute 1"}
    assert "ran\n" in message.err
    assert main(["evaluate", "printing_pipe:pipeline", *rest]) == 0
    assert "made\n" in capsys.readouterr().out


def test_a_program_that_yaml_can_not_make_is_named_by_an_option(capsys: Captured) -> None:
    Path("own_program.py").write_text(
        "import dspy\n"
        "program = dspy.Predict('task -> answer')\n"
        "def not_one():\n    from optimizer import locate_solve\n    return locate_solve()\n"
    )
    given = from_dspy(dspy.Predict("task -> answer"))
    given.with_config(given.default_config("sim/birch"), []).save("bare.yaml")
    Path("sums.jsonl").write_text(
        "\n".join(json.dumps({"task": f"Compute {n} + 2", "answer": str(n + 2)}) for n in range(4))
    )
    run = ["run", "bare.yaml", "--input", "task=Compute 3 + 4"]
    assert main(run) == 2
    assert "--program module:object on the command line" in capsys.readouterr().err
    assert main([*run, "--program", "own_program:program"]) == 0
    assert json.loads(capsys.readouterr().out) == {"answer": "7"}
    evaluate = ["evaluate", "bare.yaml", "sums.jsonl", "--program", "own_program:program"]
    assert main([*evaluate, "--min-score", "1"]) == 0
    assert capsys.readouterr().out.startswith("Predict: 100.0%")
    for program, message in (
        ("own_program:not_one", "must be a DSPy program, but is a pipeline"),
        ("own_program.py", "--program must be `module:object`, such as own_program:program"),
    ):
        assert main([*run, "--program", program]) == 2
        assert message in capsys.readouterr().err
    assert main(["evaluate", "own_program:not_one", *evaluate[2:]]) == 2
    assert "--program is for pipelines in YAML" in capsys.readouterr().err


def test_a_row_of_a_file_reaches_the_program_as_an_image(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(".")
    Path("looking.py").write_text(
        "import dspy\n"
        "class Look(dspy.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.look = dspy.Predict('image: dspy.Image -> answer')\n"
        "    def forward(self, image):\n"
        "        self.look(image=image)\n"
        "        return {'answer': type(image).__name__, 'image': image}\n"
        "program = Look()\n"
    )
    given = from_dspy(import_module("looking").program)
    given.with_config(given.default_config("sim/birch"), []).save("looking.yaml")
    address = "data:image/png;base64,QUJD"
    row = json.dumps({"image": address, "answer": "Image"})
    Path("images.jsonl").write_text(f"{row}\n" * 3)
    run = ["run", "looking.yaml", "--program", "looking:program"]
    assert main([*run, "--input", f"image={address}"]) == 0
    assert json.loads(capsys.readouterr().out) == {"answer": "Image", "image": address}
    assert main([*run, "--dataset", "images.jsonl"]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert json.loads(line)["outputs"] == {"answer": "Image", "image": address}
    arguments = ["looking:program", "images.jsonl", "--models", "sim/birch"]
    assert main(["evaluate", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["score"]["mean"] == 1.0
    tune = ["optimize", *arguments, "--holdout", "0", "--budget-calls", "50", "--json"]
    assert main(tune) == 0
    assert json.loads(capsys.readouterr().out)["baseline"]["score"]["mean"] == 1.0
