"""The budget of a search that was given none."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from optimizer.estimates.estimate import Estimate, estimate
from optimizer.formatting import budget_code, budget_text
from optimizer.setup.plan import Plan
from pipelines.gateway.budget import Budget

logger = logging.getLogger(__name__)


def largest_estimate(plans: Sequence[Plan], budget: Budget | None, concurrency: int) -> Estimate:
    """The estimate of the pipeline whose search may take the most."""
    estimates = (estimate(plan, budget, concurrency) for plan in plans)
    return max(estimates, key=lambda each: (each.usd.high, each.calls.high))


def with_default_budget(plans: Sequence[Plan], concurrency: int) -> list[Plan]:
    """The plans with the default budget, which a warning names."""
    default = largest_estimate(plans, None, concurrency).default
    logger.warning(
        "NO BUDGET WAS GIVEN: the search is capped at %s. Give %s or another, or budget=Budget() "
        "for no cap; optimize(..., dry_run=True) estimates what a search takes",
        budget_text(default), budget_code(default),
    )  # fmt: skip
    first, *others = (replace(plan, budget=default, budget_is_default=True) for plan in plans)
    return [first, *(replace(other, against=first) for other in others)]
