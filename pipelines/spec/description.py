"""A pipeline in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.modules.module import Module
from pipelines.modules.signature import own_instructions, signature_text

if TYPE_CHECKING:
    from pipelines.spec.tunable import Tunable


def describe(pipeline: Tunable) -> str:
    """One line on the pipeline, then each module with its wiring and instructions."""
    inputs, outputs = ", ".join(pipeline.inputs), ", ".join(pipeline.outputs)
    lines = [f"Pipeline {pipeline.name}: {inputs} -> {outputs}"]
    for number, module in enumerate(pipeline.modules, start=1):
        lines.append(
            f"{number}. {module.name} ({_kind(module)}): {signature_text(module.signature)}"
        )
        lines.extend(f"   {line}" for line in _details(pipeline, module))
    return "\n".join(lines)


def _kind(module: Module) -> str:
    if not module.is_llm:
        return "function"
    return "language model" if module.strategy == "predict" else "language model, step by step"


def _details(pipeline: Tunable, module: Module) -> list[str]:
    details = [f"renames {own} to {wired}" for own, wired in module.rename.items() if own != wired]
    earlier = pipeline.dependencies[module.name]
    details.append(f"after {', '.join(earlier)}" if earlier else "reads the pipeline's inputs only")
    instructions = module.instructions or own_instructions(module.signature)
    if instructions:
        details.append(f"instructions: {' '.join(instructions.split())}")
    if module.params:
        details.append(f"params: {dict(module.params)}")
    return details
