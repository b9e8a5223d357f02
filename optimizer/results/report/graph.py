"""The layout of the pipeline's graph: modules from left to right, with their wiring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from optimizer.search.records.trial import module_text
from search_spaces import ModuleConfig

if TYPE_CHECKING:
    from optimizer.results.result import Result
    from pipelines import Tunable

_WIDE, _HIGH, _GAP, _APART, _TOP = 190, 86, 52, 18, 32
_ENDS, _LANE = 92, 7


class _Box(NamedTuple):
    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        return self.y + _HIGH / 2


def pipeline_layout(result: Result) -> dict[str, Any]:
    """The variables of `pipeline.svg`: inputs, modules by level and outputs, and their wires."""
    pipeline = result.pipeline
    height = max(map(_height, map(len, pipeline.levels)))
    boxes: dict[str, _Box] = {}
    for column, level in enumerate(pipeline.levels):
        x, top = _ENDS + _GAP + column * (_WIDE + _GAP), (height - _height(len(level))) / 2
        for row, name in enumerate(level):
            boxes[name] = _Box(x, top + row * (_HIGH + _APART), _WIDE)
    middle = (height - _HIGH) / 2
    start = _Box(0, middle, _ENDS)
    end = _Box(max(box.x for box in boxes.values()) + _WIDE + _GAP, middle, _ENDS)
    wires = list(_wires(pipeline, boxes, start, end))
    passing = dict.fromkeys(source for source, target in wires if _passes(source, target))
    lanes = {source: -8.0 - _LANE * place for place, source in enumerate(passing)}
    decides = "" if pipeline.is_fixed else " (the program's own code decides what runs)"
    return {
        "title": f"Modules and their wiring{decides}",
        "top": _TOP + (8 + _LANE * len(lanes) if lanes else 0),
        "height": height,
        "end": end,
        "wires": [_arrow(source, target, lanes.get(source, 0.0)) for source, target in wires],
        "ends": [(start, "inputs", pipeline.inputs), (end, "outputs", pipeline.outputs)],
        "modules": [(box, name, *_texts(result, name)) for name, box in boxes.items()],
    }


def _height(rows: int) -> int:
    return rows * (_HIGH + _APART) - _APART


def _wires(
    pipeline: Tunable, boxes: Mapping[str, _Box], start: _Box, end: _Box
) -> Iterator[tuple[_Box, _Box]]:
    """Which box reads which. Where the program's own code decides, only neighbours are joined."""
    needs = pipeline.dependencies
    for name, box in boxes.items():
        sources = needs[name]
        if not pipeline.is_fixed:
            sources = tuple(s for s in sources if not any(s in needs[other] for other in sources))
        yield from ((boxes[source], box) for source in sources)
        module = pipeline.module(name)
        if not sources or (pipeline.is_fixed and set(module.reads) & set(pipeline.inputs)):
            yield start, box
        read = any(name in others for others in needs.values())
        if not read or (pipeline.is_fixed and set(module.writes) & set(pipeline.outputs)):
            yield box, end


def _passes(source: _Box, target: _Box) -> bool:
    """Whether there are modules between them."""
    return target.x - source.x - source.width > _GAP + 1


def _arrow(source: _Box, target: _Box, lane: float) -> tuple[str, str]:
    """The paths of a line and its head: straight to a neighbour, past others in a lane above."""
    x, y, to_x, to_y = source.x + source.width, source.middle, target.x, target.middle
    half = _GAP / 2
    around = ""
    if _passes(source, target):
        around = (
            f" {x + half / 2:g} {lane:g} {x + _GAP:g} {lane:g}H{to_x - _GAP:g}"
            f"C{to_x - half / 2:g} {lane:g}"
        )
    line = f"M{x:g} {y:g}C{x + half:g} {y:g}{around} {to_x - half:g} {to_y:g} {to_x - 5:g} {to_y:g}"
    return line, f"M{to_x - 7:g} {to_y - 4:g}L{to_x:g} {to_y:g}L{to_x - 7:g} {to_y + 4:g}Z"


def _texts(result: Result, name: str) -> tuple[str, str, str, bool]:
    """Of a module: its wiring, what runs now, what ran before, and whether anything changed."""
    module, unset = result.pipeline.module(name), ModuleConfig()
    after = result.config.modules.get(name, unset)
    before = result.began.modules.get(name, unset)
    now, was = ((module_text(c) if after.models else "function") for c in (after, before))
    changed = before != after
    last = (f"was {was}" if was != now else "other settings") if changed else "as given"
    wiring = f"{', '.join(module.reads)} → {', '.join(module.writes)}"
    return wiring, now, last, changed
