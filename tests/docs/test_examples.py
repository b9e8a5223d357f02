"""The examples run as their first lines say, where that needs no keys."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from optimizer import Pipeline, locate_solve
from tests.docs.pages import REPOSITORY

EXAMPLES = REPOSITORY / "examples"


@pytest.mark.parametrize(
    "command", ["locate_solve.py sim/hazel sim/alder sim/birch", "own_server.py"]
)
def test_a_script_finds_the_better_mix(command: str) -> None:
    script, *arguments = command.split()
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Gain over the baseline: +" in done.stdout


def test_the_yaml_is_the_pattern_of_that_name() -> None:
    assert Pipeline.load(EXAMPLES / "locate_solve.yaml") == locate_solve()


def test_the_dataset_fits_it() -> None:
    from evaluators.dataset import Dataset

    data = Dataset.load(EXAMPLES / "locate_solve.jsonl")
    data.require((*locate_solve().inputs, "answer"), "the example")
    assert len(data) == 60
