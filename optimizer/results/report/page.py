"""Fills the page's template. Everything a user or a model wrote is escaped."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.formatting import counted, dollars, percent, percent_interval, seconds
from optimizer.results.prompt_changes import prompt_changes
from optimizer.results.provenance import provenance
from optimizer.results.summary import Table, probes_lines, sections
from optimizer.search.records.config_changes import config_changes
from optimizer.search.records.probe import Probe
from optimizer.search.records.trial import Trial, config_text, last_trials, shortened
from pipelines.gateway.secrets import redacted
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    import jinja2

    from optimizer.results.result import Result

_TRIALS = (
    "#", "turn, stage", "from #", "status", "score", "95% interval", "examples", "$/example",
    "latency", "calls so far", "config, cost by module and example, failures",
)  # fmt: skip
_PROBES = (
    "kind", "turn", "from #", "module", "model", "examples", "rating or score", "dollars", "",
)  # fmt: skip


def write_report(result: Result, path: str | Path) -> None:
    """Write the page; it needs no other file and no network."""
    page = _templates().get_template("page.html").render(
        result=result,
        sections=sections(result),
        plots={name: base64.b64encode(png).decode() for name, png in result.plots.items()},
        trials=Table(_TRIALS, [_trial(trial, result.baseline_config) for trial in result.trials_]),
        best_path=best_path(result.trials_, result.config),
        branches=branches(result.trials_),
        step=_step,
        beside_trials=probes_lines(result),
        probes=Table(_PROBES, [_probe(probe) for probe in result.probes_]),
        failures=Table(("kind", "examples"), _failures(result)),
        prompts=list(prompt_changes(result)),
        provenance=provenance(result),
        overview=result.pipeline.describe(),
    )  # fmt: skip
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(redacted(page), encoding="utf-8")


def summary_html(result: Result) -> str:
    """The summary as HTML, for notebooks."""
    template = _templates().get_template("summary.html")
    return redacted(template.render(sections=sections(result)))


def _trial(trial: Trial, baseline: PipelineConfig) -> tuple[str, ...]:
    by_module = (
        f"{module} {dollars(usd)}, {seconds(trial.seconds_by_module[module])}"
        for module, usd in trial.usd_by_module.items()
    )
    changes = config_changes(baseline, trial.config)
    prompts = (
        f"{c.knob}: {c.new}" for c in changes if c.knob.endswith((".instructions", ".demos"))
    )
    notes = (
        "; ".join((config_text(trial.config), *prompts)),
        "; ".join(by_module),
        ", ".join(f"{n} {kind}" for kind, n in trial.failures.items()),
        shortened(trial.detail, 150),
    )
    return (
        str(trial.number),
        f"{trial.turn} {trial.stage}",
        "" if trial.base is None else str(trial.base),
        trial.status.replace("_", " "),
        percent(trial.score.mean) if trial.score else "n/a",
        percent_interval(trial.score) if trial.score else "",
        str(trial.examples),
        dollars(trial.usd_per_example),
        seconds(trial.latency_s),
        f"{trial.nominal_calls:,}",
        "\n".join(filter(None, notes)),
    )


def branches(trials: Sequence[Trial]) -> dict[int, list[Trial]]:
    """By each trial's number, the trials that departed from it, in the order of their numbers."""
    below: dict[int, list[Trial]] = {trial.number: [] for trial in trials}
    for trial in trials:
        if trial.base in below:
            below[trial.base].append(trial)
    return below


def best_path(trials: Sequence[Trial], tuned: PipelineConfig) -> list[Trial]:
    """The trials from the first to the tuned config's last, each departing from the one before."""
    by_number = {trial.number: trial for trial in trials}
    ran = [trial for trial in trials if trial.status != "failed" and trial.config.key == tuned.key]
    step = max(ran, key=lambda trial: trial.number, default=None)
    path: list[Trial] = []
    while step is not None:
        path.append(step)
        step = None if step.base is None else by_number.get(step.base)
    return path[::-1]


def _step(trial: Trial) -> dict[str, str]:
    """One trial in the lineage."""
    again = "more examples" if trial.base is not None else "the pipeline as given"
    return {
        "name": f"{trial.number} {trial.stage}",
        "changed": shortened(trial.changed, 300) or again,
        "score": percent(trial.score.mean) if trial.score else "n/a",
        "seen": f"on {counted(trial.examples, 'example')}, {trial.status.replace('_', ' ')}",
    }


def _probe(probe: Probe) -> tuple[str, ...]:
    return (
        probe.kind,
        str(probe.turn),
        "" if probe.base is None else str(probe.base),
        probe.module,
        probe.model,
        str(probe.examples),
        "n/a" if probe.score is None else f"{probe.score:.3f}",
        dollars(probe.usd),
        shortened(probe.detail, 300),
    )


def _failures(result: Result) -> list[tuple[str, str]]:
    """How often each kind of failure occurred to all configs, the most frequent first."""
    kinds: Counter[str] = Counter()
    for trial in last_trials(result.trials_):
        kinds.update(trial.failures)  # a config's last trial has all of its failures
        kinds.update(trial.members_failed)
    return [(kind, str(count)) for kind, count in kinds.most_common()]


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    import jinja2  # comes with mlflow and litellm

    folder = resources.files("optimizer.results.report") / "templates"
    sources = {path.name: path.read_text("utf-8") for path in folder.iterdir()}
    return jinja2.Environment(
        loader=jinja2.DictLoader(sources),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
