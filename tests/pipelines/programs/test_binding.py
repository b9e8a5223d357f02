"""Binding gives a fresh program, changes nothing, and refuses what does not fit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import dspy
import pytest

from pipelines import Module, Pipeline, PipelineError, patterns
from pipelines.gateway import gateway
from pipelines.gateway.gateway import Session
from pipelines.gateway.model import Model
from pipelines.gateway.prices import ModelError
from pipelines.programs.memo import Memo
from search_spaces import ModuleConfig, PipelineConfig
from tests.pipelines.scripted_session import (
    INPUTS,
    LOCATE_SOLVE,
    MODELS,
    ScriptedSession,
    bind,
    one,
)


def count_words(text: str, least: int = 0) -> int:
    return max(least, len(text.split()))


def test_binding_changes_neither_the_pipeline_nor_the_config() -> None:
    pipeline = patterns.multi_agent_debate()
    config = pipeline.default_config("a")
    before, form, key = copy.deepcopy(pipeline), pipeline.to_yaml(), config.canonical_json()
    program = bind(pipeline, ScriptedSession(), config)
    program.final.demos.append({"question": "q", "answer": "a"})
    program.final.signature = program.final.signature.with_instructions("Other words.")
    program.debater_1_round_1.signature.instructions = "In place."
    program.run({"question": "q"})
    assert pipeline == before
    assert pipeline.to_yaml() == form
    assert config.canonical_json() == key
    fresh = bind(pipeline, ScriptedSession(), config)
    assert fresh.final.demos == []
    assert "In place." not in fresh.debater_2_round_1.signature.instructions
    assert "In place." not in fresh.debater_1_round_1.signature.instructions


def test_two_binds_do_not_interfere() -> None:
    config = LOCATE_SOLVE.default_config("a")
    session = ScriptedSession()
    one_program = bind(LOCATE_SOLVE, session, config)
    other = bind(LOCATE_SOLVE, session, config.with_models({"locate": "b", "solve": "b"}))
    assert one_program.run(INPUTS).outputs == {"answer": "answer by a#0"}
    assert other.run(INPUTS).outputs == {"answer": "answer by b#0"}
    assert one_program.run(INPUTS).outputs == {"answer": "answer by a#0"}


def test_a_copy_can_be_edited_and_does_not_trust_the_memo() -> None:
    session = ScriptedSession()
    program = bind(LOCATE_SOLVE, session, memo=Memo())
    program.run(INPUTS)
    copied = program.deepcopy()
    copied.solve.signature = copied.solve.signature.with_instructions("Be brief.")
    copied.run(INPUTS)
    assert "Be brief." in session.calls[-1].messages[0]["content"]
    assert "Be brief." not in program.solve.signature.instructions


def test_a_program_runs_under_dspys_optimizers() -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
        return bool(prediction.answer)

    session = ScriptedSession()
    program = bind(LOCATE_SOLVE, session)
    with dspy.context(trace=[]):
        program(**INPUTS)
        traced = [predictor for predictor, _, _ in dspy.settings.trace]
    assert traced == [program.locate, program.solve]
    with dspy.context(lm=program.solve.lm):  # BootstrapFewShot resets every predictor's LM
        example = dspy.Example(**INPUTS, answer="x").with_inputs("table", "question")
        tuned = dspy.BootstrapFewShot(metric=metric, max_rounds=1).compile(
            program, trainset=[example]
        )
    assert len(tuned.solve.demos) == 1
    assert program.solve.demos == []


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({}, "config has no module 'solve'"),
        ({"solve": {"models": ("a",)}, "slove": {}}, "unknown module 'slove'; nearest: 'solve'"),
        ({"solve": {"models": ("aa",)}}, "unknown model 'aa'; nearest: 'a'"),
        ({"solve": {}}, r"needs 1 model, but got \[\]"),
        ({"solve": {"models": ("a", "b")}}, "needs 1 model, but got"),
        (
            {"solve": {"models": ("a", "b"), "width": 3}},
            r"needs 1 model, or 3 \(its width\), but got \['a', 'b'\]",
        ),
        ({"solve": {"models": ("a",), "width": 3}}, "width 3 needs an aggregator: 'majority_vote'"),
        (
            {"solve": {"models": ("a",), "aggregator": "majority"}},
            "unknown aggregator 'majority'; nearest: 'majority_vote'",
        ),
        ({"solve": {"models": ("a",), "params": {"k": 1}}}, "only a function module has params"),
        ({"solve": {"models": ("a",), "demos": ({"q": 1},)}}, "unknown field 'q'"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    modules: Mapping[str, Mapping[str, Any]], message: str
) -> None:
    config = PipelineConfig(
        modules={name: ModuleConfig(**given) for name, given in modules.items()}
    )
    with pytest.raises(PipelineError, match=message):
        bind(one(), ScriptedSession(), config)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"models": ("a",)}, "a function module has no models"),
        ({"width": 2}, "a function module has no width, but got 2"),
        ({"temperature": 0.0}, "a function module has no temperature"),
        ({"params": {"leest": 1}}, "unexpected keyword argument 'leest'"),
    ],
)
def test_a_config_that_does_not_fit_a_function_is_refused(
    knobs: dict[str, Any], message: str
) -> None:
    pipeline = Pipeline("x", [Module("n", "text -> n: int", function=count_words)])
    config = PipelineConfig(modules={"n": ModuleConfig(**knobs)})
    with pytest.raises(PipelineError, match=message):
        pipeline.bind(config, MODELS, None)


def test_asking_models_needs_a_session() -> None:
    with pytest.raises(PipelineError, match=r"pipeline .* asks models, so bind needs a session"):
        one().bind(one().default_config("a"), MODELS, None)


def test_a_tuned_pipeline_is_called_with_its_config(monkeypatch: pytest.MonkeyPatch) -> None:
    session = ScriptedSession()

    def default_session() -> Session:
        account: Any = session
        return account  # type: ignore[no-any-return]

    monkeypatch.setattr(gateway, "default_session", default_session)
    config = LOCATE_SOLVE.default_config("small").with_models({"solve": "sim/maple"})
    tuned = Pipeline(
        LOCATE_SOLVE.name,
        LOCATE_SOLVE.modules,
        config=config,
        models=[Model("sim/larch", label="small", max_tokens=7), Model("sim/maple")],
    )
    assert Pipeline.from_yaml(tuned.to_yaml())(**INPUTS).answer == "answer by sim/maple#0"
    first, second = (call.model for call in session.calls)
    assert (first.name, first.max_tokens, second.name) == ("sim/larch", 7, "sim/maple")


def test_a_pipeline_is_called_as_its_modules_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "default_session", ScriptedSession)
    assert one(model="sim/elm")(question="q").answer == "answer by sim/elm#0"
    with pytest.raises(PipelineError, match="module 'solve' names no model"):
        one()(question="q")


def test_a_member_that_does_not_exist_is_refused_and_not_outvoted() -> None:
    pipeline = one(model="2x sim/hazel + 1x sim/firr -> majority_vote")
    with pytest.raises(ModelError, match="'sim/firr'; nearest: 'sim/fir'"):
        pipeline(question="q")


def test_a_network_that_can_not_work_is_refused_when_the_pipeline_is_made() -> None:
    with pytest.raises(PipelineError, match="verifier needs a model"):
        one(model="3x sim/hazel -> verifier")
