"""Several pipelines in one `optimize`: the best is tuned, and the first is the baseline."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from optimizer.loop import optimize
from optimizer.results.result import Result
from pipelines import Module, Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.patterns import locate_solve, self_refine
from pipelines.providers.simulated import simulated_dataset
from search_spaces import SearchSpace
from tests.optimizer.runs import MODELS, counting_server, outcome, served_models, tune

ROWS = simulated_dataset("locate_solve", 40, rows=4)
DIRECT = Pipeline("direct", [Module("solve", "table, question -> answer")])
THINKING = Pipeline(
    "thinking", [Module("solve", "table, question -> answer", strategy="chain_of_thought")]
)
ALL = [DIRECT, THINKING, locate_solve()]


def race(pipelines: Any = ALL, rows: Any = ROWS, **arguments: Any) -> Result:
    return tune(rows, pipeline=pipelines, **{"diagnoser": None, **arguments})


@pytest.fixture(scope="module")
def raced() -> Result:
    return race()


def test_the_pipeline_that_only_a_mix_of_models_makes_good_is_tuned(raced: Result) -> None:
    assert raced.pipeline.name == "locate-solve"
    assert raced.config.allocation == {
        "locate": ("sim/alder",),
        "solve_locate_solve": ("sim/birch",),
    }
    assert list(raced.baseline_config.modules) == ["solve"]
    assert raced.improved
    answers = [raced.pipeline(table=r["table"], question=r["question"]).answer for r in ROWS[:3]]
    assert answers == [r["answer"] for r in ROWS[:3]]


def test_baseline_is_the_first_pipeline_on_held_out_examples(raced: Result) -> None:
    alone = tune(ROWS, MODELS[:1], pipeline=DIRECT, diagnoser=None)
    assert raced.baseline == alone.baseline
    assert set(raced.examples["baseline_score"]) <= {0.0, 1.0}


def test_the_result_says_which_pipelines_were_raced_and_what_each_cost(raced: Result) -> None:
    table = raced.patterns.set_index("pattern")
    assert dict(table["decision"]) == {
        "direct": "baseline",
        "thinking": "eliminated",
        "locate-solve": "searched",
    }
    assert table["examples"]["direct"] == table["examples"]["locate-solve"] == 28
    assert table["examples"]["thinking"] < 28
    assert table["score"]["locate-solve"] > table["score"]["direct"]
    assert 0 < table["usd"].sum() <= raced.spent.usd
    text = str(raced)
    assert text.startswith("locate-solve in place of direct: +")
    assert "Pipelines raced" in text
    assert "pipeline  direct -> locate-solve with locate=sim/alder" in text
    assert sorted(raced.trials["number"]) == list(range(len(raced.trials)))


def test_it_is_saved_and_reported_as_any_other(raced: Result, tmp_path: Path) -> None:
    raced.save(tmp_path / "tuned.yaml")
    loaded = Pipeline.load(tmp_path / "tuned.yaml")
    assert loaded.config == raced.config
    raced.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Pipelines raced" in page


def test_the_first_keeps_its_place_unless_another_one_is_shown_to_be_better() -> None:
    twin = Pipeline("twin", [Module("solve", "table, question -> answer", temperature=0.0)])
    result = race([locate_solve(), twin])
    assert result.pipeline.name == "locate-solve"
    assert list(result.config.modules) == ["locate", "solve"]
    assert result.start_config is None
    alone = tune(ROWS, pipeline=locate_solve(), diagnoser=None)
    assert result.config == alone.config
    assert result.score == alone.score


def test_a_search_choice_below_the_first_pipeline_is_withdrawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("optimizer.results.conclusion.is_withdrawn", lambda gain: True)
    result = race()
    assert result.withdrawn is not None
    assert result.withdrawn.pipeline.name == "locate-solve"
    assert result.pipeline.name == "direct"
    assert result.config == result.baseline_config
    assert "Kept the pipeline as given" in str(result)


def test_concurrency_changes_nothing_and_a_second_run_pays_nothing(tmp_path: Path) -> None:
    with contextlib.closing(Gateway(tmp_path, retries=1, backoff_s=0.001)) as gateway:
        first = race(gateway=gateway, concurrency=1)
        again = race(gateway=gateway, concurrency=7)
    assert outcome(first) == outcome(again)
    assert again.patterns_ == first.patterns_
    assert again.spent.paid_now_calls == 0


@pytest.mark.parametrize("calls", [75, 120, 200, 400])
def test_no_cap_is_exceeded_and_the_result_never_misses_its_holdout(calls: int) -> None:
    with counting_server() as server:
        result = race(models=served_models(server), budget=Budget(calls=calls))
        assert server.requests <= calls
    assert result.held_out
    assert result.tuned_figures.examples == 12
    assert result.spent.calls <= calls


def test_a_budget_that_ends_the_race_leaves_the_first_pipeline() -> None:
    result = race(budget=Budget(calls=60))
    assert result.pipeline.name == "direct"


@pytest.mark.parametrize("objective", ["pareto", "within", "limits"])
def test_other_objectives_race_pipelines_too(objective: str) -> None:
    from evaluators.objective import Objective

    given: Any = {
        "pareto": "pareto",
        "within": Objective(within=0.05),
        "limits": Objective(max_cost_usd=0.0001),
    }[objective]
    result = race(objective=given)
    if objective == "limits":
        assert result.tuned_figures.usd_per_example <= 0.0001
    else:
        assert result.pipeline.name == "locate-solve"
    assert str(result)


def test_search_space_by_module_goes_to_the_pipelines_that_have_it() -> None:
    space = SearchSpace(models={"locate": ("sim/alder",)}, temperature={"solve": (0.0,)})
    result = race([DIRECT, locate_solve()], search_space=space)
    tried = {
        t.config.modules["locate"].models for t in result.trials_ if "locate" in t.config.modules
    }
    assert tried == {("sim/rowan",), ("sim/alder",)} or tried == {("sim/alder",)}


def test_the_run_in_mlflow_has_all_pipelines(default_store: str) -> None:
    result = race(tracked=True)
    assert result.run_id is not None
    client = MlflowClient(default_store)
    run = client.get_run(result.run_id)
    assert run.data.params["patterns"] == "direct, thinking, locate-solve"
    table = result.patterns.set_index("pattern")
    logged = run.data.metrics["pattern/locate-solve/score"]
    assert logged == pytest.approx(table["score"]["locate-solve"])
    children = client.search_runs(
        [run.info.experiment_id], f"tags.mlflow.parentRunId = '{result.run_id}'"
    )
    assert len(children) == len(result.trials_)
    assert {"solve.model", "locate.model"} <= {
        name for each in children for name in each.data.params
    }
    assert "report.html" in {each.path for each in client.list_artifacts(result.run_id)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([DIRECT, DIRECT], "distinct names, but two are 'direct'"),
        ([DIRECT, Pipeline("other", [Module("solve", "question -> reply")])], "same outputs"),
        ([DIRECT, "thinking"], "but got 'thinking'"),
        ([DIRECT, self_refine("picture -> answer")], "'picture'"),
        ([Module("solve", "question -> answer")], "has a list of modules"),
    ],
)
def test_bad_lists_are_refused_at_the_door(given: Any, said: str) -> None:
    with pytest.raises(ValueError, match="pipeline") as raised:
        race(given)
    assert said in "\n".join([str(raised.value), *getattr(raised.value, "__notes__", [])])


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(ValueError, match="but got an empty list"):
        optimize([], ROWS, MODELS)


def test_programs_of_dspy_go_alone() -> None:
    import dspy

    with pytest.raises(ValueError, match="DSPy programs and functions go alone"):
        race([DIRECT, dspy.Predict("table, question -> answer")])


def test_misspelt_modules_and_earlier_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'loctae' is a module of none of the pipelines"):
        race(search_space=SearchSpace(models={"loctae": ("sim/alder",)}))
    with pytest.raises(ValueError, match="start goes on with one pipeline"):
        race(start=tmp_path / "tuned.yaml")
    clash = [
        Pipeline(name, DIRECT.modules, models=[Model(f"sim/{name}", "fast")])
        for name in ("alder", "birch")
    ]
    with pytest.raises(ValueError, match="a label must stand for one model, but 'fast'"):
        race(clash, models=None)
