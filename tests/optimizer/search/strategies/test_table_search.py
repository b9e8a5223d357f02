"""Strategies on tables of scores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.score_table import ScoreTable
from optimizer.search.strategies import STRATEGIES
from optimizer.search.table_search import search_table

MODULES = {"locate": ["a", "b", "c", "d"], "solve": ["p", "q", "r", "s", "t"]}


def table(seed: int = 0, examples: int = 60, shared: bool = True, trap: bool = False) -> ScoreTable:
    """The best pair is (d, t); with a trap, each of its halves alone is the worst choice."""
    rng = np.random.default_rng(seed)
    rates = np.full((4, 5), 0.5) + rng.uniform(-0.05, 0.05, (4, 5))
    if trap:
        rates[3], rates[:, 4] = 0.3, 0.3
    rates[3, 4] = 0.9
    hard = rng.normal(0, 0.1, examples)
    scores = rng.random((4, 5, examples)) < rates[..., None] + hard
    return ScoreTable(scores.astype(np.float64), MODULES, shared)


BEST = {"locate": "d", "solve": "t"}


def regret(made: ScoreTable, pick: Mapping[str, Any]) -> float:
    means = made.scores.mean(axis=-1)
    return float(means.max() - means[made.levels(pick)])


@pytest.mark.parametrize("strategy", ["default", "halving", "exhaustive", "random", "tpe"])
def test_each_strategy_finds_the_best_when_calls_are_plenty(strategy: str) -> None:
    assert search_table(table(), strategy, calls=3_000).pick == BEST


@pytest.mark.parametrize("seed", [8, 9])
def test_few_solved_examples_do_not_end_a_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rates = np.clip(rng.uniform(0.7, 0.99, (9, 1)) + rng.uniform(-0.1, 0.05, (9, 9)), 0, 0.99)
    hard = 0.5 * rng.uniform(size=120)
    scores = 0.5 * rng.random((9, 9, 120)) + hard < rates[..., None] - 0.05
    choices = {"answer": list("abcdefghi"), "critic": list("rstuvwxyz")}
    made = ScoreTable(scores.astype(np.float64), choices)
    assert regret(made, search_table(made, calls=None, seed=seed).pick) <= 0.02


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_a_search_ends_where_all_scores_are_equal(score: float) -> None:
    made = ScoreTable(np.full((4, 5, 60), score), MODULES)
    assert 16 * (4 + 5) < search_table(made, calls=None).calls < 500, "of 1,440"
    one_differs = np.full((4, 5, 60), score)
    one_differs[:, :, ::4] = abs(score - 0.1)
    assert search_table(ScoreTable(one_differs, MODULES), calls=None).calls > 500


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@pytest.mark.parametrize("calls", [1, 37, 200])
def test_no_strategy_makes_more_calls_than_it_may(strategy: str, calls: int) -> None:
    found = search_table(table(), strategy, calls=calls)
    assert found.calls <= calls
    assert all(made <= calls for made, _ in found.curve)
    assert set(found.pick) == set(MODULES)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_same_seed_brings_the_same_search(strategy: str) -> None:
    first, again = (search_table(table(), strategy, calls=300, seed=3) for _ in range(2))
    assert first == again


def test_shared_answers_are_one_call() -> None:
    everything = search_table(table(), "exhaustive", calls=None).calls
    assert everything == 60 * (4 + 20)
    assert search_table(table(shared=False), "exhaustive", calls=None).calls == 60 * 40


def test_moves_of_one_module_at_a_time_are_trapped_and_the_default_is_not() -> None:
    start = {"locate": "a", "solve": "p"}
    made = [table(seed, trap=True) for seed in range(8)]
    ours = [search_table(t, calls=1_200, start=start).pick for t in made]
    trapped = [search_table(t, "llmselector", calls=None, start=start).pick for t in made]
    assert sum(pick == BEST for pick in ours) >= 7
    assert sum(pick == BEST for pick in trapped) <= 1


@pytest.mark.parametrize("calls", [60, 120, 150, 400, 1_000])
def test_the_best_is_kept_whatever_the_budget(calls: int) -> None:
    """A search that starts at the optimum returns it, also where the budget ends early."""
    for seed in range(6):
        assert search_table(table(seed), calls=calls, seed=seed, start=BEST).pick == BEST


def test_equal_choices_keep_the_one_in_place() -> None:
    kept = 0
    for seed in range(20):
        scores = (np.random.default_rng(seed).random((4, 5, 40)) < 0.7).astype(np.float64)
        start = {"locate": "b", "solve": "q"}
        made = ScoreTable(scores, MODULES)
        kept += search_table(made, calls=800, seed=seed, start=start).pick == start
    assert kept >= 17


def test_it_is_ahead_of_halving_and_random_search_where_modules_add_up() -> None:
    """Mean regret over 12 tables at 400 of 1,440 calls."""
    found: dict[str, list[float]] = {"default": [], "halving": [], "random": []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rates = 0.55 + rng.normal(0, 0.12, (4, 1)) + rng.normal(0, 0.08, (1, 5))
        scores = rng.random((4, 5, 60)) < rates[..., None] + rng.normal(0, 0.15, 60)
        made = ScoreTable(scores.astype(np.float64), MODULES)
        for strategy, regrets in found.items():
            regrets.append(regret(made, search_table(made, strategy, calls=400, seed=seed).pick))
    assert np.mean(found["default"]) <= np.mean(found["halving"])
    assert np.mean(found["default"]) < np.mean(found["random"])


def test_more_choices_than_can_be_listed() -> None:
    rng = np.random.default_rng(0)
    rates = 0.3 + np.linspace(0, 0.15, 8)[np.indices((8, 8, 8, 8))].sum(axis=0)
    scores = (rng.random((8, 8, 8, 8, 20)) < rates[..., None]).astype(np.float64)
    made = ScoreTable(scores, {name: range(8) for name in "abcd"})
    pick = search_table(made, calls=1_500).pick
    assert sum(pick.values()) >= 21  # of 28; a random pick has 14


def test_llmselector_goes_by_its_diagnoser() -> None:
    made = table(trap=True)

    def oracle(module: str, choices: Mapping[str, Any], example: int) -> list[float]:
        return [float(choice == BEST[module]) for choice in MODULES[module]]

    assert search_table(made, "llmselector", calls=None, diagnoser=oracle).pick == BEST


@settings(max_examples=20)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from(["zeros", "ones", "random"]),
    st.sampled_from(sorted(STRATEGIES)),
    st.integers(1, 60),
)
def test_any_table_comes_to_a_pick(
    first: int, second: int, examples: int, kind: str, strategy: str, calls: int
) -> None:
    shape = (first, second, examples)
    scores = {
        "zeros": np.zeros(shape),
        "ones": np.ones(shape),
        "random": np.random.default_rng(0).random(shape),
    }[kind]
    made = ScoreTable(scores, {"x": range(first), "y": range(second)})
    found = search_table(made, strategy, calls=calls, start={"x": 0, "y": 0})
    assert found.calls <= calls
    made.levels(found.pick)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scores": np.zeros((2, 3))}, "shape"),
        ({"scores": np.full((2, 3, 4), 1.5)}, "lie in [0, 1], and none may be missing (NaN), but "
         "scores[0, 0, 0] is 1.5"),
        ({"scores": np.full((2, 3, 4), np.nan)}, "but scores[0, 0, 0] is nan"),
        ({"scores": "no"}, "must be an array of numbers, or nested lists of equal lengths, but"),
        ({"scores": None}, "array of numbers"),
        ({"scores": [[["0.5"]]]}, "but got [[['0.5']]]"),
        ({"scores": [[1, 0], [1]]}, "equal lengths, but got [[1, 0], [1]]"),
        ({"modules": {}}, "axis for each module"),
        ({"modules": ["a", "b"]}, "modules must map names to choices, but got ['a', 'b']"),
        ({"modules": {1: [1, 2], "b": [1, 2, 3]}}, "a module's name must be text, but got 1"),
        ({"modules": {"a": "xy", "b": [1, 2, 3]}}, "choices of module 'a' must be a list, but got"),
        ({"modules": {"a": [1, 1], "b": [1, 2, 3]}}, "choices that differ, but got 1 twice"),
        ({"modules": {"a": [], "b": [1, 2, 3]}}, "module 'a' needs choices that differ, but got n"),
        ({"scores": np.zeros((2, 3, 0))}, "an example"),
        ({"shared": "no"}, "shared must be True or False, but got 'no'"),
    ],
)  # fmt: skip
def test_tables_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    fine = {"scores": np.zeros((2, 3, 4)), "modules": {"a": [1, 2], "b": [1, 2, 3]}}
    with pytest.raises(ValueError, match=re.escape(message)):
        ScoreTable(**{**fine, **wrong})


@dataclass(frozen=True)
class NoPick:
    """Half of a strategy."""

    def runs(self, arena: Any) -> list[Any]:
        return []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "halfing"}, "no strategy 'halfing'; nearest: 'halving'"),
        ({"strategy": ["tpe"]}, "no strategy ['tpe'] (strategies: default, "),
        ({"strategy": NoPick()}, "has `runs` and `pick`, but NoPick() has no `pick`"),
        ({"calls": 0}, "`calls >= 1` must hold (a whole number), but got 0"),
        ({"calls": 10.5}, "but got 10.5"),
        ({"seed": "0"}, "`seed >= 0` must hold (a whole number), but got '0'"),
        ({"start": {"locate": "a"}}, "each module, such as {'locate': 'a', 'solve': 'p'}, but got"),
        ({"start": ("a", "p")}, "but got ('a', 'p')"),
        ({"start": {"locate": "bb", "solve": "p"}}, "no choice 'bb'; nearest: 'b' (choices: a, b,"),
        ({"table": np.zeros((4, 5, 60))}, "ScoreTable(scores, modules), but got ndarray"),
        ({"diagnoser": "auto"}, "diagnoser must be a function, but got 'auto'"),
        ({"diagnoser": lambda *_: [0.5]}, "must return 4 ratings in [0, 1], or NaN for none, one "
         "for each choice of module 'locate', but returned [0.5]"),
        ({"diagnoser": lambda module, *_: [1.5] * len(MODULES[module])}, "returned [1.5, 1.5, 1."),
        ({"diagnoser": lambda *_: None}, "returned None"),
    ],
)  # fmt: skip
def test_searches_that_make_no_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        search_table(**{"table": table(), **arguments})


def test_a_table_may_be_of_lists_and_leaves_an_array_as_it_was() -> None:
    given = np.eye(2)
    made = ScoreTable(given, {"a": range(1, 3)})
    given[0, 0] = 0.5
    nested: Any = [[1, 0], [0, 1]]
    assert np.array_equal(made.scores, ScoreTable(nested, {"a": (1, 2)}).scores)
