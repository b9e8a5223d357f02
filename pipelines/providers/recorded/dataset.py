"""The recorded questions as rows to optimize a pipeline on."""

from __future__ import annotations

import random
from pathlib import Path

from pipelines.providers.recorded.recording import load_recording


def recorded_dataset(
    path: str | Path, n: int | None = None, seed: int | None = None
) -> list[dict[str, str]]:
    """Rows of `question` (with its lettered options), `answer` (a letter) and `category`.

    Args:
        path: A recording, as `load_recording` reads it.
        n: How many rows; all, if None.
        seed: Draws them at random; None takes the first in the order of the file.

    Raises:
        RecordingError: the file is no recording.
        ValueError: it holds fewer than `n` questions.
    """
    questions = load_recording(path).questions
    n = len(questions) if n is None else n
    if not 0 <= n <= len(questions):
        raise ValueError(f"0 <= n <= {len(questions)} must hold for {path}, but got n={n}")
    drawn = questions[:n] if seed is None else random.Random(seed).sample(questions, n)
    return [{"question": q.prompt, "answer": q.answer, "category": q.category} for q in drawn]
