"""One language model as the user names it."""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictFloat, ValidationInfo
from pydantic.dataclasses import dataclass

from pipelines.gateway.local_servers import address_variables, local_server
from pipelines.gateway.params import REFUSED, check_address, check_model_params
from search_spaces.refusals import Whole, refusing_with

_OF_KEYS = "put the key into an environment variable and name that: api_key_env='...'"
USUAL_TIERS = ("default", "standard_only", "on_demand")
"""What providers call the service tier of the listed price."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"(?=.*[a-z])(?=.*\d)\w{20,}")
"""What keys look like where they could be names: long, with digits and lower-case letters."""


def _checked_name(name: str) -> str:
    if not name.strip():
        raise ValueError("it must name a model, such as 'openai/gpt-4o-mini'")
    if name != name.strip():
        raise ValueError(f"it must have no spaces around it: {name.strip()!r}")
    return name


def _checked_variable(variable: str) -> str:
    if not _VARIABLE.fullmatch(variable) or _KEY.fullmatch(variable):
        raise ValueError(
            "it must be the name of an environment variable, such as 'OPENAI_API_KEY', and never "
            "the key itself"
        )
    return variable


def _label_or_name(label: str | None, info: ValidationInfo) -> str:
    return label or str(info.data.get("name", ""))


# Errors do not quote what was given: it may be a key that was put into `params`.
@refusing_with(ValueError, instead={**REFUSED, "api_key": _OF_KEYS})
@dataclass(frozen=True, config=ConfigDict(extra="forbid", hide_input_in_errors=True))
class Model:
    """A model by its litellm name, and what the name alone does not say.

    `Model("openai/gpt-4o-mini")` is enough for a hosted model whose price litellm knows. A server
    of your own needs `api_base` and prices, except for `ollama/`, `ollama_chat/`, `llamafile/`,
    `lm_studio/` and `hosted_vllm/`, which cost 0 and have usual addresses. The same model behind
    two servers needs two labels.
    """

    name: Annotated[str, AfterValidator(_checked_name)]
    """litellm's name: `provider/model`."""
    label: Annotated[str, BeforeValidator(_label_or_name)] = Field(
        default=None, validate_default=True
    )
    """What configs, reports and MLflow call it; the name, if not given."""
    api_base: Annotated[str, AfterValidator(check_address)] | None = None
    """Address of an own server, without a key or a password; needed where that is not the usual one
    of `ollama/`, `ollama_chat/`, `llamafile/`, `lm_studio/` or `hosted_vllm/`."""
    api_key_env: Annotated[str, AfterValidator(_checked_variable)] | None = None
    """Name of the environment variable that holds the key; never the key itself."""
    input_usd_per_million: StrictFloat | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Dollars per million input tokens; litellm's price, if not given."""
    output_usd_per_million: StrictFloat | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Dollars per million output tokens; litellm's price, if not given."""
    max_tokens: Whole = Field(default=2048, ge=1)
    """Most output tokens of one call; every call carries it, so that its cost is bounded."""
    params: Annotated[dict[str, Any], AfterValidator(check_model_params)] = Field(
        default_factory=dict
    )
    """Further parameters sent with every call, such as `{"reasoning_effort": "low"}`.

    `{"service_tier": "flex"}` takes the price that litellm lists for that tier.

    Nothing that has a field here, that the gateway sets, or that is a secret.
    """

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides its answers and their price, for keys: every field but `api_key_env`."""
        return {name: value for name, value in asdict(self).items() if name != "api_key_env"}

    @property
    def tier(self) -> str:
        """The service tier whose price it has; empty for the usual one."""
        tier = str(self.params.get("service_tier", ""))
        return "" if tier in USUAL_TIERS else tier

    @property
    def has_own_price(self) -> bool:
        """Whether a price of its own is given."""
        return (self.input_usd_per_million, self.output_usd_per_million) != (None, None)

    @property
    def provider(self) -> str:
        """Whose limits its calls share: the server if there is one, else the name's prefix."""
        return self.api_base or self.name.partition("/")[0]

    @property
    def address(self) -> str | None:
        """Where its server is: `api_base`, else where a server of its name is by default."""
        server = local_server(self.name)
        return self.api_base or (server.address if server else None)

    @property
    def destination(self) -> str | dict[str, str] | None:
        """What decides where its calls go: `api_base`, else the variables that may hold an address.

        None where there are none. Replies are kept under it.
        """
        return self.api_base or address_variables(self.name) or None

    @property
    def key_variable(self) -> str | None:
        """The variable whose key is sent: `api_key_env`, else that of the usual address, if set."""
        server = None if self.api_base else local_server(self.name)
        usual = server.key_variable if server and os.environ.get(server.key_variable) else None
        return self.api_key_env or usual


def as_models(models: list[str | Model] | tuple[str | Model, ...]) -> dict[str, Model]:
    """The models by label, in the order given.

    Raises:
        ValueError: none was given, or two share a label.
    """
    if isinstance(models, str | Model):
        models = [models]
    by_label: dict[str, Model] = {}
    for given in models:
        model = Model(given) if isinstance(given, str) else given
        if model.label in by_label:
            raise ValueError(
                f"models must have distinct labels, but {model.label!r} is given twice; "
                f"tell them apart with Model({model.name!r}, label=...)"
            )
        by_label[model.label] = model
    if not by_label:
        raise ValueError("models must name at least one model, such as 'openai/gpt-4o-mini'")
    return by_label
