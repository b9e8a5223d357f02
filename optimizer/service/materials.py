"""Pipelines and datasets of requests: what may be read, and what may be run."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
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

Folders = Mapping[str, Path]
"""The folders that the operator allows, by name."""

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
    check_no_address(form)


def check_no_address(form: Any, key: str = "") -> None:
    """Refuse an address in the name of a model, as some of litellm's names have it."""
    if isinstance(form, Mapping):
        for inner, value in form.items():
            within = key if key in ("models", "diagnoser") and inner not in ("params",) else inner
            check_no_address(value, within)
    elif isinstance(form, list):
        for value in form:
            check_no_address(value, key)
    elif isinstance(form, str) and key in ("model", "models", "diagnoser") and "://" in form:
        raise ValueError(f"a model's name may hold no address, but got {form!r}")


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
            pipeline = _pipeline(request, folders)
            yield {"pipeline": pipeline, "dataset": str(path), **request.arguments(models)}
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

    for name in [*(request.models or ()), request.diagnoser]:
        check_no_address(name, "model")
    check_no_address(request.search_space)
    _check_no_code(request.search_space)
    if request.folder is None:
        check_upload(read_yaml(request.pipeline)[0])
        return Pipeline.from_yaml(request.pipeline)
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
