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
    """The last ratings, if there are any, above the last measured scores, as a PNG.

    A cell has the figure, how sure it is (of how many examples a rating is the mean; the standard
    error of a measured score) and what was decided. The tuned pipeline's models are outlined.

    Args:
        scores: of each module and model the last one counts.
        allocation: the tuned pipeline's models by module.
        diagnoser: label of the model that rated; None if none did.
    """
    from matplotlib.figure import Figure

    last = latest_scores(scores)
    rows = list(dict.fromkeys(score.module for score in last))
    columns = list(dict.fromkeys(score.model for score in last))
    panels = [p for p in _panels(diagnoser) if any(p.value(score) is not None for score in last)]
    size = max(7.2, 1.5 + 0.95 * len(columns)), 1.0 + len(panels) * (0.4 + 0.62 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(len(panels), 1, place)
        _draw(axes, panel, {(rows.index(s.module), columns.index(s.model)): s for s in last})
        axes.set_yticks(range(len(rows)), rows, fontsize=9)
        axes.set_xticks([])
        for score in last:
            if score.model in allocation.get(score.module, ()):
                _outline(axes, rows.index(score.module), columns.index(score.model))
        if place == len(panels):
            _label_columns(axes, columns)
    return as_png(figure)


def _panels(diagnoser: str | None) -> list[_Panel]:
    return [
        _Panel(
            f"Rated by the diagnoser, {diagnoser}: mean, and of how many examples",
            lambda score: score.rating,
            lambda score: "" if score.rating is None else f"{score.rating:.2f}\nn={score.examples}",
        ),
        _Panel(
            "Measured end to end, the rest as in the incumbent: score ± standard error, %",
            lambda score: score.measured,
            _measured_text,
        ),
    ]


def _measured_text(score: ModuleScore) -> str:
    lines: list[str] = [score.decision]
    if score.measured is not None:
        spread = f" ± {100 * score.measured_se:.1f}" if score.measured_se is not None else ""
        lines.insert(0, f"{100 * score.measured:.1f}{spread}")
    return "\n".join(lines)


def _draw(axes: Axes, panel: _Panel, cells: Mapping[tuple[int, int], ModuleScore]) -> None:
    """Colours by value, and the figures as text."""
    shape = [1 + max(place[axis] for place in cells) for axis in (0, 1)]
    values = np.full(shape, np.nan)
    for place, score in cells.items():
        value = panel.value(score)
        values[place] = np.nan if value is None else value
    middle = (np.nanmax(values) + np.nanmin(values)) / 2
    half = max(_NARROWEST, np.nanmax(values) - np.nanmin(values)) / 2
    axes.set_facecolor(_EMPTY)
    across, down = (np.arange(size + 1) - 0.5 for size in (shape[1], shape[0]))
    colours = {"cmap": "Blues", "vmin": middle - half, "vmax": middle + half}
    axes.pcolormesh(across, down, values, edgecolors="white", linewidth=2, **colours)
    axes.invert_yaxis()
    for place, score in cells.items():
        colour = "white" if values[place] > middle + half / 5 else "black"
        text = axes.text(place[1], place[0], panel.text(score), color=colour, fontsize=8)
        text.set(horizontalalignment="center", verticalalignment="center")
    axes.set_title(panel.title, fontsize=11, loc="left")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _outline(axes: Axes, row: int, column: int) -> None:
    from matplotlib.patches import Rectangle

    corner = column - 0.47, row - 0.45
    axes.add_patch(Rectangle(corner, 0.94, 0.9, fill=False, edgecolor=_OUTLINE, linewidth=2.5))


def _label_columns(axes: Axes, labels: Sequence[str]) -> None:
    texts = [shortened(label, _LONGEST_LABEL) for label in labels]
    turned = max(map(len, texts)) > 12
    axes.set_xticks(range(len(texts)), texts, fontsize=9)
    if turned:
        axes.tick_params("x", rotation=30)
        for text in axes.get_xticklabels():
            text.set_horizontalalignment("right")
