"""Finds the module that first went wrong, by the diagnoser's ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from optimizer.search.state import SearchState, judged
from pipelines import ModuleStep

EXAMPLES = 12
"""Most examples to diagnose, of those on which the incumbent scores below 1."""
WRONG = 0.5
"""Outputs rated below this are wrong."""


@dataclass
class Blame:
    """One module's share of the faults on examples that the pipeline fails."""

    module: str
    """Its name, or the path of an aggregator's role, such as `solve.judge`."""
    share: float = 0.0
    """The share of the failed examples on which it was the first module to go wrong."""
    reasons: dict[int, str] = field(default_factory=dict)
    """What it did wrong, by example, in the diagnoser's words."""


def blamed_modules(state: SearchState, examples: Sequence[int]) -> list[Blame]:
    """The modules that the diagnoser blames, most blamed first; without a diagnoser, all of them.

    Empty if the incumbent scores 1 everywhere. Of the examples, those with the lowest scores are
    diagnosed.

    Raises:
        BudgetExhausted: the diagnoses can't be paid.
    """
    modules = state.evaluator.pipeline.llm_modules
    names = [module.name for module in modules]
    with_prompts = [module.name for module in modules if "instructions" in module.knobs]
    failed = _failed(state, examples)
    if not failed or not with_prompts:
        return []
    if state.diagnoser is None:
        return _with_roles(state, [Blame(name, share=1.0) for name in with_prompts])
    times = state.evaluator.times()
    state.forecast.check_calls(len(failed) * sum(times.get(name, 1) for name in names))
    found = state.evaluator.map(lambda index: _first_wrong(state, names, index), failed)
    blames = {name: Blame(name) for name in names}
    for index, wrong in zip(failed, found, strict=True):
        if wrong is not None:
            name, reason = wrong
            blames[name].share += 1 / len(failed)
            blames[name].reasons[index] = reason
    blamed = [blames[name] for name in with_prompts if blames[name].share]
    return _with_roles(state, sorted(blamed, key=lambda blame: -blame.share))


def _with_roles(state: SearchState, blamed: Sequence[Blame]) -> list[Blame]:
    """Each module, and then what its aggregator asks, such as a judge: either may be at fault."""
    if not state.evaluator.pipeline.is_fixed:
        return list(blamed)
    return [
        replace(blame, module=path)
        for blame in blamed
        for path, _ in state.incumbent.modules[blame.module].walk(blame.module)
    ]


def _failed(state: SearchState, examples: Sequence[int]) -> list[int]:
    """The examples with the incumbent's lowest scores below 1, without outages."""
    known = state.evaluator.known(state.incumbent).outcomes
    scores = {i: known[i].score for i in examples if i in known and not known[i].outage}
    failed = [(score, i) for i, score in scores.items() if score is not None and score < 1]
    return [i for _, i in sorted(failed, key=lambda pair: pair[0])][:EXAMPLES]


def _first_wrong(state: SearchState, names: Sequence[str], index: int) -> tuple[str, str] | None:
    """The first module whose output is rated wrong, and the reason; else the worst, if any is."""
    worst, blamed = 1.0, None
    for step in state.evaluator.trace(state.incumbent, index).steps:
        if step.module in names:
            rating, reason = _rated(state, step, index)
            if rating < worst:
                worst, blamed = rating, (step.module, reason)
            if rating < WRONG:
                break
    return blamed


def _rated(state: SearchState, step: ModuleStep, index: int) -> tuple[float, str]:
    """The rating in [0, 1] of what a module returned, and the reason; 1 if nothing is known."""
    if step.failure is not None:
        return 0.0, step.failure.message
    assert state.diagnoser is not None
    diagnosis = state.diagnoser.diagnose(
        step.module, step.inputs, [judged(step)], state.desired(index)
    )
    return (1.0, "") if diagnosis is None else (diagnosis.ratings[0], diagnosis.reason)
