"""The figures: scores, quality against calls, fronts, widths of votes, and module scores."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, NamedTuple

from evaluators.statistics import Interval
from optimizer.formatting import dollars, percent, percent_interval, seconds
from optimizer.results.report.graph import pipeline_layout
from optimizer.results.report.scale import Scale
from optimizer.results.report.templates import SOFT, TUNED, templates
from optimizer.search.records.module_score import ModuleScore, latest_scores
from optimizer.search.records.trial import Trial, config_text, last_trials, shortened
from pipelines.gateway.secrets import redactor

if TYPE_CHECKING:
    from optimizer.results.operating_points import OperatingPoint
    from optimizer.results.result import Result

STAGES = {
    "baseline": "#8b93a1",
    "single-model": "#d97706",
    "allocation": "#3b82f6",
    "structure": "#a855f7",
    "prompts": "#10b981",
}
_OTHER, _POINT = "#06b6d4", "#3b82f6"
_CURVES = ("#3b82f6", "#d97706", "#10b981", "#a855f7", "#ec4899", "#06b6d4")
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 466, 34, 248
"""Of the area between the axes, in pixels."""
_CHARACTER = 6.1
"""Width of one in the legend, in pixels, at most on average."""


def figures(result: Result) -> dict[str, str]:
    """SVGs by name: `pipeline`, `held_out`, `quality_against_calls`, `cost_and_quality`,
    and where there is something to draw `latency_and_quality`, `module_scores` and `widths`."""
    drawn = {
        "pipeline": _drawn("pipeline", **pipeline_layout(result)),
        "held_out": _finalists(result),
        "quality_against_calls": _quality_against_calls(result.trials_),
        "cost_and_quality": _front(result, "dollars per example"),
    }
    if not all(math.isnan(trial.latency_s) for trial in result.trials_):
        drawn["latency_and_quality"] = _front(result, "seconds per example")
    scores = result.module_scores_
    if any(score.rating is not None or score.measured is not None for score in scores):
        drawn["module_scores"] = heatmap(scores, result.config.allocation)
    if curves := width_curves(result.trials_):
        drawn["widths"] = _widths(curves)
    return drawn


def standalone(drawn: str) -> str:
    """The picture for a file: dark on white."""
    return drawn.replace("<svg ", '<svg style="background:#fff;color:#111827" ', 1)


def _drawn(template: str, **variables: Any) -> str:
    return templates(redactor()).get_template(f"{template}.svg").render(variables).strip()


class _Mark(NamedTuple):
    """A dot of a plot."""

    x: float
    score: float
    colour: str
    about: str
    """What is shown when the pointer rests on it."""
    filled: bool = True
    size: float = 4
    interval: Interval | None = None
    name: str = ""


class _Key(NamedTuple):
    """An entry of a legend, and its place."""

    name: str
    colour: str
    filled: bool = True
    x: float = 0.0
    y: float = 0.0


_Curve = tuple[Sequence[tuple[float, float]], str]
"""Places, and the colour of the line that joins them."""


def _plot(
    title: str,
    axis: str,
    marks: Sequence[_Mark],
    keys: Sequence[_Key],
    *,
    curves: Sequence[_Curve] = (),
    shown: Callable[[float], str] = "{:,.0f}".format,
    x: Scale | None = None,
    ticks: Sequence[float] = (),
) -> str:
    """Scores by what `axis` names, whose values `shown` writes; the scale is logarithmic by
    default, and has round values as its ticks."""
    x = x or Scale.over([mark.x for mark in marks], _LEFT, _RIGHT, log=True)
    ends = [
        score
        for mark in marks
        for score in ((mark.interval.low, mark.interval.high) if mark.interval else (mark.score,))
    ]
    fitted = Scale.over(ends, _BOTTOM, _TOP)
    y = Scale(max(0.0, fitted.low), min(1.03, max(fitted.high, 0.1)), _BOTTOM, _TOP)
    placed = list(_placed(keys))
    return _drawn(
        "plot", title=title, axis=axis, x=x, y=y, ticks=ticks, shown=shown, curves=curves,
        marks=marks, keys=placed, height=placed[-1].y + 6 if placed else _BOTTOM + 44,
    )  # fmt: skip


def _placed(keys: Sequence[_Key]) -> Iterator[_Key]:
    """The legend below the axis' name, in as many rows as it takes."""
    x, y = float(_LEFT), _BOTTOM + 55
    for key in keys:
        width = 24 + _CHARACTER * len(key.name)
        if x + width > 480 and x > _LEFT:
            x, y = float(_LEFT), y + 17
        yield key._replace(x=x, y=y)
        x += width


def _finalists(result: Result) -> str:
    """Baseline, best single model and tuned pipeline with their 95% intervals."""
    withdrawn = result.withdrawn.figures.score if result.withdrawn else None
    given = {"baseline": result.baseline, "best single model": result.single_model,
             "withdrawn": withdrawn, "tuned": result.score}  # fmt: skip
    scores = {name: score for name, score in given.items() if score is not None}
    on = "held out" if result.held_out else "search examples: optimistic"
    title = f"Scores with 95% intervals ({on})"
    return _drawn("held_out", title=title, scores=scores, x=Scale(0.0, 1.0, 132, 400))


def _quality_against_calls(trials: Sequence[Trial]) -> str:
    """Each trial at the nominal calls made by its end, and the best so far as a step line."""
    marks = [
        _Mark(trial.nominal_calls, trial.score.mean, STAGES.get(trial.stage, _OTHER), _about(trial),
              filled=trial.status == "complete")
        for trial in trials if trial.score
    ]  # fmt: skip
    stages = dict.fromkeys(trial.stage for trial in trials if trial.score)
    keys = [_Key(stage, STAGES.get(stage, _OTHER)) for stage in stages]
    if not all(mark.filled for mark in marks):
        keys.append(_Key("hollow: not run on all examples", SOFT, filled=False))
    best = best_so_far(trials)
    corners = [place for (_, old), (at, new) in pairwise(best) for place in ((at, old), (at, new))]
    x = Scale.over([0.0, *(float(trial.nominal_calls) for trial in trials)], _LEFT, _RIGHT)
    title = "Quality against calls (search estimates)"
    curves = [([*best[:1], *corners], "currentColor")]
    return _plot(title, "calls", marks, keys, curves=curves, x=x)


def best_so_far(trials: Sequence[Trial]) -> list[tuple[float, float]]:
    """The nominal calls at the end of each complete trial, and the highest score by then; in the
    end those of the last trial."""
    scored = [(t.nominal_calls, t.score.mean) for t in trials if t.score and t.status == "complete"]
    if not scored:
        return []
    calls, scores = zip(*scored, strict=True)
    best = list(accumulate(scores, max))
    return [*zip(calls, best, strict=True), (trials[-1].nominal_calls, best[-1])]


def _front(result: Result, axis: str) -> str:
    """The operating points with their intervals, over all trials' search estimates."""
    by_cost = axis.startswith("dollars")

    def place(of: Trial | OperatingPoint) -> float:
        return of.usd_per_example if by_cost else of.latency_s

    marks = [
        _Mark(place(trial), trial.score.mean, SOFT, _about(trial), filled=False, size=2.5)
        for trial in last_trials(result.trials_)
        if trial.score
    ]
    for letter, point in lettered(result.points):
        colour = TUNED if point.config == result.config else _POINT
        measured, about = point.measured_on == "holdout", f"{letter}: {point}"
        mark = _Mark(
            place(point), point.score.mean, colour, about, measured, 5, point.score, letter
        )
        marks.append(mark)
    keys = [_Key("tuned", TUNED), _Key("other points of the front", _POINT)]
    keys.append(_Key("trials (search estimates)", SOFT, filled=False))
    title = "Quality and cost" if by_cost else "Quality and latency"
    marks = [mark for mark in marks if not math.isnan(mark.x)]
    return _plot(title, axis, marks, keys, shown=_tick_dollars if by_cost else "{:.3g} s".format)


def lettered(points: Sequence[OperatingPoint]) -> list[tuple[str, OperatingPoint]]:
    """Each with its name in the figures: A, B, ..., Z, A2, B2, ..."""
    names = (f"{letter}{n}" for n in ("", *range(2, len(points) + 2)) for letter in ascii_uppercase)
    return list(zip(names, points, strict=False))


class WidthCurve(NamedTuple):
    """Measured scores by width, all else being equal."""

    name: str
    scores: Mapping[int, Interval]


def width_curves(trials: Sequence[Trial]) -> list[WidthCurve]:
    """Of complete trials that differ only in how often one module asks one model; the curves with
    most widths first."""
    curves: dict[tuple[str, str, str], dict[int, Interval]] = {}
    names: dict[tuple[str, str, str], str] = {}
    for trial in last_trials(trials):
        if trial.status != "complete" or trial.score is None:
            continue
        for name, module in trial.config.modules.items():
            if len(set(module.labels)) == 1 and not module.members:
                alone = module.model_copy(update={"width": 1, "aggregator": None})
                rest = trial.config.with_module(name, alone).key
                key = name, rest, json.dumps(module.model_dump(mode="json")["aggregator"])
                curves.setdefault(key, {})[module.width] = trial.score
                heat = "" if module.temperature is None else f" at {module.temperature:g}"
                how = module.aggregation.name.replace("_", " ") if module.aggregation else ""
                names[key] = f"{name}: {module.labels[0]}{heat}, {how}"
    found = []
    for key, scores in curves.items():
        both = {**curves.get((*key[:2], "null"), {}), **scores}
        if key[2] != "null" and len(both) > 1:
            found.append(WidthCurve(names[key], dict(sorted(both.items()))))
    return sorted(found, key=lambda curve: -len(curve.scores))[: len(_CURVES)]


def _widths(curves: Sequence[WidthCurve]) -> str:
    """Score against the number of members."""
    coloured = list(zip(curves, _CURVES, strict=False))
    marks = [
        _Mark(width, score.mean, colour, interval=score,
              about=f"{name}, {width}: {percent(score.mean)} {percent_interval(score)}")
        for (name, scores), colour in coloured for width, score in scores.items()
    ]  # fmt: skip
    lines = [([(w, s.mean) for w, s in curve.scores.items()], c) for curve, c in coloured]
    keys = [_Key(shortened(curve.name, 60), colour) for curve, colour in coloured]
    title = "Width of a module, all else being equal (search estimates)"
    ticks = sorted({mark.x for mark in marks})
    return _plot(title, "members", marks, keys, curves=lines, ticks=ticks)


def heatmap(scores: Sequence[ModuleScore], allocation: Mapping[str, Sequence[str]]) -> str:
    """Each model in each module: as rated by the diagnoser, and as measured end to end.

    A cell has the figure, its precision (how many examples a rating is the mean of; the standard
    error of a measured score) and the decision. The tuned pipeline's models are outlined. Every
    module is shown as its last turn left it.
    """
    last = latest_scores(scores)
    models = list(dict.fromkeys(score.model for score in last))
    columns: list[tuple[str, str]] = []
    cells = []
    for panel in ("rated", "measured"):
        values = [score.rating if panel == "rated" else score.measured for score in last]
        known = [value for value in values if value is not None]
        if not known:
            continue
        before = len(columns)
        columns += [(panel, module) for module in dict.fromkeys(score.module for score in last)]
        # opacities span 0.2 of the score at least: small differences look small
        middle, half = (max(known) + min(known)) / 2, max(0.2, max(known) - min(known)) / 2
        for score, value in zip(last, values, strict=True):
            figure, under = _cell(score, panel, value)
            about = f"{score.model} in {score.module}, {panel}: {figure or 'n/a'}; {score.decision}"
            cells.append(
                {
                    "column": columns.index((panel, score.module), before),
                    "row": models.index(score.model),
                    "figure": figure,
                    "under": under,
                    "about": about,
                    "opacity": 0.05 if value is None else 0.34 + 0.26 * (value - middle) / half,
                    "chosen": score.model in allocation.get(score.module, ()),
                }
            )
    turns = {score.module: score.turn for score in last}
    left = 14 + 7 * min(30, max(map(len, models)))
    return _drawn("heatmap", models=models, columns=columns, cells=cells, turns=turns, left=left)


def _cell(score: ModuleScore, panel: str, value: float | None) -> tuple[str, str]:
    """The figure and what is below it."""
    if panel == "rated":
        return ("", "") if value is None else (f"{value:.2f}", f"of {score.examples}")
    if value is None:
        return "", score.decision
    error = f" ± {100 * score.measured_se:.1f}" if score.measured_se is not None else ""
    return f"{100 * value:.1f}{error}", score.decision


def _about(trial: Trial) -> str:
    score = percent(trial.score.mean) if trial.score else "n/a"
    costs = f"{dollars(trial.usd_per_example)} and {seconds(trial.latency_s)} per example"
    config = shortened(config_text(trial.config), 200)
    return f"#{trial.number} {trial.stage}: {score} on {trial.examples} examples, {costs}; {config}"


def _tick_dollars(usd: float) -> str:
    written = f"{usd:.7f}".rstrip("0").rstrip(".")
    return f"${written}" if float(written) or not usd else f"${usd:.0e}"
