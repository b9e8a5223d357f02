"""Bootstrapped few-shot (arXiv 2310.03714): runs that went well become worked examples."""

from __future__ import annotations

import random
from typing import Any

import dspy

from optimizer.stages.prompts.optimizers.prompt_optimizer import (
    GOOD,
    PromptOptimizer,
    Room,
    score_metric,
)
from optimizer.stages.prompts.workbench import Workbench

MOST_DEMOS = 4


class Bootstrap(PromptOptimizer):
    """Changes demos only, and needs no new run: those of the base are there."""

    name = "bootstrap"
    fewest_runs = 1

    def compile(self, workbench: Workbench, room: Room) -> Any:
        """See `PromptOptimizer.compile`."""
        dataset = workbench.dataset()
        random.Random(room.seed).shuffle(dataset)
        optimizer = dspy.BootstrapFewShot(
            metric=score_metric(workbench),
            metric_threshold=GOOD,
            max_bootstrapped_demos=MOST_DEMOS,
            max_labeled_demos=0,
        )
        return optimizer.compile(workbench.student(), trainset=dataset)
