"""Multiple choice: what the order of the options changes, and what it does not."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache

import numpy as np
import pytest

from benchmarks.worlds import simulated_dataset
from benchmarks.worlds.knowledge import OptionSolution
from pipelines.providers.simulated.draws import difficulty_of
from pipelines.providers.simulated.request import OutputField, ParsedRequest
from pipelines.providers.simulated.tasks import find_solution
from tests.pipelines.providers.simulated.asking import QUESTION, ask, steady

LETTERS = "ABCDEFGHIJ"
ROWS = simulated_dataset("multiple_choice", 400, seed=61)
ORDERS = 5


def reordered(question: str, seed: int) -> tuple[str, dict[str, str]]:
    """The question with its options in another order, and the old letter of each new one."""
    head, *lines = question.splitlines()
    old = list(range(len(lines)))
    if seed:
        random.Random(f"{seed}/{question}").shuffle(old)
    shown = [f"({LETTERS[new]}) {lines[place][4:]}" for new, place in enumerate(old)]
    back = {LETTERS[new]: LETTERS[place] for new, place in enumerate(old)}
    return "\n".join([head, *shown]), back


def solution(question: str) -> OptionSolution:
    found = find_solution(ParsedRequest("", {"q": question}, (OutputField("answer"),)))
    assert isinstance(found, OptionSolution)
    return found


@cache
def votes(skill: float) -> tuple[np.ndarray, np.ndarray, Counter[str]]:
    """What a model answers, in the first order's letters; what is right; letters of its slips."""
    model = steady(skills={"knowledge": skill})
    slips: Counter[str] = Counter()
    given = []
    for row in ROWS:
        answers = []
        for seed in range(ORDERS):
            question, back = reordered(row["question"], seed)
            letter = ask(model, QUESTION, {"question": question}, temperature=0)["answer"][0]
            answers.append(back[letter])
            if back[letter] != row["answer"]:
                slips[letter] += 1
        given.append(answers)
    return np.array(given), np.array([row["answer"] for row in ROWS]), slips


def test_difficulty_and_tempting_options_belong_to_the_set_of_options() -> None:
    for row in ROWS[:50]:
        question, back = reordered(row["question"], 1)
        one, other = solution(row["question"]), solution(question)
        assert one.item == other.item
        assert [*one.options.values()] != [*other.options.values()]
        assert difficulty_of(one.skill, one.item) == difficulty_of(other.skill, other.item)
        assert [back[letter] for letter in other.wrong_by_popularity] == list(
            one.wrong_by_popularity
        )
        assert back[other.right] == one.right


@pytest.mark.parametrize("skill", [0.45, 0.65])
def test_a_vote_over_orders_is_a_little_better_than_one(skill: float) -> None:
    given, right, _ = votes(skill)
    orders = (given == right[:, None]).mean(axis=0)
    singles = orders.mean()
    voted = np.array([Counter(answers).most_common(1)[0][0] for answers in given])
    assert max(orders) - min(orders) < 0.08  # no order is better than another
    assert singles + 0.005 < (voted == right).mean() < singles + 0.08


def test_another_order_redraws_only_a_share_of_the_luck() -> None:
    given, right, _ = votes(0.45)
    same = (given[:, 0] == given[:, 1]).mean()
    assert 0.5 < same < 0.85
    correct = given == right[:, None]
    assert 0.5 < np.corrcoef(correct[:, 0], correct[:, 1])[0, 1] < 0.95


def test_earlier_letters_tempt_somewhat_more() -> None:
    slips = votes(0.45)[2] + votes(0.65)[2]
    early, late = (sum(slips[letter] for letter in half) for half in (LETTERS[:5], LETTERS[5:]))
    assert 1.1 < early / late < 1.8
