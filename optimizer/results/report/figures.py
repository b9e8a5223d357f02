"""The figures: scores, quality against calls, fronts, widths of votes, and module scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from string import ascii_uppercase
from typing import TYPE_CHECKING, NamedTuple

from evaluators.statistics import Interval
from optimizer.formatting import dollars, percent, percent_interval, seconds
from optimizer.results.report.graph import pipeline_graph
from optimizer.results.report.svg import (
    BOTTOM,
    LEFT,
    LINE,
    RIGHT,
    SOFT,
    TOP,
    WIDTH,
    Key,
    Scale,
    dot,
    hint,
    line,
    picture,
    plot,
    steps,
    tag,
    text,
    whisker,
)  # fmt: skip
from optimizer.search.records.module_score import ModuleScore, latest_scores
from optimizer.search.records.trial import Trial, config_text, last_trials, shortened

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
_OTHER, _TUNED, _POINT = "#06b6d4", "#10b981", "#3b82f6"
_CURVES = ("#3b82f6", "#d97706", "#10b981", "#a855f7", "#ec4899", "#06b6d4")


def figures(result: Result) -> dict[str, str]:
    """SVGs by name: `pipeline`, `held_out`, `quality_against_calls`, `cost_and_quality`,
    `latency_and_quality`, and where there is something to draw `module_scores` and `widths`."""
    drawn = {
        "pipeline": pipeline_graph(result),
        "held_out": finalists(result),
        "quality_against_calls": quality_against_calls(result.trials_),
        "cost_and_quality": front(result, "dollars per example"),
        "latency_and_quality": front(result, "seconds per example"),
    }
    scores = result.module_scores_
    if any(score.rating is not None or score.measured is not None for score in scores):
        drawn["module_scores"] = heatmap(scores, result.config.allocation)
    if curves := width_curves(result.trials_):
        drawn["widths"] = widths(curves)
    return drawn


def finalists(result: Result) -> str:
    """Baseline, best single model and tuned pipeline with their 95% intervals."""
    withdrawn = result.withdrawn.figures.score if result.withdrawn else None
    given = {"baseline": result.baseline, "best single model": result.single_model,
             "withdrawn": withdrawn, "tuned": result.score}  # fmt: skip
    scores = {name: score for name, score in given.items() if score is not None}
    x = Scale(0.0, 1.0, 132, 400)
    drawn, bottom = [], 40 + 34 * len(scores)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawn.append(tag("line", x1=x(tick), x2=x(tick), y1=34, y2=bottom, stroke=LINE))
        label = text(x(tick), bottom + 17, f"{100 * tick:g}%", text_anchor="middle", fill=SOFT)
        drawn.append(label)
    for place, (name, score) in enumerate(scores.items()):
        y, colour = 54 + 34 * place, _TUNED if name == "tuned" else SOFT
        drawn += [
            text(124, y + 4, name, text_anchor="end"),
            tag("line", x1=x(score.low), x2=x(score.high), y1=y, y2=y, stroke=colour,
                stroke_width=6, stroke_linecap="round", opacity=0.45),
            dot(x(score.mean), y, colour, f"{name}: {percent_interval(score)}", size=6),
            text(412, y + 4, percent(score.mean), font_weight=600),
        ]  # fmt: skip
    on = "held out" if result.held_out else "search examples: optimistic"
    return picture(f"Scores with 95% intervals ({on})", WIDTH, bottom + 24, *drawn)


def quality_against_calls(trials: Sequence[Trial]) -> str:
    """Each trial at the nominal calls made by its end, and the best so far as a step line."""
    scored = [(trial, trial.score) for trial in trials if trial.score]
    x = Scale.over([0.0, *(float(trial.nominal_calls) for trial in trials)], LEFT, RIGHT)
    y = _scores(score.mean for _, score in scored)
    best = [(x(calls), y(score)) for calls, score in best_so_far(trials)]
    dots = [
        dot(x(trial.nominal_calls), y(score.mean), _stage_colour(trial.stage), _about(trial),
            filled=trial.status == "complete")
        for trial, score in scored
    ]  # fmt: skip
    stages = dict.fromkeys(trial.stage for trial, _ in scored)
    keys = [Key(stage, _stage_colour(stage)) for stage in stages]
    if any(trial.status != "complete" for trial, _ in scored):
        keys.append(Key("hollow: not run on all examples", SOFT, filled=False))
    marks = [steps(best, "currentColor"), *dots]
    title = "Quality against calls (search estimates)"
    return plot(title, x, ("calls", "{:,.0f}".format), y, marks, keys)


def best_so_far(trials: Sequence[Trial]) -> list[tuple[int, float]]:
    """The nominal calls at the end of each complete trial, and the highest score by then; in the
    end those of the last trial."""
    scored = [(t.nominal_calls, t.score.mean) for t in trials if t.score and t.status == "complete"]
    if not scored:
        return []
    calls, scores = zip(*scored, strict=True)
    best = list(accumulate(scores, max))
    return [*zip(calls, best, strict=True), (trials[-1].nominal_calls, best[-1])]


def front(result: Result, axis: str) -> str:
    """The operating points with their intervals, over all trials' search estimates.

    Args:
        result: whose front it is.
        axis: `dollars per example` or `seconds per example`.
    """
    by_cost = axis.startswith("dollars")
    shown: Callable[[float], str] = _tick_dollars if by_cost else "{:.3g} s".format

    def place(of: Trial | OperatingPoint) -> float:
        return of.usd_per_example if by_cost else of.latency_s

    scored = [(trial, trial.score) for trial in last_trials(result.trials_) if trial.score]
    known = [*(place(trial) for trial, _ in scored), *map(place, result.points)]
    x = Scale.over(known, LEFT, RIGHT, log=True)
    intervals = [point.score for point in result.points]
    y = _scores([s.mean for _, s in scored] + [end for s in intervals for end in (s.low, s.high)])
    marks = [
        dot(x(place(trial)), y(score.mean), SOFT, _about(trial), filled=False, size=2.5)
        for trial, score in scored
    ]
    for letter, point in lettered(result.points):
        colour = _TUNED if point.config == result.config else _POINT
        at, score, measured = x(place(point)), point.score, point.measured_on == "holdout"
        marks += [
            whisker(at, y(score.low), y(score.high), colour),
            dot(at, y(score.mean), colour, f"{letter}: {point}", filled=measured, size=5),
            text(at + 8, y(score.mean) - 6, letter, font_weight=600),
        ]
    keys = [Key("tuned", _TUNED), Key("other points of the front", _POINT)]
    keys.append(Key("trials (search estimates)", SOFT, filled=False))
    name = "Quality and cost" if by_cost else "Quality and latency"
    return plot(name, x, (axis, shown), y, marks, keys)


def lettered(points: Sequence[OperatingPoint]) -> list[tuple[str, OperatingPoint]]:
    """Each with the name that the figures give it: A, B, ..., Z, A2, B2, ..."""
    count = len(ascii_uppercase)
    names = (ascii_uppercase[n % count] + (str(n // count + 1) if n >= count else "")
             for n in range(len(points)))  # fmt: skip
    return list(zip(names, points, strict=True))


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
                aggregator = json.dumps(module.model_dump(mode="json")["aggregator"])
                key = name, rest, aggregator
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


def widths(curves: Sequence[WidthCurve]) -> str:
    """Score against the number of members."""
    known = [width for curve in curves for width in curve.scores]
    x = Scale.over(map(float, known), LEFT, RIGHT, log=True)
    intervals = [score for curve in curves for score in curve.scores.values()]
    y = _scores(end for score in intervals for end in (score.low, score.high))
    marks = []
    for (name, scores), colour in zip(curves, _CURVES, strict=False):
        marks.append(line([(x(width), y(score.mean)) for width, score in scores.items()], colour))
        for width, score in scores.items():
            about = f"{name}, {width}: {percent(score.mean)} {percent_interval(score)}"
            marks.append(whisker(x(width), y(score.low), y(score.high), colour))
            marks.append(dot(x(width), y(score.mean), colour, about))
    keys = [Key(shortened(name, 60), c) for (name, _), c in zip(curves, _CURVES, strict=False)]
    title = "Width of a module, all else being equal (search estimates)"
    return plot(title, x, ("members", "{:.0f}".format), y, marks, keys, sorted({*known}))


def heatmap(scores: Sequence[ModuleScore], allocation: Mapping[str, Sequence[str]]) -> str:
    """Each model in each module: as rated by the diagnoser, and as measured end to end.

    A cell has the figure, its precision (how many examples a rating is the mean of; the standard
    error of a measured score) and the decision. The tuned pipeline's models are outlined. Every
    module is shown as its last turn left it.
    """
    last = latest_scores(scores)
    modules = list(dict.fromkeys(score.module for score in last))
    models = list(dict.fromkeys(score.model for score in last))
    panels = [p for p in ("rated", "measured") if any(_value(s, p) is not None for s in last)]
    columns = [(panel, module) for panel in panels for module in modules]
    left = 14 + 7 * min(30, max(map(len, models)))
    wide, high, top = 104, 40, 64
    drawn = [
        text(left - 8, top + high * row + 24, shortened(model, 30), text_anchor="end")
        for row, model in enumerate(models)
    ]
    turns = {score.module: score.turn for score in last}
    for place, (panel, module) in enumerate(columns):
        middle = left + wide * place + wide / 2 - 3
        drawn.append(text(middle, top - 24, shortened(module, 15), text_anchor="middle"))
        under = f"{panel}, turn {turns[module]}"
        drawn.append(text(middle, top - 8, under, text_anchor="middle", fill=SOFT, font_size=10.5))
    for panel in panels:
        shade = _shades([v for score in last if (v := _value(score, panel)) is not None])
        for score in last:
            x = left + wide * columns.index((panel, score.module))
            y = top + high * models.index(score.model)
            chosen = score.model in allocation.get(score.module, ())
            drawn.append(_cell(score, panel, (x, y), shade, chosen=chosen))
    width, height = left + wide * len(columns), top + high * len(models)
    return picture("Module scores: each model in each module", width, height, *drawn)


def _value(score: ModuleScore, panel: str) -> float | None:
    return score.rating if panel == "rated" else score.measured


def _shades(values: Sequence[float]) -> Callable[[float], float]:
    """From a value to an opacity. They span 0.2 at least: small differences look small."""
    middle, half = (max(values) + min(values)) / 2, max(0.2, max(values) - min(values)) / 2
    return lambda value: round(0.34 + 0.26 * (value - middle) / half, 3)


def _cell(
    score: ModuleScore,
    panel: str,
    at: tuple[float, float],
    shade: Callable[[float], float],
    *,
    chosen: bool,
) -> str:
    (x, y), value, figure = at, _value(score, panel), ""
    under: str = score.decision if panel == "measured" else ""
    if value is not None and panel == "rated":
        figure, under = f"{value:.2f}", f"of {score.examples}"
    elif value is not None:
        error = f" ± {100 * score.measured_se:.1f}" if score.measured_se is not None else ""
        figure = f"{100 * value:.1f}{error}"
    about = hint(f"{score.model} in {score.module}, {panel}: {figure or 'n/a'}; {score.decision}")
    outline = {"stroke": "#d97706", "stroke_width": 2.5} if chosen else {}
    opacity = 0.05 if value is None else shade(value)
    fill = SOFT if value is None else "#3b82f6"
    box = tag(
        "rect", about, x=x, y=y, width=98, height=36, rx=5, fill=fill, fill_opacity=opacity,
        **outline,
    )  # fmt: skip
    lines = text(x + 49, y + 16, figure, text_anchor="middle", font_weight=600) + text(
        x + 49, y + 30, under, text_anchor="middle", font_size=10.5
    )
    return box + lines


def _scores(values: Iterator[float] | Sequence[float]) -> Scale:
    """The vertical axis of scores: never below 0 or above 1."""
    fitted = Scale.over(values, BOTTOM, TOP)
    return Scale(max(0.0, fitted.low), min(1.03, max(fitted.high, 0.1)), BOTTOM, TOP)


def _stage_colour(stage: str) -> str:
    return STAGES.get(stage, _OTHER)


def _about(trial: Trial) -> str:
    score = percent(trial.score.mean) if trial.score else "n/a"
    costs = f"{dollars(trial.usd_per_example)} and {seconds(trial.latency_s)} per example"
    config = shortened(config_text(trial.config), 200)
    return f"#{trial.number} {trial.stage}: {score} on {trial.examples} examples, {costs}; {config}"


def _tick_dollars(usd: float) -> str:
    written = f"{usd:.7f}".rstrip("0").rstrip(".")
    return f"${written}" if float(written) or not usd else f"${usd:.0e}"
