"""Sample indices of repeated calls."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict


class Draws:
    """Counts equal calls of one run. Safe for threads."""

    def __init__(self) -> None:
        self._taken: defaultdict[str, set[int]] = defaultdict(set)
        self._lock = threading.Lock()

    def take(self, key: str) -> int:
        """The first unused sample of this call."""
        with self._lock:
            taken = self._taken[key]
            sample = next(n for n in itertools.count() if n not in taken)
            taken.add(sample)
            return sample

    def give_back(self, key: str, sample: int) -> None:
        """The call failed: the next equal call gets the same sample."""
        with self._lock:
            self._taken[key].discard(sample)
