"""GEPA (arXiv 2507.19457): reflects on what went wrong, in words, and rewrites the instructions."""

from __future__ import annotations

from typing import Any

import dspy

from optimizer.stages.prompts.optimizers.prompt_optimizer import PromptOptimizer, Room
from optimizer.stages.prompts.workbench import Workbench


class GEPA(PromptOptimizer):
    """Uses the metric's feedback and the diagnoser's reasons; changes instructions only."""

    name = "gepa"
    fewest_runs = 40

    def compile(self, workbench: Workbench, room: Room) -> Any:
        """See `PromptOptimizer.compile`."""
        dataset = workbench.dataset()

        def metric(
            example: Any,
            prediction: Any,
            trace: Any = None,
            pred_name: str | None = None,
            pred_trace: Any = None,
        ) -> dspy.Prediction:
            index, outcome = example.example_number, prediction.outcome
            return dspy.Prediction(
                score=workbench.score(index, outcome), feedback=workbench.feedback(index, outcome)
            )

        # the first pass over all examples is known already, and costs no run
        optimizer = dspy.GEPA(
            metric,
            max_metric_calls=room.runs + len(dataset),
            reflection_lm=room.writer,
            num_threads=room.threads,
            seed=room.seed,
            use_merge=False,  # there is one predictor
            warn_on_score_mismatch=False,
        )
        return optimizer.compile(workbench.student(), trainset=dataset, valset=dataset)
