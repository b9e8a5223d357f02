"""Simulated models, `sim/<model>`: a provider that needs no key, network or money.

They see nothing but the messages and the call's parameters, and they behave like language models:
see docs/simulated-models.md. `SKILLS`, `ROLES` and `FAMILIES` may be added to, and so may models.
"""

from __future__ import annotations

from pipelines.providers.simulated.dataset import FAMILIES, simulated_dataset
from pipelines.providers.simulated.mind import PHRASES, Phrase
from pipelines.providers.simulated.models import (
    MODELS,
    SimulatedModel,
    UnknownSimulatedModel,
    find_model,
    register,
)
from pipelines.providers.simulated.simulation import ROLES, SimulatedReply, simulate
from pipelines.providers.simulated.tasks import SKILLS

__all__ = [
    "FAMILIES",
    "MODELS",
    "PHRASES",
    "ROLES",
    "SKILLS",
    "Phrase",
    "SimulatedModel",
    "SimulatedReply",
    "UnknownSimulatedModel",
    "find_model",
    "register",
    "simulate",
    "simulated_dataset",
]
