"""What tests of caps share."""

from __future__ import annotations

import random

from hypothesis import Phase

from benchmarks.loopback import Behaviour, LoopbackRequest, Script

UNSHRUNK = [Phase.explicit, Phase.generate]
"""Shrinking would repeat a hundred calls over HTTP hundreds of times."""


def bytes_as_tokens(text: str) -> int:
    """The worst tokenizer there can be."""
    return len(text.encode())


def troubled(seed: int, slowest_s: float = 0.01) -> Script:
    """A third of the requests end in trouble, most of it after the model has run."""
    troubles = [
        Behaviour.reset(), Behaviour.hang(), Behaviour.html(), Behaviour.malformed_json(),
        Behaviour.empty_choices(), Behaviour.rate_limited(), Behaviour.server_error(),
    ]  # fmt: skip

    def script(request: LoopbackRequest) -> Behaviour:
        draw = random.Random(f"{seed} {request.index}")
        if draw.random() < 1 / 3:
            return draw.choice(troubles)
        return Behaviour.slow(draw.uniform(0.01, slowest_s))

    return script
