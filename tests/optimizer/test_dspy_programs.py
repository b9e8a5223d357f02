"""`optimize` takes any DSPy program, and gives it back tuned."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import dspy
import pytest

from benchmarks.loopback import Behaviour, LoopbackRequest, LoopbackServer, Price
from evaluators.errors import DatasetError
from optimizer.errors import OptimizationError
from optimizer.results.result import Result
from pipelines import Pipeline, PipelineError
from pipelines.adapters.dspy_programs import DSPyPipeline, from_dspy
from pipelines.gateway.budget import Budget
from pipelines.gateway.model import Model
from pipelines.providers.output_fields import requested_fields
from tests.optimizer.runs import MODELS, ROWS, counting_server, outcome, served_models, tune
from tests.pipelines.adapters.dspy_programs.programs import LocateSolve

BEST = {"locate": ("sim/alder",), "solve": ("sim/birch",)}


@pytest.fixture(scope="module")
def tuned() -> Result:
    return tune(pipeline=LocateSolve())


def test_a_program_is_tuned_as_the_same_pipeline_is(tuned: Result) -> None:
    spec = tune()
    assert dict(tuned.config.allocation) == dict(spec.config.allocation) == BEST
    assert tuned.score == spec.score
    assert abs(tuned.spent.calls - spec.spent.calls) <= 0.05 * spec.spent.calls


def test_the_result_is_the_program_ready_to_be_called(tuned: Result) -> None:
    said = tuned.pipeline(table=ROWS[0]["table"], question=ROWS[0]["question"])
    assert said.answer == ROWS[0]["answer"]
    assert isinstance(tuned.pipeline, DSPyPipeline)
    assert tuned.pipeline.outputs == ("answer",), "and not the task too, which nothing returns"
    assert tuned.example_inputs is not None
    assert list(tuned.example_inputs) == ["table", "question"]


def test_it_is_written_down_and_read_again(tuned: Result, tmp_path: Path) -> None:
    tuned.save(tmp_path / "tuned.yaml")
    again: Any = Pipeline.load(tmp_path / "tuned.yaml", allow_code=True)
    assert (again.config, again.outputs) == (tuned.config, ("answer",))
    assert type(again.program).__name__ == "LocateSolve"


def test_it_becomes_a_program_of_dspys(tuned: Result) -> None:
    elsewhere = tuned.config.with_models({"locate": "openai/a", "solve": "openai/b"})
    pipeline = tuned.pipeline.with_config(elsewhere, [])
    program: Any = replace(tuned, pipeline=pipeline).to_dspy()
    assert type(program) is LocateSolve
    assert (program.locate.lm.model, program.solve.lm.model) == ("openai/a", "openai/b")


def test_a_spec_has_no_program_to_give_back(result: Result) -> None:
    with pytest.raises(PipelineError, match="'locate-solve' is no DSPy program") as caught:
        result.to_dspy()
    assert "\n" not in str(caught.value)
    assert "result.save(path)" in str(caught.value)


def test_a_wide_config_runs_here_and_as_a_module(tuned: Result) -> None:
    config = tuned.config.with_knobs(
        "solve", models=MODELS[1:2] * 3, width=3, aggregator="majority_vote", temperature=0.7
    )
    wide = replace(tuned, pipeline=tuned.pipeline.with_config(config, []))
    asked = {name: ROWS[0][name] for name in ("table", "question")}
    said = wide.pipeline(**asked)
    assert 0 < said.confidence <= 1
    assert wide.to_dspy()(**asked).answer == said.answer


def test_the_program_is_not_changed() -> None:
    program = LocateSolve()
    state, attributes = program.dump_state(), dict(vars(program))
    tune(pipeline=program, models=MODELS[:2], holdout=0)
    assert program.dump_state() == state
    assert vars(program) == attributes


def test_run_again_it_pays_for_nothing_and_ends_the_same(tmp_path: Path) -> None:
    with counting_server() as server:
        arguments: Any = {"pipeline": LocateSolve(), "models": served_models(server)}
        first = tune(cache=tmp_path, **arguments)
        paid = server.requests
        again = tune(cache=tmp_path, concurrency=3, **{**arguments, "pipeline": LocateSolve()})
        assert paid > 0
        assert server.requests == paid
    assert outcome(again) == outcome(first)


def test_the_caps_hold_for_a_program() -> None:
    with counting_server() as server:
        result = tune(pipeline=LocateSolve(), models=served_models(server), budget=Budget(calls=90))
        assert server.requests <= 90
    assert result.stopped is not None


def test_calls_of_predictors_made_in_forward_are_kept_for_the_holdout() -> None:
    class Late(LocateSolve):
        def forward(self, table: str, question: str) -> Any:
            task = super().forward(table, question).answer
            for _ in range(3):
                dspy.Predict("text -> comment")(text=f"{task} {question}")
            return dspy.Prediction(answer=task)

    with counting_server() as server:
        result = tune(pipeline=Late(), models=served_models(server), budget=Budget(calls=170))
        assert server.requests <= 170
    assert result.stopped is not None
    assert result.held_out


def test_outages_are_no_scores() -> None:
    def script(request: LoopbackRequest) -> Behaviour:
        return Behaviour(status=500)

    with counting_server(script) as server, pytest.raises(OptimizationError, match="server_error"):
        tune(pipeline=LocateSolve(), models=served_models(server))


def test_it_is_tuned_within_a_running_event_loop() -> None:
    class Awaiting(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.locate, self.solve = LocateSolve().locate, LocateSolve().solve

        async def aforward(self, table: str, question: str) -> Any:
            task = (await self.locate.acall(table=table, question=question)).task
            return dspy.Prediction(answer=(await self.solve.acall(task=task)).answer)

    async def main() -> Result:
        return tune(ROWS[:8], MODELS[:2], pipeline=Awaiting(), holdout=0)

    assert dict(asyncio.run(main()).config.allocation) == BEST


@pytest.mark.parametrize("extra", [1, 3])
def test_metrics_of_dspys_optimizers_are_taken(extra: int) -> None:
    def three(example: Any, prediction: Any, trace: Any) -> bool:
        assert trace is None
        return bool(example.answer == prediction.answer)

    def five(gold: Any, pred: Any, trace: Any, pred_name: Any, pred_trace: Any) -> Any:
        return dspy.Prediction(score=float(gold.answer == pred.answer), feedback="so so")

    examples = [dspy.Example(**row).with_inputs("table", "question") for row in ROWS[:8]]
    metric = three if extra == 1 else five
    tuned = tune(examples, MODELS[:2], pipeline=LocateSolve(), metric=metric, holdout=0)
    assert dict(tuned.config.allocation) == BEST


def test_a_column_that_is_missing_is_found_before_the_first_call() -> None:
    rows = [{"tabel": "t", "question": "q", "answer": "a"}] * 4
    with pytest.raises(DatasetError, match=r"program 'LocateSolve'.*'table'"):
        tune(rows, pipeline=LocateSolve())


def test_a_program_that_can_not_be_tuned_is_refused() -> None:
    class Empty(dspy.Module):
        def forward(self, question: str) -> Any:
            return None

    with pytest.raises(PipelineError, match="Empty has no predictors to tune"):
        tune(pipeline=Empty())


def test_a_program_that_asks_past_the_gateway_ends_the_search() -> None:
    class PastIt(LocateSolve):
        def forward(self, table: str, question: str) -> Any:
            with dspy.context(lm=dspy.LM("openai/gpt-4o-mini")):
                return dspy.Predict("question -> answer")(question=question)

    with pytest.raises(PipelineError, match="past the gateway"):
        tune(pipeline=PastIt())


def test_a_local_class_is_saved_and_loaded_with_the_program(tmp_path: Path) -> None:
    class Local(LocateSolve):
        pass

    result = tune(ROWS[:6], MODELS[:2], pipeline=Local(), holdout=0)
    result.save(tmp_path / "tuned.yaml")
    again: Any = Pipeline.load(tmp_path / "tuned.yaml", program=Local())
    assert again.config == result.config


# What follows are programs of the kinds that DSPy's tutorials build, over two models: one does it
# right, and the other is wrong in one step and right in the rest.

Messages = Sequence[Mapping[str, Any]]

PASSAGES = {
    "author of Reed Lake": "Reed Lake was written by Ada Moss.",
    "birthplace of Ada Moss": "Ada Moss was born in Tarn.",
    "author of Blue Hill": "Blue Hill was written by Ben Ash.",
    "birthplace of Ben Ash": "Ben Ash was born in Varo.",
}
PLACES = {"Reed Lake": "Tarn", "Blue Hill": "Varo"}


def search(query: str) -> list[str]:
    """The passage that the query is for."""
    return [PASSAGES.get(query, "nothing found")]


class MultiHop(dspy.Module):
    """Asks a retriever twice, and then answers."""

    def __init__(self, hops: int = 2) -> None:
        super().__init__()
        self.hops = hops
        self.query = dspy.ChainOfThought("question, notes: list[str] -> query")
        self.answer = dspy.Predict("question, notes: list[str] -> answer")

    def forward(self, question: str) -> Any:
        notes: list[str] = []
        for _ in range(self.hops):
            notes += search(self.query(question=question, notes=notes).query)
        return dspy.Prediction(answer=self.answer(question=question, notes=notes).answer)


def multi_hop(text: str, right: set[str]) -> dict[str, str]:
    book = next(name for name in PLACES if f"born who wrote {name}" in text)
    author = next((name for name in ("Ada Moss", "Ben Ash") if f"by {name}" in text), None)
    query = f"birthplace of {author}" if author else f"author of {book}"
    born = next((place for place in PLACES.values() if f"born in {place}" in text), "nowhere")
    return {
        "reasoning": "so",
        "query": query if "query" in right else book,
        "answer": born if "answer" in right else book,
    }


class Triage(dspy.Signature):
    """Sort a message."""

    message: str = dspy.InputField()
    topic: Literal["billing", "delivery"] = dspy.OutputField()


def classify(text: str, right: set[str]) -> dict[str, str]:
    topic = "billing" if "invoice" in text.rpartition("message")[2] else "delivery"
    other = {"billing": "delivery", "delivery": "billing"}[topic]
    return {"reasoning": "so", "topic": topic if "topic" in right else other}


def price_of(item: str) -> int:
    """What an item costs."""
    return {"lamp": 30, "desk": 120}[item]


def add_tax(amount: int) -> int:
    """The amount with a tenth on top."""
    return amount + amount // 10


def agent(text: str, right: set[str]) -> dict[str, str]:
    item = "lamp" if "a lamp" in text else "desk"
    price = {"lamp": 30, "desk": 120}[item]
    taxed = price + price // 10
    steps = [("price_of", f'{{"item": "{item}"}}'), ("add_tax", f'{{"amount": {price}}}')]
    done = text.count("observation_")
    name, arguments = [*steps, ("finish", "{}")][min(done, 2)]
    if "next_tool_name" not in right:
        name, arguments = "price_of", '{"item": "chair"}'  # which raises KeyError
    found = f"observation_1 ## ]]\n{taxed}" in text
    return {
        "next_thought": "so",
        "next_tool_name": name,
        "next_tool_args": arguments,
        "reasoning": "so",
        "total": str(taxed) if found and "total" in right else "0",
    }


BOOKS = [{"question": f"Where was born who wrote {b}?", "answer": PLACES[b]} for b in PLACES] * 6
MAIL = [
    {"message": f"{what} {n}", "topic": topic}
    for n in range(6)
    for what, topic in (("my invoice", "billing"), ("my parcel", "delivery"))
]
ITEMS = [{"question": f"What is a {i}?", "total": t} for i, t in (("lamp", 33), ("desk", 132))] * 5


@pytest.mark.parametrize(
    ("program", "rows", "speak", "able", "right"),
    [
        (
            MultiHop(),
            BOOKS,
            multi_hop,
            {"one": {"query"}, "two": {"answer"}},
            {"query.predict": ("one",), "answer": ("two",)},
        ),
        (
            dspy.ChainOfThought(Triage),
            MAIL,
            classify,
            {"one": set(), "two": {"topic"}},
            {"predict": ("two",)},
        ),
        (
            dspy.ReAct("question -> total: int", tools=[price_of, add_tax], max_iters=4),
            ITEMS,
            agent,
            {"one": {"total"}, "two": {"next_tool_name"}},
            {"react": ("two",), "extract.predict": ("one",)},
        ),
    ],
    ids=["multi-hop", "classification", "agent"],
)
def test_the_search_finds_the_right_model_for_each_predictor(
    program: dspy.Module, rows: Any, speak: Any, able: Any, right: Any
) -> None:
    def reply(messages: Messages, params: Mapping[str, Any]) -> str:
        fields = requested_fields(messages)
        assert fields is not None
        said = speak(messages[-1]["content"], able[params["model"]])
        return fields.written({name: said[name] for name in fields.names})

    prices = dict.fromkeys(able, Price(1.0, 1.0))
    with LoopbackServer(reply=reply, prices=prices) as server:
        models = [
            Model(f"openai/{name}", name, server.url, input_usd_per_million=1.0,
                  output_usd_per_million=1.0, max_tokens=300)
            for name in able
        ]  # fmt: skip
        distinct = [{**row, "id": n} for n, row in enumerate(rows)]
        result = tune(distinct, models, pipeline=program, diagnoser=None)
        assert dict(result.config.allocation) == right
        assert result.score.mean == 1.0
        said = result.pipeline(**{name: rows[0][name] for name in result.pipeline.inputs})
    assert from_dspy(program).default_config("one") == result.baseline_config
    assert {name: str(said[name]) for name in rows[0] if name in said} == {
        name: str(value) for name, value in rows[0].items() if name in said
    }
