"""Recorded models: `recorded/<model>` answers with what that model really answered.

A recording is a file of questions with the answers of several models. A call whose messages ask
one of the questions is answered with the model's text, written into the output fields that the
prompt asks for. An unknown question, an unknown model or a second sample is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.providers.recorded.dataset import recorded_dataset
from pipelines.providers.recorded.prices import price_map
from pipelines.providers.recorded.recording import (
    RecordedAnswer,
    RecordedQuestion,
    Recording,
    RecordingError,
    load_recording,
)

if TYPE_CHECKING:
    from litellm.llms.custom_llm import CustomLLM

__all__ = [
    "RecordedAnswer",
    "RecordedQuestion",
    "Recording",
    "RecordingError",
    "litellm_provider",
    "load_recording",
    "price_map",
    "recorded_dataset",
]


def litellm_provider() -> CustomLLM:
    """The provider to put into `litellm.custom_provider_map` under the name `recorded`."""
    from pipelines.providers.recorded.provider import RecordedProvider

    return RecordedProvider()
