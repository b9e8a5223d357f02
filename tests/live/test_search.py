"""A whole search over real models, and the use of what it found."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from optimizer.loop import optimize
from pipelines import Pipeline
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from search_spaces import SearchSpace
from tests.live.served import NAMED, model
from tests.live.tasks import CLASSIFY, questions

CALLS = 160


def test_a_small_search_ends_no_worse_than_it_began_and_its_result_runs(tmp_path: Path) -> None:
    models = [model(name, url, max_tokens=24) for name, url in NAMED.items()]
    with closing(Gateway(tmp_path / "cache")) as gateway:
        result = optimize(
            CLASSIFY,
            questions(24),
            models,
            budget=Budget(calls=CALLS, usd=1),
            search_space=SearchSpace(reply_format=("chat", "json"), temperature=(0.0,), width=(1,)),
            stages=("allocation", "structure"),
            diagnoser=None,
            holdout=0.4,
            concurrency=4,
            gateway=gateway,
        )
        print(result)
        assert result.held_out
        assert result.tuned_figures.examples == result.baseline_figures.examples
        assert result.score.mean >= result.baseline.mean
        assert result.spent.calls <= CALLS
        assert result.spent.usd < 1
    result.save("tuned.yaml")
    loaded = Pipeline.load("tuned.yaml")
    question = questions(60)[-1]["question"]
    answer = result.pipeline(question=question).subject
    assert answer in ("math", "psychology", "biology", "economics")
    assert loaded(question=question).subject == answer
