"""The tuned pipeline as an MLflow model that carries its code along, since no index has it.

The model is a file and this module, which MLflow imports to load it: a YAML file, or a pickle
where YAML can't say what runs. Saving it calls no model.
"""

from __future__ import annotations

import logging
import pickle
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluators.dataset import plain_value
from optimizer.export.batch import failure_of, is_wide, run_rows
from optimizer.export.carried_code import carried_code
from optimizer.quiet_logs import log_level
from pipelines import Pipeline, Tunable
from pipelines.gateway.secrets import key_of, plain_json, redactor
from pipelines.modules.plain_data import plain_record, typed_record

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import DataType

FAILURE = "failure"
"""The output column with a row's failure; empty where there was none."""
CONFIDENCE = "confidence"
"""The output column with the members' agreement, where a module has several; an output of the
pipeline's own of this name replaces it."""
PICKLE = "pipeline.pkl"
"""The file of a pipeline without a form in YAML; see `pickled_model.py`."""
_PIPELINE_FILE = "pipeline.yaml"


class ServedPipeline:
    """A pipeline as MLflow calls it. Replies are cached for one request, and not on disk."""

    def __init__(self, pipeline: Tunable) -> None:
        self.pipeline = pipeline

    def predict(
        self, model_input: pd.DataFrame | Sequence[Mapping[str, Any]], params: Any = None
    ) -> pd.DataFrame:
        """The outputs of every row, and what failed.

        Args:
            model_input: one row per example, with the pipeline's inputs as columns.
            params: MLflow's; there are none.

        Returns:
            One row per input row, with its index: the pipeline's output fields; `confidence` in
            [0, 1], if a module has several members; and `failure`, with all else None if a module
            failed.
        """
        import pandas as pd

        from pipelines.gateway.gateway import Gateway

        frame = pd.DataFrame(model_input)
        types = self.pipeline.input_types
        rows = [
            typed_record({str(k): plain_value(v) for k, v in row.items()}, types)
            for row in frame.to_dict("records")
        ]
        gateway = Gateway(cache=None)
        try:
            traces = list(run_rows(self.pipeline, rows, gateway.session("served")))
        finally:
            gateway.close()
        records = [
            {CONFIDENCE: trace.confidence, **plain_record(trace.outputs)}
            if trace.outputs is not None
            else {FAILURE: failure_of(trace)}
            for trace in traces
        ]
        # the fields that the user's own code returns may be known only now
        returned = (name for trace in traces for name in trace.outputs or ())
        outputs = dict.fromkeys([*self.pipeline.outputs, *returned])
        columns = list(dict.fromkeys([*outputs, *_columns_of_ours(self.pipeline)]))
        answered = pd.DataFrame(records, index=frame.index, columns=columns, dtype=object)
        return answered.where(answered.notna(), None)


def _columns_of_ours(pipeline: Tunable) -> dict[str, DataType]:
    """The columns beside the pipeline's outputs."""
    from mlflow.types import DataType

    confidence = is_wide(pipeline) and CONFIDENCE not in pipeline.outputs
    ours = {CONFIDENCE: DataType.double} if confidence else {}
    return ours | {FAILURE: DataType.string}


class _Unpickler(pickle.Unpickler):
    """Reads what `save_pickled` wrote."""

    def persistent_load(self, text: str) -> str:
        """A text that was stored without its keys, with those that this environment has."""
        return re.sub(r"<(\w+)>", lambda found: key_of(found[1]) or found[0], text)


def _load_pyfunc(path: str) -> ServedPipeline:
    """MLflow calls this to load the model, whose code it trusts; `path` is the pipeline's."""
    if Path(path).name == PICKLE:
        with open(path, "rb") as file:
            return ServedPipeline(_Unpickler(file).load())
    return ServedPipeline(Pipeline.load(path, allow_code=True))


def save_pyfunc(
    pipeline_yaml: str, folder: Path, *, example_inputs: Mapping[str, Any] | None = None
) -> None:
    """Write the model to `folder`, which must not exist yet; the example is shown with it. Raises
    PipelineError if the YAML needs more than can be imported."""
    pipeline = Pipeline.from_yaml(pipeline_yaml, allow_code=True)
    modules = [each.__module__ for each in pipeline.code]
    save_model(
        pipeline, {_PIPELINE_FILE: pipeline_yaml.encode()}, folder, modules, example_inputs or {}
    )


def save_model(
    pipeline: Tunable,
    data: Mapping[str, bytes],
    folder: Path,
    modules: Iterable[str],
    example_inputs: Mapping[str, Any],
) -> None:
    """Write a model to `folder`, which must not exist yet.

    `data` is the content, by name, of the one file that `_load_pyfunc` reads; `modules` are of the
    user's code that loading imports; `example_inputs` may be empty.
    """
    import mlflow.pyfunc
    import pandas as pd

    shown = plain_json(plain_record(example_inputs), redactor())
    ((name, content),) = data.items()
    with tempfile.TemporaryDirectory() as scratch, quiet():
        path = Path(scratch, name)
        path.write_bytes(content)
        code = carried_code(modules, Path(scratch, "code"))
        mlflow.pyfunc.save_model(
            path=str(folder),
            loader_module=__name__,
            data_path=str(path),
            code_paths=list(code.paths),
            signature=model_signature(pipeline, example_inputs, _columns_of_ours(pipeline)),
            input_example=pd.DataFrame([shown]) if shown else None,
            pip_requirements=list(code.requirements),
        )


def model_signature(
    pipeline: Tunable, example: Mapping[str, Any], more: Mapping[str, DataType]
) -> ModelSignature:
    """Text where the field is text, and any type elsewhere, as prompts take any value."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType

    anything = AnyType()  # type: ignore[no-untyped-call]
    inputs: list[Any] = [
        ColSpec(DataType.string if text else anything, field)
        for field, kind in pipeline.input_types.items()
        for text in [kind is str and isinstance(example.get(field, ""), str)]
    ]
    columns: dict[str, Any] = {**dict.fromkeys(pipeline.outputs, anything), **more}
    outputs: list[Any] = [ColSpec(kind, column, required=False) for column, kind in columns.items()]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


@contextmanager
def quiet() -> Iterator[None]:
    """Without MLflow's warnings about type hints and examples."""
    with log_level(logging.ERROR, "mlflow"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
