"""The heatmap of module scores: modules by models, as rated and as measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from optimizer.results.report.drawing import as_png
from optimizer.search.records.module_score import ModuleScore, latest_scores
from optimizer.search.records.trial import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NARROWEST = 0.2
"""The colours span at least so much of [0, 1], so that a small difference looks small."""
_LONGEST_LABEL = 30
_EMPTY, _OUTLINE = "#f3f4f6", "#d97706"


class _Panel(NamedTuple):
    title: str
    value: Callable[[ModuleScore], float | None]
    text: Callable[[ModuleScore], str]


def module_scores_heatmap(
    scores: Sequence[ModuleScore], allocation: Mapping[str, Sequence[str]], diagnoser: str | None
) -> bytes:
    """The ratings, if there are any, above the measured scores, as a PNG.

    A cell has the figure, its precision (how many examples a rating is the mean of; the standard
    error of a measured score) and the decision. The models of the tuned pipeline's allocation are
    outlined. A module's row is of the last turn that scored it, which its label names.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    last = latest_scores(scores)
    turns = {score.module: score.turn for score in last}
    rows = list(turns)
    columns = list(dict.fromkeys(score.model for score in last))
    cells = {(rows.index(s.module), columns.index(s.model)): s for s in last}
    rated = f"Rated by the diagnoser, {diagnoser}: mean, and of how many examples"
    measured = "Measured end to end, the rest as in the incumbent: score ± standard error, %"
    both = (
        _Panel(rated, lambda score: score.rating, _rated_text),
        _Panel(measured, lambda score: score.measured, _measured_text),
    )
    panels = [panel for panel in both if any(panel.value(score) is not None for score in last)]
    size = max(7.2, 1.5 + 0.95 * len(columns)), 1.0 + len(panels) * (0.4 + 0.62 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(len(panels), 1, place)
        _draw(axes, panel, cells, (len(rows), len(columns)))
        labels = [f"{module}\nturn {turn}" for module, turn in turns.items()]
        axes.set_yticks(range(len(rows)), labels, fontsize=9)
        axes.set_xticks([])
        for (row, column), score in cells.items():
            if score.model in allocation.get(score.module, ()):
                corner = column - 0.47, row - 0.45
                outline = Rectangle(
                    corner, 0.94, 0.9, fill=False, edgecolor=_OUTLINE, linewidth=2.5
                )
                axes.add_patch(outline)
    if panels:
        texts = [shortened(label, _LONGEST_LABEL) for label in columns]
        turned, aligned = (30, "right") if max(map(len, texts)) > 12 else (0, "center")
        axes.set_xticks(range(len(texts)), texts, fontsize=9, rotation=turned, ha=aligned)
    return as_png(figure)


def _rated_text(score: ModuleScore) -> str:
    return "" if score.rating is None else f"{score.rating:.2f}\nn={score.examples}"


def _measured_text(score: ModuleScore) -> str:
    if score.measured is None:
        return score.decision.replace(" ", "\n")
    spread = f" ± {100 * score.measured_se:.1f}" if score.measured_se is not None else ""
    return f"{100 * score.measured:.1f}{spread}\n{score.decision}"


def _draw(
    axes: Axes, panel: _Panel, cells: Mapping[tuple[int, int], ModuleScore], shape: tuple[int, int]
) -> None:
    """Colours by value, and the figures as text."""
    values = np.full(shape, np.nan)
    for place, score in cells.items():
        values[place] = np.nan if (value := panel.value(score)) is None else value
    middle = (np.nanmax(values) + np.nanmin(values)) / 2
    half = max(_NARROWEST, np.nanmax(values) - np.nanmin(values)) / 2
    axes.set_facecolor(_EMPTY)
    axes.imshow(values, cmap="Blues", vmin=middle - half, vmax=middle + half, aspect="auto")
    for place, score in cells.items():
        colour = "white" if values[place] > middle + half / 5 else "black"
        text = panel.text(score)
        axes.text(place[1], place[0], text, color=colour, fontsize=8, ha="center", va="center")
    axes.set_title(panel.title, fontsize=11, loc="left")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
