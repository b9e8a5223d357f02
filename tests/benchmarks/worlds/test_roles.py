"""Critics, refiners, debaters, verifiers, judges, diagnosers and writers of instructions."""

from __future__ import annotations

import json
from collections.abc import Sequence

import dspy
import numpy as np
import pytest
from dspy.adapters import ChatAdapter

from benchmarks.worlds import PHRASES, SimulatedModel, simulate, simulated_dataset
from tests.pipelines.providers.simulated.asking import (
    LOCATE,
    QUESTION,
    answers,
    ask,
    rights,
    share,
    steady,
)

ROWS = simulated_dataset("arithmetic", 300, seed=31)
SOCIAL = dict.fromkeys(("criticise", "verify", "judge", "diagnose", "compare"), 0.97)
ABLE = steady("able", skills={**SOCIAL, "arithmetic": 0.95, "locate": 0.95})
UNABLE = steady("unable", skills={**SOCIAL, "arithmetic": 0.1, "locate": 0.1})
DIAGNOSE = dspy.Signature(
    "pipeline, module, inputs, candidates, desired_final_answer -> ratings: list[int], reason: str",
    "Rate every candidate from 0 to 10.",
)


def area_under_curve(good: Sequence[float], bad: Sequence[float]) -> float:
    """The chance that a good one is rated above a bad one, ties counting half."""
    left, right = np.array(good)[:, None], np.array(bad)
    return float((left > right).mean() + 0.5 * (left == right).mean())


def wrong_of(row: dict[str, str]) -> str:
    return str(int(row["answer"]) + 10)


@pytest.mark.parametrize(("model", "low", "high"), [(ABLE, 0.85, 1.0), (UNABLE, 0.4, 0.75)])
def test_verifiers_are_as_good_as_they_solve(
    model: SimulatedModel, low: float, high: float
) -> None:
    signature = dspy.Signature("question, answer -> accept: bool")
    correct = []
    for row in ROWS:
        for shown in (row["answer"], wrong_of(row)):
            verdict = ask(model, signature, {"question": row["question"], "answer": shown})
            correct.append(verdict["accept"] == (shown == row["answer"]))
    assert low < share(correct) < high


def test_a_judge_picks_its_own_mistake() -> None:
    signature = dspy.Signature("question, candidates -> best: int")
    own = answers(UNABLE, ROWS, temperature=0)
    picks = []
    for row, mistake in zip(ROWS, own, strict=True):
        if mistake is None or mistake == row["answer"] or "(" in mistake:
            continue
        shown = f"[1] {row['answer']}\n[2] {mistake}"
        inputs = {"question": row["question"], "candidates": shown}
        picks.append(ask(UNABLE, signature, inputs, temperature=0)["best"] == 2)
    assert len(picks) > 150
    assert share(picks) > 0.75


def test_an_able_judge_picks_the_right_candidate_wherever_it_stands() -> None:
    signature = dspy.Signature("question, candidates: list[str] -> choice: int")
    places = []
    for number, row in enumerate(ROWS):
        shown = [wrong_of(row), str(int(row["answer"]) + 1)]
        shown.insert(number % 3, row["answer"])
        inputs = {"question": row["question"], "candidates": shown}
        places.append(ask(ABLE, signature, inputs)["choice"] == number % 3 + 1)
    assert share(places) > 0.8


def diagnose(
    model: SimulatedModel, module: str, inputs: dict[str, str], texts: Sequence[str], desired: str
) -> list[int]:
    field = module.rpartition("-> ")[2].splitlines()[0]
    lines = [f"[{n}] {json.dumps({field: text})}" for n, text in enumerate(texts, start=1)]
    fields = {
        "pipeline": "table, question -> task; task -> answer",
        "module": module,
        "inputs": json.dumps(inputs),
        "candidates": "\n".join(lines),
        "desired_final_answer": desired,
    }
    ratings: list[int] = ask(model, DIAGNOSE, fields, temperature=0)["ratings"]
    return ratings


def locate_ratings(model: SimulatedModel) -> tuple[list[int], list[int]]:
    """Ratings of right and of wrong outputs of the first module of locate-solve."""
    good: list[int] = []
    bad: list[int] = []
    for row in simulated_dataset("locate_solve", 150, seed=32):
        tasks = dict(line.split(": ", 1) for line in row["table"].splitlines())
        asked = tasks[row["question"].split()[-1].rstrip("?")]
        shown = [asked, *(task for task in tasks.values() if task != asked)][:4][::-1]
        inputs = {"table": row["table"], "question": row["question"]}
        desired = json.dumps({"answer": row["answer"]})
        module = "table, question -> task\nExtract the task whose ID is asked for."
        ratings = diagnose(model, module, inputs, shown, desired)
        assert len(ratings) == len(shown)
        assert all(0 <= rating <= 10 for rating in ratings)
        for text, rating in zip(shown, ratings, strict=True):
            (good if text == asked else bad).append(rating)
    return good, bad


def test_diagnosers_rate_right_outputs_higher_if_they_could_solve_the_item() -> None:
    good, bad = locate_ratings(ABLE)
    assert area_under_curve(good, bad) > 0.85
    assert len({*good, *bad}) > 5  # ratings are graded, not yes and no
    assert 0.45 < area_under_curve(*locate_ratings(UNABLE)) < 0.7


def test_diagnosers_compare_with_the_desired_answer_even_if_unable() -> None:
    good, bad = [], []
    for row in ROWS[:150]:
        desired = json.dumps({"answer": row["answer"]})
        shown = [wrong_of(row), row["answer"]]
        inputs = {"task": row["question"]}
        low, high = diagnose(UNABLE, "task -> answer", inputs, shown, desired)
        bad.append(low)
        good.append(high)
    assert area_under_curve(good, bad) > 0.9


def test_diagnosers_judge_steps_of_a_chain_and_feedback() -> None:
    able = steady("diagnoser", skills={**SOCIAL}, default_skill=0.99)
    module = "word -> value\nReverse the word."
    ratings = diagnose(able, module, {"word": "planet"}, ["tenlap", "tenalp"], "{}")
    assert ratings[1] > ratings[0]
    inputs = {"task": "Compute 6 * 7", "draft": "43"}
    notes = ["The answer 43 is correct; keep it.", "The answer 43 is wrong, I get 42."]
    ratings = diagnose(able, "task, draft -> feedback", inputs, notes, "{}")
    assert ratings[1] > ratings[0]


def refined(solver: SimulatedModel, critic: SimulatedModel) -> tuple[float, float]:
    """Accuracy of the drafts and after one round of criticism."""
    criticise = dspy.Signature("question, draft -> feedback", "Criticise the draft.")
    refine = dspy.Signature("question, draft, feedback -> answer")
    before = answers(solver, ROWS)
    after = []
    for row, draft in zip(ROWS, before, strict=True):
        inputs = {"question": row["question"], "draft": draft}
        inputs |= ask(critic, criticise, inputs)
        after.append(ask(solver, refine, inputs)["answer"])
    return share(rights(before, ROWS)), share(rights(after, ROWS))


def test_good_feedback_helps_and_bad_feedback_misleads() -> None:
    middling = steady("middling", skills={"arithmetic": 0.5}, persuadability=0.6)
    before, after = refined(middling, ABLE)
    assert after > before + 0.15
    before, after = refined(middling, UNABLE)
    assert after < before


def test_debaters_join_the_majority_as_far_as_they_can_be_persuaded() -> None:
    signature = dspy.Signature("question, other_answer_1, other_answer_2 -> answer")

    def joined(persuadability: float) -> float:
        model = steady(skills={"arithmetic": 0.3}, persuadability=persuadability)
        others = ("other_answer_1", "other_answer_2")
        given = [
            ask(model, signature, {"question": row["question"], **dict.fromkeys(others, "7")})
            for row in ROWS
        ]
        return share([fields["answer"].split()[0] == "7" for fields in given])

    assert joined(0.0) < 0.05
    assert 0.2 < joined(0.4) < joined(0.9)


def test_debate_with_better_models_helps() -> None:
    signature = dspy.Signature("question, answers: list[str] -> answer")
    weak = steady(skills={"arithmetic": 0.3}, persuadability=0.7)
    others = [answers(steady(f"good-{n}", skills={"arithmetic": 0.9}), ROWS) for n in range(2)]
    alone = answers(weak, ROWS)
    debated = [
        ask(weak, signature, {"question": row["question"], "answers": list(given)})["answer"]
        for row, *given in zip(ROWS, *others, strict=True)
    ]
    assert share(rights(debated, ROWS)) > share(rights(alone, ROWS)) + 0.2


def test_writers_propose_variants_that_matter() -> None:
    signature = dspy.Signature(
        "basic_instruction -> proposed_instruction, proposed_prefix_for_output_field",
        "You are an instruction optimizer for large language models.",
    )
    writer = steady("writer", skills={"write_instructions": 1.0})
    basic = "Extract the task whose ID is asked for."
    drawn = [
        ask(writer, signature, {"basic_instruction": basic}, seed=seed)["proposed_instruction"]
        for seed in range(12)
    ]
    assert len(set(drawn)) > 4
    assert all(text.startswith(basic) for text in drawn)
    assert all(any(phrase.text in text.lower() for phrase in PHRASES) for text in drawn)


def test_writers_improve_on_the_last_attempt_and_answer_gepa_in_a_block() -> None:
    writer = steady("writer", skills={"write_instructions": 1.0})
    attempts = "Instruction #1: Do it.\nResulting Score #1: 3\nInstruction #2: Do it well."
    signature = dspy.Signature("attempted_instructions -> proposed_instruction")
    got = ask(writer, signature, {"attempted_instructions": attempts})["proposed_instruction"]
    assert got.startswith("Do it well.")
    prompt = (
        "I provided an assistant with the following instructions:\n```\nFind it.\n```\nYour task "
        "is to write a new instruction for the assistant. Provide it within ``` blocks."
    )
    text = simulate(writer, [{"role": "user", "content": prompt}]).text
    assert text.startswith("```\nFind it.")
    assert text.endswith("\n```")


def test_field_names_do_not_matter() -> None:
    row = simulated_dataset("locate_solve", 1, seed=9)[0]
    renamed = dspy.Signature("zeile, frage -> aufgabe", LOCATE.instructions)
    perfect = steady(skills={"locate": 1.0})
    one = ask(perfect, LOCATE, {"table": row["table"], "question": row["question"]})["task"]
    other = ask(perfect, renamed, {"zeile": row["table"], "frage": row["question"]})["aufgabe"]
    assert one == other


def test_the_prompt_holds_all_that_a_model_sees() -> None:
    messages = ChatAdapter().format(QUESTION, [], {"question": "What is the capital of Nowhere?"})
    text = simulate(ABLE, messages).text
    assert "capital" in text  # nothing to compute, so it only repeats what it was given
