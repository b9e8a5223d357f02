"""Simulated models err as language models do."""

from __future__ import annotations

from collections import Counter

import dspy
import numpy as np
import pytest

from benchmarks.worlds import simulated_dataset
from tests.pipelines.providers.simulated.asking import (
    QUESTION,
    answers,
    ask,
    reply,
    rights,
    share,
    steady,
)

ARITHMETIC = simulated_dataset("arithmetic", 2000, seed=11)
FEW = ARITHMETIC[:500]


@pytest.mark.parametrize("skill", [0.1, 0.35, 0.7, 0.97])
def test_measured_accuracy_is_the_configured_skill(skill: float) -> None:
    model = steady(f"m{skill}", skills={"arithmetic": skill})
    measured = share(rights(answers(model, ARITHMETIC, temperature=0), ARITHMETIC))
    assert measured == pytest.approx(skill, abs=0.035)  # three standard errors of 2,000 items


def test_skills_are_told_apart() -> None:
    model = steady(skills={"arithmetic": 0.95, "reverse": 0.2})
    words = simulated_dataset("reverse", 500)
    assert share(rights(answers(model, FEW, temperature=0), FEW)) > 0.9
    assert share(rights(answers(model, words, temperature=0), words)) < 0.3


def test_skill_zero_is_always_wrong_and_skill_one_always_right() -> None:
    for skill in (0.0, 1.0):
        model = steady(skills={"arithmetic": skill})
        assert share(rights(answers(model, FEW), FEW)) == skill


def test_errors_of_different_models_are_correlated_but_not_the_same() -> None:
    one, other = (
        rights(answers(steady(name, skills={"arithmetic": 0.6}), ARITHMETIC), ARITHMETIC)
        for name in ("one", "other")
    )
    correlation = np.corrcoef(one, other)[0, 1]
    assert 0.15 < correlation < 0.6


def test_some_wrong_answers_are_popular() -> None:
    models = [steady(f"m{number}", skills={"arithmetic": 0.0}) for number in range(12)]
    given = [answers(model, FEW[:100], temperature=0) for model in models]
    tops = [Counter(column).most_common(1)[0][1] / 12 for column in zip(*given, strict=True)]
    distinct = [len(set(column)) for column in zip(*given, strict=True)]
    assert 0.35 < float(np.mean(tops)) < 0.9
    assert float(np.mean(distinct)) > 2


def test_the_same_call_gives_the_same_bytes_and_another_seed_another_draw() -> None:
    model = steady(skills={"arithmetic": 0.5})
    question = {"question": "Compute 17 * 23 - 5"}
    same = {reply(model, QUESTION, question, temperature=0.7, seed=3).text for _ in range(5)}
    assert len(same) == 1
    drawn = Counter(
        ask(model, QUESTION, FEW[number], temperature=0.7, seed=seed)["answer"] == row["answer"]
        for number, row in enumerate(FEW[:50])
        for seed in range(4)
    )
    assert min(drawn[True], drawn[False]) > 20
    one, other = (answers(model, FEW, temperature=0.7, seed=seed) for seed in (0, 1))
    assert 0.1 < share([a != b for a, b in zip(one, other, strict=True)]) < 0.7


def test_at_temperature_zero_the_seed_has_no_effect() -> None:
    model = steady(skills={"arithmetic": 0.5})
    texts = {reply(model, QUESTION, FEW[0], temperature=0, seed=seed).text for seed in range(20)}
    assert len(texts) == 1


def test_no_temperature_means_one() -> None:
    model = steady(skills={"arithmetic": 0.5})
    assert answers(model, FEW[:50], seed=2) == answers(model, FEW[:50], temperature=1.0, seed=2)


def test_temperature_trades_accuracy_for_diversity() -> None:
    model = steady(skills={"arithmetic": 0.7})
    accuracy, diversity = [], []
    for temperature in (0.0, 0.7, 1.5):
        samples = [answers(model, FEW, temperature=temperature, seed=seed) for seed in range(4)]
        accuracy.append(np.mean([share(rights(sample, FEW)) for sample in samples]))
        diversity.append(np.mean([len(set(column)) for column in zip(*samples, strict=True)]))
    assert diversity[0] == 1 < diversity[1] < diversity[2]
    assert accuracy[0] > accuracy[2] > accuracy[0] - 0.2
    assert accuracy[0] - accuracy[1] < 0.06


def test_a_vote_over_samples_helps_a_model_that_is_mostly_right() -> None:
    model = steady(skills={"arithmetic": 0.6})
    samples = [answers(model, FEW, temperature=0.7, seed=seed) for seed in range(7)]
    votes = [Counter(column).most_common(1)[0][0] for column in zip(*samples, strict=True)]
    singles = float(np.mean([share(rights(sample, FEW)) for sample in samples]))
    assert share(rights(votes, FEW)) > singles + 0.02


@pytest.mark.parametrize("signature", ["question -> answer", "question -> reasoning, answer"])
def test_wrong_answers_are_longer(signature: str) -> None:
    model = steady(skills={"arithmetic": 0.5})
    lengths: dict[bool, list[int]] = {True: [], False: []}
    for row in FEW:
        fields = dspy.Signature(signature)
        got = reply(model, fields, {"question": row["question"]})
        is_right = f"[[ ## answer ## ]]\n{row['answer']}\n" in got.text
        lengths[is_right].append(got.output_tokens)
    assert np.mean(lengths[False]) > 1.1 * np.mean(lengths[True])


def test_reasoning_first_helps_in_arithmetic_and_costs_tokens() -> None:
    model = steady(skills={"arithmetic": 0.5})
    thinking = dspy.Signature("question -> reasoning, answer")
    plain = rights(answers(model, ARITHMETIC, temperature=0), ARITHMETIC)
    thought = rights(answers(model, ARITHMETIC, thinking, temperature=0), ARITHMETIC)
    assert share(thought) > share(plain) + 0.02
    tokens = [reply(model, sig, FEW[0]).output_tokens for sig in (QUESTION, thinking)]
    assert tokens[1] > 2 * tokens[0]


def test_instructions_help_some_models_and_hurt_others() -> None:
    urged = QUESTION.with_instructions(f"{QUESTION.instructions} Check your work.")
    gains = []
    for number in range(8):
        model = steady(f"model-{number}", skills={"arithmetic": 0.5})
        before = share(rights(answers(model, FEW, temperature=0), FEW))
        gains.append(share(rights(answers(model, FEW, urged, temperature=0), FEW)) - before)
    assert max(gains) > 0.04
    assert min(gains) < -0.02


def test_own_phrase_effects_take_precedence() -> None:
    effects = {"be concise": {"arithmetic": 1.2}}
    model = steady(skills={"arithmetic": 0.4}, phrase_effects=effects)
    urged = QUESTION.with_instructions("Answer. Be concise.")
    before = share(rights(answers(model, FEW, temperature=0), FEW))
    assert share(rights(answers(model, FEW, urged, temperature=0), FEW)) > before + 0.2


def test_right_demos_help_and_wrong_ones_hurt() -> None:
    from dspy.adapters import ChatAdapter

    from benchmarks.worlds import simulate

    model = steady(skills={"arithmetic": 0.5})

    def accuracy(result: str | None) -> float:
        demo = {"question": "Compute 2 + 3 * 4", "answer": result}
        demos = [demo] * 4 if result else []
        texts = [
            simulate(model, ChatAdapter().format(QUESTION, demos, row), temperature=0).text
            for row in FEW
        ]
        return share([f"]]\n{r['answer']}\n" in text for text, r in zip(texts, FEW, strict=True)])

    assert accuracy("14") > accuracy(None) + 0.03
    assert accuracy("20") < accuracy(None) - 0.05
