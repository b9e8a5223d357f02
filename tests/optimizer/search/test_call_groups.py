"""What is said of calls ahead, against the calls that programs really make."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from optimizer.search.call_groups import ModuleCalls, call_groups, calls_ahead, module_calls
from pipelines import Module, Pipeline
from pipelines.aggregators.calls import calls_per_run
from pipelines.aggregators.notation import parse_network
from pipelines.llms.call import LMCall
from pipelines.patterns import majority_vote
from search_spaces import MemberConfig, ModuleConfig, PipelineConfig
from search_spaces.config import canonical_json
from tests.pipelines.scripted_session import ScriptedSession, bind, requested, written

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


NETWORKS = st.sampled_from(
    [
        "a", "b", "c", "2x a -> majority_vote", "3x a -> majority_vote", "a + b -> majority_vote",
        "a + b + a -> majority_vote", "3x a -> confident_vote", "a + b -> confident_vote(member=1)",
        "a + b -> cascade", "2x b + a -> cascade", "a + b + c -> cascade(steps=[2, 1])",
        "a + b -> cascade(c)", "2x a -> judge(b)", "a + b + c -> judge(b, answer=write)",
        "3x a -> verifier(c)", "2x b -> filter_vote(a)", "a + b -> best_of(scorer=c)",
        "3x a -> shuffled_vote", "3x a -> shuffled_vote(options=question)",
        f"2x a -> {OWN}(again=1)", "2x a -> judge(2x b -> judge(c))",
        "2x a -> verifier(b + c -> majority_vote)", "3x a -> shortest",
    ]
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
    made = parse_network(draw(NETWORKS), temperature=temperature, instructions=instructions)
    if made.width == 1 or draw(st.booleans()):
        return made
    own = [MemberConfig(label, **draw(OWN_SETTINGS)) for label in made.labels]
    return made.with_members(own, made.aggregation)


MODULES = modules()
CHAINS = st.builds(
    lambda draft, solve: PipelineConfig(modules={"draft": draft, "solve": solve}), MODULES, MODULES
)


class Runs:
    """Programs of one pipeline on the same inputs, at one session that notes every call."""

    def __init__(self, pipeline: Pipeline, inputs: Sequence[dict[str, Any]]) -> None:
        self.pipeline, self.inputs = pipeline, inputs
        self.session = ScriptedSession(script)
        self.done: list[tuple[Sequence[ModuleCalls], set[int]]] = []

    @property
    def calls(self) -> set[str]:
        return {call.key for call in self.session.calls}

    def plan(self, config: PipelineConfig) -> list[ModuleCalls]:
        return module_calls(self.pipeline, bind(self.pipeline, self.session, config).bound, {})

    def run(self, config: PipelineConfig, examples: Sequence[int]) -> set[str]:
        """The calls of this config, those that were made before included."""
        program, before = bind(self.pipeline, self.session, config), len(self.session.calls)
        for index in examples:
            program.run(self.inputs[index])
        self.done.append((self.plan(config), set(examples)))
        return {call.key for call in self.session.calls[before:]}

    def ahead(self, configs: Sequence[PipelineConfig], examples: Sequence[int]) -> int:
        coming = [(self.plan(config), set(examples)) for config in configs]
        return sum(calls_ahead(self.done, coming).values())


def asking(*questions: str) -> list[dict[str, Any]]:
    return [{"question": question} for question in questions]


@settings(max_examples=60)
@given(CHAINS, st.sampled_from(QUESTIONS))
def test_a_run_makes_at_most_the_calls_that_are_said(config: PipelineConfig, asked: str) -> None:
    runs = Runs(STEPS, asking(asked))
    plan = runs.plan(config)
    made = runs.run(config, [0])
    assert len(made) <= len(call_groups(plan)) <= calls_per_run(config)
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
    runs = Runs(pipeline, asking(*QUESTIONS))
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
    before = runs.run(one, [0])
    assert runs.ahead([two], [0]) == 2, "the first member sees the order given"
    assert len(runs.run(two, [0]) - before) == new


def test_another_module_before_makes_other_calls() -> None:
    runs = Runs(STEPS, asking(*QUESTIONS))
    base = STEPS.default_config("a")
    runs.run(base, [0, 1])
    assert runs.ahead([base.with_models({"solve": "b"})], [0, 1]) == 2
    assert runs.ahead([base.with_models({"draft": "b"})], [0, 1]) == 4
    assert runs.ahead([base.with_knobs("draft", instructions="Think.")], [0, 1]) == 4
