"""DSPy's prompt optimizers by name. A new one is a function, and an entry of `OPTIMIZERS`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from optimizer.quiet_logs import quiet_optuna
from optimizer.stages.prompts.workbench import Workbench

_DEMOS = {"metric_threshold": 1.0, "max_labeled_demos": 0}
"""A run must be fully right to become a worked example; unlabelled rows never do."""
_COPRO_ROUNDS = 2
_MIPRO_CANDIDATES = 8


@dataclass(frozen=True)
class Room:
    """The resources of one run of an optimizer."""

    writer: dspy.LM
    """The model that writes prompts."""
    runs: int
    """About how many new runs of the pipeline."""
    threads: int
    seed: int
    """Different seeds make different draws."""


@dataclass(frozen=True)
class PromptOptimizer:
    """One of DSPy's optimizers, limited to the room that it is given."""

    name: str
    fewest_runs: int
    """Not worth trying with room for fewer."""
    compile: Callable[[Workbench, Room], Any]
    """Looks for a better prompt, and returns the program it ends with.

    The workbench has the program, with the one predictor that may change, and the examples; it
    scores runs and explains the scores, and records every prompt that is tried. The function may
    raise whatever DSPy's optimizer raises, and `BudgetExhausted` where the calls can't be paid.
    """


def _gepa(workbench: Workbench, room: Room) -> Any:
    """GEPA (arXiv 2507.19457): reflects on mistakes, and rewrites the instructions.

    Uses the metric's feedback and the diagnoser's reasons.
    """
    dataset = workbench.dataset()
    optimizer = dspy.GEPA(
        _with_feedback(workbench),
        # the first pass over all examples is known already, and costs no run
        max_metric_calls=room.runs + len(dataset),
        reflection_lm=room.writer,
        num_threads=room.threads,
        seed=room.seed,
        use_merge=False,  # there is one predictor
        warn_on_score_mismatch=False,
    )
    return optimizer.compile(workbench.student(), trainset=dataset, valset=dataset)


def _mipro(workbench: Workbench, room: Room) -> Any:
    """MIPROv2 (arXiv 2406.11695): instructions and demos together, chosen by Bayesian search.

    Writes instructions from the data and from demos; does not read feedback.
    """
    dataset = workbench.dataset()
    trials = max(2, room.runs // len(dataset))
    optimizer = dspy.MIPROv2(
        metric=_score(workbench),
        prompt_model=room.writer,
        task_model=room.writer,  # never asked: the student runs with its own models
        auto=None,
        num_candidates=min(_MIPRO_CANDIDATES, trials),
        max_bootstrapped_demos=3,
        num_threads=room.threads,
        seed=room.seed + 1,  # it takes 0 for none
        **_DEMOS,
    )
    with quiet_optuna():
        return optimizer.compile(
            workbench.student(),
            trainset=dataset,
            valset=dataset,
            num_trials=trials,
            minibatch=False,
            program_aware_proposer=False,  # it would read the student's source
        )


def _copro(workbench: Workbench, room: Room) -> Any:
    """COPRO (arXiv 2310.03714): variants of the instructions, in rounds that see earlier scores."""
    dataset = workbench.dataset()
    optimizer = dspy.COPRO(
        prompt_model=room.writer,
        metric=_score(workbench),
        breadth=max(2, (room.runs // len(dataset) + 1) // _COPRO_ROUNDS),  # one is the base's
        depth=_COPRO_ROUNDS,
        init_temperature=1.0,
    )
    options = {"num_threads": room.threads, "display_progress": False, "display_table": False}
    return optimizer.compile(workbench.student(), trainset=dataset, eval_kwargs=options)


def _bootstrap(workbench: Workbench, room: Room) -> Any:
    """Bootstrapped few-shot (arXiv 2310.03714): runs that are right become demos.

    Needs no new run: those of the base are known.
    """
    dataset = workbench.dataset()
    random.Random(room.seed).shuffle(dataset)
    optimizer = dspy.BootstrapFewShot(metric=_score(workbench), max_bootstrapped_demos=4, **_DEMOS)
    return optimizer.compile(workbench.student(), trainset=dataset)


OPTIMIZERS: Mapping[str, PromptOptimizer] = {
    "gepa": PromptOptimizer("gepa", 40, _gepa),
    "mipro": PromptOptimizer("mipro", 48, _mipro),
    "copro": PromptOptimizer("copro", 72, _copro),
    "bootstrap": PromptOptimizer("bootstrap", 1, _bootstrap),
}


def _score(workbench: Workbench) -> Any:
    """The metric as most of DSPy's optimizers call it: a float, by example and prediction."""

    def score(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> float:
        return workbench.score(example.example_number, prediction.outcome)

    return score


def _with_feedback(workbench: Workbench) -> Any:
    """The metric as GEPA calls it: a score, and what is known of the run in words."""

    def metric(
        gold: dspy.Example,
        pred: dspy.Prediction,
        trace: Any = None,
        pred_name: str | None = None,
        pred_trace: Any = None,
    ) -> dspy.Prediction:
        run = gold.example_number, pred.outcome
        return dspy.Prediction(score=workbench.score(*run), feedback=workbench.feedback(*run))

    return metric
