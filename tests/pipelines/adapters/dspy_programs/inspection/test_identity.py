"""A program's identity changes with whatever decides what it does, and with nothing else."""

from __future__ import annotations

import copy
import importlib
import linecache
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import numpy as np
import pytest

from pipelines.adapters.dspy_programs import from_dspy
from pipelines.adapters.dspy_programs.inspection.identity import described
from search_spaces.config import canonical_json

CODE = """
import dspy

class Inner(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.answer(question=question)

class Base(dspy.Module):
    pass

class Outer(Base):
    def __init__(self):
        super().__init__()
        self.inner = Inner()
        self.k = 3
        self.client = object()

    def forward(self, question):
        return self.inner(question=question)
"""

Write = Callable[..., dspy.Module]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Makes an `Outer` of the code after some changes."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def made(before: str = "", after: str = "") -> Any:
        (tmp_path / "written.py").write_text(CODE.replace(before, after) if before else CODE)
        sys.modules.pop("written", None)
        importlib.invalidate_caches()
        __import__("linecache").clearcache()
        return importlib.import_module("written").Outer()

    return made


def identity(program: dspy.Module) -> str:
    return canonical_json(from_dspy(program).identity)


def test_it_is_the_same_for_each_instance(write: Write) -> None:
    assert identity(write()) == identity(write())
    bare = [identity(dspy.Predict("question -> answer")) for _ in range(2)]
    assert bare[0] == bare[1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("return self.inner(question=question)", "return self.inner(question=question + '!')"),
        ("return self.answer(question=question)", "return self.answer(question=question + '!')"),
        ("class Base(dspy.Module):\n    pass", "class Base(dspy.Module):\n    depth = 2"),
        ("self.k = 3", "self.k = 4"),
        ('"question -> answer"', '"question -> answer: int"'),
    ],
    ids=["its class", "a class in it", "its base", "an attribute", "a signature"],
)
def test_it_changes_with(write: Write, before: str, after: str) -> None:
    assert identity(write()) != identity(write(before, after))


def test_running_does_not_change_it(write: Write) -> None:
    program: Any = write()
    before = identity(program)
    with dspy.context(lm=dspy.utils.DummyLM([{"answer": "x"}])):
        program(question="q")
    assert identity(program) == before


def test_it_changes_with_a_tool() -> None:
    def one(x: str) -> str:
        return x

    def two(x: str) -> str:
        return x + x

    def agent(tool: Any) -> str:
        return identity(dspy.ReAct("q -> a", tools=[dspy.Tool(tool, name="tool", desc="does")]))

    assert agent(one) == agent(one)
    assert agent(one) != agent(two)


@pytest.mark.parametrize(
    "member",
    [
        "def forward(self, question): return self.ask(question=question + {})",
        "@property\n    def text(self): return {}",
        "@staticmethod\n    def text(): return {}",
        "@classmethod\n    def text(cls): return {}",
        "text = {}",
    ],
)
def test_it_changes_with_a_cell_of_a_notebook(member: str) -> None:
    def made(value: str) -> dspy.Module:
        source = (
            "class Cell(dspy.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.ask = dspy.Predict('question -> answer')\n"
            "    def forward(self, question): return self.ask(question=question)\n"
            f"    {member.format(value)}\n"
        )
        name = f"<cell {value}>"  # IPython names each cell, and finds its source by that name
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        scope: dict[str, Any] = {"dspy": dspy, "__name__": "__main__"}
        exec(compile(source, name, "exec"), scope)
        program: dspy.Module = scope["Cell"]()
        return program

    assert identity(made("'one'")) == identity(made("'one'"))
    assert identity(made("'one'")) != identity(made("'two'"))


def test_a_corpus_counts_and_is_read_once() -> None:
    class Holding(dspy.Module):
        def __init__(self, corpus: list[str]) -> None:
            super().__init__()
            self.corpus = corpus
            self.answer = dspy.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.answer(question=question)

    corpus = [f"passage {n} " * 10 for n in range(100_000)]
    pipeline = from_dspy(Holding(corpus))
    other = from_dspy(Holding([*corpus, "one more"]))
    assert pipeline.identity != other.identity
    started = time.thread_time()
    for _ in range(100):
        assert pipeline.identity
    assert time.thread_time() - started < 0.1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({("x", "y"): 1}, {("x", "y"): 2}),
        ([{("x", "y"): 1}], [{("x", "z"): 1}]),
        (np.zeros(2000), np.append(np.zeros(1000), np.ones(1000))),
    ],
)
def test_values_that_differ_are_described_differently(one: Any, other: Any) -> None:
    assert described(one) != described(other)
    assert described(one) == described(copy.deepcopy(one))
