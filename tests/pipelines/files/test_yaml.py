"""The YAML form is exact both ways, and its errors tell the line."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import Module, Pipeline, PipelineError, patterns
from pipelines.aggregators.notation import parse_network
from pipelines.gateway.model import Model
from search_spaces import MemberConfig, ModuleConfig, PipelineConfig

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda text: text.strip() != ""
)
names = st.from_regex(r"m_[a-z0-9]{1,6}", fullmatch=True)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
temperatures = st.none() | st.floats(0, 2)
own_settings = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "instructions": texts,
        "demos": st.lists(st.fixed_dictionaries({"text": plain}), max_size=2),
    },
)


def keep(text: str, **params: Any) -> str:
    return f"{text}{params}"


def members_of(label: str, width: int) -> st.SearchStrategy[dict[str, Any]]:
    """Members that all ask one model, in the short form or with settings of their own."""
    member = st.builds(lambda own: MemberConfig(label, **own), own_settings)
    members = st.lists(member, min_size=width, max_size=width).map(tuple)
    short = {"models": (label,) * width, "width": width}
    return st.just(short) | st.fixed_dictionaries({"members": members})


@st.composite
def specs(draw: st.DrawFn) -> Pipeline:
    """Pipelines of up to four modules in a row, with every knob that a module has."""
    modules = []
    for index, name in enumerate(draw(st.lists(names, min_size=1, max_size=4, unique=True))):
        wiring = {"text": f"f{index}", "result": f"f{index + 1}"}
        knobs: dict[str, Any]
        if draw(st.booleans()):
            params = draw(st.dictionaries(names, plain, max_size=2))
            knobs = {"function": keep, "params": params}
        else:
            knobs = {
                "instructions": draw(st.none() | texts),
                "strategy": draw(st.sampled_from(["predict", "chain_of_thought"])),
                "model": draw(st.none() | texts),
                "temperature": draw(temperatures),
                "demos": draw(st.lists(st.fixed_dictionaries({"text": plain}), max_size=2)),
            }
        modules.append(Module(name, "text -> result", rename=wiring, **knobs))
    pipeline = Pipeline(draw(texts), modules, provenance=draw(st.dictionaries(texts, plain)))
    if draw(st.booleans()):
        return pipeline
    label, wide = draw(texts), draw(st.integers(1, 3))
    config = pipeline.default_config(label)
    tuned = {
        module.name: ModuleConfig(
            **draw(members_of(label, wide)),
            aggregator="majority_vote",
            temperature=draw(temperatures),
            instructions=draw(st.none() | texts),
            demos=tuple(dict(demo) for demo in module.demos),
        )
        for module in pipeline.llm_modules
    }
    labels = {label for labels in config.allocation.values() for label in labels} | {label}
    return Pipeline(
        pipeline.name,
        pipeline.modules,
        [f"f{draw(st.integers(1, len(modules)))}"],
        config=PipelineConfig(modules={**config.modules, **tuned}),
        models=[Model("sim/any", label=label, params={"k": 1}) for label in sorted(labels)],
    )


@settings(deadline=None)
@given(specs())
def test_the_round_trip_is_exact(pipeline: Pipeline) -> None:
    text = pipeline.to_yaml()
    again = Pipeline.from_yaml(text, allow_code=True)
    assert again == pipeline
    assert again.to_yaml() == text


@pytest.mark.parametrize(
    "make",
    [
        patterns.locate_solve,
        patterns.self_refine,
        patterns.multi_agent_debate,
        patterns.majority_vote,
    ],
)
def test_patterns_round_trip(make: Callable[[], Pipeline]) -> None:
    assert Pipeline.from_yaml(make().to_yaml()) == make()


def test_python_and_yaml_give_the_same_object() -> None:
    text = """
        name: locate-solve
        modules:
          - name: locate
            signature: "table, question -> task"
            instructions: Extract the task whose ID is asked for.
          - {name: solve, signature: "task -> answer: int", temperature: 0.5, model: small}
          - name: tidy
            signature: text -> flat
            function: textwrap:dedent
            rename: {text: answer}
        outputs: [answer, flat]
        models: [sim/large, {name: sim/small, label: small}]
    """
    assert Pipeline.from_yaml(textwrap.dedent(text), allow_code=True) == Pipeline(
        "locate-solve",
        [
            Module(
                "locate",
                "table, question -> task",
                instructions="Extract the task whose ID is asked for.",
            ),
            Module("solve", "task -> answer: int", temperature=0.5, model="small"),
            Module("tidy", "text -> flat", function=textwrap.dedent, rename={"text": "answer"}),
        ],
        outputs=["answer", "flat"],
        models=[Model("sim/large"), Model("sim/small", label="small")],
    )


def test_a_saved_pipeline_carries_config_and_provenance(tmp_path: Path) -> None:
    spec = patterns.locate_solve()
    tuned = Pipeline(
        spec.name,
        spec.modules,
        config=spec.default_config("sim/a").with_models({"solve": "sim/b"}),
        provenance={"run": "abc", "score": 0.93},
    )
    tuned.save(tmp_path / "tuned.yaml")
    assert Pipeline.load(tmp_path / "tuned.yaml") == tuned


def test_long_instructions_are_written_as_a_block() -> None:
    module = Module("solve", "task -> answer", instructions="First think.\nThen answer.")
    assert (
        "instructions: |-\n    First think.\n    Then answer." in Pipeline("x", [module]).to_yaml()
    )


GOOD = """\
name: x
modules:
- name: locate
  signature: table, question -> task
- name: solve
  signature: task -> answer
outputs: [answer]
config:
  locate:
    models: [a]
  solve:
    models: [a]
    temperature: 0.5
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("- name: solve", "- nam: solve", 5, "a module has no key 'nam'; nearest: 'name'"),
        ("  signature: task -> answer\n", "", 5, "a module needs the key 'signature'"),
        ("task -> answer", "task answer", 6, "must have exactly one '->', but has 0"),
        ("- name: solve", "- name: locate", 5, "two are called 'locate'"),
        ("question -> task", "answer -> task", 2, "locate -> solve -> locate do"),
        ("outputs: [answer]", "outputs: [answr]", 7, "'answr'; nearest: 'answer'"),
        ("outputs: [answer]", "outputs: answer", 7, "outputs must be a list, but is 'answer'"),
        ("outputs: [answer]", "output: [answer]", 7, "no key 'output'; nearest: 'outputs'"),
        ("outputs: [answer]", "outputs: [answer", 8, "bad YAML"),
        ("outputs: [answer]", "outputs: [\x07]", 7, "special characters are not allowed"),
        ("name: x", "name: x\nname: y", 2, "key 'name' is given twice"),
        ("  solve:\n", "  slove:\n", 11, "config has the unknown module 'slove'; nearest: 'solve'"),
        ("temperature: 0.5", "temperature: 5", 13, "temperature: Input should be less than"),
        ("temperature: 0.5", "temprature: 5", 13, "no key 'temprature'; nearest: 'temperature'"),
        ("temperature: 0.5", "aggregator: majority", 13, "'majority'; nearest: 'majority_vote'"),
        ("name: x", "- x", 2, "bad YAML"),
        ("name: x", "? [a, b]\n: x", 1, "a key must be text"),
        ("name: x", "name: &x [*x]", 1, "a part contains itself"),
        ("config:", "models: [{nme: a}]\nconfig:", 8, "a model has no key 'nme'; nearest: 'name'"),
        ("config:", "models: [{name: ''}]\nconfig:", 8, "name: it must name a model, such as"),
    ],
)
def test_errors_tell_the_line(old: str, new: str, line: int, message: str) -> None:
    assert old in GOOD
    with pytest.raises(PipelineError) as refused:
        Pipeline.from_yaml(GOOD.replace(old, new, 1), "tuned.yaml")
    assert refused.value.line == line
    assert str(refused.value).startswith(f"tuned.yaml, line {line}: ")
    assert message in str(refused.value)


MEMBERS = GOOD.replace(
    "    models: [a]\n    temperature: 0.5\n",
    """\
    members:
    - a
    - model: a
      temperature: 0.2
      instructions: Be brief.
    - model: b
      demos:
      - {task: 1 + 1, answer: 2}
    aggregator: majority_vote
    width: 3
""",
)


def test_members_may_be_labels_or_have_settings_of_their_own() -> None:
    pipeline = Pipeline.from_yaml(MEMBERS)
    assert pipeline.config is not None
    solve = pipeline.config.modules["solve"]
    assert solve.labels == ("a", "a", "b")
    assert [member.own for member in solve.members] == [
        {},
        {"temperature": 0.2, "instructions": "Be brief."},
        {"demos": ({"task": "1 + 1", "answer": 2},)},
    ]
    assert Pipeline.from_yaml(pipeline.to_yaml()) == pipeline


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("temperature: 0.2", "temperature: 5", 15, "members.1.temperature: Input should be less"),
        ("temperature: 0.2", "tempreture: 0.2", 15, "members.1.tempreture: Unexpected keyword"),
        ("width: 3", "width: 4", 11, "members must be as many as the width 4, but got 3"),
        ("{task:", "{tsk:", 18, "member 2: a demo has the unknown field 'tsk'; nearest: 'task'"),
    ],
)
def test_errors_tell_the_member(old: str, new: str, line: int, message: str) -> None:
    with pytest.raises(PipelineError) as refused:
        Pipeline.from_yaml(MEMBERS.replace(old, new, 1))
    assert message in str(refused.value)
    assert refused.value.line == line


@pytest.mark.parametrize("text", ["", "# nothing\n", "just text", "[1, 2]"])
def test_what_is_no_pipeline_is_refused(text: str) -> None:
    with pytest.raises(PipelineError, match=r"^line 1: (the YAML is empty|a pipeline must be a)"):
        Pipeline.from_yaml(text, allow_code=True)


def test_a_file_that_is_not_there_is_an_ordinary_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Pipeline.load(tmp_path / "none.yaml")


def test_a_lambda_is_refused_when_it_is_written() -> None:
    pipeline = Pipeline("x", [Module("f", "a -> b", function=lambda a: a)])
    with pytest.raises(PipelineError, match=r"must be importable .* but is a lambda"):
        pipeline.to_yaml()


def test_a_local_function_is_refused_when_it_is_written() -> None:
    def local(a: str) -> str:
        return a

    pipeline = Pipeline("x", [Module("f", "a -> b", function=local)])
    with pytest.raises(PipelineError, match=r"local'.* but is a local function"):
        pipeline.to_yaml()


def test_a_function_of_a_script_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(a: str) -> str:
        return a

    script.__module__, script.__qualname__ = "__main__", "script"
    monkeypatch.setattr(sys.modules["__main__"], "script", script, raising=False)
    pipeline = Pipeline("x", [Module("f", "a -> b", function=script)])
    with pytest.raises(PipelineError, match=r"'__main__:script' .* move it from the script"):
        pipeline.to_yaml()


def test_a_hidden_function_is_refused() -> None:
    def impostor(text: str) -> str:
        return text

    impostor.__module__, impostor.__qualname__ = "textwrap", "dedent"
    pipeline = Pipeline("x", [Module("f", "text -> b", function=impostor)])
    with pytest.raises(PipelineError, match=r"'textwrap:dedent' .* another one has that name"):
        pipeline.to_yaml()


def test_a_value_that_yaml_would_change_is_refused() -> None:
    pipeline = Pipeline("x", [Module("f", "text -> b", function=keep, params={"r": (1, 2)})])
    with pytest.raises(PipelineError, match=r"modules.0.params.r holds \(1, 2\), a tuple"):
        pipeline.to_yaml()


def test_networks_of_networks_survive() -> None:
    network = parse_network(
        "2x a + b -> judge(3x c -> verifier(d, fallback=first), answer=write)", temperature=0.7
    )
    pipeline = Pipeline(
        "p",
        [Module("solve", "question -> answer")],
        config=PipelineConfig(modules={"solve": network}),
        models=[Model(f"sim/{label}", label=label) for label in "abcd"],
    )
    again = Pipeline.from_yaml(pipeline.to_yaml())
    assert again == pipeline
    assert again.config is not None
    assert again.config.key == PipelineConfig(modules={"solve": network}).key
