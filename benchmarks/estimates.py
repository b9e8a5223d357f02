"""Estimates of calls and dollars, stage by stage, beside what the searches then took."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.searching import Bench
from benchmarks.worlds import MODELS, chain_modules, simulated_dataset
from optimizer.estimates.estimate import Estimate, estimate
from optimizer.estimates.span import Span
from optimizer.loop import begin, search, start_search
from optimizer.results.conclusion import conclude
from optimizer.search.records.trial import Trial
from optimizer.search.state import SearchState
from optimizer.setup.stage import Stage
from optimizer.stages.resolver import resolve_stages
from pipelines import Module, Pipeline
from pipelines.gateway.budget import Budget, Spend
from pipelines.gateway.gateway import Gateway
from pipelines.patterns import locate_solve

Taken = dict[str, tuple[int, float]]
"""Calls and dollars by stage, and `in all`."""
FACTOR = 1.5
FIRST = "sim/hazel"
EVERY = [FIRST, *(f"sim/{model.name}" for model in MODELS if f"sim/{model.name}" != FIRST)]
ALL_STAGES = ("allocation", "structure", "prompts")


@dataclass(frozen=True)
class Case:
    """One search."""

    name: str
    pipeline: Callable[[], Pipeline]
    family: str
    examples: int
    models: Sequence[str]
    stages: Sequence[str]
    budget: Budget | None = None
    diagnoser: str | None = "auto"
    length: int = 0


class Metered:
    """A stage, and what its calls add up to."""

    def __init__(self, stage: Stage, taken: Taken) -> None:
        self.stage, self.taken, self.name = stage, taken, stage.name

    def improve(self, state: SearchState) -> None:
        before = state.evaluator.session.nominal
        try:
            self.stage.improve(state)
        finally:
            add(self.taken, self.name, before, state.evaluator.session.nominal)


def add(taken: Taken, name: str, before: Spend, after: Spend) -> None:
    calls, usd = taken.get(name, (0, 0.0))
    taken[name] = calls + after.calls - before.calls, usd + after.usd - before.usd


def solve_alone() -> Pipeline:
    return Pipeline("solve", [Module("solve", "question -> answer")])


def chain(length: int) -> Pipeline:
    modules = [
        Module(step["name"], step["signature"], instructions=step["instructions"])
        for step in chain_modules(length)
    ]
    return Pipeline("chain", modules)


def cases() -> list[Case]:
    """Different sizes, models, stages and budgets."""
    models, networks = ("allocation",), ("allocation", "structure")
    locate = ("locate-solve", locate_solve, "locate_solve")
    solve = ("solve", solve_alone, "arithmetic")
    return [
        Case(*locate, 40, EVERY[:3], models),
        Case(*locate, 120, EVERY[:5], models),
        Case(*locate, 120, EVERY, models),
        Case(*locate, 250, EVERY[:6], models),
        Case(*locate, 120, EVERY[:4], models, diagnoser=None),
        Case("chain-3", lambda: chain(3), "chain", 80, EVERY[:4], models, length=3),
        Case("chain-5", lambda: chain(5), "chain", 100, EVERY[:5], models, length=5),
        Case(*locate, 120, EVERY, ALL_STAGES, Budget(calls=1000)),
        Case(*locate, 120, EVERY[:3], ALL_STAGES, Budget(calls=1500)),
        Case(*locate, 80, EVERY, ALL_STAGES, Budget(usd=0.5)),
        Case(*locate, 60, EVERY[:3], networks),
        Case(*locate, 120, EVERY[:5], networks),
        Case("chain-3", lambda: chain(3), "chain", 60, EVERY[:4], networks, length=3),
        Case(*solve, 100, EVERY[:4], ALL_STAGES),
        Case(*locate, 60, EVERY[:2], ALL_STAGES),
        Case(*locate, 120, EVERY[-3:], ALL_STAGES),
        Case("chain-2", lambda: chain(2), "chain", 60, EVERY[-4:], ALL_STAGES, length=2),
    ]


def measured(case: Case, seed: int) -> tuple[Estimate, Taken]:
    """The estimate, and what the search took then."""
    taken: Taken = {}
    options: dict[str, Any] = {"length": case.length} if case.length else {}
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(folder)
        bench = Bench(
            case.pipeline(), simulated_dataset(case.family, case.examples, seed, **options),
            case.models, gateway, diagnoser=case.diagnoser, holdout=0.3, seed=seed,
            stages=[Metered(stage, taken) for stage in resolve_stages(list(case.stages))],
        )  # fmt: skip
        plan = bench.plan()
        estimated = estimate(plan, case.budget, bench.concurrency)
        session = gateway.session("ours", case.budget)
        state = start_search(plan, session, bench.concurrency)
        marks = {"": Spend()}

        def on_trial(trial: Trial) -> None:
            if trial.turn == 0:
                marks[trial.stage] = session.nominal

        state.on_trial = on_trial
        begin(state)
        stopped = search(state, plan)
        for (_, before), (name, after) in zip(marks.items(), list(marks.items())[1:], strict=False):
            add(taken, name, before, after)
        before = session.nominal
        conclude(plan, state, stopped)
        add(taken, "holdout", before, session.nominal)
        add(taken, "in all", Spend(), session.nominal)
        gateway.close()
    return estimated, taken


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    judged: dict[str, list[tuple[bool, bool, bool, bool]]] = {}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for case in cases():
            estimated, taken = measured(case, seed)
            budget = "" if case.budget is None else f", {case.budget}"
            print(f"{case.name}, seed {seed}, {case.examples} examples, {len(case.models)} models, "
                  f"{'+'.join(case.stages)}{budget}", flush=True)  # fmt: skip
            rows = [(stage.stage, stage.calls, stage.usd) for stage in estimated.stages]
            for name, calls, usd in [*rows, ("in all", estimated.calls, estimated.usd)]:
                spent, paid = taken.get(name, (0, 0.0))
                print(f"  {name:13} {spent:6,} calls, about {calls.typical:6,.0f} "
                      f"({calls.low:,.0f} to {calls.high:,.0f});  ${paid:.4f}, about "
                      f"${usd.typical:.4f} (${usd.low:.4f} to ${usd.high:.4f})")  # fmt: skip
                hits = near(spent, calls), within(spent, calls), near(paid, usd), within(paid, usd)
                kind = name if name != "in all" else f"in all, {scope(case)}"
                judged.setdefault(kind, []).append(hits)
    print(f"\n{'':28}{'searches':>9} | calls: within {FACTOR}x, in the range | dollars: the same")
    for name, each in judged.items():
        shares = [sum(column) / len(each) for column in zip(*each, strict=True)]
        print(f"{name:28}{len(each):9} | " + " | ".join(f"{share:6.0%}" for share in shares))


def scope(case: Case) -> str:
    """What the totals of searches are grouped by."""
    return "with a cap" if case.budget else "+".join(case.stages)


def near(value: float, span: Span) -> bool:
    if value == span.typical:
        return True
    return value > 0 and span.typical > 0 and 1 / FACTOR <= value / span.typical <= FACTOR


def within(value: float, span: Span) -> bool:
    return 0.99 * span.low <= value <= 1.01 * span.high


if __name__ == "__main__":
    main()
