"""Checks shared by the formulas."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def checked_unit(name: str, values: ArrayLike) -> Floats:
    """The values as an array; raises ValueError if one is outside [0, 1]."""
    array = np.asarray(values, dtype=np.float64)
    if not bool(np.all((array >= 0) & (array <= 1))):  # NaN fails this too
        raise ValueError(f"{name} must lie in [0, 1], but got {values!r}")
    return array


def checked_scores(name: str, scores: ArrayLike) -> Floats:
    """As `checked_unit`, of at least one score in a sequence."""
    array = checked_unit(name, scores)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a sequence of at least one score, but got {scores!r}")
    return array
