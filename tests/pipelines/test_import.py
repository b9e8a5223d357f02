"""Importing the spec is cheap: no DSPy, no litellm."""

from __future__ import annotations

from tests.launching import run_python


def test_importing_pipelines_imports_neither_dspy_nor_litellm() -> None:
    program = "import sys, pipelines; print([m for m in ('dspy', 'litellm') if m in sys.modules])"
    done = run_python("-c", program)
    assert done.stdout.strip() == "[]"
