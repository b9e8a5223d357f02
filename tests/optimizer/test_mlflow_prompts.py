"""`mlflow.genai.optimize_prompts` with our optimizer: a local `predict_fn`, a served writer."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.genai.scorers import scorer

from benchmarks.loopback import LoopbackServer, Price
from optimizer import Budget, Model, OptimizationError, PromptRace
from pipelines.gateway.gateway import Gateway

pytestmark = pytest.mark.filterwarnings(
    "ignore::pandas.errors.Pandas4Warning",
    "ignore:The specified dataset source can be interpreted in multiple ways",
)

GIVEN = "Answer: {{question}}"
GOOD = "Answer in one word, in capitals: {{question}}"
WRITTEN = (
    "Answer in one word: {{question}}",
    "Answer in capitals without the question.",  # loses its variable
    GOOD,
    "Answer nicely, {{name}}: {{question}}",  # adds one
)
DATA = [
    {
        "inputs": {"question": f"{n} + {n}"},
        "expectations": {"expected_response": f"W{2 * n}", "easy": n % 4 == 0},
    }
    for n in range(20)
]


@scorer
def exact(outputs: str, expectations: dict[str, Any]) -> bool:
    return bool(expectations["easy"] or outputs == expectations["expected_response"])


@pytest.fixture
def writer() -> Iterator[LoopbackServer]:
    """Writes one version after the other, in DSPy's form."""
    turn = itertools.cycle(WRITTEN)

    def reply(messages: Sequence[Mapping[str, Any]], params: Mapping[str, Any]) -> str:
        return f"[[ ## improved_template ## ]]\n{next(turn)}\n\n[[ ## completed ## ]]"

    with LoopbackServer(reply=reply, prices={"writer": Price(1, 1)}) as server:
        yield server


def race(server: LoopbackServer, budget: Budget | None = None, **settings: Any) -> PromptRace:
    model = Model("openai/writer", api_base=server.url, input_usd_per_million=1,
                  output_usd_per_million=1, max_tokens=200)  # fmt: skip
    given = {"versions": 4, "gateway": Gateway(Path("cache")), **settings}
    return PromptRace(model, budget=budget or Budget(calls=20), **given)


def optimized(store: str, optimizer: PromptRace, scorers: Any = (exact,)) -> tuple[Any, list[str]]:
    """The result, and every prompt that `predict_fn` ran with."""
    mlflow.set_tracking_uri(store)
    mlflow.set_registry_uri(store)
    prompt = mlflow.genai.register_prompt("qa", GIVEN)
    ran: list[str] = []

    def predict_fn(question: str) -> str:
        ran.append(str(prompt.template))
        text = str(prompt.format(question=question))
        right = f"{'W' if 'capitals' in text else 'w'}{2 * int(question.split()[0])}"
        return right if "one word" in text else f"It is {right}"

    result = mlflow.genai.optimize_prompts(
        predict_fn=predict_fn, train_data=DATA, prompt_uris=[prompt.uri], optimizer=optimizer,
        scorers=list(scorers),
    )  # fmt: skip
    return result, ran


def test_the_best_version_is_found_registered_and_logged(
    default_store: str, writer: LoopbackServer
) -> None:
    result, ran = optimized(default_store, race(writer, evaluations=50))
    assert result.optimized_prompts[0].template == GOOD
    assert (result.initial_eval_score, result.final_eval_score) == (0.25, 1.0)
    assert result.final_eval_score_per_scorer == {"exact": 1.0}
    assert set(ran) == {GIVEN, WRITTEN[0], GOOD}  # never one that changes the variables
    assert ran.count(WRITTEN[0]) < len(DATA) == ran.count(GOOD)
    assert writer.requests == 4

    client = mlflow.MlflowClient(default_store)
    (run,) = client.search_runs(["0"])
    assert run.data.metrics["final_eval_score"] == 1.0
    scores = client.get_metric_history(run.info.run_id, "eval_score")
    assert [point.step for point in scores] == sorted({point.step for point in scores})
    table = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/prompt_candidates.json")
    examples = {each["prompts"]["qa"]: each["examples"] for each in json.loads(table)}
    assert examples == {text: ran.count(text) - (text == GIVEN) for text in set(ran)}


def test_what_was_given_stays_where_nothing_is_better(
    default_store: str, writer: LoopbackServer
) -> None:
    @scorer
    def polite(outputs: str) -> bool:
        return outputs.startswith("It is")

    result, _ = optimized(default_store, race(writer), [polite])
    assert result.optimized_prompts[0].template == GIVEN
    assert result.final_eval_score == result.initial_eval_score == 1.0


def test_evaluations_bound_the_runs_of_predict_fn(
    default_store: str, writer: LoopbackServer
) -> None:
    _, ran = optimized(default_store, race(writer, evaluations=27))
    checks = 1  # MLflow runs the first row once, to see whether it can
    assert 20 < len(ran) <= 27 + checks


def test_the_budget_bounds_the_writer(
    default_store: str, writer: LoopbackServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        result, _ = optimized(default_store, race(writer, Budget(calls=1)))
    assert writer.requests == 1
    assert "1 of 4 versions of 'qa': " in caplog.text
    assert result.optimized_prompts[0].template in (GIVEN, WRITTEN[0])


def test_scores_out_of_bounds_and_too_few_evaluations_are_refused(
    default_store: str, writer: LoopbackServer
) -> None:
    @scorer
    def length(outputs: str) -> int:
        return len(outputs)

    with pytest.raises(OptimizationError, match=r"needs scores in \[0, 1\], but got .* aggregat"):
        optimized(default_store, race(writer), [length])
    with pytest.raises(ValueError, match=r"evaluations.*20.*19"):
        optimized(default_store, race(writer, evaluations=19))
    with pytest.raises(OptimizationError, match="give train_data and scorers"):
        race(writer).optimize(None, [], {"qa": GIVEN})
