"""The guess of a letter, where there are options and no task that simulated models can do."""

from __future__ import annotations

from benchmarks.worlds.knowledge import LETTERS, read_options
from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import Answer, ParsedRequest
from pipelines.providers.simulated.roles import improvised


def guess_letter(request: ParsedRequest, mind: Mind) -> Answer | None:
    """Return any letter of the options that the inputs hold."""
    text = "\n".join(request.inputs.values())
    count = len(read_options(text))
    if count < 2:
        return None
    luck = mind.luck("improvise", text)
    return improvised(request, luck, LETTERS[int(luck * count)])
