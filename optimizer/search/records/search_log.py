"""What one search has tried, in order."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from evaluators.evaluator import Evaluator
from evaluators.outcome import Evaluation
from optimizer.search.records.config_changes import changed_text
from optimizer.search.records.module_score import ModuleScore
from optimizer.search.records.probe import Probe
from optimizer.search.records.trial import Status, Trial, shortened
from search_spaces import PipelineConfig


@dataclass(kw_only=True)
class SearchLog:
    """Trials, module scores and probes of one search over one pipeline."""

    evaluator: Evaluator
    examples: Sequence[int]
    """Indices of the search examples, in the order in which races use them."""
    baseline: PipelineConfig
    """The config as given."""
    on_trial: Callable[[Trial], None] = lambda trial: None
    on_module_scores: Callable[[Sequence[ModuleScore]], None] = lambda scores: None
    turn: int = 0
    """The round of the loop, from 1; 0 before it."""
    trials: list[Trial] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    """Of trials; searches of several pipelines in one run share it."""
    module_scores: list[ModuleScore] = field(default_factory=list)
    """One per turn, module and model."""
    probes: list[Probe] = field(default_factory=list)
    _recorded: dict[str, int] = field(default_factory=dict)
    """By config key, on how many examples the config had run when it was last recorded."""

    def record(
        self, stage: str, configs: Iterable[PipelineConfig], base: Trial | None, unfinished: Status
    ) -> None:
        """Record as trials the configs that ran on more examples than before.

        Args:
            stage: the trials' tag.
            configs: equal ones are recorded once.
            base: the trial that they departed from.
            unfinished: the status of those that have not seen all search examples.
        """
        for config in {config.key: config for config in configs}.values():
            known = self.evaluator.known(config)
            if len(known.outcomes) > self._recorded.get(config.key, 0):
                self._recorded[config.key] = len(known.outcomes)
                status: Status = "complete" if self.has_seen_all(config) else unfinished
                status = "disqualified" if known.disqualified else status
                detail = "; ".join(filter(None, (_outages(known), _first_failure(known))))
                self._note(stage, config, known, status, detail, base)

    def last_trial(self, config: PipelineConfig) -> Trial | None:
        """The config's last trial that ran; None if it has had none."""
        ran = (trial for trial in reversed(self.trials) if trial.status != "failed")
        return next((trial for trial in ran if trial.config.key == config.key), None)

    def raced(self) -> list[PipelineConfig]:
        """Every config that was a trial, in the order of their first."""
        return list({trial.config.key: trial.config for trial in self.trials}.values())

    def note_module_scores(self, scores: Sequence[ModuleScore]) -> None:
        """Keep a turn's scores in place of its earlier ones."""
        fresh = {(score.turn, score.module, score.model) for score in scores}
        kept = (s for s in self.module_scores if (s.turn, s.module, s.model) not in fresh)
        self.module_scores = [*kept, *scores]
        self.on_module_scores(scores)

    def note_probes(self, probes: Iterable[Probe]) -> None:
        """List probes; repetitions from the cache are left out."""
        known = {probe.findings for probe in self.probes}
        self.probes += [probe for probe in probes if probe.findings not in known]

    def has_seen_all(self, config: PipelineConfig) -> bool:
        """Whether it ran on all search examples but those that its own demos were made from."""
        missing = len(self.examples) - len(self.evaluator.shown_in(config))
        return len(self.evaluator.known(config).outcomes) >= missing

    def is_complete(self, config: PipelineConfig) -> bool:
        """Whether it has seen all of them and outages did not disqualify it."""
        return self.has_seen_all(config) and not self.evaluator.known(config).disqualified

    def seen(self, config: PipelineConfig) -> int:
        """How many of the search examples, from the first on, the config was run on."""
        known = self.evaluator.known(config).outcomes
        return next((n for n, i in enumerate(self.examples) if i not in known), len(self.examples))

    def _note(
        self,
        stage: str,
        config: PipelineConfig,
        evaluation: Evaluation,
        status: Status,
        detail: str,
        base: Trial | None,
    ) -> None:
        session = self.evaluator.session
        trial = Trial(
            number=next(self.numbers),
            stage=stage,
            turn=self.turn,
            base=base.number if base else None,
            changed=changed_text(base.config, config) if base else "",
            config=config,
            status=status,
            score=evaluation.interval,
            examples=len(evaluation.scores),
            nominal_usd=session.nominal.usd,
            nominal_calls=session.nominal.calls,
            seconds=session.seconds,
            detail=detail,
            **{name: getattr(evaluation, name) for name in _FIGURES},
        )
        self.trials.append(trial)
        self.on_trial(trial)


_FIGURES = (
    "failures",
    "unscored",
    "usd_per_example",
    "latency_s",
    "latency_p95_s",
    "calls_per_example",
    "members_failed",
    "agreement",
    "usd_by_module",
    "seconds_by_module",
)
"""The fields that a trial copies from its evaluation."""


def _outages(evaluation: Evaluation) -> str:
    """Why a config is disqualified; empty for others."""
    if not evaluation.disqualified:
        return ""
    outcomes = evaluation.outcomes.values()
    failures = [f for o in outcomes for f in ([o.failure] if o.failure else o.members_failed)]
    kinds = Counter(failure.kind for failure in failures if failure.infrastructure)
    counts = ", ".join(f"{kind} x{count}" for kind, count in sorted(kinds.items()))
    return f"disqualified: outages hit {evaluation.hit} of {len(outcomes)} examples ({counts})"


def _first_failure(evaluation: Evaluation) -> str:
    for outcome in evaluation.outcomes.values():
        if failure := outcome.failure:
            return shortened(" ".join(f"{failure.module}: {failure.message}".split()), 500)
    return ""
