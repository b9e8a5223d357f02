"""Plain Python as pipelines: the places where its code asks a model are the modules."""

from pipelines.adapters.callables.handle import ModelHandle
from pipelines.adapters.callables.pipeline import CallablePipeline, from_callable

__all__ = ["CallablePipeline", "ModelHandle", "from_callable"]
