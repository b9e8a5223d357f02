"""The examples run as their first lines say, where that needs no keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer import Pipeline, locate_solve
from tests.launching import REPOSITORY, Launcher

EXAMPLES = REPOSITORY / "examples"


Run = Callable[[str], str]


@pytest.fixture
def ran(launch: Launcher, default_store: str) -> Run:
    """What a script prints when it is run as its first lines say, in the current folder."""

    def run(command: str) -> str:
        script, *arguments = command.split()
        return launch.ran(Path.cwd(), EXAMPLES / script, *arguments)

    return run


@pytest.mark.parametrize(
    "command", ["locate_solve.py sim/hazel sim/alder sim/birch --calls 700", "own_server.py"]
)
def test_a_script_finds_the_better_mix(command: str, ran: Run) -> None:
    assert "Gain over the baseline: +" in ran(command)


def test_the_graph_of_langgraph_is_tuned_and_comes_back(
    ran: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("langgraph", reason="langgraph is in the dev extra: pip install langgraph")
    told = ran("langgraph_agent.py sim/hazel sim/alder sim/birch")
    assert "Gain over the baseline: +" in told
    assert re.search(r"solve.model +sim/hazel -> sim/birch", told)
    assert 'Pipeline.load("tuned.yaml", allow_code=True)' in told
    monkeypatch.syspath_prepend(str(EXAMPLES))
    tuned = Pipeline.load("tuned.yaml", allow_code=True)
    found = tuned(table="T-1: Compute 2 + 3\nT-2: Compute 4 * 5", question="What is T-2?")
    assert found.answer == "20"


@pytest.mark.parametrize("kind", ["openai", "langgraph", "images"])
def test_agents_with_tools_and_images_are_tuned_as_they_stand(kind: str, ran: Run) -> None:
    if kind == "langgraph":
        pytest.importorskip("langgraph", reason="langgraph is in the dev extra")
    told = ran(f"agents_with_tools.py {kind}")
    assert "Gain over the baseline: +" in told
    assert re.search(r"(shop|look).model +small -> large", told)


def test_the_cascade_asks_the_stronger_model_in_doubt_only(ran: Run) -> None:
    told = ran("cascade.py sim/larch sim/fir")
    assert re.search(r"sim/larch \+ 1x sim/fir -> cascade", told)
    assert told.endswith("saved: tuned.yaml\n")
    tuned = Pipeline.load("tuned.yaml").config
    assert tuned is not None
    solve = tuned.modules["solve"]
    assert solve.labels[-1] == "sim/fir"
    assert set(solve.labels[:-1]) == {"sim/larch"}
    before, after = re.findall(r"^(?:baseline|tuned) .*\$([0-9.]+)", told, re.MULTILINE)
    assert float(after) < float(before)


def test_the_cascade_of_recorded_models_asks_the_strong_one_in_doubt_only(
    ran: Run, shared_data: Path
) -> None:
    recording = shared_data / "mmlu_pro_recorded.jsonl.gz"
    told = ran(f"classification_cascade.py {recording} --examples 60")
    asked = dict(re.findall(r"^(\w+) .* asked +(\d+)%", told, re.MULTILINE))
    assert (asked["strong"], asked["vote"]) == ("100", "0")
    assert 20 < int(asked["cascade"]) < 90


def test_the_network_of_networks_asks_as_many_calls_as_it_says(ran: Run) -> None:
    told = ran("network_of_networks.py sim/fir sim/larch sim/rowan --examples 10")
    calls = dict(re.findall(r"^(\w+) .* ([0-9.]+) calls", told, re.MULTILINE))
    assert (calls["first"], calls["judge"], calls["vote"]) == ("1.0", "1.0", "3.0")
    assert 3 < float(calls["judged"]) <= 6
    assert "judge(3x sim/rowan -> majority_vote)" in told


def test_the_yaml_is_the_pattern_of_that_name() -> None:
    assert Pipeline.load(EXAMPLES / "locate_solve.yaml") == locate_solve()


def test_the_dataset_fits_it() -> None:
    from evaluators.dataset import Dataset

    data = Dataset.load(EXAMPLES / "locate_solve.jsonl")
    data.require((*locate_solve().inputs, "answer"), "the example")
    assert len(data) == 60
