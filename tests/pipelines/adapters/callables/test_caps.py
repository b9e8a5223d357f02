"""Plain Python through the real gateway, to a server that counts: nothing gets past the caps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.loopback import Behaviour
from pipelines import Trace
from pipelines.adapters.callables.bound import BoundCallable
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.gateway import Gateway
from tests.optimizer.runs import counting_server, served_models
from tests.pipelines.adapters.callables.agents import FEW, ROUTES, Models, bound, once

A_FEW_ROUTES = pytest.mark.parametrize("route", FEW)


def three_times(route: str, models: Models, question: str) -> str:
    return "".join(ROUTES[route](models["solve"], question) for _ in range(3))


def outcome(program: BoundCallable, question: str) -> Trace | BudgetExhausted:
    try:
        return program.run({"question": question})
    except BudgetExhausted as exhausted:
        return exhausted


@pytest.mark.parametrize(
    ("route", "budget"),
    [("litellm", Budget(calls=50)), ("openai", Budget(usd=0.004)), ("gateway", Budget(calls=50))],
)
def test_caps_hold_with_64_runs_at_once_and_the_same_again_is_free(
    route: str, budget: Budget
) -> None:
    """By the server's own count; and whoever runs into the end knows it."""
    gateway = Gateway(None, retries=0)
    with counting_server(Behaviour(latency_s=0.002)) as server:
        models = {model.label: model for model in served_models(server)[:1]}
        pipeline = once(lambda models, question: three_times(route, models, question))
        program = bound(pipeline, gateway.session("study", budget), models, temperature=1.0)
        with ThreadPoolExecutor(64) as threads:
            ends = list(threads.map(lambda n: outcome(program, f"Compute {n} + 1"), range(64)))
        assert 0 < server.requests <= (budget.calls or 1000)
        assert 0 < server.usd <= (budget.usd or 1)
        assert any(isinstance(end, BudgetExhausted) for end in ends)
        assert all(isinstance(end, BudgetExhausted) or end.failure is None for end in ends)

        few = [f"Compute {n} + 1" for n in range(8)]
        rest = bound(pipeline, gateway.session("another"), models, temperature=1.0)
        paid = [rest.run({"question": question}).outputs for question in few]
        requests = server.requests
        free = bound(pipeline, gateway.session("third", Budget(usd=1e-9)), models, temperature=1.0)
        assert [free.run({"question": question}).outputs for question in few] == paid
        assert server.requests == requests
    gateway.close()


@A_FEW_ROUTES
def test_a_provider_that_is_away_is_asked_as_often_as_the_gateway_says(route: str) -> None:
    gateway = Gateway(None, retries=2, backoff_s=0.001)
    with counting_server(Behaviour(status=500)) as server:
        models = {model.label: model for model in served_models(server)[:1]}
        pipeline = once(lambda models, question: three_times(route, models, question))
        trace = bound(pipeline, gateway.session("study"), models).run({"question": "q"})
        assert trace.failure is not None
        assert (trace.failure.kind, trace.failure.infrastructure) == ("server_error", True)
        assert server.requests == 3
    gateway.close()
