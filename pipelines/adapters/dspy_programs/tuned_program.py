"""A tuned program that has no form in plain DSPy, as a `dspy.Module`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import dspy

from pipelines.errors import PipelineError
from pipelines.gateway.model import Model
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    from pipelines.adapters.dspy_programs.bound import BoundDSPyProgram
    from pipelines.adapters.dspy_programs.pipeline import DSPyPipeline


class TunedProgram(dspy.Module):
    """Runs a program with its tuned config through this library's gateway.

    `save(folder, save_program=True)` keeps it whole, for `dspy.load`. A `.json` holds config and
    models, for a `TunedProgram` of the same program. Neither holds a key.
    """

    def __init__(self, pipeline: DSPyPipeline, reason: str = "") -> None:
        super().__init__()
        self.pipeline = pipeline
        self.reason = reason
        """Why it is no plain program."""

    def __repr__(self) -> str:
        return f"TunedProgram({self.pipeline.name}: {self.reason})"

    def forward(self, *values: Any, **inputs: Any) -> Any:
        """What the program itself returns, with its tuned config; errors as `Tunable.__call__`."""
        return self._run(*values, **inputs)

    async def aforward(self, *values: Any, **inputs: Any) -> Any:
        """As `forward`, off the event loop."""
        return await asyncio.to_thread(self._run, *values, **inputs)

    def _run(self, *values: Any, **inputs: Any) -> Any:
        names = (*self.pipeline.inputs, *self.pipeline.optional_inputs)
        given = dict(**dict(zip(names, values, strict=False)), **inputs)  # no name twice
        return cast("BoundDSPyProgram", self.pipeline.ready_for(given)).returned(given)

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """Config and models."""
        config = self.pipeline.config or self.pipeline.default_config()
        models = [asdict(model) for model in self.pipeline.models]
        return {"tuned": {"config": config.model_dump(mode="json"), "models": models}}

    def load_state(self, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> None:
        """Take over what `dump_state` wrote; raises PipelineError if that is of another program."""
        if "tuned" not in state:
            raise PipelineError("this is the state of a plain DSPy program, not of a TunedProgram")
        config = PipelineConfig.model_validate(state["tuned"]["config"])
        models = [Model(**model) for model in state["tuned"]["models"]]
        self.pipeline = self.pipeline.with_config(config, models)
