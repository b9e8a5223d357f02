"""The prompt optimizers by name. One file each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from optimizer.prompts.optimizers.bootstrap import Bootstrap
from optimizer.prompts.optimizers.copro import COPRO
from optimizer.prompts.optimizers.gepa import GEPA
from optimizer.prompts.optimizers.mipro import MIPRO
from optimizer.prompts.optimizers.prompt_optimizer import PromptOptimizer, Room

__all__ = ["OPTIMIZERS", "PromptOptimizer", "Room"]

OPTIMIZERS: Mapping[str, PromptOptimizer] = MappingProxyType(
    {each.name: each for each in (GEPA(), MIPRO(), COPRO(), Bootstrap())}
)
