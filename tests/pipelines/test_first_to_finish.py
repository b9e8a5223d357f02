"""First to finish, from a wide module down to the gateway."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pipelines import Module, Pipeline, Program
from pipelines.aggregators.notation import parse_network
from pipelines.llms.gateway import Gateway
from pipelines.llms.limits import Limit
from pipelines.llms.loopback import Behaviour, LoopbackRequest, LoopbackServer
from pipelines.llms.model import Model
from pipelines.llms.simulated import simulated_dataset
from search_spaces import PipelineConfig
from tests.pipelines.scripted_session import written

ROWS = simulated_dataset("arithmetic", 12, seed=3)


def bound(
    gateway: Gateway, network: str, models: dict[str, Model], temperature: float | None = 0.7
) -> Program:
    pipeline = Pipeline("p", [Module("solve", "question -> answer")])
    config = PipelineConfig(modules={"solve": parse_network(network, temperature=temperature)})
    return pipeline.bind(config, models, gateway.session(network))


@pytest.mark.parametrize("bills_cancelled", [True, False])
def test_under_virtual_latency_the_lowest_wins_and_losers_cost_what_they_wrote(
    bills_cancelled: bool,
) -> None:
    gateway = Gateway(None, limits={"sim": Limit(bills_cancelled=bills_cancelled)})
    models = {"sim/hazel": Model("sim/hazel")}
    vote = bound(gateway, "4x sim/hazel -> majority_vote", models)
    race = bound(gateway, "4x sim/hazel -> first_to_finish", models)
    for row in ROWS:
        asked, raced = vote.run(row).step("solve"), race.run(row).step("solve")
        quickest = min(asked.calls, key=lambda call: call.latency_s)
        assert raced.latency_s == quickest.latency_s
        assert raced.calls[0].key == quickest.key
        assert len(raced.calls) == 4
        if bills_cancelled:
            assert raced.usd == pytest.approx(asked.usd)
        else:
            assert quickest.usd < raced.usd < asked.usd


def test_several_may_finish_and_vote() -> None:
    gateway = Gateway(None)
    models = {f"sim/{name}": Model(f"sim/{name}") for name in ("hazel", "fir")}
    program = bound(gateway, "3x sim/hazel + 2x sim/fir -> first_to_finish(count=3)", models)
    for row in ROWS:
        step = program.run(row).step("solve")
        assert step.agreement in (pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0)
        assert len(step.calls) == 5


def test_equal_calls_run_once() -> None:
    gateway = Gateway(None)
    program = bound(
        gateway, "3x sim/hazel -> first_to_finish", {"sim/hazel": Model("sim/hazel")}, 0.0
    )
    assert len(program.run(ROWS[0]).step("solve").calls) == 1


def test_losers_are_really_cut_off_and_the_race_is_one_cache_entry() -> None:
    delays = {0: 5.0, 1: 5.0, 2: 0.05, 3: 5.0}

    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.slow(delays[int(request.params["seed"])])

    def reply(_: Any, params: Any) -> str:
        return written(answer=f"from {params['seed']}")

    with LoopbackServer(script, reply=reply) as server:
        gateway = Gateway(None, retries=0)
        model = Model(
            "openai/m", "m", server.url, input_usd_per_million=1, output_usd_per_million=1,
            max_tokens=50,
        )  # fmt: skip
        program = bound(gateway, "4x m -> first_to_finish", {"m": model})
        started = time.monotonic()
        assert program.run({"question": "?"}).outputs == {"answer": "from 2"}
        assert time.monotonic() - started < 4
        assert server.requests == 4
        deadline = time.monotonic() + 5
        while server.meter.abandoned < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.meter.abandoned == 3
        again = bound(gateway, "4x m -> first_to_finish", {"m": model})
        assert again.run({"question": "?"}).outputs == {"answer": "from 2"}
        assert server.requests == 4
