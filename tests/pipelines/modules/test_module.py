"""A module is checked when it is made, and every refusal names the value and the rule."""

from __future__ import annotations

import textwrap
from typing import Any, Literal, Optional, get_args

import dspy
import pytest

from pipelines import Module, PipelineError
from pipelines.programs.program import Program


def shout(text: str, mark: str = "!") -> str:
    return text.upper() + mark


async def later(text: str) -> str:
    return text


def refusal(*args: Any, **knobs: Any) -> str:
    with pytest.raises(PipelineError) as refused:
        Module(*args, **knobs)
    return str(refused.value)


def test_fields_have_the_types_of_the_signature() -> None:
    module = Module(
        "pick",
        "question: str, k: int, strict: bool -> answers: list[str], grade: Literal['a', 'b'], "
        "why: Optional[str], scores: dict[str, float]",
    )
    assert module.input_fields == {"question": str, "k": int, "strict": bool}
    assert module.output_fields["answers"] == list[str]
    assert get_args(module.output_fields["grade"]) == get_args(Literal["a", "b"])
    assert module.output_fields["why"] == Optional[str]  # noqa: UP045  (DSPy keeps this form)
    assert module.output_fields["scores"] == dict[str, float]


def test_rename_wires_inputs_and_outputs_to_other_pipeline_fields() -> None:
    module = Module("solve", "task, hint -> answer", rename={"task": "question", "answer": "final"})
    assert module.reads == ("question", "hint")
    assert module.writes == ("final",)


def test_a_chain_of_thought_is_an_output_field_but_stays_with_its_module() -> None:
    module = Module("solve", "task -> answer", strategy="chain_of_thought")
    assert list(module.output_fields) == ["reasoning", "answer"]
    assert module.writes == ("answer",)


def test_a_renamed_chain_of_thought_becomes_a_field_of_the_pipeline() -> None:
    module = Module(
        "solve", "task -> answer", strategy="chain_of_thought", rename={"reasoning": "steps"}
    )
    assert module.writes == ("steps", "answer")


def test_a_function_given_by_name_is_the_function() -> None:
    by_name = Module("flatten", "text -> flat", function="textwrap:dedent")
    assert by_name == Module("flatten", "text -> flat", function=textwrap.dedent)


def test_the_module_keeps_its_own_copy_of_what_it_is_given() -> None:
    params = {"mark": "?"}
    module = Module("shout", "text -> loud", function=shout, params=params)
    params["mark"] = "..."
    assert module.params == {"mark": "?"}


def test_demos_may_be_dspy_examples() -> None:
    module = Module("solve", "task -> answer", demos=[dspy.Example(task="1+1", answer="2")])
    assert module.demos == ({"task": "1+1", "answer": "2"},)


@pytest.mark.parametrize(
    ("signature", "rule"),
    [
        ("question, answer", "must have exactly one '->', but has 0"),
        ("a -> b -> c", "must have exactly one '->', but has 2"),
        ("question ->", "must name at least one output"),
        ("question: -> answer", "'question:' must be a list of fields"),
        ("question: Foo -> answer", "Unknown name: Foo"),
        ("q -> answer, answer", "names 'answer' more often"),
        ("q -> q", "names 'q' more often"),
        ("q=3 -> answer", "'q=3' must be a list of fields"),
        ("*q -> answer", "'*q' must be a list of fields"),
        ("_q -> answer", "must not begin with an underscore, but got '_q'"),
        ("q -> instructions", "'instructions' is a name that DSPy's signatures use"),
        ("q): pass\ndef other(x -> answer", "must be a list of fields"),
        ("config -> answer", "DSPy's predictors take 'config' for themselves"),
    ],
)
def test_a_bad_signature_is_quoted_with_the_rule_it_breaks(signature: str, rule: str) -> None:
    message = refusal("solve", signature)
    assert message.startswith(f"module 'solve': bad signature {signature!r}: ")
    assert rule in message


@pytest.mark.parametrize("name", ["self", "instance", "signature", "demos", "lm", "completions"])
def test_inputs_that_dspy_would_swallow_are_refused_for_models(name: str) -> None:
    assert "bad signature" in refusal("solve", f"{name} -> answer")


@pytest.mark.parametrize("name", ["solve it", "", "1st", "_own", 3])
def test_a_name_must_be_an_identifier(name: Any) -> None:
    assert refusal(name, "a -> b") == (
        f"module {name!r}: a module's name must be an identifier, such as 'solve'"
    )


@pytest.mark.parametrize("name", [n for n in dir(Program) if not n.startswith("_")] + ["history"])
def test_a_name_may_not_hide_what_dspy_programs_have(name: str) -> None:
    assert "taken by DSPy's programs" in refusal(name, "a -> b")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"strategy": "chain_of_thoughts"}, "got 'chain_of_thoughts'; nearest: 'chain_of_thought'"),
        ({"temperature": 3}, "0 <= temperature <= 2 must hold, but got 3"),
        ({"temperature": "hot"}, "but got 'hot'"),
        ({"temperature": float("nan")}, "but got nan"),
        ({"temperature": True}, "but got True"),
        ({"instructions": "  "}, "instructions must be text that is not blank, but got '  '"),
        ({"model": 4}, "model must be text, but got 4"),
        ({"rename": {"tasks": "x"}}, "unknown field 'tasks'; nearest: 'task'"),
        ({"rename": {"task": "a b"}}, "must give 'task' an identifier, but got 'a b'"),
        ({"rename": {"answer": "x", "why": "x"}}, "two become 'x'"),
        ({"rename": "task"}, "rename must map fields to fields, but got 'task'"),
        ({"params": {"k": 1}}, "only a function module has params, but got {'k': 1}"),
        ({"demos": [{"tsk": 1}]}, "a demo has the unknown field 'tsk'; nearest: 'task'"),
        ({"demos": ["task"]}, "a demo must be a record of fields, but got 'task'"),
        ({"demos": {"task": 1}}, "demos must be a list of records"),
        ({"function": shout}, "must take the arguments (task)"),
    ],
)
def test_a_bad_knob_is_named_with_its_value(knobs: dict[str, Any], message: str) -> None:
    told = refusal("solve", "task -> answer, why", **knobs)
    assert told.startswith("module 'solve': ")
    assert message in told


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"function": "json.dumps"}, "'json.dumps' must read 'package.module:name'"),
        ({"function": "nowhere:f"}, "cannot import function 'nowhere:f': ModuleNotFoundError"),
        ({"function": "json:dmps"}, "cannot import function 'json:dmps': AttributeError"),
        ({"function": "json:__name__"}, "'json:__name__' must be callable, but is a str"),
        ({"function": 3}, "function must be callable or 'package.module:name', but got 3"),
        ({"function": later}, "'later' must not be asynchronous"),
        ({"function": shout, "params": {"marc": 1}}, "unexpected keyword argument 'marc'"),
        ({"function": shout, "params": {"text": 1}}, "both have 'text'"),
        ({"function": shout, "model": "m"}, "a function module has no model"),
        ({"function": shout, "instructions": "Shout."}, "a function module has no instructions"),
        ({"function": shout, "temperature": 0}, "a function module has no temperature"),
        ({"function": shout, "strategy": "chain_of_thought"}, "a function module has no strategy"),
        ({"function": shout, "demos": [{"text": "a"}]}, "a function module has no demos"),
    ],
)
def test_a_bad_function_is_refused(knobs: dict[str, Any], message: str) -> None:
    assert message in refusal("shout", "text -> loud", **knobs)


def test_a_chain_of_thought_may_not_be_in_the_signature_as_well() -> None:
    message = refusal("solve", "task -> reasoning, answer", strategy="chain_of_thought")
    assert "chain_of_thought adds 'reasoning' itself" in message
