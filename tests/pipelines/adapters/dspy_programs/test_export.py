"""A tuned program as one that needs nothing of this library."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

from benchmarks.loopback import LoopbackServer
from pipelines import PipelineError
from pipelines.adapters.dspy_programs import DSPyPipeline, from_dspy
from pipelines.adapters.dspy_programs.tuned_program import TunedProgram
from pipelines.gateway.model import Model
from tests.pipelines.adapters.dspy_programs.importable import Extracting, Person
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve

SECRET = "sk-planted-90bc"
RUN_ELSEWHERE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import dspy
from importable import Extracting
program = Extracting()
program.load(sys.argv[2], allow_unsafe_lm_state=True)
for _, predictor in program.named_predictors():
    predictor.lm.kwargs["api_key"] = "none"
    predictor.lm.cache = False
said = program(text="Al is four")
ours = [name for name in sys.modules if name.split(".")[0] in
        ("pipelines", "optimizer", "evaluators", "search_spaces")]
print(json.dumps({"comment": said.comment, "age": said.person.age, "ours": ours}))
"""


def tuned(program: dspy.Module, url: str = "http://127.0.0.1:9/v1", **knobs: Any) -> DSPyPipeline:
    """With another model, temperature and instructions in its last module."""
    models = [Model(f"openai/{name}", name, url) for name in ("small", "large")]
    pipeline = from_dspy(program)
    config = pipeline.default_config("small")
    knobs = {"models": ("large",), "temperature": 0.3, "instructions": "Be brief.", **knobs}
    return pipeline.with_config(config.with_knobs(pipeline.modules[-1].name, **knobs), models)


def test_it_is_of_the_same_class_with_the_config_in_it() -> None:
    original = LocateSolve()
    program = tuned(original).to_dspy()
    assert type(program) is LocateSolve
    assert program is not original
    assert [name for name, _ in program.named_predictors()] == ["locate", "solve"]
    assert type(program.solve) is dspy.Predict
    assert (program.locate.lm.model, program.solve.lm.model) == ("openai/small", "openai/large")
    assert (program.locate.lm.kwargs["temperature"], program.solve.lm.kwargs["temperature"]) == (
        None,
        0.3,
    )
    assert program.solve.signature.instructions == "Be brief."
    assert program.locate.signature.instructions.startswith("Extract the task")
    assert original.solve.lm is None


def test_the_configs_temperature_goes_before_the_predictors() -> None:
    program = LocateSolve()
    program.solve = dspy.Predict("task -> answer", temperature=0.9)
    assert "temperature" not in tuned(program).to_dspy().solve.config


def test_saved_and_loaded_it_runs_where_this_library_is_not(tmp_path: Path) -> None:
    def reply(messages: Any, params: Any) -> str:
        if "comment" not in str(messages[-1]["content"]).rpartition("Respond with")[2]:
            person = '{"name": "Al", "age": 4}'
            return f"[[ ## reasoning ## ]]\nr\n[[ ## person ## ]]\n{person}\n[[ ## mood ## ]]\ngood"
        told = [params["model"], params.get("temperature"), "Be brief." in str(messages)]
        return f"[[ ## comment ## ]]\n{json.dumps(told)}"

    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with LoopbackServer(reply=reply) as server:
        tuned(Extracting(), server.url).to_dspy().save(tmp_path / "tuned.json")
        arguments = [str(Path(__file__).parent), str(tmp_path / "tuned.json")]
        done = subprocess.run(
            [sys.executable, "-c", RUN_ELSEWHERE, *arguments],
            env=kept, cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert json.loads(told["comment"]) == ["large", 0.3, True]
    assert (told["age"], told["ours"]) == (4, [])


def test_a_key_is_not_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    models = [Model("openai/small", "small", api_key_env="MY_KEY")]
    pipeline = from_dspy(LocateSolve())
    program = pipeline.with_config(pipeline.default_config("small"), models).to_dspy()
    assert program.solve.lm.kwargs["api_key"] == SECRET
    program.save(tmp_path / "tuned.json")
    assert SECRET not in (tmp_path / "tuned.json").read_text()


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> Iterator[DSPyPipeline]:
    """Three members in its last module, asked of a server."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    def reply(messages: Any, params: Any) -> str:
        name = "task" if "`[[ ## task" in str(messages[-1]) else "answer"
        return f"[[ ## {name} ## ]]\n{name} by {params['model']}"

    with LoopbackServer(reply=reply) as server:
        knobs: dict[str, Any] = {"width": 3, "aggregator": "majority_vote", "temperature": 0.7}
        pipeline = tuned(LocateSolve(), models=("small", "large", "large"), **knobs)
        assert pipeline.config is not None
        free: dict[str, Any] = {"input_usd_per_million": 0.0, "output_usd_per_million": 0.0}
        models = [Model(f"openai/{name}", name, server.url, **free) for name in ("small", "large")]
        yield pipeline.with_config(pipeline.config, models)


ASKED = {"table": "t", "question": "q"}


def test_what_dspy_has_no_form_for_still_runs_as_a_module(wide: DSPyPipeline) -> None:
    program = wide.to_dspy()
    assert isinstance(program, TunedProgram)
    assert "module 'solve' asks 3 members" in program.reason
    assert program(**ASKED).answer == "answer by large"
    assert program("t", "q").answer == "answer by large"
    assert asyncio.run(program.acall(**ASKED)).answer == "answer by large"
    with pytest.raises(PipelineError, match="has no input 'tabel'"):
        program(tabel="t", question="q")


class Mapped(LocateSolve):
    """Returns a dict, as no `dspy.Prediction` is."""

    def forward(self, table: str, question: str) -> Any:
        return {"answer": super().forward(table, question).answer, "rows": 1}


def test_it_returns_what_the_program_returns(wide: DSPyPipeline) -> None:
    assert wide.config is not None
    program = from_dspy(Mapped()).with_config(wide.config, wide.models).to_dspy()
    assert isinstance(program, TunedProgram)
    assert program(**ASKED) == {"answer": "answer by large", "rows": 1}
    assert asyncio.run(program.acall(**ASKED)) == {"answer": "answer by large", "rows": 1}
    assert wide.to_dspy()(**ASKED).confidence == pytest.approx(2 / 3)
    with pytest.raises(TypeError, match="multiple values for keyword argument 'table'"):
        program("t", table="t", question="q")


def test_a_plain_program_knows_the_price_that_the_user_gave() -> None:
    price: dict[str, Any] = {"input_usd_per_million": 1.0, "output_usd_per_million": 2.0}
    pipeline = from_dspy(LocateSolve())
    config = pipeline.default_config("own")
    with LoopbackServer(reply=lambda *_: "[[ ## task ## ]]\nt\n[[ ## answer ## ]]\na") as server:
        models = [Model("openai/own", "own", server.url, **price)]
        program = pipeline.with_config(config, models).to_dspy()
        for _, predictor in program.named_predictors():
            predictor.lm.cache, predictor.lm.kwargs["api_key"] = False, "none"
        program(**ASKED)
    last = program.solve.lm.history[-1]
    tokens = last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]
    assert last["cost"] == pytest.approx((tokens[0] + 2 * tokens[1]) / 1e6)


def test_such_a_module_is_saved_whole_or_as_its_state(wide: DSPyPipeline, tmp_path: Path) -> None:
    program = wide.to_dspy()
    program.save(tmp_path / "whole", save_program=True)
    whole: Any = dspy.load(str(tmp_path / "whole"), allow_pickle=True)
    assert whole(**ASKED).answer == "answer by large"
    program.save(tmp_path / "tuned.json")
    fresh = TunedProgram(from_dspy(LocateSolve()))
    fresh.load(tmp_path / "tuned.json")
    assert fresh.pipeline.config == wide.config
    assert fresh(**ASKED).answer == "answer by large"
    plain = tuned(LocateSolve()).to_dspy()
    plain.save(tmp_path / "plain.json")
    with pytest.raises(PipelineError, match="the state of a plain DSPy program"):
        fresh.load(tmp_path / "plain.json", allow_unsafe_lm_state=True)


def test_a_model_that_only_this_library_knows_is_asked_by_it() -> None:
    pipeline = from_dspy(LocateSolve())
    program = pipeline.with_config(pipeline.default_config("sim/birch"), []).to_dspy()
    assert isinstance(program, TunedProgram)


def test_demos_survive_with_objects_in_them() -> None:
    program = Extracting()
    program.extract.predict.demos = [
        dspy.Example(text="t", reasoning="r", person=Person(name="Bo", age=1), mood="bad")
    ]
    (demo,) = tuned(program).to_dspy().extract.predict.demos
    assert demo.text == "t"
    assert "Bo" in str(demo.person)


def test_a_demo_that_would_not_survive_stays_with_us() -> None:
    class Odd:
        pass

    program = LocateSolve()
    program.solve.demos = [dspy.Example(task=Odd(), answer="a")]
    exported = tuned(program).to_dspy()
    assert isinstance(exported, TunedProgram)
    assert "would not survive dspy's save" in exported.reason


def test_other_attributes_are_there() -> None:
    shared = object()
    program = LocateSolve()
    program.__dict__.update(retriever=shared, words=["a"])
    exported = tuned(program).to_dspy()
    assert exported.retriever is shared
    assert exported.words == ["a"]
    assert exported.words is not program.words
