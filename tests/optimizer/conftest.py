"""A result made by hand, and its page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer.results.result import Result
from tests.optimizer.made import make_result


@pytest.fixture
def result() -> Result:
    return make_result()


@pytest.fixture
def written_page(tmp_path: Path) -> Callable[[Result], str]:
    def write(result: Result) -> str:
        result.report(tmp_path / "report.html")
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return write
