"""Structure: widths, members, temperatures and aggregators of modules.

Where the space is small, all of its configs race together, listed prompts and networks included;
where it is too large to list, Optuna proposes. In both cases networks of known answers are scored
for free, and two closed forms predict wider votes and verifiers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from optimizer.formatting import counted
from optimizer.search.state import SearchState
from optimizer.stages.structure.knobs import Knobs
from optimizer.stages.structure.paid_networks import PAID_SHARES, paid_networks, ranked
from optimizer.stages.structure.predictions import predicted
from optimizer.stages.structure.proposals import Proposer
from optimizer.stages.structure.routes import learned_routes
from pipelines.gateway.call import BudgetExhausted
from pipelines.providers import takes
from search_spaces import PipelineConfig

MOST_LISTED = 256
"""Spaces of up to this many configs race as a whole."""
BATCH = 8
"""How many of Optuna's proposals race at once."""
MOST_PROPOSALS = 24
"""How many of them race in one call of the stage."""
MOST_PAID = 8
"""How many of a module's networks that were scored for free enter a race."""
MIXED_IN = 3
"""How many of a module's best models are proposed as further members."""


@dataclass(frozen=True)
class Structure:
    """The stage that tunes widths, members, temperatures, aggregators and functions' parameters."""

    name: str = "structure"

    def improve(self, state: SearchState) -> None:
        """Race what is listed, or what Optuna proposes, and networks of the answers so far."""
        if state.incumbent == state.settled.get(self.name):
            return
        search = _Search(state, self.name, _knobs(state))
        try:
            search.run()
        except BudgetExhausted:
            search.use_what_is_paid()  # what costs nothing may still be better
            raise
        state.settled[self.name] = state.incumbent


@dataclass
class _Search:
    """One call of the stage."""

    state: SearchState
    stage: str
    knobs: Knobs
    enumerated: set[str] = field(default_factory=set)
    """Keys of the networks that were scored for free."""
    unpaid: dict[str, PipelineConfig] = field(default_factory=dict)
    """By key, the configs that the budget did not let race."""

    def run(self) -> None:
        """Race configs until none is better."""
        base = self.state.incumbent
        listed = self.knobs.listed(base, MOST_LISTED)
        self.race([*self.knobs.networks(base), *listed])
        self.use_answers()
        if not listed:
            self.propose()
        self.put_back()
        if unrun := sum(not self.state.has_seen_all(config) for config in self.unpaid.values()):
            self.state.cut_short = (
                f"each of {counted(unrun, 'more config')} would take too much on all examples "
                f"and the holdout, and {self.state.forecast.what_is_left()}"
            )

    def race(self, configs: Sequence[PipelineConfig]) -> None:
        """Race those of the configs that the budget lets lead against the best so far."""
        state = self.state
        able = [config for config in configs if state.is_payable(config)]
        self.unpaid |= {config.key: config for config in configs if config not in able}
        if any(state.seen(config) < len(state.examples) for config in able):
            state.race(self.stage, able)

    def use_answers(self) -> None:
        """Race networks that the answers so far suggest."""
        self.use_what_is_paid()
        for module in self.state.space.models:
            self.race(list(predicted(self.state, self.knobs, module)))

    def use_what_is_paid(self) -> None:
        """Score networks of answers that are there already, and race the best of them."""
        state = self.state
        for module, share in product(state.space.models, PAID_SHARES):
            size = math.ceil(share * len(state.examples))
            found = paid_networks(state, self.knobs, module, size, self.enumerated)
            if best := state.enumerate_paid(found, size)[:MOST_PAID]:
                state.race(self.stage, best)
        for module in state.space.models:
            self.use_routes(module)

    def use_routes(self, module: str, since: int = 0) -> None:
        """Race routes that paid answers suggest. A promising one is worth more answers: of other
        members on the same examples first, and of its own on all examples once it leads.

        Args:
            module: the module's name.
            since: how many of the first search examples the best so far was learned from.
        """
        state = self.state
        for learned in learned_routes(state, self.knobs, module, self.enumerated, since):
            if self.look(learned.others, learned.size):
                self.use_routes(module, since)
                return
            state.enumerate_paid([learned.config], learned.size)  # else it counts as never run
            state.race(self.stage, [learned.config])
            leads = state.incumbent == learned.config
            if leads and self.look(learned.members, len(state.examples)):
                self.use_routes(module, learned.size)

    def look(self, configs: Sequence[PipelineConfig], size: int) -> bool:
        """Run configs on the first `size` search examples, if that takes calls and can be paid."""
        state = self.state
        runs = list(product(configs, state.examples[:size]))
        calls, usd = state.forecast.cost(runs)
        left = state.forecast.left()
        if not 0 < calls <= left.calls or usd > left.usd:
            return False
        state.look(self.stage, configs, size)
        return True

    def propose(self) -> None:
        """Race batches of Optuna's proposals, until one finds nothing better.

        Where costs count, models vary too, in half of them. The others start from the config that
        sets the bar: where the cheapest near the best is wanted, the best.
        """
        state = self.state
        proposer = state.proposer = state.proposer or Proposer(
            self.knobs, state.objective, state.seed
        )
        for _ in range(0, MOST_PROPOSALS, BATCH):
            before = self._best_so_far()
            for config in state.raced():
                proposer.note(config)
            varied = BATCH // 2 if self.knobs.with_models else 0
            proposals = proposer.ask(BATCH - varied, self._bar(), keep_models=True)
            proposals += proposer.ask(varied, state.incumbent)
            try:
                self.race([proposal.config for proposal in proposals])
            finally:
                for proposal in proposals:
                    known = state.evaluator.known(proposal.config)
                    costs = known.costs if known.scores else None
                    proposer.tell(proposal, costs, state.reference(known.scores))
            self.use_answers()
            if self._best_so_far() == before:
                return

    def put_back(self) -> None:
        """Reset functions' parameters whose change makes no difference."""
        state, everything = self.state, len(self.state.examples)
        for module, first in state.baseline.modules.items():
            for param in state.space.params.get(module, {}):
                now = dict(state.incumbent.modules[module].params)
                now.pop(param, None)
                as_first = {param: first.params[param]} if param in first.params else {}
                config = state.incumbent.with_knobs(module, params={**now, **as_first})
                if config != state.incumbent and state.enumerate_paid([config], everything):
                    state.record(
                        self.stage, [config], state.last_trial(state.incumbent), "complete"
                    )
                    state.prefer_equal(config)

    def _best_so_far(self) -> set[str]:
        """Keys of the best, or of the front where that is asked for, and of what sets the bar."""
        state = self.state
        best = state.front() if state.objective.pareto else [state.incumbent]
        return {config.key for config in [*best, self._bar()]}

    def _bar(self) -> PipelineConfig:
        state = self.state
        return state.incumbent if state.objective.within is None else state.bar()


def _knobs(state: SearchState) -> Knobs:
    costs_count = state.objective.pareto or state.objective.limited
    return Knobs(
        pipeline=state.evaluator.pipeline,
        space=state.space,
        baseline=state.baseline,
        with_models=costs_count,
        judge=_judge(state),
        partners=dict(_partners(state)),
        takes=lambda label, knob, value: takes(state.evaluator.models[label], knob, value),
    )


def _judge(state: SearchState) -> Callable[[], str]:
    """Returns the ablest model; cached until more is run, as listing a space asks for it often."""
    ablest = functools.cache(lambda runs: state.ablest_model.label)
    return lambda: ablest(len(state.evaluator.history))


def _partners(state: SearchState) -> Iterator[tuple[str, list[str]]]:
    for module, labels in state.space.models.items():
        setting = state.incumbent.modules[module]
        widest = max(state.space.of("width", module), default=1)
        most = max(MIXED_IN, widest) if state.space.distinct(module) else MIXED_IN
        yield module, ranked(state, module, labels, setting)[:most]
