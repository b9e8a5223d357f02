"""List prices of the models in the MMLU-Pro recording."""

from __future__ import annotations

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
