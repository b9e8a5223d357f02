"""Fills the page's template. Everything a user or a model wrote is escaped, without secrets."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from optimizer.formatting import (
    dollars,
    percent,
    percent_interval,
    points,
    seconds,
    setting,
    ui_command,
)
from optimizer.results.decision import decision
from optimizer.results.examples import failures_frame
from optimizer.results.prompt_changes import prompt_changes
from optimizer.results.provenance import provenance
from optimizer.results.report import trial_rows
from optimizer.results.report.example_rows import ExamplePage
from optimizer.results.report.figures import lettered
from optimizer.results.summary import (
    Table,
    cautions,
    diagnoser_lines,
    diagnoser_title,
    finalists_table,
    judge_lines,
    measured_on,
    paid_now,
    point_cells,
    probes_lines,
    sections,
    verdict_lines,
)
from optimizer.search.records.config_changes import config_changes
from optimizer.search.records.probe import Probe
from optimizer.search.records.trial import flat_config, last_trials
from pipelines.gateway.secrets import redactor
from pipelines.modules.signature import signature_text
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    import jinja2

    from optimizer.results.result import Result

_PROBES = (
    "kind", "turn", "from", "module", "model", "examples", "rating or score", "dollars", "",
)  # fmt: skip
_MOST_FAILURES = 100


def write_report(result: Result, path: str | Path) -> None:
    """Write the page; it needs no other file and no network."""
    from markupsafe import Markup  # comes with Jinja2

    redact = redactor()
    templates = _templates(redact)
    trials = result.trials_
    page = templates.get_template("page.html").render(
        result=result,
        script_hash=_script_hash(templates),
        decision=decision(result),
        measured_on=measured_on(result),
        cautions=cautions(result),
        tiles=list(_tiles(result)),
        finalists=finalists_table(result),
        verdict=list(verdict_lines(result)),
        figures={name: Markup(drawn) for name, drawn in result.plots.items()},
        modules=list(_modules(result)),
        front=list(_front(result)) if len(result.points) > 1 else [],
        prompts=list(prompt_changes(result)),
        by_purpose=_shares(trial_rows.spent_by_purpose(result)),
        by_stage=_shares(trial_rows.spent_by_stage(result)),
        paid_now=paid_now(result),
        examples=ExamplePage(result),
        failed_runs=failures_frame(result.examples_).head(_MOST_FAILURES).to_dict("records"),
        failure_kinds=_failure_kinds(result),
        trials=[trial_rows.trial_row(trial, result.baseline_config) for trial in trials],
        best_path=trial_rows.best_path(trials, result.config),
        branches=trial_rows.branches(trials),
        step=trial_rows.lineage_step,
        beside_trials=probes_lines(result),
        probes=Table(_PROBES, [_probe(probe) for probe in result.probes_]),
        diagnoser=(diagnoser_title(result), diagnoser_lines(result)),
        judge=judge_lines(result),
        facts=_facts(result),
        snippet=_snippet(result),
    )  # fmt: skip
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(redact(page).encode("utf-8", "replace"))  # a reply may hold surrogates


def summary_html(result: Result) -> str:
    """The summary as HTML, for notebooks."""
    redact = redactor()
    template = _templates(redact).get_template("summary.html")
    return redact(template.render(sections=sections(result)))


class _Tile(NamedTuple):
    name: str
    value: str
    below: str = ""


def _tiles(result: Result) -> Iterator[_Tile]:
    """The figures to read first."""
    given, tuned = result.baseline_figures, result.tuned_figures
    changed = result.config != result.baseline_config
    yield _Tile(
        "score", percent(result.score.mean), f"95% interval {percent_interval(result.score)}"
    )
    if changed:
        gain, _, interval = points(result.gain).partition(" points ")
        yield _Tile("gain, points", gain, f"{interval} over {percent(result.baseline.mean)}")
    was = f"was {dollars(given.usd_per_example)}" if changed else ""
    yield _Tile("cost per example", dollars(tuned.usd_per_example), was)
    was = f"was {seconds(given.latency_s)}" if changed else ""
    yield _Tile("latency", seconds(tuned.latency_s), was)
    calls = f"{result.spent.calls:,} calls, {seconds(result.spent.seconds)}"
    yield _Tile("the search spent", dollars(result.spent.usd), calls)


def _modules(result: Result) -> Iterator[dict[str, Any]]:
    """Each module, its knobs before and after."""
    for name in result.config.modules:
        module = result.pipeline.module(name)
        before, after = (_knobs(config, name) for config in (result.baseline_config, result.config))
        rows = [(k, before.get(k, "as given"), after.get(k, "as given")) for k in before | after]
        yield {"name": name, "signature": signature_text(module.signature), "knobs": rows}


def _knobs(config: PipelineConfig, name: str) -> dict[str, str]:
    flat = flat_config(PipelineConfig(modules={name: config.modules[name]}))
    return {knob.removeprefix(f"{name}."): str(value) for knob, value in flat.items()}


class _Point(NamedTuple):
    name: str
    figures: tuple[str, ...]
    measured_on: str
    changes: list[tuple[str, str]]
    """From the baseline."""


def _front(result: Result) -> Iterator[_Point]:
    for letter, point in lettered(result.points):
        *figures, scores_are = point_cells(point)
        yield _Point(
            f"{letter} (tuned)" if point.config == result.config else letter,
            tuple(figures),
            scores_are,
            [(c.knob, c.new) for c in config_changes(result.baseline_config, point.config)],
        )


def _shares(parts: list[trial_rows.Part]) -> list[dict[str, Any]]:
    """Rows with bars: shares of the dollars, or of the calls where nothing costs any."""
    usd, calls = sum(part.usd for part in parts), sum(part.calls for part in parts)
    return [
        {
            "name": part.name,
            "usd": dollars(max(0.0, part.usd)),
            "calls": f"{part.calls:,}",
            "tokens": None if part.tokens is None else f"{part.tokens:,}",
            "share": round(max(0.0, part.usd / usd if usd else part.calls / max(1, calls)), 3),
        }
        for part in parts
    ]


def _probe(probe: Probe) -> tuple[str, ...]:
    return (
        probe.kind,
        str(probe.turn),
        "" if probe.base is None else f"#{probe.base}",
        probe.module,
        probe.model,
        str(probe.examples),
        "n/a" if probe.score is None else f"{probe.score:.3f}",
        dollars(probe.usd),
        probe.detail,
    )


def _failure_kinds(result: Result) -> list[tuple[str, int]]:
    """How often each kind of failure occurred to all configs, the most frequent first."""
    kinds: Counter[str] = Counter()
    for trial in last_trials(result.trials_):
        kinds.update(trial.failures)  # a config's last trial has all of its failures
        kinds.update(trial.members_failed)
    return kinds.most_common()


def _facts(result: Result) -> dict[str, str]:
    """Where it comes from, and where MLflow has it."""
    facts = {}
    for name, value in provenance(result).items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        facts[name.replace("_", " ")] = ", ".join(f"{k} {setting(v)}".strip() for k, v in parts)
    return facts | ({"in MLflow": ui_command(result.tracking_uri)} if result.run_id else {})


def _snippet(result: Result) -> str:
    """What the call that repeats it needs, as far as the result knows."""
    tried = dict.fromkeys(label for trial in result.trials_ for label in trial.config.labels)
    return (
        "result = optimize(\n"
        "    pipeline,  # as it was given\n"
        f"    dataset,  # sha256 {result.dataset_digest[:16] or 'unknown'}...\n"
        f"    models=...,  # tried: {', '.join(tried)}\n"
        f"    metric=...,  # {result.metric}\n"
        f"    seed={result.seed},\n"
        "    # and all other arguments as they were\n"
        ")"
    )


def _script_hash(templates: jinja2.Environment) -> str:
    """What the page's content security policy allows to run: its own script alone."""
    source = templates.get_template("script.js").render()
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def _templates(redact: Callable[[str], str]) -> jinja2.Environment:
    import jinja2  # comes with mlflow and litellm
    from markupsafe import Markup

    folder = resources.files("optimizer.results.report") / "templates"
    sources = {path.name: path.read_text("utf-8") for path in folder.iterdir()}

    def without_secrets(value: Any) -> Any:  # before it is escaped, which may hide one
        plain = isinstance(value, str) and not isinstance(value, Markup)
        return redact(value) if plain else value

    return jinja2.Environment(
        loader=jinja2.DictLoader(sources),
        autoescape=True,
        finalize=without_secrets,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
