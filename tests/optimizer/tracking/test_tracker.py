"""What a run leaves in MLflow, in a real SQLite store, and what happens while it is away."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from optimizer.results.result import Result
from optimizer.tracking import Tracker, delivery, tracker
from optimizer.tracking.writer import EventWriter
from pipelines import Module, Pipeline
from pipelines.gateway.gateway import default_cache_folder
from tests.launching import run_python
from tests.optimizer import runs
from tests.optimizer.made import (
    make_config,
    make_four_examples,
    make_pipeline,
    make_result,
    make_trial,
)
from tests.optimizer.runs import MODELS, Untracked, tune


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def _runs(uri: str, experiment: str = "locate-solve") -> tuple[Any, list[Any]]:
    """The parent run and its children in the order of trials."""
    client = _client(uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(runs) - 1
    return parent, sorted(children, key=lambda run: int(run.data.tags["trial"]))


def _models(client: Any, run: Any) -> dict[str, Any]:
    """The models that hang on a run, by name."""
    models = [client.get_logged_model(each.model_id) for each in run.outputs.model_outputs]
    return {model.name: model for model in models}


def _track(result: Result) -> Tracker:
    """A whole run."""
    tracked = Tracker.start(
        "locate-solve", None, {"seed": 0}, {"search": "ab" * 32, "holdout": "cd" * 32}
    )
    for trial in result.trials_:
        tracked.record(trial)
        tracked.best(trial.nominal_calls, trial.score.mean if trial.score else 0.0)
    for _, scores in groupby(result.module_scores_, lambda score: score.turn):
        tracked.module_scores(list(scores), result.diagnoser_model)
    located = replace(result, run_id=tracked.run_id, tracking_uri=tracked.tracking_uri)
    tracked.finish(located)
    return tracked


def _unlogged() -> list[Path]:
    folder = default_cache_folder() / "unlogged"
    return sorted(folder.iterdir()) if folder.exists() else []


def test_a_run_is_one_parent_with_a_child_per_trial(default_store: str, result: Result) -> None:
    environment = dict(os.environ)
    tracked = _track(result)
    assert dict(os.environ) == environment
    parent, children = _runs(default_store)
    assert parent.info.run_id == tracked.run_id
    assert parent.info.status == "FINISHED"
    assert parent.data.params["seed"] == "0"
    assert parent.data.params["final/solve.model"] == "openai/large"
    assert parent.data.metrics["final/score"] == pytest.approx(0.883)
    assert parent.data.metrics["final/gain_low"] == pytest.approx(0.33)
    assert parent.data.metrics["spent_calls/diagnoser"] == 40
    assert "88.3%" in parent.data.tags["mlflow.note.content"]
    inputs = {each.tags[0].value: each.dataset.digest for each in parent.inputs.dataset_inputs}
    assert inputs == {"training": ("ab" * 32)[:36], "eval": ("cd" * 32)[:36]}
    history = _client(default_store).get_metric_history(parent.info.run_id, "best_score")
    assert (history[0].step, history[0].value) == (80, 0.42)
    assert len(history) == 5
    assert _unlogged() == []

    assert [run.info.status for run in children] == [*["FINISHED"] * 3, "FAILED", "FINISHED"]
    tuned = children[4]
    assert tuned.data.params == {"locate.model": "openai/small", "solve.model": "openai/large"}
    assert {k: tuned.data.metrics[k] for k in ("score", "score_low", "score_high")} == {
        "score": 0.9, "score_low": 0.8, "score_high": 1.0,
    }  # fmt: skip
    assert tuned.data.metrics["cost_usd"] == 0.005
    assert (tuned.data.metrics["latency_s"], tuned.data.metrics["latency_p95_s"]) == (1.5, 2.5)
    assert tuned.data.metrics["calls"] == 2.0
    assert (tuned.data.tags["stage"], tuned.data.tags["status"]) == ("allocation", "complete")
    assert tuned.info.run_name == "4 allocation: solve.model: openai/small -> openai/large"
    assert tuned.info.end_time - tuned.info.start_time == 2000
    assert children[3].data.tags["detail"] == "locate: the server answers 500"


def test_an_experiment_has_a_view_with_the_score_first_which_stays_the_users(
    default_store: str, result: Result
) -> None:
    parent, _ = _runs(_track(result).tracking_uri)
    client, where = _client(default_store), parent.info.experiment_id
    tag = "mlflow.sharedViewState.compound-optimizer"
    view = json.loads(client.get_experiment(where).tags[tag])
    assert (type(view["name"]), type(view["createdAt"])) == (str, int)  # else MLflow lists it not
    state = json.loads(view["state"])
    first, *rest = state["selectedColumns"]
    assert first == "metrics.`score`"
    (shown,) = client.search_runs(where, "tags.trial = '4'", order_by=[state["orderByKey"]])
    has = {"metrics": shown.data.metrics, "tags": shown.data.tags}
    for kind, _, name in (column.partition(".") for column in (first, *rest)):
        assert name.strip("`") in has[kind]
    client.set_experiment_tag(where, tag, "another")
    _track(result)
    assert client.get_experiment(where).tags[tag] == "another"


def test_artifacts_and_the_model_hang_on_the_parent(default_store: str, result: Result) -> None:
    tracked = _track(result)
    client = _client(default_store)
    run_id = str(tracked.run_id)
    names = {file.path for file in client.list_artifacts(run_id)}
    assert names == {
        "config.yaml", "trials.json", "module_scores.json", "probes.json", "report.html",
        "quality_against_calls.svg", "cost_and_quality.svg", "held_out.svg", "module_scores.svg",
        "latency_and_quality.svg", "pipeline.svg", "examples.json", "optuna.log",
    }  # fmt: skip
    uri = client.get_run(run_id).info.artifact_uri
    artifacts = Path(uri.removeprefix("file://"))
    assert artifacts.is_relative_to(Path("mlruns/artifacts").resolve())
    tuned = Pipeline.load(artifacts / "config.yaml")
    assert tuned.config == result.config
    assert tuned.provenance["mlflow_run"] == run_id
    trials = json.loads((artifacts / "trials.json").read_text())
    assert [trial["score"] and trial["score"]["mean"] for trial in trials] == [
        0.42, 0.44, 0.21, None, 0.9,
    ]  # fmt: skip
    assert trials[4]["usd_by_module"] == {"locate": 0.001, "solve": 0.004}
    scores = json.loads((artifacts / "module_scores.json").read_text())
    assert [(score["module"], score["turn"]) for score in scores[3:5]] == [
        ("solve", 1),
        ("solve", 2),
    ]
    assert scores[1]["measured"] is None
    assert {score["diagnoser"] for score in scores} == {"openai/large"}
    probes = json.loads((artifacts / "probes.json").read_text())
    assert [probe["kind"] for probe in probes] == ["module", "prompt"]
    models = _models(client, client.get_run(run_id))
    assert {str(model.status) for model in models.values()} == {"READY"}
    assert models["tuned"].source_run_id == run_id
    assert models["tuned"].params["solve.model"] == "openai/large"
    scores = {
        name: {m.dataset_name: m.value for m in model.metrics if m.key == "score"}
        for name, model in models.items()
    }
    assert scores == {
        "baseline": {"holdout": 0.417}, "single_model": {"holdout": 0.441},
        "tuned": {"holdout": 0.883},
    }  # fmt: skip
    assert client.get_run(run_id).data.metrics["score"] == 0.883


def test_traces_of_single_examples_hang_on_the_finalists(default_store: str) -> None:
    tracked = _track(make_result(examples_=make_four_examples()))
    client = _client(default_store)
    run = client.get_run(tracked.run_id)
    traces = client.search_traces(
        locations=[run.info.experiment_id], model_id=_models(client, run)["baseline"].model_id
    )
    by_row = {trace.info.tags["row"]: trace for trace in traces}
    assert sorted(by_row) == ["0", "1", "2", "3"]
    failed = by_row["0"]
    assert str(failed.info.state) == "ERROR"
    assert failed.info.tags["change"] == "gained"
    whole, solve = failed.data.spans
    assert (whole.inputs, whole.outputs) == ({"task": "0 + 2"}, None)
    assert (solve.name, solve.parent_id) == ("solve", whole.span_id)
    assert solve.get_attribute("mlflow.replies") == ["Four!"]
    assert by_row["1"].data.spans[0].outputs == {"answer": "4"}


def test_a_model_that_was_half_logged_is_finished_and_not_made_again(
    default_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_trace = EventWriter._log_trace
    failed: list[bool] = []

    def flaky(*arguments: Any) -> None:
        log_trace(*arguments)
        if not failed:
            failed.append(True)
            raise ConnectionError("the store went away")

    monkeypatch.setattr(EventWriter, "_log_trace", flaky)
    monkeypatch.setattr(delivery, "RETRY_S", 0.01)
    monkeypatch.setattr(delivery.Delivery, "_note", _never_give_up)
    tracked = _track(make_result(examples_=make_four_examples()))
    client = _client(default_store)
    run = client.get_run(tracked.run_id)
    models = client.search_logged_models([run.info.experiment_id])
    assert sorted(model.name for model in models) == ["baseline", "single_model", "tuned"]
    assert len(client.search_traces(locations=[run.info.experiment_id])) == 8


def _never_give_up(self: delivery.Delivery, problem: str | None) -> None:
    self._problem = problem


def test_module_scores_are_curves_over_the_turns(default_store: str, result: Result) -> None:
    tracked = _track(result)
    client = _client(default_store)
    key = "module_score/solve/openai/large"
    history = client.get_metric_history(tracked.run_id, key)
    assert [(point.step, point.value) for point in history] == [(1, 0.8), (2, 0.95)]
    parent, children = _runs(default_store)
    assert parent.data.metrics["module_measured/locate/openai/small"] == 0.42
    assert parent.data.tags["diagnoser/model"] == "openai/large"
    assert "base" not in children[0].data.tags
    lineage = {key: children[4].data.tags[key] for key in ("turn", "base", "changed")}
    changed = "solve.model: openai/small -> openai/large"
    assert lineage == {"turn": "1", "base": "0", "changed": changed}
    assert children[4].data.metrics["cost_usd/solve"] == 0.004


def test_the_users_own_run_and_settings_are_left_alone(
    default_store: str, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_store)
    with mlflow.start_run() as own:
        _track(result)
        active = mlflow.active_run()
        assert active is not None
        assert active.info.run_id == own.info.run_id
    assert _client(default_store).get_run(own.info.run_id).data.metrics == {}
    assert mlflow.active_run() is None


def test_two_runs_share_an_experiment_and_a_deleted_one_comes_back(default_store: str) -> None:
    for _ in range(2):
        tracked = Tracker.start("locate-solve", "my experiment")
        tracked.fail("not ended")
        client = _client(default_store)
        experiment = client.get_experiment_by_name("my experiment")
        assert experiment.lifecycle_stage == "active"
        client.delete_experiment(experiment.experiment_id)
    client.restore_experiment(experiment.experiment_id)
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 2
    assert {run.info.status for run in runs} == {"FAILED"}
    assert tracked.run_id in {run.info.run_id for run in runs}


def test_an_interrupted_run_is_killed_and_says_why(default_store: str) -> None:
    tracked = Tracker.start("locate-solve")
    tracked.record(make_trial(0))
    tracked.fail("interrupted", "KILLED")
    tracked.fail("a second time changes nothing")
    parent, children = _runs(default_store)
    assert parent.info.status == "KILLED"
    assert parent.data.tags["stopped"] == "interrupted"
    assert len(children) == 1


def test_a_prompt_that_a_version_says_already_adds_none(default_store: str) -> None:
    for _ in range(2):
        tracked = Tracker.start("locate-solve")
        for text in ("Solve it.", "Solve it step by step."):
            model = {"model_name": "openai/small", "temperature": 0.7}
            tracked.prompt("locate-solve", "solve", text, "prompts", model)
        tracked.fail("interrupted", "KILLED")
    versions = _client(default_store).search_prompt_versions("locate-solve.solve")
    templates = sorted(version.template for version in versions)
    assert templates == ["Solve it step by step.", "Solve it."]
    assert {version.model_config["temperature"] for version in versions} == {0.7}
    linked = json.loads(
        _client(default_store).get_run(tracked.run_id).data.tags["mlflow.linkedPrompts"]
    )
    assert sorted(prompt["version"] for prompt in linked) == ["1", "2"]


def test_files_of_a_run_are_there_before_it_ends_and_after_it_failed(default_store: str) -> None:
    tracked = Tracker.start("locate-solve", files={"search_space.json": "{}"})
    tracked.fail("interrupted", "KILLED", {"config.yaml": "modules: {}"})
    client = _client(default_store)
    names = {file.path for file in client.list_artifacts(str(tracked.run_id))}
    assert names == {"search_space.json", "config.yaml"}
    assert _unlogged() == []


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (OSError, "FAILED")])
def test_a_search_that_does_not_end_leaves_its_best_so_far(
    error: type[BaseException], status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    class Failing(Untracked):
        @classmethod
        def start(cls, _: str, __: Any, params: Any, ___: Any, files: Any) -> Failing:
            asked.update(params=params, space=json.loads(files["search_space.json"]))
            return cls()

        def record(self, trial: Any = None, **_: Any) -> None:
            if trial.number == 2:
                raise error

        def fail(self, reason: str, status: str, files: dict[str, str]) -> None:
            asked.update(status=status, files=files)

        def best(self, *_: Any) -> None:
            pass

    with patch.object(runs, "Untracked", Failing), pytest.raises(error) as raised:
        tune(diagnoser=None)
    assert asked["params"]["search_space/width"] == '{"locate": [1, 3, 5], "solve": [1, 3, 5]}'
    assert asked["space"]["models"]["solve"] == list(MODELS)
    assert asked["status"] == status
    kept = Pipeline.from_yaml(asked["files"]["config.yaml"])
    assert kept.config is not None
    assert kept.provenance["measured_on"] == "search examples (optimistic)"
    assert kept.provenance["score"]["low"] < kept.provenance["score"]["high"]
    assert "module_scores.json" not in asked["files"], "no module was scored yet"
    interrupted = error is KeyboardInterrupt
    assert ("interrupted. Best so far" in capsys.readouterr().err) is interrupted
    ours = [frame.name for frame in raised.traceback]
    assert ("search" in ours) is not interrupted, "a short traceback tells ctrl-C well enough"


def test_a_search_that_fails_leaves_its_module_scores() -> None:
    files: dict[str, str] = {}

    class Failing(Untracked):
        def module_scores(self, *_: Any) -> None:
            raise OSError

        def fail(self, _: str, __: str, left: dict[str, str]) -> None:
            files.update(left)

    with patch.object(runs, "Untracked", Failing), pytest.raises(OSError):  # noqa: PT011
        tune()
    scores = json.loads(files["module_scores.json"])
    assert {score["module"] for score in scores} == {"locate", "solve"}
    assert {score["model"] for score in scores} == set(MODELS)
    assert all(score["diagnoser"] in MODELS for score in scores)
    assert {probe["model"] for probe in json.loads(files["probes.json"])} == set(MODELS)


def test_more_params_than_mlflow_takes_at_once(default_store: str) -> None:
    params = {f"params {number}": number for number in range(250)}
    Tracker.start("locate-solve", params=params).fail("not ended")
    parent, _ = _runs(default_store)
    assert len(parent.data.params) == 250


def test_what_mlflow_refuses_is_left_out_and_the_rest_goes_in(
    default_store: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracked = Tracker.start("locate-solve", params={"seed": 0})
    _client(default_store).log_param(tracked.run_id, "final/solve.model", "something else")
    tracked.record(make_trial(0))
    tracked.finish(make_result())
    assert "does not take this figures" in caplog.text
    parent, children = _runs(default_store)
    assert parent.info.status == "FINISHED"
    assert len(children) == 1
    assert _unlogged() == []


def test_a_pipeline_that_can_not_be_written_down_still_has_its_run(
    default_store: str, caplog: pytest.LogCaptureFixture
) -> None:
    modules = [
        *make_pipeline().modules,
        Module("cut", "answer -> final", function=lambda answer: 1),
    ]
    _track(make_result(pipeline=Pipeline("locate-solve", modules)))
    assert "can't be loaded" in caplog.text
    parent, _ = _runs(default_store)
    assert parent.info.status == "FINISHED"
    client = _client(default_store)
    tuned = _models(client, parent)["tuned"]
    assert client.list_logged_model_artifacts(tuned.model_id) == []


def test_a_failing_report_costs_no_result(
    default_store: str, result: Result, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no plot today")

    monkeypatch.setattr("optimizer.results.report.write_report", broken)
    _track(result)
    assert "no plot today" in caplog.text
    assert _runs(default_store)[0].info.status == "FINISHED"


def test_a_store_that_can_not_be_written_is_said_once_and_logged_to_later(
    ready_database: Path, result: Result, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    Path("mlruns").write_text("a file stands where the folder should")
    tracked = _track(result)
    assert tracked.run_id is None
    said = [r.getMessage() for r in caplog.records if "the search goes on" in r.getMessage()]
    assert len(said) == 1
    assert f"{Path.cwd()}/mlruns/mlflow.db" in said[0]
    (kept,) = _unlogged()
    assert f"kept in {kept}; the next run that reaches it logs them" in caplog.text

    Path("mlruns").unlink()
    monkeypatch.setattr(tracker, "PATIENCE_S", 300.0)  # a machine may be slow to make a database
    following = Tracker.start("locate-solve", "the next run")
    assert following.run_id
    following.fail("not ended")
    assert _unlogged() == []
    parent, children = _runs(following.store.uri)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["final/score"] == pytest.approx(0.883)
    assert [run.data.tags["trial"] for run in children] == list("01234")
    assert parent.outputs.model_outputs


def test_a_store_that_comes_back_gets_all_of_this_run(
    ready_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "RETRY_S", 0.05)
    Path("mlruns").write_text("a file stands where the folder should")
    tracked = Tracker.start("locate-solve")
    assert tracked.run_id is None
    tracked.record(make_trial(0))
    Path("mlruns").unlink()
    tracked.record(make_trial(1, config=make_config(temperature=0.5)))
    tracked.fail("enough")
    parent, children = _runs(tracked.store.uri)
    assert parent.info.run_id == tracked.run_id
    assert [run.data.tags["trial"] for run in children] == ["0", "1"]
    assert _unlogged() == []


def test_a_killed_process_leaves_its_run_to_the_next_one(default_store: str) -> None:
    code = (
        "import os, time\n"
        "from optimizer.tracking import Tracker\n"
        "from tests.optimizer.made import make_trial\n"
        "tracked = Tracker.start('locate-solve')\n"
        "assert tracked.run_id\n"
        "tracked.store.__dict__['uri'] = 'http://127.0.0.1:9'\n"  # from now on it is away
        "for number in range(3):\n"
        "    tracked.record(make_trial(number))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = run_python("-c", code)
    assert ended.returncode == -9
    assert len(_unlogged()) == 1
    Tracker.start("locate-solve", "the next run").fail("not ended")
    parent, children = _runs(default_store)
    assert parent.info.status == "KILLED"
    assert [run.data.tags["trial"] for run in children] == ["0", "1", "2"]
    assert _unlogged() == []


def test_an_event_written_twice_is_there_once(default_store: str) -> None:
    """The store took it, but the process never heard so."""
    tracked = Tracker.start("locate-solve")
    assert tracked.run_id
    write, calls = tracked._delivery._writer.write, []

    def deaf(event: Any, journal: Any, *, again: bool) -> None:
        write(event, journal, again=again)
        calls.append(event.kind)
        if calls.count("trial") == 1 and event.kind == "trial":
            raise ConnectionError("no answer")

    tracked._delivery._writer.write = deaf  # type: ignore[assignment]
    tracked.record(make_trial(0))
    tracked.fail("enough")
    Tracker.start("locate-solve", "the next run").fail("not ended")
    parent, children = _runs(default_store)
    assert calls.count("trial") >= 1
    assert [run.data.tags["trial"] for run in children] == ["0"]
    assert parent.info.status == "FAILED"


def test_a_store_that_falls_silent_is_waited_for_once(
    default_store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """MLflow's client goes on asking for minutes: it is not waited for again after `run_id`."""
    monkeypatch.setattr(delivery, "PATIENCE_S", float("inf"))
    monkeypatch.setattr(delivery, "LONGEST_S", float("inf"))
    answer = threading.Event()
    monkeypatch.setattr(EventWriter, "write", lambda *_, **__: answer.wait(60))
    tracked = Tracker.start("locate-solve")
    assert tracked._delivery.run_id(0.01) is None
    monkeypatch.setattr(type(tracked.store), "problem", lambda _: "it is away")
    tracked.fail("enough")
    assert "the next run that reaches it logs them" in caplog.text
    answer.set()
