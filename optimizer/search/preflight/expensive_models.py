"""Leaves out models of which a single call may cost too much of the budget."""

from __future__ import annotations

import itertools
import logging

from optimizer.search.budget.reserve import BYTES_PER_TOKEN
from optimizer.search.state import SearchState
from optimizer.setup.space_checks import named_models
from pipelines.providers import price_of
from search_spaces import SearchSpace

logger = logging.getLogger(__name__)


def leave_out_expensive_models(state: SearchState) -> None:
    """Drop models of which one call may cost more than half of what the search may spend, and the
    networks that ask them.

    A call that can't be reserved would end the search for all other models, too. Each is logged,
    and kept in `state.left_out` for the summary. A module whose models all cost so much keeps them.
    """
    space, left = state.space, state.evaluator.session.nominal_left().usd
    worst_usd = {label: worst for label, worst in worst_calls(state).items() if 2 * worst > left}
    state.space = space.without(worst_usd.keys())
    reasons = {}
    for label, worst in worst_usd.items():
        model, stays = state.evaluator.models[label], _modules_with(label, state.space)
        where = ", ".join(repr(m) for m in _modules_with(label, space) if m not in stays)
        if left <= 0:
            reasons[label] = (
                "nothing is left to search with beside the final pass over the holdout: give more, "
                "or fewer examples"
            )
        elif where or not stays:
            reasons[label] = (
                f"{label} is left out{f' of {where}' if stays else ''}: its longest answer may "
                f"cost ${worst:.4f}, more than half of the ${left:.4f} left for the search; give "
                f"more, or Model({model.name!r}, max_tokens=...) below {model.max_tokens}"
            )
    for text in dict.fromkeys(reasons.values()):
        logger.warning("%s", text)
    state.left_out |= reasons


def worst_calls(state: SearchState) -> dict[str, float]:
    """By label, the dollars that one call of each model of the space may cost, with inputs as long
    as those seen so far."""
    nominal, models = state.evaluator.session.nominal, state.evaluator.models
    inputs = BYTES_PER_TOKEN * nominal.input_tokens / max(1, nominal.calls)
    choices = itertools.chain.from_iterable(state.space.models.values())
    labels = dict.fromkeys([*choices, *named_models(state.space)])
    prices = {label: price_of(models[label]) for label in labels}
    return {
        label: models[label].max_tokens * price.output_usd + inputs * price.input_usd
        for label, price in prices.items()
    }


def _modules_with(label: str, space: SearchSpace) -> list[str]:
    return [module for module, labels in space.models.items() if label in labels]
