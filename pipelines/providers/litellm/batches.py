"""Batches through litellm, for the providers whose batch endpoints have OpenAI's form there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.gateway import failures
from pipelines.gateway.call import CallFailed, LMCall
from pipelines.gateway.failures import FailureKind
from pipelines.gateway.model import Model
from pipelines.gateway.provider import BatchEndpoint, BatchResults, ProviderReply
from pipelines.gateway.secrets import key_of
from pipelines.providers import DIRECT
from pipelines.providers.litellm.litellm_import import load_litellm
from pipelines.providers.litellm.provider_errors import as_failure
from pipelines.providers.openai_server import (
    MAY_BE_LEFT_OUT,
    OPENAI_SERVER,
    reply_of,
    request_body,
)

_PATH = "/v1/chat/completions"
_ENDED = ("completed", "expired", "cancelled", "failed")
_UNLOGGED = {"litellm_metadata": {"batch_ignore_default_logging": True}}
"""Otherwise litellm would download the files, too, for its log."""
_NOT_MADE = FailureKind("not_in_batch", sent=False)


class LitellmBatches(BatchEndpoint):
    """One file of requests up, one of replies and one of errors down."""

    async def create(self, calls: Sequence[LMCall], timeout_s: float) -> str:
        litellm, first = load_litellm(), calls[0]
        content = "".join(json.dumps(_request(call)) + "\n" for call in calls).encode()
        options = _options(first.model, timeout_s)
        try:
            file = await litellm.acreate_file(
                file=("calls.jsonl", content), purpose="batch", **options
            )
        except Exception as error:
            failure = as_failure(litellm, error, first, timeout_s, sent=True)
            failure.billed = False  # a file that was uploaded costs nothing
            raise failure from None
        try:
            batch = await litellm.acreate_batch(
                completion_window="24h", endpoint=_PATH, input_file_id=file.id, **options
            )
        except Exception as error:
            raise as_failure(litellm, error, first, timeout_s, sent=True) from None
        return str(batch.id)

    async def results(self, call: LMCall, batch: str, timeout_s: float) -> BatchResults | None:
        litellm, options = load_litellm(), _options(call.model, timeout_s)
        try:
            found = await litellm.aretrieve_batch(batch_id=batch, **options, **_UNLOGGED)
            files = [each for each in (found.output_file_id, found.error_file_id) if each]
            if found.status not in _ENDED or (found.status == "completed" and not files):
                return None  # the files of a completed batch may be named a moment later
            contents = [
                (await litellm.afile_content(file_id=each, **options)).content for each in files
            ]
        except Exception as error:
            raise as_failure(litellm, error, call, timeout_s, sent=True) from None
        lines = [json.loads(line) for each in contents for line in each.splitlines() if line]
        return BatchResults({line["custom_id"]: line for line in lines}, _problem(found))

    def reply(self, call: LMCall, results: BatchResults) -> ProviderReply:
        line = results.lines.get(call.key)
        if line is None and results.problem:
            raise _NOT_MADE.failure(call, results.problem)
        try:
            return _reply(call, line)
        except CallFailed:
            raise
        except Exception as error:  # whatever a provider may write
            detail = f"the line can't be read ({type(error).__name__}: {error})"
            raise failures.MALFORMED.failure(call, detail) from None


LITELLM_BATCHES = LitellmBatches()


def _request(call: LMCall) -> dict[str, Any]:
    body = request_body(call, _adapted(call))
    return {"custom_id": call.key, "method": "POST", "url": _PATH, "body": body}


def _adapted(call: LMCall) -> Mapping[str, str | None]:
    """Parameters that the model does not take, and what it wants instead."""
    model = call.model
    if model.address:
        return OPENAI_SERVER.adapted(model)
    litellm = load_litellm()
    short, provider, _, _ = litellm.get_llm_provider(model.name)
    if provider not in ("openai", "azure"):
        return {}
    body = request_body(call, {})
    given = {name: body[name] for name in ("max_tokens", *MAY_BE_LEFT_OUT) if name in body}
    taken = litellm.utils.get_optional_params(
        model=short, custom_llm_provider=provider, drop_params=True, **given
    )
    left_out: dict[str, str | None] = {name: None for name in given if name not in taken}
    if "max_tokens" in left_out:
        left_out["max_tokens"] = "max_completion_tokens"
    return left_out


def _options(model: Model, timeout_s: float) -> dict[str, Any]:
    """Where the provider is, and its key."""
    provider = load_litellm().get_llm_provider(model.name, api_base=model.api_base)[1]
    options: dict[str, Any] = {"custom_llm_provider": provider, "model": model.name}
    if model.address:
        if model.name.partition("/")[0] in DIRECT:
            options = {"custom_llm_provider": "openai"}
        options |= {"api_base": model.address, "api_key": key_of(model.key_variable) or "none"}
    elif model.api_key_env:
        options["api_key"] = key_of(model.api_key_env) or "none"
    # litellm opens a connection for each request, and would leave it open
    once = {"extra_headers": {"Connection": "close"}}
    return {**options, **once, "timeout": timeout_s, "max_retries": 0}


def _problem(batch: Any) -> str:
    """Why calls without a line were not made; empty if all were."""
    if batch.status == "completed":
        return ""
    errors = getattr(batch.errors, "data", None) or ()
    told = "; ".join(str(error.message) for error in errors)
    return f"the batch is {batch.status}" + (f": {told}" if told else "")


def _reply(call: LMCall, line: Any) -> ProviderReply:
    if line is None:
        raise failures.MALFORMED.failure(
            call, "the batch has ended, but brought no reply to this call"
        )
    response = line.get("response")
    if not response:
        raise _NOT_MADE.failure(call, json.dumps(line.get("error")))
    status, body = response["status_code"], response["body"]
    if status < 300:
        return reply_of(call, body, 0.0)
    text = json.dumps(body)
    error = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(error, Mapping):
        text = f"{error.get('message')} [{error.get('code')}]"
    raise failures.of_status(status, text, call).failure(call, f"HTTP {status}: {text}")
