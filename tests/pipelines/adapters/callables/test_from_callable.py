"""What `from_callable` accepts, what it refuses and how, and how it is written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines import Pipeline, PipelineError
from pipelines.adapters.callables import CallablePipeline, from_callable
from search_spaces import ModuleConfig, PipelineConfig
from tests.pipelines.adapters.callables import agents
from tests.pipelines.adapters.callables.agents import Models, bound, locate_and_solve, once
from tests.pipelines.scripted_session import ScriptedSession

MODULES = ["locate", "solve"]


def told(factory: Any, modules: Any = MODULES, **arguments: Any) -> str:
    with pytest.raises(PipelineError) as raised:
        from_callable(factory, modules, **arguments)
    return str(raised.value)


def returning(function: Any) -> Callable[[Models], Any]:
    return lambda models: function


def test_names_inputs_and_outputs_are_read_off() -> None:
    pipeline = from_callable(locate_and_solve, MODULES)
    assert (pipeline.name, pipeline.inputs) == ("locate_and_solve", ("table", "question"))
    assert [module.name for module in pipeline.llm_modules] == MODULES
    assert pipeline.dependencies == {"locate": (), "solve": ("locate",)}
    assert not pipeline.is_fixed


def test_parameters_with_defaults_are_taken_where_they_are_named() -> None:
    factory = returning(lambda question, style="short": question)
    assert from_callable(factory, MODULES).inputs == ("question",)
    named = from_callable(factory, MODULES, inputs=["question", "style"])
    assert named.inputs == ("question", "style")


def test_modules_may_say_with_which_models_they_start() -> None:
    pipeline = from_callable(locate_and_solve, {"locate": "sim/alder", "solve": None})
    config = pipeline.default_config("sim/birch")
    assert config.allocation == {"locate": ("sim/alder",), "solve": ("sim/birch",)}


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([], "modules must name the places where the code asks a model"),
        (["two words"], "must be an identifier, such as 'solve', but got 'two words'"),
        (["solve", "solve"], "two modules are called 'solve'"),
        ({"solve": 3}, "module 'solve' must start with a model's name, but got 3"),
    ],
)
def test_wrong_modules_are_named(modules: Any, message: str) -> None:
    assert message in told(locate_and_solve, modules)


def no_function(models: Models) -> Any:
    return None


def test_a_factory_that_makes_no_function_is_named() -> None:
    assert told("agents.build").startswith("factory must be callable as factory(models), but got")
    assert told(no_function) == (
        "no_function(models) must return a function from inputs to outputs, but returned None; "
        "a factory takes `models` and returns the function that runs"
    )
    assert "made no function: ZeroDivisionError: " in told(lambda models: 1 / 0)


def test_a_factory_must_not_ask_itself() -> None:
    def build(models: Models) -> Any:
        return models["solve"].complete(agents.user("ready?"))

    assert "module 'solve' is asked outside of a run" in told(build)


def test_what_the_function_takes_must_be_named() -> None:
    message = told(returning(lambda **inputs: inputs))
    assert message.endswith("parameters such as (question), or say inputs=['question']")
    message = told(locate_and_solve, inputs=["table", "quest"])
    assert "must take the inputs (table, quest) by name: missing" in message


@pytest.mark.parametrize(
    "knobs",
    [
        {"width": 3, "aggregator": "majority_vote", "temperature": 1.0},
        {"instructions": "Think."},
        {"demos": ({"messages": "x", "reply": "y"},)},
    ],
)
def test_what_the_code_decides_is_no_knob(knobs: Mapping[str, Any]) -> None:
    pipeline = from_callable(locate_and_solve, ["solve"])
    with pytest.raises(PipelineError, match="a module whose calls plain Python makes has no"):
        bound(pipeline, ScriptedSession(), **knobs)


def test_it_comes_back_from_yaml(tmp_path: Path) -> None:
    given = from_callable(
        locate_and_solve, {"locate": "sim/alder", "solve": None}, name="mine", outputs=["answer"]
    )
    knobs: dict[str, Any] = {"temperature": 0.0, "params": {"reasoning_effort": "low"}}
    config = PipelineConfig(
        modules={
            "locate": ModuleConfig(models=("sim/alder",)),
            "solve": ModuleConfig(models=("sim/birch",), **knobs),
        }
    )
    tuned = given.with_config(config, ())
    tuned.save(tmp_path / "tuned.yaml")
    text = (tmp_path / "tuned.yaml").read_text(encoding="utf-8")
    assert "factory: tests.pipelines.adapters.callables.agents:locate_and_solve" in text
    loaded = Pipeline.load(tmp_path / "tuned.yaml", allow_code=True)
    assert isinstance(loaded, CallablePipeline)
    assert loaded == tuned
    assert loaded.identity == tuned.identity


def test_without_starting_models_the_names_are_a_list(tmp_path: Path) -> None:
    text = from_callable(locate_and_solve, MODULES).to_yaml()
    assert "modules:\n- locate\n- solve\n" in text
    assert Pipeline.from_yaml(text, allow_code=True) == from_callable(locate_and_solve, MODULES)


def test_a_local_factory_can_not_be_written() -> None:
    pipeline = once(lambda models, question: question)
    for write in (pipeline.check_writable, pipeline.to_yaml):
        with pytest.raises(PipelineError, match="but is a local function"):
            write()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("agents:locate_and_solve", "agents:nothing"), "line 2: cannot import function"),
        (("modules:", "module:"), "has no key 'module'; nearest: 'modules'"),
        (("- solve", "- solve\n- locate"), "two modules are called 'locate'"),
    ],
)
def test_wrong_yaml_is_told_with_its_line(change: tuple[str, str], message: str) -> None:
    text = from_callable(locate_and_solve, MODULES).to_yaml().replace(*change)
    with pytest.raises(PipelineError) as raised:
        Pipeline.from_yaml(text, allow_code=True)
    assert message in str(raised.value)
    assert "line " in str(raised.value)


def test_it_is_described_for_humans_and_the_diagnoser() -> None:
    told = from_callable(locate_and_solve, MODULES, outputs=["answer"]).describe()
    assert told.startswith("Pipeline locate_and_solve: table, question -> answer\n1. locate (lang")
    assert "2. solve (language model): messages: list[dict[str, str]] -> reply: str" in told


def test_a_misspelt_module_names_the_nearest() -> None:
    def build(models: Models) -> Any:
        handle = models["slove"]
        return lambda question: handle.complete([])

    assert "there is no module 'slove'; nearest: 'solve'" in told(build)


def test_a_module_without_a_model_is_told_how_to_get_one() -> None:
    with pytest.raises(PipelineError, match=r"from_callable\(factory, {'locate': 'openai/"):
        from_callable(locate_and_solve, MODULES)(table="t", question="q")
