"""Modules that a program was to ask and whose calls nobody saw."""

from __future__ import annotations

import logging

from optimizer.study import Study

logger = logging.getLogger(__name__)


def warn_of_unseen(study: Study) -> None:
    """Say which modules the baseline's runs did not ask, and what can't be done for them."""
    evaluator = study.evaluator
    if evaluator.pipeline.is_fixed:
        return
    outcomes = evaluator.known(study.baseline).outcomes.values()
    runs = [outcome for outcome in outcomes if outcome.failure is None]
    seen = {name for outcome in runs for name in outcome.asked}
    for module in evaluator.pipeline.llm_modules:
        if runs and module.name not in seen:
            logger.warning(
                "module %r was asked in none of %d runs: either the code does not come to it, or "
                "it asks past the gateway. Then nobody knows what that costs, no budget holds for "
                "it, and the diagnoser can't rate it; its models are compared end to end alone",
                module.name,
                len(runs),
            )
