"""The client of a search service: submit, watch, stop and resume searches, and read results."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import BaseModel

from optimizer.errors import ServiceError
from optimizer.service.queue import ENDED
from optimizer.service.request import SearchRequest, Upload, make_request

if TYPE_CHECKING:
    import dspy
    import pandas as pd

    from pipelines import Tunable

DEFAULT_URL = "http://127.0.0.1:8765"
_TIMEOUT_S = 120.0
"""Of an answer (a submission is checked and estimated before it), and for a service to return."""
_RECONNECT_S = 1.0
"""Before a broken connection is tried again while a search is watched."""
_AWAY = (502, 503, 504)
"""A proxy without the service behind it, or a service without its database: both may return."""


@dataclass(frozen=True)
class SearchService:
    """A search service, and the token with which it is asked.

    Args:
        url: by default `COMPOUND_OPTIMIZER_URL`, else port 8765 of this machine.
        token: by default `COMPOUND_OPTIMIZER_TOKEN`.
    """

    url: str = ""
    token: str = field(default="", repr=False)

    def submit(
        self,
        pipeline: Tunable | dspy.Module | str | Path,
        dataset: Any,
        models: str | Sequence[str] | None = None,
        **arguments: Any,
    ) -> RemoteSearch:
        """Submit a search; it is checked before it is queued.

        Args:
            pipeline: one that has a form in YAML without code of its own, or the path of such a
                YAML file; with `folder`, a file or `module:object` of the service's folder.
            dataset: the path of a file, or rows or a DataFrame, which are uploaded; or a path below
                a folder that the service allows.
            models: names, or labels of the service's own models.
            arguments: `folder`, the name of a folder that the service allows; and of `optimize`:
                metric, budget, search_space, objective, stages (names), strategy and
                prompt_optimizer (names), diagnoser, holdout, concurrency, seed, experiment.
                Without a budget, it is the upper end of the estimate, at most $5.

        Raises:
            ValueError: an argument does not fit, in the words of `optimize`.
            ServiceError: the service refuses it, such as for its budget, or can't be reached.
        """
        made = self._post(_request(pipeline, dataset, models, arguments), dry_run=False)
        return RemoteSearch(self, made["id"], made)

    def estimate(
        self,
        pipeline: Tunable | dspy.Module | str | Path,
        dataset: Any,
        models: str | Sequence[str] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        """What `submit` with the same arguments would take: `estimate` has the figures,
        `estimate_text` a table. Raises as `submit`."""
        return self._post(_request(pipeline, dataset, models, arguments), dry_run=True)

    def search(self, key: str) -> RemoteSearch:
        """The search of this id.

        Raises:
            ServiceError: there is none, or the service can't be reached.
        """
        return RemoteSearch(self, key, self._ask("GET", f"/api/searches/{key}").json())

    def searches(self) -> list[RemoteSearch]:
        """The newest 200 searches of this token, newest first. Raises as `search`."""
        listed = self._ask("GET", "/api/searches").json()
        return [RemoteSearch(self, each["id"], each) for each in listed]

    def _post(self, request: SearchRequest, dry_run: bool) -> dict[str, Any]:
        data, params = request.model_dump(mode="json"), {"dry_run": dry_run}
        return dict(self._ask("POST", "/api/searches", json=data, params=params).json())

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            with self._client() as client:
                answer = client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        return _checked(answer)

    def _client(self) -> httpx.Client:
        url = self.url or os.environ.get("COMPOUND_OPTIMIZER_URL") or DEFAULT_URL
        token = self.token or os.environ.get("COMPOUND_OPTIMIZER_TOKEN", "")
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S)

    def _unreachable(self, error: httpx.HTTPError) -> ServiceError:
        url = self.url or os.environ.get("COMPOUND_OPTIMIZER_URL") or DEFAULT_URL
        return ServiceError(f"the search service at {url} can't be reached: {error}")


@dataclass(frozen=True)
class RemoteSearch:
    """One search of a service."""

    service: SearchService = field(repr=False)
    id: str
    known: Mapping[str, Any] = field(repr=False, compare=False)
    """What the service said of it when it was submitted or looked up."""

    def status(self) -> dict[str, Any]:
        """Its state, spend, progress, error and figures, as the service has them now.

        Raises:
            ServiceError: the service can't be reached.
        """
        return dict(self.service._ask("GET", f"/api/searches/{self.id}").json())

    def watch(self, after: int = 0) -> Iterator[dict[str, Any]]:
        """Its events behind this number as they come, until it has ended.

        Each has `number`, `time`, `kind` and `data`; those of kind `search`, whose data is that of
        `status()`, have no number. A broken connection is made again.

        Raises:
            ServiceError: the service refuses it, or can't be reached for two minutes.
        """
        last = time.monotonic()
        while True:
            try:
                for event in self._stream(after):
                    after, last = event.get("number", after), time.monotonic()
                    yield event
                    if _has_ended(event):
                        return
            except httpx.HTTPError as error:
                if time.monotonic() - last > _TIMEOUT_S:
                    raise self.service._unreachable(error) from error
            time.sleep(_RECONNECT_S)

    def _stream(self, after: int) -> Iterator[dict[str, Any]]:
        path, params = f"/api/searches/{self.id}/events", {"after": after}
        with self.service._client() as client, client.stream("GET", path, params=params) as answer:
            if answer.status_code in _AWAY:
                answer.raise_for_status()
            if answer.is_error:
                answer.read()
            kind = ""
            for line in _checked(answer).iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    data = json.loads(value)
                    yield {"kind": kind, "data": data} if kind == "search" else data

    def stop(self) -> None:
        """Ask it to stop; calls in flight are waited for, and every answer is kept.

        Raises:
            ServiceError: it has ended, or the service can't be reached.
        """
        self.service._ask("POST", f"/api/searches/{self.id}/stop")

    def resume(self) -> None:
        """Go on with it where it stopped or failed; no answer is paid for twice.

        Raises:
            ServiceError: it has not ended or is done, its token has not enough left, or the service
                can't be reached.
        """
        self.service._ask("POST", f"/api/searches/{self.id}/resume")

    def result(self) -> RemoteResult:
        """Wait until it is done, and fetch the result.

        Raises:
            ServiceError: it was stopped or has failed, and why; or the service refuses it.
        """
        status = next(event for event in self.watch() if _has_ended(event))["data"]
        if status["state"] != "done":
            why = f": {status['error']}" if status["error"] else ""
            raise ServiceError(f"search {self.id} has no result, it is {status['state']}{why}")
        return RemoteResult(self, status["result"])

    def artifact(self, name: str) -> bytes:
        """One file of its result: `config.yaml`, `report.html`, `trials.jsonl`,
        `module_scores.jsonl` or `examples.json`.

        Raises:
            ServiceError: there is none, or the service can't be reached.
        """
        return self.service._ask("GET", f"/api/searches/{self.id}/artifacts/{name}").content

    def compare(self, other: RemoteSearch) -> dict[str, Any]:
        """What differs between two searches that are done: `searches` has the figures of both,
        `config` each knob that differs, and `difference` the other's score less this one's on the
        same held-out examples, with its 95% interval (None if they held out others).

        Raises:
            ServiceError: one is not done, or the service can't be reached.
        """
        path = f"/api/searches/{self.id}/compare/{other.id}"
        return dict(self.service._ask("GET", path).json())


@dataclass(frozen=True)
class RemoteResult:
    """What a search found, as `Result` has it."""

    search: RemoteSearch
    figures: Mapping[str, Any] = field(repr=False)
    """As `compound-optimizer optimize --json` prints them."""

    @cached_property
    def pipeline(self) -> Tunable:
        """The tuned pipeline, ready to be called. It must name no code; else `save` it."""
        from pipelines import Pipeline

        return Pipeline.from_yaml(self.search.artifact("config.yaml").decode(), "config.yaml")

    @property
    def trials(self) -> pd.DataFrame:
        """A row for each trial."""
        return self._rows("trials.jsonl")

    @property
    def module_scores(self) -> pd.DataFrame:
        """A row for each module, model and turn; see `Result.module_scores`."""
        return self._rows("module_scores.jsonl")

    def save(self, path: str | Path) -> None:
        """Write the tuned pipeline as YAML."""
        _write(path, self.search.artifact("config.yaml"))

    def report(self, path: str | Path) -> None:
        """Write the page with figures, examples and trials."""
        _write(path, self.search.artifact("report.html"))

    def _rows(self, name: str) -> pd.DataFrame:
        import pandas as pd

        text = self.search.artifact(name).decode()
        return pd.DataFrame([json.loads(line) for line in text.splitlines()])


def _has_ended(event: Mapping[str, Any]) -> bool:
    return event["kind"] == "search" and event["data"]["state"] in ENDED


def _write(path: str | Path, content: bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)


def _checked(answer: httpx.Response) -> httpx.Response:
    if not answer.is_error:
        return answer
    try:
        problem = str(answer.json()["detail"])
    except (ValueError, LookupError, TypeError):
        problem = f"the service answered {answer.status_code} {answer.reason_phrase}"
    raise ValueError(problem) if answer.status_code == 422 else ServiceError(problem)


def _request(
    pipeline: Any, dataset: Any, models: str | Sequence[str] | None, arguments: Mapping[str, Any]
) -> SearchRequest:
    plain = {name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
             for name, value in arguments.items()}  # fmt: skip
    space = plain.get("search_space")
    if isinstance(space, BaseModel):
        plain["search_space"] = space.model_dump(mode="json", exclude_unset=True)
    if "stages" in plain:
        plain["stages"] = _listed(plain["stages"])
    return make_request(
        {"pipeline": _pipeline_text(pipeline), "dataset": _upload(dataset)}
        | {"models": None if models is None else _listed(models), **plain}
    )


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _pipeline_text(pipeline: Any) -> str:
    """YAML text, or what the service is to look up in a folder of its own."""
    if isinstance(pipeline, Path) or (
        isinstance(pipeline, str) and "\n" not in pipeline and Path(pipeline).is_file()
    ):
        return Path(pipeline).read_text(encoding="utf-8")
    if isinstance(pipeline, str):
        return pipeline
    import dspy

    from pipelines.adapters.dspy_programs import from_dspy

    if isinstance(pipeline, dspy.Module):
        pipeline = from_dspy(pipeline)
    text: str = pipeline.to_yaml()
    return text


def _upload(dataset: Any) -> Upload | str:
    """An upload; or a path that the service is to look up, where there is no such file here."""
    if isinstance(dataset, str | Path):
        path = Path(dataset)
        return Upload(name=path.name, content=path.read_bytes()) if path.is_file() else str(path)
    from evaluators.dataset import Dataset

    lines = io.StringIO()
    for example in Dataset.load(dataset, minimum=1):
        lines.write(json.dumps(example.toDict()) + "\n")
    return Upload(name="rows.jsonl", content=lines.getvalue().encode())
