"""Ways into the gateway for code that calls models by an SDK of its own.

A run of such code has a token. Its calls name it: in the name of a litellm model
(`compound/<token>/<module>`), or in the path of an OpenAI-compatible server on 127.0.0.1. Importing
this package does not import litellm.
"""

from __future__ import annotations

import functools

from pipelines.adapters.entrances.askers import PREFIX
from pipelines.providers.litellm.litellm_import import add_provider, load_litellm


@functools.cache
def open_litellm() -> None:
    """Register `compound/...` models with litellm, once."""
    litellm = load_litellm()
    from pipelines.adapters.entrances.litellm_entrance import LitellmEntrance

    add_provider(litellm, PREFIX, LitellmEntrance())
