"""DSPy's prompt optimizers by name. A new one is a class, and a place in `OPTIMIZERS`."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
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
    """New runs of the pipeline, about."""
    threads: int
    seed: int
    """Different seeds make different draws."""


class PromptOptimizer(ABC):
    """One of DSPy's optimizers, limited to the room that it is given."""

    name: str
    fewest_runs: int
    """With less room it is of no use."""

    @abstractmethod
    def compile(self, workbench: Workbench, room: Room) -> Any:
        """Let DSPy look for a better prompt, and return the program it ends with.

        Args:
            workbench: has the program, with the one predictor that may change, and the examples;
                scores runs and explains the scores; records every prompt that is tried.
            room: how much may be tried, and which model writes.

        Raises:
            Exception: whatever DSPy's optimizer raises.
            BudgetExhausted: the calls can't be paid.
        """


class GEPA(PromptOptimizer):
    """GEPA (arXiv 2507.19457): reflects on mistakes, and rewrites the instructions.

    Uses the metric's feedback and the diagnoser's reasons.
    """

    name = "gepa"
    fewest_runs = 40

    def compile(self, workbench: Workbench, room: Room) -> Any:
        """See `PromptOptimizer.compile`."""
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


class MIPRO(PromptOptimizer):
    """MIPROv2 (arXiv 2406.11695): instructions and demos together, chosen by Bayesian search.

    Writes instructions from the data and from demos; does not read feedback.
    """

    name = "mipro"
    fewest_runs = 48

    def compile(self, workbench: Workbench, room: Room) -> Any:
        """See `PromptOptimizer.compile`."""
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


class COPRO(PromptOptimizer):
    """COPRO (arXiv 2310.03714): variants of the instructions, in rounds that see earlier scores."""

    name = "copro"
    fewest_runs = 72

    def compile(self, workbench: Workbench, room: Room) -> Any:
        """See `PromptOptimizer.compile`."""
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


class Bootstrap(PromptOptimizer):
    """Bootstrapped few-shot (arXiv 2310.03714): runs that are right become demos.

    Needs no new run: those of the base are known.
    """

    name = "bootstrap"
    fewest_runs = 1

    def compile(self, workbench: Workbench, room: Room) -> Any:
        """See `PromptOptimizer.compile`."""
        dataset = workbench.dataset()
        random.Random(room.seed).shuffle(dataset)
        optimizer = dspy.BootstrapFewShot(
            metric=_score(workbench), max_bootstrapped_demos=4, **_DEMOS
        )
        return optimizer.compile(workbench.student(), trainset=dataset)


OPTIMIZERS: Mapping[str, PromptOptimizer] = MappingProxyType(
    {each.name: each for each in (GEPA(), MIPRO(), COPRO(), Bootstrap())}
)


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
