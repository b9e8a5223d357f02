"""The same accuracy as plain DSPy with the same models and prompts, its JSON fallback included.

One difference is meant: where `max_tokens` cuts off a field, DSPy takes what there is, and we
count a failure (`truncated`). Such examples are counted apart.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from evaluators.dataset import Dataset
from evaluators.evaluator import Evaluator
from evaluators.metrics import resolve_metric
from evaluators.outcome import Outcome
from pipelines import Pipeline
from pipelines.gateway.gateway import Gateway
from tests.live.proxies import RememberingProxy
from tests.live.served import NAMED, NAMES, ask_plain_dspy, model
from tests.live.tasks import CLASSIFY, FIND_COUNT, notes, questions

EXAMPLES = 60
MOST_APART = 0.05
MOST_CUT_OFF = 0.25
MAX_TOKENS = 48
IN_FLIGHT = 4


@pytest.mark.parametrize(
    ("pipeline", "rows"), [(CLASSIFY, questions), (FIND_COUNT, notes)], ids=["one", "two"]
)
@pytest.mark.parametrize("name", NAMES)
def test_accuracy_is_that_of_plain_dspy(
    name: str, pipeline: Pipeline, rows: Callable[[int], list[dict[str, Any]]]
) -> None:
    examples = Dataset.load(rows(EXAMPLES))
    metric = resolve_metric("exact_match", pipeline.outputs, examples.columns)
    with RememberingProxy(NAMED[name]) as proxy, closing(Gateway(None)) as gateway:
        served = model(name, proxy.url, max_tokens=MAX_TOKENS)
        session = gateway.session("live")
        models = {served.label: served}
        evaluator = Evaluator(pipeline, models, examples, metric, session, IN_FLIGHT)
        config = pipeline.default_config(served.label)
        ours = evaluator.evaluate(config, range(EXAMPLES))
        asked_by_us, already = set(proxy.asked), len(proxy.asked)

        def plain(index: int) -> Any:
            return ask_plain_dspy(pipeline, served, evaluator.inputs(index))

        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            answers = list(pool.map(plain, range(EXAMPLES)))
        plain_scores = [
            0.0 if isinstance(answer, str) else metric(examples[index], answer).value or 0.0
            for index, answer in enumerate(answers)
        ]
        asked_by_dspy = set(proxy.asked[already:])
        outcomes = [ours.outcomes[index] for index in range(EXAMPLES)]
        assert None not in [outcome.score for outcome in outcomes], "an outage"
        scores = [outcome.score or 0.0 for outcome in outcomes]
        differ = [i for i in range(EXAMPLES) if scores[i] != plain_scores[i]]
        for index in differ:
            trace = evaluator.trace(config, index)
            print(f"{evaluator.inputs(index)} -> {evaluator.labels(index)}")
            print(f"  ours: {trace.outputs or trace.failure}\n  DSPy: {answers[index]}")
    cut_off = [index for index, outcome in enumerate(outcomes) if is_cut_off(outcome)]
    apart = [scores[index] - plain_scores[index] for index in range(EXAMPLES)]
    again = sum(outcome.asked_again for outcome in outcomes)
    print(
        f"{name}, {pipeline.name}: ours {sum(scores) / EXAMPLES:.3f}, plain DSPy "
        f"{sum(plain_scores) / EXAMPLES:.3f}, {len(differ)} of {EXAMPLES} differ; {len(cut_off)} "
        f"cut off; {again} replies asked again as JSON"
    )
    assert len(cut_off) <= MOST_CUT_OFF * EXAMPLES
    whole = [apart[index] for index in range(EXAMPLES) if index not in cut_off]
    assert abs(sum(whole)) <= MOST_APART * len(whole)
    shared = asked_by_us & asked_by_dspy
    assert len(shared) >= 0.9 * len(asked_by_us), "other prompts than DSPy's"


def is_cut_off(outcome: Outcome) -> bool:
    return outcome.failure is not None and outcome.failure.kind == "truncated"
