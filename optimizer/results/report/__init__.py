"""A result as a page: figures, plots and every trial in one self-contained HTML file."""

from optimizer.results.report.page import summary_html, write_report
from optimizer.results.report.plots import plots

__all__ = ["plots", "summary_html", "write_report"]
