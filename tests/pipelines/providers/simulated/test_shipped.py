"""The models as users have them, without `benchmarks/`, do what a search asks of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.adapters import ChatAdapter, JSONAdapter

from benchmarks.worlds import MODELS, PHRASES, find_model, simulate, simulated_dataset
from tests.launching import run_python
from tests.pipelines.providers.simulated.asking import LOCATE, SOLVE

ALONE = """
import json, sys
from pipelines.providers.simulated import find_model, simulate
for model, messages, temperature in json.load(open(sys.argv[1])):
    print(json.dumps(simulate(find_model(model), messages, temperature=temperature, seed=7).text))
assert not [name for name in sys.modules if name.startswith("benchmarks")]
"""
DIAGNOSE = "module, inputs, desired_final_answer, candidates -> reasoning, ratings: list[int]"
ASKED = {
    "result": "table, question -> reasoning, answer: int",
    "verify": "table, question, candidate -> reasoning, accepted: bool",
    "score": "table, question, candidate -> reason, score: float",
    "pick": "table, question, candidates -> choice: int",
    "write": "basic_instruction -> proposed_instruction",
    "tell": "note -> summary, stars: int, sound: bool, tags: list[str]",
    "sort": "note -> mood: Literal['so so', 'fine']",
}


def requests() -> list[tuple[str, Any, dict[str, str]]]:
    made: list[tuple[str, Any, dict[str, str]]] = []
    for row in simulated_dataset("locate_solve", 6, seed=81):
        tasks = [line.partition(": ")[2] for line in row["table"].splitlines()]
        given = {"table": row["table"], "question": row["question"]}
        outputs = [json.dumps({"task": task}) for task in tasks[:3]]
        answers = [json.dumps({"answer": answer}) for answer in (row["answer"], "12")]
        made += [("locate", LOCATE, given), ("solve", SOLVE, {"task": tasks[0]})]
        made += [(name, dspy.Signature(ASKED[name]), inputs) for name, inputs in {
            "result": given,
            "verify": {**given, "candidate": answers[0]},
            "score": {**given, "candidate": answers[1]},
            "pick": {**given, "candidates": f"[1] {answers[1]}\n[2] {answers[0]}"},
            "write": {"basic_instruction": f"Solve {row['question']}"},
            "tell": {"note": "The harbour was quiet."},
            "sort": {"note": "The harbour was quiet."},
        }.items()]  # fmt: skip
        made.append(("diagnose", dspy.Signature(DIAGNOSE), {
            "module": LOCATE.instructions,
            "inputs": json.dumps(given),
            "desired_final_answer": json.dumps({"answer": row["answer"]}),
            "candidates": "\n".join(f"[{n}] {text}" for n, text in enumerate(outputs, start=1)),
        }))  # fmt: skip
    return made


@pytest.fixture(scope="module")
def calls() -> list[tuple[str, str, list[Any], float]]:
    return [
        (role, model.name, adapter.format(signature, [], inputs), temperature)
        for role, signature, inputs in requests()
        for adapter, temperature in ((ChatAdapter(), 0.0), (JSONAdapter(), 0.8))
        for model in MODELS[:4]
    ]


def test_they_answer_as_with_the_worlds_of_the_benchmarks(calls: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "calls.json"
    path.write_text(json.dumps([call[1:] for call in calls]))
    done = run_python("-c", ALONE, str(path))
    assert done.returncode == 0, done.stderr
    alone = [json.loads(line) for line in done.stdout.splitlines()]
    differing = {
        role
        for text, (role, name, messages, temperature) in zip(alone, calls, strict=True)
        if text != simulate(find_model(name), messages, temperature=temperature, seed=7).text
    }
    assert differing == set()


def test_each_part_is_recognised(calls: list[Any]) -> None:
    shown: dict[str, str] = {}
    for role, name, messages, temperature in calls:
        if temperature == 0.0 and name == "elm":
            shown[role] = simulate(find_model(name), messages, temperature=0.0, seed=7).text
    assert "[[ ## ratings ## ]]\n[" in shown["diagnose"]
    assert "hold up" in shown["verify"] or "holds up" in shown["verify"]
    assert shown["pick"].splitlines()[1] in ("1", "2")
    assert any(phrase.sentence in shown["write"] for phrase in PHRASES)
    assert "harbour" in shown["tell"]
    assert shown["sort"].splitlines()[1] in ("so so", "fine")
