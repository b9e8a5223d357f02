"""The only place that imports litellm."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litellm.llms.custom_llm import CustomLLM

OURS: ContextVar[bool] = ContextVar("OURS", default=False)
"""Whether a call of litellm's is the gateway's, and not the user's own."""


@functools.cache
def load_litellm() -> Any:
    """litellm, imported once, without its network look-up.

    The environment variable must be set before the import, or litellm fetches a price map.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm: Any = importlib.import_module("litellm")

    litellm.suppress_debug_info = True
    _ask_once(importlib.import_module("litellm.llms.custom_httpx.http_handler").AsyncHTTPHandler)
    return litellm


def _ask_once(handler: Any) -> None:
    """Calls of ours are one request each: litellm sends those of some providers again after a
    broken connection, though the model may have run."""
    again = handler.single_connection_post_request

    async def unless_ours(self: Any, *args: Any, **options: Any) -> Any:
        broken = sys.exc_info()[1]
        if OURS.get() and broken is not None:
            raise broken
        return await again(self, *args, **options)

    handler.single_connection_post_request = unless_ours


def add_provider(litellm: Any, prefix: str, handler: CustomLLM) -> None:
    """Have litellm hand the calls of `prefix/...` models to the handler."""
    litellm.custom_provider_map.append({"provider": prefix, "custom_handler": handler})
    litellm.utils.custom_llm_setup()
