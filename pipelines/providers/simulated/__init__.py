"""Simulated models, `sim/<model>`: a provider that needs no key, network or money.

They see nothing but the messages and the call's parameters, and they behave like language models:
see docs/simulated-models.md.
"""

from __future__ import annotations

from pipelines.providers.simulated.catalogue import (
    MODELS,
    UnknownSimulatedModel,
    find_model,
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
    "register",
    "simulate",
    "simulated_dataset",
]
