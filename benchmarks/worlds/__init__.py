"""More that simulated models can do, for benchmarks and tests: once imported, they can.

Multiple choice and chains of operations on words, numbers and dates; critics, debates and judges of
many forms; thoughts, reasoning efforts, doubt, and worked examples that help or hurt. Whatever else
they are asked, they answer as the shipped ones do.
"""

from __future__ import annotations

from benchmarks.worlds.arbitrate import Arbitrate
from benchmarks.worlds.criticise import Criticise
from benchmarks.worlds.datasets import ChainModule, chain_modules, families
from benchmarks.worlds.debate import Debate
from benchmarks.worlds.doubt import Doubt
from benchmarks.worlds.guess_letter import GuessLetter
from benchmarks.worlds.judging import Diagnose, Judge, Verify
from benchmarks.worlds.knowledge import Knowledge
from benchmarks.worlds.models import MODELS, SimulatedModel
from benchmarks.worlds.operations import ApplyOperation
from benchmarks.worlds.refine import Refine
from pipelines.providers.simulated import (
    PHRASES,
    ROLES,
    SKILLS,
    SimulatedReply,
    find_model,
    register,
    simulate,
    simulated_dataset,
)
from pipelines.providers.simulated.phrases import KINDS

SKILLS.insert(1, Knowledge())
SKILLS.append(ApplyOperation())
KINDS.update(knowledge="knowledge", criticise="judging")

_write, _diagnose, _judge, _verify, solve, improvise = ROLES
ROLES[:] = [
    _write,
    Diagnose(),
    Arbitrate(),
    Judge(),
    Criticise(),
    Verify(),
    Refine(),
    Debate(),
    Doubt(),
    solve,
    GuessLetter(),
    improvise,
]

__all__ = [
    "MODELS",
    "PHRASES",
    "ChainModule",
    "SimulatedModel",
    "SimulatedReply",
    "chain_modules",
    "families",
    "find_model",
    "register",
    "simulate",
    "simulated_dataset",
]
