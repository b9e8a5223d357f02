"""Warns of modules without any visible call, and of calls outside all modules."""

from __future__ import annotations

import logging

from optimizer.search.state import SearchState

logger = logging.getLogger(__name__)


def warn_of_unseen(state: SearchState) -> None:
    """Warn of modules that the baseline's runs never asked, and of calls outside all modules."""
    evaluator = state.evaluator
    if evaluator.pipeline.is_fixed:
        return
    outcomes = evaluator.known(state.baseline).outcomes.values()
    runs = [outcome for outcome in outcomes if outcome.failure is None]
    seen = {name for outcome in runs for name in outcome.asked}
    names = {module.name for module in evaluator.pipeline.llm_modules}
    for name in sorted(seen - names):
        logger.warning(
            "the program calls %r, which is not one of its modules: its calls are paid but not "
            "tuned; create predictors in __init__ to have them tuned",
            name,
        )
    for module in evaluator.pipeline.llm_modules:
        if runs and module.name not in seen:
            logger.warning(
                "module %r made no call in %d runs: either the code does not reach it, or its "
                "calls bypass the gateway. Then its cost is unknown, no budget holds for it, and "
                "the diagnoser can't rate it; its models are compared end to end alone",
                module.name,
                len(runs),
            )
