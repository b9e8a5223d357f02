"""Structure: how often a module is asked, by whom, how hot, and what is made of the answers.

Four sources of configs: networks that the user lists; networks whose answers are paid for already,
scored again for free; what closed forms promise from samples that are there; and Optuna's
proposals. Whatever looks good races against the best so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product

from evaluators.objective import front
from optimizer.search.state import SearchState
from optimizer.stages.structure.knobs import Knobs
from optimizer.stages.structure.paid_networks import paid_networks, ranked
from optimizer.stages.structure.predictions import predicted
from optimizer.stages.structure.proposals import Proposal, Proposer
from pipelines.llms.call import BudgetExhausted
from pipelines.llms.model_knobs import has_knob
from search_spaces import PipelineConfig

BATCH = 4
"""How many proposals race at once against the best so far."""
MOST_PROPOSALS = 24
"""In one call of the stage."""
STALE_BATCHES = 2
"""After so many that brought nothing better, the stage ends."""
FINALISTS = 4
"""How many of the networks that cost nothing to score may race."""
FEWEST_EXAMPLES = 16
"""How many examples must be affordable for all entrants of a race."""
MOST_EVERYTHING = 256
"""Spaces of up to so many configs race as a whole, where a front is asked for."""
MIXED_IN = 3
"""So many models, the best of a module, are proposed as further members of it."""


@dataclass(frozen=True)
class Structure:
    """The stage that makes networks of modules."""

    name: str = "structure"

    def improve(self, state: SearchState) -> None:
        """Compare what is listed, then what is free, then what Optuna proposes."""
        if state.incumbent == state.settled.get(self.name):
            return
        search = _Search(state, self.name, _knobs(state))
        search.compare_listed()
        if state.objective.pareto and (everything := search.everything()):
            search.race(everything)
            search.use_what_is_paid()
        else:
            search.use_what_is_paid()
            search.propose()
            search.put_back()
        if search.cut_off is not None:
            raise search.cut_off
        state.settled[self.name] = state.incumbent


@dataclass
class _Search:
    """One call of the stage."""

    state: SearchState
    stage: str
    knobs: Knobs
    enumerated: set[tuple[str, int]] = field(default_factory=set)
    promised: set[str] = field(default_factory=set)
    """Keys of configs that a closed form has proposed."""
    cut_off: BudgetExhausted | None = None
    """What could not be paid, the first time."""

    def race(self, configs: Sequence[PipelineConfig]) -> None:
        """Let configs meet the best so far; where not all can be paid, the first ones.

        A race that the budget ends does not end the stage: others may be cheaper, or free.
        """
        state, entrants = self.state, list(configs)
        few = state.examples[:FEWEST_EXAMPLES]
        while len(entrants) > 1 and not state.forecast.has_room(list(product(entrants, few))):
            entrants.pop()
        with self._cut_off_noted():
            state.race(self.stage, entrants)

    @contextmanager
    def _cut_off_noted(self) -> Iterator[None]:
        try:
            yield
        except BudgetExhausted as exhausted:
            self.cut_off = self.cut_off or exhausted

    def everything(self) -> list[PipelineConfig]:
        """All of the space, if that is little, and half of the examples can be paid; else none."""
        keep, state = self.state.incumbent, self.state
        if self.knobs.size(keep) > MOST_EVERYTHING:
            return []
        configs = list(self.knobs.every_config(keep))
        half = state.examples[: len(state.examples) // 2]
        return configs if state.forecast.has_room(list(product(configs, half))) else []

    def compare_listed(self) -> None:
        """The networks that the user lists, module by module."""
        for module, networks in self.state.space.network_choices().items():
            modules = self.state.incumbent.modules
            rest = {name: own for name, own in modules.items() if name != module}
            around = PipelineConfig(modules=rest).key
            if (module, around) in self.state.compared:
                continue
            self.state.compared.add((module, around))
            made = (modules[module].with_network(network) for network in networks)
            every = (PipelineConfig(modules={**modules, module: one}) for one in made)
            configs = [config for config in every if self.knobs.makes_sense(config)]
            if configs:
                self.race(configs)

    def use_what_is_paid(self) -> None:
        """Score networks of answers that are there already, and race the best of them."""
        state = self.state
        for module in state.space.models:
            finalists: list[PipelineConfig] = []
            for size, configs in paid_networks(state, self.knobs, module, self.enumerated):
                finalists += self._finalists(
                    state.enumerate_paid([state.incumbent, *configs], size)
                )
            if finalists:
                self.race(finalists)

    def _finalists(self, configs: Sequence[PipelineConfig]) -> list[PipelineConfig]:
        """What the objective prefers, of configs that were scored on the same examples."""
        state, left = self.state, [c for c in configs if c != self.state.incumbent]
        if state.objective.pareto:
            places = front([state.evaluator.known(config).costs for config in left])
            return [left[place] for place in places][:FINALISTS]
        chosen: list[PipelineConfig] = []
        while len(chosen) < FINALISTS and (best := state.best(left)):
            chosen.append(best)
            left.remove(best)
        return chosen

    def use_predictions(self) -> None:
        """Race what the closed forms promise to be better, from samples that are there."""
        for module in self.state.space.models:
            found = list(predicted(self.state, self.knobs, module))
            promising = [config for config in found if config.key not in self.promised]
            self.promised.update(config.key for config in promising)
            if promising:
                self.race(promising)

    def propose(self) -> None:
        """Batches of Optuna's proposals, until they bring nothing better.

        Where costs count, models vary too, in every second batch. The others start from whatever
        sets the bar: where the cheapest near the best is wanted, the best.
        """
        state = self.state
        proposer = state.proposer or Proposer(
            self.knobs, state.objective, state.seed, state.journal, state.evaluator.pipeline.name
        )
        state.proposer = proposer
        asked = stale = turn = used_up = 0
        kinds = 2 if self.knobs.with_models else 1
        while asked < MOST_PROPOSALS and stale < kinds * STALE_BATCHES and self.cut_off is None:
            before = self._best_so_far()
            for config in state.raced():
                proposer.note(config)
            keep_models = turn % kinds == 0
            base = self._bar() if keep_models else state.incumbent
            proposals = proposer.ask(BATCH, base, keep_models=keep_models)
            turn += 1
            used_up = 0 if proposals else used_up + 1
            if used_up == kinds:
                return
            if not proposals:
                continue
            asked += len(proposals)
            self._race_proposals(proposer, proposals)
            self.use_what_is_paid()
            self.use_predictions()
            stale = stale + 1 if self._best_so_far() == before else 0

    def put_back(self) -> None:
        """Functions' parameters whose change makes no difference get their first values again."""
        state, everything = self.state, len(self.state.examples)
        for module, first in state.baseline.modules.items():
            for param in state.space.params.get(module, {}):
                now = dict(state.incumbent.modules[module].params)
                now.pop(param, None)
                as_first = {param: first.params[param]} if param in first.params else {}
                config = state.incumbent.with_knobs(module, params={**now, **as_first})
                if config != state.incumbent and state.enumerate_paid([config], everything):
                    self.race([config])
                    state.prefer_equal(config)

    def _best_so_far(self) -> set[str]:
        """Keys of the best, or of the front where that is asked for, and of what sets the bar."""
        state = self.state
        best = state.front() if state.objective.pareto else [state.incumbent]
        return {config.key for config in [*best, self._bar()]}

    def _bar(self) -> PipelineConfig:
        state = self.state
        return state.incumbent if state.objective.within is None else state.bar()

    def _race_proposals(self, proposer: Proposer, proposals: Sequence[Proposal]) -> None:
        try:
            self.race([proposal.config for proposal in proposals])
        finally:
            for proposal in proposals:
                known = self.state.evaluator.known(proposal.config)
                costs = known.costs if known.scores else None
                proposer.tell(proposal, costs, self.state.reference(known.scores))


def _knobs(state: SearchState) -> Knobs:
    costs_count = state.objective.pareto or state.objective.limited
    return Knobs(
        pipeline=state.evaluator.pipeline,
        space=state.space,
        baseline=state.baseline,
        with_models=costs_count,
        judge=partial(_ablest, state),
        partners=dict(_partners(state)),
        has=lambda label, knob: has_knob(state.evaluator.models[label], knob),
    )


def _partners(state: SearchState) -> Iterator[tuple[str, list[str]]]:
    for module, labels in state.space.models.items():
        setting = state.incumbent.modules[module]
        widest = max(state.space.of("width", module), default=1)
        most = max(MIXED_IN, widest) if state.space.distinct(module) else MIXED_IN
        yield module, ranked(state, module, labels, setting)[:most]


def _ablest(state: SearchState) -> str:
    """The model that does best alone judges, until the allocation finds a better one."""
    best = state.single_model or state.incumbent
    return next(iter(best.allocation.values()))[0]
