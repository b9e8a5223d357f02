"""Loading a file from elsewhere: its bounds, its errors, and the code that it names."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import Pipeline, PipelineError, patterns
from search_spaces.config import MAX_WIDTH

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
ONE = "name: p\nmodules:\n- name: solve\n  signature: 'question -> answer'\n"
FULL = """\
name: p
modules:
- name: locate
  signature: "table, question -> job"
  model: "3x a -> majority_vote"
  temperature: 0.5
  rename: {job: task}
  demos: [{table: a, question: b, job: c}]
- name: check
  signature: "task -> found"
  function: tests.pipelines.files.test_loading:found
  params: {k: 1}
- {name: solve, strategy: chain_of_thought, signature: "task, found -> answer"}
outputs: [answer]
models:
- {name: openai/x, label: a, api_base: "http://h/v1", max_tokens: 9, params: {top_p: 1}}
config:
  locate:
    models: [a]
    width: 3
    aggregator: {name: judge, modules: {judge: {models: [a], temperature: 0.1}}}
  check: {params: {k: 2}}
  solve:
    members: [{model: a, temperature: 1.0, demos: []}, {model: a}]
    aggregator:
      name: best_of
      params: {function: "tests.pipelines.files.test_loading:rated"}
provenance: {x: 1}
"""
PROGRAM = """\
name: p
program: tests.pipelines.adapters.dspy_programs.importable:Extracting
inputs: [text]
returned: [person]
fallback: {model: a, temperature: 0.1}
models: [{name: a/b, label: a}]
"""
FACTORY = """\
name: p
factory: tests.pipelines.adapters.callables.agents:locate_and_solve
modules: [locate, solve]
inputs: [table, question]
outputs: [answer]
"""
ODD: list[Any] = [
    None, True, 5, 10**30, float("nan"), "", "a:b", "x" * 5000, [], {}, [1], [[]], {"a": 1}, [{}],
]  # fmt: skip


def found(task: str, k: int) -> str:
    return task


def rated(task: str, found: str, answer: str) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (LAUGHS, 6, "at most 100,000 keys and values are read"),
        ("a: " + "[" * 5000, 1, "at most 64 levels"),
        ("a: &a [*a]", 1, "a part contains itself"),
        (f"{ONE}outputs: {'9' * 5000}", 5, "can't be read as int"),
        (f"{ONE}outputs: !!bool x", 5, "'x' can't be read as bool"),
        (f"{ONE}outputs: !!set {{a}}", 5, "only plain data is read, not 'tag:yaml.org,2002:set'"),
        (f"{ONE}1: x", 5, "a key must be text: put '1' in quotes"),
        (f'{ONE}outputs: ["\\ud800"]', 5, "half a character"),
        (f"{ONE}  model: '{MAX_WIDTH + 1}x a -> majority_vote'", 5, "1 to 1000 members"),
        (
            f"{ONE}  model: '999x a + 2x b -> majority_vote'",
            5,
            "at most 1000 members, but got 1001",
        ),
        (f"{ONE}  model: '{'3x a -> judge(' * 3000}'", 5, "nested too deep"),
        (f"{ONE}config: {{solve: {{models: [a/b], width: {10**10}}}}}", 5, "less than or equal to"),
    ],
)
def test_what_is_too_much_or_too_odd_is_refused_with_its_line(
    text: str, line: int, message: str
) -> None:
    with pytest.raises(PipelineError) as refused:
        Pipeline.from_yaml(text, "elsewhere.yaml")
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"elsewhere.yaml, line {line}: ")
    assert len(str(refused.value)) < 1200


def test_dates_are_text() -> None:
    pipeline = Pipeline.from_yaml(f"{ONE}provenance: {{day: 2026-02-31}}")
    assert pipeline.provenance == {"day": "2026-02-31"}


def test_an_alias_is_read_within_the_bounds() -> None:
    text = f"{ONE}  demos:\n  - &one {{question: a, answer: b}}\n  - *one\n"
    assert len(Pipeline.from_yaml(text).modules[0].demos) == 2


def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes((ONE + "  instructions: 'r\u00e9ponds'\n").encode("cp1252"))
    with pytest.raises(PipelineError, match=r"p\.yaml, line 5: bad YAML: not UTF-8 text"):
        Pipeline.load(path)


def places(form: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inner = (
        form.items() if isinstance(form, dict) else enumerate(form if type(form) is list else ())
    )
    for key, value in inner:
        yield from places(value, (*at, key))


@pytest.mark.parametrize("text", [FULL, PROGRAM, FACTORY], ids=["spec", "program", "factory"])
def test_a_wrong_value_anywhere_is_refused_with_file_and_line(text: str) -> None:
    Pipeline.from_yaml(text, allow_code=True)
    whole = yaml.safe_load(text)
    for at in places(whole):
        for odd in ODD:
            changed = copy.deepcopy({"whole": whole})
            inner: Any = changed
            for key in ("whole", *at)[:-1]:
                inner = inner[key]
            inner[("whole", *at)[-1]] = odd
            told = refusal(yaml.safe_dump(changed["whole"]))
            assert told is None or told.startswith("x.yaml, line "), (at, odd)
            assert told is None or len(told) < 1200, (at, odd)


def refusal(text: str) -> str | None:
    try:
        Pipeline.from_yaml(text, "x.yaml", allow_code=True)
    except PipelineError as error:
        return str(error)
    return None


def test_code_is_listed_and_not_imported(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.yaml"
    path.write_text(
        "name: p\n"
        "modules:\n"
        "- {name: a, signature: 'question -> day: antigravity.Kind'}\n"
        "- {name: b, signature: 'question -> done', function: 'os:system'}\n"
        "- {name: c, signature: 'question -> d', model: '3x x/y:z -> best_of(function=own.d:f)'}\n"
        "config: {c: {aggregator: {name: 'own.e:Vote', params: {key_function: 'own.f:key'}}}}\n"
    )
    with pytest.raises(PipelineError) as refused:
        Pipeline.load(path)
    names = "antigravity, os:system, own.d:f, own.e:Vote, own.f:key. "
    assert f"be run: {names}" in str(refused.value)
    assert str(refused.value).startswith(f"{path}, line 3: ")
    assert "allow_code=True" in str(refused.value)
    assert "--allow-code" in str(refused.value)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (PROGRAM, "tests.pipelines.adapters.dspy_programs.importable:Extracting"),
        (FACTORY, "tests.pipelines.adapters.callables.agents:locate_and_solve"),
        (FULL, "test_loading:found, tests.pipelines.files.test_loading:rated"),
        (
            f"{ONE}  function: 'pipelines.modules.functions:import_function'",
            "pipelines.modules.functions:import_function",
        ),
        (f"{ONE}  model: '2x a -> shortest(function=os:abort)'", "os:abort"),
        (f"{ONE}  model: '2x a -> own.e:Vote'\nconfig: {{solve: {{models: [a/b]}}}}", "own.e:Vote"),
    ],
)
def test_code_needs_permission(text: str, name: str) -> None:
    with pytest.raises(PipelineError, match=f"imported, and so be run: .*{name}"):
        Pipeline.from_yaml(text)


def test_what_only_uses_our_aggregators_needs_none() -> None:
    for make in (patterns.locate_solve, patterns.multi_agent_debate, patterns.majority_vote):
        pipeline = make()
        assert Pipeline.from_yaml(pipeline.to_yaml()) == pipeline
    judged = f"{ONE}  model: '2x ollama/llama3:8b -> judge(a/b:c)'"
    assert Pipeline.from_yaml(judged).modules[0].model == "2x ollama/llama3:8b -> judge(a/b:c)"
