"""The YAML form of a program: how to make it again, and what was tuned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dspy
import pytest

from pipelines import Pipeline, PipelineError
from pipelines.adapters.dspy_programs import DSPyPipeline, from_dspy
from pipelines.gateway.model import Model
from tests.pipelines.adapters.dspy_programs.importable import Extracting, Needing
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve

HOME = "tests.pipelines.adapters.dspy_programs.importable"


def tuned(program: dspy.Module) -> DSPyPipeline:
    pipeline = from_dspy(program)
    config = pipeline.default_config("small").with_knobs("comment", instructions="Be brief.")
    return pipeline.with_config(config, [Model("openai/x", "small", "http://127.0.0.1/v1")])


def test_it_leads_back_to_an_equal_pipeline() -> None:
    pipeline = tuned(Extracting()).with_inputs(("text", "tone")).with_outputs(("comment", "tone"))
    pipeline = pipeline.with_fallback(Model("openai/y", "other")).with_provenance({"by": "hand"})
    text = pipeline.to_yaml()
    again: Any = Pipeline.from_yaml(text, allow_code=True)
    assert isinstance(again, DSPyPipeline)
    assert again.program is not pipeline.program
    assert (again.name, again.inputs, again.outputs) == ("Extracting", ("text", "tone"),
                                                         ("comment", "tone"))  # fmt: skip
    assert (again.config, again.fallback) == (pipeline.config, pipeline.fallback)
    assert again.provenance == {"by": "hand"}
    assert again.identity == pipeline.identity
    assert again.to_yaml() == text


def test_what_the_user_has_declared_stays_declared() -> None:
    own = from_dspy(Extracting()).outputs
    for outputs in (["comment"], list(own)):
        pipeline = from_dspy(Extracting(), outputs=outputs)
        again: Any = Pipeline.from_yaml(pipeline.to_yaml(), allow_code=True)
        assert (again.outputs, again.declared) == (tuple(outputs), True)
        assert again.identity == pipeline.identity


def test_what_a_bare_form_leaves_out_is_as_the_program_has_it() -> None:
    form = f"name: bare\nprogram: {HOME}:Extracting\n"
    again: Any = Pipeline.from_yaml(form, allow_code=True)
    assert (again.name, again.inputs, again.config) == ("bare", ("text",), None)


def test_it_holds_no_key() -> None:
    pipeline = from_dspy(Extracting())
    models = [Model("openai/x", "small", api_key_env="MY_KEY")]
    text = pipeline.with_config(pipeline.default_config("small"), models).to_yaml()
    assert "MY_KEY" in text


def _local() -> dspy.Module:
    class Local(LocateSolve):
        pass

    return Local()


def _with_another_signature() -> dspy.Module:
    program = Extracting()
    program.comment = dspy.Predict("person, mood -> comment, more")
    return program


def _with_instructions_that_an_optimizer_changed() -> dspy.Module:
    program = Extracting()
    program.comment.signature = program.comment.signature.with_instructions("Found by DSPy.")
    return program


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Needing(object()), f"{HOME}:Needing can't be made without 'retriever'"),
        (
            lambda: Extracting(hops=3),
            "Extracting() makes another program: 'hops' is not as it was tuned",
        ),
        (_with_another_signature, "module 'comment' is not as it was tuned"),
        (_with_instructions_that_an_optimizer_changed, "module 'comment' is not as it was tuned"),
        (_local, "but is a local class"),
        (lambda: dspy.ChainOfThought("text -> comment"), "can't be made without 'signature'"),
    ],
)
def test_a_program_that_its_class_alone_does_not_make_is_handed_over(
    make: Callable[[], dspy.Module], reason: str
) -> None:
    given = from_dspy(make())
    given.check_writable()
    last = given.modules[-1].name
    config = given.default_config("openai/x").with_knobs(last, instructions="Be brief.")
    text = given.with_config(config, []).to_yaml()
    with pytest.raises(PipelineError) as caught:
        Pipeline.from_yaml(text, allow_code=True)
    assert reason in str(caught.value)
    assert "Pipeline.load(path, program=...)" in str(caught.value)
    program = make()
    again: Any = Pipeline.from_yaml(text, program=program)
    assert again.program is program
    assert (again.config, again.inputs, again.outputs) == (config, given.inputs, given.outputs)
    with pytest.raises(PipelineError, match=r"was tuned as .* and is None in program="):
        Pipeline.from_yaml(text, program=dspy.Predict("x -> y"))


def test_a_program_is_given_to_dspy_programs_only() -> None:
    with pytest.raises(PipelineError, match="program= is for DSPy programs"):
        Pipeline.from_yaml("name: x\nmodules: [{name: a, signature: q -> r}]", program=Extracting())


def test_a_class_that_raises_is_named_with_what_it_raised() -> None:
    with pytest.raises(PipelineError, match=r"Breaking\(\) made no program: OSError: no index"):
        Pipeline.from_yaml(f"name: x\nprogram: {HOME}:Breaking\n", allow_code=True)


def test_a_fallback_that_is_no_model_of_the_form_is_refused_with_the_nearest() -> None:
    form = f"name: x\nprogram: {HOME}:Extracting\nmodels: [openai/x]\nfallback: {{model: openai/z}}"
    with pytest.raises(PipelineError, match=r"fallback names no model.*'openai/x'"):
        Pipeline.from_yaml(form, allow_code=True)
