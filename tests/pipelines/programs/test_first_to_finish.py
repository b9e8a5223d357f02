"""First to finish, from a wide module down to the gateway."""

from __future__ import annotations

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer
from benchmarks.worlds import simulated_dataset
from pipelines import Module, Pipeline, Program
from pipelines.aggregators.notation import parse_network
from pipelines.gateway.call import LMCall, LMReply
from pipelines.gateway.call_record import recording
from pipelines.gateway.concurrency.limits import Limit
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from search_spaces import PipelineConfig
from tests.pipelines.scripted_session import ScriptedSession, bind, one, reply, written

ROWS = simulated_dataset("arithmetic", 12, seed=3)
SIM = {f"sim/{name}": Model(f"sim/{name}") for name in ("hazel", "fir")}


def config_of(network: str, temperature: float) -> PipelineConfig:
    return PipelineConfig(modules={"solve": parse_network(network, temperature=temperature)})


def bound(
    gateway: Gateway,
    network: str,
    temperature: float = 0.7,
    models: dict[str, Model] = SIM,
) -> Program:
    pipeline = Pipeline("p", [Module("solve", "question -> answer")])
    made = pipeline.bind(config_of(network, temperature), models, gateway.session(network))
    assert isinstance(made, Program)
    return made


@pytest.mark.parametrize("bills_cancelled", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_under_virtual_latency_the_lowest_win_and_losers_cost_what_they_wrote(
    count: int, bills_cancelled: bool
) -> None:
    gateway = Gateway(None, limits={"sim": Limit(bills_cancelled=bills_cancelled)})
    vote = bound(gateway, "3x sim/hazel + 2x sim/fir -> majority_vote")
    race = bound(gateway, f"3x sim/hazel + 2x sim/fir -> first_to_finish(count={count})")
    for row in ROWS:
        asked, raced = vote.run(row).step("solve"), race.run(row).step("solve")
        quickest = sorted(asked.calls, key=lambda call: call.latency_s)[:count]
        assert [call.key for call in raced.calls[:count]] == [call.key for call in quickest]
        assert raced.latency_s == quickest[-1].latency_s
        whole = {call.key: (call.model, call.usd, call.output_tokens) for call in asked.calls}
        spent = {call.key: (call.model, call.usd, call.output_tokens) for call in raced.calls}
        if bills_cancelled:
            assert spent == whole
        else:
            assert spent.keys() == whole.keys()
            assert sum(call.usd for call in quickest) < raced.usd < asked.usd


@pytest.mark.parametrize(
    ("network", "calls"),
    [
        ("3x sim/hazel -> majority_vote", 1),
        ("3x sim/hazel -> first_to_finish", 1),
        ("3x sim/hazel -> first_to_finish(count=2)", 1),
        ("2x sim/hazel + 2x sim/fir -> first_to_finish(count=3)", 2),
    ],
)
def test_equal_calls_run_and_are_paid_once(network: str, calls: int) -> None:
    gateway = Gateway(None)
    step = bound(gateway, network, temperature=0).run(ROWS[0]).step("solve")
    assert len(step.calls) == calls
    assert step.usd == pytest.approx(gateway.session(network).spent.usd)


def paced(call: LMCall) -> LMReply:
    """Model `a` is the quickest, then `b`, then `c`."""
    label = call.model.label
    return reply(written(answer=label), latency_s=float("abc".index(label) + 1))


@pytest.mark.parametrize(
    ("network", "answer", "agreement", "latency_s"),
    [
        ("2x b + 2x a -> first_to_finish(count=3)", "a", 2 / 3, 2.0),
        ("3x b + 2x a -> first_to_finish(count=2)", "a", 1.0, 1.0),
        ("3x c + b + a -> first_to_finish(count=4)", "c", 1 / 2, 3.0),
    ],
)
def test_members_whose_calls_are_equal_finish_together(
    network: str, answer: str, agreement: float, latency_s: float
) -> None:
    program = bind(one(), ScriptedSession(paced), config_of(network, 0))
    step = program.run({"question": "q"}).step("solve")
    assert step.outputs == {"answer": answer}
    assert step.agreement == pytest.approx(agreement)
    assert step.latency_s == latency_s


def test_the_tokens_of_an_answer_are_the_winners_alone() -> None:
    program = bound(Gateway(None), "4x sim/hazel -> first_to_finish")
    with recording() as recorder:
        (answer,) = program.solve.members(ROWS[0]).first(1)
    assert answer.tokens == recorder.calls[0].output_tokens
    assert len(recorder.calls) == 4


def test_a_winner_that_says_nothing_fails_as_it_would_alone() -> None:
    session = ScriptedSession(lambda _: reply("", finish_reason="content_filter"))
    program = bind(one(), session, config_of("3x a -> first_to_finish", 0.7))
    failure = program.run({"question": "q"}).failure
    assert failure is not None
    assert failure.kind == "refusal"


def test_another_rollout_is_another_race() -> None:
    program = bound(Gateway(None), "3x sim/hazel -> first_to_finish(count=2)")
    asked: set[str] = set()
    for rollout in range(4):
        with recording() as recorder:
            program.solve(**ROWS[0], config={"rollout_id": rollout})
        asked |= {call.key for call in recorder.calls}
    assert len(asked) == 4 * 3


def test_a_race_that_fails_is_held_once() -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.hang() if request.sample == 1 else Behaviour(status=400)

    with LoopbackServer(script) as server:
        model = Model(
            "openai/m", "m", server.url, input_usd_per_million=1, output_usd_per_million=1
        )
        network = "3x m -> first_to_finish(count=2)"
        program = bound(Gateway(None), network, models={"m": model})
        step = program.run({"question": "?"}).step("solve")
        # Two refusals leave too few; the third call may be cancelled before it is sent.
        assert 2 <= server.requests <= 3
    assert [failure.kind for failure in step.failures] == ["bad_request"]
