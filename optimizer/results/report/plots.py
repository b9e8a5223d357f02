"""The plots: what the search found when, what quality costs, what was held out, module scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from optimizer.results.report.drawing import Drawing
from optimizer.results.report.heatmap import module_scores_heatmap
from optimizer.search.records.trial import Trial, pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from optimizer.results.result import HeldOut, Result

_COLOURS = {
    "baseline": "#6b7280",
    "single-model": "#d97706",
    "allocation": "#2563eb",
    "structure": "#7c3aed",
    "prompts": "#059669",
}
_OTHER, _BEST = "#0891b2", "#111827"


def plots(result: Result) -> dict[str, bytes]:
    """PNGs by name: `quality_against_calls`, `cost_and_quality`, `held_out`, and `module_scores`
    where anything is known of a model in a module."""
    drawn = {
        "quality_against_calls": quality_against_calls(result.trials_),
        "cost_and_quality": cost_and_quality(result.trials_),
        "held_out": finalists(result),
    }
    scores = result.module_scores_
    if any(score.rating is not None or score.measured is not None for score in scores):
        drawn["module_scores"] = module_scores_heatmap(
            scores, result.config.allocation, result.diagnoser_model
        )
    return drawn


def quality_against_calls(trials: Sequence[Trial]) -> bytes:
    """Each trial at the nominal calls made by its end, and the best so far as a step line."""
    with Drawing("Quality against calls (search estimates)") as drawing:
        axes = drawing.axes
        _scatter(axes, trials, lambda trial: float(trial.nominal_calls))
        calls, best = best_so_far(trials)
        axes.step(calls, [100 * b for b in best], where="post", color=_BEST, label="best so far")
        axes.set_xlabel("nominal calls")
        axes.set_ylabel("score, %")
        axes.set_xlim(left=0)
    return drawing.png


def cost_and_quality(trials: Sequence[Trial]) -> bytes:
    """Each trial's dollars per example and score, and the best score for at most that money."""
    scored = [trial for trial in trials if trial.score]
    with Drawing("Cost and quality (search estimates)") as drawing:
        axes = drawing.axes
        _scatter(axes, scored, lambda trial: trial.usd_per_example)
        usd, best = best_for_the_money(scored)
        axes.step(usd, [100 * b for b in best], where="post", color=_BEST, label="best for less")
        if scored and all(trial.usd_per_example > 0 for trial in scored):
            axes.set_xscale("log")
        axes.set_xlabel("dollars per example")
        axes.set_ylabel("score, %")
    return drawing.png


def finalists(result: Result) -> bytes:
    """Baseline, best single model and tuned pipeline with their 95% intervals."""
    where = "held-out examples" if result.held_out else "search examples: optimistic"
    named: list[tuple[str, HeldOut | None]] = [
        ("tuned", result.tuned_figures),
        ("best single model", result.single_model_figures),
        ("baseline", result.baseline_figures),
    ]
    shown = [(name, figures) for name, figures in named if figures is not None]
    with Drawing(f"Scores with 95% intervals ({where})", height=2.6) as drawing:
        for place, (_, figures) in enumerate(shown):
            score = figures.score
            spread = [[100 * (score.mean - score.low)], [100 * (score.high - score.mean)]]
            drawing.axes.errorbar(
                [100 * score.mean], [place], xerr=spread, fmt="o", capsize=4,
                color=_COLOURS["allocation"] if place == 0 else _COLOURS["baseline"],
            )  # fmt: skip
        drawing.axes.set_yticks(range(len(shown)), [name for name, _ in shown])
        drawing.axes.set_ylim(-0.6, len(shown) - 0.4)
        drawing.axes.set_xlabel("score, %")
    return drawing.png


def best_so_far(trials: Sequence[Trial]) -> tuple[list[int], list[float]]:
    """Nominal calls and the highest score of a complete trial by then, where it rose."""
    calls: list[int] = []
    best: list[float] = []
    for trial in trials:
        score = trial.score.mean if trial.score and trial.status == "complete" else None
        if score is not None and (not best or score > best[-1]):
            calls.append(trial.nominal_calls)
            best.append(score)
    if best:
        calls.append(trials[-1].nominal_calls)
        best.append(best[-1])
    return calls, best


def best_for_the_money(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    """Dollars per example, ascending, and the highest score of a complete trial for no more."""
    usd: list[float] = []
    best: list[float] = []
    for trial in sorted(pareto_front(tuple(trials)), key=lambda trial: trial.usd_per_example):
        score = trial.score.mean if trial.score else 0.0
        if not best or score > best[-1]:
            usd.append(trial.usd_per_example)
            best.append(score)
    return usd, best


def _scatter(axes: Axes, trials: Sequence[Trial], place: Callable[[Trial], float]) -> None:
    """Dots by stage: filled for complete trials, hollow for those that ended early."""
    for stage in dict.fromkeys(trial.stage for trial in trials):
        colour = _COLOURS.get(stage, _OTHER)
        for complete in (True, False):
            chosen = [
                (place(trial), 100 * trial.score.mean)
                for trial in trials
                if trial.stage == stage and trial.score
                if (trial.status == "complete") == complete
            ]
            if chosen:
                axes.scatter(
                    [x for x, _ in chosen],
                    [y for _, y in chosen],
                    s=26,
                    edgecolors=colour,
                    facecolors=colour if complete else "none",
                    label=stage if complete else f"{stage}, not completed",
                    zorder=3,
                )
