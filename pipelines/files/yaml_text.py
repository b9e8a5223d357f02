"""YAML text to plain data and back, with the line of every key."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import Location, PipelineError
from search_spaces.refusals import nearest

MOST_CHARACTERS, MOST_PARTS, MOST_LEVELS = 4_000_000, 100_000, 64
"""Bounds of a file: its length; its keys and values, those behind an alias counted each time; and
how deep they are nested. A tuned pipeline with a hundred demos has a few thousand parts."""
_TYPES = ("str", "int", "float", "bool", "null", "seq", "map", "merge")
_PLAIN = (dict, list, str, int, float, bool, type(None))
_UNUSUAL_BREAKS = frozenset("\r\x85\u2028\u2029")


class Lines(dict[Location, int]):
    """The line, from 1, of each key and list item in a YAML text."""

    def __missing__(self, place: Location) -> int:
        """That of what is around it."""
        return self[place[:-1]]


def read_yaml(text: str, source: str | None = None) -> tuple[Any, Lines]:
    """The data of one YAML document, and the lines of its parts. Raises PipelineError, with the
    line, if it is no plain data or exceeds the bounds."""
    try:
        if len(text) > MOST_CHARACTERS:
            raise PipelineError(f"bad YAML: at most {MOST_CHARACTERS:,} characters are read")
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise PipelineError("the YAML is empty")
        lines = Lines({(): node.start_mark.line + 1})
        _note_lines(node, (), lines)
        return loader.construct_document(node), lines
    except yaml.YAMLError as error:
        raise PipelineError(_problem(error), line=_line(error, text), source=source) from error
    except PipelineError as error:
        raise PipelineError(error.message, line=error.line or 1, source=source) from error


def read_text(path: str | Path) -> str:
    """The file's text, or the beginning of one that is too long; raises PipelineError if not
    UTF-8."""
    path = Path(path)
    if not path.exists():
        files = [each.name for each in path.absolute().parent.glob("*.y*ml")]
        hint = nearest(path.name, files)
        raise FileNotFoundError(f"{path}: no such file{hint}")
    with open(path, "rb") as file:
        read = file.read(4 * MOST_CHARACTERS + 4)
    try:
        return read.decode()
    except UnicodeDecodeError as error:
        line = read.count(b"\n", 0, error.start) + 1
        problem = f"bad YAML: not UTF-8 text ({error.reason} {read[error.start]:#x})"
        raise PipelineError(problem, line=line, source=str(path)) from error


def write_yaml(data: Any) -> str:
    """The YAML text of plain data, in the order given; long texts as blocks.

    No line is folded, so that secrets can be found in it. Raises PipelineError for what is not
    plain.
    """
    _check_plain(data, ())
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)


class _Loader(yaml.SafeLoader):
    """Reads plain data within the bounds; dates stay text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.yaml_implicit_resolvers = {
            first: [each for each in resolvers if not each[0].endswith(":timestamp")]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }
        self._parts = self._level = 0
        self._sizes: dict[str, int] = {}
        """By anchor, the parts behind it; those that are not complete are missing."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """See PyYAML; counts."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line: int = event.start_mark.line + 1
        anchor: Any = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if anchor in self.anchors and anchor not in self._sizes:
                raise PipelineError("bad YAML: a part contains itself", line=line)
            self._count(self._sizes.get(anchor, 0), line)
            return super().compose_node(parent, index)
        before = self._parts
        self._count(1, line)
        if self._level == MOST_LEVELS:
            raise PipelineError(f"bad YAML: at most {MOST_LEVELS} levels are read", line=line)
        self._level += 1
        node = super().compose_node(parent, index)
        self._level -= 1
        if anchor is not None:
            self._sizes[anchor] = self._parts - before
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """See PyYAML, whose readers of scalars raise anything."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError) as error:
            if isinstance(error, PipelineError):
                raise
            kind = node.tag.rpartition(":")[2]
            problem = f"bad YAML: {_shown(node)} can't be read as {kind}; text goes in quotes"
            raise PipelineError(problem, line=node.start_mark.line + 1) from error

    def _count(self, parts: int, line: int) -> None:
        self._parts += parts
        if self._parts > MOST_PARTS:
            problem = f"bad YAML: at most {MOST_PARTS:,} keys and values are read"
            raise PipelineError(f"{problem}, those behind an alias each time", line=line)


def _shown(node: yaml.Node) -> str:
    text = str(node.value)
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, equal lists and mappings written out each time."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        if _UNUSUAL_BREAKS.intersection(data):  # PyYAML would read them back as spaces
            style = '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


def _note_lines(node: yaml.Node, place: Location, lines: Lines) -> None:
    line = node.start_mark.line + 1
    if node.tag.removeprefix("tag:yaml.org,2002:") not in _TYPES:
        raise PipelineError(f"bad YAML: only plain data is read, not {node.tag!r}", line=line)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner, line = (*place, key.value), key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise PipelineError("bad YAML: a key must be text", line=line)
            if not key.tag.endswith((":str", ":merge")):
                problem = f"bad YAML: a key must be text: put {_shown(key)} in quotes"
                raise PipelineError(problem, line=line)
            if inner in lines:
                raise PipelineError(f"key {key.value!r} is given twice", line=line)
            lines[inner] = line
            _note_lines(key, place, lines)
            _note_lines(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*place, index)] = item.start_mark.line + 1
            _note_lines(item, (*place, index), lines)
    else:
        try:
            node.value.encode()
        except UnicodeEncodeError:
            problem = f"bad YAML: {_shown(node)} has half a character"
            raise PipelineError(problem, line=line) from None


def _check_plain(data: Any, place: Location, kinds: tuple[type, ...] = _PLAIN) -> None:
    if type(data) not in kinds:
        where, kind = ".".join(map(str, place)), type(data).__name__
        raise PipelineError(
            f"{where} holds {data!r}, a {kind}, which YAML can't carry exactly; "
            "use text, numbers, booleans, lists and mappings by text"
        )
    if isinstance(data, dict):
        for key, value in data.items():
            _check_plain(key, (*place, "a key"), (str,))
            _check_plain(value, (*place, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            _check_plain(value, (*place, index))


_HINTS = {
    "mapping values are not allowed": ": a text with ': ' in it goes in quotes",
    "'\\t'": ": indent with spaces",
    "<document start>": ": is this a pipeline, and not a dataset?",
}


def _problem(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    hint = next((hint for sign, hint in _HINTS.items() if sign in problem), "")
    return f"bad YAML: {context}: {problem}{hint}" if context else f"bad YAML: {problem}{hint}"


def _line(error: yaml.YAMLError, text: str) -> int:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return int(mark.line) + 1
    return text.count("\n", 0, int(getattr(error, "position", 0))) + 1
