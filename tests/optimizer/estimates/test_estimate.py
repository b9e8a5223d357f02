from __future__ import annotations

import base64
import json
import logging
from typing import Any

import dspy
import pytest

from optimizer import Allocation, Budget, Module, Pipeline, from_callable, optimize
from optimizer.errors import OptimizationError
from optimizer.estimates.estimate import Estimate
from optimizer.search.records.trial import Trial
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model
from pipelines.patterns import locate_solve
from pipelines.providers.simulated.simulated_provider import SIMULATED
from tests.optimizer.runs import MODELS, ROWS, tune


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []
    send = SIMULATED.send

    async def counted(call: Any, timeout_s: float) -> Any:
        made.append(call)
        return await send(call, timeout_s)

    monkeypatch.setattr(SIMULATED, "send", counted, raising=False)
    return made


def estimated(pipeline: Any = None, models: Any = MODELS, **arguments: Any) -> Estimate:
    return optimize(pipeline or locate_solve(), ROWS, models, dry_run=True, **arguments)


def test_nothing_is_called_and_the_table_adds_up(calls: list[Any]) -> None:
    found = estimated()
    assert not calls
    names = [stage.stage for stage in found.stages]
    assert names == [
        "baseline", "single-model", "allocation", "structure", "prompts", "holdout"
    ]  # fmt: skip
    assert found.stages[0].calls[:2] == (28, 28), "14 examples, two modules"
    assert found.stages[1].calls[:2] == (16, 16), "two further models on four examples"
    assert found.calls.high == pytest.approx(sum(stage.calls.high for stage in found.stages))
    for stage in found.stages:
        for span in (stage.calls, stage.usd, stage.seconds):
            assert 0 <= span.low <= span.typical <= span.high
    shown = str(found)
    assert "locate-solve: 14 search examples, 6 held out, 3 models" in shown
    assert "can show: 100.0 points (6 gained and none lost" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 100
    assert json.loads(json.dumps(found.to_dict()))["calls"]["low"] == found.calls.low


def test_what_is_exact_is_what_is_spent_then(calls: list[Any]) -> None:
    seen: list[Trial] = []
    tune(stages="allocation", diagnoser=None, on_trial=seen.append)
    assert len(calls) > 40, "the fixture counts"
    baseline = next(trial for trial in seen if trial.stage == "baseline")
    single = [trial for trial in seen if trial.stage == "single-model"][-1]
    found = estimated(stages="allocation", diagnoser=None)
    first, second = found.stages[:2]
    assert first.calls.low <= baseline.nominal_calls <= first.calls.high
    looked_at = single.nominal_calls - baseline.nominal_calls
    assert second.calls.low <= looked_at <= second.calls.high
    assert found.calls.low <= seen[-1].nominal_calls <= found.calls.high
    assert found.stages[0].usd.low / 2 < baseline.nominal_usd < found.stages[0].usd.high


def test_a_budget_ends_the_totals_and_nothing_else() -> None:
    free, capped = estimated(), estimated(budget=Budget(calls=200))
    assert capped.stages == free.stages
    assert capped.calls.typical == capped.calls.high == 200
    assert capped.usd.typical < free.usd.typical
    assert capped.usd.high == pytest.approx(free.usd.high * 200 / free.calls.high)
    assert "Totals are capped by the budget: 200 calls." in str(capped)
    usd = free.usd.typical / 4
    poor = estimated(budget=Budget(usd=usd))
    assert poor.usd.typical == poor.usd.high == pytest.approx(usd)
    assert poor.calls.typical == pytest.approx(free.calls.typical / 4)
    assert poor.calls.low <= poor.calls.typical < poor.calls.high
    assert "Without one" in str(free)
    assert "Without one" not in str(capped)


def test_more_models_and_strategies_take_more() -> None:
    two, three = (estimated(models=MODELS[:count], stages="allocation") for count in (2, 3))
    every = estimated(stages=Allocation("exhaustive"))
    assert two.calls.typical < three.calls.typical
    assert every.calls.high > three.calls.high
    assert estimated(models=MODELS[0], stages="allocation", holdout=0).calls[:2] == (40, 40)


def test_too_few_held_out_examples_show_nothing() -> None:
    few = estimated(holdout=0.2)
    assert few.smallest_gain is None
    assert "4 held-out examples can't show any gain: it takes 6 gained" in str(few)
    assert "Nothing is held out" in str(estimated(holdout=0))


@pytest.mark.parametrize("rows", [4, 20, 100])
def test_a_warning_says_what_few_held_out_examples_can_show(
    rows: int, caplog: pytest.LogCaptureFixture, calls: list[Any]
) -> None:
    data = [{**ROWS[n % 20], "note": n} for n in range(rows)]

    def stop(trial: Trial) -> None:
        raise AssertionError

    with caplog.at_level(logging.WARNING, "optimizer.loop"), pytest.raises(OptimizationError):
        tune(data, on_trial=stop, budget=Budget(calls=500))
    warned = [line for line in caplog.messages if "held-out" in line]
    test = "by the exact sign test at 2.5% on one side"
    expected = {
        4: [f"1 held-out example can't show any gain: it takes 6 gained and none lost, {test}."],
        20: [
            "Smallest gain that 6 held-out examples can show: 100.0 points (6 gained and none "
            f"lost, {test})."
        ],
        100: [],
    }
    assert warned == [f"{line} More examples can show smaller gains." for line in expected[rows]]


def test_programs_of_every_kind_are_estimated() -> None:
    class Solve(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.solve = dspy.ChainOfThought("table, question -> answer")

        def forward(self, table: str, question: str) -> Any:
            return self.solve(table=table, question=question)

    program = estimated(Solve())
    assert program.stages[0].calls[:2] == (14, 21), "only running tells how often it asks"

    def answer(table: str, question: str) -> dict[str, str]:
        raise AssertionError("nothing of the user's runs")

    code = from_callable(lambda models: answer, ["plan", "solve"])
    assert estimated(code, metric=lambda example, prediction: 1.0).input_tokens > 0


def test_without_a_budget_the_estimate_caps_and_a_warning_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cap = estimated(stages="allocation").default
    with caplog.at_level(logging.WARNING, "optimizer.estimates"):
        result = tune(stages="allocation")
    (line,) = [r.message for r in caplog.records if "NO BUDGET WAS GIVEN" in r.message]
    assert f"budget=Budget(usd={cap.usd:g})" in line
    assert (result.budget, result.budget_is_default) == (cap, True)
    assert result.spent.usd <= (cap.usd or 0)

    caplog.clear()
    uncapped = tune(stages="allocation", budget=Budget())
    assert "NO BUDGET" not in caplog.text
    assert (uncapped.budget, uncapped.budget_is_default) == (Budget(), False)


def test_free_models_are_capped_in_calls_and_dear_ones_at_five_dollars() -> None:
    free = [Model(name, input_usd_per_million=0.0, output_usd_per_million=0.0) for name in MODELS]
    found = estimated(models=free, stages="allocation")
    assert found.default == Budget(calls=found.default.calls)
    assert (found.default.calls or 0) >= found.calls.high
    dear = [
        Model(name, input_usd_per_million=900.0, output_usd_per_million=900.0) for name in MODELS
    ]
    assert estimated(models=dear).default == Budget(usd=5.0)


@pytest.mark.parametrize("stages", ["allocation", "prompts"])
def test_a_paid_diagnoser_of_free_models_is_capped_in_dollars(stages: str) -> None:
    free = [Model(name, input_usd_per_million=0.0, output_usd_per_million=0.0) for name in MODELS]
    dear = Model(MODELS[0], label="dear", input_usd_per_million=1e3, output_usd_per_million=5e3)
    found = estimated(models=free, diagnoser=dear, stages=stages)
    assert found.usd.high > 5
    assert found.default == Budget(usd=5.0)
    assert (found.suggested.usd or 0) >= 2 * found.usd.typical


def test_images_are_estimated_by_what_a_model_counts_and_not_by_their_bytes() -> None:
    data = "data:image/png;base64," + base64.b64encode(bytes(30_000)).decode()
    rows = [{"image": dspy.Image(data), "question": f"{i}?", "answer": "x"} for i in range(20)]
    model = Model("openai/gpt-4o", api_base="http://127.0.0.1:9/v1", api_key_env=None,
                  input_usd_per_million=1.0, output_usd_per_million=0.0)  # fmt: skip
    arguments: dict[str, Any] = {"stages": "allocation", "diagnoser": None, "dry_run": True}
    look = Pipeline("look", [Module("look", "image: dspy.Image, question -> answer")])
    found = optimize(look, rows, model, **arguments)
    text = found.input_tokens - 1_000
    assert 50 < text < 400, "the rest of the prompt"
    assert found.stages[0].usd == pytest.approx(
        [14e-6 * (text + 250), 14e-6 * (text + 1_000), 14e-6 * (text + 16_384)], rel=1e-6
    )

    def answer(image: str, question: str) -> dict[str, str]:
        raise AssertionError("nothing of the user's runs")

    code = from_callable(lambda models: answer, ["look"])
    linked = [{**row, "image": data} for row in rows]
    own = optimize(code, linked, model, metric=lambda example, prediction: 1.0, **arguments)
    assert own.input_tokens == pytest.approx(1_001)


def test_on_trial_sees_every_trial_and_may_end_the_search() -> None:
    seen: list[Trial] = []
    result = tune(on_trial=seen.append)
    assert tuple(seen) == result.trials_

    def stop(trial: Trial) -> None:
        if trial.number == 2:
            raise LookupError("enough")

    with pytest.raises(OptimizationError) as raised:
        tune(on_trial=stop)
    message = str(raised.value)
    assert message.startswith("on_trial raised LookupError: enough, at trial 2 (single-model)")
    assert isinstance(raised.value.__cause__, LookupError)
    with pytest.raises(ValueError, match=r"on_trial must be a function of one trial, but got 3"):
        tune(on_trial=3)


def test_an_estimate_checks_as_a_search_does() -> None:
    with pytest.raises(ValueError, match="a budget of 3 calls is too small"):
        estimated(budget=Budget(calls=3))
    with pytest.raises(ValueError, match="there is no stage 'alocation'"):
        estimated(stages="alocation")
    wide = Pipeline(
        "votes", [Module("solve", "question -> answer", model="3x sim/rowan -> majority_vote")]
    )
    assert estimated(wide, models=None, gateway=Gateway(cache=None)).stages[0].calls[0] == 42


def test_the_result_names_the_cap_that_nobody_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optimizer.estimates.estimate.MOST_DEFAULT_USD", 0.06)
    result = tune(stages="allocation")
    assert result.budget == Budget(usd=0.06)
    assert result.stopped is not None
    assert "the default budget of $0.0600, as none was given, ended the search" in result.stopped
    assert result.spent.usd <= 0.06


def test_a_budget_that_does_not_reach_for_the_baseline_is_named_with_what_it_takes() -> None:
    words = "THE BUDGET DOES NOT REACH for the baseline"
    poor = estimated(budget=Budget(usd=0.0001))
    assert words in str(poor)
    assert "$0.000100 is too little" in " ".join(str(poor).split())
    enough = estimated(budget=Budget(usd=poor.least_usd.high))
    assert words not in str(enough)
    assert tune(budget=Budget(usd=poor.least_usd.high)).spent.calls > 0
    assert words not in str(estimated())


def test_an_estimate_needs_no_api_key() -> None:
    own = Model(
        "openai/own",
        api_base="http://127.0.0.1:9/v1",
        api_key_env="MY_API_KEY",
        input_usd_per_million=1.0,
        output_usd_per_million=1.0,
    )
    models = ["openai/gpt-4o-mini", own]
    assert estimated(models=models).usd.typical > 0
    with pytest.raises(ValueError, match="needs an API key: set OPENAI_API_KEY") as raised:
        tune(models=models)
    assert "needs an API key: set MY_API_KEY" in str(raised.value)
    with pytest.raises(ValueError, match="no provider is known for model 'nobody/x'"):
        estimated(models=["nobody/x"])
