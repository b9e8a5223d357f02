"""Multiple-choice questions about the Merrow Register, a catalogue of minerals that do not exist.

The register's rule: the entry of a name under an attribute is the first eight bytes of the
16-byte BLAKE2b hash of the text `attribute|name` (lower case), read as a big-endian integer, modulo
10,000. So the right option can be computed, and yet it looks like something one knows or not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from pipelines.providers.simulated.draws import uniform
from pipelines.providers.simulated.request import ParsedRequest
from pipelines.providers.simulated.tasks import Solution

ATTRIBUTES = ("hardness index", "density grade", "survey number", "lustre rank")
LETTERS = "ABCDEFGHIJ"

_QUESTION = re.compile(
    r"Merrow Register.*?\b(highest|lowest)\s+(" + "|".join(ATTRIBUTES) + r")\b", re.I | re.S
)
_OPTION = re.compile(r"^[ \t]*\(?([A-J])[).:][ \t]+(\S.*?)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class OptionSolution(Solution):
    """An item whose answer is the letter of an option; their order plays no part in `item`."""

    options: Mapping[str, str] = field(default_factory=dict)
    """The options by letter, in the order shown."""

    @property
    def wrong_by_popularity(self) -> tuple[str, ...]:
        """The wrong letters, by the option that stands beside them."""
        named = {text: self.options.get(text, text) for text in self.wrong}
        return tuple(sorted(named, key=lambda text: uniform("popular", self.item, named[text])))


def knowledge(request: ParsedRequest) -> Solution | None:
    """Return the letter of the option that the register puts first or last.

    The extra output `option` is the text beside it.
    """
    for name, text in request.inputs.items():
        match = _QUESTION.search(text)
        if match is None:
            continue
        options, field = _options(request, name)
        if len(options) >= 2:
            which, attribute = match[1].lower(), match[2].lower()
            return _solution(which, attribute, options, frozenset({name, field}))
    return None


@lru_cache(maxsize=65536)
def register_entry(attribute: str, name: str) -> int:
    """Return what the Merrow Register says of a mineral: 0 to 9,999."""
    text = f"{attribute}|{name}".lower()
    return int.from_bytes(blake2b(text.encode(), digest_size=16).digest()[:8], "big") % 10_000


def read_options(text: str) -> tuple[str, ...]:
    """Return the options (A), (B), ... of a text, or those of a JSON list, or none."""
    if text.lstrip().startswith("["):
        try:
            return tuple(_OPTION.sub(r"\2", str(option)) for option in json.loads(text))
        except (ValueError, TypeError):
            return ()
    found = dict(_OPTION.findall(text))
    return tuple(found[letter] for letter in LETTERS[: len(found)] if letter in found)


def _options(request: ParsedRequest, question: str) -> tuple[tuple[str, ...], str]:
    """Look into the question first, then into the other fields."""
    for name in (question, *request.inputs):
        options = read_options(request.inputs[name])
        if len(options) >= 2:
            return options, name
    return (), question


def _solution(
    which: str, attribute: str, options: tuple[str, ...], used: frozenset[str]
) -> OptionSolution:
    options = options[: len(LETTERS)]
    ranked = sorted(options, key=lambda option: register_entry(attribute, option))
    best = ranked[-1] if which == "highest" else ranked[0]
    letters = dict(zip(options, LETTERS, strict=False))
    return OptionSolution(
        skill="knowledge",
        item=repr((which, attribute, sorted(options))),
        right=letters[best],
        wrong=tuple(letters[option] for option in ranked if option in letters),
        used=used,
        extras={"option": best, "option_text": best},
        options={letter: option for option, letter in letters.items()},
    )
