"""The prompt optimizers by name. One file each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from optimizer.stages.prompts.optimizers.bootstrap import Bootstrap
from optimizer.stages.prompts.optimizers.copro import COPRO
from optimizer.stages.prompts.optimizers.gepa import GEPA
from optimizer.stages.prompts.optimizers.mipro import MIPRO
from optimizer.stages.prompts.optimizers.prompt_optimizer import PromptOptimizer, Room

__all__ = ["OPTIMIZERS", "PromptOptimizer", "Room"]

OPTIMIZERS: Mapping[str, PromptOptimizer] = MappingProxyType(
    {each.name: each for each in (GEPA(), MIPRO(), COPRO(), Bootstrap())}
)
