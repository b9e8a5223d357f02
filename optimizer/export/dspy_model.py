"""A tuned DSPy program as an MLflow model of DSPy's flavour.

It is a pickle, which also holds classes of a script; our own YAML form needs an importable class.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dspy

from optimizer.export.pyfunc_model import model_signature, pinned, quiet
from pipelines import PipelineError
from pipelines.adapters.dspy_programs import DSPyPipeline
from pipelines.adapters.dspy_programs.inspection.lms import as_lm

_REQUIREMENTS = ("mlflow", "dspy-ai", "litellm")


def save_dspy_program(
    pipeline: DSPyPipeline, folder: Path, *, example_inputs: Mapping[str, Any] | None = None
) -> None:
    """Write the model to `folder`, which must not exist yet; the example is shown with it.

    Raises:
        PipelineError: DSPy has no form for the config, the program can't be pickled, or a key would
            have to be written down.
    """
    import mlflow.dspy

    for model in pipeline.models:
        if model.api_key_env:
            raise PipelineError(f"the key of model {model.label!r} would be pickled with it")
    program, inputs = pipeline.to_dspy(), dict(example_inputs or {})
    asked = pipeline.fallback and as_lm(*pipeline.fallback, {})
    with quiet(), dspy.context(lm=asked, adapter=pipeline.adapter, callbacks=[], trace=[]):
        try:
            mlflow.dspy.save_model(
                program,
                str(folder),
                signature=model_signature(pipeline, inputs, {}),  # MLflow would call it to find out
                input_example=inputs or None,
                pip_requirements=pinned(_REQUIREMENTS),
            )
        except Exception as error:  # pickling runs into whatever the program holds
            raise PipelineError(f"the program can't be pickled: {error}") from error
