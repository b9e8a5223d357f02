"""Searches on a table of scores, without a gateway: thousands of them in minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluators.racing.field import Run
from evaluators.racing.posterior import Floats
from evaluators.score_table import ScoreTable
from optimizer.search.strategies import STRATEGIES, Arena, Levels, Strategy, named
from optimizer.search.strategies.arena import swapped
from search_spaces.refusals import check_whole

Rater = Callable[[str, Mapping[str, Any], int], Sequence[float]]
"""`diagnoser(module, choices, example)`: how good what the module returns on that example is.

It is called with a module's name, a choice for each module by name, and the example's index on the
table's last axis, and returns a rating in [0, 1], or NaN for none, for each of the module's own
choices in their order, the other modules being as in `choices`."""


ENOUGH = 16
"""Without a number of calls, a search ends if all scores are equal after each choice has run on
this many examples."""


@dataclass(frozen=True)
class TableSearch:
    """The outcome of a search on a table."""

    pick: Mapping[str, Any]
    """The choice for each module."""
    calls: int
    """How many calls it made."""
    curve: tuple[tuple[int, Mapping[str, Any]], ...]
    """After each batch, the calls so far and what would have been picked then."""


def search_table(
    table: ScoreTable,
    strategy: str | Strategy = "default",
    calls: int | None = 2000,
    seed: int = 0,
    start: Mapping[str, Any] | None = None,
    diagnoser: Rater | None = None,
) -> TableSearch:
    """Search the best combination of choices in a table.

    Args:
        table: the scores.
        strategy: `default`, `llmselector`, `halving`, `exhaustive`, `random` or `tpe`; or an
            object of your own.
        calls: how many calls may be made, and with the default strategy are, as long as anything is
            left to run; None leaves it to the strategy, which stops where more would gain little,
            and ends where all scores are equal with 16 or more examples of each choice.
        seed: of the order of examples, and of the strategy's draws.
        start: the combination in place, a choice for each module by name. With the default strategy
            it stays, unless one that has seen all examples is better with a probability of at least
            80%. Without it, the pick is the best estimate.
        diagnoser: rates modules, for strategies that use module scores; see `Rater`. Its calls are
            not counted.

    Raises:
        ValueError: an argument is not as described, there is no such strategy or choice, or the
            diagnoser returns what are no ratings.
    """
    if not isinstance(table, ScoreTable):
        kind = type(table).__name__
        raise ValueError(f"table must be a ScoreTable(scores, modules), but got {kind}")
    if calls is not None:
        check_whole("calls", calls, 1)
    check_whole("seed", seed, 0)
    if diagnoser is not None and not callable(diagnoser):
        raise ValueError(f"diagnoser must be a function, but got {diagnoser!r}")
    chosen = named(strategy, STRATEGIES)
    order = np.random.default_rng(seed).permutation(table.examples)
    arena = Arena(
        choices=table.scores.shape[:-1],
        calls_of=table.calls_of,
        examples=table.examples,
        left=np.inf if calls is None else calls,
        planned=calls,
        start=None if start is None else table.levels(start),
        seed=seed,
    )
    if diagnoser is not None:
        arena.rate = _rating(arena, table, diagnoser, order)

    def picked() -> Mapping[str, Any]:
        return table.choices(arena.levels(chosen.pick(arena)))

    curve = []
    for batch in chosen.runs(arena):
        done = _make(arena, table, order, batch)
        curve.append((int(arena.field.made.sum()), picked()))
        if not done or (calls is None and _all_equal(arena)):
            break
    return TableSearch(picked(), int(arena.field.made.sum()), tuple(curve))


def _make(arena: Arena, table: ScoreTable, order: NDArray[np.int64], batch: Sequence[Run]) -> bool:
    """Make the runs of a batch; false where calls ran out before its end."""
    for run in batch:
        cost = arena.field.calls([run])
        if cost > arena.left:
            return False
        arena.left -= cost
        candidate, example = run
        arena.field.note(run, float(table.scores[(*arena.levels(candidate), order[example])]))
    return True


def _all_equal(arena: Arena) -> bool:
    """Whether all scores are equal after enough runs of each choice of each module."""
    ran = arena.field.ran
    if not ran.any() or np.ptp(arena.field.scores[ran]) > 0:
        return False
    levels, enough = np.array(list(arena.places)), min(ENOUGH, arena.examples)
    return all(
        ran[levels[:, module] == level].any(axis=0).sum() >= enough
        for module, choices in enumerate(arena.choices)
        for level in range(choices)
    )


def _rating(
    arena: Arena, table: ScoreTable, diagnoser: Rater, order: NDArray[np.int64]
) -> Callable[[int, Levels, int], Floats]:
    names = list(table.modules)

    def rate(module: int, levels: Levels, examples: int) -> Floats:
        """Run the module with each of its choices, as far as the calls reach, and rate it."""
        choices = [swapped(levels, module, own) for own in range(arena.choices[module])]
        arena.add(choices)
        asked = {call for one in choices for call in arena.call_numbers(one)[: module + 1]}
        ratings = np.full((len(choices), examples), np.nan)
        for place in range(examples):
            new = [call for call in asked if not arena.field.made[call, place]]
            if len(new) > arena.left:
                break
            arena.left -= len(new)
            arena.field.made[new, place] = True
            rated = diagnoser(names[module], table.choices(levels), int(order[place]))
            ratings[:, place] = _checked(rated, names[module], len(choices))
        return ratings

    return rate


def _checked(given: Any, module: str, choices: int) -> Floats:
    """The ratings; raises ValueError if they are none."""
    try:
        ratings = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        ratings = np.array(np.nan)
    if ratings.shape != (choices,) or bool(np.any((ratings < 0) | (ratings > 1))):
        raise ValueError(
            f"diagnoser must return {choices} ratings in [0, 1], or NaN for none, one for each "
            f"choice of module {module!r}, but returned {given!r}"
        )
    return ratings
