"""MIPROv2 (arXiv 2406.11695): instructions and demos together, chosen by Bayesian search."""

from __future__ import annotations

from typing import Any

import dspy

from optimizer.stages.prompts.optimizers.prompt_optimizer import (
    GOOD,
    PromptOptimizer,
    Room,
    score_metric,
)
from optimizer.stages.prompts.workbench import Workbench

MOST_DEMOS = 3
MOST_CANDIDATES = 8


class MIPRO(PromptOptimizer):
    """Writes instructions from the data and from demos; does not read feedback."""

    name = "mipro"
    fewest_runs = 48

    def compile(self, workbench: Workbench, room: Room) -> Any:
        """See `PromptOptimizer.compile`."""
        dataset = workbench.dataset()
        trials = max(2, room.runs // len(dataset))
        optimizer = dspy.MIPROv2(
            metric=score_metric(workbench),
            metric_threshold=GOOD,
            prompt_model=room.writer,
            task_model=room.writer,  # never asked: the student runs with its own models
            auto=None,
            num_candidates=min(MOST_CANDIDATES, trials),
            max_bootstrapped_demos=MOST_DEMOS,
            max_labeled_demos=0,
            num_threads=room.threads,
            seed=room.seed + 1,  # it takes 0 for none
        )
        return optimizer.compile(
            workbench.student(),
            trainset=dataset,
            valset=dataset,
            num_trials=trials,
            minibatch=False,
            program_aware_proposer=False,  # it would read the student's source
        )
