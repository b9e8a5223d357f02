"""What each part of a search will take.

Where a stage stops by what it finds, the range comes from searches of simulated models;
`python -m benchmarks estimates` compares it with what was then spent.
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
from optimizer.stages.prompts.blame import EXAMPLES as BLAMED
from optimizer.stages.prompts.stage import EXAMPLES as PROMPT_EXAMPLES
from optimizer.stages.prompts.stage import RUNS as PROMPT_RUNS

CALL_S = Span(0.7, 2.0, 8.0)
"""Seconds that a call to a hosted model takes."""
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
"""For how many modules all optimizers write prompts."""
PROMPT_OPTIMIZERS = 2
"""How many optimizers of "auto" make new runs."""
PROMPT_RACES = 1.5
"""Passes over the search examples by which the prompts of a module are compared."""
WRITING_CALLS = Span(10.0, 30.0, 90.0)
"""Calls of the model that writes prompts, for each module."""
WIDER = Span(1.0, 1.2, 3.0)
"""How many times the calls a run takes once the structure was tuned."""
UNKNOWN = NOTHING, NOTHING, "not known: a stage of your own"


@dataclass(frozen=True)
class StageEstimate:
    """One part of a search."""

    stage: str
    """`judge`, `baseline`, `single-model`, the name of a stage, or `holdout`."""
    calls: Span
    usd: Span
    seconds: Span
    basis: str
    """What the figures rest on."""


def stage_estimates(plan: Plan, prices: CallPrices, concurrency: int) -> Iterator[StageEstimate]:
    """The parts of a search, in order, with at most `concurrency` calls at once."""

    def made(stage: str, calls: Span, usd: Span, batch: float, basis: str) -> StageEstimate:
        at_once = max(1.0, min(concurrency, batch))
        return StageEstimate(stage, calls, usd, calls * CALL_S * (1 / at_once), basis)

    n, h, per_run = len(plan.search), len(plan.holdout), prices.calls
    if labels := plan.metric.human_labels * plan.metric.calls:
        usd = prices.judged * plan.metric.human_labels
        yield made("judge", exactly(float(labels)), usd, labels, "every human label once")
    yield made("baseline", per_run * n, prices.given * n, n, f"{n} search examples, once")
    if singles := plan.space.single_models():
        further = [label for label in singles if plan.baseline.single_model != label]
        few = min(PRICED_EXAMPLES, n)
        usd, batch = total(map(prices.single, further)) * few, few * len(further)
        basis = f"{len(further)} further models on {few} examples"
        yield made("single-model", per_run * batch, usd, batch, basis)
    for stage in plan.stages:
        of = STAGES.get(stage.name)
        calls, usd, basis = of(plan, prices, stage) if of else UNKNOWN
        yield made(stage.name, calls, usd, n / 2, basis)
    if h:
        runs = _tuned_runs(plan)
        calls, usd = per_run * h + per_run * runs * h, prices.given * h + prices.chosen * runs * h
        passes = "baseline, tuned and best single model" if plan.may_change else "the baseline"
        yield made("holdout", calls, usd, 2 * h, f"{h} held-out examples: {passes}")


def _allocation(plan: Plan, prices: CallPrices, stage: Stage) -> tuple[Span, Span, str]:
    """Ratings of modules, a few runs of each choice, and the best combinations on all examples."""
    n, per_run = len(plan.search), prices.calls
    further = sum(len(labels) - 1 for labels in plan.space.models.values())
    if not further:
        return NOTHING, NOTHING, "there is one model to choose from"
    modules = sum(len(labels) > 1 for labels in plan.space.models.values())
    asking = len(plan.pipeline.llm_modules)
    share = per_run * ((asking + 1) / 2 / asking)  # what comes before the module is shared
    explored = share * EXPLORED * further
    explored = Span(*(min(calls, further * n * per_run.high) for calls in explored))
    finished = per_run * FINISHED * (n * max(1.0, asking / 2))
    explored_usd = _per_call(prices, prices.explored)
    calls = explored + finished
    usd = explored * explored_usd + finished * _per_call(prices, prices.chosen)
    if plan.diagnoser is not None:
        asked = ROUNDS_OF_RATING * (RATED * modules)
        calls, usd = calls + asked, usd + asked * prices.diagnosis
    strategy = getattr(stage, "strategy", "default")
    if strategy == "default":
        return calls, usd, "stops when further runs are expected to gain too little"
    most = per_run.high * n * plan.space.size
    calls = calls._replace(high=max(calls.high, most))
    usd = usd._replace(high=max(usd.high, most * explored_usd.high))
    return calls, usd, f"strategy {strategy}: at most every combination on all examples"


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
    usd = calls * _per_call(prices, prices.chosen)
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
    calls = prices.calls * modules * runs
    usd = calls * _per_call(prices, prices.chosen)
    written = modules * WRITING_CALLS * (optimizers / PROMPT_OPTIMIZERS)
    if plan.diagnoser is not None:
        failed = min(BLAMED, n // 2)
        written = written + Span(0.0, 1.0, 3.0) * (failed * tunable)
    calls, usd = calls + written, usd + written * prices.writing
    return calls, usd, "nothing where all examples are solved; else until no prompt helps"


STAGES: Mapping[str, Callable[[Plan, CallPrices, Stage], tuple[Span, Span, str]]] = {
    "allocation": _allocation,
    "structure": _structure,
    "prompts": _prompts,
}


def _tuned_runs(plan: Plan) -> Span:
    """Runs for each held-out example besides the baseline: what is tuned, perhaps wider, and the
    best single model, if it is another."""
    if not plan.may_change:
        return NOTHING
    wider = WIDER if any(stage.name == "structure" for stage in plan.stages) else exactly(1.0)
    tuned = wider._replace(low=0.0)
    choices = len(plan.space.single_models())
    return tuned + Span(0.0, 1 - 1 / choices, 1.0) if choices > 1 else tuned


def _per_call(prices: CallPrices, run: Span) -> Span:
    """Dollars of a call of any module, from those of a run."""
    return run * (1 / prices.calls.typical)
