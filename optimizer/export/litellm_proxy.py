"""A pipeline's models, and the pipeline itself, as a configuration of litellm's proxy."""

from __future__ import annotations

from typing import Any

import yaml

from pipelines import PipelineError, Tunable
from pipelines.gateway.model import Model
from pipelines.providers import is_known_elsewhere

SERVED_AT = "http://127.0.0.1:8000/v1"
"""Where `compound-optimizer serve` listens by default."""
TOKEN = "COMPOUND_OPTIMIZER_TOKEN"
TIMEOUT_S = 120
"""Of one call, as the gateway's."""
RUN_TIMEOUT_S = 600
"""Of a run of the pipeline, which is several calls."""
_RETRIES = 2


def proxy_config(pipeline: Tunable) -> str:
    """The YAML that `litellm --config FILE` reads; it holds no keys.

    Each model falls back to those that share a module with it, then to the pipeline's others. The
    pipeline falls back to none: no model of its own gives its answers.

    Raises:
        PipelineError: a model is one of this library's own, or has the pipeline's name.
    """
    models = pipeline.named_models()
    for model in models.values():
        if not is_known_elsewhere(model):
            raise PipelineError(f"{model.name!r} is a model of this library's own, not litellm's")
    if pipeline.name in models:
        raise PipelineError(f"{pipeline.name!r} is the name of the pipeline and of a model")
    served = {
        "model": f"openai/{pipeline.name}",
        "api_base": SERVED_AT,
        "api_key": f"os.environ/{TOKEN}",
        "timeout": RUN_TIMEOUT_S,
        "num_retries": 0,  # the pipeline's own gateway has retried
    }
    entries = {label: _params(model) for label, model in models.items()} | {pipeline.name: served}
    form = {
        "model_list": [
            {"model_name": name, "litellm_params": params} for name, params in entries.items()
        ],
        "router_settings": {
            "num_retries": _RETRIES,
            "timeout": RUN_TIMEOUT_S,
            "fallbacks": _fallbacks(pipeline),
        },
        "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY"},
    }
    return yaml.safe_dump(form, sort_keys=False, allow_unicode=True)


def _params(model: Model) -> dict[str, Any]:
    params: dict[str, Any] = {"model": model.name}
    if model.address:
        params["api_base"] = model.address
    if model.key_variable:
        params["api_key"] = f"os.environ/{model.key_variable}"
    elif model.address:
        params["api_key"] = "none"
    for way in ("input", "output"):
        if (price := getattr(model, f"{way}_usd_per_million")) is not None:
            params[f"{way}_cost_per_token"] = price / 1e6
    return {**model.params, **params, "max_tokens": model.max_tokens, "timeout": TIMEOUT_S}


def _fallbacks(pipeline: Tunable) -> list[dict[str, list[str]]]:
    config = pipeline.config or pipeline.default_config()
    together = [module.labels for module in config.modules.values()]
    found = []
    for label in config.labels:
        near = [other for labels in together if label in labels for other in labels]
        others = dict.fromkeys((*near, *config.labels))
        if rest := [other for other in others if other != label]:
            found.append({label: rest})
    return found
