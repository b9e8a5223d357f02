"""The litellm provider `compound/<token>/<module>`. Imports litellm, so it is imported late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from litellm import exceptions
from litellm.llms.custom_llm import CustomLLM
from litellm.types.utils import ModelResponse, ModelResponseStream

from pipelines.adapters.entrances.askers import PREFIX, asker_of
from pipelines.adapters.entrances.chat_request import RefusedRequest, chat_request
from pipelines.adapters.entrances.openai_form import STATUSES, as_chunks, completion
from pipelines.gateway.call import CallFailed

_BY_STATUS: Mapping[int, Callable[..., Exception]] = {
    400: exceptions.BadRequestError,
    401: exceptions.AuthenticationError,
    429: exceptions.RateLimitError,
    500: exceptions.InternalServerError,
    502: exceptions.BadGatewayError,
    503: exceptions.ServiceUnavailableError,
    504: exceptions.Timeout,
}
_BY_KIND: Mapping[str, Callable[..., Exception]] = {
    "context_window": exceptions.ContextWindowExceededError,
    "refusal": exceptions.ContentPolicyViolationError,
}


class LitellmEntrance(CustomLLM):
    """Hands a call to the run that it belongs to, and its reply back to the code."""

    def completion(self, *_args: Any, **call: Any) -> ModelResponse:
        """Answer one call. Raises litellm's exceptions as a provider would, and RunEnded if the run
        can't go on."""
        return ModelResponse(**_answered(call))

    async def acompletion(self, *_args: Any, **call: Any) -> ModelResponse:
        """The same, off the event loop."""
        return ModelResponse(**await asyncio.to_thread(_answered, call))

    # litellm declares chunks of another class, and takes these as well
    def streaming(self, *_args: Any, **call: Any) -> Iterator[ModelResponseStream]:  # type: ignore[override]
        """The same as a stream, once the whole reply is there."""
        yield from _chunks(_answered(call))

    # litellm declares it to be awaited, and then iterates over what is not
    async def astreaming(  # type: ignore[override]
        self, *_args: Any, **call: Any
    ) -> AsyncIterator[ModelResponseStream]:
        """The same, off the event loop."""
        for chunk in _chunks(await asyncio.to_thread(_answered, call)):
            yield chunk


def _answered(call: Mapping[str, Any]) -> dict[str, Any]:
    """What the run answers, in OpenAI's form."""
    model = call["model"]
    token, _, module = model.partition("/")
    try:
        request = chat_request(call["messages"], _params(call))
        replies = asker_of(token).ask(module, request)
    except RefusedRequest as error:
        raise exceptions.BadRequestError(str(error), model, PREFIX) from error
    except CallFailed as failure:
        status = STATUSES.get(failure.kind, 400)
        if kind := _BY_KIND.get(failure.kind) or _BY_STATUS.get(status):
            raise kind(message=str(failure), model=model, llm_provider=PREFIX) from failure
        raise exceptions.APIError(status, str(failure), PREFIX, model) from failure
    return completion(f"{PREFIX}/{model}", replies)


def _params(call: Mapping[str, Any]) -> dict[str, Any]:
    """The call's parameters; a `reasoning_effort` that litellm drops is only in its log."""
    given = getattr(call.get("logging_obj"), "model_call_details", {})
    return {"reasoning_effort": given.get("reasoning_effort"), **call["optional_params"]}


def _chunks(answered: Mapping[str, Any]) -> Iterator[ModelResponseStream]:
    """The reply as a stream; litellm takes the usage from the first chunk."""
    usage = {"usage": answered["usage"]}
    for chunk in as_chunks(answered):
        yield ModelResponseStream(**chunk, **usage)
        usage = {}
