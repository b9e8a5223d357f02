"""What runs: the spec of a pipeline, binding it to a config, aggregators and patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.aggregators import Aggregator, majority_vote
from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from pipelines.programs.failures import ModuleFailed
from pipelines.programs.trace import CallRecord, Failure, MemoKey, ModuleStep, Trace
from pipelines.spec.pipeline import Pipeline
from pipelines.spec.tunable import Tunable

if TYPE_CHECKING:
    from pipelines.programs.bound_program import BoundProgram
    from pipelines.programs.program import Program

__all__ = [
    "Aggregator",
    "BoundProgram",
    "CallRecord",
    "Failure",
    "MemoKey",
    "Module",
    "ModuleFailed",
    "ModuleStep",
    "Pipeline",
    "PipelineError",
    "Program",
    "Trace",
    "Tunable",
    "majority_vote",
]


def __getattr__(name: str) -> Any:
    """What needs DSPy, when it is first asked for: importing that takes half a second."""
    if name in ("BoundProgram", "Program"):
        from pipelines.programs import program

        return getattr(program, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
