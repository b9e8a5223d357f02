"""What worked examples among the messages do: right ones help a little, wrong ones hurt more."""

from __future__ import annotations

import re
from functools import lru_cache

from pipelines.providers.simulated.request import ParsedRequest, plain
from pipelines.providers.simulated.tasks import find_solution, follow

HELP, HARM = 0.12, -0.2
"""Shift of ability for each demo whose answer is right, or wrong."""
_COUNTED = 4


def demo_shift(request: ParsedRequest) -> float:
    """Return the shift of ability by the first four demos, within [-0.8, 0.48]."""
    demos = request.demos[:_COUNTED]
    return sum(_effect(request.instructions, tuple(d.inputs.items()), d.reply) for d in demos)


@lru_cache(maxsize=4096)
def _effect(instructions: str, inputs: tuple[tuple[str, str], ...], reply: str) -> float:
    """Return the shift by one demo; none where its inputs hold no task."""
    solution = find_solution(ParsedRequest(instructions, dict(inputs), ()))
    if solution is None:
        return 0.0
    result = follow(solution) if solution.skill == "locate" else None
    rights = {plain(item.right) for item in (solution, result) if item}
    stated = any(
        re.search(rf"(?<!\w){re.escape(right)}(?!\w)", reply.casefold()) for right in rights
    )
    return HELP if stated else HARM
