"""Turns a result into events: figures, artifacts, and the tuned pipeline as a model."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.export import save_pickled, save_pyfunc
from optimizer.formatting import percent
from optimizer.results.provenance import plain_yaml, tuned_yaml
from optimizer.results.report.figures import standalone
from optimizer.results.summary_text import summary_text
from optimizer.search.records.module_score import module_score_rows
from optimizer.search.records.trial import Trial, flat_config
from optimizer.tracking.events import Event, event
from optimizer.tracking.optuna_study import write_study
from pipelines import PipelineError
from pipelines.adapters.dspy_programs import DSPyPipeline
from pipelines.gateway.secrets import plain_json, redactor
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    import pandas as pd

    from optimizer.results.result import HeldOut, Result

logger = logging.getLogger(__name__)

MOST_TRACES = 20
"""On how many examples the traces of each finalist are logged, at some 30 ms each."""

EXAMPLES = "examples.json"
"""The artifact with a row per held-out example; its tag makes MLflow show it as a table."""

STUDY = "optuna.log"
"""The artifact that `optuna-dashboard` opens."""


def file_events(result: Result, folder: Path) -> list[Event]:
    """Write the result's files below `folder`, and return the events that log them."""
    try:
        yaml: str | None = tuned_yaml(result)
    except PipelineError:  # a function can't be imported by name
        yaml = None
    _write_artifacts(result, yaml, folder / "artifacts")
    baseline = _finalist(result, "baseline", result.baseline_config, result.baseline_figures)
    events = [event("artifacts", folder="artifacts"), baseline]
    if result.single_model_figures and result.single_model_label:
        config = result.began.with_single_model(result.single_model_label)
        events.append(_finalist(result, "single_model", config, result.single_model_figures))
    saved = "model"
    try:
        _save_model(result, yaml, folder / saved)
    except PipelineError as error:
        logger.warning("the tuned pipeline's model in MLflow can't be loaded: %s", error)
        saved = ""
    events.append(_finalist(result, "tuned", result.config, result.tuned_figures, folder=saved))
    return events


def _save_model(result: Result, yaml: str | None, folder: Path) -> None:
    """Save it as YAML with our code, or a DSPy program that YAML can't describe as a pickle."""
    pipeline, example = result.pipeline, result.example_inputs
    if isinstance(pipeline, DSPyPipeline) and pipeline.adapter:  # which YAML does not name
        save_pickled(pipeline, folder, example_inputs=example)
        return
    try:
        save_pyfunc(yaml or pipeline.to_yaml(), folder, example_inputs=example)
    except PipelineError:
        if not isinstance(pipeline, DSPyPipeline):
            raise
        save_pickled(pipeline, folder, example_inputs=example)


def _finalist(
    result: Result, name: str, config: PipelineConfig, figures: HeldOut, folder: str = ""
) -> Event:
    """A finalist as a model, with its figures, and its traces on some examples.

    It can be loaded if there is a `folder` with its files.
    """
    return event(
        "model",
        folder=folder,
        name=name,
        params=flat_config(config),
        metrics=_held_out("", figures),
        tags={
            "measured_on": "holdout" if result.held_out else "search",
            "digest": result.holdout_digest if result.held_out else result.dataset_digest,
            "pipeline": result.pipeline.name,
            "score": percent(figures.score.mean),
        },
        step=("baseline", "single_model", "tuned").index(name),
        text=json.dumps(plain_json(list(_traces(result, name)), redactor())),
    )


def _traces(result: Result, finalist: str) -> Iterator[dict[str, Any]]:
    """Runs of a finalist; examples whose score changed, or is missing, come first."""
    first = sorted(result.examples_, key=lambda example: example.change == "same")
    for example in first[:MOST_TRACES]:
        outcome = example.outcomes.get(finalist)
        if outcome is None:
            continue
        trace, failure = outcome.trace, outcome.failure
        yield {
            "name": result.pipeline.name,
            "inputs": dict(example.inputs),
            "outputs": trace.outputs and dict(trace.outputs),
            "seconds": trace.latency_s,
            "failure": failure and f"{failure.kind}: {failure.message}",
            "tags": {"row": example.row, "change": example.change, "score": outcome.score},
            "modules": [
                {
                    "name": step.module,
                    "kind": "LLM" if step.calls else "TOOL",
                    "inputs": dict(step.inputs),
                    "outputs": step.outputs and dict(step.outputs),
                    "began_s": began_s,
                    "seconds": step.latency_s,
                    "failure": step.failure and f"{step.failure.kind}: {step.failure.message}",
                    "attributes": {
                        "models": [call.model for call in step.calls],
                        "replies": [example.replies.get(call.key) for call in step.calls],
                        "usd": step.usd,
                    },
                }
                for step, began_s in trace.timed_steps()
            ],
        }


def final_figures(result: Result) -> Event:
    """The final config as params, the final figures as `final/...` metrics."""
    metrics: dict[str, float | None] = {
        **_held_out("final/", result.tuned_figures),
        **_held_out("final/baseline_", result.baseline_figures),
        **result.gain.named("final/gain"),
        "spent_usd": result.spent.usd,
        "spent_calls": float(result.spent.calls),
        "paid_now_usd": result.spent.paid_now_usd,
        "paid_now_calls": float(result.spent.paid_now_calls),
    }
    if result.single_model_figures is not None:
        metrics |= _held_out("final/single_model_", result.single_model_figures)
    for purpose, spent in result.spent.by_purpose.items():
        metrics[f"spent_usd/{purpose}"] = spent.usd
        metrics[f"spent_calls/{purpose}"] = float(spent.calls)
    for each in result.patterns_:
        if each.score:
            metrics |= each.score.named(f"pattern/{each.pattern}/score")
        metrics[f"pattern/{each.pattern}/usd"] = each.usd
        metrics[f"pattern/{each.pattern}/calls"] = float(each.calls)
    if result.judge is not None:
        for name in ("labels", "agreement", "kappa", "correlation", "slope", "offset"):
            metrics[f"judge/{name}"] = getattr(result.judge, name)
    tags = {
        "measured_on": "held-out examples" if result.held_out else "search examples",
        "improved": result.improved,
        "diagnoser/model": result.diagnoser_model,
        "mlflow.note.content": f"```\n{summary_text(result, shell=True)}```",
        "mlflow.loggedArtifacts": json.dumps([{"path": EXAMPLES, "type": "table"}]),
    }
    params = {f"final/{name}": value for name, value in flat_config(result.config).items()}
    return event("figures", metrics=metrics, params=params, tags=tags)


def _held_out(prefix: str, figures: HeldOut) -> dict[str, float]:
    return {
        **figures.score.named(f"{prefix}score"),
        f"{prefix}examples": float(figures.examples),
        f"{prefix}cost_usd": figures.usd_per_example,
        f"{prefix}latency_s": figures.latency_s,
        f"{prefix}latency_p95_s": figures.latency_p95_s,
    }


def _write_artifacts(result: Result, yaml: str | None, folder: Path) -> None:
    """Write all artifacts; one that can't be written leaves the others."""
    folder.mkdir(parents=True, exist_ok=True)
    redact = redactor()

    def as_json(value: Any) -> str:
        return json.dumps(plain_json(value, redact), indent=1)

    def write_plots(_: Path) -> None:
        for name, drawn in result.plots.items():
            (folder / f"{name}.svg").write_text(standalone(drawn), encoding="utf-8")

    # each writes the file, or returns its text
    writers: dict[str, Callable[[Path], str | None]] = {
        "config.yaml": lambda _: yaml or plain_yaml({"config": result.config.model_dump()}),
        "trials.json": lambda _: as_json([plain_trial(trial) for trial in result.trials_]),
        "module_scores.json": lambda _: as_json(
            module_score_rows(result.module_scores_, result.diagnoser_model)
        ),
        "probes.json": lambda _: as_json([dataclasses.asdict(probe) for probe in result.probes_]),
        EXAMPLES: lambda _: as_json(examples_table(result.examples)),
        "report.html": result.report,
        "plots": write_plots,
        STUDY: lambda path: write_study(result.trials_, result.pipeline.name, path),
    }
    for name, write in writers.items():
        try:
            if (text := write(folder / name)) is not None:
                (folder / name).write_text(text, encoding="utf-8")
        except Exception:  # an unusual value of the user's, or a plot that fails
            logger.warning("%s can't be written for MLflow", name, exc_info=True)


def examples_table(examples: pd.DataFrame) -> dict[str, Any]:
    """As `MlflowClient.log_table` writes it."""
    rows = zip(examples.index, examples.to_numpy(dtype=object).tolist(), strict=True)
    columns = [examples.index.name, *examples.columns]
    return {"columns": columns, "data": [[row, *values] for row, values in rows]}


def plain_trial(trial: Trial) -> dict[str, Any]:
    """The trial as plain data."""
    config, score = trial.config.model_dump(mode="json"), trial.score
    return {**vars(trial), "config": config, "score": score and dataclasses.asdict(score)}
