"""What is said of calls ahead, against the calls that programs really make."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from typing import Any

import dspy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evaluators.evaluator import Evaluator
from evaluators.metrics import resolve_metric
from optimizer.search.budget.call_groups import CallGroup, CallPlanner, ModuleCalls
from optimizer.search.budget.forecast import Forecast
from optimizer.search.budget.made_calls import example_set
from optimizer.search.budget.reserve import Reserve
from pipelines import Module, Pipeline
from pipelines.aggregators.calls import calls_per_run
from pipelines.aggregators.notation import parse_network
from pipelines.gateway.call import CallFailed, LMCall
from pipelines.patterns import majority_vote
from search_spaces import MemberConfig, ModuleConfig, PipelineConfig
from search_spaces.config import canonical_json
from tests.pipelines.scripted_session import (
    MODELS,
    CachingSession,
    Script,
    received,
    requested,
    written,
)

STEPS = Pipeline(
    "steps", [Module("draft", "question -> task"), Module("solve", "question, task -> answer")]
)
TWINS = majority_vote(temperature=0.7)
QUESTIONS = ("What is 1 + 1?", "Which one?\n(A) ant\n(B) bee\n(C) cat\n(D) dog")


def script(call: LMCall) -> str:
    """Answers that differ and agree by chance, which the call decides; some can't be read."""
    drawn = zlib.crc32(call.key.encode())
    if drawn % 17 == 0:
        return "no fields at all"
    values: dict[str, object] = {
        "accepted": drawn % 3 == 0, "choice": 1 + drawn % 2, "score": drawn % 5 / 5,
    }  # fmt: skip
    return written(**{name: values.get(name, "AB"[drawn % 2]) for name in requested(call)})


OWN = "tests.pipelines.aggregators.functions:AsksOthers"


NETWORKS = (
        "a", "b", "c", "2x a -> majority_vote", "3x a -> majority_vote", "a + b -> majority_vote",
        "a + b + a -> majority_vote", "3x a -> confident_vote", "a + b -> confident_vote(member=1)",
        "a + b -> cascade", "2x b + a -> cascade", "a + b + c -> cascade(steps=[2, 1])",
        "a + b + c -> route(rates=[0.4, 0.6, 0.5])", "a + b -> route(until=0.9)",
        "a + b -> cascade(c)", "2x a -> judge(b)", "a + b + c -> judge(b, answer=write)",
        "3x a -> verifier(c)", "2x b -> filter_vote(a)", "a + b -> best_of(scorer=c)",
        "3x a -> shuffled_vote", "3x a -> shuffled_vote(options=question)",
        f"2x a -> {OWN}(again=1)", "2x a -> judge(2x b -> judge(c))",
        "2x a -> verifier(b + c -> majority_vote)", "3x a -> shortest",
)  # fmt: skip
OWN_SETTINGS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0.0, 0.7]),
        "instructions": st.sampled_from(["Think.", "Be brief."]),
    },
)


@st.composite
def modules(draw: st.DrawFn) -> ModuleConfig:
    """Some network, whose members may have settings of their own."""
    temperature = draw(st.sampled_from([None, 0.0, 0.7]))
    instructions = draw(st.sampled_from([None, None, "Think."]))
    made = parse_network(
        draw(st.sampled_from(NETWORKS)), temperature=temperature, instructions=instructions
    )
    if made.width == 1 or draw(st.booleans()):
        return made
    own = [MemberConfig(label, **draw(OWN_SETTINGS)) for label in made.labels]
    return made.with_members(own, made.aggregation)


MODULES = modules()
CHAINS = st.builds(
    lambda draft, solve: PipelineConfig(modules={"draft": draft, "solve": solve}), MODULES, MODULES
)


def asks_again(call: LMCall) -> bool:
    return "Respond with a JSON object" in call.messages[-1]["content"]


class Runs:
    """One pipeline on the same inputs, at one session that notes every call."""

    def __init__(
        self, pipeline: Pipeline, inputs: Sequence[dict[str, Any]], script: Script = script
    ) -> None:
        self.session = CachingSession(script)
        session: Any = self.session
        examples = [dspy.Example(**row, **dict.fromkeys(pipeline.outputs, "A")) for row in inputs]
        metric = resolve_metric("exact_match", pipeline.outputs, list(examples[0].keys()))
        self.evaluator = Evaluator(pipeline, MODELS, examples, metric, session, concurrency=2)
        self.forecast = Forecast(self.evaluator, pipeline.default_config("a"), {})

    @property
    def calls(self) -> list[str]:
        """Without those that ask again, as JSON: only their share is known ahead."""
        return [call.key for call in self.session.calls if not asks_again(call)]

    def plan(self, config: PipelineConfig) -> list[ModuleCalls]:
        return CallPlanner(self.evaluator.pipeline, {}).module_calls(self.evaluator.bound(config))

    def run(self, config: PipelineConfig, examples: Sequence[int]) -> list[str]:
        """The new calls of this config."""
        before = len(self.calls)
        self.evaluator.run([(config, index) for index in examples])
        return self.calls[before:]

    def ahead(self, configs: Sequence[PipelineConfig], examples: Sequence[int]) -> int:
        return self.forecast.cost(list(itertools.product(configs, examples)))[0]


def asking(*questions: str) -> list[dict[str, Any]]:
    return [{"question": question} for question in questions]


@settings(max_examples=60)
@given(CHAINS, st.sampled_from(QUESTIONS))
def test_a_run_makes_at_most_the_calls_that_are_said(config: PipelineConfig, asked: str) -> None:
    runs = Runs(STEPS, asking(asked))
    plan = runs.plan(config)
    made = runs.run(config, [0])
    most = frozenset[CallGroup]().union(*(module.most for module in plan))
    assert len(made) <= len(most) <= calls_per_run(config)
    assert sum(len(module.sure) for module in plan[:1]) <= len(made)
    assert all(module.sure <= module.most for module in plan)


@settings(max_examples=40)
@given(st.lists(CHAINS, min_size=2, max_size=4), st.integers(1, 2))
@example(
    [  # the cascade may never have asked b
        PipelineConfig(modules={"draft": ModuleConfig(models=("c",)), "solve": solve})
        for solve in (parse_network("a + b -> cascade"), ModuleConfig(models=("b",)))
    ],
    2,
)
def test_no_more_new_calls_are_made_than_were_ahead(
    configs: Sequence[PipelineConfig], together: int
) -> None:
    runs = Runs(STEPS, asking(*QUESTIONS))
    groups = [configs[place : place + together] for place in range(0, len(configs), together)]
    for group in groups:
        ahead, before = runs.ahead(group, [0, 1]), len(runs.calls)
        for config in group:
            runs.run(config, [0, 1])
        assert len(runs.calls) - before <= ahead
        assert runs.ahead(group, [0, 1]) == 0, "what has run makes no call again"


LABELS = st.sampled_from("abc")


@settings(max_examples=40)
@given(st.lists(st.tuples(LABELS, LABELS, LABELS), min_size=2, max_size=5))
@example([("a", "b", "c"), ("b", "a", "c"), ("a", "a", "c")])  # the second a is another sample
def test_twins_draw_samples_of_their_own(allocations: Sequence[tuple[str, str, str]]) -> None:
    runs = Runs(TWINS, asking(QUESTIONS[0]))
    base = TWINS.default_config("a")
    for labels in allocations:
        config = base.with_models({f"solver_{n}": label for n, label in enumerate(labels, 1)})
        ahead, before = runs.ahead([config], [0]), len(runs.calls)
        runs.run(config, [0])
        assert len(runs.calls) - before <= ahead


def reliable(call: LMCall) -> str:
    """Answers that the call decides."""
    drawn = zlib.crc32(call.key.encode())
    return written(**dict.fromkeys(requested(call), "AB"[drawn % 2]))


@settings(max_examples=15)
@given(
    st.lists(st.tuples(LABELS, LABELS, LABELS), min_size=1, max_size=4), st.sampled_from([0, 0.7])
)
def test_of_twins_it_is_known_exactly_what_is_free(
    allocations: Sequence[tuple[str, str, str]], temperature: float
) -> None:
    twins = majority_vote(temperature=temperature)
    runs = Runs(twins, asking(QUESTIONS[0]), reliable)
    base = twins.default_config("a")

    def config(labels: Sequence[str]) -> PipelineConfig:
        return base.with_models({f"solver_{n}": label for n, label in enumerate(labels, 1)})

    for labels in allocations:
        runs.run(config(labels), [0])
    for every in map(config, itertools.product("abc", repeat=3)):
        free, ahead = runs.forecast.are_free(every, [0]), runs.ahead([every], [0])
        assert len(runs.run(every, [0])) == ahead
        assert free == (ahead == 0)


VOTES = st.builds(
    lambda members, temperature: ModuleConfig(
        models=tuple(members), width=len(members), temperature=temperature,
        aggregator="majority_vote" if len(members) > 1 else None,
    ),
    st.lists(LABELS, min_size=1, max_size=4),
    st.sampled_from([None, 0.7]),
)  # fmt: skip


@settings(max_examples=40)
@given(st.lists(VOTES, min_size=1, max_size=5))
def test_of_votes_the_count_is_exact(votes: Sequence[ModuleConfig]) -> None:
    pipeline = Pipeline("one", [Module("solve", "question -> answer")])
    runs = Runs(pipeline, asking(*QUESTIONS), reliable)
    for vote in votes:
        config = PipelineConfig(modules={"solve": vote})
        ahead, before = runs.ahead([config], [0, 1]), len(runs.calls)
        runs.run(config, [0, 1])
        assert len(runs.calls) - before == ahead


@pytest.mark.parametrize(
    ("first", "second", "new"),
    [
        ("a", "3x a -> majority_vote", 2),
        ("3x a -> majority_vote", "a", 0),
        ("3x a -> majority_vote", "2x a + b -> majority_vote", 1),
        ("a + b -> majority_vote", "a + b -> cascade", 0),
        ("a + b -> cascade", "a + b -> majority_vote", 1),
        ("a + b -> majority_vote", "a + b -> route", 0),
        ("a + b -> route", "a + b -> majority_vote", 2),
        ("2x a -> majority_vote", "2x a -> judge(b)", 1),
        ("2x a -> judge(b)", "2x a -> judge(c)", 1),
    ],
)
def test_what_networks_share_is_counted_once(first: str, second: str, new: int) -> None:
    pipeline = Pipeline("one", [Module("solve", "question -> answer")])
    runs = Runs(pipeline, asking(*QUESTIONS))
    one, two = (
        PipelineConfig(modules={"solve": parse_network(text, temperature=0.7)})
        for text in (first, second)
    )
    runs.run(one, [0, 1])
    assert runs.ahead([two], [0, 1]) == 2 * new
    assert runs.ahead([two, two], [0, 1]) == 2 * new
    assert runs.ahead([one, two], [0]) == new


@settings(max_examples=40)
@given(st.lists(st.tuples(LABELS, OWN_SETTINGS), min_size=2, max_size=4))
def test_members_with_own_settings_are_the_calls_of_modules_with_those_settings(
    members: Sequence[tuple[str, dict[str, Any]]],
) -> None:
    pipeline = Pipeline("one", [Module("solve", "question -> answer")])
    runs = Runs(pipeline, asking(*QUESTIONS))
    own = tuple(MemberConfig(label, **settings) for label, settings in members)
    together, *alone = (
        PipelineConfig(modules={"solve": ModuleConfig(members=each, aggregator=aggregator)})
        for each, aggregator in [(own, "majority_vote"), *(((one,), None) for one in own)]
    )
    distinct = len({canonical_json([label, settings]) for label, settings in members})
    assert runs.ahead(alone, [0, 1]) == 2 * distinct
    runs.run(together, [0, 1])
    assert runs.ahead(alone, [0, 1]) == 0


@pytest.mark.parametrize(("question", "new"), [(QUESTIONS[0], 0), (QUESTIONS[1], 2)])
def test_members_that_see_the_options_in_other_orders_make_other_calls(
    question: str, new: int
) -> None:
    pipeline = Pipeline("one", [Module("solve", "question -> answer")])
    runs = Runs(pipeline, asking(question))
    one, two = (
        PipelineConfig(modules={"solve": parse_network(text, temperature=0.7)})
        for text in ("3x a -> majority_vote", "3x a -> shuffled_vote")
    )
    runs.run(one, [0])
    assert runs.ahead([two], [0]) == 2, "the first member sees the order given"
    assert len(runs.run(two, [0])) == new


def test_another_module_before_makes_other_calls() -> None:
    runs = Runs(STEPS, asking(*QUESTIONS), reliable)
    base = STEPS.default_config("a")
    runs.run(base, [0, 1])
    assert runs.ahead([base.with_models({"solve": "b"})], [0, 1]) == 2
    assert runs.ahead([base.with_models({"draft": "b"})], [0, 1]) == 4
    assert runs.ahead([base.with_knobs("draft", instructions="Think.")], [0, 1]) == 4


def test_calls_that_ask_again_are_expected_as_often_as_before() -> None:
    def half(call: LMCall) -> str:
        fails = not asks_again(call) and received(call)["question"].endswith("0")
        return "no fields" if fails else '{"answer": "A"}' if asks_again(call) else reliable(call)

    pipeline = Pipeline("one", [Module("solve", "question -> answer")])
    runs = Runs(pipeline, asking(*(f"Which {n % 2}? No. {n % 2}" for n in range(8))), half)
    base = pipeline.default_config("a")
    runs.run(base, range(4))
    known = runs.evaluator.known(base)
    assert (known.calls_per_example, known.unread) == (1.5, {"a": (2, 6)})
    assert runs.ahead([base], range(4)) == 0
    assert runs.ahead([base], range(8)) == 4 * 1.5
    reserve = Reserve(runs.evaluator, base, 8, may_change=False)
    kept = reserve._asked(base)
    assert 8 * 1.5 < kept <= 8 * 2.5


TREE = Pipeline(
    "tree",
    [
        Module("draft", "question -> task"),
        Module("hint", "question -> clue"),
        Module("solve", "question, task -> answer"),
        Module("check", "question, clue -> remark"),  # is not asked where the draft fails
    ],
    outputs=("answer",),
)
TREES = st.builds(
    lambda *modules: PipelineConfig(
        modules=dict(zip(("draft", "hint", "solve", "check"), modules, strict=True))
    ),
    *[st.builds(lambda network: parse_network(network, temperature=0.7), st.sampled_from(NETWORKS))]
    * 4,
)


def unreliable(call: LMCall) -> str:
    """As `script`, but one call in five brings no answer: by an outage, or by the model's fault."""
    drawn = zlib.crc32(call.key.encode())
    if drawn % 5 == 0:
        raise CallFailed(("timeout", "refusal", "context_window")[drawn % 3], "no")
    return script(call)


@settings(max_examples=40)
@given(st.lists(TREES, min_size=2, max_size=4), st.lists(TREES, max_size=3))
def test_what_is_claimed_to_be_free_makes_no_new_call(
    ran: Sequence[PipelineConfig], others: Sequence[PipelineConfig]
) -> None:
    """Of configs that were run, of mixes of their branches, and of any others."""
    runs = Runs(TREE, asking(*QUESTIONS), unreliable)
    mixes = [
        PipelineConfig(modules={**one.modules, **{n: other.modules[n] for n in ("hint", "check")}})
        for one, other in itertools.permutations(ran, 2)
    ]
    for config in ran:
        runs.run(config, [0, 1])
    for config in (*ran, *mixes, *others):
        free = [index for index in (0, 1) if runs.forecast.are_free(config, [index])]
        assert runs.forecast.are_free(config, free)
        assert runs.run(config, free) == []
        ahead = runs.ahead([config], [0, 1])
        made = runs.run(config, [0, 1])
        assert len(set(made)) <= ahead


@settings(max_examples=60)
@given(st.lists(st.sampled_from(NETWORKS), min_size=1, max_size=4), st.sampled_from([0.0, 0.7]))
def test_a_network_that_is_claimed_to_be_free_makes_no_new_call(
    ran: Sequence[str], temperature: float
) -> None:
    every = {
        text: PipelineConfig(modules={"solve": parse_network(text, temperature=temperature)})
        for text in NETWORKS
    }
    runs = Runs(
        Pipeline("one", [Module("solve", "question -> answer")]), asking(*QUESTIONS), unreliable
    )
    for text in ran:
        runs.run(every[text], [0, 1])
    for config in every.values():
        free = [index for index in (0, 1) if runs.forecast.are_free(config, [index])]
        assert runs.run(config, free) == []


@given(st.sets(st.integers(0, 300)), st.sets(st.integers(0, 300)))
def test_a_set_of_examples_is_a_number(some: set[int], others: set[int]) -> None:
    assert example_set(some) & example_set(others) == example_set(some & others)
    assert example_set(some).bit_count() == len(some)


@pytest.mark.parametrize(
    ("ran", "free"),
    [
        (["a", "b"], "a + b -> cascade"),
        (["a + b -> majority_vote"], "b"),
        (["3x a -> majority_vote"], "2x a -> majority_vote"),
        (["2x a -> judge(b)"], "2x a -> majority_vote"),
        (["a + b -> cascade", "a"], "a"),
    ],
)
def test_networks_of_answers_that_are_there_are_free(ran: Sequence[str], free: str) -> None:
    pipeline = Pipeline("one", [Module("solve", "question -> answer")])
    runs = Runs(pipeline, asking(*QUESTIONS))
    made, wanted = (
        [PipelineConfig(modules={"solve": parse_network(t, temperature=0.7)}) for t in texts]
        for texts in (ran, [free])
    )
    assert not runs.forecast.are_free(wanted[0], [0])
    for config in made:
        runs.run(config, [0])
    assert runs.forecast.are_free(wanted[0], [0])
    assert not runs.forecast.are_free(wanted[0], [1])


def test_a_cascade_that_went_to_its_end_has_asked_all_its_members() -> None:
    runs = Runs(
        Pipeline("one", [Module("solve", "question -> answer")]), asking(*QUESTIONS),
        lambda call: written(answer="A" if "ant" in str(call.messages) else call.model.label),
    )  # fmt: skip
    cascade, last = (
        PipelineConfig(modules={"solve": parse_network(text, temperature=0.7)})
        for text in ("a + b + c -> cascade(steps=[2, 1])", "c")
    )
    runs.run(cascade, [0, 1])
    assert runs.forecast.are_free(last, [0])
    assert not runs.forecast.are_free(last, [1]), "the first two agreed"
