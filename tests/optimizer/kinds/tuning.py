"""Tunes a program of each kind, and writes down what comes back and what it answers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
from mlflow import MlflowClient

from optimizer import Budget, Model, Result, SearchSpace, optimize
from tests.optimizer.kinds.world import inputs, rows


def tune_all(programs: Mapping[str, Callable[[], Any]], folder: Path, how: str) -> None:
    """Tune them all, save everything below `folder`, and the facts as `facts.json`.

    Args:
        programs: makes the program of each kind.
        folder: is made.
        how: "exportable" for a search of models and structures that plain DSPy can say, or
            "allocation" for that stage alone.
    """
    folder.mkdir()
    facts = {kind: _facts(kind, make, folder / _file(kind), how) for kind, make in programs.items()}
    (folder / "facts.json").write_text(json.dumps(facts))


def answers(program: Any, kind: str) -> list[dict[str, Any]]:
    """Its answers to the inputs, as plain data."""
    return [_plain(_called(program, _typed(given))) for given in inputs(kind)]


def _facts(kind: str, make: Callable[[], Any], path: Path, how: str) -> dict[str, Any]:
    result = _tuned(kind, make(), how)
    result.save(path.with_suffix(".yaml"))
    plain = result.to_dspy()
    plain.save(str(path.with_suffix(".json")))
    again = make()
    again.load(str(path.with_suffix(".json")), allow_unsafe_lm_state=True)
    wide = _widened(result)
    wide.save(path.with_suffix(".wide.yaml"))
    network = wide.to_dspy()
    kept = _pickled(plain, path), _pickled(network, path.with_name(f"{path.name}-wide"))
    return {
        "score": result.score.mean,
        "class": type(result.pipeline.program).__name__,  # type: ignore[attr-defined]
        "plain": type(plain).__name__,
        "wide": type(network).__name__,
        "points": [type(result.to_dspy(point)).__name__ for point in result.points],
        "answers": answers(result.pipeline, kind),
        "wide answers": answers(wide.pipeline, kind),
        "answers of to_dspy": answers(plain, kind),
        "answers of its state": answers(again, kind),
        "wide answers of to_dspy": answers(network, kind),
        "pickled": kept,
        "model": _logged(result),
        "examples": result.examples.to_json(),
    }


def _tuned(kind: str, program: Any, how: str) -> Result:
    def right(example: Any, prediction: Any) -> bool:
        return bool(prediction.total.value == example.total["value"])

    data = [_typed(row) for row in rows(kind)]
    exportable = {
        "search_space": SearchSpace(exportable=True), "stages": ["allocation", "structure"],
    }  # fmt: skip
    arguments: dict[str, Any] = {"stages": how} if how == "allocation" else exportable
    result: Result = optimize(
        program, data, models=_models(), metric=right if kind == "bare" else "exact_match",
        budget=Budget(calls=40), **arguments,
    )  # fmt: skip
    return result


def _models() -> list[Model]:
    return [
        Model(
            f"openai/{name}", name, os.environ["KINDS_URL"], max_tokens=200,
            input_usd_per_million=usd, output_usd_per_million=usd,
        )
        for name, usd in (("small", 0.1), ("large", 0.2))
    ]  # fmt: skip


def _widened(result: Result) -> Result:
    """With three members in the last module, as the structure stage finds them."""
    config = result.config.with_knobs(
        result.pipeline.modules[-1].name, models=("small", "large", "large"), width=3,
        aggregator="majority_vote", temperature=0.7,
    )  # fmt: skip
    pipeline = result.pipeline.with_config(config, _models())
    return replace(result, config=config, pipeline=pipeline)


def _pickled(program: dspy.Module, path: Path) -> str:
    """The name of the folder that DSPy saved it in; empty if DSPy can't."""
    try:
        program.save(str(path), save_program=True)
    except RuntimeError as error:
        if "_thread.lock" in str(error):
            return ""
        raise
    return path.name


def _logged(result: Result) -> str:
    """Where the tuned pipeline's logged model is."""
    client = MlflowClient()
    outputs = client.get_run(result.run_id or "").outputs
    assert outputs is not None
    models = [client.get_logged_model(each.model_id) for each in outputs.model_outputs]
    return next(str(each.artifact_location) for each in models if each.name == "tuned")


def _called(program: Any, given: dict[str, Any]) -> Any:
    if not isinstance(program, dspy.Module) or hasattr(program, "forward"):
        return program(**given)
    with ThreadPoolExecutor(1) as pool:  # a notebook's own thread has a running loop
        return pool.submit(lambda: asyncio.run(program.acall(**given))).result()


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    return row | ({"image": dspy.Image(row["image"])} if "image" in row else {})


def _plain(values: Any) -> dict[str, Any]:
    shown = {k: v for k, v in values.items() if k in ("answer", "total", "reasoning")}
    return {k: v.model_dump() if k == "total" else v for k, v in shown.items()}


def _file(kind: str) -> str:
    return kind.replace(" ", "-")
