"""`optimize` as a user meets it: what it may be given, what it keeps to, what it returns."""

from __future__ import annotations

import copy
import dataclasses
import json
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dspy
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import optimizer.results.conclusion
from benchmarks.loopback import Behaviour, LoopbackRequest
from benchmarks.worlds import simulated_dataset
from optimizer.errors import BudgetTooSmall
from optimizer.results.result import Result
from optimizer.search.holdout import FinalScores, score_finalists
from pipelines import Module, Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway, Session
from pipelines.gateway.model import Model
from pipelines.patterns import locate_solve
from pipelines.providers import price_of
from search_spaces import ModuleConfig, PipelineConfig, SearchSpace
from tests.optimizer.runs import (
    HELD_OUT,
    MODELS,
    NAMES,
    ROWS,
    counting_server,
    outcome,
    served_models,
    tune,
)

BEST = {"locate": ("sim/alder",), "solve": ("sim/birch",)}
Answer = Callable[[LoopbackRequest], Behaviour]


@pytest.fixture(scope="module")
def tuned() -> Result:
    return tune()


def test_the_better_mix_is_found_and_measured_on_held_out_examples(tuned: Result) -> None:
    assert tuned.config.allocation == BEST
    assert tuned.held_out
    assert tuned.tuned_figures.examples == HELD_OUT
    assert tuned.gain.mean > 0.3
    assert tuned.gain_over_single is not None
    assert tuned.gain_over_single.mean > 0.3
    assert {"baseline", "single-model", "allocation"} <= set(tuned.trials["stage"])
    assert set(tuned.spent.by_purpose) == {"task", "diagnoser"}
    assert tuned.diagnoser_chosen
    last = tuned.module_scores.groupby("module")["examples"].last()
    assert {
        expected_message.module: expected_message.judged for expected_message in tuned.diagnoser
    } == last.to_dict()


def test_every_held_out_example_is_there_with_its_answers(tuned: Result) -> None:
    frame = tuned.examples
    assert len(frame) == HELD_OUT
    assert [ROWS[row]["question"] for row in frame.index] == list(frame["question"])
    assert frame["tuned_score"].mean() == pytest.approx(tuned.score.mean)
    assert frame["baseline_cost_usd"].mean() == pytest.approx(
        tuned.baseline_figures.usd_per_example
    )
    gains = (frame["tuned_score"] - frame["baseline_score"]).sum()
    assert len(tuned.gained) - len(tuned.lost) == gains > 0
    right = frame[frame["tuned_score"] == 1]
    assert list(right["tuned_answer"]) == list(right["answer"])
    first = tuned.examples_[0]
    trace = first.outcomes["tuned"].trace
    located = trace.step("locate").outputs
    assert located is not None
    assert located["task"] in first.replies[trace.calls[0].key]


def test_the_tuned_pipeline_runs(tuned: Result) -> None:
    row = ROWS[0]
    answer = tuned.pipeline(table=row["table"], question=row["question"]).answer
    assert answer == row["answer"]


def test_the_users_pipeline_is_never_changed(tuned: Result) -> None:
    pipeline = locate_solve()
    before = copy.deepcopy(pipeline)
    result = tune(pipeline=pipeline, models=MODELS[:2])
    assert pipeline == before
    assert pipeline.config is None
    assert result.pipeline is not pipeline
    assert result.pipeline.config == result.config


def test_the_seed_decides_the_split_and_nothing_else_does() -> None:
    assert outcome(tune(concurrency=1, diagnoser=None)) == outcome(
        tune(concurrency=7, diagnoser=None)
    )
    assert outcome(tune(seed=1, diagnoser=None)) != outcome(tune(seed=2, diagnoser=None))


def test_rows_a_frame_and_examples_are_the_same_data(tuned: Result) -> None:
    examples = [dspy.Example(row).with_inputs("table", "question") for row in ROWS]
    assert outcome(tune(pd.DataFrame(ROWS))) == outcome(tune(examples)) == outcome(tuned)


def test_extra_columns_do_no_harm(tuned: Result) -> None:
    """They change the data's digest, and nothing that the models or the diagnoser see."""
    rows = [{"id": n, "note": "sim/rowan is best", **row} for n, row in enumerate(ROWS)]
    assert outcome(tune(rows)) == outcome(tuned)


def test_labels_may_be_numbers(tuned: Result) -> None:
    rows = [{**row, "answer": int(row["answer"])} for row in ROWS]
    result = tune(rows, metric="numeric_match")
    assert result.score.mean == tuned.score.mean
    assert tune(rows).config.allocation == BEST


def test_one_model_may_be_given_as_text() -> None:
    result = tune(models="sim/birch")
    assert result.config.allocation == {"locate": ("sim/birch",), "solve": ("sim/birch",)}
    assert result.stopped is None
    assert result.single_model is None, "the pipeline as given is the only one"
    assert "best single model" not in str(result)


def test_without_models_those_that_the_modules_name_are_the_choices() -> None:
    modules = [
        Module("locate", "table, question -> task", model="sim/birch"),
        Module("solve", "task -> answer", model="sim/alder"),
    ]
    result = tune(pipeline=Pipeline("swapped", modules), models=None)
    assert result.baseline_config.allocation == {"locate": ("sim/birch",), "solve": ("sim/alder",)}
    assert result.config.allocation == BEST


def test_a_name_means_the_model_that_the_pipeline_describes_under_it() -> None:
    described = Model("sim/alder", label="finder", max_tokens=300)
    pipeline = Pipeline("described", locate_solve().modules, models=[described])
    result = tune(pipeline=pipeline, models=["finder", "sim/birch"], diagnoser="finder")
    assert result.config.allocation["locate"] == ("finder",)
    assert described in result.pipeline.models


def test_a_baseline_model_may_lie_outside_the_choices() -> None:
    modules = [
        Module("locate", "table, question -> task", model="sim/alder"),
        Module("solve", "task -> answer", model="sim/rowan"),
    ]
    result = tune(pipeline=Pipeline("outside", modules), models=["sim/birch", "sim/rowan"])
    assert result.config.allocation == BEST, "the module's own model stays where none is better"


def test_a_search_space_narrows_one_module() -> None:
    space = SearchSpace(models={"solve": ("sim/rowan", "sim/alder")})
    result = tune(search_space=space)
    tried = {trial.config.allocation["solve"] for trial in result.trials_}
    assert tried <= {("sim/rowan",), ("sim/alder",)}
    assert {trial.config.allocation["locate"][0] for trial in result.trials_} > {"sim/alder"}


def test_without_holdout_the_figures_are_search_estimates() -> None:
    result = tune(holdout=0)
    assert not result.held_out
    assert result.tuned_figures.examples == len(ROWS)
    assert "search estimates" in str(result)
    assert not result.improved


def test_without_a_diagnoser_races_alone_find_the_mix() -> None:
    result = tune(diagnoser=None)
    assert result.config.allocation == BEST
    assert set(result.spent.by_purpose) == {"task"}


def counted(example: dspy.Example, prediction: dspy.Prediction) -> dspy.Prediction:
    wanted = str(sum(ord(c) for c in example.question) % 1000)
    feedback = f"the answer has to be near {wanted}, which ZEBRA-{wanted} says"
    return dspy.Prediction(score=float(len(prediction.answer) > 3), feedback=feedback)


@pytest.mark.parametrize("others", [{}, {"source": "a book"}])
def test_feedback_of_a_metric_reaches_the_diagnoser(others: dict[str, str]) -> None:
    prompts: list[str] = []

    def record(request: LoopbackRequest) -> Behaviour:
        prompts.append(request.messages[-1]["content"])
        return Behaviour()

    rows = [{"table": row["table"], "question": row["question"], **others} for row in ROWS]
    with counting_server(record) as server:
        tune(rows, served_models(server), metric=counted)
    diagnoses = [p for p in prompts if "[[ ## candidates ## ]]" in p]
    assert diagnoses
    assert all('{"feedback":"the answer has to be near ' in prompt for prompt in diagnoses)


def test_labels_reach_the_diagnoser_and_other_columns_do_not() -> None:
    prompts: list[str] = []

    def record(request: LoopbackRequest) -> Behaviour:
        prompts.append(request.messages[-1]["content"])
        return Behaviour()

    rows = [{**row, "source": "ZEBRA"} for row in ROWS]
    with counting_server(record) as server:
        tune(rows, served_models(server))
    diagnoses = [p for p in prompts if "[[ ## candidates ## ]]" in p]
    assert diagnoses
    assert all('{"answer":"' in prompt for prompt in diagnoses)
    assert not any("ZEBRA" in prompt for prompt in prompts)


def test_the_holdout_is_touched_once_by_three_configs_at_most() -> None:
    """The server cannot know which rows are held out; those whose first call comes last are."""
    arrivals: list[tuple[str, str]] = []
    lock = threading.Lock()

    def record(request: LoopbackRequest) -> Behaviour:
        text = "".join(message["content"] for message in request.messages)
        with lock:
            for row in ROWS:
                if row["table"] in text:
                    arrivals.append((row["table"], request.model))
        return Behaviour()

    with counting_server(record) as server:
        result = tune(models=served_models(server))
    first: dict[str, int] = {}
    for place, (table, _) in enumerate(arrivals):
        first.setdefault(table, place)
    assert len(first) == len(ROWS)
    final = sorted(first, key=first.__getitem__)[-HELD_OUT:]
    begun = min(first[table] for table in final)
    searched = {table for table, _ in arrivals[:begun]}
    after = [table for table, _ in arrivals[begun:]]
    assert searched.isdisjoint(final), "no held-out row was seen while the search went on"
    assert set(after) == set(final), "and no other after it"
    # calls of `locate` alone show the table, and equal ones are answered from the cache
    distinct = {config.allocation["locate"] for config in (result.config, result.baseline_config)}
    most = len(distinct) + 1  # the best single model
    assert max(Counter(after).values()) <= most <= 3


@settings(max_examples=12)
@given(
    cap=st.one_of(
        st.floats(-3, -1.3).map(lambda power: Budget(usd=10**power)),
        st.integers(64, 260).map(lambda calls: Budget(calls=calls)),
    ),
    max_tokens=st.sampled_from([60, 300, 2048]),
    order=st.permutations(NAMES),
    concurrency=st.sampled_from([1, 8]),
)
@example(Budget(usd=0.016), 300, NAMES[::-1], 8)  # the last answer was not kept room for once
def test_the_holdout_stays_affordable(
    cap: Budget, max_tokens: int, order: Sequence[str], concurrency: int
) -> None:
    models = [Model(f"sim/{name}", max_tokens=max_tokens) for name in order]
    try:
        result = tune(models=models, budget=cap, concurrency=concurrency)
    except BudgetTooSmall:
        return
    assert result.held_out, result.stopped
    assert result.tuned_figures.examples == result.baseline_figures.examples == HELD_OUT
    assert result.spent.paid_now_usd <= (cap.usd or 1e9)
    assert result.spent.paid_now_calls <= (cap.calls or 10**9)


def test_the_holdout_of_a_wide_pipeline_stays_affordable() -> None:
    base = locate_solve().default_config("sim/alder").modules
    wide = base["solve"].model_copy(
        update={"width": 3, "aggregator": "majority_vote", "temperature": 0.7}
    )
    config = PipelineConfig(modules={"locate": base["locate"], "solve": wide})
    pipeline = Pipeline("wide", locate_solve().modules, config=config)
    for calls in (106, 130, 190):
        result = tune(pipeline=pipeline, budget=Budget(calls=calls))
        assert result.held_out, result.stopped
        assert result.tuned_figures.examples == HELD_OUT
        assert result.spent.paid_now_calls <= calls
    with pytest.raises(BudgetTooSmall, match="take 104 calls"):
        tune(pipeline=pipeline, budget=Budget(calls=103))


@pytest.mark.parametrize("cap", [Budget(usd=0.009), Budget(usd=0.0105), Budget(calls=90)])
def test_caps_hold_by_the_servers_own_count_with_64_calls_in_flight(cap: Budget) -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour.server_error() if request.index % 9 == 5 else Behaviour.slow(0.002)

    with counting_server(script) as server:
        models = served_models(server, max_tokens=100)[::-1]  # a cheap baseline; dear ones to try
        result = tune(models=models, budget=cap, concurrency=64)
        assert result.stopped is not None
        assert server.usd <= (cap.usd or 1e9)
        assert server.requests <= (cap.calls or 10**9)
        assert result.spent.paid_now_calls == server.requests
        assert result.spent.paid_now_usd >= server.usd * (1 - 1e-9)


def failing(model: str, share: float) -> Answer:
    """The model's server is down for so large a share of the tables."""

    def script(request: LoopbackRequest) -> Behaviour:
        tables = [n for n, row in enumerate(ROWS) if row["table"] in str(request.messages)]
        tables += [n for n, row in enumerate(ROWS)
                   if row["table"] in request.messages[-1]["content"]]  # fmt: skip
        down = request.model == model and tables and tables[0] < share * len(ROWS)
        return Behaviour.server_error() if down else Behaviour()

    return script


def test_a_model_whose_calls_fail_is_disqualified_and_the_result_says_so() -> None:
    with counting_server(failing("birch", 0.5)) as server:
        result = tune(models=served_models(server))
    labels = {label for labels in result.config.allocation.values() for label in labels}
    assert "locate" in result.config.allocation
    assert result.config.allocation["locate"] != ("birch",)
    trials = result.trials
    out = trials[(trials["status"] == "disqualified") & (trials["locate.model"] == "birch")]
    assert len(out)
    assert (out["unscored"] > 0).all()
    assert (
        out["detail"].str.contains(r"disqualified: outages hit \d+ of \d+ examples \(server").all()
    )
    assert labels <= set(NAMES)


def test_a_model_that_is_down_a_little_is_scored_on_the_rest() -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        hit = request.model == "alder" and ROWS[3]["table"] in request.messages[-1]["content"]
        return Behaviour.server_error() if hit else Behaviour()

    for seed in (0, 1):  # one of the two has the row among the search examples
        with counting_server(script) as server:
            result = tune(models=served_models(server), seed=seed)
        [baseline] = [trial for trial in result.trials_ if trial.stage == "baseline"]
        assert baseline.status == "complete"
        assert baseline.examples + baseline.unscored == 14
        held_out = result.baseline_figures
        assert held_out.examples + held_out.unscored == HELD_OUT
        assert baseline.unscored + held_out.unscored == 1
        assert baseline.failures.get("server_error", 0) == baseline.unscored


def test_what_a_model_does_wrong_scores_nothing() -> None:
    def refuse(request: LoopbackRequest) -> Behaviour:
        if "Compute (" in request.messages[-1]["content"]:
            said = {"role": "assistant", "content": "I'm sorry, but I can't help with that."}
            usage = '{"prompt_tokens": 50, "completion_tokens": 12, "total_tokens": 62}'
            choice = f'{{"index": 0, "message": {json.dumps(said)}, "finish_reason": "stop"}}'
            return Behaviour(
                body=f'{{"id": "x", "object": "chat.completion", "created": 0, "model": "m", '
                f'"choices": [{choice}], "usage": {usage}}}'
            )
        return Behaviour()

    rows = simulated_dataset("arithmetic", 20)
    pipeline = Pipeline("sums", [Module("solve", "question -> answer")])
    with counting_server(refuse) as server:
        birch = served_models(server)[1]  # it calculates well
        result = tune(rows, [birch], pipeline=pipeline, diagnoser=None)
    [baseline] = result.trials_
    held_out = result.baseline_figures
    refused = [each.failures.get("refusal", 0) for each in (baseline, held_out)]
    assert sum(refused) == sum("(" in row["question"] for row in rows)
    assert baseline.unscored == 0
    assert baseline.examples == 14, "a refusal counts as a score of 0"
    assert baseline.score is not None
    assert 0 < baseline.score.mean <= (14 - refused[0]) / 14


def test_a_cap_in_seconds_ends_the_search_with_a_held_out_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def clock(session: Session) -> float:
        return 0.05 * session.nominal.calls

    monkeypatch.setattr(Session, "seconds", property(clock))
    whole = tune()
    result = tune(budget=Budget(seconds=0.8 * whole.spent.seconds))
    assert result.stopped is not None
    assert "seconds is used up but for" in result.stopped
    assert result.held_out
    assert result.spent.seconds <= 0.8 * whole.spent.seconds


def test_the_holdout_of_a_baseline_of_mixed_members_is_paid_for() -> None:
    pipeline = locate_solve()
    config = pipeline.default_config("sim/alder")
    mixed = ModuleConfig(
        models=("sim/alder", "sim/birch"), width=2, aggregator="majority_vote", temperature=0.7
    )
    config = PipelineConfig(modules={**config.modules, "solve": mixed})
    given = dataclasses.replace(pipeline, config=config)
    least = 3 * (14 + 2 * HELD_OUT)
    with pytest.raises(BudgetTooSmall, match=f"take {least} calls"):
        tune(pipeline=given, models=MODELS[:2], budget=Budget(calls=least - 1))
    assert tune(pipeline=given, models=MODELS[:2], budget=Budget(calls=least + 30)).held_out


def test_the_holdout_is_paid_for_when_the_baselines_models_are_no_choices() -> None:
    pipeline = locate_solve()
    config = pipeline.default_config("sim/rowan").with_models({"locate": "sim/alder"})
    given = dataclasses.replace(pipeline, config=config)
    least = 2 * (14 + 2 * HELD_OUT)
    with pytest.raises(BudgetTooSmall, match=f"take {least} calls"):
        tune(pipeline=given, models=["sim/birch"], budget=Budget(calls=least - 1))
    result = tune(pipeline=given, models=["sim/birch"], budget=Budget(calls=least + 10))
    assert result.held_out


def test_a_best_single_model_too_dear_for_the_budget_costs_no_held_out_result() -> None:
    rows = simulated_dataset("locate_solve", 40, 1)
    models = ["sim/larch", "sim/cedar"]
    whole = tune(rows, models, diagnoser=None)
    assert whole.single_model_label == "sim/cedar"
    assert whole.single_model_figures is not None
    dear = whole.single_model_figures.usd_per_example * 12
    usd = whole.spent.usd - 0.9 * dear
    result = tune(rows, models, diagnoser=None, budget=Budget(usd=usd))
    assert result.held_out
    assert result.spent.usd <= usd


def test_a_model_too_dear_to_call_does_not_end_the_search_for_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = simulated_dataset("locate_solve", 60, 2)
    cheap = ["sim/rowan", "sim/larch", "sim/birch"]
    cap = 0.8 * price_of(Model("sim/cedar")).output_usd * 2048
    alone = tune(rows, cheap, diagnoser=None, budget=Budget(usd=cap))
    beside = tune(rows, [*cheap, "sim/cedar"], diagnoser=None, budget=Budget(usd=cap))
    assert beside.config == alone.config != alone.baseline_config
    assert beside.spent.calls == alone.spent.calls
    assert "sim/cedar is left out: its longest answer may cost $0.1" in caplog.text
    assert beside.left_out == tuple(text for text in caplog.messages if "left out" in text)
    assert "sim/cedar is left out: its longest answer" in str(beside)
    assert "left out" not in str(alone)


def test_a_dear_model_stays_unmentioned_where_its_module_has_no_other() -> None:
    rows = simulated_dataset("locate_solve", 60, 2)
    cheap, dear = "sim/rowan", Model("sim/birch", max_tokens=40_000)
    cap = Budget(usd=0.8 * price_of(dear).output_usd * dear.max_tokens)
    other = {"locate": [cheap, dear.name], "solve": [cheap, dear.name]}

    def left_out(models: dict[str, Any]) -> tuple[str, ...]:
        space = SearchSpace(models=models)
        return tune(rows, [cheap, dear], diagnoser=None, budget=cap, search_space=space).left_out

    assert left_out(other)[0].startswith("sim/birch is left out: ")
    assert left_out({**other, "solve": [dear.name]})[0].startswith(
        "sim/birch is left out of 'locate': "
    )
    assert left_out({"locate": [cheap], "solve": [dear.name]}) == ()


def test_a_budget_that_leaves_nothing_to_search_with_is_reported_once() -> None:
    models = ["sim/hazel", "sim/birch"]
    with pytest.raises(BudgetTooSmall) as raised:
        tune(models=models, budget=Budget(usd=0.003))
    needed = float(str(raised.value).partition("takes about $")[2].split()[0])
    (expected_message,) = tune(models=models, budget=Budget(usd=needed)).left_out
    assert expected_message.startswith("nothing is left to search with")
    assert "max_tokens" not in expected_message


def test_a_budget_too_small_says_that_its_figures_came_from_the_cache(tmp_path: Path) -> None:
    messages = []
    for usd in (0.0030, 0.0029):
        with pytest.raises(BudgetTooSmall) as raised:
            tune(models=["sim/hazel", "sim/birch"], budget=Budget(usd=usd), cache=tmp_path)
        messages.append(str(raised.value))
    assert "(measured on 8 calls);" in messages[0]
    assert "(measured on 8 calls, of which the cache had 8);" in messages[1]


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_outages_on_the_holdout_are_no_gain_and_no_crash(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = threading.Event()

    def script(request: LoopbackRequest) -> Behaviour:
        drawn = zlib.crc32(str(request.messages).encode()) % 100 < 100 * share
        hit = down.is_set() and drawn and request.model in ("alder", "birch")
        return Behaviour.server_error() if hit else Behaviour()

    def final_pass(*args: Any) -> FinalScores:
        down.set()
        return score_finalists(*args)

    monkeypatch.setattr(optimizer.results.conclusion, "score_finalists", final_pass)
    with counting_server(script) as server:
        models = served_models(server)
        result = tune(models=[models[2], *models[:2]])
    assert result.config.allocation == {"locate": ("alder",), "solve": ("birch",)}
    assert not result.improved
    expected_message = " ".join(str(result).split())
    if share < 1:
        assert result.tuned_figures.disqualified
        assert (
            "No gain over the baseline is claimed: too many held-out examples" in expected_message
        )
    else:
        assert not result.held_out
        assert "every held-out example met an infrastructure failure" in expected_message


def test_replies_are_shared_between_searches(tmp_path: Any) -> None:
    first = tune(cache=tmp_path / "replies", models=MODELS[:2])
    gateway = Gateway(tmp_path / "replies")
    again = tune(gateway=gateway, models=MODELS[:2])
    wider = tune(gateway=gateway)
    gateway.close()
    assert first.spent.paid_now_calls == first.spent.calls
    assert again.spent.paid_now_calls == 0
    assert outcome(again) == outcome(first)
    assert 0 < wider.spent.paid_now_calls < wider.spent.calls
