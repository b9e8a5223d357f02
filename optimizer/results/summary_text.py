"""A result as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from optimizer.formatting import command, ui_command
from optimizer.results.decision import PICKING
from optimizer.results.summary import Table, sections
from pipelines import PipelineError
from pipelines.files.named_code import named_code
from pipelines.files.yaml_text import read_yaml
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
        lines += ["", "Next", *(f"  {step}" for step in _next_steps(result))]
    return redacted("\n".join(lines[1:]) + "\n")


def _next_steps(result: Result) -> Iterator[str]:
    """In Python, and on the command line for the saved pipeline and MLflow."""
    yield f"result.pipeline({', '.join(f'{name}=...' for name in result.pipeline.inputs)})"
    with suppress(PipelineError):  # a function of the script itself can't be written down
        form, _ = read_yaml(result.pipeline.to_yaml())
        yield 'result.save("tuned.yaml")'
        yield f"{command('compound-optimizer')} serve tuned.yaml{code_options(form)}"
    yield 'result.report("report.html")'
    if result.unproven:
        yield "result.pick(unproven=True), the first of result.unproven"
    if result.run_id:
        yield ui_command(result.tracking_uri)


def code_options(form: Mapping[str, Any]) -> str:
    """The options with which commands load a saved pipeline of this form, after a space."""
    program = " --program MODULE:OBJECT" if isinstance(form.get("program"), dict) else ""
    return f"{' --allow-code' if any(named_code(form)) else ''}{program}"


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
