"""What the next step will cost, and whether the budget has room for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluators.evaluator import Evaluator
from optimizer.search.call_groups import (
    CallGroup,
    ModuleCalls,
    call_groups,
    calls_ahead,
    module_calls,
)
from pipelines.llms.call import BudgetExhausted
from search_spaces import PipelineConfig


@dataclass
class Forecast:
    """The calls that configs will take, those that they share with others counted once."""

    evaluator: Evaluator
    baseline: PipelineConfig
    raced: Callable[[], Sequence[PipelineConfig]]
    """The configs that were run so far."""
    singles: Mapping[str, PipelineConfig]
    """By label, the configs with that model in all modules."""
    _calls: dict[Any, list[ModuleCalls]] = field(default_factory=dict)

    def check(self, configs: Sequence[PipelineConfig], examples: Sequence[int]) -> None:
        """Stop before a rung that the nominal budget has no room for.

        Nominal spend does not depend on what the cache held, so that a run started again stops
        at the same place; the gateway guards the real spend call by call.

        Raises:
            BudgetExhausted: these can't be paid; says what they would take.
        """
        left = self.evaluator.session.nominal_left()
        if math.isinf(left.calls) and math.isinf(left.usd):
            return
        verdicts = self._verdicts(configs, examples)
        calls, usd = verdicts, verdicts * self._usd_per_verdict()
        for group, ahead in self._groups(configs, examples).items():
            calls += ahead
            usd += ahead * self._usd_per_call(group.label)
        wanted = f"the next {len(examples)} examples of {len(configs)} configs would take about "
        if calls > max(0.0, left.calls):
            raise BudgetExhausted(
                f"{wanted}{calls:.0f} calls, and {max(0, left.calls):.0f} are left for the search"
            )
        if usd > max(0.0, left.usd):
            raise BudgetExhausted(
                f"{wanted}${usd:.4f}, and ${max(0.0, left.usd):.4f} are left for the search"
            )

    def has_room(self, configs: Sequence[PipelineConfig], examples: Sequence[int]) -> bool:
        """Whether the nominal budget reaches for these."""
        try:
            self.check(configs, examples)
        except BudgetExhausted:
            return False
        return True

    def check_calls(self, calls: int) -> None:
        """Stop before so many calls that the nominal budget has no room for them.

        Raises:
            BudgetExhausted: it has none.
        """
        left = self.evaluator.session.nominal_left()
        if calls > max(0.0, left.calls):
            raise BudgetExhausted(f"{calls} calls come next, but {left.calls:.0f} are left")

    def calls(self, configs: Sequence[PipelineConfig], examples: Sequence[int]) -> int:
        """At most so many new calls it takes to run these, and to judge their answers."""
        return sum(self._groups(configs, examples).values()) + self._verdicts(configs, examples)

    def call_groups(self, config: PipelineConfig) -> frozenset[CallGroup]:
        """The calls that a config makes on an example, at most."""
        return call_groups(self._of(config))

    def _groups(
        self, configs: Sequence[PipelineConfig], examples: Sequence[int]
    ) -> dict[CallGroup, int]:
        raced = self.raced()
        known = {c.key: self.evaluator.known(c).outcomes.keys() for c in [*raced, *configs]}
        done = [(self._of(c), known[c.key]) for c in raced]
        coming = [(self._of(c), set(examples) - known[c.key]) for c in configs]
        return calls_ahead(done, coming)

    def _verdicts(self, configs: Sequence[PipelineConfig], examples: Sequence[int]) -> int:
        """At most so many calls to a judge: every answer may be one that it has not seen yet."""
        known = (self.evaluator.known(config).outcomes.keys() for config in configs)
        return self.evaluator.metric.calls * sum(len(set(examples) - seen) for seen in known)

    def _usd_per_verdict(self) -> float:
        """As those so far cost on average."""
        judged = self.evaluator.session.nominal.by_purpose.get("judge")
        return judged.usd / judged.calls if judged and judged.calls else 0.0

    def _of(self, config: PipelineConfig) -> list[ModuleCalls]:
        times = self.evaluator.times()
        key = config.key, tuple(times.items())
        if key not in self._calls:
            bound = self.evaluator.program(config).bound
            self._calls[key] = module_calls(self.evaluator.pipeline, bound, times)
        return self._calls[key]

    def _usd_per_call(self, label: str) -> float:
        """As measured with the model alone in all modules; else as the baseline's calls cost."""
        for config in (self.singles.get(label), self.baseline):
            known = self.evaluator.known(config) if config else None
            if known is not None and known.outcomes:
                return known.usd_per_example / max(1.0, known.calls_per_example)
        return 0.0
