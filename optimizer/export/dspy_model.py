"""A tuned DSPy program as an MLflow model of DSPy's flavour.

It is a pickle, which also holds classes of a script; our own YAML form needs an importable class.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dspy

from optimizer.export.pyfunc_model import (
    REQUIREMENTS,
    model_signature,
    pinned,
    quiet,
    staged_code,
)
from pipelines import PipelineError
from pipelines.adapters.dspy_programs import DSPyPipeline
from pipelines.adapters.dspy_programs.export import plain_program
from pipelines.adapters.dspy_programs.inspection.lms import as_lm
from pipelines.adapters.dspy_programs.tuned_program import TunedProgram

_REQUIREMENTS = ("mlflow", "dspy-ai", "litellm")


def save_dspy_program(
    pipeline: DSPyPipeline, folder: Path, *, example_inputs: Mapping[str, Any] | None = None
) -> None:
    """Write the model to `folder`, which must not exist yet; the example is shown with it.

    Raises:
        PipelineError: the program can't be pickled.
    """
    import mlflow.dspy

    # a plain program's LMs hold the keys themselves
    has_keys = any(model.api_key_env for model in pipeline.models)
    try:
        program = TunedProgram(pipeline) if has_keys else plain_program(pipeline)
    except PipelineError as error:  # `to_dspy` would warn, but here no plain program was asked for
        program = TunedProgram(pipeline, error.message)
    needs_ours = isinstance(program, TunedProgram)
    inputs = dict(example_inputs or {})
    asked = pipeline.fallback and as_lm(*pipeline.fallback, {})
    with (
        quiet(),
        TemporaryDirectory() as scratch,
        dspy.context(lm=asked, adapter=pipeline.adapter, callbacks=[], trace=[]),
    ):
        code = staged_code(pipeline, Path(scratch, "code")) if needs_ours else ()
        try:
            mlflow.dspy.save_model(
                program,
                str(folder),
                signature=model_signature(pipeline, inputs, {}),  # MLflow would call it to find out
                input_example=inputs or None,
                code_paths=[str(path) for path in code] or None,
                pip_requirements=pinned(REQUIREMENTS if needs_ours else _REQUIREMENTS),
            )
        except Exception as error:  # pickling runs into whatever the program holds
            raise PipelineError(f"the program can't be pickled: {error}") from error
