"""Optuna behind the search: nothing twice, the same again, and what each proposal was worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from evaluators.objective import QUALITY, Costs, Objective
from optimizer.setup.space_checks import resolve
from optimizer.stages.structure import stage
from optimizer.stages.structure.knobs import Knobs
from optimizer.stages.structure.proposals import Proposal, Proposer
from optimizer.stages.structure.stage import Structure
from pipelines import Module, Pipeline
from search_spaces import PipelineConfig, SearchSpace
from tests.optimizer.searches import CHECKER, FOOL, VOTER, begun, with_solve

LABELS = ("a", "b")
SPACE = SearchSpace(
    temperature=(0.0, 0.5, 1.0),
    width=(1, 3, 5),
    aggregator=("majority_vote", "verifier(a, fallback=first)"),
    params={"trim": {"most": (1, 2), "words": (("x",), ("y", "z"))}},
)
Worth = Callable[[PipelineConfig], Costs | None]


def trimmed(answer: str, most: int = 3, words: Any = ()) -> dict[str, str]:
    return {"final": answer[:most]}


PIPELINE = Pipeline(
    "two",
    [
        Module("solve", "question -> answer", temperature=0.0),
        Module("trim", "answer -> final", function=trimmed),
    ],
)
BASE = PIPELINE.default_config("a")


def knobs(space: SearchSpace = SPACE) -> Knobs:
    fitted = resolve(space).fit(["solve"], LABELS, ["trim"])
    return Knobs(PIPELINE, fitted, BASE, True, lambda: "a")


def proposer(seed: int = 0, objective: Objective = QUALITY, space: SearchSpace = SPACE) -> Proposer:
    return Proposer(knobs(space), objective, seed)


def worth(config: PipelineConfig) -> Costs:
    """Best is a wide vote of `b`, and the function's larger parameter."""
    solve, trim = config.modules["solve"], config.modules["trim"]
    score = 0.2 * (solve.models == ("b",)) + 0.1 * solve.width + 0.1 * trim.params["most"]
    return Costs(score, 1.0 * solve.width, 2.0)


def run(
    asking: Proposer, batches: int, message: Worth = worth, most: int = 4
) -> list[PipelineConfig]:
    asked = []
    for _ in range(batches):
        proposals = asking.ask(most, BASE)
        for proposal in proposals:
            asked.append(proposal.config)
            asking.tell(proposal, message(proposal.config))
    return asked


@settings(max_examples=8)
@given(st.integers(0, 2**31), st.sampled_from([1, 4]), st.booleans())
def test_the_same_seed_and_answers_bring_the_same_proposals_and_none_twice(
    seed: int, most: int, front: bool
) -> None:
    objective = Objective(pareto=front)
    one, other = (run(proposer(seed, objective), 24 // most, most=most) for _ in range(2))
    keys = [config.key for config in one]
    assert keys == [config.key for config in other]
    assert len(set(keys)) == len(keys)


def test_seeds_and_answers_decide() -> None:
    runs = [run(proposer(0), 6), run(proposer(1), 6), run(proposer(0), 6, lambda c: Costs(0, 1, 1))]
    keys = [[config.key for config in configs] for configs in runs]
    assert keys[0] != keys[1]
    assert keys[0] != keys[2]
    assert keys[0][:8] == keys[2][:8], "before enough is measured, chance alone decides"


def test_what_is_known_is_not_proposed() -> None:
    first = run(proposer(3), 3)
    again = proposer(3)
    for config in first[::2]:
        again.note(config)
    assert {c.key for c in run(again, 3)}.isdisjoint(c.key for c in first[::2])


def test_a_space_that_is_used_up_ends_the_proposals_and_repeats_are_not_measured() -> None:
    small = SearchSpace(temperature=(0.0,), width=(1,), params={"trim": {"most": (1, 2, 3)}})
    asking = proposer(space=small)
    every = {config.key for config in knobs(small).every_config(BASE)}
    assert len(every) == 6
    assert {config.key for config in run(asking, 2)} == every
    assert asking.ask(1, BASE) == []
    states = Counter(trial.state for trial in asking.study.trials)
    assert states[TrialState.COMPLETE] == 6
    assert set(states) == {TrialState.COMPLETE, TrialState.FAIL}, "the sampler ignores what failed"


def test_a_space_is_not_used_up_because_the_sampler_repeats_itself() -> None:
    assert len(list(knobs().every_config(BASE))) > 72
    assert len(run(proposer(), 18)) == 72


def test_what_was_raced_by_others_in_between_is_not_proposed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = SearchSpace(
        width=(1, 2, 3, 4, 5), temperature=(0.7, 1.0), aggregator=("majority_vote",)
    )
    study = begun((VOTER, FOOL), space)
    batches: list[set[str]] = []
    ask = Proposer.ask

    def noted(self: Proposer, most: int, base: PipelineConfig, **how: Any) -> list[Proposal]:
        proposals = ask(self, most, base, **how)
        batches.append({p.config.key for p in proposals} & {c.key for c in study.raced()})
        return proposals

    monkeypatch.setattr(Proposer, "ask", noted)
    monkeypatch.setattr(stage, "MOST_LISTED", 0)
    Structure().improve(study)
    assert batches
    assert not any(batches)


def test_what_was_good_is_proposed_more_often() -> None:
    """Against chance, which draws the better model half the time."""
    space = SearchSpace(
        temperature=(0.0, 1.0), width=(1,), params={"trim": {"most": tuple(range(40))}}
    )

    def favours_b(config: PipelineConfig) -> Costs:
        return Costs(float(config.modules["solve"].models == ("b",)), 1.0, 1.0)

    later = [
        config
        for seed in range(3)
        for config in run(proposer(seed, space=space), 8, favours_b)[12:]
    ]
    chosen = sum(config.modules["solve"].models == ("b",) for config in later)
    assert chosen / len(later) > 0.65


def values(asking: Proposer) -> list[list[float]]:
    """What Optuna was told, by proposal."""
    return [t.values for t in asking.study.trials if t.state == TrialState.COMPLETE]


def test_optuna_hears_what_every_proposal_was_worth() -> None:
    asking = proposer()
    asked = run(asking, 3)
    assert values(asking) == [[worth(config).score] for config in asked]
    assert asking.study.direction == optuna.study.StudyDirection.MAXIMIZE


def test_what_could_not_be_scored_failed() -> None:
    asking = proposer()
    asked = run(asking, 2, lambda config: None)
    assert len(asked) == 8
    assert {trial.state for trial in asking.study.trials} == {TrialState.FAIL}


def test_on_a_front_all_three_figures_are_reported() -> None:
    asking = proposer(objective=Objective(pareto=True))
    costs = [worth(config) for config in run(asking, 2)]
    assert values(asking) == [[c.score, -c.usd, -c.latency_s] for c in costs]


@pytest.mark.parametrize(("usd", "value"), [(0.5, 0.8), (1.0, 0.8), (1.5, 0.3)])
def test_what_exceeds_a_limit_is_worth_less(usd: float, value: float) -> None:
    asking = proposer(objective=Objective(max_cost_usd=1.0))
    run(asking, 1, lambda config: Costs(0.8, usd, 1.0), most=1)
    assert values(asking) == [[pytest.approx(value)]]


def test_where_the_cheapest_is_sought_the_near_enough_are_ranked_by_price() -> None:
    asking = proposer(objective=Objective(within=0.1))
    ranked = [(0.8, 0.001), (0.85, 0.1), (0.95, 10.0), (0.79, 0.0), (0.2, 0.0)]
    for proposal, (score, usd) in zip(asking.ask(5, BASE), ranked, strict=True):
        asking.tell(proposal, Costs(score, usd, 1.0), 0.9)
    told = values(asking)
    assert told == sorted(told, reverse=True)
    assert len(set(map(tuple, told))) == 5


@pytest.mark.parametrize("of", ["best", "single_model"])
def test_the_reference_is_the_best_that_is_known_on_all_examples(of: Any) -> None:
    objective = Objective(within=0.05, of=of)
    study = begun((VOTER, CHECKER), SearchSpace(), objective=objective)
    vote = with_solve(study, width=3, aggregator="majority_vote")
    study.look("few", [study.baseline.with_models({"solve": CHECKER})], 20)
    assert study.reference(study.examples) == study.evaluator.known(study.baseline).mean
    study.look("all", [vote], len(study.examples))
    better = vote if of == "best" else study.baseline
    few = study.examples[:20]
    assert study.reference(few) == study.evaluator.known(better).on(few).mean


def test_optunas_log_level_is_left_as_it_was() -> None:
    before = optuna.logging.get_verbosity()
    run(proposer(), 1)
    assert optuna.logging.get_verbosity() == before


def test_proposals_are_set_on_the_base() -> None:
    base = BASE.with_knobs("solve", instructions="Think.")
    for proposal in proposer().ask(4, base):
        assert proposal.config.modules["solve"].instructions == "Think."
