"""The only place that imports litellm."""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any


@functools.cache
def load_litellm() -> Any:
    """litellm, imported once, without its network look-up and with our three providers.

    The environment variable must be set before the import, or litellm fetches a price map.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm: Any = importlib.import_module("litellm")

    from pipelines.llms import entrances, recorded, simulated

    litellm.suppress_debug_info = True
    providers = (("sim", simulated), ("recorded", recorded), (entrances.PREFIX, entrances))
    for prefix, provider in providers:
        litellm.custom_provider_map.append(
            {"provider": prefix, "custom_handler": provider.litellm_provider()}
        )
    for priced in (simulated, recorded):
        litellm.register_model(priced.price_map())
    litellm.utils.custom_llm_setup()
    return litellm
