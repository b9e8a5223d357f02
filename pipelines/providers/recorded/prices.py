"""List prices of the models in the MMLU-Pro recording."""

from __future__ import annotations

from typing import Any

USD_PER_MILLION_TOKENS = {
    "Meta-Llama-3.1-70B-Instruct": 0.88,
    "Qwen1.5-72B-Chat": 0.90,
    "Mixtral-8x7B-Instruct-v0.1": 0.60,
    "Yi-34B": 0.80,
    "c4ai-command-r-v01": 0.50,
    "Meta-Llama-3.1-8B-Instruct": 0.18,
    "mathstral-7B": 0.20,
    "Phi-3-mini-4k-instruct": 0.10,
}
"""What hosts asked for these open models, input and output alike. Other models have no price:
give `Model(..., input_usd_per_million=..., output_usd_per_million=...)`."""


def price_map() -> dict[str, dict[str, Any]]:
    """Prices in the form of `litellm.register_model`, by name (`recorded/<model>`)."""
    return {f"recorded/{name}": _entry(usd / 1e6) for name, usd in USD_PER_MILLION_TOKENS.items()}


def _entry(usd_per_token: float) -> dict[str, Any]:
    return {
        "litellm_provider": "recorded",
        "mode": "chat",
        "input_cost_per_token": usd_per_token,
        "output_cost_per_token": usd_per_token,
        "cache_creation_input_token_cost": 0.0,  # litellm warns without these two
        "cache_read_input_token_cost": 0.0,
    }
