"""A result's events for MLflow: figures, artifacts, and the tuned pipeline as a model."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.export import save_dspy_program, save_pyfunc
from optimizer.formatting import percent
from optimizer.results.provenance import plain_yaml, tuned_yaml
from optimizer.results.report import write_report
from optimizer.results.report.svg import standalone
from optimizer.results.summary_text import summary_text
from optimizer.search.records.module_score import module_score_rows
from optimizer.search.records.trial import Trial, flat_config
from optimizer.tracking.events import Event, event
from pipelines import PipelineError
from pipelines.adapters.dspy_programs import DSPyPipeline
from pipelines.gateway.secrets import redacted

if TYPE_CHECKING:
    import pandas as pd

    from evaluators.metrics.judge_agreement import JudgeAgreement
    from optimizer.results.result import HeldOut, Result

logger = logging.getLogger(__name__)

EXAMPLES = "examples.json"
"""The artifact with a row per held-out example; its tag makes MLflow show it as a table."""


def file_events(result: Result, folder: Path) -> list[Event]:
    """Write the result's files below `folder`, and return the events that log them."""
    try:
        yaml: str | None = tuned_yaml(result)
    except PipelineError as error:  # a function can't be imported by name
        yaml, problem = None, error
    _write_artifacts(result, yaml, folder / "artifacts")
    events = [event("artifacts", folder="artifacts")]
    try:
        if yaml is not None:
            save_pyfunc(yaml, folder / "model", example_inputs=result.example_inputs)
        elif isinstance(result.pipeline, DSPyPipeline):
            program, example = result.pipeline, result.example_inputs
            save_dspy_program(program, folder / "model", example_inputs=example)
        else:
            raise problem
    except PipelineError as error:
        logger.warning("the tuned pipeline is not logged as a model: %s", error)
        return events
    tags = {"pipeline": result.pipeline.name, "score": percent(result.score.mean)}
    params = flat_config(result.config)
    return [*events, event("model", folder="model", name="tuned", params=params, tags=tags)]


def final_figures(result: Result) -> Event:
    """Final allocation as params, final figures as `final/...` metrics."""
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
    if result.judge is not None:
        metrics |= _judge(result.judge)
    tags = {
        "measured_on": "held-out examples" if result.held_out else "search examples",
        "improved": result.improved,
        "diagnoser/model": result.diagnoser_model,
        "mlflow.note.content": f"```\n{summary_text(result)}```",
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


def _judge(judge: JudgeAgreement) -> dict[str, float | None]:
    return {
        "judge/labels": float(judge.labels),
        "judge/agreement": judge.agreement,
        "judge/kappa": judge.kappa,
        "judge/correlation": judge.correlation,
        "judge/slope": judge.slope,
        "judge/offset": judge.offset,
    }


def _write_artifacts(result: Result, yaml: str | None, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = yaml if yaml is not None else plain_yaml({"config": result.config.model_dump()})
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    tables = {
        "trials": [_plain(trial) for trial in result.trials_],
        "module_scores": module_score_rows(result.module_scores_, result.diagnoser_model),
        "probes": [dataclasses.asdict(probe) for probe in result.probes_],
    }
    for name, rows in tables.items():
        text = json.dumps(rows, indent=1, default=str)
        (folder / f"{name}.json").write_text(redacted(text), encoding="utf-8")
    write_report(result, folder / "report.html")
    text = redacted(examples_table(result.examples))
    (folder / EXAMPLES).write_text(text, encoding="utf-8")
    for name, drawn in result.plots.items():
        (folder / f"{name}.svg").write_text(standalone(drawn), encoding="utf-8")


def examples_table(examples: pd.DataFrame) -> str:
    """As `MlflowClient.log_table` writes it; values that JSON has no form for are texts."""
    table = examples.reset_index()
    rows = table.astype(object).where(table.notna(), None)
    split = {"columns": list(table.columns), "data": rows.to_numpy().tolist()}
    return json.dumps(split, default=str)


def _plain(trial: Trial) -> dict[str, Any]:
    config, score = trial.config.model_dump(mode="json"), trial.score
    return {**vars(trial), "config": config, "score": score and dataclasses.asdict(score)}
