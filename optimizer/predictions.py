"""What closed forms predict from samples that are paid for: widths of votes, and K of best-of-K.

They only propose: what looks better by more than a tie meets the best so far in a race.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evaluators.best_of_k import BestOfK, Fallback
from evaluators.difficulty import Difficulty
from evaluators.objective import TOLERANCE
from evaluators.vote_scaling import VoteScaling
from optimizer.knobs import Knobs
from optimizer.study import Study
from pipelines import ModuleStep
from pipelines.aggregators.normalising import normalised
from search_spaces import AggregatorConfig, ModuleConfig, PipelineConfig
from search_spaces.config import canonical_json

FEWEST_SAMPLES = 3
"""Of each example, before anything is predicted from them."""
FEWEST_EXAMPLES = 32
VERIFIED_EXAMPLES = 16
"""On how many a verifier is tried, to learn how often it is right."""


@dataclass(frozen=True)
class Samples:
    """What single samples of one model in one module came to, end to end, example by example."""

    module: ModuleConfig
    """The module with these samples as members, and a majority vote."""
    right: Sequence[int]
    rival: Sequence[int]
    """How many agree on the most frequent wrong outcome."""

    @property
    def decisive(self) -> float:
        """The share of samples that decide a vote: right ones, and those of the rival."""
        return sum(self.decided) / (len(self.right) * self.module.width)

    @property
    def decided(self) -> list[int]:
        """How many of each example's samples are right or the rival's."""
        return [right + wrong for right, wrong in zip(self.right, self.rival, strict=True)]


def predicted(study: Study, knobs: Knobs, module: str) -> Iterator[PipelineConfig]:
    """Wider votes, and verifiers, that are predicted to beat the best so far by more than a tie."""
    bar = study.evaluator.known(study.incumbent).mean + TOLERANCE
    for votes in _sampled_votes(study, module):
        samples = _samples(study, module, votes)
        if samples is None or not sum(samples.decided):
            continue
        widths = knobs.space.of("width", module)
        best = _best_vote(samples, widths)
        if best is not None and best[1] > bar:
            yield _with(study, module, _wide(votes, best[0], votes.aggregation))
        for verifier in knobs.aggregations(module).values():
            if verifier.name == "verifier":
                best = _best_of_k(study, module, samples, verifier, widths)
                if best is not None and best[1] > bar:
                    yield _with(study, module, _wide(votes, best[0], verifier))


def _sampled_votes(study: Study, module: str) -> Iterator[ModuleConfig]:
    """Of the module's votes that were raced, for each setting the widest of one model."""
    widest: dict[str, ModuleConfig] = {}
    rest = study.incumbent.model_dump(exclude={"modules": {module}})
    for config in study.raced():
        own = config.modules[module]
        alike = len(set(own.members)) == 1 and own.aggregator == "majority_vote"
        if not alike or own.width < FEWEST_SAMPLES or study.seen(config) < FEWEST_EXAMPLES:
            continue
        if config.model_dump(exclude={"modules": {module}}) == rest:
            setting = canonical_json(own.model_dump(exclude={"width"}))
            if setting not in widest or widest[setting].width < own.width:
                widest[setting] = own
    yield from widest.values()


def _samples(study: Study, module: str, votes: ModuleConfig) -> Samples | None:
    """Every sample scored by itself, from answers that are there.

    None if they are there for too few examples: where a member met an outage, one is missing.
    A vote in which one member has all the weight is that member's answer.
    """
    examples = study.examples[: study.seen(_with(study, module, votes))]
    right: list[int] = []
    rival: list[int] = []
    alone = [_with(study, module, _alone(votes, place)) for place in range(votes.width)]
    with study.evaluator.session.cached_only():
        for index in examples:
            if not all(study.evaluator.is_paid(each, index) for each in alone):
                continue
            samples = [_sample(study, module, each, index) for each in alone]
            wrong = Counter(sample.text for sample in samples if not sample.right)
            right.append(votes.width - wrong.total())
            wrong.pop("", None)
            rival.append(max(wrong.values(), default=0))
    return Samples(votes, right, rival) if len(right) >= FEWEST_EXAMPLES else None


class _Sample(NamedTuple):
    right: bool
    text: str
    """The pipeline's outputs; empty where the member gave no answer."""


def _sample(study: Study, module: str, alone: PipelineConfig, index: int) -> _Sample:
    outcome = study.evaluator.peek(alone, [index]).outcomes[index]
    outputs = study.evaluator.trace(alone, index).outputs
    if outputs is None or not outcome.agreement[module]:  # the vote was without the member's weight
        return _Sample(False, "")
    return _Sample((outcome.score or 0.0) >= 0.5, normalised(dict(outputs)))


def _best_vote(samples: Samples, widths: Sequence[int]) -> tuple[int, float] | None:
    """The width that promises most of those beyond what was sampled, and what it promises."""
    wider = [width for width in widths if width > samples.module.width]
    if not wider:
        return None
    told = [(r, d) for r, d in zip(samples.right, samples.decided, strict=True) if d]
    share = len(told) / len(samples.right)  # of examples on which anything is decided
    scaling = VoteScaling.fit([r for r, _ in told], [d for _, d in told], samples.decisive)
    width = scaling.best_width(wider)
    return width, share * scaling.accuracy(width)


def _best_of_k(
    study: Study, module: str, samples: Samples, verifier: AggregatorConfig, widths: Sequence[int]
) -> tuple[int, float] | None:
    """The K that promises most with this verifier, after trying it on a few examples."""
    wide = [width for width in widths if width > 1]
    if not wide:
        return None
    verdicts = _verdicts(study, module, samples, verifier)
    difficulty = Difficulty.fit(samples.right, samples.module.width)
    best_of_k = BestOfK(difficulty, verdicts.accepts_right, verdicts.rejects_wrong)
    fallback: Fallback = "first" if verifier.params.get("fallback") == "first" else "majority"
    promised = {k: best_of_k.accuracy(k, fallback) for k in wide}
    k = min(k for k in wide if promised[k] >= max(promised.values()) - TOLERANCE)
    return k, promised[k]


class _Verdicts(NamedTuple):
    """How often a verifier accepted right and rejected wrong answers."""

    right: int = 0
    accepted_right: int = 0
    wrong: int = 0
    rejected_wrong: int = 0

    def plus(self, right: bool, accepted: bool) -> _Verdicts:
        """With one verdict more."""
        return _Verdicts(
            self.right + right,
            self.accepted_right + (right and accepted),
            self.wrong + (not right),
            self.rejected_wrong + (not right and not accepted),
        )

    @property
    def accepts_right(self) -> float:
        """As if half a verdict more of either kind had been seen."""
        return (self.accepted_right + 0.5) / (self.right + 1)

    @property
    def rejects_wrong(self) -> float:
        """As if half a verdict more of either kind had been seen."""
        return (self.rejected_wrong + 0.5) / (self.wrong + 1)


def _verdicts(study: Study, module: str, samples: Samples, verifier: AggregatorConfig) -> _Verdicts:
    """What the verifier says of samples whose worth is known; equal answers are judged once."""
    votes = samples.module
    examples = study.examples[:VERIFIED_EXAMPLES]
    study.check_calls(len(examples) * votes.width)
    program = study.evaluator.program(_with(study, module, _wide(votes, votes.width, verifier)))
    # not by the tasks themselves: what is answered without calls is so for all threads
    steps = [_judged_steps(study, module, votes, index) for index in examples]

    def judged(samples: Sequence[tuple[ModuleStep, bool]]) -> _Verdicts:
        said: dict[str, bool] = {}
        counts = _Verdicts()
        for step, right in samples:
            text = canonical_json(step.outputs)
            if text not in said:
                verdict = program.consult(module, "verifier", step.inputs, step.outputs or {})
                said[text] = bool(verdict and verdict["accepted"])
            counts = counts.plus(right, said[text])
        return counts

    rows = study.evaluator.map(judged, steps)
    return _Verdicts(*map(sum, zip(*rows, strict=True)))


def _judged_steps(
    study: Study, module: str, votes: ModuleConfig, index: int
) -> list[tuple[ModuleStep, bool]]:
    """What each member said, and whether that was right in the end; none if one is missing."""
    alone = [_with(study, module, _alone(votes, place)) for place in range(votes.width)]
    if not all(study.evaluator.is_paid(each, index) for each in alone):
        return []
    found = []
    with study.evaluator.session.cached_only():
        for each in alone:
            right = _sample(study, module, each, index).right
            steps = study.evaluator.trace(each, index).steps
            step = next((s for s in steps if s.module == module and s.agreement), None)
            if step is not None and step.outputs is not None:
                found.append((step, right))
    return found


def _alone(votes: ModuleConfig, place: int) -> ModuleConfig:
    weights = [float(place == member) for member in range(votes.width)]
    aggregation = AggregatorConfig(name="majority_vote", params={"weights": weights})
    return votes.model_copy(update={"aggregator": aggregation})


def _wide(votes: ModuleConfig, width: int, aggregation: AggregatorConfig | None) -> ModuleConfig:
    return votes.with_members(votes.models[:1] * width, aggregation)


def _with(study: Study, module: str, changed: ModuleConfig) -> PipelineConfig:
    return PipelineConfig(modules={**study.incumbent.modules, module: changed})
