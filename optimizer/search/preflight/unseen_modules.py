"""Warnings of modules that make no call that is seen, and of calls outside all modules."""

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
            "%r is asked by the program, but is none of its modules, so that it is paid and not "
            "tuned, whatever the result says of models; what is to be tuned is made in __init__",
            name,
        )
    for module in evaluator.pipeline.llm_modules:
        if runs and module.name not in seen:
            logger.warning(
                "module %r was asked in none of %d runs: either the code does not come to it, or "
                "it asks past the gateway. Then its cost is unknown, no budget holds for "
                "it, and the diagnoser can't rate it; its models are compared end to end alone",
                module.name,
                len(runs),
            )
