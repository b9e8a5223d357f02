"""Predictions of closed forms from the samples so far: widths of votes, and K of best-of-K.

They only propose: a config that looks better by more than a tie races against the best so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from evaluators.objective import TOLERANCE
from evaluators.statistics.best_of_k import BestOfK, verdict_rate
from evaluators.statistics.difficulty import Difficulty
from evaluators.statistics.vote_scaling import VoteScaling
from optimizer.search.state import SearchState, shown
from optimizer.stages.structure.knobs import Knobs
from pipelines import ModuleStep
from pipelines.aggregators import Answer
from pipelines.aggregators.calls import most_calls
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.call_record import recording
from search_spaces import AggregatorConfig, ModuleConfig, PipelineConfig
from search_spaces.config import canonical_json

FEWEST_SAMPLES = 3
"""The fewest samples of each example that anything is predicted from."""
FEWEST_EXAMPLES = 32
VERIFIED_EXAMPLES = 32
"""On how many examples a verifier is tried, to learn how often it is right."""


@dataclass(frozen=True)
class Samples:
    """End-to-end scores of single samples of one model in one module, example by example."""

    module: ModuleConfig
    """The module with these samples as members, and a majority vote."""
    examples: Sequence[int]
    """The examples with all samples, on which the best so far has a score, too."""
    right: Sequence[int]
    rival: Sequence[int]
    """How many agree on the most frequent wrong outcome."""

    @property
    def decided(self) -> list[tuple[int, int]]:
        """How many samples were right, and right or the rival's, where any were."""
        pairs = zip(self.right, self.rival, strict=True)
        return [(right, right + wrong) for right, wrong in pairs if right + wrong]

    @property
    def decisive(self) -> float:
        """The share of those samples that decide a vote: right ones, and those of the rival."""
        return sum(decided for _, decided in self.decided) / (len(self.decided) * self.module.width)


def predicted(state: SearchState, knobs: Knobs, module: str) -> Iterator[PipelineConfig]:
    """Wider votes, and verifiers, that are predicted to beat the best so far by more than a tie."""
    if knobs.space.distinct(module):  # predictions are for more samples of one model
        return
    for votes in _sampled_votes(state, module):
        samples = _samples(state, module, votes)
        if samples is None or not samples.decided:
            continue
        best_so_far = state.evaluator.known(state.incumbent).on(samples.examples)
        bar = best_so_far.mean + TOLERANCE
        widths = knobs.space.of("width", module)
        promises = [(votes.aggregation, _best_vote(samples, widths))]
        for verifier in knobs.aggregations(module).values():
            if verifier.name == "verifier":
                promises.append((verifier, _best_of_k(state, module, samples, verifier, widths)))
        for aggregation, best in promises:
            if best is not None and best[1] > bar:
                yield state.incumbent.with_module(module, _wide(votes, best[0], aggregation))


def _sampled_votes(state: SearchState, module: str) -> Iterator[ModuleConfig]:
    """The widest vote of one model for each setting of the module that was raced."""
    widest: dict[str, ModuleConfig] = {}
    rest = state.incumbent.model_dump(exclude={"modules": {module}})
    for config in state.raced():
        own = config.modules[module]
        one_model = len(set(own.labels)) == 1 and not own.members
        alike = one_model and own.aggregator == "majority_vote"
        if not alike or own.width < FEWEST_SAMPLES or state.seen(config) < FEWEST_EXAMPLES:
            continue
        if config.model_dump(exclude={"modules": {module}}) == rest:
            setting = canonical_json(own.model_dump(exclude={"width"}))
            if setting not in widest or widest[setting].width < own.width:
                widest[setting] = own
    yield from widest.values()


def _samples(state: SearchState, module: str, votes: ModuleConfig) -> Samples | None:
    """Every sample scored by itself, from answers that are there.

    None if they are there for too few examples: where a member met an outage, one is missing.
    """
    seen = state.examples[: state.seen(state.incumbent.with_module(module, votes))]
    scored = state.evaluator.known(state.incumbent).scores
    right, rival = [], []
    alone, forecast = _alone(state, module, votes), state.forecast
    examples = [i for i in seen if i in scored and all(forecast.are_free(c, [i]) for c in alone)]
    for index in examples:
        samples = [_sample(state, module, each, index) for each in alone]
        wrong = Counter(s.ballot for s in samples if not s.right and any(s.ballot))
        right.append(sum(sample.right for sample in samples))
        rival.append(max(wrong.values(), default=0))
    return Samples(votes, examples, right, rival) if len(examples) >= FEWEST_EXAMPLES else None


class _Sample(NamedTuple):
    right: bool
    ballot: tuple[str, ...]
    """The pipeline's outputs as a vote compares them; empty where the member gave no answer."""


def _sample(state: SearchState, module: str, alone: PipelineConfig, index: int) -> _Sample:
    outcome = state.evaluator.peek(alone, index)
    outputs = state.evaluator.trace(alone, index).outputs
    if outputs is None or not outcome.agreement[module]:  # the vote was without the member's weight
        return _Sample(False, ())
    return _Sample((outcome.score or 0.0) >= 0.5, Answer(None, outputs).ballot)


def _best_vote(samples: Samples, widths: Sequence[int]) -> tuple[int, float] | None:
    """The most promising width above the sampled ones, and its predicted score."""
    wider = [width for width in widths if width > samples.module.width]
    if not wider:
        return None
    right, decided = zip(*samples.decided, strict=True)
    scaling = VoteScaling.fit(right, decided, samples.decisive)
    width = scaling.best_width(wider)
    return width, len(right) / len(samples.right) * scaling.accuracy(width)


def _best_of_k(
    state: SearchState,
    module: str,
    samples: Samples,
    verifier: AggregatorConfig,
    widths: Sequence[int],
) -> tuple[int, float] | None:
    """The most promising K with this verifier, and its predicted score, by a try on few examples.

    None if that can't be paid.
    """
    wide = [width for width in widths if width > 1]
    if not wide:
        return None
    try:
        rates = _verifier_rates(state, module, samples, verifier)
    except BudgetExhausted:
        return None
    best_of_k = BestOfK(Difficulty.fit(samples.right, samples.module.width), *rates)
    promised = {k: best_of_k.accuracy(k, verifier.params.get("fallback", "vote")) for k in wide}
    k = min(k for k in wide if promised[k] >= max(promised.values()) - TOLERANCE)
    return k, promised[k]


def _verifier_rates(
    state: SearchState, module: str, samples: Samples, verifier: AggregatorConfig
) -> tuple[float, float]:
    """How often the verifier accepts right samples, and rejects wrong ones."""
    tried = samples.examples[:VERIFIED_EXAMPLES]
    answers = [a for index in tried for a in _answers(state, module, samples.module, index)]
    config = state.incumbent.with_module(
        module, _wide(samples.module, samples.module.width, verifier)
    )
    verdicts = _verdicts(state, module, config, [step for step, _ in answers])
    pairs = [(right, verdict) for (_, right), verdict in zip(answers, verdicts, strict=True)]
    of_right = [verdict for right, verdict in pairs if right and verdict is not None]
    of_wrong = [not verdict for right, verdict in pairs if not right and verdict is not None]
    return (
        verdict_rate("accepted_right", sum(of_right), len(of_right)),
        verdict_rate("rejected_wrong", sum(of_wrong), len(of_wrong)),
    )


def _answers(
    state: SearchState, module: str, votes: ModuleConfig, index: int
) -> Iterator[tuple[ModuleStep, bool]]:
    """The answer of each member, and whether it was right in the end."""
    for each in _alone(state, module, votes):
        steps = state.evaluator.trace(each, index).steps
        step = next((s for s in steps if s.module == module and s.agreement), None)
        if step is not None and step.outputs is not None:
            yield step, _sample(state, module, each, index).right


def _verdicts(
    state: SearchState, module: str, config: PipelineConfig, steps: Sequence[ModuleStep]
) -> list[bool | None]:
    """Whether the verifier accepts each answer; None where it met an outage.

    Equal answers are judged once.

    Raises:
        BudgetExhausted: there is no room for the others.
    """
    program = state.evaluator.program(config)
    verifier = program.bound[module].consultants["verifier"].config
    asked = canonical_json([module, verifier.model_dump(mode="json")])
    keys = [canonical_json([asked, step.inputs, shown(step)]) for step in steps]
    distinct = dict(zip(keys, steps, strict=True))

    def accepts(key: str) -> bool | None:
        step = distinct[key]
        with recording() as recorder:
            verdict = program.consult(module, "verifier", step.inputs, step.outputs or {})
        outage = any(failure.infrastructure for failure in recorder.failures)
        return None if outage else bool(verdict and verdict["accepted"])

    unknown = [key for key in distinct if key not in state.verdicts]
    state.forecast.check_calls(len(unknown) * most_calls(verifier))
    for key, verdict in zip(unknown, state.evaluator.map(accepts, unknown), strict=True):
        if verdict is not None:
            state.verdicts[key] = verdict
    return [state.verdicts.get(key) for key in keys]


def _alone(state: SearchState, module: str, votes: ModuleConfig) -> list[PipelineConfig]:
    """By member, the vote in which it has all the weight, which returns its own answer."""
    rows = np.eye(votes.width).tolist()
    aggregators = [AggregatorConfig(name="majority_vote", params={"weights": row}) for row in rows]
    alone = [votes.with_knobs(aggregator=aggregator) for aggregator in aggregators]
    return [state.incumbent.with_module(module, each) for each in alone]


def _wide(votes: ModuleConfig, width: int, aggregation: AggregatorConfig | None) -> ModuleConfig:
    return votes.with_members(votes.models[:1] * width, aggregation)
