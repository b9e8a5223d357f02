"""Which parameters of a call may not be given freely, and what to write instead.

What is written down (YAML, MLflow, the report) holds no secrets, so neither may what it is made of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

M = TypeVar("M", bound=Mapping[str, Any])

_INSTEAD = {
    "it bounds what a call costs, so it is a field: Model(..., max_tokens=...)": (
        "max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens",
        "maxOutputTokens", "num_predict",
    ),
    "one call brings one reply; for more, give the module a width": (
        "n", "best_of", "num_generations", "candidate_count", "candidateCount",
    ),
    "a reply is read as a whole": ("stream", "stream_options"),
    "the gateway retries, and counts each retry as a call: Gateway(retries=...)": (
        "num_retries", "max_retries", "retries", "fallbacks", "context_window_fallback_dict",
    ),
    "the gateway sets it: Gateway(timeout_s=...)": (
        "timeout", "request_timeout", "stream_timeout",
    ),
    "the address is a field: Model(..., api_base=...)": ("api_base", "base_url"),
    "the name is a field: Model(name)": ("model", "model_list", "deployment_id"),
    "prices are fields: Model(..., input_usd_per_million=..., output_usd_per_million=...)": (
        "input_cost_per_token", "output_cost_per_token", "input_cost_per_second",
        "output_cost_per_second",
    ),
    "it costs more than the tokens that the budget reserves": ("web_search_options",),
    "a tier has a price of its own, so it is part of a model: "
    "Model(..., params={'service_tier': ...})": ("service_tier",),
    "it may lift what bounds a call": (
        "additional_drop_params", "drop_params", "allowed_openai_params", "custom_llm_provider",
        "mock_response", "logger_fn", "hooks",
    ),
    "the pipeline writes the messages": ("messages",),
    "it is made of the messages and the index of the sample": ("seed",),
    "the temperature is a knob: Module(..., temperature=...)": ("temperature",),
}  # fmt: skip
REFUSED = {name: instead for instead, names in _INSTEAD.items() for name in names}
"""By parameter, what to write instead."""

_SECRET = re.compile(
    r"api[-_]?key|access[-_]?key|secret|password|authorization|credential|(^|[-_])token$", re.I
)
_SIGNED = re.compile(r"(^|[-_])(key|sig|signature|auth)$", re.I)
"""What else a query of an address may hold a secret under."""
_NESTED = ("extra_body", "extra_headers", "headers", "options", "generationConfig")
"""Parameters whose own entries are parameters or headers. (A JSON schema's are names of fields.)"""


def check_params(params: M) -> M:
    """The same parameters; refuse secrets, what has another place, and what lifts a cost bound.

    Raises:
        ValueError: names the parameter, and the right way.
    """
    for name, value in params.items():
        if name in REFUSED:
            raise ValueError(f"params may not hold {name!r}: {REFUSED[name]}")
        if _SECRET.search(name):
            raise ValueError(
                f"params may not hold {name!r}: what is written down holds no secrets; put the "
                "key into an environment variable and name it: Model(..., api_key_env='...')"
            )
        if name in _NESTED and isinstance(value, Mapping):
            check_params(value)
    return params


def check_model_params(params: M) -> M:
    """The same parameters; as `check_params`, but a model may name a service tier.

    Raises:
        ValueError: names the parameter, and the right way.
    """
    tier = params.get("service_tier", "default")
    if not isinstance(tier, str) or tier == "auto":
        raise ValueError(
            "params['service_tier'] must name a tier, such as 'flex' or 'priority', since each has "
            f"a price of its own, but got {tier!r}"
        )
    check_params({name: value for name, value in params.items() if name != "service_tier"})
    return params


def check_address(address: str) -> str:
    """The same address; refuse a password or a key in a server's address, and what is no address.

    Raises:
        ValueError: without quoting it.
    """
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
    except ValueError:
        raise ValueError("it must be an address such as http://localhost:8000/v1") from None
    names = [name for name, _ in parse_qsl(parts.query)]
    if "@" in parts.netloc or any(_SECRET.search(n) or _SIGNED.search(n) for n in names):
        raise ValueError(
            "an address may hold no key and no password; put it into an environment variable and "
            "name that: Model(..., api_key_env='...')"
        )
    if parts.scheme not in {"http", "https"}:
        raise ValueError("it must begin with http:// or https://, as http://localhost:8000/v1 does")
    return address
