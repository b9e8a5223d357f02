"""The structure stage from end to end: what it finds, what it pays, and what it keeps to."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dspy
import pytest
from optuna.distributions import IntDistribution

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, sample_of
from benchmarks.worlds import SimulatedModel, register, simulated_dataset
from evaluators.objective import Objective
from optimizer.errors import BudgetTooSmall
from optimizer.formatting import points
from optimizer.results.result import Result
from optimizer.search.records.trial import Trial
from optimizer.search.state import SearchState
from optimizer.stages.structure.stage import Structure
from pipelines import Module, Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.model import Model
from search_spaces import (
    AggregatorConfig,
    ModuleConfig,
    PipelineConfig,
    SearchSpace,
    SearchSpaceError,
)
from tests.optimizer.runs import (
    PRICES,
    counting_server,
    outcome,
    served_model,
    tune,
)
from tests.optimizer.searches import CHECKER, SOLVE, VOTER, begun, tailored, with_solve

CHEAP = ("sim/structure-cheap-one", "sim/structure-cheap-two")
STRONG = "sim/structure-strong"
WEAK = "sim/structure-weak"
"""As cheap as the cheap ones, and seldom right."""
ONE_TEMPERATURE: dict[str, Any] = {"temperature": (1.0,), "aggregator": ("majority_vote",)}


@pytest.fixture(scope="module", autouse=True)
def _models() -> None:
    tailored()
    well_behaved: dict[str, Any] = {"refusal_rate": 0.0, "malformed_rate": 0.0}
    for name, skill in (*((name, 0.86) for name in CHEAP), (WEAK, 0.3)):
        register(SimulatedModel(
            name.removeprefix("sim/"), {"arithmetic": skill}, input_usd_per_million=0.1,
            output_usd_per_million=0.4, seconds_per_1k_tokens=3.0, first_token_seconds=0.1,
            **well_behaved,
        ))  # fmt: skip
    register(SimulatedModel(
        STRONG.removeprefix("sim/"), {"arithmetic": 0.98}, input_usd_per_million=10.0,
        output_usd_per_million=40.0, **well_behaved,
    ))  # fmt: skip


def rows(examples: int = 40) -> list[dict[str, str]]:
    return simulated_dataset("arithmetic", examples, 1)


def structured(models: Any, *, examples: int = 40, **arguments: Any) -> Result:
    given = {"pipeline": SOLVE, "diagnoser": None, "stages": "structure", **arguments}
    return tune(given.pop("dataset", rows(examples)), models, **given)


def last_trials(result: Result) -> list[Trial]:
    return list({trial.config.key: trial for trial in result.trials_}.values())


def complete(result: Result) -> list[Trial]:
    return [trial for trial in last_trials(result) if trial.status == "complete"]


def mean(trial: Trial) -> float:
    return trial.score.mean if trial.score else float("nan")


def network(trial: Trial) -> str:
    aggregation = trial.config.modules["solve"].aggregation
    return aggregation.name if aggregation else ""


# What is found


def wavering(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    """On three numbers in four, right in two of any three samples in a row; else always."""
    number = int(re.findall(r"Which is (\d+)\?", messages[-1]["content"])[-1])
    sample = sample_of(messages, params)
    answer = number if number % 4 == 0 or (number + sample) % 3 else -sample
    return f"[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]"


def numbers(examples: int) -> list[dict[str, str]]:
    """For `wavering`."""
    return [{"question": f"Which is {n}?", "answer": str(n)} for n in range(10, 10 + examples)]


@pytest.fixture(scope="module")
def waverer() -> Iterator[Model]:
    with LoopbackServer(reply=wavering, prices=PRICES) as server:
        yield served_model(server.url, "rowan")


@pytest.fixture(scope="module")
def voted(waverer: Model) -> Result:
    space = SearchSpace(width=(1, 5), **ONE_TEMPERATURE)
    return structured(waverer, dataset=numbers(60), search_space=space)


def test_a_vote_that_helps_is_found(voted: Result) -> None:
    best = voted.config.modules["solve"]
    assert best.width > 1
    assert best.aggregator == "majority_vote"
    assert voted.gain.mean > 0
    found, baseline = (
        next(t for t in complete(voted) if t.config == config)
        for config in (voted.config, voted.baseline_config)
    )
    assert mean(found) == 1 > mean(baseline)
    assert found.agreement["solve"] < 1


def test_a_vote_of_the_single_model_is_reported_apart_from_it(voted: Result) -> None:
    width = voted.config.modules["solve"].width
    message = " ".join(str(voted).split())
    assert f"solve.network rowan -> [{width}x rowan -> majority_vote]" in message
    assert "What was found is the best single model" not in message
    assert "in all modules" not in message, "that model is the baseline, which is compared with"
    assert f" the baseline: {points(voted.gain)}" in message


def test_the_tuned_vote_runs_and_knows_its_confidence(voted: Result) -> None:
    shares = {voted.pipeline(question=row["question"]).confidence for row in numbers(8)}
    assert min(shares) < max(shares) <= 1


def test_a_cascade_that_is_as_good_for_less_is_found() -> None:
    objective = Objective(within=0.02)
    space = SearchSpace(width=(1, 2), temperature=(1.0,), aggregator=("cascade",))
    result = structured([STRONG, *CHEAP], examples=60, objective=objective, search_space=space)
    solve = result.config.modules["solve"]
    assert solve.aggregation is not None
    assert solve.aggregation.name == "cascade"
    assert solve.labels[-1] == STRONG
    assert set(solve.labels[:-1]) <= set(CHEAP)
    assert result.tuned_figures.usd_per_example < 0.6 * result.baseline_figures.usd_per_example
    found = next(t for t in complete(result) if t.config == result.config)
    assert mean(found) >= max(map(mean, complete(result))) - 0.02


def cut(answer: str, most: int = 1, words: Any = ()) -> dict[str, str]:
    return {"final": "".join(c for c in answer if c not in words)[:most]}


@pytest.mark.parametrize("choices", [(1, 2, 12), IntDistribution(1, 12)])
def test_a_functions_parameters_are_tuned(choices: Any) -> None:
    pipeline = Pipeline(
        "cut",
        [
            Module("solve", "question -> answer", temperature=0.0),
            Module("cut", "answer -> final", function=cut),
        ],
    )
    space = SearchSpace(
        width=(1,), temperature=(), params={"cut": {"most": choices, "words": (("x",), ("-", "0"))}}
    )
    data = [{"question": row["question"], "final": row["answer"]} for row in rows(24)]
    result = structured("sim/birch", dataset=data, pipeline=pipeline, search_space=space)
    longest = max(len(row["final"]) for row in data)
    assert result.config.modules["cut"].params["most"] >= min(longest, 6)
    assert set(result.config.modules["cut"].params) == {"most"}, "words make no difference"
    assert result.gain.mean > 0.5
    assert result.spent.calls == len(data), "the function's parameters cost no call"


@pytest.mark.parametrize("objective", ["quality", "pareto"])
def test_what_always_fails_costs_nothing_and_wins_nothing(objective: str) -> None:
    """Where all score 0, the cheapest is one whose function raises before any call."""
    pipeline = Pipeline(
        "cut",
        [
            Module("cut", "question -> task", function=shortened),
            Module("solve", "task -> answer", temperature=0.0),
        ],
    )
    result = structured(
        "sim/structure-fool",
        dataset=[{"question": row["question"], "answer": "nowhere"} for row in rows(16)],
        pipeline=pipeline,
        objective=objective,
        search_space=SearchSpace(width=(1,), temperature=(), params={"cut": {"most": ("a", 99)}}),
    )
    raising = [t for t in result.trials_ if t.config.modules["cut"].params.get("most") == "a"]
    assert raising
    assert all(trial.failures for trial in raising)
    assert result.config not in [trial.config for trial in raising]
    assert not {point.config.key for point in result.points} & {t.config.key for t in raising}


def shortened(question: str, most: Any = 99) -> str:
    return question[:most]


def test_networks_that_are_listed_are_compared() -> None:
    listed = (f"3x {VOTER} -> majority_vote", f"{VOTER} + {CHECKER} -> cascade({VOTER})",
              f"2x {VOTER} -> judge({CHECKER}, answer=write)")  # fmt: skip
    space = SearchSpace(network=listed, width=(1,), temperature=())
    result = structured([VOTER, CHECKER], examples=32, search_space=space)
    tried = [
        t for t in result.trials_ if t.stage == "structure" and t.config.modules["solve"].width > 1
    ]
    assert {network(trial) for trial in tried} == {"majority_vote", "cascade", "judge"}
    assert {t.config.modules["solve"].temperature for t in tried} == {1.0}, "as the module has it"
    judged = next(t for t in tried if network(t) == "judge")
    assert judged.config.allocation["solve.judge"] == (CHECKER,)


def test_a_listed_network_that_does_not_fit_what_leads_is_passed_over() -> None:
    """It leaves the models to the module, which by then has two, and no third."""
    open_network = ModuleConfig(width=3, aggregator="majority_vote")
    state = begun(
        [VOTER, CHECKER], SearchSpace(temperature=(1.0,), network={"solve": (open_network,)}),
        examples=16,
    )  # fmt: skip
    state.incumbent = with_solve(state, models=(VOTER, CHECKER), width=2, aggregator="cascade")
    Structure().improve(state)
    assert len(state.trials) > 1, "the others were raced"


# Limits


@pytest.fixture(scope="module")
def strong_alone() -> Trial:
    return structured(STRONG, search_space=SearchSpace(width=(1,), temperature=())).trials_[0]


@pytest.mark.parametrize(
    ("limit", "measured"),
    [
        ("max_cost_usd", "usd_per_example"),
        ("max_latency_s", "latency_s"),
        ("max_latency_p95_s", "latency_p95_s"),
    ],
)
def test_limits_are_kept_and_within_them_the_best_is_taken(
    strong_alone: Trial, limit: str, measured: str
) -> None:
    """The others take under half of what the strong one does."""
    most = 0.7 * getattr(strong_alone, measured)
    objective = Objective(**{limit: most})
    space = SearchSpace(width=(1, 3), **ONE_TEMPERATURE)
    result = structured([STRONG, WEAK, CHEAP[0]], objective=objective, search_space=space)
    trials = {t.config.key: t for t in complete(result)}
    found, strong = trials[result.config.key], trials[result.baseline_config.key]
    assert getattr(found, measured) <= most < getattr(strong, measured)
    allowed = [t for t in complete(result) if objective.meets(t.costs(mean(t)))]
    assert mean(found) > max(map(mean, allowed)) - 0.1, "what is ahead by less may be lucky"
    assert set(found.config.modules["solve"].labels) == {CHEAP[0]}
    assert "no config met" not in str(result)


def test_limits_that_nothing_meets_bring_the_closest_and_say_so() -> None:
    """The cheapest is by far the worst, and would lose any race for the score."""
    result = structured(
        ["sim/alder", "sim/cedar", "sim/larch"],
        dataset=simulated_dataset("multiple_choice", 40, 1),
        objective=Objective(max_cost_usd=1e-8),
        search_space=SearchSpace(width=(1,), temperature=()),
        stages=("allocation", "structure"),
    )
    assert result.config.allocation == {"solve": ("sim/larch",)}
    message = " ".join(str(result).split())
    assert "no config met the objective (quality, cost at most $0.00000001 per example)" in message
    assert "this is the closest, at $0.0000" in message


# The front


@pytest.fixture(scope="module")
def front() -> Result:
    space = SearchSpace(width=(1, 3), **ONE_TEMPERATURE)
    return structured([STRONG, VOTER], examples=60, objective="pareto", search_space=space)


def test_no_point_of_the_front_beats_another_and_none_that_was_raced_is_missing(
    front: Result,
) -> None:
    def worth(trial: Trial) -> tuple[float, float, float]:
        return (mean(trial), -trial.usd_per_example, -trial.latency_s)

    raced = {t.config.key: worth(t) for t in complete(front)}
    held = {point.config.key for point in front.points}
    assert len(held) == len(front.points) > 1
    for key, own in raced.items():
        beaten = any(
            other != own and all(a >= b for a, b in zip(other, own, strict=True))
            for other in raced.values()
        )
        assert (key in held) != beaten
    estimates = [point.estimate for point in front.points]
    assert estimates == sorted(estimates, reverse=True)


def test_every_point_is_measured_on_the_holdout(front: Result) -> None:
    assert {point.measured_on for point in front.points} == {"holdout"}
    table = front.pareto
    assert list(table["measured_on"].unique()) == ["holdout"]
    assert len(table) == len(front.points)
    tuned = next(point for point in front.points if point.config == front.config)
    assert tuned.score == front.score
    message = str(front)
    assert "To choose from by the estimate, with result.pick(...)" in message
    assert message.count("held out") >= len(front.points)


def test_one_is_picked_within_limits(front: Result) -> None:
    cheapest = min(front.points, key=lambda point: point.usd_per_example)
    best = max(front.points, key=lambda point: point.estimate)
    between = 1.01 * cheapest.usd_per_example
    assert front.pick(max_cost_usd=between) == cheapest
    assert front.pick().estimate >= best.estimate - 0.005
    assert front.pick(within=0.9) == cheapest
    assert front.pick(max_latency_s=best.latency_s).latency_s <= best.latency_s
    tail = cheapest.latency_p95_s
    assert front.pick(max_latency_p95_s=tail).latency_p95_s <= tail
    message = r"no point meets the limits .*at most \$0.000000001.*; the closest is solve="
    with pytest.raises(ValueError, match=message):
        front.pick(max_cost_usd=1e-9)
    assert cheapest.pipeline(question=rows(1)[0]["question"]).answer


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_what_the_points_cost_on_the_holdout_is_kept_back(front: Result, share: float) -> None:
    """The front is smaller where less can be paid, but what is on it was measured."""
    space = SearchSpace(width=(1, 3), **ONE_TEMPERATURE)
    cap = int(share * front.spent.calls)
    result = structured(
        [STRONG, VOTER], examples=60, objective="pareto", search_space=space,
        budget=Budget(calls=cap),
    )  # fmt: skip
    assert result.held_out, result.stopped
    assert result.spent.paid_now_calls <= cap
    assert {point.measured_on for point in result.points} == {"holdout"}


def test_a_space_too_large_for_the_budget_is_sampled_instead_of_raced_as_a_whole() -> None:
    """32 of 42 examples with up to six calls each are far beyond the cap; a batch of 4 is not."""
    space = SearchSpace(width=(1, 2, 3), temperature=(0.5, 0.7, 1.0), aggregator=("majority_vote",))
    cap = 900
    result = structured(
        [STRONG, VOTER], examples=60, objective="pareto", search_space=space,
        budget=Budget(calls=cap),
    )  # fmt: skip
    raced = [t for t in last_trials(result) if t.stage == "structure"]
    assert 0 < len(raced) <= 24 + 8
    assert "holdout" in {point.measured_on for point in result.points}
    assert len(complete(result)) > 2
    assert result.spent.paid_now_calls <= cap


def test_configs_that_can_not_all_be_paid_are_raced_as_far_as_the_budget_reaches() -> None:
    space = SearchSpace(width=(5,), temperature=(0.5, 0.6, 0.7, 0.8), aggregator=("majority_vote",))
    result = structured(VOTER, examples=40, search_space=space, budget=Budget(calls=300))
    votes = [t for t in last_trials(result) if t.config.modules["solve"].width == 5]
    assert len(votes) > 1
    assert sum(trial.status == "complete" for trial in votes) <= 1
    assert result.spent.paid_now_calls <= 300


def test_what_can_not_lead_takes_no_calls_from_what_can_and_is_reported(waverer: Model) -> None:
    space = SearchSpace(width=(1, 3, 5), temperature=(1.0,), aggregator=("majority_vote",))
    few, more = (
        structured(waverer, dataset=numbers(60), search_space=space, budget=Budget(calls=calls))
        for calls in (180, 270)
    )
    assert {trial.stage for trial in few.trials_}.isdisjoint({"structure"})
    assert few.stopped is not None
    assert "each of 2 more configs would take too much on all examples and the" in few.stopped
    assert more.config.modules["solve"].width == 3, "the votes of five are left out"


# What it pays


@pytest.mark.parametrize("calls", [150, 170, 240])
def test_caps_hold_and_the_holdout_is_paid_for_whatever_width_leads(calls: int) -> None:
    result = structured(
        "sim/rowan", examples=24, budget=Budget(calls=calls),
        search_space=SearchSpace(width=(1, 5), temperature=(1.0,),
                                 aggregator=("majority_vote", "confident_vote", "verifier")),
    )  # fmt: skip
    assert result.held_out, result.stopped
    assert result.spent.paid_now_calls <= calls


@pytest.mark.parametrize(("calls", "leads"), [(90, False), (120, True)])
def test_a_width_that_the_holdout_has_no_calls_for_does_not_lead(
    waverer: Model, calls: int, leads: bool
) -> None:
    """The race takes 56 calls beside the baseline's 14, the final pass 36, of single models 18."""
    space = SearchSpace(network=("5x rowan -> majority_vote",), width=(1,), temperature=())
    result = structured(
        waverer, dataset=numbers(20), budget=Budget(calls=calls), search_space=space
    )
    votes = [t for t in complete(result) if t.config.modules["solve"].width == 5]
    assert all(mean(vote) > mean(result.trials_[0]) + 0.1 for vote in votes)
    assert bool(votes) == leads, "what can't lead is not run on all examples"
    assert result.held_out, result.stopped
    assert (result.config.modules["solve"].width > 2) == leads
    assert result.spent.paid_now_calls <= calls


def test_a_budget_that_is_too_small_is_refused() -> None:
    with pytest.raises(BudgetTooSmall, match="take 31 calls"):
        structured("sim/rowan", examples=24, budget=Budget(calls=30))


@pytest.mark.parametrize(
    "knobs",
    [
        {"network": ("2x sim/rowan + sim/maple -> majority_vote", "3x sim/rowan -> majority_vote")},
        {"aggregator": ("judge(sim/maple)", "majority_vote"), "width": (1, 3)},
    ],
)
def test_networks_that_ask_a_model_too_dear_to_call_are_left_out_with_it(
    knobs: dict[str, Any],
) -> None:
    result = structured(
        ["sim/rowan", "sim/maple"], examples=24, budget=Budget(usd=0.1),
        search_space=SearchSpace(**{"width": (1,), "temperature": (), **knobs}),
    )  # fmt: skip
    assert result.stopped is None
    assert "majority_vote" in {network(trial) for trial in result.trials_}
    asked = {
        label for t in result.trials_ for labels in t.config.allocation.values() for label in labels
    }
    assert asked == {"sim/rowan"}


def _body(request: LoopbackRequest) -> str:
    return json.dumps([request.messages, dict(request.params)], sort_keys=True, default=str)


def test_nothing_is_paid_twice_and_the_ledger_agrees_with_the_server() -> None:
    asked: Counter[str] = Counter()
    lock = threading.Lock()

    def script(request: LoopbackRequest) -> Behaviour:
        with lock:
            asked[_body(request)] += 1
        return Behaviour()

    with counting_server(script) as server:
        models = [served_model(server.url, name) for name in ("birch", "rowan")]
        space = SearchSpace(width=(1, 3), temperature=(0.7,), aggregator=("majority_vote", "judge"))
        result = structured(
            models, examples=30, stages=("allocation", "structure"), search_space=space,
            budget=Budget(calls=500),
        )  # fmt: skip
        assert set(asked.values()) == {1}
        assert server.requests == sum(asked.values())
        assert result.spent.calls == result.spent.paid_now_calls == server.requests
        assert result.spent.paid_now_usd == pytest.approx(server.usd)
    raced: dict[str, int] = {}
    for trial in result.trials_:  # equal configs are a trial again only on more examples
        assert trial.examples + trial.unscored > raced.get(trial.config.key, 0)
        raced[trial.config.key] = trial.examples + trial.unscored


@pytest.mark.parametrize("cap", [60, 80])
def test_the_cap_in_calls_holds_by_the_servers_own_count(cap: int) -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.server_error() if request.index % 11 == 5 else Behaviour.slow(0.001)

    with counting_server(script) as server:
        models = [served_model(server.url, name) for name in ("birch", "rowan")]
        result = structured(
            models, examples=24, budget=Budget(calls=cap), concurrency=64,
            search_space=SearchSpace(width=(1, 3), temperature=(0.7,)),
        )  # fmt: skip
        assert result.stopped is not None
        assert server.requests <= cap
        assert result.spent.paid_now_calls == server.requests


# The same again

MIXED = SearchSpace(
    width=(1, 3), temperature=(1.0,), aggregator=("majority_vote", "confident_vote", "verifier")
)


def mixed(**arguments: Any) -> Result:
    given = {
        "examples": 46,
        "stages": ("allocation", "structure"),
        "diagnoser": "auto",
        **arguments,
    }
    return structured([VOTER, "sim/rowan"], search_space=MIXED, **given)


@pytest.fixture(scope="module")
def whole() -> Result:
    return mixed(concurrency=1)


def everything(result: Result) -> str:
    points = [(p.config.key, p.score, p.usd_per_example, p.measured_on) for p in result.points]
    return f"{outcome(result)}\n{points}"


def test_the_seed_decides_and_concurrency_does_not(whole: Result) -> None:
    assert everything(mixed(concurrency=16)) == everything(whole)


def test_a_larger_budget_goes_on_where_a_smaller_one_ended(whole: Result, tmp_path: Path) -> None:
    cache = tmp_path / "replies"
    cap = int(0.4 * whole.spent.calls)
    first = mixed(cache=cache, budget=Budget(calls=cap))
    assert first.stopped is not None
    assert first.spent.paid_now_calls <= cap
    again = mixed(cache=cache, budget=Budget(calls=cap))
    assert again.spent.paid_now_calls == 0
    assert again.config == first.config
    more = mixed(cache=cache)
    assert everything(more) == everything(whole)
    assert more.spent.paid_now_calls == more.spent.calls - first.spent.calls


# Failures


FAILING_MEMBER = SearchSpace(
    network=("2x birch + rowan -> majority_vote",), width=(1,), temperature=(0.7,)
)


@contextlib.contextmanager
def with_a_failing_member(
    script: Callable[[LoopbackRequest], Behaviour], data: Sequence[dict[str, str]]
) -> Iterator[tuple[SearchState, Trial]]:
    """A vote of three was run on all examples, the third member's server being down for some."""
    with counting_server(script) as server:
        models = [served_model(server.url, name) for name in ("birch", "rowan")]
        state = begun(models, FAILING_MEMBER, data)
        solve = state.baseline.modules["solve"]
        [listed] = state.space.network_choices()["solve"]
        vote = PipelineConfig(modules={"solve": solve.with_network(listed)})
        state.look("structure", [vote], len(state.examples))
        yield state, state.trials[-1]


def test_where_a_members_model_always_fails_the_others_decide() -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.server_error() if request.model == "rowan" else Behaviour()

    with with_a_failing_member(script, rows(30)) as (state, trial):
        state.race("structure", [trial.config])
        assert state.incumbent == state.baseline
    assert trial.status == "disqualified"
    assert trial.members_failed == {"server_error": trial.examples}
    assert trial.unscored == 0
    assert mean(trial) > 0.5, "the others decided"
    assert trial.detail.startswith("disqualified: outages hit 30 of 30 examples (server_error x")


@pytest.mark.parametrize(("hit", "out"), [(slice(1), False), (slice(None, None, 3), True)])
def test_outages_of_members_disqualify_above_a_tenth_only(hit: slice, out: bool) -> None:
    data = rows(60)
    hidden = [row["question"] for row in data[hit]]

    def script(request: LoopbackRequest) -> Behaviour:
        text = request.messages[-1]["content"]
        down = request.model == "rowan" and any(question in text for question in hidden)
        return Behaviour.server_error() if down else Behaviour()

    with with_a_failing_member(script, data) as (_, trial):
        assert (trial.status == "disqualified") == out
        assert trial.members_failed["server_error"] == len(hidden)
        assert trial.unscored == 0


def essay(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
    """Another text each time."""
    drawn = zlib.crc32(f"{messages} {params.get('seed')}".encode())
    return f"[[ ## answer ## ]]\nText {drawn} about {drawn % 97}.\n\n[[ ## completed ## ]]"


def long_enough(example: dspy.Example, prediction: dspy.Prediction) -> float:
    return float(zlib.crc32(prediction.answer.encode()) % 10 > 3)


def test_votes_over_free_text_that_never_agree_are_reported() -> None:
    with LoopbackServer(reply=essay, prices=PRICES) as server:
        result = structured(
            [served_model(server.url, "rowan")], examples=24, metric=long_enough,
            search_space=SearchSpace(width=(1, 3), **ONE_TEMPERATURE),
        )  # fmt: skip
    assert all(t.agreement["solve"] == pytest.approx(1 / 3) for t in result.trials_
               if t.config.modules["solve"].width == 3)  # fmt: skip
    message = " ".join(str(result).split())
    assert "members of 'solve' hardly ever gave the same answer in 1 vote" in message
    assert "answers in free text need a judge or a verifier" in message


def test_votes_that_agree_are_not_complained_of(voted: Result) -> None:
    assert "hardly ever gave the same answer" not in str(voted)


# At the door


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": ("3x sim/hazel -> majorty_vote",)},
         "unknown aggregator 'majorty_vote'; nearest: 'majority_vote'"),
        ({"network": ("3x sim/hazle -> majority_vote",)},
         "network of module 'solve': model 'sim/hazle' is not among the models given to opt"),
        ({"network": {"slove": ("2x sim/hazel -> majority_vote",)}},
         "search_space, network: 'slove' is no module that asks a model; nearest: 'solve'"),
        ({"network": {"solve": ["3y a -> vote"]}},
         "search_space, network of module 'solve': network '3y a -> vote': expected"),
        ({"aggregator": "jugde"}, "search_space, aggregator: network 'jugde': unknown aggregator"),
        ({"aggregator": {"solve": ("jugde",)}},
         "aggregator of module 'solve': network 'jugde': unknown aggregator 'jugde'; nearest: 'j"),
        ({"aggregator": (AggregatorConfig(name="jugde"),)},
         "search_space, aggregator 'jugde' of module 'solve': unknown aggregator 'jugde'; nearest"),
        ({"aggregator": ("judge(openai/gpt-4o)",)},
         "search_space, aggregator 'judge' of module 'solve': model 'openai/gpt-4o' is not among "
         "the models given to optimize: add it to `models`, or correct it; nearest: 'sim/"),
        ({"aggregator": ("judge(2x sim/hazel -> judge(sim/rwan))",)},
         "model 'sim/rwan' is not among the models given to optimize: add it to `models`, or "
         "correct it; nearest: 'sim/rowan'"),
        ({"aggregator": (AggregatorConfig(name="judge", modules={"jury": ModuleConfig()}),)},
         "unknown role 'jury'; nearest: 'judge'"),
        ({"aggregator": ("confident_vote(treshold=0.5)",)},
         "treshold: there is no such parameter or role; nearest: 'threshold'"),
        ({"width": {"cut": (1,)}}, "search_space, width: 'cut' is no module that asks a model"),
        ({"width": ()}, "search_space gives module 'solve' no width to choose; (1,) asks it once"),
        ({"width": {"solve": ()}}, "search_space gives module 'solve' no width to choose"),
        ({"models": {"solve": ("sim/hazle",)}},
         "search_space, models of module 'solve': model 'sim/hazle' is not among the models given"),
        ({"params": {"ctu": {"most": (1,)}}},
         "search_space, params: 'ctu' is no function module; nearest: 'cut'"),
        ({"params": {"cut": {"mots": (1,)}}}, "mots"),
        ({"params": {"cut": {"most": ()}}}, "gives cut.most nothing to choose"),
        ({"params": {"cut": {"most": (object(),)}}},
         "search_space, params: cut.most must be something that JSON can write"),
        ({"network": ("3x sim/hazel",)}, "width 3 needs an aggregator"),
    ],
)  # fmt: skip
def test_what_a_space_misspells_is_refused_with_the_nearest(
    values: dict[str, Any], message: str
) -> None:
    pipeline = Pipeline(
        "cut",
        [Module("solve", "question -> answer"), Module("cut", "answer -> final", function=cut)],
    )
    data = [{"question": row["question"], "final": row["answer"]} for row in rows(8)]
    with pytest.raises((SearchSpaceError, ValueError)) as raised:
        structured(
            ["sim/hazel", "sim/rowan"], dataset=data, pipeline=pipeline,
            search_space=SearchSpace(**values),
        )  # fmt: skip
    assert message in str(raised.value)


def test_the_bar_for_the_cheapest_is_what_a_search_for_quality_finds() -> None:
    """Else "near the best" would mean near the best single model."""
    space = SearchSpace(width=(1, 3, 5), **ONE_TEMPERATURE)
    result = structured(
        [VOTER, "sim/rowan", "sim/hazel"], examples=60, search_space=space,
        objective=Objective(within=0.02),
    )  # fmt: skip
    raced = [t.config.modules["solve"] for t in result.trials_ if t.examples > 12]
    assert any(set(solve.labels) == {VOTER} and solve.width > 1 for solve in raced)
    found = next(t for t in complete(result) if t.config == result.config)
    assert mean(found) >= max(map(mean, complete(result))) - 0.02 - 1e-9


def test_where_nothing_is_left_to_propose_no_call_is_made() -> None:
    """Models count where costs do, so both kinds of proposals are asked for, and there is none."""
    space = SearchSpace(width=(1,), temperature=(), aggregator=())
    state = begun([VOTER], space, examples=40, objective=Objective(within=0.0))
    state.incumbent = with_solve(state, temperature=0.9)
    state.look("few", [state.incumbent], 8)
    before = state.evaluator.session.nominal.calls
    Structure().improve(state)
    assert state.evaluator.session.nominal.calls == before
