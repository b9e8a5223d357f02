"""The only place that imports litellm."""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any


@functools.cache
def load_litellm() -> Any:
    """litellm, imported once, without its network look-up and with our two providers.

    The environment variable must be set before the import, or litellm fetches a price map.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm: Any = importlib.import_module("litellm")

    from pipelines.llms import recorded, simulated

    litellm.suppress_debug_info = True
    for prefix, provider in (("sim", simulated), ("recorded", recorded)):
        litellm.custom_provider_map.append(
            {"provider": prefix, "custom_handler": provider.litellm_provider()}
        )
        litellm.register_model(provider.price_map())
    litellm.utils.custom_llm_setup()
    return litellm
