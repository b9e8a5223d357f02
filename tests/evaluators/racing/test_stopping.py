"""Who stops in a race, by objective: on evaluations made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.objective import QUALITY, Objective
from evaluators.outcome import Evaluation, Outcome
from evaluators.racing.stopping import ALIKE, HALVING, UNHURRIED, ErrorRate, Patience, stopping
from pipelines import Failure

EAGER = Patience(better_half=1.64, worse_half=1.64)


def scored(
    scores: Sequence[float], usd: float = 1.0, latency_s: float = 1.0, wobble: float = 0.0
) -> Evaluation:
    """Costs that alternate around their means."""
    return Evaluation(
        {
            i: Outcome(s, usd + wobble * (-1) ** i, 1, latency_s + wobble * (-1) ** i, None)
            for i, s in enumerate(scores)
        }
    )


def timed(scores: Sequence[float], seconds: Sequence[float]) -> Evaluation:
    return Evaluation(
        {
            i: Outcome(s, 1.0, 1, t, None)
            for i, (s, t) in enumerate(zip(scores, seconds, strict=True))
        }
    )


def share(right: int, of: int) -> list[float]:
    """So many right, spread evenly."""
    return [float((i * right) % of < right) for i in range(of)]


def stops(
    objective: Objective = QUALITY, patience: Patience = EAGER, **entrants: Evaluation
) -> dict[str, str]:
    return stopping(entrants, ErrorRate(), patience, objective)


def test_who_met_too_many_outages_stops_and_is_told_their_kinds_only() -> None:
    own = Failure("unparsable", "solve", "no field", infrastructure=False)
    outage = Failure("timeout", "solve", "late", infrastructure=True)
    few = scored(share(20, 20)).outcomes
    hit = Evaluation(
        {
            **few,
            0: Outcome(None, 1, 1, 1, outage),
            1: Outcome(1.0, 1, 1, 1, None, members_failed=(outage, own)),
            2: Outcome(0.0, 1, 1, 1, own),
            3: Outcome(1.0, 1, 1, 1, None, members_failed=(outage,)),
        }
    )
    told = stops(hit=hit, fine=scored(share(4, 20)), patience=UNHURRIED)
    assert told == {"hit": "disqualified: outages hit 3 of 20 examples (timeout x3)"}
    two = Evaluation({**hit.outcomes, 3: few[3]})
    assert "two" not in stops(two=two, fine=scored(share(4, 20))), "2 of 20 are not above a tenth"


def test_one_outage_among_few_examples_stops_nobody_unless_nothing_else_happened() -> None:
    outage = Outcome(None, 1, 1, 1, Failure("timeout", "solve", "late", infrastructure=True))
    one = Evaluation({**scored(share(8, 8)).outcomes, 0: outage})
    assert one.disqualified, "as far as it came"
    only = Evaluation({0: outage})
    assert list(stops(one=one, only=only, fine=scored(share(8, 8)))) == ["only"]


def test_who_is_clearly_over_a_limit_stops_where_another_meets_it() -> None:
    within = Objective(max_cost_usd=1.0)
    dear, cheap = scored(share(20, 20), usd=2.0, wobble=0.1), scored(share(2, 20), usd=0.5)
    told = stops(within, dear=dear, cheap=cheap)
    assert told == {"dear": "2 dollars per example, over the limit of 1"}
    slow = scored(share(20, 20), latency_s=9.0)
    assert list(stops(Objective(max_latency_s=8), slow=slow, cheap=cheap)) == ["slow"]


@pytest.mark.parametrize(("slow", "of", "stopped"), [(2, 40, False), (4, 40, False), (5, 40, True)])
def test_a_tail_is_over_its_limit_where_clearly_more_than_a_twentieth_is_slow(
    slow: int, of: int, *, stopped: bool
) -> None:
    """Under 5%, 4 or more of 40 have a probability of 14%, 5 or more of 5%."""
    erratic = timed(share(of, of), [9.0 if i < slow else 0.1 for i in range(of)])
    steady = timed(share(2, of), [2.0] * of)
    assert erratic.latency_s < steady.latency_s, "the mean does not show it"
    told = stops(Objective(max_latency_p95_s=3), erratic=erratic, steady=steady)
    why = "5 of 40 runs took longer than 3 seconds, more than 5%"
    assert told.get("erratic") == (why if stopped else None)


def test_where_no_tail_meets_the_limit_the_closest_goes_on() -> None:
    near = timed(share(1, 40), [1.0] * 36 + [4.0] * 4)
    far = timed(share(40, 40), [1.0] * 20 + [9.0] * 20)
    told = stops(Objective(max_latency_p95_s=3), far=far, near=near, patience=HALVING)
    assert told == {"far": "3 times the limit, farther from it than another"}


def test_who_is_over_a_limit_by_chance_only_goes_on() -> None:
    near = scored(share(20, 20), usd=1.01, wobble=0.5)
    assert stops(Objective(max_cost_usd=1.0), near=near, cheap=scored(share(19, 20), 0.5)) == {}


def test_where_nobody_meets_the_limits_the_closest_goes_on_whatever_it_scores() -> None:
    far, near = scored(share(20, 20), usd=9.0, wobble=1.0), scored(share(1, 20), usd=2.0)
    told = stops(Objective(max_cost_usd=1.0), far=far, near=near, patience=HALVING)
    assert told == {"far": "9 times the limit, farther from it than another"}


def test_both_limits_count_by_the_worse() -> None:
    cheap_but_slow = scored(share(9, 9), usd=1.5, latency_s=40.0)
    balanced = scored(share(1, 9), usd=3.0, latency_s=3.0)
    both = Objective(max_cost_usd=1.0, max_latency_s=1.0)
    assert list(stops(both, slow=cheap_but_slow, balanced=balanced)) == ["slow"]


def test_the_cheapest_good_enough_wins_and_what_is_dearer_stops_but_for_the_best() -> None:
    best = scored(share(60, 60), usd=3.0)
    nearly = scored([*share(59, 59), 0.0], usd=1.0)
    middling = scored([*share(59, 59), 0.0], usd=2.0)
    bad = scored(share(30, 60), usd=0.1)
    told = stops(Objective(within=0.1), best=best, middling=middling, nearly=nearly, bad=bad)
    assert set(told) == {"middling", "bad"}
    assert told["middling"] == "dearer than one at $1 per example that is good enough"
    assert told["bad"] == "50.0 points behind the leader on 60"


def test_behind_by_less_than_is_allowed_is_not_behind() -> None:
    best, cheaper = scored(share(200, 200), usd=2.0), scored(share(190, 200), usd=1.0)
    assert list(stops(best=best, cheaper=cheaper)) == ["cheaper"]
    assert "cheaper" not in stops(Objective(within=0.1), best=best, cheaper=cheaper)


def test_who_stops_at_a_tie_is_not_said_to_be_behind() -> None:
    first, second = scored(share(4, 8)), scored(share(4, 8)[::-1])
    assert stops(patience=HALVING, first=first, second=second) == {
        "second": "level with the leader on 8"
    }
    same = scored(share(32, 64), usd=2.0)
    told = stops(Objective(pareto=True), base=scored(share(32, 64)), same=same)
    assert told == {"same": "level with one at $1 and 1 s"}


def test_on_a_front_stops_only_what_is_dearer_slower_and_clearly_no_better() -> None:
    front = Objective(pareto=True)
    base = scored(share(40, 64), usd=1.0, latency_s=1.0)
    worse = scored([*share(20, 32), *([0.0] * 32)], usd=2.0, latency_s=2.0)
    assert list(stops(front, base=base, worse=worse)) == ["worse"]
    for better_in_one in (
        scored([*share(20, 32), *([0.0] * 32)], usd=0.5, latency_s=2.0),
        scored([*share(20, 32), *([0.0] * 32)], usd=2.0, latency_s=0.5),
        scored(share(41, 64), usd=2.0, latency_s=2.0),
    ):
        assert stops(front, base=base, other=better_in_one) == {}


@pytest.mark.parametrize(("examples", "told"), [(ALIKE - 1, []), (ALIKE, ["same"])])
def test_on_a_front_equals_are_told_apart_by_their_costs_after_enough_examples(
    examples: int, told: list[str]
) -> None:
    same = scored(share(examples // 2, examples), usd=2.0)
    base = scored(share(examples // 2, examples), usd=1.0)
    assert list(stops(Objective(pareto=True), base=base, same=same)) == told


def test_surely_is_the_less_patient_of_both_halves() -> None:
    assert Patience(1.64, 1.0).surely == 1.0
    assert HALVING.surely == pytest.approx(1.28)
    assert UNHURRIED.surely == math.inf


ENTRANTS = st.lists(
    st.tuples(
        st.integers(0, 24), st.sampled_from([0.5, 1.0, 2.0, 4.0]), st.sampled_from([0.5, 1.0, 3.0])
    ),
    min_size=1,
    max_size=5,
)
OBJECTIVES = st.just(Objective(pareto=True)) | st.builds(
    Objective,
    max_cost_usd=st.sampled_from([None, 0.1, 1.0, 2.0]),
    max_latency_s=st.sampled_from([None, 0.1, 1.0]),
    max_latency_p95_s=st.sampled_from([None, 0.1, 1.0]),
    within=st.sampled_from([None, 0.0, 0.1]),
)


@given(ENTRANTS, OBJECTIVES, st.sampled_from([EAGER, HALVING, UNHURRIED]))
def test_whom_the_objective_would_choose_never_stops(
    drawn: list[tuple[int, float, float]], objective: Objective, patience: Patience
) -> None:
    """Where costs do not vary: then what is measured is what is true."""
    entrants = {f"{n}": scored(share(right, 24), usd, s) for n, (right, usd, s) in enumerate(drawn)}
    left = set(entrants) - set(stops(objective, patience, **entrants))
    assert left
    costs = [e.costs for e in entrants.values()]
    if objective.pareto:
        return
    chosen = objective.choose(costs, costs)
    if objective.within is None and any(map(objective.meets, costs)):
        best = max(c.score for c in costs if objective.meets(c))
        assert best in {entrants[key].mean for key in left if objective.meets(entrants[key].costs)}
    elif not any(map(objective.meets, costs)):
        excess = min(objective.excess(entrants[key].costs) for key in left)
        assert excess == objective.excess(chosen)
