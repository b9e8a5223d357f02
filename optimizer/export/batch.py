"""Running a pipeline over many rows: concurrent, in order, a failure beside its row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines import Trace, Tunable
    from pipelines.gateway.gateway import Session

CONCURRENCY = 16


def run_rows(
    pipeline: Tunable,
    rows: Sequence[Mapping[str, Any]],
    session: Session,
    concurrency: int = CONCURRENCY,
) -> Iterator[Trace]:
    """Run every row with the config that the pipeline carries; traces come in order. Raises
    PipelineError if a row lacks an input, or a module names no model."""
    config = pipeline.config or pipeline.default_config()
    program = pipeline.bind(config, pipeline.named_models(), session)
    with ThreadPoolExecutor(max_workers=max(1, concurrency)) as pool:
        yield from pool.map(program.run, rows)


def is_wide(pipeline: Tunable) -> bool:
    """Whether a module has several members, so that the confidence means anything."""
    return (pipeline.config or pipeline.default_config()).is_wide


def failure_of(trace: Trace) -> str | None:
    """What failed in which module, if anything did."""
    failed = trace.failure
    return f"{failed.kind} in {failed.module}: {failed.message}" if failed else None
