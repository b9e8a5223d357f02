"""COPRO (arXiv 2310.03714): writes variants of the instructions, round by round."""

from __future__ import annotations

from typing import Any

import dspy

from optimizer.stages.prompts.optimizers.prompt_optimizer import PromptOptimizer, Room, score_metric
from optimizer.stages.prompts.workbench import Workbench

ROUNDS = 2


class COPRO(PromptOptimizer):
    """Changes instructions only; later rounds see how the earlier ones scored."""

    name = "copro"
    fewest_runs = 72

    def compile(self, workbench: Workbench, room: Room) -> Any:
        """See `PromptOptimizer.compile`."""
        dataset = workbench.dataset()
        optimizer = dspy.COPRO(
            prompt_model=room.writer,
            metric=score_metric(workbench),
            breadth=max(2, (room.runs // len(dataset) + 1) // ROUNDS),  # one of them is there
            depth=ROUNDS,
            init_temperature=1.0,
        )
        told = {"num_threads": room.threads, "display_progress": False, "display_table": False}
        return optimizer.compile(workbench.student(), trainset=dataset, eval_kwargs=told)
