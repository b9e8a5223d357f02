"""What closed forms promise from samples that are paid for, and what it is worth."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, Price, sample_of
from benchmarks.loopback.replies import Reply
from benchmarks.worlds import SimulatedModel, register, simulated_dataset
from optimizer.search.state import SearchState
from optimizer.stages.structure.predictions import VERIFIED_EXAMPLES, Samples, predicted
from pipelines import Module, Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.providers.output_fields import requested_fields
from search_spaces import ModuleConfig, PipelineConfig, SearchSpace
from tests.optimizer.runs import simulated_reply
from tests.optimizer.searches import (
    CHECKER,
    FOOL,
    VOTER,
    begun,
    calls,
    knobs_of,
    tailored,
    with_solve,
)

MODELS = (VOTER, CHECKER, FOOL)
WIDTHS = (1, 3, 5, 9)


def space(*aggregators: str, models: Sequence[str] = (VOTER,)) -> SearchSpace:
    return SearchSpace(
        models={"solve": tuple(models)},
        temperature=(1.0,), width=WIDTHS, aggregator=("majority_vote", *aggregators),
    )  # fmt: skip


def sampled(*aggregators: str, examples: int = 40, width: int = 3) -> SearchState:
    """A vote has run on all examples, so that there are so many samples of each."""
    state = begun(MODELS, space(*aggregators), examples=examples)
    vote = with_solve(state, width=width, aggregator="majority_vote")
    state.look("vote", [vote], examples)
    known = state.evaluator.known
    state.incumbent = max(state.baseline, vote, key=lambda config: known(config).mean)
    return state


def promised(state: SearchState) -> dict[str, PipelineConfig]:
    """By aggregator."""
    found = list(predicted(state, knobs_of(state), "solve"))
    return {
        str(c.modules["solve"].aggregation and c.modules["solve"].aggregation.name): c
        for c in found
    }


def score(state: SearchState, config: PipelineConfig) -> float:
    return state.evaluator.evaluate(config, state.examples).mean


def test_a_wider_vote_is_promised_and_keeps_what_it_promises() -> None:
    state = sampled()
    before = calls(state)
    found = promised(state)
    assert calls(state) == before, "from samples that are there"
    wide = found["majority_vote"]
    assert wide.modules["solve"].width > 5
    assert score(state, wide) > score(state, state.incumbent)


def test_what_stays_behind_the_best_so_far_is_not_promised() -> None:
    state = sampled(f"verifier({FOOL})")
    state.race("best", [state.baseline.with_models({"solve": CHECKER})])
    assert state.incumbent.allocation == {"solve": (CHECKER,)}
    assert promised(state) == {}


def test_a_verifier_that_knows_keeps_what_it_promises() -> None:
    state = sampled(f"verifier({CHECKER})", examples=120)
    found = promised(state)
    assert score(state, found["verifier"]) > score(state, state.incumbent) + 0.05


def test_a_verifier_without_a_model_is_the_ablest() -> None:
    found = promised(sampled("verifier"))
    assert found["verifier"].allocation["solve.verifier"] == (CHECKER,)


def test_verdicts_are_asked_for_once_by_distinct_answer() -> None:
    state = sampled(f"verifier({CHECKER})")
    before = calls(state)
    promised(state)
    paid = calls(state) - before
    assert 0 < paid < VERIFIED_EXAMPLES * 3
    promised(state)
    assert calls(state) - before == paid, "the same again is in the cache"


def test_a_verifier_that_can_not_be_paid_is_left_out_and_known_verdicts_cost_nothing() -> None:
    state = sampled(f"verifier({CHECKER})")
    session = state.evaluator.session
    session.budget = Budget(calls=calls(state) + 3)
    assert set(promised(state)) == {"majority_vote"}
    session.budget = Budget()
    found = promised(state)
    assert set(found) == {"majority_vote", "verifier"}
    session.budget = Budget(calls=calls(state))
    assert promised(state) == found


@pytest.mark.parametrize(("examples", "width"), [(31, 3), (40, 2)])
def test_of_too_few_samples_nothing_is_promised(examples: int, width: int) -> None:
    assert promised(sampled(f"verifier({CHECKER})", examples=examples, width=width)) == {}


def test_failures_of_a_module_before_are_wrong_answers_and_no_more() -> None:
    clumsy = "sim/structure-clumsy"
    register(SimulatedModel("structure-clumsy", {"locate": 0.95}, refusal_rate=0.5))
    steps = Pipeline(
        "locate-solve",
        [
            Module("locate", "table, question -> task", model=clumsy, temperature=0.0),
            Module("solve", "task -> answer", temperature=1.0),
        ],
    )
    rows = simulated_dataset("locate_solve", 40, 1, rows=4)
    both = SearchSpace(
        models={"locate": (clumsy,), "solve": (VOTER,)}, temperature=(1.0,), width=WIDTHS,
        aggregator=("majority_vote", f"verifier({CHECKER})"),
    )  # fmt: skip
    state = begun([*MODELS, clumsy], both, rows, pipeline=steps)
    assert state.evaluator.known(state.baseline).failures["refusal"] > 4
    vote = with_solve(state, width=3, aggregator="majority_vote")
    state.look("vote", [vote], 40)
    assert set(promised(state)) <= {"majority_vote", "verifier"}


PRICES = {name.removeprefix("sim/"): Price(1.0, 4.0) for name in MODELS}


def served(server: LoopbackServer) -> list[Model]:
    return [
        Model(f"openai/{bare}", name, server.url, input_usd_per_million=1.0,
              output_usd_per_million=4.0, max_tokens=300)
        for name, bare in zip(MODELS, PRICES, strict=True)
    ]  # fmt: skip


def on_server(
    script: Any, concurrency: int, reply: Reply = simulated_reply, seen: int = 40, **given: Any
) -> tuple[SearchState, dict[str, PipelineConfig]]:
    """What is promised once a vote has answered so many of the examples, which are sorted."""
    tailored()
    with LoopbackServer(script, reply=reply, prices=PRICES) as server:
        gateway = Gateway(None, retries=0)
        given = {"space": space(f"verifier({CHECKER})"), **given}
        state = begun(served(server), gateway=gateway, concurrency=concurrency, **given)
        state.examples = sorted(state.examples, key=lambda i: state.evaluator.inputs(i)["question"])
        vote = with_solve(state, width=3, aggregator="majority_vote")
        state.look("vote", [vote], seen)
        found = promised(state)
        gateway.close()
    return state, found


def slow_by_chance(request: LoopbackRequest) -> Behaviour:
    return Behaviour.slow(zlib.crc32(str(request.messages).encode()) % 8 / 1000)


def test_the_same_is_promised_at_any_concurrency() -> None:
    """Also where verdicts come in late, while other examples are still looked up."""
    (_, one), (_, other) = (on_server(slow_by_chance, concurrency) for concurrency in (1, 16))
    assert one == other
    assert set(one) == {"majority_vote", "verifier"}


def test_an_outage_of_one_member_leaves_the_other_examples_to_count() -> None:
    hit = simulated_dataset("arithmetic", 40, 1)[5]["question"]

    def script(request: LoopbackRequest) -> Behaviour:
        text = request.messages[-1]["content"]
        down = hit in text and "candidate" not in text and request.sample == 1
        return Behaviour.server_error() if down else Behaviour()

    state, found = on_server(script, 8)
    failed: Mapping[str, int] = state.evaluator.known(
        with_solve(state, width=3, aggregator="majority_vote")
    ).members_failed
    assert failed == {"server_error": 1}
    assert "majority_vote" in found


def written(said: str) -> dict[str, str]:
    return {"answer": said.removesuffix("twice").strip()}


WRITTEN = Pipeline(
    "written",
    [
        Module("solve", "question -> said", temperature=1.0),
        Module("write", "said -> answer", function=written),
    ],
)


def answering(said: Callable[[int], Sequence[str]]) -> dict[str, Any]:
    """For `on_server`: samples that answer so to what asks for a number."""

    def reply(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
        number = int(re.findall(r"Which is (\d+)\?", messages[-1]["content"])[-1])
        answer = said(number)[sample_of(messages, params)]
        return f"[[ ## said ## ]]\n{answer}\n\n[[ ## completed ## ]]"

    rows = [{"question": f"Which is {n}?", "answer": str(n)} for n in range(10, 50)]
    return {"reply": reply, "rows": rows, "space": space(), "pipeline": WRITTEN}


@pytest.mark.parametrize("knows", [True, False])
def test_a_verifier_is_promised_if_it_knows(knows: bool) -> None:
    """The first sample is right on six in ten, any sample on 53%; the other verifier says yes."""

    def said(number: int) -> Sequence[str]:
        return [str(number)] * 2 + ["7"] if number % 10 < 6 else ["7", "7", str(number)]

    given = answering(said)
    answer: Reply = given["reply"]

    def reply(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> Any:
        if "candidate" not in messages[-1]["content"]:
            return answer(messages, params)
        fields = requested_fields(messages)
        assert fields is not None
        return fields.written({"accepted": str(not knows or '"7"' not in messages[-1]["content"])})

    given |= {"reply": reply, "space": space(f"verifier({CHECKER})")}
    _, found = on_server(None, 8, **given)
    assert ("verifier" in found) == knows


def test_wrong_answers_that_mean_the_same_are_one_rival() -> None:
    """A third of the samples of hard examples is right, and the others come to 7."""

    def said(number: int) -> Sequence[str]:
        if number % 10 < 6:
            return [str(number)] * 3
        hard = [str(number), "7", "7. twice"]
        return hard[number % 3 :] + hard[: number % 3]

    _, found = on_server(None, 8, **answering(said))
    assert found == {}


def test_the_best_so_far_is_to_be_beaten_on_the_same_examples() -> None:
    """It fails on those that the vote was not asked: nothing is better on the others."""

    def said(number: int) -> Sequence[str]:
        return ["7" if number % 2 or number >= 42 else str(number)] * 3

    _, found = on_server(None, 8, seen=32, **answering(said))
    assert found == {}


def test_examples_without_right_or_agreeing_samples_do_not_count_as_undecided_votes() -> None:
    votes = ModuleConfig(models=(VOTER,), width=3, aggregator="majority_vote")
    samples = Samples(votes, range(3), right=[2, 0, 0], rival=[1, 0, 3])
    assert samples.decided == [(2, 3), (0, 3)]
    assert samples.decisive == 1


def test_a_verifiers_outages_are_no_verdicts() -> None:
    """It is down for all right answers, and rejects what is wrong."""
    rows = simulated_dataset("arithmetic", 40, 1)

    def script(request: LoopbackRequest) -> Behaviour:
        text = request.messages[-1]["content"]
        right = any(r["question"] in text and f'"{r["answer"]}"' in text for r in rows)
        return Behaviour.server_error() if "candidate" in text and right else Behaviour()

    _, found = on_server(script, 8)
    assert "verifier" in found
