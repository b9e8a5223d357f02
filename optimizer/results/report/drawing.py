"""Figures as PNGs, without pyplot, which keeps a global list of them and needs a display."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Drawing:
    """One plot with a single pair of axes; `png` holds the picture once the block has ended."""

    png: bytes

    def __init__(self, title: str, height: float = 3.8) -> None:
        from matplotlib.figure import Figure

        self._figure = Figure(figsize=(7.2, height), layout="constrained")
        self.axes = self._figure.add_subplot()
        self.axes.set_title(title, fontsize=11, loc="left")
        self.axes.grid(color="#e5e7eb")
        self.axes.set_axisbelow(True)
        self.axes.spines[["top", "right"]].set_visible(False)

    def __enter__(self) -> Drawing:
        return self

    def __exit__(self, *error: object) -> None:
        if self.axes.get_legend_handles_labels()[0] and error[0] is None:
            self.axes.legend(fontsize=8, framealpha=0.9)
        self.png = as_png(self._figure)


def as_png(figure: Figure) -> bytes:
    """The figure as a picture."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130)
    return picture.getvalue()
