"""Instructions that a model writes: the present one, and phrases that it lacks.

Good writers (skill `write_instructions`) add phrases that help on average; poor ones add whatever
comes to mind, and now and then lose the present wording.
"""

from __future__ import annotations

import re

from pipelines.providers.simulated.mind import Mind
from pipelines.providers.simulated.phrases import PHRASES
from pipelines.providers.simulated.request import Answer, ParsedRequest

_WANTS = re.compile(
    r"\b(?:write|propose|provide|generate)\b.{0,40}\b(?:new|improved|better)\b.{0,20}\binstruction",
    re.IGNORECASE | re.DOTALL,
)
_QUOTED = re.compile(r"```(?:\w*\n)?(.*?)```", re.DOTALL)
_ATTEMPT = re.compile(r"Instruction #\d+:\s*(.+?)(?=»|\\n|\n|[\"'],\s|[\"']\]|\Z)")
_LOST = "Produce the requested output fields from the input fields."


class WriteInstructions:
    """Plays the prompt model of COPRO, MIPROv2 and GEPA."""

    def play(self, request: ParsedRequest, mind: Mind) -> Answer | None:
        asked = [o.name for o in request.wanted if "instruction" in o.name.lower()]
        free = request.form == "text" and _WANTS.search(request.inputs["prompt"])
        if not asked and not free:
            return None
        text = _variant(mind, _present_instruction(request), request)
        prefixes = {o.name: "Answer:" for o in request.wanted if "prefix" in o.name.lower()}
        value = f"```\n{text}\n```" if free else text
        return Answer(value, {**dict.fromkeys(asked, text), **prefixes})


def _present_instruction(request: ParsedRequest) -> str:
    """Return the instruction to improve: the last attempt, the basic one, or the first quoted."""
    for name, text in request.inputs.items():
        attempts = _ATTEMPT.findall(text)
        if attempts:
            return str(attempts[-1]).strip()
        if "instruction" in name.lower() and "previous" not in name.lower() and text:
            return text.strip()
    quoted = _QUOTED.search("\n".join(request.inputs.values()))
    return quoted[1].strip() if quoted else ""


def _variant(mind: Mind, present: str, request: ParsedRequest) -> str:
    """Return the present instruction and one to three phrases that it lacks."""
    asked = repr(sorted(request.inputs.items()))
    able = mind.passes("write_instructions", asked)
    lacking = [phrase for phrase in PHRASES if phrase.text not in present.lower()]
    useful = [phrase for phrase in lacking if sum(phrase.means.values()) > 0]
    pool = useful if able and useful else lacking
    chosen = sorted(pool, key=lambda phrase: mind.luck("phrase", asked, phrase.text))
    count = 1 + int(3 * mind.luck("how many", asked))
    loses = not able and mind.luck("loses the wording", asked) < 0.4
    core = _LOST if loses else present or _LOST
    ended = core if core.endswith((".", "!", "?", ":", "\n")) else f"{core}."
    return " ".join([ended, *(phrase.sentence for phrase in chosen[:count])])
