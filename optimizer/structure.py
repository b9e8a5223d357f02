"""Structure: how often a module is asked, by whom, how hot, and what is made of the answers.

Four sources of configs: networks that the user lists; networks whose answers are paid for already,
scored again for free; what closed forms promise from samples that are there; and Optuna's
proposals. Whatever looks good meets the best so far in a paired race.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from evaluators.stopping import UNLIKELY, Patience
from optimizer.knobs import Knobs
from optimizer.network_race import race_networks
from optimizer.paid_networks import paid_networks, ranked
from optimizer.predictions import predicted
from optimizer.proposals import Proposal, Proposer
from optimizer.study import Study
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
PATIENCE = Patience(better_half=UNLIKELY, worse_half=1.0)
"""In races of more than a few, where most of the calls go to those that will not win."""
MIXED_IN = 3
"""So many models, the best of a module, are proposed as further members of it."""
MORE_PATIENCE = Patience(better_half=1.64, worse_half=1.64)
"""Among few, and for a front: it has many winners, and who stops by mistake is missing in it."""


@dataclass(frozen=True)
class Structure:
    """The stage that makes networks of modules."""

    name: str = "structure"

    def improve(self, study: Study) -> None:
        """Compare what is listed, then what is free, then what Optuna proposes."""
        search = _Search(study, self.name, _knobs(study))
        search.compare_listed()
        if study.objective.pareto and (everything := search.everything()):
            search.race(everything)
            return
        search.use_what_is_paid()
        search.propose()


@dataclass
class _Search:
    """One call of the stage."""

    study: Study
    stage: str
    knobs: Knobs
    enumerated: set[tuple[str, int]] = field(default_factory=set)
    promised: set[str] = field(default_factory=set)
    """Keys of configs that a closed form has proposed."""

    def race(self, configs: Sequence[PipelineConfig]) -> None:
        """Let configs meet the best so far."""
        study = self.study
        keep = study.incumbent
        patient = study.objective.pareto or len(configs) <= FEW
        patience = MORE_PATIENCE if patient else PATIENCE
        study.race(self.stage, [keep, *configs], first=FIRST_RUNG, patience=patience, keep=keep)

    def everything(self) -> list[PipelineConfig]:
        """All of the space, if that is little, and half of the examples can be paid; else none."""
        keep, study = self.study.incumbent, self.study
        if self.knobs.size(keep) > MOST_EVERYTHING:
            return []
        configs = list(self.knobs.every_config(keep))
        return configs if study.has_room(configs, len(study.examples) // 2) else []

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
            configs = [PipelineConfig(modules={**modules, module: one}) for one in made]
            if len(configs) > FEW and not self.study.objective.pareto:
                race_networks(self.study, self.stage, [self.study.incumbent, *configs])
            elif configs:
                self.race(configs)

    def use_what_is_paid(self) -> None:
        """Score networks of answers that are there already, and race the best of them."""
        study = self.study
        for module in study.space.models:
            finalists: list[PipelineConfig] = []
            for size, configs in paid_networks(study, self.knobs, module, self.enumerated):
                finalists += study.enumerate_paid([study.incumbent, *configs], size)[:FINALISTS]
            others = [config for config in finalists if config != study.incumbent]
            if others:
                self.race(others)

    def use_predictions(self) -> None:
        """Race what the closed forms promise to be better, from samples that are there."""
        for module in self.study.space.models:
            found = list(predicted(self.study, self.knobs, module))
            promising = [config for config in found if config.key not in self.promised]
            self.promised.update(config.key for config in promising)
            if promising:
                self.race(promising)

    def propose(self) -> None:
        """Batches of Optuna's proposals, until they bring nothing better."""
        study = self.study
        proposer = study.proposer or Proposer(
            self.knobs, study.objective, study.seed, study.journal, study.evaluator.pipeline.name
        )
        study.proposer = proposer
        for config in study.raced():
            proposer.note(config)
        asked = stale = 0
        while asked < MOST_PROPOSALS and stale < STALE_BATCHES:
            before = study.incumbent, len(study.front())
            proposals = proposer.ask(BATCH, study.incumbent)
            if not proposals:
                return
            asked += len(proposals)
            self._race_proposals(proposer, proposals)
            self.use_what_is_paid()
            self.use_predictions()
            stale = stale + 1 if (study.incumbent, len(study.front())) == before else 0

    def _race_proposals(self, proposer: Proposer, proposals: Sequence[Proposal]) -> None:
        configs = [proposal.config for proposal in proposals]
        while len(configs) > 1 and not self.study.has_room(configs, FIRST_RUNG):
            configs.pop()
        try:
            self.race(configs)
        finally:
            for proposal in proposals:
                known = self.study.evaluator.known(proposal.config)
                proposer.tell(proposal, known.costs if known.scores else None)


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
