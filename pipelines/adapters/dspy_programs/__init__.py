"""Programs of DSPy's as pipelines: their predictors are the modules."""

from pipelines.adapters.dspy_programs.pipeline import DSPyPipeline, from_dspy

__all__ = ["DSPyPipeline", "from_dspy"]
