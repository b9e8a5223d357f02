"""A result as a page: figures, examples and every trial in one self-contained HTML file."""

from optimizer.results.report.figures import figures
from optimizer.results.report.page import summary_html, write_report

__all__ = ["figures", "summary_html", "write_report"]
