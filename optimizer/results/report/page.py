"""Fills the page's template. Everything a user or a model wrote is escaped."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.formatting import counted, dollars, percent, percent_interval, seconds
from optimizer.results import summary
from optimizer.results.lineage import best_path
from optimizer.results.prompt_changes import prompt_changes
from optimizer.results.provenance import provenance
from optimizer.search.records.trial import Trial, config_text, shortened
from pipelines.llms.secrets import redacted
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    import jinja2

    from optimizer.results.result import Result


def write_report(result: Result, path: str | Path) -> None:
    """Write the page; it needs no other file and no network."""
    page = _templates().get_template("page.html").render(
        **_content(result),
        plots={name: base64.b64encode(png).decode() for name, png in result.plots.items()},
        trials=[_trial(trial, result.baseline_config) for trial in result.trials_],
        best_path=best_path(result.trials_, result.config),
        step=_step,
        probes=_probes(result),
        failures=_failures(result),
        prompts=list(prompt_changes(result)),
        provenance=provenance(result),
        overview=result.pipeline.describe(),
    )  # fmt: skip
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(redacted(page), encoding="utf-8")


def summary_html(result: Result) -> str:
    """The summary as HTML, for notebooks."""
    return redacted(_templates().get_template("summary.html").render(**_content(result)))


def _content(result: Result) -> dict[str, Any]:
    return {
        "result": result,
        "measured_on": summary.measured_on(result),
        "cautions": summary.cautions(result),
        "figures": summary.figures(result),
        "verdict": summary.verdict(result),
        "changes": summary.changes(result),
        "purposes": summary.purposes(result),
        "paid_now": summary.paid_now(result),
        "beside_trials": summary.probes_line(result),
        "diagnoser_title": summary.diagnoser_title(result),
        "diagnoser": summary.diagnoser_lines(result),
        "judge": summary.judge_lines(result),
        "points": summary.operating_points(result),
    }


def _trial(trial: Trial, baseline: PipelineConfig) -> dict[str, str]:
    return {
        "number": str(trial.number),
        "stage": trial.stage,
        "turn": str(trial.turn),
        "base": "" if trial.base is None else str(trial.base),
        "status": trial.status.replace("_", " "),
        "score": percent(trial.score.mean) if trial.score else "n/a",
        "interval": percent_interval(trial.score) if trial.score else "",
        "examples": str(trial.examples),
        "failures": ", ".join(f"{n} {kind}" for kind, n in trial.failures.items()),
        "usd": dollars(trial.usd_per_example),
        "latency": seconds(trial.latency_s),
        "calls": f"{trial.nominal_calls:,}",
        "allocation": "; ".join((config_text(trial.config), *_prompts(baseline, trial.config))),
        "modules": "; ".join(
            f"{module} {dollars(usd)}, {seconds(trial.seconds_by_module[module])}"
            for module, usd in trial.usd_by_module.items()
        ),
        "detail": shortened(trial.detail, 300),
    }


def _step(trial: Trial) -> dict[str, str]:
    """One trial in the lineage."""
    again = "more examples" if trial.base is not None else "the pipeline as given"
    return {
        "name": f"{trial.number} {trial.stage}",
        "changed": shortened(trial.changed, 300) or again,
        "score": percent(trial.score.mean) if trial.score else "n/a",
        "seen": f"on {counted(trial.examples, 'example')}, {trial.status.replace('_', ' ')}",
    }


def _probes(result: Result) -> list[dict[str, str]]:
    return [
        {
            "kind": probe.kind,
            "turn": str(probe.turn),
            "base": "" if probe.base is None else str(probe.base),
            "module": probe.module,
            "model": probe.model,
            "examples": str(probe.examples),
            "score": "n/a" if probe.score is None else f"{probe.score:.3f}",
            "usd": dollars(probe.usd),
            "detail": shortened(probe.detail, 300),
        }
        for probe in result.probes_
    ]


def _prompts(before: PipelineConfig, after: PipelineConfig) -> Iterator[str]:
    """The beginnings of prompts that are not the given ones."""
    for module, knob, _, new in before.differences(after):
        if knob == "members":
            for place, own in enumerate(new):
                yield from _prompt(f"{module}.members.{place}", own)
        else:
            yield from _prompt(module, {knob: new})


def _prompt(name: str, knobs: Mapping[str, Any]) -> Iterator[str]:
    if "instructions" in knobs:
        yield f"{name} told “{shortened(' '.join(str(knobs['instructions']).split()), 80)}”"
    if "demos" in knobs:
        yield f"{name} shown {counted(len(knobs['demos']), 'demo')}"


def _failures(result: Result) -> list[tuple[str, int]]:
    """How often each kind of failure occurred to all configs, the most frequent first."""
    kinds: Counter[str] = Counter()
    for trial in {trial.config.key: trial for trial in result.trials_}.values():
        kinds.update(trial.failures)  # a config's last trial has all that befell it
        kinds.update(trial.members_failed)
    return kinds.most_common()


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    import jinja2  # comes with mlflow and litellm

    folder = resources.files("optimizer.results.report") / "templates"
    sources = {name: (folder / name).read_text("utf-8") for name in ("page.html", "summary.html")}
    return jinja2.Environment(
        loader=jinja2.DictLoader(sources),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
