"""`dspy.LM`s in `models`, as diagnoser and as judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dspy
import pytest

from evaluators.metrics import llm_judge
from optimizer.setup.plan import prepare
from optimizer.stages.resolver import resolve_stages
from pipelines import Module, Pipeline
from pipelines.gateway import secrets
from pipelines.gateway.model import Model
from pipelines.patterns import locate_solve
from tests.optimizer.runs import ROWS, counting_server, tune

SECRET = "sk-planted-99cc"


def planned(models: Any, pipeline: Any = None, **arguments: Any) -> Any:
    given = {"metric": "exact_match", "diagnoser": None, **arguments}
    return prepare(
        pipeline or locate_solve(),
        ROWS,
        models,
        metric=given["metric"],
        stages=resolve_stages("allocation"),
        diagnoser=given["diagnoser"],
    )


def test_an_lm_is_the_model_that_it_asks_beside_names_and_models() -> None:
    lm = dspy.LM("openai/x", api_base="http://127.0.0.1:9/v1", max_tokens=99, top_k=3)
    plan = planned([lm, "sim/alder", Model("sim/birch")])
    assert list(plan.models) == ["openai/x", "sim/alder", "sim/birch"]
    own = Model("openai/x", api_base="http://127.0.0.1:9/v1", max_tokens=99, params={"top_k": 3})
    assert plan.models["openai/x"] == own
    assert list(planned(dspy.LM("sim/alder")).models) == ["sim/alder"]


def test_its_temperature_is_where_modules_start_that_name_no_model() -> None:
    pipeline = Pipeline(
        "x",
        [
            Module("locate", "table, question -> task", model="sim/birch"),
            Module("check", "task -> checked", temperature=0.1),
            Module("solve", "checked -> answer"),
        ],
    )
    plan = planned([dspy.LM("sim/alder", temperature=0.4), "sim/birch"], pipeline)
    started = {name: module.temperature for name, module in plan.baseline.modules.items()}
    assert started == {"locate": None, "check": 0.1, "solve": 0.4}
    with pytest.raises(
        ValueError, match=r"'sim/alder': 0\.4, 'sim/birch': 0\.5.*Module\(\.\.\., te"
    ):
        planned([dspy.LM("sim/alder", temperature=0.4), dspy.LM("sim/birch", temperature=0.5)])


def test_diagnoser_and_judge_may_be_lms() -> None:
    metric = llm_judge("The answer is right.", model=dspy.LM("sim/birch"))
    plan = planned("sim/alder", diagnoser=dspy.LM("sim/hazel", max_tokens=77), metric=metric)
    assert plan.diagnoser == Model("sim/hazel", max_tokens=77)
    assert plan.metric.judging.model == Model("sim/birch")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"models": [dspy.LM("sim/alder", n=2)]}, "models has an LM .*'n': one call brings one"),
        ({"models": [dspy.utils.DummyLM([{}])]}, "models has a DummyLM, which goes past"),
        ({"diagnoser": dspy.LM("sim/alder", temperature=0.7)}, "diagnoser has an LM with temp"),
    ],
)
def test_what_an_lm_can_not_carry_over_is_refused(arguments: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        planned(**{"models": "sim/alder", **arguments})


def test_its_key_reaches_the_server_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "_GIVEN", {})
    with counting_server(api_key=SECRET) as server:
        lm = dspy.LM("hosted_vllm/alder", api_base=server.url, api_key=SECRET, max_tokens=300)
        result = tune(models=[lm, "sim/alder"], diagnoser=None, cache=tmp_path / "cache")
        assert server.requests
    result.save(tmp_path / "tuned.yaml")
    result.report(tmp_path / "report.html")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 3
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
