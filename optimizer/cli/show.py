"""`show RUN` and `report RUN`: a finished run, from MLflow, or a saved pipeline."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluators.statistics import Interval
from optimizer.cli.targets import print_json, writable, write_text
from optimizer.formatting import percent, percent_interval, points
from optimizer.search.records.trial import shortened
from optimizer.tracking.finished_run import FinishedRun, find_run, report_page
from pipelines import PipelineError
from pipelines.files.yaml_form import tuning_of
from pipelines.files.yaml_text import read_text, read_yaml
from search_spaces.refusals import check_whole

LONGEST = 200
"""Characters of a value; `examples.json` has them in full."""

Row = Mapping[str, Any]


def show(options: argparse.Namespace) -> int:
    """Print what the run decided, and the held-out examples that it gained and lost."""
    check_whole("examples", options.examples, 0)
    if options.run is not None and Path(options.run).suffix in (".yaml", ".yml"):
        return _show_saved(options)
    found = find_run(options.run, options.experiment)
    if options.json:
        print_json(_figures(found), options.stdout)
        return 0
    _print_run(found, options.examples)
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the page of a finished run."""
    path = writable("--output", options.output)
    run_id, page = report_page(options.run, options.experiment)
    write_text(path, page, f"the page of run {run_id}")
    return 0


def _print_run(found: FinishedRun, most: int) -> None:
    print(f"run {found.run_id}: {found.name}\n\n{found.summary}")
    print(_examples_text(found.examples, most), end="")


def _figures(found: FinishedRun) -> dict[str, Any]:
    changed = [row for row in found.examples if row.get("change") in ("gained", "lost")]
    return {
        "run_id": found.run_id,
        "name": found.name,
        "improved": found.tags.get("improved") == "True",
        "measured_on": found.tags.get("measured_on"),
        "metrics": found.metrics,
        "params": found.params,
        "changed_examples": changed,
    }


def _show_saved(options: argparse.Namespace) -> int:
    """A pipeline in YAML: its provenance and config, and its run if that is found."""
    data, lines = read_yaml(read_text(options.run), options.run)
    if not isinstance(data, dict) or not data.keys() & {"modules", "program", "factory"}:
        raise ValueError(
            f"{options.run} must be a pipeline in YAML, with `modules`, a `program` or a `factory`"
        )
    try:
        facts = tuning_of(data)["provenance"]
    except PipelineError as error:
        line = lines[error.at]
        raise PipelineError(error.message, error.at, line=line, source=options.run) from error
    config = data.get("config") or {}
    try:
        found = find_run(str(facts["mlflow_run"])) if facts.get("mlflow_run") else None
        missing = "" if found else "no run is named in the file"
    except (ValueError, OSError) as error:
        found, missing = None, str(error)
    if options.json:
        print_json(
            {"pipeline": data.get("name"), "provenance": facts, "config": config}
            | (_figures(found) if found else {}),
            options.stdout,
        )
        return 0
    print(f"{options.run}: {data.get('name')}")
    for module, knobs in config.items():
        print(f"  {module}: " + ", ".join(f"{knob} {_cut(value)}" for knob, value in knobs.items()))
    print(_decision(facts))
    if found is not None:
        print()
        _print_run(found, options.examples)
    else:
        print(f"Gained and lost examples are in MLflow: {missing}")
    return 0


def _decision(facts: Mapping[str, Any]) -> str:
    """The score in the file, and whether it shows a gain."""

    def interval(name: str) -> Interval | None:
        """None if the value is not an interval: provenance may hold anything."""
        try:
            return Interval(*(float(facts[name][end]) for end in ("mean", "low", "high")))
        except (LookupError, TypeError, ValueError):
            return None

    def shown(name: str) -> str:
        if (score := interval(name)) is None:
            return f"{name} {_cut(facts[name])}"
        return f"{name} {percent(score.mean)} {percent_interval(score)}"

    if "score" not in facts:
        return "not tuned: the file names no score"
    figures = ", ".join(shown(name) for name in ("score", "baseline") if name in facts)
    text = f"{figures} on {facts.get('examples', 'the')} {facts.get('measured_on', 'examples')}"
    gain = interval("gain")
    if gain is None:
        return text
    held_out = facts.get("measured_on") == "held-out examples"
    better = "better than the baseline" if gain.low > 0 and held_out else "not shown to be better"
    return f"{text}\n{better}: {points(gain)}"


def _examples_text(examples: Sequence[Row], most: int) -> str:
    lines = []
    for change in ("gained", "lost"):
        rows = [row for row in examples if row.get("change") == change]
        lines += ["", f"{change.capitalize()}: {len(rows)} of {len(examples)}"]
        for row in rows[:most]:
            names = list(row)
            asked = {name: row[name] for name in names[1 : names.index("change")]}
            lines.append(f"  row {row['row']}")
            lines += [f"    {name}: {_cut(value)}" for name, value in asked.items()]
            lines += [
                f"    {who} answered: {_cut(_answer(row, who))}" for who in ("baseline", "tuned")
            ]
        if len(rows) > most:
            lines.append(f"  and {len(rows) - most} more: --examples {len(rows)}")
    return "\n".join(lines) + "\n"


def _answer(row: Row, who: str) -> Any:
    return row.get(f"{who}_failure") or row.get(f"{who}_answer")


def _cut(value: Any) -> str:
    return shortened(" ".join(str(value).split()), LONGEST)
