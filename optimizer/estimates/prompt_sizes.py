"""The lengths of prompts, rendered for a few examples, and of replies, which are guessed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optimizer.estimates.span import Span, exactly
from optimizer.setup.plan import Plan
from pipelines import Module
from pipelines.modules.signature import REASONING, fresh_signature
from pipelines.programs.adapter import reply_adapter
from search_spaces import ModuleConfig

if TYPE_CHECKING:
    import dspy

BYTES_PER_TOKEN = 4
"""As common tokenizers have for English."""
RENDERED = 4
"""On how many examples prompts are rendered."""
UNKNOWN_FIELD = 25
"""Tokens of an output field that the dataset has no column for."""
THOUGHTS = 120
"""Tokens of a field of reasoning."""
AROUND_FIELD = 9
"""Tokens of the markers around a field and of the one that ends the reply."""
REPLY = 0.3, 1.0, 3.0
"""The range of a reply's length relative to the guess: models differ in how much they say."""

_IMAGE = re.compile(
    r"""["']image_url["']: ?\{["']url["']: ?["'][^"']*["']|\Adata:image/[^,]+;base64,[\w+/=]+\Z"""
)
"""An image of a message, or as `dspy.Image` is written; or a value that is nothing else."""


@dataclass(frozen=True)
class PromptSize:
    """Tokens of one call of a module."""

    input_tokens: float
    """Tokens of its text."""
    output_tokens: Span
    images: float = 0.0
    """How many its input has; each model counts their tokens in its own way."""


def prompt_sizes(plan: Plan) -> Mapping[str, PromptSize]:
    """The sizes by module, from a few of the search examples, without any call.

    Fields that the dataset has no column for are taken to be as long as a guess says. Where the
    user's own code writes the prompts, an input is as long as the example's inputs are.
    """
    return {module.name: _size(plan, module) for module in plan.pipeline.llm_modules}


def tokens_of(value: Any) -> int:
    """About how many tokens a text has, without those of its images."""
    return -(-len(_IMAGE.sub("", str(value)).encode()) // BYTES_PER_TOKEN)


def images_of(value: Any) -> int:
    """How many images a value of a dataset, or the content of a message, has."""
    return len(_IMAGE.findall(str(value)))


def _size(plan: Plan, module: Module) -> PromptSize:
    rows = [dict(plan.search[i].items()) for i in range(min(RENDERED, len(plan.search)))]
    config = plan.baseline.modules[module.name]
    if "instructions" not in module.knobs:
        inputs = [_measured(row[name] for name in plan.pipeline.inputs) for row in rows]
        output = sum(_field_tokens(plan, name) for name in plan.pipeline.outputs) or UNKNOWN_FIELD
        return _sized(inputs, _reply(output, config.labels, plan))
    instructions = config.instructions if config.instructions is not None else module.instructions
    signature = fresh_signature(module.signature, instructions)
    inputs = [_rendered(module, config, signature, row) for row in rows]
    thinks = module.strategy == "chain_of_thought" or REASONING in signature.output_fields
    names = [name for name in signature.output_fields if name != REASONING]
    outputs = [_field_tokens(plan, module.pipeline_field(name)) for name in names]
    guess = sum(outputs) + AROUND_FIELD * (len(outputs) + 1) + thinks * (THOUGHTS + AROUND_FIELD)
    return _sized(inputs, _reply(guess, config.labels, plan))


def _sized(inputs: Sequence[tuple[int, int]], reply: Span) -> PromptSize:
    tokens, images = np.mean(inputs, axis=0)
    return PromptSize(float(tokens), reply, float(images))


def _measured(values: Iterable[Any]) -> tuple[int, int]:
    """Tokens of text, and images."""
    values = list(values)
    return sum(map(tokens_of, values)), sum(map(images_of, values))


def _rendered(
    module: Module, config: ModuleConfig, signature: type[dspy.Signature], row: Mapping[str, Any]
) -> tuple[int, int]:
    """Tokens of text, and images, of the prompt for one example."""
    filler = "x" * (BYTES_PER_TOKEN * UNKNOWN_FIELD)
    values = {name: row.get(module.pipeline_field(name), filler) for name in signature.input_fields}
    demos = [dict(demo) for demo in config.demos]
    try:
        messages = reply_adapter(config.reply_format).format(signature, demos, values)
    except Exception:  # such as a field of a type that text can't stand in for
        return _measured([signature.instructions, *values.values(), *demos])
    return _measured(message["content"] for message in messages)


def _field_tokens(plan: Plan, name: str) -> float:
    """The mean length of the column of that name; a guess without one."""
    if name not in plan.search.columns:
        return UNKNOWN_FIELD
    return float(np.mean([tokens_of(example[name]) for example in plan.search]))


def _reply(guess: float, labels: Sequence[str], plan: Plan) -> Span:
    """The range of a reply's tokens, at most what the models may write."""
    most = max((plan.models[label].max_tokens for label in labels), default=2048)
    return Span(*(min(float(most), guess * share) for share in REPLY)) if guess else exactly(0.0)
