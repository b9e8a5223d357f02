"""YAML text to plain data and back, with the line of every key."""

from __future__ import annotations

from typing import Any

import yaml

from pipelines.errors import Location, PipelineError

_UNUSUAL_BREAKS = frozenset("\r\x85\u2028\u2029")


class Lines:
    """The line of each key and list item in a YAML text."""

    def __init__(self, by_place: dict[Location, int]) -> None:
        self._by_place = by_place

    def of(self, place: Location) -> int:
        """The line, from 1, of the place or else of what is around it."""
        while place not in self._by_place:
            place = place[:-1]
        return self._by_place[place]


def read_yaml(text: str, source: str | None = None) -> tuple[Any, Lines]:
    """The data of one YAML document, and the lines of its parts.

    Raises:
        PipelineError: no YAML, more than one document, or a key given twice; with the line.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise PipelineError("the YAML is empty", line=1, source=source)
        by_place: dict[Location, int] = {(): node.start_mark.line + 1}
        _note_lines(node, (), by_place, source)
        return loader.construct_document(node), Lines(by_place)
    except yaml.YAMLError as error:
        raise PipelineError(_problem(error), line=_line(error, text), source=source) from error
    except RecursionError as error:
        raise PipelineError("bad YAML: a part contains itself", line=1, source=source) from error


def write_yaml(data: Any) -> str:
    """The YAML text of plain data, in the order given; long texts as blocks.

    Raises:
        PipelineError: a part is no plain data, and would not come back as it is.
    """
    _check_plain(data, ())
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, equal lists and mappings written out each time."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    if _UNUSUAL_BREAKS.intersection(text):  # PyYAML would read them back as spaces
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _note_lines(
    node: yaml.Node, place: Location, by_place: dict[Location, int], source: str | None
) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise PipelineError("bad YAML: a key must be text", line=line, source=source)
            inner = (*place, key.value)
            if inner in by_place:
                raise PipelineError(f"key {key.value!r} is given twice", line=line, source=source)
            by_place[inner] = line
            _note_lines(value, inner, by_place, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            by_place[(*place, index)] = item.start_mark.line + 1
            _note_lines(item, (*place, index), by_place, source)


def _check_plain(data: Any, place: Location) -> None:
    if type(data) is dict:
        for key, value in data.items():
            if type(key) is not str:
                raise _not_plain(key, (*place, "a key"))
            _check_plain(value, (*place, key))
    elif type(data) is list:
        for index, value in enumerate(data):
            _check_plain(value, (*place, index))
    elif data is not None and type(data) not in (str, int, float, bool):
        raise _not_plain(data, place)


def _not_plain(value: Any, place: Location) -> PipelineError:
    where = ".".join(map(str, place))
    return PipelineError(
        f"{where} holds {value!r}, a {type(value).__name__}, which YAML can't carry exactly; "
        "use text, numbers, booleans, lists and mappings by text"
    )


def _problem(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    return f"bad YAML: {context}: {problem}" if context else f"bad YAML: {problem}"


def _line(error: yaml.YAMLError, text: str) -> int:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return int(mark.line) + 1
    return text.count("\n", 0, int(getattr(error, "position", 0))) + 1
