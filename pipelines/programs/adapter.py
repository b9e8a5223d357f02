"""The default chat adapter: how prompts are written and replies are parsed."""

from __future__ import annotations

from functools import lru_cache

import dspy


@lru_cache(maxsize=1)
def chat_adapter() -> dspy.ChatAdapter:
    """DSPy's own, without the fallback, which would pay for a second call to parse as JSON."""
    return dspy.ChatAdapter(use_json_adapter_fallback=False)
