"""Simulated models, `sim/<model>`: a litellm provider that needs no key, network or money.

They see nothing but the messages and the call's parameters, and they behave like language models:
see docs/simulated-models.md. Importing this package does not import litellm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.providers.simulated.catalogue import (
    MODELS,
    UnknownSimulatedModel,
    find_model,
    price_map,
    register,
)
from pipelines.providers.simulated.datasets import (
    ChainModule,
    chain_modules,
    families,
    simulated_dataset,
)
from pipelines.providers.simulated.model import SimulatedModel
from pipelines.providers.simulated.phrases import PHRASES, Phrase
from pipelines.providers.simulated.provider import SimulatedReply, simulate

if TYPE_CHECKING:
    from litellm.llms.custom_llm import CustomLLM

__all__ = [
    "MODELS",
    "PHRASES",
    "ChainModule",
    "Phrase",
    "SimulatedModel",
    "SimulatedReply",
    "UnknownSimulatedModel",
    "chain_modules",
    "families",
    "find_model",
    "litellm_provider",
    "price_map",
    "register",
    "simulate",
    "simulated_dataset",
]


def litellm_provider() -> CustomLLM:
    """Return the provider to put into `litellm.custom_provider_map` under the name `sim`."""
    from pipelines.providers.simulated.litellm_adapter import SimulatedProvider

    return SimulatedProvider()
