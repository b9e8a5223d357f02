"""Draws inline SVG that follows the page's colours, and is a picture of its own in a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

from pipelines.gateway.secrets import redacted

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 466, 34, 248
"""Of the area between the axes, in pixels."""
_CHARACTER, _TITLE_CHARACTER = 6.1, 8.0
"""Width of one at the legend's size and at the title's, in pixels, at most on average."""
SOFT = "var(--soft, #6b7280)"
LINE = "var(--line, #d1d5db)"


def tag(name: str, *inside: str, **attributes: Any) -> str:
    """An element; `stroke_width` becomes `stroke-width`. `inside` is markup: see `text`."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}>{''.join(inside)}</{name}>" if inside else f"<{name}{written}/>"


def text(x: float, y: float, content: str, **attributes: Any) -> str:
    """One line of text, escaped and without secrets."""
    return tag("text", escape(redacted(content)), x=x, y=y, **{"fill": "currentColor"} | attributes)


def hint(content: str) -> str:
    """What is shown when the pointer rests on the element around it."""
    return tag("title", escape(redacted(content)))


def picture(title: str, width: float, height: float, *elements: str) -> str:
    """The whole, with its title above it, which a narrow drawing makes room for."""
    heading = text(0, 15, title, font_size=13.5, font_weight=600)
    width = max(width, _TITLE_CHARACTER * len(title))
    return tag(
        "svg", heading, *elements, xmlns="http://www.w3.org/2000/svg", role="img",
        aria_label=redacted(title), viewBox=f"0 0 {width:g} {height:g}", width=width, height=height,
        font_family="system-ui, sans-serif", font_size=12,
    )  # fmt: skip


def standalone(drawn: str) -> str:
    """The picture for a file: dark on white."""
    return drawn.replace("<svg ", '<svg style="background:#fff;color:#111827" ', 1)


@dataclass(frozen=True)
class Scale:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(
        cls,
        values: Iterable[float],
        start: float,
        end: float,
        *,
        log: bool = False,
        pad: float = 0.06,
    ) -> Scale:
        """One that holds all finite values with some room around them.

        Args:
            values: logarithmic only if all are positive.
            start: pixel of the lowest.
            end: pixel of the highest.
            log: whether equal ratios are equally far apart.
            pad: room on either side, as a share of the span.
        """
        finite = [value for value in values if math.isfinite(value)] or [0.0]
        log = log and min(finite) > 0
        low, high = min(finite), max(finite)
        if log:
            room = max(pad * math.log(high / low), 0.2)
            return cls(low * math.exp(-room), high * math.exp(room), start, end, log)
        is_span = high - low > 1e-6 * abs(high)  # less is the noise of rounding
        room = pad * (high - low) if is_span else 0.05 * abs(high) or 1.0
        return cls(low - room if low else 0.0, high + room, start, end)

    def __call__(self, value: float) -> float:
        """Its pixel."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return round(self.start + (self.end - self.start) * (at - low) / (high - low), 1)

    def ticks(self) -> list[float]:
        """A few round values."""
        if not self.log:
            return self._even()
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        decades = range(first, last + 1, 1 + (last - first) // 15)
        span = self.high / self.low
        steps = (1, 2, 5) if span < 30 else (1, 3) if span < 1000 else (1,)
        marks = [m * 10.0**d for d in decades for m in steps]
        inside = [mark for mark in marks if self.low <= mark <= self.high]
        return inside if len(inside) > 2 else self._even()

    def _even(self) -> list[float]:
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [step * n for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


class Key(NamedTuple):
    """One entry of a legend."""

    name: str
    colour: str
    filled: bool = True


def plot(
    title: str,
    x: Scale,
    x_text: tuple[str, Callable[[float], str]],
    y: Scale,
    marks: Iterable[str],
    keys: Sequence[Key] = (),
    x_ticks: Sequence[float] = (),
) -> str:
    """Axes with marks. `x_text` is the axis' name and how its values are written; y is a score.

    Without `x_ticks`, round values are marked.
    """
    name, written = x_text
    grid = [
        tag("line", x1=LEFT, x2=RIGHT, y1=y(tick), y2=y(tick), stroke=LINE, stroke_width=1)
        + text(LEFT - 7, y(tick) + 4, f"{100 * tick:.3g}%", text_anchor="end", fill=SOFT)
        for tick in y.ticks()
    ]
    ticks = [
        text(x(tick), BOTTOM + 17, written(tick), text_anchor="middle", fill=SOFT)
        for tick in x_ticks or x.ticks()
    ]
    axis = tag("line", x1=LEFT, x2=RIGHT, y1=BOTTOM, y2=BOTTOM, stroke=SOFT)
    label = text(RIGHT, BOTTOM + 34, name, text_anchor="end", fill=SOFT)
    legend, rows = _legend(keys)
    height = HEIGHT - 8 + 17 * rows
    return picture(title, WIDTH, height, *grid, axis, *ticks, label, *marks, *legend)


def dot(
    x: float, y: float, colour: str, about: str, *, filled: bool = True, size: float = 4
) -> str:
    """A circle that says what it is."""
    fill = colour if filled else "none"
    return tag(
        "circle", hint(about), cx=x, cy=y, r=size, fill=fill, stroke=colour, stroke_width=1.5,
        pointer_events="all",
    )  # fmt: skip


def steps(places: Sequence[tuple[float, float]], colour: str) -> str:
    """A line that keeps its height until the next place."""
    if not places:
        return ""
    (x, y), *rest = places
    path = f"M{x:g} {y:g}" + "".join(f"H{x:g}V{y:g}" for x, y in rest)
    return tag("path", d=path, fill="none", stroke=colour, stroke_width=2)


def line(places: Sequence[tuple[float, float]], colour: str) -> str:
    """Straight from place to place."""
    points = " ".join(f"{x:g},{y:g}" for x, y in places)
    return tag("polyline", points=points, fill="none", stroke=colour, stroke_width=2)


def whisker(x: float, low: float, high: float, colour: str) -> str:
    """An interval, upright."""
    return tag("line", x1=x, x2=x, y1=low, y2=high, stroke=colour, stroke_width=1.5, opacity=0.6)


def _legend(keys: Sequence[Key]) -> tuple[list[str], int]:
    """Below the axis' name, in as many rows as it takes."""
    drawn, x, row = [], float(LEFT), 1
    for name, colour, filled in keys:
        width = 24 + _CHARACTER * len(name)
        if x + width > WIDTH and x > LEFT:
            x, row = float(LEFT), row + 1
        y = BOTTOM + 38 + 17 * row
        fill = colour if filled else "none"
        drawn.append(tag("circle", cx=x + 5, cy=y - 4, r=4, fill=fill, stroke=colour))
        drawn.append(text(x + 14, y, name, fill=SOFT))
        x += width
    return drawn, row if keys else 0


def _round_step(about: float) -> float:
    power = 10.0 ** math.floor(math.log10(about))
    return next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= about * 0.999)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
