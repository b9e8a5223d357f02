"""What the next step will cost, and whether the budget has room for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from evaluators.evaluator import Evaluator
from evaluators.outcome import Evaluation, Outcome
from optimizer.formatting import counted
from optimizer.search.budget.call_groups import CallGroup, CallPlanner, ModuleCalls
from optimizer.search.budget.made_calls import MadeCalls, example_set
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.session import Left
from search_spaces import PipelineConfig

Runs: TypeAlias = Sequence[tuple[PipelineConfig, int]]
"""Pairs of a config and an example's index."""
NOTHING = Left(0.0, 0.0)


@dataclass
class Forecast:
    """The calls that runs will take, those that they share with others counted once."""

    evaluator: Evaluator
    baseline: PipelineConfig
    singles: Mapping[str, PipelineConfig]
    """By label, the configs with that model in all modules."""
    withheld: Left = NOTHING
    """Kept for later stages."""
    _made: MadeCalls = field(init=False)
    _known: dict[str, int] = field(default_factory=dict)
    """By config key, the examples that it was run on, as `example_set`."""
    _noted: int = 0
    """How much of the evaluator's history is counted in these two."""
    _planners: dict[tuple[int, ...], CallPlanner] = field(default_factory=dict)
    """By how often each module is asked."""
    _calls: dict[tuple[str, tuple[int, ...]], list[ModuleCalls]] = field(default_factory=dict)
    """By config key, and how often each module is asked."""

    def __post_init__(self) -> None:
        self._made = MadeCalls(self.evaluator.pipeline)

    def left(self) -> Left:
        """What nominal spend leaves of the caps for the stage at work."""
        whole = self.evaluator.session.nominal_left()
        return Left(whole.usd - self.withheld.usd, whole.calls - self.withheld.calls)

    @contextmanager
    def withholding(self, share: float) -> Iterator[None]:
        """Keep a share of what is left for later stages, until the block ends."""
        usd, calls = (share * max(0.0, cap) if math.isfinite(cap) else 0.0 for cap in self.left())
        self.withheld = Left(usd, calls)
        try:
            yield
        finally:
            self.withheld = NOTHING

    def check(self, runs: Runs) -> None:
        """Stop before runs that the nominal budget has no room for, or when its seconds are over.

        Nominal spend does not depend on what the cache held, so that a run started again stops
        at the same place; the gateway guards the real spend call by call.

        Raises:
            BudgetExhausted: the runs can't be paid; says what they would take.
        """
        self.evaluator.session.check_running()
        left = self.left()
        if math.isinf(left.calls) and math.isinf(left.usd):
            return
        calls, usd = self.cost(runs)
        examples, configs = len({index for _, index in runs}), len({c.key for c, _ in runs})
        rows = counted(examples, "example")
        wanted = f"the next {rows} of {counted(configs, 'config')} would take about "
        if calls > max(0.0, left.calls):
            raise BudgetExhausted(f"{wanted}{calls:.0f} calls, and {self._left('calls')}")
        if usd > max(0.0, left.usd):
            raise BudgetExhausted(f"{wanted}${usd:.4f}, and {self._left('usd')}")

    def check_calls(self, calls: int) -> None:
        """Stop before calls that the nominal budget has no room for.

        Raises:
            BudgetExhausted: it has none.
        """
        left = self.left()
        if calls > max(0.0, left.calls):
            raise BudgetExhausted(
                f"{counted(calls, 'call')} would come next, and {self._left('calls')}"
            )

    def calls_left(self) -> float:
        """How many more calls the nominal budget has room for, dollars at the mean price so far."""
        left = self.left()
        return max(0.0, min(left.calls, self._calls_for(left.usd)))

    def what_is_left(self) -> str:
        """What is left of the cap that ends first, in words."""
        left = self.left()
        return self._left("usd" if self._calls_for(left.usd) < left.calls else "calls")

    def _calls_for(self, usd: float) -> float:
        nominal = self.evaluator.session.nominal
        return usd * nominal.calls / nominal.usd if nominal.usd > 0 else math.inf

    def _left(self, cap: Literal["usd", "calls"]) -> str:
        session = self.evaluator.session
        whole, spent = getattr(session.budget, cap), getattr(session.nominal, cap)
        left = max(0, getattr(self.left(), cap))
        kept = max(0, whole - spent - left)
        for_what = "the holdout and later stages" if any(self.withheld) else "the holdout"
        if cap == "usd":
            left_text, kept_text = f"${left:.4f} of ${whole:g}", f"${kept:.4f}"
        else:
            left_text, kept_text = f"{left:.0f} of {whole} calls", f"{kept:.0f}"
        return f"{left_text} are left for the search, besides {kept_text} for {for_what}"

    def cost(self, runs: Runs) -> tuple[int, float]:
        """The most new calls that it takes to run and judge these, and their estimated cost.

        Repeated calls, after replies that can't be read, are as frequent as so far.
        """
        coming = self._coming(runs)
        # every answer may be one that the judge has not seen yet
        calls = self.evaluator.metric.calls * sum(bits.bit_count() for _, bits in coming)
        judged = self.evaluator.session.nominal.by_purpose.get("judge")
        usd = calls * judged.usd / judged.calls if judged else 0.0
        prices: dict[str, float] = {}
        again = 0.0
        for group, ahead in self._made.ahead(coming).items():
            if group.label not in prices:
                prices[group.label] = self._usd_per_call(group.label)
            calls += ahead
            again += ahead * (self._measured(group.label).calls_per_first_call - 1.0)
            usd += ahead * prices[group.label]
        return calls + math.ceil(again - 1e-9), usd

    def usd_per_run(self, config: PipelineConfig) -> float:
        """The cost of one run, estimated by the cost of calls to the same models so far."""
        return sum(self._usd_per_call(group.label) for group in self.call_groups(config))

    def are_free(self, config: PipelineConfig, indices: Iterable[int]) -> bool:
        """Whether it is certain that runs on these examples make no new call, a judge's included.

        Where the metric asks a judge, only a run that is known is free, since the verdict depends
        on the answer; the same holds for a program whose own code decides how often it asks.
        """
        self._catch_up()
        free = self._needless(config)
        if self.evaluator.pipeline.is_fixed and not self.evaluator.metric.judging:
            free |= self._made.free(self._of(config, {}))
        return not example_set(indices) & ~free

    def call_groups(self, config: PipelineConfig) -> frozenset[CallGroup]:
        """The calls that a config makes on an example, at most."""
        calls = self._of(config, self.evaluator.times())
        return frozenset().union(*(module.most for module in calls))

    def _needless(self, config: PipelineConfig) -> int:
        """The examples that the evaluator would not run the config on."""
        shown = self.evaluator.shown_in(config)
        return self._known.get(config.key, 0) | example_set(shown)

    def _coming(self, runs: Runs) -> list[tuple[list[ModuleCalls], int]]:
        """For each config, its calls and the examples that it still has to run on."""
        self._catch_up()
        times = self.evaluator.times()
        examples: dict[str, list[int]] = {}
        configs = {config.key: config for config, _ in runs}
        for config, index in runs:
            examples.setdefault(config.key, []).append(index)
        return [
            (self._of(config, times), example_set(examples[key]) & ~self._needless(config))
            for key, config in configs.items()
        ]

    def _catch_up(self) -> None:
        """Count what was run since the last time."""
        history = self.evaluator.history[self._noted :]
        self._noted += len(history)
        times = self.evaluator.times() if history else {}
        configs = {run.config.key: run.config for run in history}
        outcomes: dict[str, dict[int, Outcome]] = {key: {} for key in configs}
        for run in history:
            outcomes[run.config.key][run.example] = run.outcome
        for key, config in configs.items():
            self._known[key] = self._known.get(key, 0) | example_set(outcomes[key])
            self._made.note(self._of(config, times), outcomes[key])

    def _of(self, config: PipelineConfig, times: Mapping[str, int]) -> list[ModuleCalls]:
        asked = tuple(times.values())
        key = config.key, asked
        if key not in self._calls:
            if asked not in self._planners:
                self._planners[asked] = CallPlanner(self.evaluator.pipeline, times)
            self._calls[key] = self._planners[asked].module_calls(self.evaluator.bound(config))
        return self._calls[key]

    def _usd_per_call(self, label: str) -> float:
        known = self._measured(label)
        if not known.outcomes:
            return 0.0
        first_calls = known.calls_per_example / known.calls_per_first_call
        return known.usd_per_example / max(1.0, first_calls)

    def _measured(self, label: str) -> Evaluation:
        """What is known of the model alone in all modules; else of the baseline."""
        known = self.evaluator.known
        alone = known(self.singles.get(label, self.baseline))
        return alone if alone.outcomes else known(self.baseline)
