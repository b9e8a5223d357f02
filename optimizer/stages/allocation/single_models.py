"""Compares the search with its simplest rival: one model in all modules."""

from __future__ import annotations

from optimizer.search.preflight.baseline import PRICED_EXAMPLES
from optimizer.search.state import SearchState
from search_spaces import PipelineConfig

STAGE = "single-model"


def look_at_single_models(state: SearchState) -> None:
    """Run every model in all modules at once, on a few examples.

    The allocation stage shares the calls.

    Raises:
        BudgetExhausted: the budget does not reach.
    """
    for label in state.space.single_models():
        state.singles[label] = state.baseline.with_single_model(label)
    if state.singles:
        state.look(STAGE, list(state.singles.values()), PRICED_EXAMPLES)
        state.choose_single_model()
        state.protect_holdout()


def compare_with_single_model(state: SearchState) -> None:
    """Race the best single model if the incumbent costs more and it has not seen all examples.

    Once it has, it takes the lead unless the incumbent is better with a probability of at least
    80%.

    Raises:
        BudgetExhausted: the budget does not reach.
    """
    state.choose_single_model()
    single = state.single_model
    if single is not None and needs_comparison(state, single):
        state.finish(single)
        state.race(STAGE, [single])
        state.choose_single_model()


def needs_comparison(state: SearchState, single: PipelineConfig) -> bool:
    """Whether a single model that was not run on all examples may be preferable.

    It may be if it meets limits that the incumbent misses, or if the incumbent is more expensive.
    """
    known, leads = state.evaluator.known(single), state.evaluator.known(state.incumbent)
    if state.objective.within is not None or state.has_seen_all(single):
        return False
    if not state.objective.meets(leads.costs):
        return state.objective.meets(known.costs)
    costs_more = known.usd_per_example < leads.usd_per_example
    return costs_more and state.incumbent != state.baseline
