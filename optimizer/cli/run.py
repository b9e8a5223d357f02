"""`run PIPELINE.yaml`: one input from the command line, or every row of a file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TextIO

import dspy

from evaluators.dataset import Dataset
from optimizer.cli.arguments import FAILED
from optimizer.cli.targets import load_yaml, writable
from optimizer.export import failure_of, is_wide, run_rows
from optimizer.formatting import counted
from pipelines import Trace, Tunable
from pipelines.gateway.gateway import default_session
from pipelines.modules.plain_data import plain_record, typed_record
from pipelines.providers import check_models
from search_spaces.refusals import nearest

Row = Mapping[str, Any]


def run(options: argparse.Namespace) -> int:
    """Run the pipeline and write what it returns, as JSON.

    Returns:
        0, or 1 if any row failed; failures are written beside their rows, and counted.
    """
    if options.output:
        writable("--output", options.output)
    pipeline = load_yaml(options.pipeline, allow_code=options.allow_code, program=options.program)
    if options.input:
        return _run_one(pipeline, _inputs(pipeline, options.input), options)
    rows = _rows(pipeline, options.dataset)
    failed, usd = 0, 0.0
    with output_file(options.output, options.stdout) as file:
        for row, trace in zip(rows, _traces(pipeline, rows, options.concurrency), strict=True):
            line = {
                "example": plain_record(row),
                "outputs": trace.outputs and plain_record(trace.outputs),
                "confidence": None if trace.failure else trace.confidence,
                "failure": failure_of(trace),
            }
            print(json.dumps(line, ensure_ascii=False, default=str), file=file)
            failed, usd = failed + (trace.failure is not None), usd + trace.usd
    where = f" -> {options.output}" if options.output else ""
    print(f"{counted(len(rows), 'row')}, {failed} failed, ${usd:.6f}{where}", file=sys.stderr)
    return FAILED if failed else 0


def _run_one(pipeline: Tunable, inputs: Row, options: argparse.Namespace) -> int:
    (trace,) = _traces(pipeline, [inputs], 1)
    if trace.failure is not None:
        print(f"compound-optimizer run: {failure_of(trace)}", file=sys.stderr)
        return FAILED
    with output_file(options.output, options.stdout) as file:
        outputs = plain_record(trace.outputs or {})
        print(json.dumps(outputs, ensure_ascii=False, indent=1, default=str), file=file)
    if is_wide(pipeline):
        print(f"confidence {trace.confidence:.2f}", file=sys.stderr)
    return 0


def _traces(pipeline: Tunable, rows: Sequence[Row], concurrency: int) -> Iterator[Trace]:
    """Traces in order, once it is known that the models can be called."""
    if models := pipeline.named_models():
        check_models(models.values())
    yield from run_rows(pipeline, rows, default_session(), concurrency)


def _rows(pipeline: Tunable, path: str) -> list[dict[str, Any]]:
    dataset = Dataset.load(path, minimum=1)
    dataset.require(pipeline.inputs, f"pipeline {pipeline.name!r}")
    return [typed_record(example, pipeline.input_types) for example in dataset]


def _inputs(pipeline: Tunable, given: Sequence[str]) -> dict[str, Any]:
    """Values by field; those of a field that is neither text nor image are read as JSON."""
    types = pipeline.input_types
    inputs: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--input must read FIELD=VALUE, but got {text!r}")
        if name not in types:
            hint = nearest(name, types)
            raise ValueError(f"pipeline {pipeline.name!r} has no input {name!r}{hint}")
        value = Path(value[1:]).read_text(encoding="utf-8") if value.startswith("@") else value
        try:
            as_text = types[name] in (str, None, dspy.Image)
            inputs[name] = value if as_text else json.loads(value)
        except json.JSONDecodeError as error:
            problem = f"--input {name}=... must be JSON, but {value[:60]!r} is not: {error}"
            raise ValueError(problem) from error
    missing = [name for name in types if name not in inputs]
    if missing:
        raise ValueError(f"--input {missing[0]}=... is missing (inputs: {', '.join(types)})")
    return typed_record(inputs, types)


def output_file(path: str | None, stdout: TextIO) -> AbstractContextManager[TextIO]:
    """The file of this path, or stdout without one."""
    if path is None:
        return nullcontext(stdout)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return open(path, "w", encoding="utf-8")
