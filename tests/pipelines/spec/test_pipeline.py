"""Wiring: one writer for each field, no cycles, and what is left over is input and output."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import Module, Pipeline, PipelineError
from pipelines.gateway.model import Model
from search_spaces import ModuleConfig, PipelineConfig


def first_word(text: str) -> str:
    return text.split()[0]


def refusal(*args: Any, **knobs: Any) -> str:
    with pytest.raises(PipelineError) as refused:
        Pipeline(*args, **knobs)
    return str(refused.value)


LOCATE = Module("locate", "table, question -> task")
SOLVE = Module("solve", "task -> answer")


def test_what_nobody_writes_is_input_and_what_nobody_reads_is_output() -> None:
    pipeline = Pipeline("x", [LOCATE, SOLVE])
    assert pipeline.inputs == ("table", "question")
    assert pipeline.outputs == ("answer",)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"table": "t", "qestion": "q"}, "has no input 'qestion'; nearest: 'question'"),
        ({"table": "t"}, "needs the input 'question'"),
    ],
)
def test_a_call_with_other_inputs_is_refused(inputs: dict[str, str], told: str) -> None:
    with pytest.raises(PipelineError) as refused:
        Pipeline("x", [LOCATE, SOLVE])(**inputs)
    assert str(refused.value) == f"pipeline 'x' {told} (inputs: table, question)"


def test_the_order_of_the_modules_does_not_matter_for_the_levels() -> None:
    assert Pipeline("x", [SOLVE, LOCATE]).levels == (("locate",), ("solve",))


def test_requested_outputs_may_be_read_by_other_modules() -> None:
    assert Pipeline("x", [LOCATE, SOLVE], ["task", "answer"]).outputs == ("task", "answer")


def test_two_chains_of_thought_do_not_collide() -> None:
    modules = [
        Module("locate", "table -> task", strategy="chain_of_thought"),
        Module("solve", "task -> answer", strategy="chain_of_thought"),
    ]
    assert Pipeline("x", modules).outputs == ("answer",)


def test_two_writers_of_one_field_are_both_named_with_the_remedy() -> None:
    other = Module("guess", "question -> reply", rename={"reply": "answer"})
    message = refusal("x", [SOLVE, other])
    assert "modules 'solve' and 'guess' both write 'answer'" in message
    assert "rename={'reply': ...}" in message


def test_two_modules_of_one_name_are_refused() -> None:
    message = refusal("x", [SOLVE, Module("solve", "a -> b")])
    assert message == "modules must have distinct names, but two are called 'solve'"


def test_a_cycle_is_shown_in_the_direction_of_the_data() -> None:
    modules = [
        Module("start", "question -> a"),
        Module("one", "a, c -> b"),
        Module("two", "b -> d"),
        Module("three", "d -> c"),
        Module("end", "b -> e"),
    ]
    message = refusal("x", modules)
    assert message == "modules must not form a cycle, but one -> two -> three -> one do"


def test_a_module_that_reads_its_own_output_is_a_cycle() -> None:
    loop = Module("solve", "draft -> answer", rename={"draft": "answer"})
    assert "solve -> solve do" in refusal("x", [loop])


def test_an_output_that_nobody_writes_is_answered_with_the_nearest() -> None:
    message = refusal("x", [LOCATE, SOLVE], ["answr"])
    assert message == "no module writes the output 'answr'; nearest: 'answer'"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("x", []), "at least one module"),
        (("x", ["solve"]), "modules must be Modules, but got 'solve'"),
        (("", [SOLVE]), "a pipeline's name must be text, but got ''"),
        (("x", [SOLVE], "answer"), "outputs must be a list of fields, but got 'answer'"),
        (("x", [SOLVE], ["answer", "answer"]), "outputs name 'answer' twice"),
    ],
)
def test_other_refusals(args: tuple[Any, ...], message: str) -> None:
    assert message in refusal(*args)


def test_reading_an_unwired_chain_of_thought_says_how_to_wire_it() -> None:
    modules = [
        Module("solve", "task -> answer", strategy="chain_of_thought"),
        Module("check", "reasoning, answer -> verdict"),
    ]
    message = refusal("x", modules)
    assert "module 'solve' keeps its chain of thought to itself" in message
    assert "rename={'reasoning': ...}" in message


def test_an_unknown_module_is_answered_with_the_nearest() -> None:
    with pytest.raises(PipelineError, match=r"no module 'slove'; nearest: 'solve'"):
        Pipeline("x", [LOCATE, SOLVE]).module("slove")


def test_the_default_config_says_what_the_modules_say() -> None:
    pipeline = Pipeline(
        "x",
        [
            Module("locate", "table -> task", model="small", temperature=0.5, instructions="Find."),
            Module("solve", "task -> answer"),
            Module("tidy", "text -> word", function=first_word, rename={"text": "answer"}),
        ],
    )
    config = pipeline.default_config("big")
    assert config.allocation == {"locate": ("small",), "solve": ("big",)}
    assert config.modules["locate"].temperature == 0.5
    assert config.modules["locate"].instructions == "Find."
    assert config.modules["tidy"] == ModuleConfig()


def test_a_module_without_a_model_needs_a_fallback() -> None:
    with pytest.raises(PipelineError, match=r"module 'locate' names no model; give it one"):
        Pipeline("x", [LOCATE, SOLVE]).default_config()


def test_an_attached_config_is_checked_against_modules_and_models() -> None:
    config = PipelineConfig(modules={"solve": ModuleConfig(models=("smal",))})
    message = refusal("x", [SOLVE], config=config, models=[Model("sim/small", label="small")])
    assert "config of module 'solve': unknown model 'smal'; nearest: 'small'" in message


def test_names_that_say_all_need_no_model_beside_labels() -> None:
    allocation = {"locate": ModuleConfig(models=("sim/a",)), "solve": ModuleConfig(models=("b",))}
    config = PipelineConfig(modules=allocation)
    models = [Model("sim/large", label="b")]
    assert Pipeline("x", [LOCATE, SOLVE], config=config, models=models).config == config


def test_models_of_one_label_are_refused() -> None:
    assert "'sim/a' is given twice" in refusal("x", [SOLVE], models=[Model("sim/a")] * 2)


def test_the_description_tells_wiring_and_instructions() -> None:
    solve = Module("solve", "q -> answer", rename={"q": "task"}, instructions="Be\nbrief.")
    text = Pipeline("locate-solve", [LOCATE, solve]).describe()
    assert text.splitlines()[0] == "Pipeline locate-solve: table, question -> answer"
    assert "2. solve (language model): q -> answer" in text
    assert "renames q to task" in text
    assert "after locate" in text
    assert "instructions: Be brief." in text


@settings(deadline=None)
@given(st.data())
def test_levels_hold_every_module_once_and_after_those_it_reads(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 8))
    modules = []
    for index in range(size):
        earlier = [f"f{number}" for number in range(index)]
        read = data.draw(
            st.lists(st.sampled_from(earlier), unique=True) if earlier else st.just([])
        )
        modules.append(Module(f"m{index}", f"{', '.join(['given', *read])} -> f{index}"))
    pipeline = Pipeline("x", data.draw(st.permutations(modules)))
    place = {name: level for level, names in enumerate(pipeline.levels) for name in names}
    assert sum(map(len, pipeline.levels)) == size == len(place)
    for module in pipeline.modules:
        needed = pipeline.dependencies[module.name]
        assert place[module.name] == max((place[name] + 1 for name in needed), default=0)
