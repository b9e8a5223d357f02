"""Networks of calls in a short notation: `3x small/model + 1x other/model -> judge(big/model)`.

    network    = members [ "->" aggregator ]
    members    = member { "+" member }
    member     = [ number "x" ] label
    aggregator = name [ "(" argument { "," argument } ")" ]
    argument   = parameter "=" value | role "=" network | network
    value      = number | true | false | none | text | "[" value { "," value } "]"

An aggregator with one role takes its network without naming it. Labels and texts that hold spaces
or one of `+ ( ) [ ] , = ' "` are written in quotes. Temperatures, prompts and demos are not part
of it.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from pipelines.aggregators import aggregator_class
from pipelines.errors import PipelineError
from search_spaces import AggregatorConfig, ModuleConfig

_TOKEN = re.compile(
    r"""\s*(?:(?P<arrow>->)|(?P<mark>[+(),=\[\]])|(?P<quoted>"(?:[^"\\]|\\.)*")|"""
    r"""(?P<word>(?:(?!->)[^\s+(),=\[\]'"])+))"""
)
_TIMES = re.compile(r"(\d+)x")
_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "none": None}
_SIMPLE = re.compile(r"(?:(?!->)[^\s+(),=\[\]'\"])+")


def is_network(text: str) -> bool:
    """Whether the text is more than a model's label."""
    return "->" in text or " + " in text or bool(re.match(r"\s*\d+x\s", text))


def parse_network(text: str, **knobs: Any) -> ModuleConfig:
    """The config of a module whose members and aggregator the text describes.

    Args:
        text: in the notation above.
        knobs: of the module itself, such as `temperature=0.7`.

    Raises:
        PipelineError: shows where the text goes wrong, and what was expected there.
    """
    parser = _Parser(text)
    parsed = parser.network(knobs)
    parser.expect_end()
    return parsed


def parse_aggregation(text: str) -> AggregatorConfig:
    """The aggregator that a text such as `judge(big/model)` describes; errors as above."""
    parser = _Parser(text)
    parsed = parser.aggregator()
    parser.expect_end()
    return parsed


def labels_of(text: str) -> list[str]:
    """The models that the text names, each once; a label alone is its own."""
    if not is_network(text):
        return [text]
    walked = (module.models for _, module in parse_network(text).walk(""))
    return list(dict.fromkeys(itertools.chain.from_iterable(walked)))


def network_text(config: ModuleConfig) -> str:
    """The members and the aggregator of a config in the notation above."""
    runs = [(label, len(list(run))) for label, run in itertools.groupby(config.members)]
    if config.width == 1:
        return _quoted(config.members[0]) if config.members else ""
    members = " + ".join(f"{count}x {_quoted(label)}" for label, count in runs)
    return f"{members} -> {aggregation_text(config)}" if config.aggregation else members


def aggregation_text(config: ModuleConfig) -> str:
    """The aggregator alone, such as `judge(big/model)`; empty if there is none."""
    aggregation = config.aggregation
    if aggregation is None:
        return ""
    one = len(_roles(aggregation.name)) == 1
    roles = [
        network_text(module) if one else f"{role}={network_text(module)}"
        for role, module in aggregation.modules.items()
    ]
    params = [f"{name}={_value_text(value)}" for name, value in aggregation.params.items()]
    arguments = ", ".join([*roles, *params])
    return f"{_quoted(aggregation.name)}({arguments})" if arguments else _quoted(aggregation.name)


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def network(self, knobs: Mapping[str, Any]) -> ModuleConfig:
        members = self._members()
        aggregation = self.aggregator() if self._take("->") else None
        same = len(set(members)) == 1
        try:
            return ModuleConfig(
                models=tuple(members[:1] if same else members),
                width=len(members),
                aggregator=aggregation,
                **knobs,
            )
        except ValidationError as error:
            raise PipelineError(f"network {self._text!r}: {error}") from error

    def expect_end(self) -> None:
        if self._peek():
            raise self._wrong("the end")

    def _members(self) -> list[str]:
        members = self._member()
        while self._take("+"):
            members += self._member()
        return members

    def _member(self) -> list[str]:
        counted = _TIMES.fullmatch(self._peek())
        if counted is None:
            return [self._word("a model's label")]
        self._word("a number of members")
        if int(counted[1]) < 1:
            raise PipelineError(f"network {self._text!r}: 1 member at least, but got {counted[1]}")
        return [self._word("a model's label")] * int(counted[1])

    def aggregator(self) -> AggregatorConfig:
        name = self._word("an aggregator's name")
        roles = _roles(name)
        params: dict[str, Any] = {}
        modules: dict[str, ModuleConfig] = {}
        if self._take("("):
            while not self._take(")"):
                self._argument(roles, params, modules)
                if not self._take(",") and self._peek() != ")":
                    raise self._wrong("',' or ')'")
        return AggregatorConfig(name=name, params=params, modules=modules)

    def _argument(
        self, roles: list[str], params: dict[str, Any], modules: dict[str, ModuleConfig]
    ) -> None:
        start = self._place
        name = self._peek()
        if _SIMPLE.fullmatch(name):
            self._word("a name")
            if self._take("="):
                if name in roles:
                    modules[name] = self.network({})
                else:
                    params[name] = self._value()
                return
            self._place = start
        if len(roles) != 1:
            raise self._wrong(f"an argument with its name ({', '.join(roles) or 'no roles'})")
        modules[roles[0]] = self.network({})

    def _value(self) -> Any:
        if self._take("["):
            values = []
            while not self._take("]"):
                values.append(self._value())
                if not self._take(",") and self._peek() != "]":
                    raise self._wrong("',' or ']'")
            return values
        quoted = self._peek().startswith('"')
        text = self._word("a value")
        return text if quoted else _constant(text)

    def _peek(self) -> str:
        found = _TOKEN.match(self._text, self._place)
        return found[0].strip() if found else ""

    def _take(self, mark: str) -> bool:
        found = _TOKEN.match(self._text, self._place)
        if found is None or found[0].strip() != mark:
            return False
        self._place = found.end()
        return True

    def _word(self, what: str) -> str:
        found = _TOKEN.match(self._text, self._place)
        if found is None or not (found["word"] or found["quoted"]):
            raise self._wrong(what)
        self._place = found.end()
        return str(json.loads(found["quoted"])) if found["quoted"] else found["word"]

    def _wrong(self, expected: str) -> PipelineError:
        rest = self._text[self._place :].strip()
        found = f"but found {rest!r}" if rest else "but it ends there"
        return PipelineError(f"network {self._text!r}: expected {expected}, {found}")


def _roles(name: str) -> list[str]:
    """The roles that an aggregator of this name may have."""
    made = aggregator_class(name)()
    return list(made.roles)


def _constant(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _value_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value_text, value))}]"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _quoted(value) if _constant(value) == value else json.dumps(value)
    return repr(value)


def _quoted(text: str) -> str:
    simple = _SIMPLE.fullmatch(text) and not _TIMES.fullmatch(text)
    return text if simple else json.dumps(text, ensure_ascii=False)
