"""The only place that imports litellm."""

from __future__ import annotations

import functools
import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litellm.llms.custom_llm import CustomLLM


@functools.cache
def load_litellm() -> Any:
    """litellm, imported once, without its network look-up.

    The environment variable must be set before the import, or litellm fetches a price map.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm: Any = importlib.import_module("litellm")

    litellm.suppress_debug_info = True
    return litellm


def add_provider(litellm: Any, prefix: str, handler: CustomLLM) -> None:
    """Have litellm hand the calls of `prefix/...` models to the handler."""
    litellm.custom_provider_map.append({"provider": prefix, "custom_handler": handler})
    litellm.utils.custom_llm_setup()
