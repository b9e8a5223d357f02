"""A tuned DSPy program whose class can't be imported, as an MLflow model.

Our YAML form names a class, which scripts, notebooks and bare predictors don't have; so the model
holds a pickle of the program, in which classes of `__main__` are written out.
"""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import cloudpickle
import dspy

from optimizer.export.pyfunc_model import PICKLE, save_model
from pipelines import PipelineError
from pipelines.adapters.dspy_programs import DSPyPipeline
from pipelines.gateway.secrets import keep_key, redactor

_LOCKS: tuple[Callable[[], Any], ...] = (threading.Lock, threading.RLock)


def save_pickled(
    pipeline: DSPyPipeline, folder: Path, *, example_inputs: Mapping[str, Any] | None = None
) -> None:
    """Write the model to `folder`, which must not exist yet; the example is shown with it. Raises
    PipelineError if the program can't be pickled."""
    file = BytesIO()
    pickler = _Pickler(file)
    try:
        pickler.dump(pipeline)
    except Exception as error:  # pickling runs into whatever the program holds
        raise PipelineError(f"the program can't be pickled: {error}") from error
    save_model(pipeline, {PICKLE: file.getvalue()}, folder, pickler.modules, example_inputs or {})


class _Pickler(cloudpickle.CloudPickler):
    """Leaves keys out, and records which modules the pickle imports. A lock becomes a new one;
    `dspy.Parallel` holds some."""

    dispatch_table = cloudpickle.CloudPickler.dispatch_table.new_child(
        {type(make()): lambda lock, make=make: (make, ()) for make in _LOCKS}
    )

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file)
        self.modules: dict[str, None] = {}
        """In the order in which they were found."""
        self._redact = redactor()

    def persistent_id(self, value: Any) -> str | None:
        """Pickle calls this for every value: a text that holds a key is stored without it, all
        else as usual."""
        if isinstance(value, dspy.LM) and (key := value.kwargs.get("api_key")):
            keep_key(key, "LM_API_KEY")
            self._redact = redactor()
        self.modules.update(dict.fromkeys(_imported_by(value)))
        if type(value) is not str or (text := self._redact(value)) == value:
            return None
        return text


def _imported_by(value: Any) -> Iterator[str]:
    """The modules that a value needs when it is unpickled, or runs."""
    if isinstance(value, ModuleType):
        yield value.__name__
    elif isinstance(value, type | FunctionType):
        found: Any = sys.modules.get(value.__module__)
        for name in value.__qualname__.split("."):
            found = getattr(found, name, None)
        if found is value:  # so that the pickle holds the name alone
            yield value.__module__
    elif isinstance(value, CodeType):  # of a function that no module has
        code = dis.get_instructions(value)
        yield from (each.argval for each in code if each.opname == "IMPORT_NAME")
