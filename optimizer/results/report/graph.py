"""The pipeline as a graph: modules from left to right, with their wiring and configs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from optimizer.results.report.svg import LINE, SOFT, hint, picture, tag, text
from optimizer.search.records.trial import module_text, shortened
from search_spaces import ModuleConfig

if TYPE_CHECKING:
    from optimizer.results.result import Result
    from pipelines import Module, Tunable

_WIDE, _HIGH, _GAP, _APART, _TOP = 190, 86, 52, 18, 32
_ENDS, _LANE = 92, 7
_LETTERS = 27
"""Characters in a line of a module's box."""
_CHANGED = "#10b981"


class _Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float = _HIGH

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def pipeline_graph(result: Result) -> str:
    """Inputs, modules by level, outputs; what changed is outlined and says what it was."""
    pipeline = result.pipeline
    tallest = max(len(level) for level in pipeline.levels)
    height = tallest * (_HIGH + _APART) - _APART
    boxes: dict[str, _Box] = {}
    for column, level in enumerate(pipeline.levels):
        x = _ENDS + _GAP + column * (_WIDE + _GAP)
        free = height - (len(level) * (_HIGH + _APART) - _APART)
        for row, name in enumerate(level):
            boxes[name] = _Box(x, free / 2 + row * (_HIGH + _APART), _WIDE)
    middle = height / 2 - _HIGH / 2
    start = _Box(0, middle, _ENDS)
    end = _Box(max(box.x for box in boxes.values()) + _WIDE + _GAP, middle, _ENDS)
    wires = list(_wires(pipeline, boxes, start, end))
    passing = list(dict.fromkeys(source for source, target in wires if _passes(source, target)))
    lanes = {source: -8.0 - _LANE * place for place, source in enumerate(passing)}
    drawn = [_arrow(source, target, lanes.get(source, 0.0)) for source, target in wires]
    drawn += [_end(start, "inputs", pipeline.inputs), _end(end, "outputs", pipeline.outputs)]
    for name, box in boxes.items():
        before, after = (
            config.modules.get(name, ModuleConfig())
            for config in (result.baseline_config, result.config)
        )
        drawn.append(_module(pipeline.module(name), box, before, after))
    decides = "" if pipeline.is_fixed else " (the program's own code decides what runs)"
    top = _TOP + (8 + _LANE * len(lanes) if lanes else 0)
    moved = tag("g", *drawn, transform=f"translate(1 {top:g})")
    title = f"Modules and their wiring{decides}"
    return picture(title, end.x + _ENDS + 2, top + height + 2, moved)


def _wires(
    pipeline: Tunable, boxes: Mapping[str, _Box], start: _Box, end: _Box
) -> Iterator[tuple[_Box, _Box]]:
    """What reads what. Where the program's own code decides, only neighbours are joined."""
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


def _arrow(source: _Box, target: _Box, lane: float) -> str:
    """Straight to a neighbour; past other modules in a lane above them."""
    x, y, to_x, to_y = source.x + source.width, source.middle, target.x, target.middle
    half = _GAP / 2
    if _passes(source, target):
        path = (
            f"M{x:g} {y:g}C{x + half:g} {y:g} {x + half / 2:g} {lane:g} {x + _GAP:g} {lane:g}"
            f"H{to_x - _GAP:g}"
            f"C{to_x - half / 2:g} {lane:g} {to_x - half:g} {to_y:g} {to_x - 5:g} {to_y:g}"
        )
    else:
        path = f"M{x:g} {y:g}C{x + half:g} {y:g} {to_x - half:g} {to_y:g} {to_x - 5:g} {to_y:g}"
    head = f"M{to_x - 7:g} {to_y - 4:g}L{to_x:g} {to_y:g}L{to_x - 7:g} {to_y + 4:g}Z"
    wire = tag("path", d=path, fill="none", stroke=SOFT, stroke_width=1.4)
    return wire + tag("path", d=head, fill=SOFT)


def _end(box: _Box, name: str, fields: Sequence[str]) -> str:
    shown = [shortened(field, 13) for field in fields[:4]]
    shown += [f"+{len(fields) - 4}"] if len(fields) > 4 else []
    lines = [text(box.x + _ENDS / 2, box.y + 16, name, text_anchor="middle", fill=SOFT)]
    lines += [
        text(box.x + _ENDS / 2, box.y + 34 + 15 * row, field, text_anchor="middle")
        for row, field in enumerate(shown)
    ]
    shape = tag(
        "rect", hint(", ".join(fields)), x=box.x, y=box.y, width=box.width, height=box.height,
        rx=18, fill="none", stroke=LINE,
    )  # fmt: skip
    return shape + "".join(lines)


def _module(module: Module, box: _Box, before: ModuleConfig, after: ModuleConfig) -> str:
    asks = bool(after.models)
    changed = before != after
    wiring = f"{', '.join(module.reads)} → {', '.join(module.writes)}"
    now = module_text(after) if asks else "function"
    was = module_text(before) if asks else "function"
    last = ("was " + was if was != now else "other settings") if changed else "as given"
    shape = tag(
        "rect", hint(f"{module.name}: {wiring}; {now}; {last}"), x=box.x, y=box.y, width=box.width,
        height=box.height, rx=8, fill="var(--card, #f9fafb)", stroke=_CHANGED if changed else LINE,
        stroke_width=2 if changed else 1,
    )  # fmt: skip
    rows: tuple[tuple[str, dict[str, Any]], ...] = (
        (module.name, {"font_weight": 600, "font_size": 13.5}),
        (wiring, {"fill": SOFT, "font_size": 11}),
        (now, {}),
        (last, {"fill": SOFT, "font_size": 11}),
    )
    lines = (
        text(box.x + 11, box.y + 20 + 19 * row, shortened(line, _LETTERS), **attributes)
        for row, (line, attributes) in enumerate(rows)
    )
    return shape + "".join(lines)
