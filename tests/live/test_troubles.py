"""Outages, broken connections and cancelled calls in front of a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from evaluators.dataset import Dataset
from evaluators.evaluator import Evaluator
from evaluators.metrics import resolve_metric
from evaluators.outcome import Evaluation
from pipelines.aggregators.notation import parse_network
from pipelines.gateway.budget import Spend
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from search_spaces import PipelineConfig
from tests.live.proxies import Door, RememberingProxy
from tests.live.served import INPUT_USD, NAMED, NAMES, OUTPUT_USD, model
from tests.live.tasks import CLASSIFY, questions

EXAMPLES = 8
OUTAGE_S = 60.0
MAX_TOKENS = 16
QUICKEST = NAMES[-1]


def evaluator(gateway: Gateway, *models: Model, examples: int = EXAMPLES) -> Evaluator:
    data = Dataset.load(questions(examples))
    metric = resolve_metric("exact_match", CLASSIFY.outputs, data.columns)
    by_label = {each.label: each for each in models}
    return Evaluator(CLASSIFY, by_label, data, metric, gateway.session("live"), concurrency=2)


def evaluated(door: Door, trouble: Callable[[], None] | None = None) -> tuple[Evaluation, Spend]:
    """The evaluation through the door, with trouble from the third request on; and what it cost."""
    served = model(QUICKEST, door.url, max_tokens=MAX_TOKENS)
    with closing(Gateway(None)) as gateway:
        made = evaluator(gateway, served)
        config = CLASSIFY.default_config(served.label)
        if trouble is None:
            return made.evaluate(config, range(EXAMPLES)), made.session.spent
        with beside(door, trouble):
            return made.evaluate(config, range(EXAMPLES)), made.session.spent


@contextmanager
def beside(door: Door, trouble: Callable[[], None]) -> Iterator[None]:
    """Trouble once the third request since now is in flight."""
    after, happened = door.requests + 3, threading.Event()

    def wait() -> None:
        while door.requests < after or not door.in_flight:
            time.sleep(0.01)
        trouble()
        happened.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield
    thread.join(timeout=1)
    assert happened.is_set(), "all was over before there was trouble"


def said(evaluation: Evaluation) -> list[tuple[float | None, int, str | None]]:
    """What an evaluation may not owe to trouble."""
    outcomes = [evaluation.outcomes[index] for index in sorted(evaluation.outcomes)]
    return [(o.score, o.calls, o.failure.kind if o.failure else None) for o in outcomes]


@pytest.fixture
def door() -> Iterator[Door]:
    """In front of a memory, so that the same evaluation without trouble gets the same replies."""
    with RememberingProxy(NAMED[QUICKEST]) as memory, Door(memory.url) as opened:
        yield opened


def test_an_outage_of_a_minute_changes_nothing(door: Door) -> None:
    def outage() -> None:
        door.close()
        time.sleep(OUTAGE_S)
        door.open()

    check_nothing_changes(door, outage)


def test_a_server_that_dies_in_the_middle_of_calls_changes_nothing(door: Door) -> None:
    check_nothing_changes(door, door.reset)


def check_nothing_changes(door: Door, trouble: Callable[[], None]) -> None:
    """An evaluation in trouble ends as one without; each broken call is paid at its worst."""
    disturbed, paid = evaluated(door, trouble)
    undisturbed, paid_undisturbed = evaluated(door)
    assert door.broken > 0
    assert said(disturbed) == said(undisturbed)
    assert paid.calls == paid_undisturbed.calls + door.broken
    extra = (paid.usd - paid_undisturbed.usd) * 1e6 / door.broken
    bytes_sent = 4000 * INPUT_USD
    assert MAX_TOKENS * OUTPUT_USD < extra < MAX_TOKENS * OUTPUT_USD + bytes_sent


def test_losers_of_a_race_are_disconnected_and_paid_at_their_worst() -> None:
    doors = [Door(url) for url in NAMED.values()]
    with closing(Gateway(None)) as gateway:
        for each in doors:
            each.__enter__()
        models = [
            model(name, door.url, max_tokens=MAX_TOKENS)
            for name, door in zip(NAMED, doors, strict=True)
        ]
        made = evaluator(gateway, *models, examples=4)
        members = " + ".join(f"2x {each.label}" for each in models)
        network = parse_network(f"{members} -> first_to_finish", temperature=0.7)
        config = PipelineConfig(modules={"classify": network})
        evaluation = made.evaluate(config, range(4))
        requests = sum(each.requests for each in doors)
        spent = made.session.spent
        print(f"{requests} requests, {sum(d.abandoned for d in doors)} cut off, {spent}")
        assert None not in [outcome.score for outcome in evaluation.outcomes.values()]
        wait_until_idle(doors)
        assert sum(each.abandoned for each in doors) >= 4
        assert spent.calls == requests
        traced = [made.trace(config, index) for index in range(4)]
        assert sum(each.requests for each in doors) == requests, "a race was held again"
        assert spent.usd == pytest.approx(sum(trace.usd for trace in traced))
        cut = [call for trace in traced for call in trace.calls if call.finish_reason == "cut_off"]
        assert len(cut) == sum(each.abandoned for each in doors)
        assert all(call.output_tokens == MAX_TOKENS for call in cut)
        for each in doors:
            each.__exit__()


def wait_until_idle(doors: list[Door], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while any(each.in_flight for each in doors):
        assert time.monotonic() < end, "a cancelled request is still in flight"
        time.sleep(0.01)
