"""Importing the spec and the providers is cheap: no DSPy, no litellm."""

from __future__ import annotations

import pytest

from tests.launching import run_python


@pytest.mark.parametrize(
    ("package", "heavy"),
    [
        ("pipelines", {"dspy", "litellm"}),
        ("pipelines.providers.recorded", {"litellm"}),
        ("pipelines.providers.simulated", {"litellm"}),
    ],
)
def test_importing_a_package_imports_nothing_heavy(package: str, heavy: set[str]) -> None:
    done = run_python("-c", f"import sys, {package}; print({heavy} & sys.modules.keys())")
    assert done.stdout.strip() == "set()"
