"""Ways into the gateway for code that calls models by an SDK of its own.

A run of such code has a token. Its calls name it: in the name of a litellm model
(`compound/<token>/<module>`), or in the path of an OpenAI-compatible server on 127.0.0.1. Importing
this package does not import litellm.
"""

from __future__ import annotations

import functools

from pipelines.adapters.entrances.askers import Asker, RunEnded, asker_of, register
from pipelines.adapters.entrances.chat_request import ChatRequest, RefusedRequest, chat_request
from pipelines.adapters.entrances.server import ServerLease
from pipelines.providers.litellm.litellm_import import add_provider, load_litellm

__all__ = [
    "PREFIX",
    "Asker",
    "ChatRequest",
    "RefusedRequest",
    "RunEnded",
    "ServerLease",
    "asker_of",
    "chat_request",
    "open_litellm",
    "register",
]

PREFIX = "compound"
"""What litellm calls the provider."""


@functools.cache
def open_litellm() -> None:
    """From here on litellm has `compound/...` models."""
    litellm = load_litellm()
    from pipelines.adapters.entrances.litellm_entrance import LitellmEntrance

    add_provider(litellm, PREFIX, LitellmEntrance())
