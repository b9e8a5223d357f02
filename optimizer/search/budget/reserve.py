"""The part of the budget that is kept for the final pass over the holdout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evaluators.evaluator import Evaluator
from pipelines.providers import price_of
from search_spaces import PipelineConfig

BYTES_PER_TOKEN = 6
"""More than most texts have."""

SLOWER = 2.0
"""How much longer than the calls themselves a pass may take: rates are limited, calls retried."""

ASKED_AGAIN = 1.1
"""Calls kept for each verdict: where one can't be read, the judge is asked again."""


class _Cost(NamedTuple):
    usd: float
    calls: int
    seconds: float


@dataclass(frozen=True)
class Reserve:
    """The most that the final pass over the holdout may take, so that it stays affordable."""

    evaluator: Evaluator
    baseline: PipelineConfig
    examples: int
    """How many are held out."""
    may_change: bool
    """Whether there is anything to search, so that the holdout scores more than the baseline."""

    def keep(
        self, incumbent: PipelineConfig, others: Sequence[PipelineConfig], pace: float = 0.0
    ) -> None:
        """Keep back enough for the baseline, the incumbent, and those of the others that fit.

        The incumbent counts beside the baseline, or the best single model, even where it is the
        same: another one as expensive may lead next. The baseline counts once where it is the best
        single model.

        Args:
            incumbent: what leads.
            others: the best single model first, which may be too expensive for what is left.
            pace: seconds per call by the clock, waiting for providers included.
        """
        needed = [self.baseline, incumbent] if self.may_change else [self.baseline]
        usd, calls, seconds = self._cost(self._with_payable(needed, others))
        session = self.evaluator.session
        if session.budget.seconds is not None:  # latencies may be those of another time
            seconds = min(seconds, session.budget.seconds / 3)
        session.protect(usd, calls, max(seconds, calls * pace))

    def payable(
        self, incumbent: PipelineConfig, others: Sequence[PipelineConfig]
    ) -> list[PipelineConfig]:
        """Baseline and incumbent, and those of the others whose worst cost fits, too."""
        distinct = [config for config in others if config != incumbent]
        return self._with_payable(self._distinct(incumbent), distinct)

    def allows(
        self,
        incumbent: PipelineConfig,
        others: Sequence[PipelineConfig] = (),
        calls: int = 0,
        usd: float = 0.0,
    ) -> bool:
        """Whether all of these can be paid on the holdout after the given calls and dollars."""
        cost = self._cost(self._distinct(incumbent, *others))
        return self._fits(cost._replace(usd=cost.usd + usd, calls=cost.calls + calls))

    def usd(self, configs: Sequence[PipelineConfig]) -> float:
        """Dollars that it may take to run these on the holdout."""
        return self._cost(configs).usd

    def most_usd_of_a_call(self, config: PipelineConfig) -> float:
        """What must be left for a call to be allowed at all, with the longest answer.

        Its input is bounded by bytes, of which a token has about four.
        """
        models = [self.evaluator.models[label] for label in config.labels]
        if self.evaluator.metric.judging:
            models.append(self.evaluator.metric.judging.model)
        answer = max(price_of(model).output_usd * model.max_tokens for model in models)
        outcomes = self.evaluator.known(config).outcomes.values()
        return answer + BYTES_PER_TOKEN * max(
            (max(o.usd, o.judge_usd) for o in outcomes), default=0
        )

    def _distinct(self, *configs: PipelineConfig) -> list[PipelineConfig]:
        """The baseline and these, each once."""
        return list({config.key: config for config in (self.baseline, *configs)}.values())

    def _with_payable(
        self, needed: Sequence[PipelineConfig], others: Sequence[PipelineConfig]
    ) -> list[PipelineConfig]:
        finalists = list(needed)
        for more in others:
            if more != self.baseline and self._fits(self._cost([*finalists, more])):
                finalists.append(more)
        return finalists

    def _cost(self, configs: Sequence[PipelineConfig]) -> _Cost:
        """What it may take to run these on the holdout.

        Every example counts as much as the most expensive one of its config so far.
        """
        usd, calls, seconds = max(map(self.most_usd_of_a_call, configs)), 0, 0.0
        for config in configs:
            known = self.evaluator.known(config)
            verdicts = math.ceil(ASKED_AGAIN * self.examples * self.evaluator.metric.calls)
            calls += self._asked(config) + verdicts
            highest = max((o.usd + o.judge_usd for o in known.outcomes.values()), default=0)
            usd += self.examples * highest
            if not math.isnan(known.latency_s):  # unknown of batches: `pace` counts
                turns = math.ceil(self.examples / self.evaluator.concurrency)
                seconds += SLOWER * turns * known.latency_s
        return _Cost(usd, calls, seconds)

    def _asked(self, config: PipelineConfig) -> int:
        """Calls on the holdout, those included that ask again since a reply can't be read.

        These are assumed to be twice as frequent as so far, plus one.
        """
        most = self.examples * self.evaluator.most_calls(config)
        if all("reply_format" not in m.knobs for m in self.evaluator.pipeline.llm_modules):
            return most
        again = self.evaluator.known(config).calls_per_first_call - 1
        return most + math.ceil(2 * again * most) + 1

    def _fits(self, cost: _Cost) -> bool:
        """Whether so much is left of the nominal budget, protected or not."""
        session = self.evaluator.session
        budget, nominal, tried = session.budget, session.nominal, session.tried
        return (budget.usd is None or nominal.usd + tried.usd + cost.usd <= budget.usd) and (
            budget.calls is None or nominal.calls + tried.calls + cost.calls <= budget.calls
        )
