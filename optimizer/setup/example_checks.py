"""Checks for misleading examples: demos of prompts, repeated ones, or those of human labels."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from evaluators.dataset import Dataset
from evaluators.errors import DatasetError
from search_spaces import PipelineConfig
from search_spaces.config import canonical_json

logger = logging.getLogger(__name__)


def without_demos(data: Dataset, inputs: Sequence[str], baseline: PipelineConfig) -> Dataset:
    """The examples without those that are demos in the given prompts: a run would only repeat them.

    Demos are recognized by the pipeline's inputs; demos of modules with other inputs are not.

    Raises:
        DatasetError: fewer than two are left.
    """
    demos = (demo for module in baseline.modules.values() for demo in module.all_demos)
    shown = _texts((demo for demo in demos if all(name in demo for name in inputs)), inputs)
    left = [index for index, row in enumerate(data) if _text(row, inputs) not in shown]
    if len(left) == len(data):
        return data
    shared = (
        f"{len(data) - len(left)} of {len(data)} examples are demos in the pipeline's own prompts"
    )
    if len(left) < 2:
        raise DatasetError(f"{shared}, which repeats them: give others, or take the demos away")
    logger.warning("%s, and left out: a run would only repeat them", shared)
    return data.take(left)


def warn_of_repeated(data: Dataset, inputs: Sequence[str]) -> None:
    """Warn of examples with the same inputs."""
    distinct = len(_texts(data, inputs))
    if distinct < len(data):
        logger.warning(
            "%d examples have only %d different inputs; equal ones are either all held out or all "
            "searched on, but each counts as one of its own, so intervals are narrower than they "
            "should be", len(data), distinct,
        )  # fmt: skip


def warn_of_labelled(data: Dataset, inputs: Sequence[str], labelled: Dataset) -> None:
    """Warn of examples that are among the human labels, by which the judge was measured."""
    known = _texts(labelled, inputs)
    both = sum(_text(example, inputs) in known for example in data)
    if both:
        logger.warning(
            "%d of %d examples have the inputs of human labels: scores there are corrected by a "
            "judge that was measured on them, so intervals are narrower than they should be; take "
            "them out of the dataset", both, len(data),
        )  # fmt: skip


def _texts(rows: Iterable[Any], inputs: Sequence[str]) -> set[str]:
    return {_text(row, inputs) for row in rows}


def _text(row: Any, inputs: Sequence[str]) -> str:
    return canonical_json([row[name] for name in inputs])
