"""Pipelines and datasets of requests: what may be read, and what may be run."""

from __future__ import annotations

import importlib.util
import io
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.files.named_code import named_code
from pipelines.modules.functions import refusing_code
from search_spaces.refusals import nearest

if TYPE_CHECKING:
    import dspy

    from optimizer.service.request import SearchRequest, Upload
    from pipelines import Tunable
    from pipelines.gateway.model import Model
    from search_spaces import SearchSpace

Folders = Mapping[str, Path]
"""The folders that the operator allows, by name."""

MOST_ROWS = 1_000_000
"""Of a dataset in Parquet."""
_BATCH_ROWS = 16
"""Decoded at once while its size is added up: they may be as large as the whole."""
_PARAMS = {
    "reasoning_effort", "verbosity", "thinking", "top_p", "top_k", "min_p", "stop",
    "presence_penalty", "frequency_penalty", "logit_bias",
}  # fmt: skip
"""Parameters that an uploaded pipeline's models may have: they reach no address, file or key."""
_ONE_AT_A_TIME = threading.RLock()
"""Imports from allowed folders change `sys.path` and `sys.modules`."""


def allowed_folders(paths: list[str]) -> dict[str, Path]:
    """The folders by name.

    Raises:
        ValueError: one is no folder, or two have one name.
    """
    folders: dict[str, Path] = {}
    for given in paths:
        path = Path(given).resolve()
        if not path.is_dir():
            raise ValueError(f"--allow must name a folder, but got {given!r}")
        if path.name in folders:
            raise ValueError(
                f"--allow must name folders of different names, but {folders[path.name]} and "
                f"{path} are both called {path.name!r}"
            )
        folders[path.name] = path
    return folders


def file_below(folders: Folders, name: str) -> Path:
    """The file of this path, relative to one of the folders or absolute, and within one of them.

    Raises:
        ValueError: there is none, or it is outside, also by a symbolic link.
    """
    for folder in folders.values():
        try:
            found = (folder / name).resolve()
        except (OSError, ValueError):  # a null character, or a circle of links
            continue
        if found.is_relative_to(folder) and found.is_file():
            return found
    where = ", ".join(folders) or "none"
    raise ValueError(f"there is no file {name!r} in the folders that the service allows ({where})")


def check_dataset(dataset: Upload, most_bytes: int) -> None:
    """Refuse Parquet that is small as a file alone: it may repeat one value any number of times.

    Raises:
        ValueError: it has more than `MOST_ROWS`, or more than `most_bytes` in memory.
    """
    if Path(dataset.name).suffix.lower() != ".parquet":
        return
    import pyarrow  # late: other datasets need not pay for it
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(io.BytesIO(dataset.content))
        about = file.metadata
        if about.num_rows > MOST_ROWS:
            raise ValueError(f"{dataset.name} has {about.num_rows:,} rows, above {MOST_ROWS:,}")
        groups = [about.row_group(index) for index in range(about.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        if size <= most_bytes:
            size = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
                size += batch.nbytes
                if size > most_bytes:
                    break
    except (pyarrow.ArrowException, OSError):  # refused where it is loaded, in the words for it
        return
    if size > most_bytes:
        raise ValueError(f"{dataset.name} has more than {most_bytes:,} bytes once it is read")


def check_upload(form: Any) -> None:
    """Refuse, in an uploaded pipeline, models that say more than which one is meant.

    An address or a key's variable could send the service's keys elsewhere; a price could lift its
    budgets.

    Raises:
        ValueError: one does. Code that it names is refused where it is loaded.
    """
    models = form.get("models") if isinstance(form, Mapping) else None
    for model in models if isinstance(models, list) else []:
        if not isinstance(model, Mapping):
            continue
        params = model.get("params")
        odd = [key for key in model if key not in ("name", "label", "max_tokens", "params")]
        odd += [key for key in params if key not in _PARAMS] if isinstance(params, Mapping) else []
        if odd:
            raise ValueError(
                f"model {model.get('name')!r} of an uploaded pipeline may not set {odd[0]!r}; the "
                "operator can offer such a model by a label (serve --models)"
            )


def _check_no_address(names: Iterable[str]) -> None:
    """Refuse an address in the name of a model, as some of litellm's names have it."""
    for name in names:
        if "://" in name:
            raise ValueError(f"a model's name may hold no address, but got {name!r}")


def _names_in(form: Any) -> Iterator[str]:
    """All texts of a config that may name a model: not prompts, nor what they hold."""
    if isinstance(form, Mapping):
        for key, value in form.items():
            if key not in ("instructions", "demos", "params"):
                yield from _names_in(value)
    elif isinstance(form, list):
        for value in form:
            yield from _names_in(value)
    elif isinstance(form, str):
        yield form


def _names_of(pipeline: Tunable) -> Iterator[str]:
    """The names of models that the pipeline asks, wherever they stand."""
    yield from (model.name for model in pipeline.models)
    for config in (pipeline.config, pipeline.default_config("another model")):
        if config is not None:
            yield from _names_in(config.model_dump(mode="json"))


def _names_of_space(space: SearchSpace) -> Iterator[str]:
    """The names of models in a search space, also those in networks."""
    from optimizer.setup.space_checks import resolve

    fields = {"models", "network", "aggregator"}
    yield from _names_in(resolve(space).model_dump(mode="json", include=fields))


def _check_no_code(space: Any, knob: str = "") -> None:
    """Refuse code in a search space, also where that of a folder may be run."""
    if isinstance(space, Mapping):
        for name, value in space.items():
            _check_no_code(value, knob or name)
    elif isinstance(space, list):
        for value in space:
            _check_no_code(value, knob)
    elif knob in ("aggregator", "network", "members") and any(named_code(space, "aggregator")):
        raise ValueError(f"search_space may name no code, but got {space!r}")


@contextmanager
def opened(
    request: SearchRequest, dataset: Upload, folders: Folders, models: Mapping[str, Model]
) -> Iterator[dict[str, Any]]:
    """Within it, the arguments of `optimize`; the dataset is in a temporary file.

    Raises:
        ValueError: one does not fit, in the words of `optimize`.
        OSError: a file can't be read.
    """
    with (
        tempfile.TemporaryDirectory() as temporary,
        _importing_from(request.folder, folders),
        refusing_code(request.folder is None),
    ):
        path = Path(temporary, "dataset" + Path(dataset.name).suffix)
        path.write_bytes(dataset.content)
        try:
            pipeline, arguments = _pipeline(request, folders), request.arguments(models)
            if arguments["search_space"] is not None:
                _check_no_address(_names_of_space(arguments["search_space"]))
            yield {"pipeline": pipeline, "dataset": str(path), **arguments}
        except Exception as error:
            message = str(error)
            if str(path) not in message:
                raise
            raise ValueError(message.replace(str(path), dataset.name)) from error


def stored_pipeline(request: SearchRequest, folders: Folders) -> SearchRequest:
    """The request, with the text of the YAML file that it names.

    Raises:
        ValueError: the folder is not allowed, or has no such file.
        OSError: the file can't be read.
    """
    from pipelines.files.python_objects import IN_PYTHON
    from pipelines.files.yaml_text import read_text

    if request.folder is None or IN_PYTHON.fullmatch(request.pipeline):
        return request
    path = file_below({request.folder: folder_of(request.folder, folders)}, request.pipeline)
    return request.model_copy(update={"pipeline": read_text(path)})


def folder_of(name: str, folders: Folders) -> Path:
    """The folder of that name. Raises ValueError if none is allowed."""
    if name not in folders:
        hint = nearest(name, folders)
        allowed = ", ".join(folders) or "none"
        raise ValueError(f"the service allows no folder {name!r}{hint} (allowed: {allowed})")
    return folders[name]


def _pipeline(request: SearchRequest, folders: Folders) -> Tunable | dspy.Module:
    from pipelines import Pipeline
    from pipelines.files.python_objects import IN_PYTHON, pipeline_object
    from pipelines.files.yaml_text import read_yaml

    _check_no_address([*(request.models or ()), request.diagnoser or ""])
    _check_no_code(request.search_space)
    if request.folder is None:
        check_upload(read_yaml(request.pipeline)[0])
        uploaded = Pipeline.from_yaml(request.pipeline)
        _check_no_address(_names_of(uploaded))
        return uploaded
    if not IN_PYTHON.fullmatch(request.pipeline):
        return Pipeline.from_yaml(request.pipeline, allow_code=True)
    folder = folder_of(request.folder, folders)
    top = request.pipeline.partition(":")[0].partition(".")[0]
    found = importlib.util.find_spec(top)
    places = [*(found.submodule_search_locations or ()), found.origin or ""] if found else [""]
    if not Path(places[0]).resolve().is_relative_to(folder):
        raise ValueError(
            f"{request.pipeline}: module {top!r} must be a file of the folder {request.folder!r}"
        )
    return pipeline_object(request.pipeline)


@contextmanager
def _importing_from(name: str | None, folders: Folders) -> Iterator[None]:
    """Within it, modules of the folder can be imported; they are forgotten afterwards."""
    if name is None:
        yield
        return
    folder = folder_of(name, folders)
    with _ONE_AT_A_TIME:
        sys.path.append(str(folder))  # last, so that it can't hide our packages
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(str(folder))
            for module, loaded in list(sys.modules.items()):
                file = getattr(loaded, "__file__", None)
                if file and Path(file).resolve().is_relative_to(folder):
                    del sys.modules[module]
