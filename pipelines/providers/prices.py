"""A model's price: what the user says, else what is listed."""

from __future__ import annotations

import os
from collections.abc import Callable

from pipelines.gateway.local_servers import local_server
from pipelines.gateway.model import Model
from pipelines.gateway.params import check_address
from pipelines.gateway.prices import ModelError, Price
from pipelines.gateway.secrets import key_of

Listed = tuple[float | None, float | None]


def resolve_price(
    model: Model, listed: Callable[[Model], Listed], hint: Callable[[str], str] = lambda _: ""
) -> Price:
    """The user's figures, else those listed for it, per token; 0 for a local server.

    Raises:
        ModelError: there is no figure; quotes the hint for the name.
    """
    own = (model.input_usd_per_million, model.output_usd_per_million)
    if own[0] is not None and own[1] is not None:
        return Price(own[0] / 1e6, own[1] / 1e6)
    others = (0.0, 0.0) if is_local(model) else listed(model)
    inputs, outputs = (
        there if mine is None else mine / 1e6 for mine, there in zip(own, others, strict=True)
    )
    if inputs is None or outputs is None:
        tier = f" at service_tier={model.tier!r}" if model.tier else ""
        raise ModelError(
            f"no price is known for model {model.name!r}{tier or hint(model.name)}; give it: "
            f"Model({model.name!r}, input_usd_per_million=..., output_usd_per_million=...), "
            "0 for a model that costs nothing (or, to keep a dspy.LM, "
            "dspy.LM(..., input_cost_per_token=..., output_cost_per_token=...))"
        )
    return Price(float(inputs), float(outputs))


def is_local(model: Model) -> bool:
    """Whether its name says that it runs on a server of one's own."""
    return local_server(model.name) is not None


def address_problem(model: Model) -> str | None:
    """The problem with a variable that should hold the address of the model's server, else None.

    It does not quote the value, which may hold a password.
    """
    server = local_server(model.name)
    if server is None or model.api_base or not os.environ.get(server.variable):
        return None
    try:
        check_address(server.address)
    except ValueError as error:
        return f"model {model.name!r}: the variable {server.variable}: {error}"
    return None


def key_problem(model: Model, variables: list[str]) -> str | None:
    """The problem where none of the variables that may hold its key is set, else None."""
    if model.api_key_env:
        variables = [] if key_of(model.api_key_env) else [model.api_key_env]
    if not variables:
        return None
    joined = (" and " if "AZURE_API_KEY" in variables else " or ").join(variables)
    return f"model {model.name!r} needs an API key: set {joined}"
