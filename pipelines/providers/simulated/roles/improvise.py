"""The last resort: a request that holds no task that simulated models can do."""

from __future__ import annotations

from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.request import OutputField, ParsedRequest
from pipelines.providers.simulated.roles.role import Answer
from pipelines.providers.simulated.skills.knowledge import LETTERS, read_options

_REMARKS = (
    "The text speaks of {words}.",
    "This is about {words} and the like.",
    "In short: {words}.",
    "The inputs describe {words}.",
)


class Improvise:
    """Says something of the right type; guesses a letter where there are options."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer:
        """Return an answer of no value, different for different inputs."""
        text = "\n".join(request.inputs.values())
        luck = mind.luck("improvise", text)
        count = len(read_options(text))
        remark = LETTERS[int(luck * count)] if count >= 2 else _remark(text, luck)
        fields = {out.name: _of_type(out, luck) for out in request.wanted if out.type != "str"}
        known = {name: value for name, value in fields.items() if value is not None}
        return Answer(remark, known, sure=False, confidence=luck, comment=remark)


def _remark(text: str, luck: float) -> str:
    words = " ".join(text.split()[:12]) or "nothing in particular"
    return _REMARKS[int(luck * len(_REMARKS))].format(words=words)


def _of_type(output: OutputField, luck: float) -> object:
    simple: dict[str, object] = {"bool": luck > 0.5, "int": int(10 * luck), "float": luck}
    return [] if output.type.startswith("list") else simple.get(output.type)
