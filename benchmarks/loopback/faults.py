"""What servers of OpenAI's form are known to do wrong, drawn by a hash of the request."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from benchmarks.loopback.behaviour import Behaviour, LoopbackRequest

Outcome = Literal["transient", "harmless", "lasting", "odd"]
"""Gone at the next attempt; of no effect on the answer or its cost; there to stay; or an answer
or a cost other than without it."""


class Fault(NamedTuple):
    """One way to treat a request badly."""

    outcome: Outcome
    behaviour: Behaviour | Callable[[LoopbackRequest], Behaviour]


def refused(status: int, error: object = None, **headers: str) -> Behaviour:
    """An error object in OpenAI's form, with headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = error or {"message": f"scripted {status}", "type": "scripted", "code": "scripted"}
    return Behaviour(status, headers=named, body=json.dumps({"error": told}))


def raw(head: str, body: bytes = b"", *, ran: bool = True) -> Behaviour:
    """A response, byte by byte; its lines of the head without their ends.

    It says that the connection is closed then: else the next request might go into a closed one,
    which is charged, though no server has counted it.
    """
    lines = [*head.split("\n"), "Connection: close", "", ""]
    return Behaviour(raw="\r\n".join(lines).encode() + body, ran=ran)


def with_choice(**changes: Any) -> Behaviour:
    """A completion whose choice differs in these fields."""

    def edit(sent: dict[str, Any]) -> object:
        sent["choices"][0].update(changes)
        return sent

    return Behaviour(edit=edit)


def with_content(change: Callable[[str], object]) -> Behaviour:
    """A completion whose content was changed."""

    def edit(sent: dict[str, Any]) -> object:
        message = sent["choices"][0]["message"]
        message["content"] = change(message["content"])
        return sent

    return Behaviour(edit=edit)


def with_usage(**changes: Any) -> Behaviour:
    """A completion that tells a lie of what it used."""
    return Behaviour(edit=lambda sent: sent | {"usage": sent["usage"] | changes})


def with_fields(**changes: Any) -> Behaviour:
    """A completion with these fields."""
    return Behaviour(edit=lambda sent: sent | changes)


def _most_output(request: LoopbackRequest) -> int:
    return int(request.params.get("max_tokens") or request.params["max_completion_tokens"])


def beyond_the_bound(request: LoopbackRequest) -> Behaviour:
    """All that a provider is believed to write beyond `max_tokens`."""
    return Behaviour(output_tokens=int(1.1 * _most_output(request)))


def thoughts_in_the_total_alone(request: LoopbackRequest) -> Behaviour:
    """As Gemini's servers of OpenAI's form count: thoughts are charged, and in the total alone."""
    return replace(with_usage(completion_tokens=1), output_tokens=_most_output(request))


def _duplicate_headers(request: LoopbackRequest) -> Behaviour:
    named = {"X-Odd": "\x7f\xe9 odd", "x-odd": "again", "Set-Cookie": "a=b; Path=??; Max-Age=x",
             "Date": "yesterday", "Retry-After": "soon", "Content-Language": ""}  # fmt: skip
    return Behaviour(headers=named)


HTML = "<!DOCTYPE html><html><body><h1>Not what you asked for</h1></body></html>"
GOOD_HEAD = "HTTP/1.1 200 OK\nContent-Type: application/json"
FILTERED = {
    "message": "The response was filtered due to the prompt triggering Azure OpenAI's content "
    "management policy.",
    "type": None, "param": "prompt", "code": "content_filter", "status": 400,
    "innererror": {
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {"hate": {"filtered": True, "severity": "high"}},
    },
}  # fmt: skip
ODD_WAITS = (
    "0", "-5", "soon", "", "nan", "1e-3", "0.001", "120, 60", "Thu, 01 Jan 1970 00:00:00 GMT",
    "Mon, 99 Foo 99999 99:99:99 GMT", "Thu, 01 Jan 1970 00:00:00 +99999999999999",
    "Thu, 01 Jan 1970 99999999999999:00:00 GMT",
)  # fmt: skip
ODD_TEXT = "\ud800 \x00 \u202e \ufeff \U0001f9ea \x1b[31m"

TRANSIENT: Mapping[str, Behaviour] = {
    "reset before the model runs": Behaviour(fault="reset", ran=False),
    "reset after the model ran": Behaviour.reset(),
    "closed without a word": Behaviour(raw=b"", ran=False),
    "no HTTP at all": Behaviour(raw=b"SSH-2.0-OpenSSH_9.2\r\n", ran=False),
    "half a head": Behaviour(raw=b"HTTP/1.1 200 OK\r\nContent-Le", ran=True),
    "half a body": raw(f"{GOOD_HEAD}\nContent-Length: 1000", b'{"choices": [{"index"'),
    "a chunk without a length": raw(f"{GOOD_HEAD}\nTransfer-Encoding: chunked", b"zz\r\n{}\r\n"),
    "chunks that break off": raw(f"{GOOD_HEAD}\nTransfer-Encoding: chunked", b"5\r\n{}"),
    "two lengths": raw(f"{GOOD_HEAD}\nContent-Length: 2\nContent-Length: 3", b"{}"),
    "a length that is no number": raw(f"{GOOD_HEAD}\nContent-Length: two", b"{}"),
    "gzip that is none": raw(f"{GOOD_HEAD}\nContent-Encoding: gzip\nContent-Length: 2", b"{}"),
    "an unknown encoding": raw(f"{GOOD_HEAD}\nContent-Encoding: nix\nContent-Length: 2", b"{}"),
    "a status of two digits": raw("HTTP/1.1 99 Odd\nContent-Length: 0"),
    "no content": raw("HTTP/1.1 204 No Content"),
    "a header of a megabyte": raw(f"{GOOD_HEAD}\nX-Long: {'x' * 2**20}\nContent-Length: 2", b"{}"),
    "JSON that breaks off": Behaviour.malformed_json(),
    "JSON that is nested too deeply": Behaviour(body="[" * 200_000),
    "a number of 5,000 digits": Behaviour(body="9" * 5000),
    "a list": Behaviour(body="[]"),
    "null": Behaviour(body="null"),
    "text": Behaviour(body='"fine"'),
    "not UTF-8": raw(f"{GOOD_HEAD}\nContent-Length: 4", b"\xff\xfe\x00\xd8"),
    "HTML": Behaviour.html(),
    "HTML with 502": Behaviour(502, body=HTML, content_type="text/html"),
    "empty": Behaviour(body=""),
    "no choices": Behaviour(choices=False),
    "choices null": with_fields(choices=None),
    "choices a number": with_fields(choices=7),
    "choices an object": with_fields(choices={"index": 0}),
    "choices of numbers": with_fields(choices=[7]),
    "no message": with_choice(message=None),
    "content a number": with_content(lambda _: 42),
    "content parts of numbers": with_content(lambda _: [4, 2]),
    "an error in a choice": with_choice(error={"code": 502, "message": "upstream"}),
    "a choice that ended in an error": with_choice(finish_reason="error"),
    "an error with 200": with_fields(error={"code": 503, "message": "upstream"}, choices=None),
    "an error of text with 200": with_fields(error="loading"),
    "408": Behaviour(408, ran=True),
    "504": Behaviour(504, ran=True),
    "524": Behaviour(524, ran=True),
    **{f"{status}": refused(status) for status in (409, 425, 429, 500, 502, 503, 529)},
    **{f"429, Retry-After {value!r}": refused(429, Retry_After=value) for value in ODD_WAITS},
    "503, Retry-After": refused(503, Retry_After="0.01"),
    "500 nested too deeply": Behaviour(500, body="[" * 200_000),
    "500 of odd text": refused(500, {"message": ODD_TEXT, "code": "\ud800", "type": ["x"]}),
    "a huge 500": Behaviour(500, body="x" * 2**22),
    "a huge 200": Behaviour(body="x" * 2**22),
}
"""The next attempt may succeed."""

HARMLESS: Mapping[str, Behaviour | Callable[[LoopbackRequest], Behaviour]] = {
    "content in parts": with_content(
        lambda text: [{"type": "text", "text": text[:3]}, {"type": "text", "text": text[3:]}]
    ),
    "another model's name": with_fields(model="gpt-9-enormous"),
    "a model that is no name": with_fields(model={"name": None}),
    "hidden parameters": with_fields(_hidden_params={"response_cost": 1e9}, response_ms=-1),
    "a dearer service tier": with_fields(service_tier="priority"),
    "no finish reason": with_choice(finish_reason=None),
    "no identity": with_fields(id=None, created="now", object=None, system_fingerprint=7),
    "odd and duplicate headers": _duplicate_headers,
    "padding": Behaviour(edit=lambda sent: sent | {"padding": "x" * 2**20}),
}
"""The answer and its cost are as without it."""

LASTING: Mapping[str, Behaviour] = {
    **{f"{status}": refused(status) for status in (400, 401, 402, 403, 404, 405, 413, 422, 451)},
    "a filter as Azure has it": refused(400, FILTERED),
    "too long": refused(400, {"message": "maximum context length is 8192 tokens", "code": "x"}),
    "an empty account": refused(429, {"message": "no", "code": "insufficient_quota"}),
    "HTML with 403": Behaviour(403, body=HTML, content_type="text/html"),
    "fields that FastAPI refuses": Behaviour(
        422, body='{"detail": [{"loc": [], "msg": null}, 3, "x"]}'
    ),
    "400 nested too deeply": Behaviour(400, body='{"error":' * 100_000),
    "400 of odd text": refused(400, {"message": ODD_TEXT, "code": "\ud800"}),
    "401 that repeats the key": refused(401, {"message": "Incorrect API key provided: none"}),
    "a redirect to nowhere": Behaviour(302, headers={"Location": "/elsewhere"}, ran=False),
    "a redirect in a circle": Behaviour(
        307, headers={"Location": "/v1/chat/completions"}, ran=False
    ),
    "a redirect without a place": Behaviour(308, ran=False),
}
"""Another attempt would end the same; some are the model's own."""

ODD: Mapping[str, Behaviour | Callable[[LoopbackRequest], Behaviour]] = {
    "content null": with_content(lambda _: None),
    "content empty": with_content(lambda _: ""),
    "content blank": with_content(lambda _: " \n\t\x00 "),
    "no content field": with_choice(message={"role": "assistant"}),
    "content of odd text": with_content(lambda text: ODD_TEXT + text + ODD_TEXT),
    "content of odd text alone": with_content(lambda _: ODD_TEXT),
    "content without markers": with_content(lambda text: text.replace("[[ ##", "")),
    "huge content": with_content(lambda text: text + "\n" + "word " * 200_000),
    "filtered": with_choice(finish_reason="content_filter"),
    "filtered and empty": with_choice(
        finish_reason="content_filter", message={"role": "assistant", "content": None}
    ),
    "truncated": with_choice(finish_reason="length"),
    "a finish reason that is none": with_choice(finish_reason={"why": "\ud800"}),
    "a refusal": with_choice(message={"role": "assistant", "content": None, "refusal": "No."}),
    "tool calls": with_choice(
        finish_reason="tool_calls",
        message={"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}]},
    ),
    "usage missing": Behaviour(edit=lambda sent: {k: v for k, v in sent.items() if k != "usage"}),
    "usage null": with_fields(usage=None),
    "usage a list": with_fields(usage=[1, 2]),
    "usage zero": with_usage(prompt_tokens=0, completion_tokens=0, total_tokens=0),
    "usage negative": with_usage(prompt_tokens=-5, completion_tokens=-7, total_tokens=-12),
    "usage huge": with_usage(prompt_tokens=10**12, completion_tokens=10**400, total_tokens=10**12),
    "usage not finite": with_usage(prompt_tokens=float("inf"), completion_tokens=float("nan")),
    "usage in text": Behaviour(
        edit=lambda sent: sent | {"usage": {k: str(v) for k, v in sent["usage"].items()}}
    ),
    "usage true": with_usage(prompt_tokens=True, completion_tokens=False),
    "usage in floats": Behaviour(
        edit=lambda sent: sent | {"usage": {k: v + 0.5 for k, v in sent["usage"].items()}}
    ),
    "more than max_tokens": beyond_the_bound,
    "thoughts in the total alone": thoughts_in_the_total_alone,
}  # fmt: skip
"""An answer, but another one or at another cost."""

FAULTS: Mapping[str, Fault] = {
    **{f"transient: {name}": Fault("transient", what) for name, what in TRANSIENT.items()},
    **{f"harmless: {name}": Fault("harmless", what) for name, what in HARMLESS.items()},
    **{f"lasting: {name}": Fault("lasting", what) for name, what in LASTING.items()},
    **{f"odd: {name}": Fault("odd", what) for name, what in ODD.items()},
}

THROUGH_LITELLM: Mapping[str, Fault] = {
    name: each for name, each in FAULTS.items() if "huge" not in name and "redirect" not in name
}
"""litellm follows redirects, and looks for secrets in a huge body for half a minute."""
PASSING: Mapping[str, Fault] = {
    name: each for name, each in FAULTS.items() if each.outcome in ("transient", "harmless")
}
"""Those that leave no trace in a result."""


class Hostile:
    """A script that treats a share of all requests badly, each as its hash and its attempt say.

    Args:
        seed: Decides which.
        share: How many, of one.
        faults: What may go wrong.
        most_in_a_row: So many attempts of the same request may go wrong, and the next goes well.
    """

    def __init__(
        self,
        seed: int,
        share: float = 0.2,
        faults: Mapping[str, Fault] = FAULTS,
        *,
        most_in_a_row: int = 3,
    ) -> None:
        self.shown: Counter[str] = Counter()
        """How often each fault was shown."""
        self._seed, self._share, self._most = seed, share, most_in_a_row
        self._faults = sorted(faults.items())
        self._attempts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, request: LoopbackRequest) -> Behaviour:
        """What becomes of the request."""
        asked = json.dumps([request.messages, request.params], sort_keys=True)
        with self._lock:
            attempt = self._attempts[asked]
            self._attempts[asked] += 1
        drawn = hashlib.sha256(f"{self._seed} {attempt} {asked}".encode()).digest()
        badly = int.from_bytes(drawn[:4], "big") < self._share * 2**32
        if not badly or attempt % (self._most + 1) == self._most:
            return Behaviour()
        name, fault = self._faults[int.from_bytes(drawn[4:8], "big") % len(self._faults)]
        with self._lock:
            self.shown[name] += 1
        return fault.behaviour(request) if callable(fault.behaviour) else fault.behaviour
