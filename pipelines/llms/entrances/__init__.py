"""Ways into the gateway for code that calls models by an SDK of its own.

A run of such code has a token. Its calls name it: in the name of a litellm model
(`compound/<token>/<module>`), or in the path of an OpenAI-compatible server on 127.0.0.1. Importing
this package does not import litellm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.llms.entrances.askers import Asker, RunEnded, asker_of, register
from pipelines.llms.entrances.chat_request import ChatRequest, RefusedRequest, chat_request
from pipelines.llms.entrances.server import ServerLease

if TYPE_CHECKING:
    from litellm.llms.custom_llm import CustomLLM

__all__ = [
    "PREFIX",
    "Asker",
    "ChatRequest",
    "RefusedRequest",
    "RunEnded",
    "ServerLease",
    "asker_of",
    "chat_request",
    "litellm_provider",
    "register",
]

PREFIX = "compound"
"""What litellm calls the provider."""


def litellm_provider() -> CustomLLM:
    """The provider to put into `litellm.custom_provider_map`."""
    from pipelines.llms.entrances.litellm_entrance import LitellmEntrance

    return LitellmEntrance()
