"""Networks of calls in a short notation: `3x small/model + 1x other/model -> judge(big/model)`.

    network    = members [ "->" aggregator ]
    members    = member { "+" member }
    member     = [ number "x" ] label
    aggregator = name [ "(" argument { "," argument } ")" ]
    argument   = parameter "=" value | role "=" network | network
    value      = number | true | false | none | text | "[" value { "," value } "]" | JSON object

An aggregator with one role takes its network without naming it. Labels and texts that hold spaces
or one of `+ ( ) [ ] , = ' "`, or that begin like a number of members, are written in double quotes.
Temperatures, prompts and demos are not part of it. `network_text` shows where members have their
own, as in `1x a + 1x a(prompt 2) at 0.2 -> majority_vote`, which can't be parsed.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from pipelines.aggregators import aggregator, aggregator_class, parameters
from pipelines.errors import PipelineError
from search_spaces import AggregatorConfig, MemberConfig, ModuleConfig
from search_spaces.config import MAX_WIDTH
from search_spaces.refusals import nearest

_TOKEN = re.compile(
    r"""\s*(?:(?P<arrow>->)|(?P<mark>[+(),=\[\]])|(?P<quoted>"(?:[^"\\]|\\.)*")|"""
    r"""(?P<word>(?:(?!->)[^\s+(),=\[\]'"])+))"""
)
_TIMES = re.compile(r"(\d+)x")
_LIKE_TIMES = re.compile(r"\s*-?\d[\d.]*(?:\s*[xX\u00d7*]|\s+[\w\"])")
_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "none": None}
_OWN_SETTING = re.compile(r"\(prompt \d|at \d")
_SIMPLE = re.compile(r"(?:(?!->)[^\s+(),=\[\]'\"])+")

T = TypeVar("T")


def is_network(text: str) -> bool:
    """Whether the text is more than a model's label."""
    return "->" in text or " + " in text or bool(re.match(r"\s*-?\d[\d.]*\s*[xX\u00d7*]\s", text))


def parse_network(text: str, **knobs: Any) -> ModuleConfig:
    """The config of a module whose members and aggregator the text describes.

    Args:
        text: in the notation above.
        knobs: of the module itself, such as `temperature=0.7`.

    Raises:
        PipelineError: shows where the text goes wrong, and what was expected there.
    """
    return _parsed(text, lambda parser: parser.network(knobs))


def parse_aggregation(text: str) -> AggregatorConfig:
    """The aggregator that a text such as `judge(big/model)` describes; errors as above."""
    return _parsed(text, lambda parser: parser.aggregator())


def _parsed(text: str, read: Callable[[_Parser], T]) -> T:
    parser = _Parser(text)
    try:
        parsed = read(parser)
        parser.expect_end()
    except PipelineError as error:
        raise PipelineError(f"network {text!r}: {error.message}") from error
    except RecursionError:
        raise PipelineError(f"network {text[:60]!r}... is nested too deep") from None
    return parsed


def labels_of(text: str) -> list[str]:
    """The models that the text names, each once; a label alone is its own."""
    if not is_network(text):
        return [text]
    walked = (module.models for _, module in parse_network(text).walk(""))
    return list(dict.fromkeys(itertools.chain.from_iterable(walked)))


def network_text(config: ModuleConfig) -> str:
    """The members and the aggregator of a config in the notation above.

    `(prompt 2)` marks members with instructions or demos of their own, equal numbers for equal
    prompts, and `at 0.2` a temperature of their own.
    """
    texts = _member_texts(config)
    if config.width == 1:
        return texts[0] if texts else ""
    runs = [(text, len(list(run))) for text, run in itertools.groupby(texts)]
    members = " + ".join(f"{count}x {text}" for text, count in runs)
    return f"{members} -> {aggregation_text(config)}" if config.aggregation else members


def _member_texts(config: ModuleConfig) -> list[str]:
    prompts: list[Any] = [None]  # the module's own
    texts = []
    for member in config.members or map(MemberConfig, config.labels):
        own = member.instructions, member.demos
        if own != (None, None) and own not in prompts:
            prompts.append(own)
        prompt = "" if own == (None, None) else f"(prompt {prompts.index(own) + 1})"
        heat = "" if member.temperature is None else f" at {member.temperature:g}"
        texts.append(f"{_quoted(member.model)}{prompt}{heat}")
    return texts


def aggregation_text(config: ModuleConfig) -> str:
    """The aggregator alone, such as `judge(big/model)`; empty if there is none."""
    aggregation = config.aggregation
    if aggregation is None:
        return ""
    one = len(aggregation.modules) == 1 and len(aggregator(aggregation).roles) == 1
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
        except ValueError as error:
            raise PipelineError(str(error)) from error

    def expect_end(self) -> None:
        rest = self._text[self._place :].strip()
        if _OWN_SETTING.match(rest):
            raise PipelineError(
                f"a member's own prompt or temperature is not part of the notation, but found "
                f"{rest!r}; write ModuleConfig(members=...)"
            )
        if rest:
            aggregated = "->" in self._text[: self._place]
            raise self._wrong("the end" if aggregated else "'+', '->' or the end")

    def _members(self) -> list[str]:
        members = self._member()
        while self._take("+") and len(members) <= MAX_WIDTH:
            members += self._member()
        if len(members) > MAX_WIDTH:
            raise PipelineError(f"at most {MAX_WIDTH} members, but got {len(members)}")
        return members

    def _member(self) -> list[str]:
        counted = _TIMES.fullmatch(self._peek())
        if counted is None:
            return [self._label()]
        self._word("a number of members")
        count = int(counted[1][:9])
        if not 1 <= count <= MAX_WIDTH:
            raise PipelineError(f"1 to {MAX_WIDTH} members, but got {counted[0]!r}")
        return [self._label()] * count

    def _label(self) -> str:
        if _LIKE_TIMES.match(self._text, self._place):
            raise self._wrong("members as in '3x a' (a label that begins like that: in quotes)")
        return self._word("a model's label")

    def aggregator(self) -> AggregatorConfig:
        name = self._word("an aggregator's name")
        known = parameters(aggregator_class(name))
        params: dict[str, Any] = {}
        networks: list[tuple[str, ModuleConfig]] = []
        if self._take("("):
            while not self._take(")"):
                argument, value = self._argument(known)
                if isinstance(value, ModuleConfig):
                    networks.append((argument, value))
                else:
                    self._add(params, argument, value)
                if not self._take(",") and self._peek() != ")":
                    raise self._wrong("',' or ')'")
        made = AggregatorConfig(name=name, params=params)
        return made.model_copy(update={"modules": self._by_role(made, networks)})

    def _argument(self, known: Collection[str]) -> tuple[str, Any]:
        """A parameter and its value, or a role and its network; no name is an empty one."""
        start = self._place
        name = self._peek()
        if _SIMPLE.fullmatch(name):
            self._word("a name")
            if self._take("="):
                is_value = name in known or self._peek() == "["
                return name, self._value() if is_value else self.network({})
            self._place = start
        return "", self.network({})

    def _by_role(
        self, made: AggregatorConfig, networks: Sequence[tuple[str, ModuleConfig]]
    ) -> dict[str, ModuleConfig]:
        """The networks, whose roles are known when all parameters are."""
        modules: dict[str, ModuleConfig] = {}
        roles = list(aggregator(made).roles) if networks else []
        for name, network in networks:
            if not name and len(roles) != 1:
                rule = f"name its role ({', '.join(roles)})" if roles else "it asks no model"
                raise PipelineError(f"{made.name}: {rule}, but got {network_text(network)}")
            if name and name not in roles:
                known = (*parameters(aggregator_class(made.name)), *roles)
                hint = nearest(name, known) or "; it has none"
                rule = f"there is no such parameter or role{hint}"
                raise PipelineError(f"{made.name}: {name}: {rule}")
            self._add(modules, name or roles[0], network)
        return modules

    def _add(self, arguments: dict[str, Any], name: str, value: Any) -> None:
        if name in arguments:
            raise PipelineError(f"{name} is given twice")
        arguments[name] = value

    def _value(self) -> Any:
        if self._take("["):
            values = []
            while not self._take("]"):
                values.append(self._value())
                if not self._take(",") and self._peek() != "]":
                    raise self._wrong("',' or ']'")
            return values
        if self._peek().startswith("{"):
            return self._object()
        quoted = self._peek().startswith('"')
        text = self._word("a value")
        return text if quoted else _constant(text)

    def _object(self) -> dict[str, Any]:
        start = self._text.index("{", self._place)
        try:
            value, end = json.JSONDecoder().raw_decode(self._text, start)
        except json.JSONDecodeError as error:
            raise self._wrong("a JSON object") from error
        self._place = end
        return value  # type: ignore[no-any-return]

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
        try:
            word = str(json.loads(found["quoted"])) if found["quoted"] else found["word"]
        except json.JSONDecodeError as error:
            raise self._wrong(f"{what} in quotes as JSON writes it") from error
        self._place = found.end()
        return word

    def _wrong(self, expected: str) -> PipelineError:
        rest = self._text[self._place :].strip()
        found = f"but found {rest!r}" if rest else "but it ends there"
        return PipelineError(f"expected {expected}, {found}")


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
    if isinstance(value, Mapping):
        return json.dumps(dict(value), ensure_ascii=False, default=str)
    if isinstance(value, str):
        bare = _constant(value) == value and not value.startswith("{")
        return _quoted(value) if bare else json.dumps(value)
    return repr(value)


def _quoted(text: str) -> str:
    simple = _SIMPLE.fullmatch(text) and not _LIKE_TIMES.match(text)
    return text if simple else json.dumps(text, ensure_ascii=False)
