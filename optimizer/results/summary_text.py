"""A result as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from optimizer.results.decision import PICKING
from optimizer.results.summary import Table, next_steps, sections
from pipelines.gateway.secrets import redacted

if TYPE_CHECKING:
    from optimizer.results.result import Result

_WIDTH = 96
_FLAGS = "--pareto and --max-cost-usd, --max-latency-s or --within"
"""How to choose another point, on the command line."""


def summary_text(result: Result, *, shell: bool = False) -> str:
    """The whole result for a terminal, at most 96 columns but for long names.

    With `shell`, nothing is in Python, and the command line prints the next steps itself.
    """
    lines = []
    for title, blocks in sections(result, _FLAGS if shell else PICKING):
        indent = "  " if title else ""
        if blocks:
            lines += ["", title] if title else [""]
        lines += [indent + line for block in blocks for line in _lines(block, len(indent))]
    if not shell:
        lines += ["", "Next", *(f"  {step}" for step in next_steps(result))]
    return redacted("\n".join(lines[1:]) + "\n")


def _lines(block: str | Table, indent: int) -> Iterator[str]:
    """Wrapped text, or a table with aligned columns, figures to the right."""
    if isinstance(block, str):
        width = _WIDTH - indent
        yield from textwrap.wrap(block, width, break_long_words=False, break_on_hyphens=False)
        return
    rows = [block.header, *block.rows] if any(block.header) else block.rows
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, block.figures, strict=True)
        aligned = (c.rjust(width) if figure else c.ljust(width) for c, width, figure in cells)
        yield "  ".join(aligned).rstrip()
