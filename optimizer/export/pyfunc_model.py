"""The tuned pipeline as an MLflow model that carries its code along, since no index has it.

The model is a YAML file and this module, which MLflow imports to load it. It holds no pickle, and
saving it calls no model.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluators.dataset import plain_value
from optimizer.export.batch import failure_of, input_types, is_wide, run_rows
from optimizer.quiet_logs import log_level
from pipelines import Pipeline, Tunable

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import DataType

ROOMS = ("search_spaces", "pipelines", "evaluators", "optimizer")
REQUIREMENTS = ("mlflow", "dspy-ai", "litellm", "optuna", "joblib", "pydantic", "numpy")
FAILURE = "failure"
"""The output column with a row's failure; empty where there was none."""
CONFIDENCE = "confidence"
"""The output column with the members' agreement, where a module has several; an output of the
pipeline's own of this name replaces it."""
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
        rows = [
            {str(k): plain_value(v) for k, v in row.items()} for row in frame.to_dict("records")
        ]
        gateway = Gateway(cache=None)
        try:
            traces = list(run_rows(self.pipeline, rows, gateway.session("served")))
        finally:
            gateway.close()
        records = [
            {CONFIDENCE: trace.confidence, **trace.outputs}
            if trace.outputs is not None
            else {FAILURE: failure_of(trace)}
            for trace in traces
        ]
        # what plain Python returns may be known only now
        returned = (name for trace in traces for name in trace.outputs or ())
        outputs = self.pipeline.outputs or dict.fromkeys(returned)
        columns = [*outputs, *_columns_of_ours(self.pipeline)]
        answered = pd.DataFrame(records, index=frame.index, columns=columns, dtype=object)
        return answered.where(answered.notna(), None)


def _columns_of_ours(pipeline: Tunable) -> dict[str, DataType]:
    """The columns beside the pipeline's outputs."""
    from mlflow.types import DataType

    confidence = is_wide(pipeline) and CONFIDENCE not in pipeline.outputs
    ours = {CONFIDENCE: DataType.double} if confidence else {}
    return ours | {FAILURE: DataType.string}


def _load_pyfunc(path: str) -> ServedPipeline:
    """MLflow calls this to load the model, whose code it trusts; `path` is the pipeline's."""
    return ServedPipeline(Pipeline.load(path, allow_code=True))


def save_pyfunc(
    pipeline_yaml: str, folder: Path, *, example_inputs: Mapping[str, Any] | None = None
) -> None:
    """Write the model to `folder`, which must not exist yet; the example is shown with it."""
    import mlflow.pyfunc
    import pandas as pd

    pipeline = Pipeline.from_yaml(pipeline_yaml, allow_code=True)
    example = pd.DataFrame([dict(example_inputs)]) if example_inputs else None
    with tempfile.TemporaryDirectory() as scratch, quiet():
        data = Path(scratch, _PIPELINE_FILE)
        data.write_text(pipeline_yaml, encoding="utf-8")
        mlflow.pyfunc.save_model(
            path=str(folder),
            loader_module=__name__,
            data_path=str(data),
            code_paths=[str(path) for path in staged_code(pipeline, Path(scratch, "code"))],
            signature=model_signature(pipeline, example_inputs or {}, _columns_of_ours(pipeline)),
            input_example=example,
            pip_requirements=pinned(REQUIREMENTS),
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
        for field, kind in input_types(pipeline).items()
        for text in [kind is str and isinstance(example.get(field, ""), str)]
    ]
    columns: dict[str, Any] = {**dict.fromkeys(pipeline.outputs, anything), **more}
    outputs: list[Any] = [ColSpec(kind, column, required=False) for column, kind in columns.items()]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def pinned(names: Sequence[str]) -> list[str]:
    """Requirements, pinned to what is installed here."""
    return [f"{name}=={metadata.version(name)}" for name in names]


def staged_code(pipeline: Tunable, folder: Path) -> Iterator[Path]:
    """Copies of our packages, and of the modules that the pipeline's functions come from.

    Of a user's package only the Python files are copied: others may hold secrets.
    """
    folder.mkdir()
    for name in ROOMS:
        yield _copied(_source_of(name), folder, (".py", ".typed", ".html", ".yaml", ".json"))
    for name in dict.fromkeys(each.__module__.partition(".")[0] for each in pipeline.code):
        if name in (*ROOMS, "__main__"):  # a script's classes are in the pickle
            continue
        source = _source_of(name)
        if _is_users_own(source):
            yield _copied(source, folder, (".py",))


def _source_of(package: str) -> Path:
    """The package's folder, or the module's file."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places)) if places else (spec and spec.origin) or package)


def _copied(source: Path, folder: Path, kept: tuple[str, ...]) -> Path:
    def dropped(folder: str, names: list[str]) -> list[str]:
        files = (n for n in names if not n.endswith(kept) and not Path(folder, n).is_dir())
        return ["__pycache__", *files]

    target = folder / source.name
    if source.is_file():
        shutil.copy(source, target)
    else:
        shutil.copytree(source, target, ignore=dropped)
    return target


def _is_users_own(source: Path) -> bool:
    """Whether it is a file of the user's: neither the standard library's nor an installed one."""
    installed = {Path(sysconfig.get_path(key)) for key in ("stdlib", "purelib", "platlib")}
    return source.exists() and source.parent not in installed


@contextmanager
def quiet() -> Iterator[None]:
    """Without MLflow's warnings about type hints and examples."""
    with log_level(logging.ERROR, "mlflow"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
