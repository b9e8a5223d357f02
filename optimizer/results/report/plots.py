"""The plots: quality against calls, cost and quality, held-out scores, and module scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from optimizer.results.report.drawing import as_png, new_plot
from optimizer.results.report.heatmap import module_scores_heatmap
from optimizer.search.records.trial import Trial, last_trials

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from optimizer.results.result import Result

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
    figure, axes = new_plot("Quality against calls (search estimates)", "nominal calls")
    _scatter(axes, [(trial, trial.nominal_calls) for trial in trials])
    _steps(axes, *best_so_far(trials), "best so far")
    axes.set_xlim(left=0)
    return as_png(figure)


def cost_and_quality(trials: Sequence[Trial]) -> bytes:
    """Each trial's dollars per example and score, and the best score for at most that money."""
    figure, axes = new_plot("Cost and quality (search estimates)", "dollars per example")
    scored = [trial for trial in trials if trial.score]
    _scatter(axes, [(trial, trial.usd_per_example) for trial in scored])
    _steps(axes, *best_for_the_money(scored), "best for less")
    if scored and all(trial.usd_per_example > 0 for trial in scored):
        axes.set_xscale("log")
    return as_png(figure)


def finalists(result: Result) -> bytes:
    """Baseline, best single model and tuned pipeline with their 95% intervals."""
    where = "held-out examples" if result.held_out else "search examples: optimistic"
    figure, axes = new_plot(f"Scores with 95% intervals ({where})", "score, %", height=2.6)
    scores = {"tuned": result.score, "best single model": result.single_model}
    shown = {name: s for name, s in {**scores, "baseline": result.baseline}.items() if s}
    for place, score in enumerate(shown.values()):
        axes.errorbar(
            100 * score.mean,
            place,
            xerr=[[100 * (score.mean - score.low)], [100 * (score.high - score.mean)]],
            fmt="o",
            capsize=4,
            color=_COLOURS["allocation" if place == 0 else "baseline"],
        )
    axes.set_yticks(range(len(shown)), list(shown))
    axes.set_ylim(-0.6, len(shown) - 0.4)
    return as_png(figure)


def best_so_far(trials: Sequence[Trial]) -> tuple[list[int], list[float]]:
    """The nominal calls at the end of each complete trial, and the highest score by then; in the
    end those of the last trial."""
    scored = [(t.nominal_calls, t.score.mean) for t in trials if t.score and t.status == "complete"]
    if not scored:
        return [], []
    calls, scores = zip(*scored, strict=True)
    best = np.maximum.accumulate(scores).tolist()
    return [*calls, trials[-1].nominal_calls], [*best, best[-1]]


def best_for_the_money(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    """Dollars per example, ascending, and the highest score of a complete trial for no more."""
    complete = last_trials(trial for trial in trials if trial.status == "complete")
    scored = sorted((t.usd_per_example, t.score.mean) for t in complete if t.score)
    return [usd for usd, _ in scored], list(np.maximum.accumulate([s for _, s in scored]))


def _steps(axes: Axes, places: Sequence[float], scores: Sequence[float], label: str) -> None:
    axes.step(places, [100 * s for s in scores], where="post", color=_BEST, label=label)
    axes.set_ylabel("score, %")
    assert axes.figure is not None
    axes.figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)


def _scatter(axes: Axes, placed: Sequence[tuple[Trial, float]]) -> None:
    """Dots by stage: filled for complete trials, hollow for those that ended early."""
    groups: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for trial, place in placed:
        if trial.score:
            group = trial.stage, trial.status == "complete"
            groups.setdefault(group, []).append((place, 100 * trial.score.mean))
    for (stage, complete), dots in groups.items():
        colour = _COLOURS.get(stage, _OTHER)
        axes.scatter(
            [x for x, _ in dots],
            [y for _, y in dots],
            s=26,
            edgecolors=colour,
            facecolors=colour if complete else "none",
            label=stage if complete else f"{stage}, not completed",
            zorder=3,
        )
