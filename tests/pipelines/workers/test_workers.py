"""Workers in this process: who is let in, and what becomes of calls."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import joblib
import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted, CallFailed, LMCall
from pipelines.gateway.concurrency.event_loop import run
from pipelines.gateway.gateway import Gateway, Session
from pipelines.gateway.model import Model
from pipelines.gateway.workers import WorkersGone
from pipelines.programs.concurrency import begin
from pipelines.workers import coordinator, on_workers, worker
from pipelines.workers.coordinator import Coordinator
from pipelines.workers.worker import serve
from tests.launching import wait_until

KEY = b"a key"


class Connected:
    """A coordinator, and as many workers as are asked for, in threads."""

    def __init__(self, outage_s: float = 0.3) -> None:
        self.coordinator = Coordinator(KEY, outage_s)
        self.port = run(self.coordinator.listen("127.0.0.1"))

    def add(self, key: bytes = KEY) -> threading.Thread:
        thread = threading.Thread(target=serve, args=([("127.0.0.1", self.port)], key))
        thread.start()
        return thread


@pytest.fixture
def connected() -> Iterator[Connected]:
    made = Connected()
    threads = threading.active_count()
    yield made
    run(made.coordinator.close())
    wait_until(lambda: threading.active_count() <= threads)


def call_to(server: LoopbackServer, number: int = 0, **params: Any) -> LMCall:
    model = Model(
        "openai/tiny", api_base=server.url, input_usd_per_million=2, output_usd_per_million=8
    )
    return LMCall(model, ({"role": "user", "content": f"question {number}"},), params=params)


@contextmanager
def session(connected: Connected, budget: Budget | None = None) -> Iterator[Session]:
    gateway = Gateway(None, retries=1, backoff_s=0.001)
    opened = gateway.session("study", budget)
    opened.workers = connected.coordinator
    yield opened
    gateway.close()


def test_a_worker_answers_as_this_process_would(connected: Connected) -> None:
    connected.add()
    with LoopbackServer() as server, session(connected) as opened:
        remote = opened.complete(call_to(server))
        opened.workers = None
        own = opened.gateway.session("own").complete(replace(call_to(server), sample=1))
        assert server.requests == 2
    assert remote.text == own.text
    assert (remote.usd, remote.input_tokens) == (own.usd, own.input_tokens)


def test_an_answer_is_kept_at_home(connected: Connected) -> None:
    connected.add()
    with LoopbackServer() as server, session(connected) as opened:
        opened.complete(call_to(server))
        assert opened.complete(call_to(server)).cached
        assert server.requests == opened.spent.calls == 1


def test_workers_take_turns(connected: Connected) -> None:
    first, second = connected.add(), connected.add()
    wait_until(lambda: len(connected.coordinator._workers) == 2)
    seen = []
    spied = coordinator._Worker
    with LoopbackServer() as server, session(connected) as opened:
        for number in range(4):
            opened.complete(call_to(server, number))
            seen.append(connected.coordinator._workers[0])
    assert isinstance(seen[0], spied)
    assert seen[0] is seen[2] is not seen[1]
    assert first.is_alive()
    assert second.is_alive()


def test_a_failure_comes_home_as_it_was(connected: Connected) -> None:
    connected.add()
    refused = Behaviour.rate_limited(0)
    with LoopbackServer(refused) as server, session(connected) as opened:
        with pytest.raises(CallFailed, match="429") as raised:
            opened.complete(call_to(server))
        assert (raised.value.kind, raised.value.attempts) == ("rate_limited", 2)
        assert (opened.spent.usd, opened.spent.calls) == (0, 2)


def test_a_failure_survives_pickling() -> None:
    failure = CallFailed("timeout", "late", billed=True, retry_after=2.0, attempts=3)
    copy = pickle.loads(pickle.dumps(failure))
    assert (str(copy), vars(copy)) == (str(failure), vars(failure))


def test_the_cap_holds_across_workers(connected: Connected) -> None:
    for _ in range(3):
        connected.add()
    with LoopbackServer(Behaviour.slow(0.02)) as server:
        with session(connected, Budget(calls=10)) as opened:
            calls = [begin(partial(opened.complete, call_to(server, n))) for n in range(30)]
            refused = [isinstance(each.exception(), BudgetExhausted) for each in calls]
        assert server.requests == 10 == refused.count(False)


def test_calls_of_a_lost_worker_are_charged_at_their_worst_and_asked_again(
    connected: Connected,
) -> None:
    hanging = threading.Event()

    def script(_: LoopbackRequest) -> Behaviour:
        return Behaviour() if hanging.is_set() else Behaviour.hang()

    connected.add()
    with LoopbackServer(script) as server, session(connected) as opened:
        call = call_to(server)
        answer = begin(lambda: opened.complete(call))
        wait_until(lambda: server.requests == 1)
        hanging.set()
        (lost,) = connected.coordinator._workers
        connected.add()
        wait_until(lambda: len(connected.coordinator._workers) == 2)
        run(_close(lost.frames))
        assert answer.result().text
        worst = opened.gateway.provider(call.model).price_of(call.model).worst_usd(call)
        assert server.requests == opened.spent.calls == 2
        assert opened.spent.usd == pytest.approx(worst + answer.result().usd)


def test_a_call_that_is_cut_off_disconnects_its_worker(connected: Connected) -> None:
    connected.add()
    with LoopbackServer(Behaviour.hang()) as server, session(connected) as opened:
        answer = begin(lambda: opened.complete(call_to(server)))
        wait_until(lambda: server.requests == 1)
        opened.cancel()
        assert isinstance(answer.exception(), asyncio.CancelledError)
        wait_until(lambda: server.meter.abandoned == 1)


def test_a_call_that_no_worker_can_read_was_not_sent(connected: Connected) -> None:
    connected.add()
    with LoopbackServer() as server, session(connected) as opened:
        with pytest.raises(CallFailed, match="can't be pickled for a worker") as raised:
            opened.complete(call_to(server, stop=lambda: None))
        assert raised.value.kind == "not_sent"
        assert server.requests == opened.spent.calls == 0


def test_a_worker_of_another_version_is_refused_by_name(
    connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "version", lambda: "0.0.1 (abc)")
    connected.add().join()
    (message,) = connected.coordinator.refused.values()
    assert "has version 0.0.1 (abc), and this is" in message
    assert not connected.coordinator.connected.is_set()


def test_who_does_not_hold_the_key_is_not_let_in(connected: Connected) -> None:
    connected.add(b"another key").join()
    assert not connected.coordinator.connected.is_set()
    assert not connected.coordinator.refused


def test_a_search_ends_once_no_worker_was_there_for_too_long(connected: Connected) -> None:
    connected.add()
    wait_until(connected.coordinator.connected.is_set)
    (only,) = connected.coordinator._workers
    run(_close(only.frames))
    with LoopbackServer() as server, session(connected) as opened:
        with pytest.raises(WorkersGone, match="no worker has been connected for"):
            opened.complete(call_to(server))
        assert server.requests == opened.spent.calls == 0


def test_simulated_models_answer_in_this_process(connected: Connected) -> None:
    """Nothing is gained elsewhere: they answer at once."""
    with session(connected) as opened:
        question = {"role": "user", "content": "Reply with the word OK."}
        assert opened.complete(LMCall(Model("sim/alder"), (question,))).text


@pytest.mark.parametrize(
    "config",
    [
        lambda: joblib.parallel_config("threading"),
        lambda: joblib.parallel_config(n_jobs=4),
        lambda: joblib.parallel_config("loky", n_jobs=1),
    ],
)
def test_threads_and_single_jobs_change_nothing(config: Callable[[], Any]) -> None:
    opened = Gateway(None).session("study")
    with config(), on_workers(opened):
        assert opened.workers is None
    opened.gateway.close()


async def _close(frames: Any) -> None:
    frames.close()
