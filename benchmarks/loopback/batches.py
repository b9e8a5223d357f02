"""The loopback server's batch endpoint: files of requests in, files of replies and errors out."""

from __future__ import annotations

import email
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from benchmarks.loopback.behaviour import LoopbackRequest
from benchmarks.loopback.refusals import RefusedRequest

if TYPE_CHECKING:
    from benchmarks.loopback.server import LoopbackServer


@dataclass(frozen=True)
class BatchBehaviour:
    """What the server does with its batches."""

    price: float = 0.5
    """The share of a model's price that it charges."""
    seconds: float = 0.0
    """How long a batch takes."""
    status: Literal["completed", "expired", "failed", "cancelled"] = "completed"
    """How it ends; but for `completed`, before all requests were served."""
    answers: bool = True
    """Whether it confirms a batch that it takes, or resets the connection."""
    served: float = 0.5
    """The share of the requests that were served by then; of a failed one, none."""


class _Batch(NamedTuple):
    """A batch that was taken."""

    input_file: str
    ends: float
    """By the monotonic clock."""
    sizes: tuple[int, int]
    """How many requests it has, and how many of them were served."""


class LoopbackBatches:
    """Batches of one server, whose requests are served at once and told of when their time is over.

    Safe for threads.
    """

    def __init__(self, owner: LoopbackServer, behaviour: BatchBehaviour) -> None:
        self.behaviour = behaviour
        self.sizes: list[int] = []
        """How many requests each batch had, in the order in which they came."""
        self.released = threading.Event()
        """Ends all batches at once, whatever time they should take."""
        self._owner = owner
        self._lock = threading.Lock()
        self._files: dict[str, str] = {}
        self._batches: list[_Batch] = []

    def upload(self, content_type: str, body: bytes) -> dict[str, Any]:
        """Keep a file of a multipart form."""
        form = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
        parts = form.get_payload()
        files = [part for part in parts if isinstance(part, email.message.Message)]
        texts = [part.get_payload(decode=True) for part in files if part.get_filename()]
        if not texts or not isinstance(texts[0], bytes):
            raise RefusedRequest(400, "invalid_request", "want a file")
        with self._lock:
            name = f"file-{len(self._files)}"
            self._files[name] = texts[0].decode()
        return {
            "id": name, "object": "file", "bytes": len(texts[0]), "created_at": 0,
            "filename": "calls.jsonl", "purpose": "batch", "status": "processed",
        }  # fmt: skip

    def content(self, name: str) -> str:
        """A file's text."""
        if name not in self._files:
            raise RefusedRequest(404, "not_found", f"no file {name!r} here")
        return self._files[name]

    def create(self, input_file: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """Serve a file's requests, last ones first, and write what became of them."""
        lines = [json.loads(line) for line in self.content(input_file).splitlines()]
        how = self.behaviour
        share = {"completed": 1.0, "failed": 0.0}.get(how.status, how.served)
        served = lines[: round(share * len(lines))]
        told = [self._serve(line, headers) for line in reversed(served)]
        unserved = () if how.status == "failed" else lines[len(served) :]
        told += [_line(each, None, f"batch_{how.status}") for each in unserved]
        outputs: list[str] = []
        errors: list[str] = []
        for line in told:
            good = line["response"] and line["response"]["status_code"] < 300
            (outputs if good else errors).append(json.dumps(line))
        with self._lock:
            number = len(self._batches)
            self.sizes.append(len(lines))
            sizes = (len(lines), len(served))
            self._batches.append(_Batch(input_file, time.monotonic() + how.seconds, sizes))
            self._files[f"output-{number}"] = "\n".join(outputs)
            self._files[f"errors-{number}"] = "\n".join(errors)
        return self.look(f"batch-{number}")

    def look(self, name: str) -> dict[str, Any]:
        """A batch, as it is by now."""
        number = int(name.rpartition("-")[2])
        if not 0 <= number < len(self._batches):
            raise RefusedRequest(404, "not_found", f"no batch {name!r} here")
        batch = self._batches[number]
        ended = self.released.is_set() or time.monotonic() >= batch.ends
        failed = ended and self.behaviour.status == "failed"
        shown = ended and not failed
        problem = {"code": "token_limit", "message": "enqueued token limit reached"}
        return {
            "id": name, "object": "batch", "endpoint": "/v1/chat/completions", "created_at": 0,
            "completion_window": "24h", "input_file_id": batch.input_file,
            "status": self.behaviour.status if ended else "in_progress",
            "output_file_id": f"output-{number}" if shown and batch.sizes[1] else None,
            "error_file_id": f"errors-{number}" if shown else None,
            "errors": {"object": "list", "data": [problem]} if failed else None,
            "request_counts": {"total": batch.sizes[0], "completed": batch.sizes[1], "failed": 0},
        }  # fmt: skip

    def _serve(self, line: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        fields = dict(line["body"])
        messages = fields.pop("messages")
        with self._owner.meter.request(fields["model"]) as index:
            request = LoopbackRequest(index, fields["model"], messages, fields, headers)
            try:
                behaviour, completion = self._owner.serve(request, self.behaviour.price)
            except RefusedRequest as error:
                return _line(line, {"status_code": error.status, "body": error.body})
        if behaviour.status < 300:
            return _line(line, {"status_code": 200, "body": completion})
        told = RefusedRequest(behaviour.status, "scripted", f"scripted {behaviour.status}")
        return _line(line, {"status_code": behaviour.status, "body": told.body})


def _line(
    asked: Mapping[str, Any], response: Mapping[str, Any] | None, problem: str = ""
) -> dict[str, Any]:
    error = {"code": problem, "message": "the request was not served"} if problem else None
    named = {"id": f"batch_req_{asked['custom_id'][:8]}", "custom_id": asked["custom_id"]}
    return {**named, "response": response, "error": error}
