"""Structure: how often a module is asked, by whom, how hot, and what is made of the answers.

Four sources of configs: networks that the user lists; networks whose answers are paid for already,
scored again for free; what closed forms promise from samples that are there; and Optuna's
proposals. Whatever looks good meets the best so far in a paired race.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from evaluators.objective import front
from evaluators.stopping import CAUTIOUS, HURRIED
from optimizer.knobs import Knobs
from optimizer.network_race import race_networks
from optimizer.paid_networks import paid_networks, ranked
from optimizer.predictions import predicted
from optimizer.proposals import Proposal, Proposer
from optimizer.study import Study
from pipelines.llms.call import BudgetExhausted
from pipelines.llms.model_knobs import has_knob
from search_spaces import PipelineConfig

BATCH = 4
"""So many proposals race at once against the best so far."""
MOST_PROPOSALS = 24
"""In one call of the stage."""
STALE_BATCHES = 2
"""After so many that brought nothing better, the stage ends."""
FINALISTS = 4
"""So many of the networks that cost nothing to score may race on."""
FIRST_RUNG = 16
MOST_EVERYTHING = 256
"""A space of up to so many configs is raced as a whole, where a front is asked for."""
FEW = 8
"""Up to so many race cautiously."""
MIXED_IN = 3
"""So many models, the best of a module, are proposed as further members of it."""


@dataclass(frozen=True)
class Structure:
    """The stage that makes networks of modules."""

    name: str = "structure"

    def improve(self, study: Study) -> None:
        """Compare what is listed, then what is free, then what Optuna proposes."""
        if study.incumbent == study.settled.get(self.name):
            return
        search = _Search(study, self.name, _knobs(study))
        search.compare_listed()
        if study.objective.pareto and (everything := search.everything()):
            search.race(everything)
            search.use_what_is_paid()
        else:
            search.use_what_is_paid()
            search.propose()
            search.put_back()
        if search.cut_off is not None:
            raise search.cut_off
        study.settled[self.name] = study.incumbent


@dataclass
class _Search:
    """One call of the stage."""

    study: Study
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
        study, entrants = self.study, list(configs)
        keep, few = study.incumbent, study.examples[:FIRST_RUNG]
        while len(entrants) > 1 and not study.forecast.has_room([keep, *entrants], few):
            entrants.pop()
        cautious = study.objective.pareto or len(entrants) <= FEW
        patience = CAUTIOUS if cautious else HURRIED
        entrants.insert(0, keep)
        with self._cut_off_noted():
            study.race(self.stage, entrants, first=FIRST_RUNG, patience=patience, keep=keep)

    @contextmanager
    def _cut_off_noted(self) -> Iterator[None]:
        try:
            yield
        except BudgetExhausted as exhausted:
            self.cut_off = self.cut_off or exhausted

    def everything(self) -> list[PipelineConfig]:
        """All of the space, if that is little, and half of the examples can be paid; else none."""
        keep, study = self.study.incumbent, self.study
        if self.knobs.size(keep) > MOST_EVERYTHING:
            return []
        configs = list(self.knobs.every_config(keep))
        half = study.examples[: len(study.examples) // 2]
        return configs if study.forecast.has_room(configs, half) else []

    def compare_listed(self) -> None:
        """The networks that the user lists, module by module."""
        for module, networks in self.study.space.network_choices().items():
            modules = self.study.incumbent.modules
            rest = {name: own for name, own in modules.items() if name != module}
            around = PipelineConfig(modules=rest).key
            if (module, around) in self.study.compared:
                continue
            self.study.compared.add((module, around))
            made = (modules[module].with_network(network) for network in networks)
            every = (PipelineConfig(modules={**modules, module: one}) for one in made)
            configs = [config for config in every if self.knobs.makes_sense(config)]
            if len(configs) > FEW and not self.study.objective.pareto:
                with self._cut_off_noted():
                    race_networks(self.study, self.stage, [self.study.incumbent, *configs])
            elif configs:
                self.race(configs)

    def use_what_is_paid(self) -> None:
        """Score networks of answers that are there already, and race the best of them."""
        study = self.study
        for module in study.space.models:
            finalists: list[PipelineConfig] = []
            for size, configs in paid_networks(study, self.knobs, module, self.enumerated):
                finalists += self._finalists(
                    study.enumerate_paid([study.incumbent, *configs], size)
                )
            if finalists:
                self.race(finalists)

    def _finalists(self, configs: Sequence[PipelineConfig]) -> list[PipelineConfig]:
        """What the objective prefers, of configs that were scored on the same examples."""
        study, left = self.study, [c for c in configs if c != self.study.incumbent]
        if study.objective.pareto:
            places = front([study.evaluator.known(config).costs for config in left])
            return [left[place] for place in places][:FINALISTS]
        chosen: list[PipelineConfig] = []
        while len(chosen) < FINALISTS and (best := study.best(left)):
            chosen.append(best)
            left.remove(best)
        return chosen

    def use_predictions(self) -> None:
        """Race what the closed forms promise to be better, from samples that are there."""
        for module in self.study.space.models:
            found = list(predicted(self.study, self.knobs, module))
            promising = [config for config in found if config.key not in self.promised]
            self.promised.update(config.key for config in promising)
            if promising:
                self.race(promising)

    def propose(self) -> None:
        """Batches of Optuna's proposals, until they bring nothing better.

        Where costs count, models vary too, in every second batch. The others start from whatever
        sets the bar: where the cheapest near the best is wanted, the best.
        """
        study = self.study
        proposer = study.proposer or Proposer(
            self.knobs, study.objective, study.seed, study.journal, study.evaluator.pipeline.name
        )
        study.proposer = proposer
        asked = stale = turn = used_up = 0
        kinds = 2 if self.knobs.with_models else 1
        while asked < MOST_PROPOSALS and stale < kinds * STALE_BATCHES and self.cut_off is None:
            before = self._best_so_far()
            for config in study.raced():
                proposer.note(config)
            keep_models = turn % kinds == 0
            base = self._bar() if keep_models else study.incumbent
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
        study, everything = self.study, len(self.study.examples)
        for module, first in study.baseline.modules.items():
            for param in study.space.params.get(module, {}):
                now = dict(study.incumbent.modules[module].params)
                now.pop(param, None)
                as_first = {param: first.params[param]} if param in first.params else {}
                config = study.incumbent.with_knobs(module, params={**now, **as_first})
                if config != study.incumbent and study.enumerate_paid([config], everything):
                    self.race([config])

    def _best_so_far(self) -> set[str]:
        """Keys of the best, or of the front where that is asked for, and of what sets the bar."""
        study = self.study
        best = study.front() if study.objective.pareto else [study.incumbent]
        return {config.key for config in [*best, self._bar()]}

    def _bar(self) -> PipelineConfig:
        study = self.study
        return study.incumbent if study.objective.within is None else study.bar()

    def _race_proposals(self, proposer: Proposer, proposals: Sequence[Proposal]) -> None:
        try:
            self.race([proposal.config for proposal in proposals])
        finally:
            for proposal in proposals:
                known = self.study.evaluator.known(proposal.config)
                costs = known.costs if known.scores else None
                proposer.tell(proposal, costs, self.study.reference(known.scores))


def _knobs(study: Study) -> Knobs:
    costs_count = study.objective.pareto or study.objective.limited
    return Knobs(
        pipeline=study.evaluator.pipeline,
        space=study.space,
        baseline=study.baseline,
        with_models=costs_count,
        judge=partial(_ablest, study),
        partners=dict(_partners(study)),
        has=lambda label, knob: has_knob(study.evaluator.models[label], knob),
    )


def _partners(study: Study) -> Iterator[tuple[str, list[str]]]:
    for module, labels in study.space.models.items():
        setting = study.incumbent.modules[module]
        yield module, ranked(study, module, labels, setting)[:MIXED_IN]


def _ablest(study: Study) -> str:
    """The model that does best alone judges, until the allocation finds a better one."""
    best = study.single_model or study.incumbent
    return next(iter(best.allocation.values()))[0]
