"""A race of pipelines for one task: which of them is worth a search of its own?

Every pipeline enters as given and with other allocations of models, since some are good with a mix
alone. After each rung the examples double, and the better half goes on, without those clearly
behind by the posterior.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from itertools import groupby, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evaluators.racing.posterior import Design, Floats, Posterior
from evaluators.statistics import Interval
from optimizer.search.config_arena import config_factors
from optimizer.search.leading.earning import earns_place
from optimizer.search.leading.preference import Preference
from optimizer.search.preflight.baseline import PRICED_EXAMPLES
from optimizer.search.preflight.expensive_models import worst_calls
from optimizer.search.records.trial import config_text
from optimizer.search.state import SearchState
from pipelines.gateway.call import BudgetExhausted
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    import pandas as pd

STAGE = "patterns"
BEHIND = 0.05
"""Entrants that are better than the leader with no larger probability are eliminated."""
MOST_ALLOCATIONS = (16, 4, 1)
"""Of each pipeline, besides the single models; fewer where the race could not be paid."""
FOR_THE_SEARCH = 0.5
"""The share of what is left that the race leaves to the search of the winner."""


@dataclass(frozen=True)
class PatternScore:
    """What the race found of one pipeline; a search estimate."""

    pattern: str
    """The pipeline's name."""
    decision: str
    """`searched`, `baseline`, `eliminated`, `cut short` by the budget, or `not shown to be better`.
    """
    examples: int
    """On how many the best of its entrants was scored."""
    score: Interval | None
    usd_per_example: float
    latency_s: float
    entrant: str
    """The models of that entrant."""
    calls: int
    """Of all of its runs in the race."""
    usd: float
    """What these cost."""


class Entrant(NamedTuple):
    """A config, and the search that it would begin."""

    state: SearchState
    config: PipelineConfig


def race_patterns(states: Sequence[SearchState]) -> SearchState:
    """The search to go on with: that of the first pipeline, unless another one is shown better.

    The winner's search begins at the config that won, which keeps its place there as one that is
    given does.

    Args:
        states: one per pipeline; the baseline of the first has run on all search examples, and is
            adopted by the evaluators of the others.
    """
    first = states[0]
    given = Entrant(first, first.baseline)
    with ExitStack() as stack:
        for state in states:
            stack.enter_context(state.forecast.withholding(FOR_THE_SEARCH))
        alive = [entrant for entrant in _field(states) if entrant != given]
        ended = None
        try:
            for state in states[1:]:  # the trials of other allocations depart from these
                state.look(STAGE, [state.baseline], PRICED_EXAMPLES)
            for size in _rungs(len(first.examples)):
                for _, group in groupby(alive, key=lambda entrant: id(entrant.state)):
                    running = list(group)
                    running[0].state.look(STAGE, [each.config for each in running], size)
                if size < len(first.examples):
                    alive = _going_on(given, alive)
        except BudgetExhausted as exhausted:
            ended = f"the race of pipelines ended early: {exhausted}"
            first.note_failed(STAGE, ended)
    winner = _winner(given, alive)
    for entrant in alive:
        if entrant.state is not winner.state:
            entrant.state.cut_short = ended
    if winner.state is first:
        return first
    found = winner.state
    found.baseline = found.incumbent = found.forecast.baseline = winner.config
    found.protect_holdout()
    return found


def conclude_race(state: SearchState, given: SearchState) -> None:
    """Compare what the search of another pipeline found with the first pipeline as given."""
    if state is given:
        return
    found, first = Entrant(state, state.incumbent), Entrant(given, given.baseline)
    if _winner(first, [found]) == first:
        state.incumbent = given.baseline
    state.baseline = given.baseline


def pattern_scores(
    states: Mapping[str, SearchState], searched: SearchState
) -> Iterator[PatternScore]:
    """What is known of each pipeline, by its name."""
    for name, state in states.items():
        known = state.evaluator.known
        raced = [t for t in state.trials if t.stage in ("baseline", STAGE) and t.status != "failed"]
        configs = list({trial.config.key: trial.config for trial in raced}.values())
        seen = max((len(known(config).scores) for config in configs), default=0)
        whole = [config for config in configs if len(known(config).scores) == seen]
        best = max(whole, key=lambda config: known(config).mean, default=state.baseline)
        last = {trial.config.key: trial for trial in raced}.values()
        if seen == len(state.examples):
            lost = "not shown to be better"
        else:
            lost = "cut short" if state.cut_short else "eliminated"
        if state.reserve.baseline in configs:  # it was given first
            lost = "baseline"
        yield PatternScore(
            pattern=name,
            decision="searched" if state is searched else lost,
            examples=seen,
            score=known(best).interval,
            usd_per_example=known(best).usd_per_example,
            latency_s=known(best).latency_s,
            entrant=config_text(best),
            calls=round(sum(t.calls_per_example * (t.examples + t.unscored) for t in last)),
            usd=sum(t.usd_per_example * (t.examples + t.unscored) for t in last),
        )


def patterns_frame(scores: Sequence[PatternScore]) -> pd.DataFrame:
    """One row per pipeline."""
    import pandas as pd  # 0.3 s

    columns = [field.name for field in fields(PatternScore) if field.name != "score"]
    rows = [
        {
            **{name: getattr(each, name) for name in columns},
            **(each.score or Interval(math.nan, math.nan, math.nan)).named("score"),
        }
        for each in scores
    ]
    return pd.DataFrame(rows, columns=[*columns, "score", "score_low", "score_high"])


def _field(states: Sequence[SearchState]) -> list[Entrant]:
    """The entrants: as many as can be paid, and each pipeline as given at least."""
    rungs = len([*_rungs(len(states[0].examples))])
    for most in MOST_ALLOCATIONS:
        configs = [_allocations(state, most) for state in states]
        calls = usd = 0.0
        for state, own in zip(states, configs, strict=True):
            first = state.forecast.cost([*product(own, state.examples[:PRICED_EXAMPLES])])
            calls, usd = calls + rungs * first[0], usd + rungs * first[1]
        left = states[0].forecast.left()
        if calls <= left.calls and usd <= left.usd:
            return [
                Entrant(state, config)
                for state, own in zip(states, configs, strict=True)
                for config in own
            ]
    return [Entrant(state, state.baseline) for state in states]


def _allocations(state: SearchState, most: int) -> list[PipelineConfig]:
    """The config as given, the single models, and up to `most` allocations, drawn if need be.

    Models of which one call may cost half of what is left stay out.
    """
    left, worst = state.evaluator.session.nominal_left().usd, worst_calls(state)
    space = state.space.without({label for label, usd in worst.items() if 2 * usd > left})
    drawn: Iterable[Mapping[str, str]] = space.allocations()
    if space.size > most:
        rng = np.random.default_rng(state.seed)
        draw = {m: rng.integers(len(own), size=most) for m, own in space.models.items()}
        drawn = ({m: own[draw[m][i]] for m, own in space.models.items()} for i in range(most))
    configs = [state.baseline, *map(state.baseline.with_single_model, space.single_models())]
    configs += map(state.baseline.with_models, drawn)
    return list({config.key: config for config in configs}.values())


def _rungs(examples: int) -> Iterator[int]:
    size = PRICED_EXAMPLES
    while size < examples:
        yield size
        size *= 2
    yield examples


def _going_on(given: Entrant, alive: Sequence[Entrant]) -> list[Entrant]:
    """The better half, without those clearly behind the best."""
    field = [given, *alive]
    posterior = Posterior.fit(*_seen(field))
    ranked = _preference(field).ranked(posterior.mean)
    leader = int(posterior.mean.argmax())
    kept = [
        place
        for place in [place for place in ranked if place][: math.ceil(len(alive) / 2)]
        if place == leader or posterior.probability_better(place, leader) > BEHIND
    ]
    return [field[place] for place in sorted(kept)]


def _winner(given: Entrant, alive: Sequence[Entrant]) -> Entrant:
    """The most preferred of those that ran on all examples and earn the given one's place."""
    field = [given, *filter(_may_lead, alive)]
    scores, design = _seen(field)
    posterior, preference = Posterior.fit(scores, design), _preference(field)
    over = np.maximum(1.0, preference.excess)
    for place in preference.ranked(posterior.mean):
        protected = given.state.objective.within is None and over[place] >= over[0]
        if not protected or earns_place(posterior, scores, place, 0, len(field) - 1):
            return field[place]
    return given


def _may_lead(entrant: Entrant) -> bool:
    state, config = entrant
    works = state.evaluator.known(config).works
    return state.is_complete(config) and works and state.may_lead(config)


def _seen(field: Sequence[Entrant]) -> tuple[Floats, Design]:
    """Scores by entrant and example, and which settings entrants have in common."""
    known = [state.evaluator.known(config).scores for state, config in field]
    scores = np.array([[own.get(i, np.nan) for i in field[0].state.examples] for own in known])
    factors = config_factors([config for _, config in field])
    return scores, Design(np.array(factors), np.eye(len(field)))


def _preference(field: Sequence[Entrant]) -> Preference:
    costs = [state.evaluator.known(config).costs for state, config in field]
    singles = np.array([config.single_model is not None for _, config in field])
    return Preference(field[0].state.objective, costs, singles, np.arange(len(field)))
