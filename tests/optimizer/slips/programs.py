"""Slips with DSPy programs, with plain Python, with `to_dspy` and with where runs are"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import dspy

from optimizer.loop import optimize
from pipelines import Pipeline
from pipelines.adapters.callables import from_callable
from pipelines.adapters.dspy_programs import from_dspy
from pipelines.patterns import locate_solve
from tests.optimizer.made import make_result
from tests.optimizer.runs import MODELS
from tests.optimizer.runs import ROWS as TABLES
from tests.optimizer.slips.files import ROWS
from tests.optimizer.slips.slip import Slip, slip, tuning, with_environment


class Program(dspy.Module):
    def __init__(self, lm: dspy.BaseLM | None = None) -> None:
        super().__init__()
        self.solve = dspy.Predict("question -> answer")
        self.solve.lm = lm

    def forward(self, question: str) -> dspy.Prediction:
        return self.solve(question=question)


class Late(dspy.Module):
    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Predict("question -> answer")(question=question)


def misspelt(models: Any) -> Callable[..., str]:
    def run(quetion: str) -> str:
        return quetion

    return run


def answering(models: Any) -> Callable[..., str]:
    def run(question: str) -> str:
        return question

    return run


def direct(question: str) -> str:
    return "4"


def _made_of(factory: Any, modules: Any) -> Any:
    return from_callable(factory, modules)


def _program(what: str, *words: str, pipeline: Any, rows: Any = ROWS, **arguments: Any) -> Slip:
    return tuning(what, *words, dataset=rows, pipeline=pipeline, **arguments)


def _loaded_with_a_class() -> Any:
    from_dspy(Program()).save("program.yaml")
    return Pipeline.load("program.yaml", program=Program)


def _tracked(uri: str, *words: str) -> Slip:
    search = slip("optimize", lambda: optimize(locate_solve(), TABLES, MODELS), *words)
    return with_environment({"MLFLOW_TRACKING_URI": uri}, search)


SLIPS: list[Slip] = [
    _program(
        "predictors made in forward",
        "Late has no predictors to tune: make them in __init__",
        "self.answer = dspy.Predict('question -> answer'), and not in forward",
        pipeline=Late(),
    ),
    _program(
        "another column",
        "program 'Program' needs a column 'question'",
        "nearest: 'q'",
        pipeline=Program(),
        rows=[{"q": "a", "answer": "b"}] * 3,
    ),
    _program(
        "an LM for tests",
        "models has a DummyLM, which goes past the gateway: a plain dspy.LM",
        pipeline=Program(),
        models=[dspy.utils.DummyLM([{}])],
    ),
    _program(
        "LMs of two temperatures",
        "models has LMs of different temperatures ({'sim/alder': 0.1, 'sim/birch':",
        "0.5})",
        "Module(..., temperature=...)",
        pipeline=Program(),
        models=[dspy.LM("sim/alder", temperature=0.1), dspy.LM("sim/birch", temperature=0.5)],
    ),
    _program(
        "an LM of several replies",
        "'n': one call brings one reply; for more, give the module",
        pipeline=Program(),
        models=[dspy.LM("sim/alder", n=3)],
    ),
    _program(
        "an LM for responses",
        "models has an LM with model_type='responses'",
        "remove it",
        pipeline=Program(),
        models=[dspy.LM("openai/gpt-4o-mini", model_type="responses")],
    ),
    _program(
        "a program's LM that times out",
        "predictor 'solve' has an LM that can't be tuned",
        "'timeout': the gateway sets it: Gateway(timeout_s=...)",
        pipeline=Program(dspy.LM("sim/alder", timeout=5)),
    ),
    slip("no program", partial(from_dspy, "x"), "a DSPy program is a dspy.Module, but got 'x'"),
    slip(
        "to_dspy of what is none",
        make_result().to_dspy,
        "pipeline 'locate-solve' is no DSPy program: call result.pipeline(...) or",
        "save it with result.save(path)",
    ),
    slip(
        "no places",
        partial(_made_of, answering, []),
        "modules must name the places where the code asks a model, such as ['plan',",
        "'solve']",
    ),
    slip(
        "a name for a factory",
        partial(_made_of, "answering", ["solve"]),
        "factory must be callable as factory(models), but got 'answering'",
    ),
    slip(
        "what runs for what makes it",
        partial(_made_of, direct, ["solve"]),
        "direct(models) must return a function from inputs to outputs, but returned",
        "'4'; a factory takes `models` and returns the function that runs",
    ),
    slip(
        "a function of the inputs for a factory",
        partial(_made_of, lambda table, question: "x", ["a"]),
        "(models) made no function: TypeError",
        "; a factory takes `models` and returns the function that runs",
    ),
    slip("a class for a program", partial(from_dspy, Program), "Program'>: give Program()"),
    slip(
        "a class for the program of a file",
        _loaded_with_a_class,
        "a DSPy program is a dspy.Module, but got <class",
        "Program'>: give Program()",
    ),
    slip(
        "a factory that can't be saved",
        lambda: from_callable(lambda models: direct, ["solve"]).to_yaml(),
        "must be importable as 'package.module:name' to be written to YAML, but is a lambda; "
        "define it at the top level of a module",
    ),
    _program(
        "an LM of an own server without a price",
        "no price is known for model 'openai/own'",
        "to keep a dspy.LM, dspy.LM(..., input_cost_per_token=..., output_cost_per_token=...)",
        pipeline=Program(dspy.LM("openai/own", api_base="http://127.0.0.1:9/v1", api_key="x")),
        models=None,
    ),
    slip(
        "a factory without an argument",
        partial(_made_of, lambda: direct, ["solve"]),
        "(models) made no function: TypeError",
    ),
    _program(
        "an argument that is misspelt",
        "needs a column 'quetion', which the dataset does not have; nearest:",
        "'question'",
        pipeline=from_callable(misspelt, ["solve"], outputs=["answer"]),
    ),
    _program(
        "code of unknown outputs",
        "nothing says what the outputs are: from_callable(..., outputs=['answer'])",
        "would",
        pipeline=from_callable(answering, ["solve"]),
    ),
    _tracked(
        "localhost:5000",
        "the tracking store must be an address such as http://localhost:5000",
        "but is 'localhost:5000'; nearest: 'http://localhost:5000'",
        "(MLFLOW_TRACKING_URI, or",
    ),
    _tracked("sqlite://mlflow.db", "'sqlite://mlflow.db'; nearest: 'sqlite:///mlflow.db'"),
    _tracked("postgres://me:hunter2@h/db", "'postgres://h/db'; nearest: 'postgresql://h/db'"),
]
