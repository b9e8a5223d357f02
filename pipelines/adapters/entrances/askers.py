"""Routes calls of running code to its run by token; a token ends with the run's instance."""

from __future__ import annotations

import secrets
from typing import Protocol
from weakref import WeakValueDictionary

from pipelines.adapters.entrances.chat_request import ChatRequest, RefusedRequest
from pipelines.gateway.call import LMReply

PREFIX = "compound"
"""What litellm calls the provider of `compound/<token>/<module>`."""


class RunEnded(BaseException):
    """The run can't go on, and none of its requests are answered any more.

    Not an `Exception`: the code must not take it for a failed call and go on.
    """


class Asker(Protocol):
    """Answers the calls that carry one token. Safe for threads."""

    def ask(self, module: str, request: ChatRequest) -> list[LMReply]:
        """As many replies as the request wants.

        Raises RefusedRequest if it can't be sent, CallFailed without an answer, RunEnded at the
        end.
        """
        ...

    def base_url(self, module: str) -> str:
        """The address at which an OpenAI-compatible client asks this module's model."""
        ...


_ASKERS: WeakValueDictionary[str, Asker] = WeakValueDictionary()


def register(asker: Asker) -> str:
    """A new token for the asker, valid for as long as it lives. It can't be guessed: other
    processes on 127.0.0.1 must not spend this study's budget."""
    token = secrets.token_urlsafe(16)
    _ASKERS[token] = asker
    return token


def asker_of(token: str) -> Asker:
    """The asker that answers calls with this token; raises RefusedRequest if its run is over."""
    asker = _ASKERS.get(token)
    if asker is None:
        raise RefusedRequest(
            "this model belonged to a run that is over: use what the factory is given within the "
            "function that it returns, and keep none of it"
        )
    return asker
