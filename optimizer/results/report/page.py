"""Fills the page's template."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.formatting import ui_command
from optimizer.results import summary
from optimizer.results.decision import decision
from optimizer.results.examples import failures_frame
from optimizer.results.prompt_changes import prompt_changes
from optimizer.results.provenance import provenance
from optimizer.results.report import trial_rows
from optimizer.results.report.example_rows import ExamplePage
from optimizer.results.report.figures import lettered
from optimizer.results.report.templates import templates
from optimizer.search.records.trial import flat_config, last_trials
from pipelines.gateway.secrets import redactor
from pipelines.modules.signature import signature_text
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    from optimizer.results.result import Result

_MOST_FAILURES = 100


def write_report(result: Result, path: str | Path) -> None:
    """Write the page; it needs no other file and no network."""
    from markupsafe import Markup  # comes with Jinja2

    redact = redactor()
    environment = templates(redact)
    script = environment.get_template("script.js").render()
    trials = result.trials_
    page = environment.get_template("page.html").render(
        result=result,
        # the page's content security policy lets its own script run, and no other
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        decision=decision(result),
        measured_on=summary.measured_on(result),
        cautions=summary.cautions(result),
        finalists=summary.finalists_table(result),
        verdict=list(summary.verdict_lines(result)),
        patterns=summary.patterns_table(result) if result.patterns_ else None,
        figures={name: Markup(drawn) for name, drawn in result.plots.items()},
        modules=list(_modules(result)),
        front=[
            (letter, point, *summary.point_cells(point))
            for letter, point in lettered(result.points)
        ],
        prompts=list(prompt_changes(result)),
        spent={
            "By purpose": trial_rows.spent_by_purpose(result),
            "By stage": trial_rows.spent_by_stage(result),
        },
        paid_now=summary.paid_now(result),
        examples=ExamplePage(result),
        failed_runs=failures_frame(result.examples_).head(_MOST_FAILURES).to_dict("records"),
        failure_kinds=_failure_kinds(result),
        tried=dict.fromkeys(label for trial in trials for label in trial.config.labels),
        best_path=trial_rows.best_path(trials, result.config),
        branches=trial_rows.branches(trials),
        beside_trials=summary.probes_lines(result),
        diagnoser=(summary.diagnoser_title(result), summary.diagnoser_lines(result)),
        judge=summary.judge_lines(result),
        provenance=provenance(result),
        ui_command=ui_command(result.tracking_uri),
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(redact(page).encode("utf-8", "replace"))  # a reply may hold surrogates


def summary_html(result: Result) -> str:
    """The summary as HTML, for notebooks."""
    redact = redactor()
    template = templates(redact).get_template("summary.html")
    return redact(template.render(sections=summary.sections(result)))


def _modules(result: Result) -> Iterator[dict[str, Any]]:
    """Each module, its knobs before and after."""
    for name in result.config.modules:
        module = result.pipeline.module(name)
        before, after = (_knobs(config, name) for config in (result.began, result.config))
        rows = [(k, before.get(k, "as given"), after.get(k, "as given")) for k in before | after]
        yield {"name": name, "signature": signature_text(module.signature), "knobs": rows}


def _knobs(config: PipelineConfig, name: str) -> dict[str, str]:
    flat = flat_config(PipelineConfig(modules={name: config.modules[name]}))
    return {knob.removeprefix(f"{name}."): str(value) for knob, value in flat.items()}


def _failure_kinds(result: Result) -> list[tuple[str, int]]:
    """How often each kind of failure occurred to all configs, the most frequent first."""
    kinds: Counter[str] = Counter()
    for trial in last_trials(result.trials_):
        kinds.update(trial.failures)  # a config's last trial has all of its failures
        kinds.update(trial.members_failed)
    return kinds.most_common()
