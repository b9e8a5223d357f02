"""What makes one config better than another, against brute force on small whole numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.hypervolume import hypervolume
from evaluators.objective import QUALITY, Costs, Objective, as_objective, front

SIDE = 5
WHOLE = st.integers(0, SIDE)
POINTS = st.lists(st.builds(Costs, WHOLE, WHOLE, WHOLE), max_size=6)
REFERENCE = Costs(0, SIDE, SIDE)

SCORES = st.integers(0, 40).map(lambda n: n / 40)
CENTS = st.integers(1, 12).map(lambda n: n / 4)
COSTS = st.builds(Costs, SCORES, CENTS, CENTS, CENTS)
LIMIT = st.none() | CENTS
OBJECTIVES = st.builds(
    Objective,
    max_cost_usd=LIMIT,
    max_latency_s=LIMIT,
    max_latency_p95_s=LIMIT,
    within=st.none() | st.sampled_from([0.0, 0.01, 0.05, 0.3]),
)


def test_an_objective_that_says_two_things_at_once_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^of='single_model' needs within="):
        Objective(of="single_model")
    for limit in ("within", "max_cost_usd", "max_latency_s", "max_latency_p95_s"):
        arguments: Any = {"pareto": True, limit: 0.1}
        with pytest.raises(ValueError, match=r"^pareto=True looks .* give limits to Result"):
            Objective(**arguments)


def no_worse(a: Costs, b: Costs) -> bool:
    return a.score >= b.score and a.usd <= b.usd and a.latency_s <= b.latency_s


def test_the_tail_decides_who_meets_a_limit_but_not_who_is_on_the_front() -> None:
    steady, erratic = Costs(0.5, 1.0, 1.0, 1.5), Costs(0.6, 1.0, 1.0, 9.0)
    assert front([steady, erratic]) == [1]
    limited = Objective(max_latency_p95_s=2)
    assert limited.choose(["steady", "erratic"], [steady, erratic]) == "steady"
    assert limited.excess(erratic) == 4.5


def test_an_unknown_latency_meets_no_limit_and_counts_as_the_longest() -> None:
    unknown, same = Costs(0.6, 1.0, math.nan, math.nan), Costs(0.6, 1.0, -math.nan)
    slow = Costs(0.5, 1.0, 9.0, 9.0)
    for limited in (Objective(max_latency_s=9), Objective(max_latency_p95_s=9)):
        assert not limited.meets(unknown)
        assert limited.choose(["unknown", "slow"], [unknown, slow]) == "slow"
    assert Objective(max_cost_usd=1).meets(unknown)
    assert front([unknown, same, slow]) == [0, 2]
    assert front([unknown, slow._replace(score=0.6)]) == [1]


@given(POINTS)
def test_domination_is_a_strict_order(points: Sequence[Costs]) -> None:
    for a, b, c in itertools.product(points, repeat=3):
        assert a.dominates(b) == (no_worse(a, b) and a[:3] != b[:3])
        assert not (a.dominates(b) and b.dominates(a))
        assert a.dominates(c) or not (a.dominates(b) and b.dominates(c))


@given(POINTS)
def test_the_front_holds_who_is_not_dominated_each_once(points: Sequence[Costs]) -> None:
    held = [points[place] for place in front(points)]
    kept = {point[:3] for point in held}
    assert len(kept) == len(held)
    assert kept == {p[:3] for p in points if not any(q.dominates(p) for q in points)}
    traded = [point[:3] for point in points]
    assert front(points) == [traded.index(point[:3]) for point in held], "of equals, the first"
    for point in points:
        assert any(no_worse(other, point) for other in held)


@given(POINTS)
@example([Costs(2, 3, 3), Costs(3, 2, 3), Costs(3, 3, 2)])
def test_hypervolume_counts_the_cells_that_are_dominated(points: Sequence[Costs]) -> None:
    """A unit cell, given by its worst corner but one, is covered by whoever is no worse there."""
    cells = itertools.product(range(1, SIDE + 1), range(SIDE), range(SIDE))
    covered = sum(any(no_worse(point, Costs(*cell)) for point in points) for cell in cells)
    assert hypervolume(points, REFERENCE) == pytest.approx(covered)


@given(POINTS, st.randoms(use_true_random=False))
def test_hypervolume_is_that_of_the_front_in_any_order(points: list[Costs], rng: object) -> None:
    whole = hypervolume(points, REFERENCE)
    held = [points[place] for place in front(points)]
    rng.shuffle(points)  # type: ignore[attr-defined]
    assert hypervolume(points, REFERENCE) == pytest.approx(whole)
    assert hypervolume(held, REFERENCE) == pytest.approx(whole)


def test_what_lies_beyond_the_reference_counts_for_nothing() -> None:
    reference = Costs(0.5, 1.0, 2.0)
    inside = Costs(0.9, 0.5, 1.0)
    assert hypervolume([inside], reference) == pytest.approx(0.4 * 0.5 * 1.0)
    outside = [Costs(0.4, 0.1, 0.1), Costs(1.0, 1.5, 0.1), Costs(1.0, 0.1, 2.0)]
    assert hypervolume([inside, *outside], reference) == hypervolume([inside], reference)
    assert hypervolume([], reference) == 0


@given(OBJECTIVES, st.lists(COSTS, min_size=1, max_size=6))
def test_the_choice_is_the_cheapest_of_the_good_enough(
    objective: Objective, costs: Sequence[Costs]
) -> None:
    chosen = objective.choose(costs, costs)
    within = [c for c in costs if objective.meets(c)]
    if not within:
        assert objective.excess(chosen) == min(map(objective.excess, costs))
        return
    assert chosen in within
    least = max(c.score for c in within) - objective.tolerance
    enough = [c for c in within if c.score >= least - 1e-9]
    assert chosen in enough
    assert chosen.usd == min(c.usd for c in enough)
    assert chosen.score == max(c.score for c in enough if c.usd == chosen.usd)


@given(OBJECTIVES, COSTS)
def test_limits_are_met_where_no_figure_is_above_its_own(objective: Objective, c: Costs) -> None:
    figures = (c.usd, c.latency_s, c.latency_p95_s)
    limits = (objective.max_cost_usd, objective.max_latency_s, objective.max_latency_p95_s)
    fits = all(
        limit is None or value <= limit for value, limit in zip(figures, limits, strict=True)
    )
    assert objective.meets(c) == fits
    assert objective.limited == ({*limits, objective.within} != {None})


def test_names_stand_for_objectives() -> None:
    assert as_objective("quality") is QUALITY
    assert as_objective("pareto") == Objective(pareto=True)
    assert as_objective(Objective(within=0.02)) == Objective(within=0.02)
    with pytest.raises(ValueError, match=r"must be 'quality', 'pareto', or .*; nearest: 'quality'"):
        as_objective("qualty")


@pytest.mark.parametrize("given", [["quality"], {"within": 0.01}, None, Objective])
def test_what_is_no_objective_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"must be 'quality', 'pareto', or an Objective") as raised:
        as_objective(given)
    assert str(raised.value).endswith(f"but got {given!r}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_cost_usd": math.inf},
         "Objective(max_cost_usd=...) must be a finite number, but got inf"),
        ({"max_cost_usd": 0}, "Objective(max_cost_usd=...) must be greater than 0, but got 0"),
        ({"max_latency_s": "1s"},
         "Objective(max_latency_s=...) must be a valid number, but got '1s'"),
        ({"max_latency_p95_s": True},
         "Objective(max_latency_p95_s=...) must be a valid number, but got True"),
        ({"within": 2}, "`0 <= within < 1` must hold (0.01 is one point), but got 2"),
        ({"within": -0.01}, "`0 <= within < 1` must hold (0.01 is one point), but got -0.01"),
        ({"within": float("nan")}, "`0 <= within < 1` must hold (0.01 is one point), but got nan"),
        ({"withing": 0.01},
         "Objective has no 'withing'; nearest: 'within' "
         "(it has max_cost_usd, max_latency_s, max_latency_p95_s, within, of, pareto)"),
        ({"of": "single_modle"},
         "Objective(of=...) must be 'best' or 'single_model', but got 'single_modle'; "
         "nearest: 'single_model'"),
    ],
)  # fmt: skip
def test_limits_that_make_no_sense_are_refused_in_one_line(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is what counts
        Objective(**values)
    assert str(raised.value) == message


def test_values_by_position_are_reported_by_their_names() -> None:
    given: Any = "quality"
    with pytest.raises(ValueError, match=r"^Objective\(max_cost_usd=...\) must be a valid number"):
        Objective(given)


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        (QUALITY, "quality"),
        (Objective(pareto=True), "quality, cost and latency"),
        (Objective(max_cost_usd=0.002), "quality, cost at most $0.002 per example"),
        (
            Objective(within=0.01, max_latency_s=3),
            "cheapest within 1 point, latency at most 3 s",
        ),
        (
            Objective(max_latency_p95_s=2.5),
            "quality, latency at most 2.5 s in 95% of the examples",
        ),
        (
            Objective(within=0.02, of="single_model", max_cost_usd=1.5e-6),
            "cheapest within 2 points of the best single model, "
            "cost at most $0.0000015 per example",
        ),
    ],
)
def test_an_objective_says_what_it_is(objective: Objective, text: str) -> None:
    assert str(objective) == text
