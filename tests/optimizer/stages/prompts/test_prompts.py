"""The stage that tunes prompts: with each of DSPy's optimizers, in the budget, and repeatably."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import dspy
import pytest

from benchmarks.worlds import PHRASES, SimulatedModel, register, simulated_dataset
from evaluators.errors import MetricError
from evaluators.objective import Objective
from optimizer.loop import diagnoser_of, start_search
from optimizer.search.state import SearchState
from optimizer.setup.plan import prepare
from optimizer.stages.prompts import Prompts, stage
from optimizer.stages.prompts.blame import blamed_modules
from optimizer.stages.prompts.optimizers import OPTIMIZERS, PromptOptimizer, Room
from optimizer.stages.prompts.workbench import Workbench
from optimizer.stages.resolver import resolve_stages
from pipelines import Module, Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted, LMCall
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.session import Session
from pipelines.patterns import locate_solve
from search_spaces import PipelineConfig, SearchSpace, SearchSpaceError
from search_spaces.config import canonical_json
from tests.optimizer.runs import outcome, tune

ROWS = simulated_dataset("locate_solve", 60, seed=5, rows=4)
WRITER = register(
    SimulatedModel(
        "prompted",
        skills={"locate": 0.97, "arithmetic": 0.4, "diagnose": 0.97, "compare": 0.99}
        | {"write_instructions": 0.97},
        phrase_effects={
            "check your work": {"arithmetic": 1.0},
            "read the question twice": {"arithmetic": 0.5},
        },
    )
)
MODEL = "sim/prompted"
NAMES = list(OPTIMIZERS)


def study_of(pipeline: Pipeline | None = None, budget: Budget | None = None) -> SearchState:
    plan = prepare(
        pipeline or locate_solve(),
        ROWS,
        MODEL,
        stages=resolve_stages("prompts"),
        diagnoser=MODEL,
        holdout=0.0,
    )
    state = start_search(plan, Gateway(None).session("", budget), 8)
    state.race("baseline", [state.baseline])
    state.diagnoser = diagnoser_of(plan, state)
    return state


@pytest.fixture(autouse=True)
def _once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second draws, but in the tests that are about them."""
    monkeypatch.setattr(stage, "ATTEMPTS", 1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[LMCall]:
    """Every call that a session is asked for."""
    made: list[LMCall] = []
    complete = Session.complete

    def noted(self: Session, call: LMCall) -> Any:
        made.append(call)
        return complete(self, call)

    monkeypatch.setattr(Session, "complete", noted)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_prompts_change_and_nothing_else_does(
    name: str,
    capfd: pytest.CaptureFixture[str],
    calls: list[LMCall],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two = Pipeline(
        "two",
        [
            Module("locate", "table, question -> task", model="sim/alder"),
            Module("solve", "task -> answer", model=MODEL, temperature=0.3),
        ],
    )
    state = study_of(two)
    if name == "copro":  # its first draw helps nobody
        monkeypatch.setattr(stage, "ATTEMPTS", 3)
    Prompts(name).improve(state)
    proposed = [trial.config for trial in state.trials if trial.config != state.baseline]
    assert proposed
    for config in proposed:
        changed = {d.knob for d in state.baseline.differences(config)}
        assert changed <= {"instructions", "demos"}
    written = [call for call in calls if call.purpose == "prompts"]
    assert bool(written) == (name != "bootstrap")
    assert {call.model.label for call in calls if call.purpose == "task"} == {"sim/alder", MODEL}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["gepa", "mipro", "copro"])
def test_an_instruction_that_helps_is_found_and_those_that_were_tried_are_listed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "copro":  # its first draw helps nobody
        monkeypatch.setattr(stage, "ATTEMPTS", 3)
    result = tune(ROWS, [MODEL], stages=[Prompts(name)], diagnoser=MODEL, holdout=0)
    tried = [probe for probe in result.probes_ if probe.module == "solve"]
    assert tried
    assert {(probe.kind, probe.stage, probe.model) for probe in tried} == {
        ("prompt", "prompts", MODEL)
    }
    assert all(probe.detail.startswith(f"{name}: solve.") for probe in tried)
    assert max(probe.examples for probe in tried) > stage.EXAMPLES / 2
    message = result.config.modules["solve"].instructions or ""
    assert "check your work" in message.lower() or "read the question twice" in message.lower()
    assert result.gain.mean > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_same_run_takes_the_same_path_at_another_concurrency_and_pays_nothing(
    name: str, tmp_path: Path
) -> None:
    first, again = (
        tune(
            ROWS, [MODEL, "sim/birch"], cache=tmp_path, stages=["allocation", Prompts(name)],
            concurrency=concurrency, budget=Budget(calls=1500),
        )
        for concurrency in (12, 1)
    )  # fmt: skip
    assert again.spent.paid_now_calls == 0
    assert outcome(again) == outcome(first)


@pytest.mark.parametrize("name", NAMES)
def test_the_cap_in_calls_holds(name: str) -> None:
    result = tune(ROWS, [MODEL], stages=[Prompts(name)], budget=Budget(calls=420))
    assert result.spent.calls <= 420
    assert result.held_out


def test_an_optimizer_that_the_budget_cuts_short_proposes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage, "_affordable_runs", lambda *_: 10_000)
    state = study_of(budget=Budget(calls=200))
    with pytest.raises(BudgetExhausted):
        Prompts("gepa").improve(state)
    assert state.incumbent == state.baseline
    assert [trial.stage for trial in state.trials] == ["baseline"]


def broken(workbench: Workbench, room: Room) -> Any:
    student, dataset = workbench.student(), workbench.dataset()
    student.module.signature = student.module.signature.with_instructions("Do it well.")
    student(example_number=dataset[0].example_number)
    raise RuntimeError("it broke")


def test_an_optimizer_that_fails_is_a_failed_trial_and_the_search_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        stage, "OPTIMIZERS", {**OPTIMIZERS, "gepa": PromptOptimizer("gepa", 0, broken)}
    )
    result = tune(ROWS, [MODEL, "sim/birch"], stages=[Prompts("gepa"), "allocation"])
    failed = [trial for trial in result.trials_ if trial.status == "failed"]
    assert failed[0].detail.startswith("gepa failed on ")
    assert "RuntimeError: it broke" in failed[0].detail
    assert result.config.allocation["solve"] == ("sim/birch",)
    assert any("gepa failed" in line for line in str(result).splitlines())


@pytest.mark.parametrize("name", ["bootstrap", "mipro"])
def test_a_demo_is_never_scored_on_the_example_that_it_was_made_from(name: str) -> None:
    state = study_of()
    Prompts(name).improve(state)
    Prompts("gepa").improve(state)  # which starts from the demos
    with_demos = [c for c in state.raced() if any(m.demos for m in c.modules.values())]
    assert with_demos
    for config in with_demos:
        scored = state.evaluator.known(config).outcomes
        for module, own in config.modules.items():
            for demo in own.demos:
                for source in state.evaluator.demo_sources[canonical_json(demo)]:
                    step = state.evaluator.trace(state.baseline, source).step(module)
                    assert set(step.inputs) <= set(demo)
                    assert source not in scored
    complete = [t for t in state.trials if t.status == "complete" and t.config in with_demos]
    assert all(trial.examples < len(state.examples) for trial in complete)


@pytest.mark.parametrize("name", ["gepa", "mipro", "copro"])
def test_a_metric_that_raises_in_an_optimizers_run_ends_the_search(name: str) -> None:
    scored: list[str] = []

    def metric(example: Any, prediction: Any, trace: Any = None) -> float:
        scored.append(prediction.answer)
        if len(scored) > len(ROWS) + 5:
            raise ZeroDivisionError("no answer has a length")
        return float(prediction.answer == example.answer)

    with pytest.raises(MetricError, match="no answer has a length"):
        tune(ROWS, [MODEL], metric=metric, stages=[Prompts(name)], diagnoser=None, holdout=0)


def test_what_breaks_in_an_optimizers_run_is_no_bad_score(monkeypatch: pytest.MonkeyPatch) -> None:
    state = study_of()

    def broken(*_: Any) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(state.evaluator, "outcome", broken)
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        Prompts("gepa").improve(state)


def test_an_optimizer_asked_for_by_name_that_has_no_room_is_reported() -> None:
    budget = Budget(calls=150)
    result = tune(ROWS, [MODEL], stages=[Prompts("gepa")], diagnoser=None, holdout=0, budget=budget)
    assert "gepa takes at least 40 runs, and the budget has room for" in str(result.stopped)
    assert str(result.stopped).endswith("; no trial of prompts was run")


def test_blame_goes_to_the_module_that_first_went_wrong() -> None:
    state = study_of()
    blames = blamed_modules(state, state.examples)
    assert blames[0].module == "solve"
    assert blames[0].share > 0.5
    assert sum(blame.share for blame in blames) == pytest.approx(1)
    assert all(blames[0].reasons.values())


def test_without_a_diagnoser_every_module_gets_its_turn() -> None:
    state = study_of()
    state.diagnoser = None
    assert [blame.module for blame in blamed_modules(state, state.examples)] == ["locate", "solve"]


def test_gepa_reads_what_is_wanted_what_the_metric_says_and_the_diagnosers_reasons(
    calls: list[LMCall],
) -> None:
    def strict(example: Any, prediction: Any, trace: Any = None) -> dspy.Prediction:
        right = prediction.answer == example.answer
        return dspy.Prediction(score=float(right), feedback="as it should be" if right else "OFF!")

    tune(ROWS, [MODEL], metric=strict, stages=[Prompts("gepa")], diagnoser=MODEL, holdout=0)
    written = [m["content"] for call in calls if call.purpose == "prompts" for m in call.messages]
    assert any("OFF!" in text for text in written)
    assert any("wanted:" in text for text in written)
    assert any("Of an earlier attempt at this step it was said" in text for text in written)


def test_a_module_is_tuned_again_when_it_has_another_model() -> None:
    state = study_of()
    stage = Prompts("bootstrap")
    stage.improve(state)
    tuned = [module for _, module, _, _ in state.prompted]
    stage.improve(state)
    assert {module for _, module, _, _ in state.prompted} == set(tuned)
    before = len(state.prompted)
    state.incumbent = state.incumbent.with_knobs("solve", temperature=0.9)
    state.race("allocation", [state.incumbent])
    stage.improve(state)
    assert len(state.prompted) > before


def test_an_outage_counts_as_no_change() -> None:
    state = study_of()
    bench = Workbench(state, "solve", state.baseline, state.examples[:4])
    index = next(i for i, s in state.evaluator.known(state.baseline).scores.items() if s == 1)
    lost = state.evaluator.known(state.baseline).outcomes[index]
    lost = type(lost)(score=None, usd=0.0, calls=0, latency_s=0.0, failure=None)
    assert bench.score(index, lost) == 1.0


def test_what_an_optimizer_leaves_as_it_was_is_the_incumbent_itself() -> None:
    state = study_of()
    bench = Workbench(state, "solve", state.baseline, [0])
    assert bench.config_of(bench.student().module) == bench.base
    changed = bench.student().module
    changed.signature = changed.signature.with_instructions("Another.")
    config = bench.config_of(changed)
    assert isinstance(config, PipelineConfig)
    assert config.modules["solve"].instructions == "Another."


@pytest.mark.parametrize(
    ("given", "message"),
    [("gepo", "there is no prompt optimizer 'gepo'; nearest: 'gepa'"), ("", "optimizers: auto")],
)
def test_a_misspelt_optimizer_is_named(given: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        Prompts(given)


def test_listed_instructions_are_compared_once_for_each_config_around_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage, "OPTIMIZERS", {})
    good = "Solve the task. Check your work. Read the question twice."
    state = study_of()
    state.space = state.space.model_copy(
        update={"instructions": {"solve": ("Produce the answer.", good)}}
    )
    Prompts()._compare_listed(state)
    assert state.incumbent == state.baseline.with_knobs("solve", instructions=good)
    before = len(state.trials)
    Prompts()._compare_listed(state)
    assert len(state.trials) == before
    state.incumbent = state.incumbent.with_knobs("locate", temperature=0.9)
    Prompts()._compare_listed(state)
    assert len(state.trials) > before


def test_instructions_listed_in_the_search_space_reach_the_result() -> None:
    good = "Solve the task. Check your work. Read the question twice."
    space = SearchSpace(instructions={"solve": (good,)})
    result = tune(ROWS, [MODEL], search_space=space, stages=[Prompts("bootstrap")], diagnoser=None)
    assert result.config.modules["solve"].instructions == good


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"solve": " "}, "solve.*not blank"),
        ("Solve it.", "goes by module"),
        ({"solve": {"a"}}, "order"),
    ],
)
def test_instructions_that_are_none_are_refused(given: Any, message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        SearchSpace(instructions=given)


def test_auto_asks_those_that_there_is_room_for_until_one_brings_something() -> None:
    plenty, little = study_of(budget=Budget(calls=1500)), study_of(budget=Budget(calls=160))
    with suppress(BudgetExhausted):
        Prompts().improve(plenty)
    asked: dict[tuple[str, str, int], list[str]] = {}
    for key, module, who, attempt in plenty.prompted:
        asked.setdefault((key, module, attempt), []).append(who)
    assert all(tuple(each) == stage.AUTO[: len(each)] for each in asked.values())
    assert {len(each) for each in asked.values()} >= {1, 2}
    with suppress(BudgetExhausted):
        Prompts().improve(little)
    assert {who for _, _, who, _ in little.prompted} == {"bootstrap"}


def test_where_nothing_helps_it_is_tried_again_with_other_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def idle(workbench: Workbench, room: Room) -> Any:
        seen.append((workbench.module, room.seed, room.writer.sample))
        return workbench.student()

    seen: list[tuple[str, int, int]] = []
    monkeypatch.setattr(stage, "OPTIMIZERS", {"gepa": PromptOptimizer("gepa", 1, idle)})
    monkeypatch.setattr(stage, "ATTEMPTS", 3)
    state = study_of()
    Prompts("gepa").improve(state)
    once = [module for module, seed, _ in seen if seed == state.seed]
    assert len(once) == len(set(once)) > 0
    assert [(seed, sample) for module, seed, sample in seen if module == once[0]] == [
        (state.seed + attempt, attempt) for attempt in range(stage.ATTEMPTS)
    ]
    Prompts("gepa").improve(state)
    assert len(seen) == stage.ATTEMPTS * len(once)


def test_what_little_could_be_gained_is_not_tried_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = study_of()
    monkeypatch.setattr(stage, "WORTH_ANOTHER", 1.0)
    monkeypatch.setattr(stage, "ATTEMPTS", 3)
    Prompts("bootstrap").improve(state)
    assert {attempt for _, _, _, attempt in state.prompted} == {0}


STUBBORN = register(
    SimulatedModel(
        "stubborn",
        skills={"locate": 0.97, "arithmetic": 0.55},
        phrase_effects={phrase.text: {"locate": 0, "arithmetic": 0} for phrase in PHRASES},
    )
)
SLOW = register(
    SimulatedModel(
        "slow", {"locate": 0.97, "arithmetic": 0.25}, phrase_effects=STUBBORN.phrase_effects
    )
)


def with_rivals() -> tuple[SearchState, list[PipelineConfig]]:
    """Nothing betters the first model, which beats the others as long as all are told the same."""
    stubborn, slow = f"sim/{STUBBORN.name}", f"sim/{SLOW.name}"
    plan = prepare(
        locate_solve(),
        ROWS,
        [stubborn, slow, MODEL],
        stages=resolve_stages("prompts"),
        diagnoser=MODEL,
        holdout=0.0,
    )
    state = start_search(plan, Gateway(None).session("", None), 8)
    state.race("baseline", [state.baseline])
    state.diagnoser = diagnoser_of(plan, state)
    rivals = [state.baseline.with_models({"solve": model}) for model in (slow, MODEL)]
    both = state.baseline.with_models({"solve": MODEL, "locate": MODEL})
    state.look("allocation", [*rivals, both], len(state.examples))
    return state, rivals


def test_another_model_may_win_with_a_prompt_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "ATTEMPTS", 2)
    state, (_, rival) = with_rivals()
    Prompts("gepa").improve(state)
    assert [key for key, *_ in state.prompted][:2] == [state.baseline.key, rival.key]
    found, first = (state.incumbent.modules[name] for name in ("solve", "locate"))
    assert (found.models, first.models) == ((MODEL,), (f"sim/{STUBBORN.name}",))
    assert found.instructions is not None


def test_every_rival_has_one_turn_and_is_scored_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def idle(workbench: Workbench, room: Room) -> Any:
        scored = workbench.state.evaluator.known(workbench.base).scores
        seen.append((workbench.base.key, set(workbench.examples) <= set(scored)))
        return workbench.student()

    seen: list[tuple[str, bool]] = []
    monkeypatch.setattr(stage, "OPTIMIZERS", {"gepa": PromptOptimizer("gepa", 1, idle)})
    monkeypatch.setattr(stage, "ATTEMPTS", 4)
    state, rivals = with_rivals()
    Prompts("gepa").improve(state)
    assert all(scored for _, scored in seen)
    turns = [key for key, _ in seen if key != state.baseline.key]
    assert sorted(turns) == sorted(config.key for config in rivals)


def test_who_can_not_lead_is_no_rival() -> None:
    state, (slow, rival) = with_rivals()
    assert stage._next_rival(state, "solve") in (slow, rival)
    dearest = max(state.evaluator.known(c).usd_per_example for c in (slow, rival))
    cheaper = min((slow, rival), key=lambda c: state.evaluator.known(c).usd_per_example)
    state.objective = Objective(max_cost_usd=0.999 * dearest)
    assert stage._next_rival(state, "solve") == cheaper
    state.objective = Objective(max_cost_usd=1e-12)
    assert stage._next_rival(state, "solve") is None


def test_a_rivals_outage_counts_as_no_change_either() -> None:
    state = study_of()
    rival = state.baseline.with_knobs("solve", temperature=0.5)
    examples = state.examples[-4:]
    state.evaluator.evaluate(rival, examples)
    bench = Workbench(state, "solve", rival, examples)
    known = state.evaluator.known(rival)
    lost = type(known.outcomes[examples[0]])(score=None, usd=0, calls=0, latency_s=0, failure=None)
    assert [bench.score(i, lost) for i in examples] == [known.scores[i] for i in examples]
