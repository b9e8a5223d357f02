"""What each part of a search will take.

Where a stage stops by what it finds, the range comes from searches of simulated models, whose
figures `python -m benchmarks estimates` compares with what was then spent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from optimizer.estimates.call_prices import CallPrices
from optimizer.estimates.span import NOTHING, Span, exactly, total
from optimizer.search.preflight.baseline import PRICED_EXAMPLES
from optimizer.search.strategies.posterior_search import RATED
from optimizer.setup.plan import Plan
from optimizer.setup.stage import Stage
from optimizer.stages.prompts.stage import EXAMPLES as PROMPT_EXAMPLES
from optimizer.stages.prompts.stage import RUNS as PROMPT_RUNS

EXPLORED = Span(2.5, 5.5, 18.0)
"""Runs of each further model of a module, before one combination is run on all examples."""
FINISHED = Span(0.0, 1.0, 2.5)
"""Combinations of models that are run on all examples; of more than two modules, as many times
half of them."""
ROUNDS_OF_RATING = Span(0.5, 1.0, 3.0)
"""How often the diagnoser rates each module on a few examples."""
STRUCTURE_CALLS = Span(2.0, 13.0, 60.0)
"""Calls for each search example, whatever the number of modules."""
TUNED_MODULES = Span(0.0, 1.0, 5.0)
"""How many modules have one optimizer after the other write prompts."""
PROMPT_OPTIMIZERS = 2
"""Those of "auto" that make new runs."""
PROMPT_RACES = 1.5
"""Passes over the search examples by which the prompts of a module are compared."""
WRITING_CALLS = Span(10.0, 30.0, 90.0)
"""Calls of the model that writes prompts, for each module."""
BLAMED = 12
"""Failed examples on which the diagnoser looks for the module at fault."""
WIDER = Span(1.0, 1.2, 3.0)
"""How much more a run takes once the structure was tuned."""


@dataclass(frozen=True)
class StageEstimate:
    """One part of a search."""

    stage: str
    """`judge`, `baseline`, `single-model`, the name of a stage, or `holdout`."""
    calls: Span
    usd: Span
    seconds: Span
    basis: str
    """What the figures rest on, in words."""


@dataclass(frozen=True)
class Pace:
    """How fast calls are made."""

    call_s: Span
    """Seconds that one call takes."""
    in_flight: int
    """Calls at once, at most."""

    def seconds(self, calls: Span, batch: float) -> Span:
        """The time that so many calls take, in batches of about this many."""
        at_once = max(1.0, min(self.in_flight, batch))
        return calls.times(self.call_s).scaled(1 / at_once)


def stage_estimates(plan: Plan, prices: CallPrices, pace: Pace) -> Iterator[StageEstimate]:
    """The parts of a search, in their order."""

    def made(stage: str, calls: Span, usd: Span, batch: float, basis: str) -> StageEstimate:
        return StageEstimate(stage, calls, usd, pace.seconds(calls, batch), basis)

    n, h = len(plan.search), len(plan.holdout)
    per_run = prices.calls
    if labels := plan.metric.human_labels * plan.metric.calls:
        calls = exactly(float(labels))
        usd = prices.judged.scaled(plan.metric.human_labels)
        yield made("judge", calls, usd, labels, "every human label once")
    yield made(
        "baseline", per_run.scaled(n), prices.given.scaled(n), n, f"{n} search examples, once"
    )
    singles = [label for label in plan.space.single_models() if _is_new(plan, label)]
    few = min(PRICED_EXAMPLES, n)
    if plan.space.single_models():
        usd = total(prices.single(label) for label in singles).scaled(few)
        calls = per_run.scaled(few * len(singles))
        yield made(
            "single-model", calls, usd, few * len(singles),
            f"{len(singles)} further models on {few} examples",
        )  # fmt: skip
    for stage in plan.stages:
        calls, usd, basis = STAGES.get(stage.name, _unknown)(plan, prices, stage)
        yield made(stage.name, calls, usd, n / 2, basis)
    if h:
        yield _holdout(plan, prices, made)


def _allocation(plan: Plan, prices: CallPrices, stage: Stage) -> tuple[Span, Span, str]:
    """Ratings of modules, a few runs of each choice, and the best combinations on all examples."""
    n, per_run = len(plan.search), prices.calls
    further = sum(len(labels) - 1 for labels in plan.space.models.values())
    if not further:
        return NOTHING, NOTHING, "there is one model to choose from"
    modules = sum(len(labels) > 1 for labels in plan.space.models.values())
    asking = len(plan.pipeline.llm_modules)
    share = per_run.scaled((asking + 1) / 2 / asking)  # what comes before the module is shared
    explored = share.times(EXPLORED).scaled(further)
    explored = Span(*(min(calls, further * n * per_run.high) for calls in explored))
    finished = per_run.times(FINISHED).scaled(n * max(1.0, asking / 2))
    calls = explored.plus(finished)
    usd = explored.times(_per_call(prices, prices.explored))
    usd = usd.plus(finished.times(_per_call(prices, prices.chosen)))
    if plan.diagnoser is not None:
        asked = ROUNDS_OF_RATING.scaled(RATED * modules)
        calls, usd = calls.plus(asked), usd.plus(asked.times(prices.diagnosis))
    strategy = getattr(stage, "strategy", "default")
    basis = "stops when further runs are expected to gain too little"
    if strategy != "default":
        most = per_run.high * n * plan.space.size
        calls = Span(calls.low, calls.typical, max(calls.high, most))
        usd = Span(
            usd.low, usd.typical, max(usd.high, most * _per_call(prices, prices.explored).high)
        )
        basis = f"strategy {strategy}: at most every combination on all examples"
    return calls, usd, basis


def _structure(plan: Plan, prices: CallPrices, stage: Stage) -> tuple[Span, Span, str]:
    """Networks of the modules, in batches until one finds nothing better."""
    n, space = len(plan.search), plan.space
    asked = 0.0
    for module in space.models:
        settings = math.prod(
            max(1, len(space.of(knob, module)))
            for knob in ("temperature", "reasoning_effort", "reply_format")
        )
        widest = max(space.of("width", module), default=1)
        consulted = 2 if space.of("aggregator", module) and widest > 1 else 1
        asked += settings * widest * consulted + len(space.of("network", module)) - 1
    functions = sum(len(each) for each in space.params.values())
    most = asked + functions * prices.calls.typical * 3
    calls = Span(*(n * min(most, times) for times in STRUCTURE_CALLS))
    basis = "stops when a batch of proposals brings nothing better"
    usd = calls.times(_per_call(prices, prices.chosen))
    return calls, usd, basis if most else "nothing to vary"


def _prompts(plan: Plan, prices: CallPrices, stage: Stage) -> tuple[Span, Span, str]:
    """DSPy's optimizers for the modules at fault, and races of what they write."""
    n = len(plan.search)
    tunable = sum("instructions" in module.knobs for module in plan.pipeline.llm_modules)
    if not tunable:
        return NOTHING, NOTHING, "the program's own code writes its prompts"
    own = getattr(stage, "optimizer", "auto")
    optimizers = PROMPT_OPTIMIZERS if own == "auto" else int(own != "bootstrap")
    runs = optimizers * PROMPT_RUNS * min(1.0, n / 2 / PROMPT_EXAMPLES) + PROMPT_RACES * n
    modules = Span(0.0, min(tunable, TUNED_MODULES.typical), min(tunable, 2) * TUNED_MODULES.high)
    calls = prices.calls.times(modules).scaled(runs)
    usd = calls.times(_per_call(prices, prices.chosen))
    written = modules.times(WRITING_CALLS).scaled(optimizers / PROMPT_OPTIMIZERS)
    if plan.diagnoser is not None:
        failed = min(BLAMED, n // 2)
        written = written.plus(Span(0.0, 1.0, 3.0).scaled(failed * tunable))
    calls, usd = calls.plus(written), usd.plus(written.times(prices.writing))
    return calls, usd, "nothing where all examples are solved; else until no prompt helps"


def _unknown(plan: Plan, prices: CallPrices, stage: Stage) -> tuple[Span, Span, str]:
    return NOTHING, NOTHING, "not known: a stage of your own"


STAGES: Mapping[str, Callable[[Plan, CallPrices, Stage], tuple[Span, Span, str]]] = {
    "allocation": _allocation,
    "structure": _structure,
    "prompts": _prompts,
}


def _holdout(
    plan: Plan, prices: CallPrices, made: Callable[[str, Span, Span, float, str], StageEstimate]
) -> StageEstimate:
    """The baseline; what is tuned, perhaps wider; and the best single model, if it is another."""
    h, per_run = len(plan.holdout), prices.calls
    tuned = exactly(0.0)
    if plan.may_change:
        wider = WIDER if any(stage.name == "structure" for stage in plan.stages) else exactly(1.0)
        tuned = wider.plus(Span(-wider.low, 0.0, 0.0))
        choices = len(plan.space.single_models())
        if choices > 1:
            tuned = tuned.plus(Span(0.0, 1 - 1 / choices, 1.0))
    calls = per_run.scaled(h).plus(per_run.times(tuned).scaled(h))
    usd = prices.given.scaled(h).plus(prices.chosen.times(tuned).scaled(h))
    passes = "baseline, tuned and best single model" if plan.may_change else "the baseline"
    return made("holdout", calls, usd, 2 * h, f"{h} held-out examples: {passes}")


def _per_call(prices: CallPrices, run: Span) -> Span:
    """Dollars of a call of any module, from those of a run."""
    return run.scaled(1 / prices.calls.typical)


def _is_new(plan: Plan, label: str) -> bool:
    """Whether it is not what the baseline has in all modules already."""
    return plan.baseline.single_model != label
