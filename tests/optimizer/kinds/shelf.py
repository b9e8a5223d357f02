"""A retriever, in a file beside the programs that use it."""

from __future__ import annotations

import yaml

PASSAGES = "\n".join(f"sum {n}: the sum {n} is {n} + 7" for n in range(40))


class Shelf:
    """Passages by title."""

    def __init__(self) -> None:
        self.passages = yaml.safe_load(PASSAGES)

    def search(self, title: str) -> list[str]:
        """The passages of this title."""
        return [self.passages.get(title, "nothing found")]
