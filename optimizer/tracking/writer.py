"""Writes events into an MLflow store, through `MlflowClient` with explicit run ids.

The fluent API would open stray runs in a thread, and depend on the user's active run.
"""

from __future__ import annotations

import hashlib
import json
import logging
from base64 import b64encode
from collections.abc import Iterator, Mapping
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.quiet_logs import log_level
from optimizer.tracking.database import ensure_database, is_unfinished
from optimizer.tracking.events import Event
from optimizer.tracking.journal import Journal
from optimizer.tracking.saved_view import VIEW_TAG, saved_view
from optimizer.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import PromptVersion

EVENT_TAG = "event_id"
MOST_DIGEST = 36
MOST_PREVIEW = 1000
_WAIT = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.REQUEST_TIMEOUT,
         HTTPStatus.TOO_MANY_REQUESTS}  # fmt: skip
"""Refusals that are not about the event."""
_NEVER = (FileNotFoundError, LookupError, TypeError, AttributeError)
"""From a journal without its files or its beginning, or from a bug: retrying is pointless."""


class Refused(Exception):
    """The store answers, and will never take this event."""


class EventWriter:
    """Writes events of runs to one store. For one thread; safe to call again after a failure."""

    def __init__(self, store: TrackingStore) -> None:
        self._store = store

    def write(self, event: Event, journal: Journal, *, again: bool = False) -> None:
        """Write one event of the journal's run.

        Each kind has a method of its name. The journal holds the run's ids, which the `start` event
        fills in, and the files. With `again`, an earlier attempt may have left something behind.

        Raises:
            Refused: the store will never take it.
            Exception: whatever MLflow raises when the store is away.
        """
        from mlflow.exceptions import MlflowException

        try:
            getattr(self, f"_{event.kind}")(event, journal, again)
        except MlflowException as error:
            status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]
            if event.kind != "start" and 400 <= status < 500 and status not in _WAIT:
                raise Refused(str(error)) from error
            raise
        except _NEVER as error:
            raise Refused(repr(error)) from error

    @cached_property
    def _client(self) -> MlflowClient:
        from mlflow import MlflowClient

        database = self._store.database
        # a fresh database would announce its tables on the terminal
        with log_level(logging.WARNING, "mlflow.store.db.utils", "alembic"):
            if database:
                ensure_database(database, ours=self._store.is_default)
            try:
                return MlflowClient(self._store.uri)
            except Exception as error:
                if database and is_unfinished(database):
                    raise OSError(
                        f"{database} was half created, with nothing in it, and can't be used: "
                        "move it away, and a new one is created"
                    ) from error
                raise

    def _start(self, event: Event, journal: Journal, again: bool) -> None:
        experiment_id = self._experiment(event.experiment)
        if VIEW_TAG not in self._client.get_experiment(experiment_id).tags:
            self._client.set_experiment_tag(experiment_id, VIEW_TAG, saved_view(event.time_ms))
        run_id = self._run(event, experiment_id, {}, again)
        self._log(run_id, event)
        parts = (("search", "training"), ("holdout", "eval"))
        inputs = [_dataset_input(event, *part) for part in parts if part[0] in event.tags]
        if inputs:
            self._client.log_inputs(run_id, inputs)
        journal.run = {"experiment_id": experiment_id, "run_id": run_id}

    def _trial(self, event: Event, journal: Journal, again: bool) -> None:
        parent = {"mlflow.parentRunId": journal.run["run_id"]}
        run_id = self._run(event, journal.run["experiment_id"], parent, again)
        self._log(run_id, event)
        self._terminate(run_id, event)

    def _prompt(self, event: Event, journal: Journal, again: bool) -> None:
        """A new version, unless one has the same text, as after a repeated run."""
        latest = self._client.load_prompt(f"prompts:/{event.name}@latest", allow_missing=True)
        known = self._client.search_prompt_versions(event.name) if latest else []
        version = next((each for each in known if each.template == event.text), None)
        if version is None:
            tags = {**event.tags, "run": journal.run["run_id"]}
            message = f"accepted in {tags['stage']}"
            model = json.loads(event.params["model"])
            version = self._client.register_prompt(
                event.name, event.text, message, tags, model_config=model
            )
        self._link(version, journal.run["run_id"])

    def _link(self, prompt: PromptVersion, run_id: str) -> None:
        """As `link_prompt_version_to_run`, which looks for the run in the global store."""
        from mlflow.tracing.constant import TraceTagKey
        from mlflow.tracing.utils.prompt import update_linked_prompts_tag

        linked = self._client.get_run(run_id).data.tags.get(TraceTagKey.LINKED_PROMPTS)
        tag = update_linked_prompts_tag(linked, [prompt])
        self._client.set_tag(run_id, TraceTagKey.LINKED_PROMPTS, tag)

    def _figures(self, event: Event, journal: Journal, again: bool) -> None:
        self._log(journal.run["run_id"], event)

    def _artifacts(self, event: Event, journal: Journal, again: bool) -> None:
        folder = journal.folder / event.folder
        self._client.log_artifacts(journal.run["run_id"], str(folder))

    def _model(self, event: Event, journal: Journal, again: bool) -> None:
        """A finalist with its figures, traces and, if it can be loaded, its files."""
        from mlflow.entities import LoggedModelOutput, Metric

        run_id, experiment_id = journal.run["run_id"], journal.run["experiment_id"]
        query = f"tags.{EVENT_TAG} = '{event.id}'"
        found = again and self._client.search_logged_models([experiment_id], query, max_results=1)
        logged = found[0] if found else self._client.create_logged_model(
            experiment_id, name=event.name, source_run_id=run_id, params=event.params,
            tags={**event.tags, EVENT_TAG: event.id}, model_type="pipeline",
        )  # fmt: skip
        if event.folder:
            folder = journal.folder / event.folder
            _name_in_mlmodel(folder, logged.model_id, run_id, logged.artifact_location)
            self._client.log_model_artifacts(logged.model_id, str(folder))
        self._client.finalize_logged_model(logged.model_id, "READY")
        outputs = self._client.get_run(run_id).outputs if again else None
        linked = [output.model_id for output in outputs.model_outputs] if outputs else []
        if logged.model_id not in linked:
            self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, event.step)])
        measured_on = event.tags["measured_on"], event.tags["digest"][:MOST_DIGEST]
        metrics = [
            Metric(key, value, event.time_ms, event.step, logged.model_id, *measured_on)
            for key, value in event.metrics.items()
        ]
        self._client.log_batch(run_id, metrics)
        for number, trace in enumerate(json.loads(event.text)):
            self._log_trace(trace, f"{event.id}/{number}", event.time_ms, logged, run_id)

    def _log_trace(
        self, trace: Mapping[str, Any], id_: str, end_ms: int, model: Any, run_id: str
    ) -> None:
        """One run of a finalist. Through the store: the fluent API would ask the global one."""
        from mlflow.entities import TraceInfo, TraceLocation, TraceState
        from mlflow.tracing.constant import TraceMetadataKey, TraceTagKey

        trace_id = f"tr-{hashlib.sha256(id_.encode()).hexdigest()[:32]}"
        seconds = trace["seconds"]  # None if unknown
        took_ms = None if seconds is None else round(1000 * seconds)
        began_ms = end_ms - (took_ms or 0)
        info = TraceInfo(
            trace_id,
            TraceLocation.from_experiment_id(model.experiment_id),
            began_ms,
            TraceState.ERROR if trace["failure"] else TraceState.OK,
            json.dumps(trace["inputs"])[:MOST_PREVIEW],
            json.dumps(trace["outputs"])[:MOST_PREVIEW],
            execution_duration=took_ms,
            trace_metadata={
                TraceMetadataKey.SOURCE_RUN: run_id,
                TraceMetadataKey.MODEL_ID: model.model_id,
            },
            tags={TraceTagKey.TRACE_NAME: f"{model.name} {trace['name']}", **trace["tags"]},
        )
        store = self._client._tracking_client.store
        store.start_trace(info)
        spans = list(_spans(trace, trace_id, 1_000_000 * began_ms))
        store.log_spans(model.experiment_id, spans)

    def _end(self, event: Event, journal: Journal, again: bool) -> None:
        self._log(journal.run["run_id"], event)
        self._terminate(journal.run["run_id"], event)

    def _experiment(self, name: str) -> str:
        """The experiment's id; made if there is none, and restored if it was deleted."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, self._store.artifact_location))
            except MlflowException:
                found = self._client.get_experiment_by_name(name)  # another process was faster
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _run(self, event: Event, experiment_id: str, tags: Mapping[str, str], again: bool) -> str:
        if again:
            query = f"tags.{EVENT_TAG} = '{event.id}'"
            found = self._client.search_runs([experiment_id], query, max_results=1)
            if found:
                return str(found[0].info.run_id)
        tags = {**tags, EVENT_TAG: event.id}
        began = event.time_ms - round(1000 * event.took_s)
        run = self._client.create_run(experiment_id, began, tags, event.name)
        return str(run.info.run_id)

    def _terminate(self, run_id: str, event: Event) -> None:
        """As `set_terminated`, which would print two lines for every trial on a server."""
        from mlflow.entities import RunStatus

        status = RunStatus.from_string(event.status)
        store = self._client._tracking_client.store
        store.update_run_info(run_id, status, event.time_ms, None)

    def _log(self, run_id: str, event: Event) -> None:
        from mlflow.entities import Metric, Param, RunTag

        time_ms, step = event.time_ms, event.step
        metrics = [Metric(k, v, time_ms, step) for k, v in event.metrics.items()]
        params = [Param(k, v) for k, v in event.params.items()]
        tags = [RunTag(k, v) for k, v in event.tags.items()]
        self._client.log_batch(run_id, metrics, params, tags)


def _dataset_input(event: Event, name: str, context: str) -> Any:
    """One part of the data, whose digest is a tag of its name."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    rows = event.params.get(f"{name}_examples")
    profile = json.dumps({"num_rows": int(rows)}) if rows else None
    data = Dataset(name, event.tags[name][:MOST_DIGEST], "local", "{}", profile=profile)
    return DatasetInput(data, [InputTag(MLFLOW_DATASET_CONTEXT, context)])


def _spans(trace: Mapping[str, Any], id_: str, began_ns: int) -> Iterator[Any]:
    """The whole run, and below it its modules, each starting when its inputs are ready."""
    from mlflow.entities import Span

    trace_id = bytes.fromhex(id_.removeprefix("tr-"))
    whole = {**trace, "began_s": 0.0, "kind": "CHAIN"}
    for number, part in enumerate([whole, *trace["modules"]], start=1):
        began = began_ns + round(1e9 * (part["began_s"] or 0.0))  # None if unknown
        seconds = part["seconds"]
        attributes = {
            "traceRequestId": id_, "spanInputs": part["inputs"], "spanOutputs": part["outputs"],
            "spanType": part["kind"], **part.get("attributes", {}),
        }  # fmt: skip
        error = part["failure"] or ""
        yield Span.from_dict(
            {
                "trace_id": b64encode(trace_id).decode(),
                "span_id": b64encode(number.to_bytes(8, "big")).decode(),
                "parent_span_id": b64encode((1).to_bytes(8, "big")).decode() if number > 1 else "",
                "name": part["name"],
                "start_time_unix_nano": began,
                "end_time_unix_nano": None if seconds is None else began + round(1e9 * seconds),
                "status": {"code": f"STATUS_CODE_{'ERROR' if error else 'OK'}", "message": error},
                "events": [],
                "attributes": {f"mlflow.{k}": json.dumps(v) for k, v in attributes.items()},
            }
        )


def _name_in_mlmodel(folder: Path, model_id: str, run_id: str, location: str) -> None:
    """Write the ids that the store gave the model into its description."""
    import yaml

    path = folder / "MLmodel"
    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    described.update(model_id=model_id, run_id=run_id, artifact_path=location)
    path.write_text(yaml.safe_dump(described), encoding="utf-8")
