"""A result as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from optimizer.formatting import counted
from optimizer.results.summary import (
    PointRow,
    Purpose,
    Row,
    cautions,
    changes,
    diagnoser_lines,
    diagnoser_title,
    figures,
    judge_lines,
    measured_on,
    next_steps,
    operating_points,
    paid_now,
    probes_line,
    purposes,
    verdict,
)
from optimizer.search.records.trial import shortened

if TYPE_CHECKING:
    from optimizer.results.result import Result

_WIDTH = 96


def summary_text(result: Result, *, shell: bool = False) -> str:
    """The whole result for a terminal, at most 96 columns but for long names.

    Args:
        shell: for who typed a command, which itself says how to go on: nothing is told in Python.
    """
    limits = "--max-cost-usd, --max-latency-s and the like, which go"
    lines = list(_lines(result, limits if shell else "result.pick(...), which goes"))
    if not shell:
        lines += _section("Next", next_steps(result))
    return "\n".join(lines) + "\n"


def _lines(result: Result, picking: str) -> Iterator[str]:
    metric = f", metric {result.metric}" if result.metric else ""
    yield f"{result.pipeline.name}: {counted(len(result.trials_), 'trial')}{metric}"
    yield from _wrapped(measured_on(result))
    for line in cautions(result):
        yield from _wrapped(line)
    yield ""
    header = Row("", "score", "95% interval", "$/example", "latency", "")
    yield from _table([header, *figures(result)])
    yield ""
    for line in verdict(result):
        yield from _wrapped(line)
    yield from _section("What changed", _change_lines(result))
    points = operating_points(result)
    if points:
        columns = ("score", "95% interval", "$/example", "latency", "p95", "estimate", "scores are")
        yield from _section(
            f"To choose from, with {picking} by the estimate",
            _table([PointRow("", *columns), *points]),
        )
    header_row = Purpose("", "dollars", "calls", "tokens")
    yield from _section(
        "What it took",
        [*_table([header_row, *purposes(result)]), paid_now(result), *probes_line(result)],
    )
    yield from _section(diagnoser_title(result), diagnoser_lines(result))
    yield from _section("Judge", [part for line in judge_lines(result) for part in _wrapped(line)])


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        yield from (f"  {line}" for line in lines)


def _change_lines(result: Result) -> list[str]:
    changed = changes(result)
    width = max((len(change.knob) for change in changed), default=0)
    return [
        f"{c.knob:<{width}}  {shortened(c.old, 100)} -> {shortened(c.new, 100)}" for c in changed
    ]


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns aligned: the first and the last to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_aligned(row, widths).rstrip() for row in rows]


def _aligned(row: tuple[str, ...], widths: Sequence[int]) -> str:
    note = isinstance(row, Row | PointRow)
    cells = [
        cell.ljust(width) if index == 0 or (note and index == len(row) - 1) else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
