"""Which model in which module: LLMSelector (arXiv 2502.14815) with measured trust.

The module under test runs with every model on the same upstream values, and the diagnoser rates
the distinct outputs. Its word alone may drop only as many models as its agreement with measured
scores allows; the others meet the best so far end to end, on growing sets of examples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from evaluators.diagnosis.diagnoser import Diagnoser
from evaluators.racing.race import rungs
from evaluators.racing.stopping import HURRIED
from optimizer.search.state import SearchState
from optimizer.stages.allocation.measured_agreement import measured_agreement
from optimizer.stages.allocation.module_scores import ModuleScores, score_modules
from optimizer.stages.allocation.turn_scores import module_probes, turn_scores
from search_spaces import PipelineConfig

FIRST_RUNG = 16
"""On how many examples the first comparisons end to end run; then on twice as many, and so on."""
MOST_ROUNDS = 10
MOST_ENUMERATED = 4096
"""Largest number of allocations that are scored again from answers already paid for."""
FINALISTS = 8
"""How many of those may lead."""

RESCUE_EXAMPLES = 4
RESCUE_GAIN = 0.5
"""On how many failed examples a config is tried, and how much better it must do for a race."""

Move = tuple[str, str]
"""A module and the label of the model to put there."""
Moves = Mapping[str, Sequence[str]]
"""By module, the labels that may still replace its own, most promising first."""


@dataclass(frozen=True)
class Allocation:
    """The stage that chooses a model for every module."""

    name: str = "allocation"

    def improve(self, state: SearchState) -> None:
        """Run rounds until the incumbent stays, over the modules that have changed since last time.

        The first round settles on few examples what it can before more are paid for, and may take
        a new base each time; what a later one finds promising meets a base that has seen them all.
        """
        if state.incumbent == state.settled.get(self.name):
            return
        search = _Search(state, self.name, _choices(state, state.settled.get(self.name)))
        began = state.incumbent
        try:
            self._run_rounds(state, search)
        finally:
            moves = {**search.choices, **_roles(state)}
            scores = turn_scores(state, began, moves, search.rated, search.dropped)
            state.note_module_scores(scores)
        state.settled[self.name] = state.incumbent

    def _run_rounds(self, state: SearchState, search: _Search) -> None:
        everything = len(state.examples)
        sizes = [(size, size) for size in rungs(everything, FIRST_RUNG)]
        for _ in range(MOST_ROUNDS):
            before = state.incumbent
            promising = search.promising()
            for first, most in sizes:
                search.settle(promising, first, most)
            search.give_second_chances()
            if state.incumbent == before:
                break
            sizes = [(FIRST_RUNG, everything)]
        for module in state.judgements.agreement:
            state.judgements.agreement[module] = measured_agreement(state, module)


@dataclass
class _Search:
    """What one allocation has found out: who was beaten end to end, and who was asked again."""

    state: SearchState
    stage: str
    choices: Moves
    dropped: set[Move] = field(default_factory=set)
    asked_again: set[Move] = field(default_factory=set)
    rated: dict[str, ModuleScores] = field(default_factory=dict)
    """What the diagnoser said last, by module."""

    def promising(self) -> Moves:
        """What the diagnoser may not drop; without one, all models.

        Whom an aggregator consults may have any model.
        """
        state, choices = self.state, self.choices
        if state.diagnoser and choices:
            self._rate(state.diagnoser)
        rated = self.rated
        top = {m: rated[m].promising if m in rated else labels for m, labels in choices.items()}
        return {**top, **_roles(state)}

    def _rate(self, diagnoser: Diagnoser) -> None:
        """Let the diagnoser rate; where the budget cuts it off, earlier ratings stay."""
        fresh: dict[str, ModuleScores] = {}
        try:
            score_modules(self.state, diagnoser, self.choices, fresh)
            self.rated.update(fresh)
        finally:
            self.rated = {**fresh, **self.rated}
            probes = (module_probes(self.state, self.stage, scores) for scores in fresh.values())
            self.state.note_probes(itertools.chain.from_iterable(probes))

    def settle(self, promising: Moves, first: int, most: int) -> None:
        """Compare the models of each module end to end; take the best of all modules at once.

        Models only meet those of their own module, and who loses there is dropped, unless some
        allocation with it that can be scored for free is not clearly behind.
        """
        state = self.state
        moves = self._left(promising)
        race = partial(state.race, self.stage, first=first, most=most, patience=HURRIED)
        race([state.incumbent, _first_of_each(state, moves)], keep=state.incumbent)
        base = state.incumbent
        best: dict[str, tuple[str, ...]] = {}
        beaten: set[Move] = set()
        for module, labels in moves.items():
            moved = {label: base.with_models({module: label}) for label in labels}
            entrants = [base, *(config for config in moved.values() if config != base)]
            standings = race(entrants, keep=base if first < most else None)
            finished = [standing.config for standing in standings if standing.finished]
            beaten.update((module, label) for label in labels if moved[label] not in finished)
            best[module] = (state.best(finished) or base).allocation[module]
        free = already_paid(state, moves, most)
        self.dropped |= beaten - {move for config in free for move in _moves_of(config)}
        race([state.incumbent, base.with_models(best), *free[:FINALISTS]], keep=state.incumbent)

    def give_second_chances(self) -> None:
        """Race the models again that rescue examples which the incumbent fails; each once.

        The diagnoser errs most where its own model could not have done the module's work, and the
        first races had a base that failed many examples whatever the module under test did.
        """
        state = self.state
        complete = len(state.examples)
        known = state.evaluator.known
        moved = {
            (module, label): state.incumbent.with_models({module: label})
            for module, labels in self.choices.items()
            for label in labels
            if (module, label) not in self.asked_again
        }
        asked = {m: c for m, c in moved.items() if len(known(c).outcomes) < complete}
        self.asked_again |= set(asked)
        found = rescuers(state, list(asked.values()))
        again = [move for move, config in asked.items() if config in found]
        if again:
            self.dropped -= set(again)
            self.settle(_by_module(again), FIRST_RUNG, complete)

    def _left(self, promising: Moves) -> Moves:
        return _by_module(
            (module, label)
            for module, labels in promising.items()
            for label in labels
            if (module, label) not in self.dropped
        )


def already_paid(state: SearchState, moves: Moves, size: int) -> list[PipelineConfig]:
    """Of all allocations that can be scored without a new call, those not clearly behind the best.

    A vote shows why: with one solver changed the majority stays as it was, so no single change
    helps, while every combination of solvers that have answered already can be scored for free.
    """
    if not 1 < math.prod(map(len, moves.values())) <= MOST_ENUMERATED:
        return []
    configs = [
        state.incumbent.with_models(dict(zip(moves, mix, strict=True)))
        for mix in itertools.product(*moves.values())
    ]
    return state.enumerate_paid(configs, size)


def rescuers(state: SearchState, configs: Sequence[PipelineConfig]) -> list[PipelineConfig]:
    """Those that do clearly better on the first few examples that the incumbent fails.

    That says nothing of how good they are, since the examples were picked for their failures;
    it says that a race may be worth its calls.
    """
    scores = state.evaluator.known(state.incumbent).scores
    failed = [i for i in state.examples if i in scores and scores[i] < 0.5][:RESCUE_EXAMPLES]
    if not failed:
        return []
    found = []
    for config in configs:
        state.forecast.check([(config, index) for index in failed])
        tried = state.evaluator.peek(config, failed).scores
        if sum(tried[i] - scores[i] for i in tried) >= RESCUE_GAIN * len(failed):
            found.append(config)
    return found


def _choices(state: SearchState, settled: PipelineConfig | None) -> Moves:
    """The models of the modules that have changed since models were chosen last."""
    now = state.incumbent.modules
    then = settled.modules if settled else {}
    return {m: labels for m, labels in state.uniform.items() if now[m] != then.get(m)}


def _roles(state: SearchState) -> Moves:
    """The models to choose from for whom aggregators consult, by path."""
    incumbent = state.incumbent
    roles = [path for path in incumbent.allocation if path not in incumbent.modules]
    return {path: state.space.models[incumbent.place(path)[0]] for path in roles}


def _first_of_each(state: SearchState, moves: Moves) -> PipelineConfig:
    """The most promising model in every module at once."""
    return state.incumbent.with_models({module: labels[0] for module, labels in moves.items()})


def _by_module(moves: Iterable[Move]) -> Moves:
    grouped: dict[str, list[str]] = {}
    for module, label in moves:
        grouped.setdefault(module, []).append(label)
    return grouped


def _moves_of(config: PipelineConfig) -> Iterable[Move]:
    return ((module, labels[0]) for module, labels in config.allocation.items())
