"""Models of which a single call may be more than the budget can risk."""

from __future__ import annotations

import itertools
import logging

from optimizer.search.budget.reserve import BYTES_PER_TOKEN
from optimizer.search.state import SearchState
from optimizer.setup.space_checks import named_models
from pipelines.providers import price_of

logger = logging.getLogger(__name__)


def leave_out_dear_models(state: SearchState) -> None:
    """Drop the models of which one call may cost more than half of what the search may spend,
    and the networks that ask them.

    A call that can't be reserved would end the search for all the others too. Each is logged, and
    kept in `state.left_out` for the summary.
    """
    session, space = state.evaluator.session, state.space
    inputs = BYTES_PER_TOKEN * session.nominal.input_tokens / max(1, session.nominal.calls)
    left = session.nominal_left().usd
    dear: dict[str, str] = {}
    choices = itertools.chain.from_iterable(space.models.values())
    for label in dict.fromkeys([*choices, *named_models(space)]):
        model = state.evaluator.models[label]
        price = price_of(model)
        worst = model.max_tokens * price.output_usd + inputs * price.input_usd
        if 2 * worst > left:
            dear[label] = (
                "nothing is left to search with beside the final pass over the holdout: give more, "
                "or fewer examples"
                if left <= 0
                else f"{label} is left out: its longest answer may cost ${worst:.4f}, more than "
                f"half of the ${left:.4f} left for the search; give more, or "
                f"Model({model.name!r}, max_tokens=...) below {model.max_tokens}"
            )
    for told in dict.fromkeys(dear.values()):
        logger.warning("%s", told)
    state.left_out |= dear
    state.space = space.without(dear.keys())
