"""A pipeline, trials and a result made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from evaluators.outcome import Outcome
from evaluators.statistics import Interval
from optimizer.results.examples import ScoredExample
from optimizer.results.operating_points import OperatingPoint
from optimizer.results.result import DiagnoserAgreement, HeldOut, Result, Spent
from optimizer.search.records.module_score import ModuleScore
from optimizer.search.records.probe import Probe
from optimizer.search.records.trial import Status, Trial
from pipelines import CallRecord, Failure, Module, ModuleStep, Pipeline, Trace
from pipelines.gateway.budget import PurposeSpend
from pipelines.gateway.model import Model
from search_spaces import ModuleConfig, PipelineConfig

MODELS = ("openai/small", "openai/large")


def make_pipeline() -> Pipeline:
    return Pipeline(
        "locate-solve",
        [
            Module("locate", "table, question -> task", instructions="Extract the task."),
            Module("solve", "task -> answer"),
        ],
    )


def make_config(
    locate: str = MODELS[0], solve: str = MODELS[0], **solve_knobs: Any
) -> PipelineConfig:
    return PipelineConfig(
        modules={
            "locate": ModuleConfig(models=(locate,)),
            "solve": ModuleConfig(models=(solve,), **solve_knobs),
        }
    )


def make_trial(number: int = 0, mean: float | None = 0.5, **changes: Any) -> Trial:
    status: Status = "complete"
    values: dict[str, Any] = {
        "number": number,
        "stage": "allocation" if number else "baseline",
        "turn": 1 if number else 0,
        "base": 0 if number else None,
        "changed": "",
        "config": make_config(),
        "status": status,
        "score": None if mean is None else Interval(mean, max(0, mean - 0.1), min(1, mean + 0.1)),
        "examples": 40,
        "failures": {},
        "unscored": 0,
        "usd_per_example": 0.0012,
        "latency_s": 1.5,
        "latency_p95_s": 2.5,
        "calls_per_example": 2.0,
        "nominal_usd": 0.05 * (number + 1),
        "nominal_calls": 80 * (number + 1),
        "seconds": 2.0 * (number + 1),
    }
    return Trial(**{**values, **changes})


def make_trials() -> tuple[Trial, ...]:
    small, large = MODELS
    return (
        make_trial(0, 0.42),
        make_trial(1, 0.44, stage="single-model", config=make_config(large, large),
                   usd_per_example=0.009, failures={"refusal": 2, "timeout": 1}, unscored=1),
        make_trial(2, 0.21, status="stopped_early", stage="single-model", examples=8),
        make_trial(3, None, status="disqualified", examples=0, unscored=40,
                   failures={"server_error": 40}, detail="locate: the server answers 500",
                   usd_per_example=0.0),
        make_trial(4, 0.9, config=make_config(small, large), usd_per_example=0.005,
                   changed="solve.model: openai/small -> openai/large",
                   usd_by_module={"locate": 0.001, "solve": 0.004},
                   seconds_by_module={"locate": 0.5, "solve": 1.0}),
    )  # fmt: skip


def make_module_scores() -> tuple[ModuleScore, ...]:
    """Of two turns: `locate` was scored in the first alone."""
    small, large = MODELS
    return (
        ModuleScore("locate", small, 1, 16, 0.9, 0.85, 0.42, 0.08, "kept"),
        ModuleScore("locate", large, 1, 16, 0.88, 0.85, None, None, "eliminated"),
        ModuleScore("solve", small, 1, 16, 0.3, None, 0.42, 0.08, "promising"),
        ModuleScore("solve", large, 1, 16, 0.8, None, 0.9, 0.05, "chosen"),
        ModuleScore("solve", small, 2, 4, 0.25, 0.75, 0.4, 0.07, "eliminated"),
        ModuleScore("solve", large, 2, 4, 0.95, 0.75, 0.9, 0.05, "kept"),
    )


def make_probe(kind: Literal["module", "prompt"] = "module", **changes: Any) -> Probe:
    detail = "" if kind == "module" else "gepa: solve.instructions: as given -> Check it twice."
    probe = Probe(kind, "allocation", 1, 0, "solve", MODELS[1], 16, 0.8, 0.064, detail)
    return replace(probe, **changes)


def _answered(
    score: float | None, answer: object = "4", failure: Failure | None = None, key: str = "k"
) -> Outcome:
    call = CallRecord("openai/small", 10, 2, 0.001, 0.5, cached=False, key=key)
    outputs = None if failure else {"answer": answer}
    step = ModuleStep("solve", {"task": "2 + 2"}, outputs, (call,), 0.5, failure)
    return Outcome(score, 0.001, 1, 0.5, failure, trace=Trace((step,), outputs, failure))


UNPARSABLE = Failure("unparsable", "solve", "no field [[ ## answer ## ]]", infrastructure=False)
OUTAGE = Failure("timeout", "solve", "no answer within 60 s", infrastructure=True)


def make_four_examples() -> tuple[ScoredExample, ...]:
    """One gained, one lost, one the same, and one that met an outage."""
    runs = (
        {"baseline": _answered(0.0, failure=UNPARSABLE, key="raw"), "tuned": _answered(1.0)},
        {"baseline": _answered(1.0), "tuned": _answered(0.5)},
        {"baseline": _answered(0.5), "tuned": _answered(0.5, answer={"a", "b"})},
        {"baseline": _answered(1.0), "tuned": _answered(None, failure=OUTAGE, key="lost")},
    )
    return tuple(
        ScoredExample(row, {"task": f"{row} + 2"}, {"answer": str(row + 2)}, own, {"raw": "Four!"})
        for row, own in enumerate(runs)
    )


def make_result(**changes: Any) -> Result:
    small, large = MODELS
    tuned = make_config(small, large)
    values: dict[str, Any] = {
        "pipeline": Pipeline(
            "locate-solve",
            make_pipeline().modules,
            config=tuned,
            models=(Model(small, input_usd_per_million=0.1), Model(large)),
        ),
        "baseline_config": make_config(),
        "config": tuned,
        "tuned_figures": HeldOut(60, Interval(0.883, 0.78, 0.942), 0.005, 2.25, 4.5),
        "baseline_figures": HeldOut(60, Interval(0.417, 0.301, 0.543), 0.0012, 1.5, 2.5),
        "single_model_figures": HeldOut(
            59, Interval(0.441, 0.32, 0.57), 0.009, 3.0, 5.0, unscored=1
        ),
        "single_model_label": large,
        "gain": Interval(0.466, 0.33, 0.59),
        "gain_over_single": Interval(0.442, 0.31, 0.57),
        "held_out": True,
        "trials_": make_trials(),
        "module_scores_": make_module_scores(),
        "probes_": (make_probe(), make_probe("prompt")),
        "spent": Spent(
            0.25, 400, 52_000, 9_000, 83.4,
            {"diagnoser": PurposeSpend(0.05, 40, 12_000, 1_000),
             "task": PurposeSpend(0.2, 360, 40_000, 8_000)},
            paid_now_usd=0.1, paid_now_calls=160,
        ),
        "diagnoser": (
            DiagnoserAgreement("locate", 0.85, 24, 40),
            DiagnoserAgreement("solve", None, 24, 0),
        ),
        "diagnoser_model": MODELS[1],
        "metric": "exact_match",
        "dataset_digest": "ab" * 32,
        "example_inputs": {"table": "id | task", "question": "What is task 3?"},
    }  # fmt: skip
    return Result(**{**values, **changes})


def make_outcome(
    score: float | None,
    answer: Any = "4",
    failure: Failure | None = None,
    key: str = "k",
    inputs: Mapping[str, Any] | None = None,
) -> Outcome:
    """One call to `locate`, and one to `solve` whose reply has this key."""
    small, large = MODELS
    found = CallRecord(small, 20, 5, 0.001, 0.5, cached=False, key="found")
    solved = CallRecord(large, 10, 2, 0.001, 0.5, cached=False, key=key)
    outputs = None if failure else {"answer": answer}
    steps = (
        ModuleStep("locate", inputs or {"table": "a | b"}, {"task": "2 + 2"}, (found,), 0.5),
        ModuleStep("solve", {"task": "2 + 2"}, outputs, (solved,), 0.5, failure),
    )
    return Outcome(score, 0.002, 2, 1.0, failure, trace=Trace(steps, outputs, failure))


def make_examples(count: int = 320) -> tuple[ScoredExample, ...]:
    """Two lost, three gained, one after an outage, two failed, and the rest the same; what is in
    them is hostile, long and of any type."""
    unparsable = Failure("unparsable", "solve", "the answer is no number", infrastructure=False)
    outage = Failure("timeout", "solve", "no answer within 60 s", infrastructure=True)
    nasty = '</script><img src=x onerror="window.injected = 1"><!--'
    examples = []
    for row in range(count):
        inputs = {
            "table": f"{nasty}\n" + "a line of a table\n" * 60,
            "question": f"Item-{row:03} ?",
        }
        if row == 0:
            inputs["table"] += "needle"
        before, after = ((1, 0), (0, 1), (1, 1))[0 if row < 2 else 1 if row < 5 else 2]
        failure = {0: unparsable, 5: outage, 9: unparsable}.get(row)
        baseline = make_outcome(before, {"text": nasty}, inputs=inputs)
        tuned = make_outcome(
            None if row == 5 else 1 if row == 9 else after, 4, None if row == 9 else failure,
            "raw", inputs,
        )  # fmt: skip
        single = make_outcome(before, nasty, failure if row == 9 else None, inputs=inputs)
        outcomes = {"baseline": baseline, "single_model": single, "tuned": tuned}
        replies = {"raw": "<b>Four!</b>", "found": nasty}
        examples.append(ScoredExample(row, inputs, {"answer": "4"}, outcomes, replies))
    return tuple(examples)


def make_shown_result() -> Result:
    """One with something in every part of the page."""
    small, large = MODELS
    pipeline, long_name = make_pipeline(), {"reasoning_effort": "high"}
    tuned = make_config(small, large, instructions="Check it twice.", params=long_name)
    votes = [
        make_trial(5 + n, 0.4 + n / 20, base=0, stage="structure",
                   config=make_config(solve=small, width=width, aggregator="majority_vote"))
        for n, width in enumerate((3, 5, 9))
    ]  # fmt: skip
    given: tuple[tuple[PipelineConfig, float, float, Literal["holdout", "search"]], ...] = (
        (tuned, 0.88, 0.005, "holdout"),
        (make_config(large, small), 0.6, 0.003, "holdout"),
        (make_config(), 0.4, 0.001, "search"),
    )
    points = tuple(
        OperatingPoint(replace(pipeline, config=config), Interval(mean, mean - 0.1, mean + 0.1),
                       usd, 1.0 + 100 * usd, 4.0, measured, mean)
        for config, mean, usd, measured in given
    )  # fmt: skip
    return make_result(
        config=tuned,
        trials_=(*make_trials(), *votes),
        examples_=make_examples(),
        points=points,
        stopped="the budget ended",
    )
