"""What looked better than the result without earning its place is printed, and can be picked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.loopback import LoopbackServer
from evaluators.statistics import Interval
from optimizer.results.operating_points import OperatingPoint, Unproven, operating_points, unproven
from optimizer.results.result import Result
from pipelines.gateway.budget import Budget
from search_spaces import SearchSpace
from tests.optimizer.made import MODELS, make_config, make_pipeline, make_result
from tests.optimizer.runs import PRICES, served_model
from tests.optimizer.searches import CHECKER, FOOL, VOTER, against_given, begun, with_solve


def named(estimate: float, temperature: float) -> Unproven:
    config = make_config(*MODELS, temperature=temperature)
    point = OperatingPoint(
        make_pipeline().with_config(config, ()), Interval(0.9, 0.7, 1.0), 0.01, 1.0, 2.0,
        "search", estimate,
    )  # fmt: skip
    return Unproven(
        point,
        "run on 12 of 40 search examples only",
        chosen=0.9,
        changed="solve.instructions: Add. -> Be brief.",
    )


@pytest.fixture
def result() -> Result:
    return make_result(unproven=(named(0.95, 0.7), named(0.93, 0.2)))


def test_the_best_of_them_is_printed_with_its_estimate_and_the_reason(result: Result) -> None:
    printed = " ".join(str(result).split())
    text = "solve.instructions: Add. -> Be brief."
    estimates = "estimated at 95.0% (what was chosen: 90.0%)"
    assert f"Looked better, not chosen: {text}, {estimates}, but run on 12 of 40" in printed
    assert "; and 1 more." in printed
    assert "result.pick(unproven=True)" in printed
    assert "Looked better" not in str(replace(result, unproven=()))


def test_it_can_be_picked_and_is_not_picked_unasked(result: Result) -> None:
    assert result.pick(unproven=True) == result.unproven[0].point
    with pytest.raises(ValueError, match="no config was scored"):
        result.pick()
    with pytest.raises(ValueError, match="nothing looked better"):
        make_result().pick(unproven=True)


def test_the_reason_is_what_kept_it_from_leading() -> None:
    """Of 16 examples the baseline has three right, `most` one more, and `few` all it was asked."""
    rows = [{"question": f"Which is {n}?", "answer": str(n)} for n in range(10, 26)]

    def reply(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
        number = int(re.findall(r"Which is (\d+)\?", messages[-1]["content"])[-1])
        more = 16 if params["model"] == "birch" else int(params["temperature"] == 0.7)
        answer = number if number < 13 + more else 7
        return f"[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]"

    with LoopbackServer(reply=reply, prices=PRICES) as server:
        models = [served_model(server.url, name) for name in ("rowan", "birch")]
        state = begun(models, SearchSpace(), rows)
        few = state.baseline.with_models({"solve": "birch"})
        most, equal = (with_solve(state, temperature=degrees) for degrees in (0.7, 0.9))
        state.look("look", [few], 4)
        state.look("look", [most, equal], 16)
    arena = against_given(state, [few, most])
    state.lead(arena)
    state.estimates |= {most.key: 0.999, equal.key: 0.999}
    bound = state.evaluator.pipeline.with_config
    found = unproven(state, lambda known: known.interval, lambda config: bound(config, ()))
    assert [(each.point.config, each.reason) for each in found] == [
        (most, "not better with a probability of 80%"),
        (few, "run on 4 of 16 search examples only"),
    ]
    assert [each.changed for each in found] == [
        "solve.temperature: 1 -> 0.7", "solve.model: rowan -> birch",
    ]  # fmt: skip
    assert (found[0].point.estimate, found[0].chosen) == (0.999, state.estimate(state.baseline))
    assert state.incumbent == state.baseline
    front = operating_points(state, {}, lambda known: known.interval, lambda c: bound(c, ()), ())
    assert {p.config.key: p.estimate for p in front}[most.key] == found[0].point.estimate
    state.passed_over.clear()
    reasons = unproven(state, lambda known: known.interval, lambda config: bound(config, ()))
    assert reasons[0].reason == "in no race after it was run on all search examples"


@pytest.mark.parametrize("label", [CHECKER, FOOL])
def test_only_what_had_earned_its_place_is_too_dear(label: str) -> None:
    state = begun([VOTER, CHECKER, FOOL], SearchSpace(), examples=16, budget=Budget(calls=32 + 9))
    state.reserve = replace(state.reserve, examples=8, may_change=True)
    other = state.baseline.with_models({"solve": label})
    state.look("look", [other], 16)
    arena = against_given(state, [other])
    state.lead(arena)
    assert state.incumbent == state.baseline, "nothing is left for the holdout"
    assert ("too expensive" in state.passed_over[other.key]) == (label == CHECKER)
