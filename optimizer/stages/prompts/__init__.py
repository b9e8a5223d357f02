"""The stage that tunes prompts with DSPy's optimizers."""

from optimizer.stages.prompts.stage import Prompts

__all__ = ["Prompts"]
