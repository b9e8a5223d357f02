"""Routes that need no new call: rates learned from the answers that members gave by themselves.

What a route would answer, and cost, is known from these answers without running it. Rates that are
scored on the examples that they were learned from look too good, so each kind of route is scored by
cross-fitting: rates learned on four fifths of the examples are applied to the last one, five times.
Only the best kind goes on, if it is better than what leads; its rates are learned on all examples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from evaluators.objective import MOST_SLOW, Costs
from evaluators.outcome import Outcome
from evaluators.racing.posterior import Floats
from optimizer.search.leading.earning import SURE, paired_probability
from optimizer.search.leading.preference import Preference
from optimizer.search.state import SearchState
from optimizer.stages.structure.knobs import Knobs
from optimizer.stages.structure.paid_networks import PAID_SHARES, Pool, network, pools, ranked
from optimizer.stages.structure.predictions import FEWEST_EXAMPLES
from pipelines import Module
from pipelines.aggregators import Answer, Route
from pipelines.aggregators.normalising import normalised
from pipelines.modules.signature import REASONING
from search_spaces import AggregatorConfig, MemberConfig, ModuleConfig, PipelineConfig
from search_spaces.config import canonical_json

FOLDS = 5
MOST_VALUES = 20
"""A field with more distinct values does not tell inputs apart."""
EXAMPLES_PER_VALUE = 10
"""The fewest examples per value of a field, on average."""
SHRINKAGE = 20.0
"""A member's rate on all examples counts as this many examples of each value."""
THRESHOLDS = (0.0, 0.5, 0.7, 0.85)
"""Probabilities at which an answer is taken."""
PRICE_HANDICAP = 0.05
"""Where costs count: what the mean price costs a member, in points of its rate."""
MOST_OPTIONS = 10
"""Of more different answers than this, rates say too little."""
MOST_ON_FRONT = 3
"""How many routes go on where a front is sought."""


@dataclass(frozen=True)
class Kind:
    """What a route has besides its rates."""

    width: int
    """How many of the members, the best first."""
    by: str | None
    until: float
    handicap: float
    """See `PRICE_HANDICAP`."""
    given: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Parameters that the search space sets."""


@dataclass(frozen=True)
class Run:
    """One member alone on one example."""

    score: float
    answer: Answer | None
    """None where the member failed."""
    own: tuple[float, float]
    """Dollars and seconds of the module."""
    whole: tuple[float, float]
    """Dollars and seconds of the pipeline."""


@dataclass(frozen=True)
class Answered:
    """What M members of one module did by themselves on N examples."""

    rest: ModuleConfig
    """The settings that are not members' own."""
    members: Sequence[MemberConfig]
    """The best first."""
    alone: Sequence[PipelineConfig]
    """M: the pipeline with each member by itself."""
    others: Sequence[PipelineConfig]
    """The same of members that answered fewer examples, as many as a route may have besides."""
    examples: Sequence[int]
    runs: Sequence[Sequence[Run]]
    """N x M."""
    inputs: Sequence[Mapping[str, str]]
    """N: the module's input fields, as `normalised` writes their values."""

    @property
    def fields(self) -> list[str]:
        """The input fields that tell inputs apart: few values, each on enough examples."""
        most = min(MOST_VALUES, len(self.examples) // EXAMPLES_PER_VALUE)
        values = {field: {each[field] for each in self.inputs} for field in self.inputs[0]}
        return [field for field, distinct in values.items() if 2 <= len(distinct) <= most]

    def learned(self, kind: Kind, places: Sequence[int]) -> Mapping[str, Any]:
        """The parameters of a route of this kind, its rates learned on these of the examples."""
        runs = [self.runs[place][: kind.width] for place in places]
        scores = np.array([[run.score for run in each] for each in runs])
        rates = scores.mean(axis=0)
        by_value = {}
        if kind.by is not None:
            values = np.array([self.inputs[place][kind.by] for place in places])
            for value in sorted(set(values) - {""}):
                own = scores[values == value]
                shrunk = (own.sum(axis=0) + SHRINKAGE * rates) / (len(own) + SHRINKAGE)
                by_value[str(value)] = _rounded(shrunk)
        usd = np.array([[run.own[0] for run in each] for each in runs]).mean(axis=0)
        handicaps = kind.handicap * usd / max(float(usd.mean()), 1e-12)
        ballots = {run.answer.ballot for each in runs for run in each if run.answer}
        params = {
            "until": kind.until,
            "options": min(MOST_OPTIONS, max(2, len(ballots))),
            "rates": _rounded(rates),
            **({"by": kind.by, "rates_by": by_value} if kind.by is not None else {}),
            **({"handicaps": _rounded(handicaps)} if kind.handicap else {}),
        }
        return {**params, **kind.given}

    def config(self, kind: Kind) -> ModuleConfig:
        """The module with a route of this kind, learned on all examples."""
        params = dict(self.learned(kind, range(len(self.examples))))
        route = AggregatorConfig(name="route", params=params)
        return network(self.rest, self.members[: kind.width], route)

    def cross_fitted(self, kind: Kind) -> Floats:
        """N x 3: score, dollars and seconds on each example, with rates learned on others."""
        places = range(len(self.examples))
        results = np.empty((len(places), 3))
        for fold in range(FOLDS):
            route = Route(**self.learned(kind, [p for p in places if p % FOLDS != fold]))
            for place in places[fold::FOLDS]:
                results[place] = self.replayed(route, kind.width, place)
        return results

    def replayed(self, route: Route, width: int, place: int) -> tuple[float, float, float]:
        """Score, dollars and seconds of a route over the first members on one example."""
        runs = self.runs[place]
        rates = route.rates_for(route.by and self.inputs[place][route.by], width)
        answers: list[Answer] = []
        asked: list[int] = []
        for member in route.order(rates):
            asked.append(member)
            answer = runs[member].answer
            answers += [] if answer is None else [answer]
            if route.decides(rates, answers):
                break
        taken = route.likeliest(rates, answers)[0].member if answers else asked[-1]
        others = [runs[member].own for member in asked if member != taken]
        usd, seconds = (sum(parts) for parts in zip(runs[taken or 0].whole, *others, strict=True))
        return runs[taken or 0].score, usd, seconds


class Learned(NamedTuple):
    """A route that beats what leads by cross-fitted scores."""

    config: PipelineConfig
    members: Sequence[PipelineConfig]
    """The pipeline with each of its members by itself."""
    others: Sequence[PipelineConfig]
    """The same of members that answered fewer examples."""
    size: int
    """How many of the search examples, from the first on, its members answered."""


def learned_routes(
    state: SearchState, knobs: Knobs, module: str, done: set[str], since: int = 0
) -> Iterator[Learned]:
    """The best routes of one module that are better than what leads; in most cases none.

    Args:
        state: of the search.
        knobs: what the module may have.
        module: its name.
        done: what was looked at before; extended.
        since: how many of the first search examples the incumbent's rates were learned from, if it
            is a route; they are compared on the others.
    """
    for size, answered in _answered(state, knobs, module, done):
        if size <= since:
            continue
        base, configs, results = state.incumbent, {}, {}
        for kind in _kinds(state, knobs, module, answered):
            config = base.with_module(module, answered.config(kind))
            if knobs.makes_sense(config) and state.is_payable(config):
                configs[kind] = config
                results[kind] = answered.cross_fitted(kind)
        fresh = sum(index in state.examples[:since] for index in answered.examples)
        results = {kind: result[fresh:] for kind, result in results.items()}
        for kind in _best(state, answered.examples[fresh:], results, relearned=since > 0):
            members, others = answered.alone[: kind.width], answered.others
            yield Learned(configs[kind], members, others, size)


def _answered(
    state: SearchState, knobs: Knobs, module: str, done: set[str]
) -> Iterator[tuple[int, Answered]]:
    """What is known of members by themselves, by the module's other settings.

    The members and the first examples are those with the most answers in all.
    """
    if not knobs.routes(module):
        return
    for share in PAID_SHARES:  # members of votes, too, by themselves
        size = math.ceil(share * len(state.examples))
        for pool in pools(state, module, size):
            state.enumerate_paid(list(_alone(state, knobs, module, pool).values()), size)
    for pool in pools(state, module, FEWEST_EXAMPLES):
        alone = _alone(state, knobs, module, pool)
        size = _most_answers([state.seen(config) for config in alone.values()])
        asked = {m: config for m, config in alone.items() if state.seen(config) >= size}
        others = [config for member, config in alone.items() if member not in asked]
        more = max(0, max(knobs.space.of("width", module), default=1) - len(asked))
        key = canonical_json([state.incumbent.key, size, *(each.key for each in asked.values())])
        if size >= FEWEST_EXAMPLES and key not in done:
            done.add(key)
            read = _read(state, knobs.pipeline.module(module), asked, size)
            answered = Answered(pool.rest, list(asked), list(asked.values()), others[:more], *read)
            if len(answered.examples) >= FEWEST_EXAMPLES:
                yield size, answered


def _alone(
    state: SearchState, knobs: Knobs, module: str, pool: Pool
) -> dict[MemberConfig, PipelineConfig]:
    """The pipeline with each member by itself, the best first."""
    alone: dict[MemberConfig, PipelineConfig] = {}
    for member in ranked(state, module, list(pool.draws), pool.rest):
        if not knobs.space.distinct(module) or member.model not in {m.model for m in alone}:
            own = pool.rest.with_members([member], None)
            alone[member] = state.incumbent.with_module(module, own)
    return alone


def _most_answers(seen: Sequence[int]) -> int:
    """How many examples to learn from, so that two or more members answered most in all."""
    counts = {size: sum(other >= size for other in seen) for size in seen}
    answers = {size: size * members for size, members in counts.items() if members > 1}
    return max(answers, key=answers.__getitem__, default=0)


def _read(
    state: SearchState,
    module: Module,
    alone: Mapping[MemberConfig, PipelineConfig],
    size: int,
) -> tuple[list[int], list[list[Run]], list[Mapping[str, str]]]:
    """The examples on which every member was scored, and the module asked once, with the members'
    runs and the module's inputs."""
    known = [state.evaluator.known(config).outcomes for config in alone.values()]
    examples: list[int] = []
    runs: list[list[Run]] = []
    inputs: list[Mapping[str, str]] = []
    for index in state.examples[:size]:
        each = [_run(module, outcomes[index], place) for place, outcomes in enumerate(known)]
        row = [run for run in each if run is not None]
        if len(row) == len(known):
            steps = known[0][index].trace.steps
            (received,) = (step.inputs for step in steps if step.module == module.name)
            own = {name: received[module.pipeline_field(name)] for name in module.input_fields}
            examples.append(index)
            runs.append(row)
            inputs.append({name: normalised(value) for name, value in own.items()})
    return examples, runs, inputs


def _run(module: Module, outcome: Outcome, member: int) -> Run | None:
    """None if it has no score, or if the module was not asked once."""
    steps = [step for step in outcome.trace.steps if step.module == module.name]
    if outcome.score is None or len(steps) != 1:
        return None
    (step,) = steps
    answer = None
    if step.outputs is not None:
        fields = [name for name in module.output_fields if name != REASONING]
        record = {name: step.outputs[module.pipeline_field(name)] for name in fields}
        answer = Answer(member, record)
    own, whole = (step.usd, step.latency_s), (outcome.usd, outcome.latency_s)
    return Run(outcome.score, answer, own, whole)


def _kinds(state: SearchState, knobs: Knobs, module: str, answered: Answered) -> Iterator[Kind]:
    """All combinations of a few values, but for what the space sets itself."""
    costs_count = state.objective.limited or state.objective.pareto
    widest = min(max(knobs.space.of("width", module), default=1), len(answered.members))
    handicaps = (0.0, PRICE_HANDICAP) if costs_count else (0.0,)
    for given in knobs.routes(module):
        fields = [None, *answered.fields] if "by" not in given else [given["by"]]
        untils = (given["until"],) if "until" in given else THRESHOLDS
        for width, by, until, handicap in itertools.product(
            range(2, widest + 1), fields, untils, handicaps
        ):
            yield Kind(width, by, until, handicap, given)


def _best(
    state: SearchState,
    examples: Sequence[int],
    results: Mapping[Kind, Floats],
    *,
    relearned: bool,
) -> list[Kind]:
    """The most wanted by cross-fitted scores and costs, if they lead with these."""
    objective, known = state.objective, state.evaluator.known
    rivals = state.front() if objective.pareto else [state.incumbent]
    rivals += [] if objective.within is None else [state.bar()]
    costs = [*(known(rival).on(examples).costs for rival in rivals), *map(_costs, results.values())]
    singles = [rival.single_model is not None for rival in rivals] + [False] * len(results)
    alike = np.zeros(len(costs), dtype=np.int64)
    preference = Preference(objective, costs, np.array(singles), alike)
    kinds: list[Kind | None] = [*(None for _ in rivals), *results]
    wanted = [kinds[place] for place in preference.wanted(np.array([c.score for c in costs]))]
    if objective.pareto:
        return [kind for kind in wanted if kind is not None][:MOST_ON_FRONT]
    best = wanted[0]
    kept = [state.baseline, *([state.single_model] if state.single_model else [])]
    if not relearned:
        kept.append(state.incumbent)
    better = best and _is_better(state, examples, results[best][:, 0], kept)
    return [best] if best and better else []


def _costs(result: Floats) -> Costs:
    score, usd, latency_s = result.mean(axis=0).tolist()
    slow = np.quantile(result[:, 2], 1 - MOST_SLOW, method="inverted_cdf")
    return Costs(score, usd, latency_s, float(slow))


def _is_better(
    state: SearchState,
    examples: Sequence[int],
    scores: Floats,
    kept: Sequence[PipelineConfig],
) -> bool:
    """Whether it is shown to be better than all that keep their place in races."""
    if state.objective.within is not None:
        return True
    known = map(state.evaluator.known, kept)
    theirs = (
        np.array([one.scores.get(index, np.nan) for index in examples])
        for one in known
        if state.objective.meets(one.costs)
    )
    return all(paired_probability(scores - own) >= SURE for own in theirs)


def _rounded(values: Floats) -> list[float]:
    return [round(float(value), 2) for value in values]
