"""Recorded models: `recorded/<model>` answers with what that model really answered.

A recording is a file of questions with the answers of several models. A call whose messages ask
one of the questions is answered with the model's text, written into the output fields that the
prompt asks for. An unknown question, an unknown model or a second sample is an error.
"""

from __future__ import annotations

from pipelines.providers.recorded.recording import (
    RecordedAnswer,
    RecordedQuestion,
    Recording,
    RecordingError,
    load_recording,
    recorded_dataset,
)

__all__ = [
    "RecordedAnswer",
    "RecordedQuestion",
    "Recording",
    "RecordingError",
    "load_recording",
    "recorded_dataset",
]
