"""A run that finished, read back from the tracking store."""

from __future__ import annotations

import io
import json
import logging
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.quiet_logs import log_level
from optimizer.tracking.outputs import EXAMPLES
from optimizer.tracking.store import chosen_store
from optimizer.tracking.tracker import import_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

REPORT = "report.html"
_FENCE = "```"


@dataclass(frozen=True)
class FinishedRun:
    """One `optimize` call, as MLflow has it."""

    run_id: str
    name: str
    summary: str
    """What `print(result)` showed, without the next steps in Python."""
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    examples: tuple[Mapping[str, Any], ...]
    """A row per held-out example, as `Result.examples` has them; empty without any."""


def find_run(run_id: str | None = None, experiment: str | None = None) -> FinishedRun:
    """The run of this id, or the latest that finished, in one experiment or in all.

    Raises:
        ValueError: there is none; says where it was looked for.
        OSError: the store can't be reached.
    """
    client, run = _found(run_id, experiment)
    with tempfile.TemporaryDirectory() as folder:
        path = _downloaded(client, run, EXAMPLES, folder)
        table = (
            json.loads(path.read_text(encoding="utf-8")) if path else {"columns": [], "data": []}
        )
    rows = tuple(dict(zip(table["columns"], row, strict=True)) for row in table["data"])
    tags = dict(run.data.tags)
    note = tags.get("mlflow.note.content", "").strip().removeprefix(_FENCE).removesuffix(_FENCE)
    return FinishedRun(
        run.info.run_id,
        run.info.run_name,
        note.partition("\n\nNext\n")[0].strip("\n"),
        dict(run.data.metrics),
        dict(run.data.params),
        tags,
        rows,
    )


def report_page(run_id: str | None = None, experiment: str | None = None) -> tuple[str, str]:
    """The run's id and its page as HTML.

    Raises:
        ValueError: there is no such run, or it has no page.
        OSError: the store can't be reached.
    """
    client, run = _found(run_id, experiment)
    with tempfile.TemporaryDirectory() as folder:
        path = _downloaded(client, run, REPORT, folder)
        if path is None:
            raise ValueError(f"run {run.info.run_id} has no {REPORT}: only a finished run has one")
        return run.info.run_id, path.read_text(encoding="utf-8")


def _found(run_id: str | None, experiment: str | None) -> tuple[MlflowClient, Run]:
    import_mlflow()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    store = chosen_store()
    if store.database and not store.database.exists():
        raise ValueError(
            f"there is no run: {store.database} does not exist; work in the folder of the run, or "
            "set MLFLOW_TRACKING_URI"
        )
    if problem := store.problem():
        raise OSError(f"the tracking store {store.shown} can't be reached: {problem}")
    with log_level(logging.WARNING, "mlflow.store.db.utils", "alembic"):
        client = MlflowClient(store.uri, registry_uri=store.uri)
        if run_id is None:
            return client, _latest(client, experiment, store.shown)
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise OSError(
                    f"run {run_id!r} can't be read from {store.shown}: {error}"
                ) from error
            raise ValueError(
                f"there is no run {run_id!r} in {store.shown}; without an id, the latest is taken"
            ) from error
    if run.info.status != "FINISHED":
        raise ValueError(f"run {run_id!r} has not finished: its status is {run.info.status}")
    return client, run


def _latest(client: MlflowClient, experiment: str | None, store: str) -> Run:
    places = client.search_experiments()
    ids = [e.experiment_id for e in places if experiment in (None, e.name)]
    finished = "attributes.status = 'FINISHED' and tags.study != ''"
    newest = ["attributes.start_time DESC"]
    runs = client.search_runs(ids, finished, max_results=1, order_by=newest) if ids else []
    if not runs:
        where = f" in experiment {experiment!r}" if experiment else ""
        known = ", ".join(e.name for e in places)
        raise ValueError(
            f"there is no finished run of optimize{where} in {store} (experiments: {known})"
        )
    return runs[0]


def _downloaded(client: MlflowClient, run: Run, name: str, folder: str) -> Path | None:
    """The artifact's path below the folder; None if the run has none of that name."""
    if all(artifact.path != name for artifact in client.list_artifacts(run.info.run_id)):
        return None
    with redirect_stderr(io.StringIO()):  # a bar of progress for every file
        return Path(client.download_artifacts(run.info.run_id, name, folder))
