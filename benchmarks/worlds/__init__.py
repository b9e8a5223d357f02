"""More that simulated models can do, for benchmarks and tests: once imported, they can.

Multiple choice and chains of operations on words, numbers and dates; critics, debates and judges of
many forms; thoughts, reasoning efforts, doubt, and worked examples that help or hurt. Whatever else
they are asked, they answer as the shipped ones do.
"""

from __future__ import annotations

from benchmarks.worlds.arbitrate import arbitrate
from benchmarks.worlds.case import solve
from benchmarks.worlds.criticise import criticise
from benchmarks.worlds.datasets import ChainModule, chain_modules, families
from benchmarks.worlds.debate import debate
from benchmarks.worlds.doubt import doubt
from benchmarks.worlds.guess_letter import guess_letter
from benchmarks.worlds.judging import diagnose, judge, verify
from benchmarks.worlds.knowledge import knowledge
from benchmarks.worlds.models import MODELS, SimulatedModel
from benchmarks.worlds.operations import apply_operation
from benchmarks.worlds.refine import refine
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
from pipelines.providers.simulated.mind import KINDS

SKILLS.insert(1, knowledge)
SKILLS.append(apply_operation)
KINDS.update(knowledge="knowledge", criticise="judging")

write, *_, improvise = ROLES
ROLES[:] = [
    write,
    diagnose,
    arbitrate,
    judge,
    criticise,
    verify,
    refine,
    debate,
    doubt,
    solve,
    guess_letter,
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
