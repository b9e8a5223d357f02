"""Mistakes of new users: the message has the value, the rule and the mend, and nothing is paid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines import Pipeline
from pipelines.gateway import secrets
from pipelines.gateway.execution.account import Account
from pipelines.patterns import locate_solve
from search_spaces import ModuleConfig, PipelineConfig
from tests.optimizer.runs import ROWS
from tests.optimizer.slips import arguments, commands, files, programs
from tests.optimizer.slips.slip import Slip

SLIPS = [*arguments.SLIPS, *files.SLIPS, *programs.SLIPS, *commands.SLIPS]


@pytest.fixture(scope="module")
def files_of_slips() -> dict[str, str]:
    """The files that slips speak of, by name."""
    models = {"locate": ("sim/alder",), "solve": ("sim/birch",)}
    config = PipelineConfig(modules={m: ModuleConfig(models=each) for m, each in models.items()})
    tuned = Pipeline("locate-solve", locate_solve().modules, config=config)
    return {
        "pipeline.yaml": locate_solve().to_yaml(),
        "tuned.yaml": tuned.to_yaml(),
        "rows.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
        "broken.yaml": "name: x\nmodule: []\n",
        "odd.yaml": "widht: [1]\n",
        "list.yaml": "- 1\n",
        "taken": "",
    }


@pytest.fixture(autouse=True)
def _folder(files_of_slips: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_GIVEN", {})
    for name, text in files_of_slips.items():
        Path(name).write_text(text)


@pytest.mark.parametrize("made", SLIPS, ids=range(len(SLIPS)))
def test_the_message_says_what_helps_before_anything_is_paid(
    made: Slip, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reserved: list[Any] = []
    monkeypatch.setattr(Account, "reserve", lambda *call: reserved.append(call))
    with pytest.raises((ValueError, TypeError, OSError, RuntimeError, SystemExit)) as raised:
        made.do()
    message = str(raised.value)
    if isinstance(raised.value, SystemExit):
        assert raised.value.code == 2
        message = capsys.readouterr().err
    missing = [words for words in made.words if words not in message]
    assert not missing, f"{made.what}: {message}"
    assert arguments.KEY not in message
    assert "hunter2" not in message
    assert reserved == []
    assert not Path("mlruns").exists()


def test_there_are_a_hundred_of_them_and_all_have_words() -> None:
    assert len({made.what for made in SLIPS}) == len(SLIPS) >= 100
    assert all(made.words and all(made.words) for made in SLIPS)
