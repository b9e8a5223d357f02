"""Verifiers, scorers and judges of a module's candidates, and members that admit doubt."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import dspy
import numpy as np
import pytest

from benchmarks.worlds import (
    SimulatedModel,
    chain_modules,
    find_model,
    simulate,
    simulated_dataset,
)
from pipelines.providers.simulated import SimulatedModel as Simulated
from tests.pipelines.providers.simulated.asking import (
    LOCATE,
    QUESTION,
    ask,
    messages_for,
    share,
    steady,
)

FAMILIES = ("solve", "locate", "locate_solve", "multiple_choice", "reverse", "add_days")
CAREFUL = {"verify": 0.95, "judge": 0.95}
CARELESS = {"verify": 0.3, "judge": 0.3}
MEMBERS = tuple(steady(f"member-{number}", default_skill=0.55) for number in range(3))


class Case(NamedTuple):
    """One call of a module, and what three members answered."""

    signature: dspy.Signature
    inputs: dict[str, str]
    field: str
    right: str
    given: tuple[str, ...]


@cache
def cases(family: str) -> list[Case]:
    """Calls of the module of one family."""
    return [
        Case(signature, inputs, field, right, _given(signature, inputs, field))
        for signature, inputs, field, right in _asked(family)
    ]


def _asked(family: str) -> list[tuple[dspy.Signature, dict[str, str], str, str]]:
    name = {"locate": "locate_solve", "solve": "arithmetic"}.get(family, family)
    rows = simulated_dataset(name, 60, seed=71)
    if family == "locate":
        return [
            (LOCATE, {"table": row["table"], "question": row["question"]}, "task", _task(row))
            for row in rows
        ]
    if family in ("reverse", "add_days"):  # the operation stands in the instructions alone
        module = next(module for module in chain_modules(8) if module["name"] == family)
        signature = dspy.Signature(module["signature"], module["instructions"])
        (source,), (target,) = signature.input_fields, signature.output_fields
        values = [row["question"].rpartition(": ")[2] for row in rows]
        return [
            (signature, {source: value}, target, row["answer"])
            for value, row in zip(values, rows, strict=True)
        ]
    fields = [name for name in rows[0] if name != "answer"]
    renamed = {"question": "task"} if family == "solve" else {}
    names = [renamed.get(name, name) for name in fields]
    signature = dspy.Signature(f"{', '.join(names)} -> answer")
    return [
        (signature, {renamed.get(n, n): row[n] for n in fields}, "answer", row["answer"])
        for row in rows
    ]


def _task(row: dict[str, str]) -> str:
    tasks = dict(line.split(": ", 1) for line in row["table"].splitlines())
    return tasks[row["question"].split()[-1].rstrip("?")]


def _given(signature: dspy.Signature, inputs: dict[str, str], field: str) -> tuple[str, ...]:
    return tuple(ask(member, signature, inputs, temperature=0)[field] for member in MEMBERS)


def judging(case: Case, shown: str, outputs: str) -> dspy.Signature:
    """The module's inputs first, then what is judged; the instructions quote the module's."""
    sources = ", ".join(case.signature.input_fields)
    return dspy.Signature(
        f"{sources}, {shown} -> {outputs}",
        f"Judge the output of this module.\n\n{sources} -> {case.field}\n"
        f"{case.signature.instructions}",
    )


def numbered(case: Case) -> str:
    return "\n".join(
        f"[{number}] {json.dumps({case.field: text})}" for number, text in enumerate(case.given, 1)
    )


def rates(model: Simulated, family: str) -> tuple[float, float]:
    """How often a right candidate is accepted, and a wrong one rejected."""
    accepted: dict[bool, list[bool]] = {True: [], False: []}
    for case in cases(family):
        for text in {case.right, *case.given}:
            inputs = {**case.inputs, "candidate": json.dumps({case.field: text})}
            signature = judging(case, "candidate", "accepted: bool, reason: str")
            verdict = ask(model, signature, inputs, temperature=0)
            if verdict:  # else a refusal
                accepted[text == case.right].append(verdict["accepted"])
                assert "hold" in verdict["reason"]
    return share(accepted[True]), 1 - share(accepted[False])


@pytest.mark.parametrize("family", FAMILIES)
def test_verifiers_accept_the_right_and_reject_the_wrong_as_their_skill_has_it(
    family: str,
) -> None:
    careful = steady("careful", skills=CAREFUL, default_skill=0.93)
    careless = steady("careless", skills=CARELESS, default_skill=0.93)
    accepts, rejects = rates(careful, family)
    assert accepts > 0.78
    assert rejects > 0.85
    assert rates(careless, family)[1] < rejects - 0.2


def test_a_catalogued_verifier_is_worth_more_than_a_poor_one() -> None:
    accepts, rejects = rates(find_model("elm"), "locate")
    assert accepts > 0.85
    assert rejects > 0.85
    assert sum(rates(find_model("larch"), "locate")) < 1.4


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_graded_and_order_the_candidates(family: str) -> None:
    able = steady("able", skills=CAREFUL, default_skill=0.93)
    scores: dict[bool, list[float]] = {True: [], False: []}
    for case in cases(family):
        for text in {case.right, *case.given}:
            inputs = {**case.inputs, "candidate": json.dumps({case.field: text})}
            signature = judging(case, "candidate", "score: float")
            score = ask(able, signature, inputs, temperature=0)["score"]
            assert 0 <= score <= 1
            scores[text == case.right].append(score)
    good, bad = np.array(scores[True])[:, None], np.array(scores[False])
    assert (good > bad).mean() > 0.85
    assert len({*scores[True], *scores[False]}) > 20


@pytest.mark.parametrize("family", FAMILIES)
def test_judges_pick_better_than_chance_and_by_a_valid_number(family: str) -> None:
    able = steady("able", skills=CAREFUL, default_skill=0.93)
    picked, by_chance, possible = [], [], []
    for case in cases(family):
        inputs = {**case.inputs, "candidates": numbered(case)}
        choice = ask(able, judging(case, "candidates", "choice: int"), inputs)["choice"]
        assert choice in (1, 2, 3)
        picked.append(case.given[choice - 1] == case.right)
        by_chance.append(np.mean([text == case.right for text in case.given]))
        possible.append(case.right in case.given)
    assert share(picked) > np.mean(by_chance) + 0.5 * (share(possible) - np.mean(by_chance))


def written(model: SimulatedModel, family: str) -> float:
    """Accuracy of the answers that a judge writes, having seen the candidates."""
    right = []
    for case in cases(family):
        inputs = {**case.inputs, "candidates": numbered(case)}
        signature = judging(case, "candidates", case.field)
        right.append(ask(model, signature, inputs, temperature=0)[case.field] == case.right)
    return share(right)


@pytest.mark.parametrize("family", FAMILIES)
def test_judges_that_write_weigh_candidates_against_their_own_belief(family: str) -> None:
    majority = [Counter(case.given).most_common(1)[0][0] == case.right for case in cases(family)]
    able = steady("able", skills=CAREFUL, default_skill=0.93)
    unable = steady("unable", skills=CAREFUL, default_skill=0.1, persuadability=0.9)
    assert written(able, family) > share(majority) + 0.1
    assert 0.1 < written(unable, family) < written(able, family) - 0.2  # alone it has a tenth


def test_judges_read_records_of_several_fields_and_names_like_those_of_verdicts() -> None:
    able = steady(skills={**CAREFUL, "locate": 1.0, "knowledge": 1.0})
    case = cases("locate")[0]
    asked = case.inputs["question"].split()[-1].rstrip("?")
    shown = {"reasoning": "so", "task": case.right, "id": asked}
    for id_, accepted in ((asked, True), ("T-1", False)):
        inputs = {**case.inputs, "candidate": json.dumps({**shown, "id": id_})}
        signature = dspy.Signature("table, question, candidate -> accepted: bool")
        assert ask(able, signature, inputs, temperature=0)["accepted"] is accepted
    row = simulated_dataset("multiple_choice", 1, seed=5)[0]
    records = [json.dumps({"choice": letter}) for letter in (row["answer"], "A", "B")]
    lines = "\n".join(f"[{n}] {record}" for n, record in enumerate(records, 1))
    inputs = {"question": row["question"], "candidates": lines}
    signature = dspy.Signature("question, candidates -> choice")
    assert ask(able, signature, inputs, temperature=0)["choice"] == row["answer"]


def test_feedback_is_judged_by_whether_it_is_right() -> None:
    able = steady(skills={**CAREFUL, "arithmetic": 1.0})
    signature = dspy.Signature("task, draft, candidate -> accepted: bool")
    task = {"task": "Compute 6 * 7", "draft": "43"}
    for text, accepted in (("The answer 43 is correct.", False), ("43 is wrong, I get 42.", True)):
        inputs = {**task, "candidate": json.dumps({"feedback": text})}
        assert ask(able, signature, inputs, temperature=0)["accepted"] is accepted


def test_where_nothing_can_be_computed_judges_still_answer_in_form() -> None:
    inputs = {"text": "The harbour was quiet.", "candidates": '[1] {"a": "x"}\n[2] {"a": "x"}'}
    able = steady(skills=CAREFUL)
    for seed in range(5):
        assert ask(able, dspy.Signature("text, candidates -> choice: int"), inputs, seed=seed)[
            "choice"
        ] in (1, 2)
    assert ask(able, dspy.Signature("text, candidates -> a"), inputs) == {"a": "x"}


def doubts(model: SimulatedModel, rows: Sequence[dict[str, str]]) -> list[bool]:
    return [
        ask(model, QUESTION, {"question": row["question"]}, temperature=0)["answer"]
        == "I don't know"
        for row in rows
    ]


def test_models_admit_doubt_in_their_share_of_the_items_that_are_too_hard() -> None:
    rows = simulated_dataset("arithmetic", 400, seed=72)
    shares = [
        share(doubts(steady(skills={"arithmetic": 0.5}, admits_doubt=level), rows))
        for level in (0.0, 0.5, 1.0)
    ]
    assert shares[0] == 0
    assert shares[1] == pytest.approx(0.25, abs=0.06)  # half of all items are too hard
    assert shares[2] == pytest.approx(0.5, abs=0.06)
    assert share(doubts(steady(skills={"arithmetic": 1.0}, admits_doubt=1.0), rows)) == 0


def test_who_admits_doubt_is_right_more_often_where_it_answers() -> None:
    rows = simulated_dataset("arithmetic", 400, seed=72)
    honest, guessing = (
        steady(skills={"arithmetic": 0.5}, admits_doubt=level) for level in (1.0, 0.0)
    )
    known = [row for row, unsure in zip(rows, doubts(honest, rows), strict=True) if not unsure]

    def accuracy(model: SimulatedModel, some: Sequence[dict[str, str]]) -> float:
        asked = [
            ask(model, QUESTION, row, temperature=0)["answer"] == row["answer"] for row in some
        ]
        return share(asked)

    assert accuracy(honest, known) > accuracy(guessing, rows) + 0.15


def test_doubt_is_said_in_text_fields_only() -> None:
    unable = steady(skills={"arithmetic": 0.0}, admits_doubt=1.0)
    task = {"task": "Compute 17 * 23 - 5"}
    fields = ask(unable, dspy.Signature("task -> reasoning, answer: int, note, unit"), task)
    assert isinstance(fields["answer"], int)
    assert fields["unit"] == "I don't know"
    assert fields["reasoning"].endswith("I don't know.")
    prompt = [{"role": "user", "content": "Compute 17 * 23 - 5"}]
    assert simulate(unable, prompt).text.endswith("I don't know.")
    assert "386" not in simulate(unable, messages_for(QUESTION, {"question": task["task"]})).text


def test_judges_do_not_follow_those_who_do_not_know() -> None:
    able = steady(skills={**CAREFUL, "reverse": 1.0}, persuadability=1.0)
    records = [json.dumps({"value": text}) for text in ("I don't know", "I don't know", "tenalp")]
    lines = "\n".join(f"[{n}] {record}" for n, record in enumerate(records, 1))
    signature = dspy.Signature("word, candidates -> value", "Reverse the word.")
    inputs = {"word": "planet", "candidates": lines}
    assert ask(able, signature, inputs, temperature=0)["value"] == "tenalp"
    debate = dspy.Signature("word, other_1, other_2 -> value", "Reverse the word.")
    unsure = {"word": "planet", "other_1": "I don't know", "other_2": "I don't know."}
    assert ask(able, debate, unsure, temperature=0)["value"] == "tenalp"
