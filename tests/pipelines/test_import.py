"""Importing the spec is cheap: no DSPy, no litellm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_importing_pipelines_imports_neither_dspy_nor_litellm() -> None:
    program = "import sys, pipelines; print([m for m in ('dspy', 'litellm') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
