"""A search that was killed, interrupted or repeated pays for nothing twice, and ends the same."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer
from optimizer.stages.structure.proposals import Proposer
from pipelines import Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.model import Model
from pipelines.patterns import locate_solve
from search_spaces import SearchSpace
from tests.launching import Launcher, tune_served, wait_until
from tests.optimizer.runs import NAMES, ROWS, counting_server, outcome, served_models, tune

CONCURRENCY = 4
PLANTED = "sk-planted-4f1c9e7ab2d84635"


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    """Slow enough for calls to be in flight at a kill; one for all, since its address is cached."""
    with counting_server(Behaviour.slow(0.01)) as started:
        yield started


@pytest.fixture(scope="module")
def unharmed(server: LoopbackServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """What a run that nobody disturbs ends in, and how many calls it makes."""
    folder = tmp_path_factory.mktemp("unharmed")
    before = server.requests
    tune_served(server.url, str(folder / "cache"), str(folder / "result"), list(NAMES),
                concurrency=CONCURRENCY)  # fmt: skip
    return (folder / "result").read_text(), server.requests - before


def test_a_run_killed_five_times_repeats_what_was_in_flight_and_ends_the_same(
    launch: Launcher, server: LoopbackServer, unharmed: tuple[str, int]
) -> None:
    expected, calls = unharmed
    job: dict[str, Any] = {"url": server.url, "cache": str(Path("cache").resolve()),
                           "result": "result", "names": NAMES,
                           "concurrency": CONCURRENCY}  # fmt: skip
    before = server.requests
    for share in (0.02, 0.2, 0.45, 0.7, 0.95):
        pid = launch.start(Path.cwd(), tune=job)
        wait_until(lambda share=share: server.requests - before >= share * calls)  # type: ignore[misc]
        os.kill(pid, signal.SIGKILL)
        assert launch.wait() == -signal.SIGKILL
        wait_until(lambda: server.meter.in_flight == 0)
        assert not Path("result").exists()
    launch.start(Path.cwd(), tune=job)
    assert launch.wait() == 0, Path("err").read_text()
    assert Path("result").read_text() == expected
    assert calls <= server.requests - before <= calls + 5 * CONCURRENCY


@pytest.mark.parametrize("concurrency", [1, 16])
def test_the_same_run_again_pays_nothing_and_ends_the_same_at_any_concurrency(
    concurrency: int, tmp_path: Path
) -> None:
    first = tune(cache=tmp_path / "replies", concurrency=4)
    again = tune(cache=tmp_path / "replies", concurrency=concurrency)
    assert first.spent.paid_now_calls == first.spent.calls > 0
    assert (again.spent.paid_now_calls, again.spent.paid_now_usd) == (0, 0.0)
    assert outcome(again) == outcome(first)
    latencies = [trial.latency_s for trial in first.trials_]
    assert [trial.latency_s for trial in again.trials_] == latencies


@pytest.mark.parametrize(
    "cap", [Budget(calls=90), *(Budget(usd=usd) for usd in (0.009, 0.0095, 0.01, 0.0105))]
)
def test_a_run_that_its_budget_cut_off_ends_the_same_again(cap: Budget, tmp_path: Path) -> None:
    models = [Model(f"sim/{name}", max_tokens=100) for name in NAMES[::-1]]
    first = tune(cache=tmp_path / "replies", models=models, budget=cap, concurrency=8)
    assert first.stopped is not None
    again = tune(cache=tmp_path / "replies", models=models, budget=cap, concurrency=3)
    assert again.spent.paid_now_calls == 0
    assert again.config == first.config
    assert again.tuned_figures == first.tuned_figures
    assert again.gain == first.gain


def test_a_larger_budget_goes_on_where_a_smaller_one_ended(tmp_path: Path) -> None:
    first = tune(cache=tmp_path / "replies", budget=Budget(calls=80))
    assert first.stopped is not None
    more = tune(cache=tmp_path / "replies")
    assert outcome(more) == outcome(tune())
    assert more.spent.paid_now_calls == more.spent.calls - first.spent.calls


def test_proposals_of_optuna_are_the_same_after_a_search_that_was_cut_off(tmp_path: Path) -> None:
    """Its study is nowhere kept: the seed and the cache bring it back."""
    many = SearchSpace(temperature=tuple(n / 20 for n in range(41)), width=(1, 2, 3, 4, 5))
    how: dict[str, Any] = {"stages": "structure", "search_space": many, "models": "sim/birch"}
    with patch.object(Proposer, "tell", autospec=True, side_effect=Proposer.tell) as told:
        undisturbed = tune(**how)
    assert told.call_count >= 8, "Optuna proposed"
    first = tune(cache=tmp_path / "replies", budget=Budget(calls=600), **how)
    assert first.stopped is not None
    more = tune(cache=tmp_path / "replies", **how)
    assert outcome(more) == outcome(undisturbed)
    assert 0 < more.spent.paid_now_calls < more.spent.calls / 2


def test_what_a_smaller_budget_paid_for_does_not_count_against_a_larger_one(tmp_path: Path) -> None:
    tune(cache=tmp_path / "replies", budget=Budget(calls=64))
    more = tune(cache=tmp_path / "replies", budget=Budget(calls=90))
    assert more.stopped is not None
    assert outcome(more) == outcome(tune(budget=Budget(calls=90)))
    assert 0 < more.spent.paid_now_calls < more.spent.calls


@pytest.mark.usefixtures("default_store")
def test_ctrl_c_shows_the_best_so_far_and_the_next_run_pays_only_the_rest(
    launch: Launcher, server: LoopbackServer, unharmed: tuple[str, int]
) -> None:
    calls = unharmed[1]
    models = served_models(server)
    Pipeline("locate-solve", locate_solve().modules, models=models).save("pipeline.yaml")
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    command = ["optimize", "pipeline.yaml", "rows.jsonl", "--stages", "allocation"]
    command += ["--concurrency", str(CONCURRENCY)]
    environment = {"COMPOUND_OPTIMIZER_CACHE": str(Path("cache").resolve())}
    before = server.requests
    pid = launch.start(Path.cwd(), command=command, environment=environment)
    wait_until(lambda: server.requests - before >= 0.6 * calls)
    os.kill(pid, signal.SIGINT)
    assert launch.wait() == 130
    wait_until(lambda: server.meter.in_flight == 0)
    message = Path("err").read_text()
    assert "interrupted. Best so far: 0." in message
    assert "Run the same again to resume" in message
    assert "Traceback" not in message
    assert not Path("tuned.yaml").exists()
    paid = server.requests - before
    launch.start(Path.cwd(), command=command, environment=environment)
    assert launch.wait() == 0, Path("err").read_text()
    assert server.requests - before == calls
    assert f"for {server.requests - before - paid} calls, the rest was in the cache" in (
        Path("out").read_text()
    )
    assert Pipeline.load("tuned.yaml").config is not None


@pytest.mark.parametrize("interrupts", [1, 2])
def test_ctrl_c_waits_for_calls_in_flight_and_a_second_one_gives_them_up(
    interrupts: int, launch: Launcher
) -> None:
    """They would be charged at the worst that they may cost, and little be left to go on with."""
    released = threading.Event()

    def script(_request: LoopbackRequest) -> Behaviour:
        released.wait(300)
        return Behaviour()

    with counting_server(script) as slow:
        job = {"url": slow.url, "cache": "cache", "result": "result", "names": NAMES}
        pid = launch.start(Path.cwd(), tune=job)
        wait_until(lambda: slow.requests > 0)
        os.kill(pid, signal.SIGINT)
        wait_until(lambda: "ctrl-C again gives them up" in Path("err").read_text())
        if interrupts == 2:
            os.kill(pid, signal.SIGINT)
        else:
            released.set()
        assert launch.wait() != 0
        assert released.is_set() or slow.meter.in_flight > 0, "they were not waited for"
        released.set()
    message = Path("err").read_text()
    assert ("calls were given up" in message) is (interrupts == 2)
    assert "interrupted. Nothing was scored yet. Spent: $0.0" in message
    assert "nan" not in message


@pytest.mark.usefixtures("default_store")
def test_a_planted_key_is_in_no_byte_of_what_a_run_leaves_behind(launch: Launcher) -> None:
    """Also when the provider's error repeats the key, as some do."""

    def script(request: LoopbackRequest) -> Behaviour:
        leak = f'{{"error": {{"message": "Incorrect API key: {PLANTED}", "code": "x"}}}}'
        return Behaviour(status=401, body=leak) if request.index in (1, 50, 90) else Behaviour()

    with counting_server(script, api_key=PLANTED) as guarded:
        models = served_models(guarded, api_key_env="PLANTED_API_KEY")
        Pipeline("locate-solve", locate_solve().modules, models=models).save("pipeline.yaml")
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        command = ["optimize", "pipeline.yaml", "rows.jsonl", "--report", "report.html"]
        command += ["--budget-calls", "400"]
        cache = str(Path("cache").resolve())
        environment = {"COMPOUND_OPTIMIZER_CACHE": cache, "PLANTED_API_KEY": PLANTED}
        launch.start(Path.cwd(), command=command, environment=environment)
        assert launch.wait() == 0, Path("err").read_text()
    files = [path for path in Path.cwd().rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"cache.sqlite", "mlflow.db", "tuned.yaml", "report.html", "out", "err"} <= names
    assert b"Incorrect API key" in b"".join(path.read_bytes() for path in files), "it was tried"
    assert [path for path in files if PLANTED.encode() in path.read_bytes()] == []
