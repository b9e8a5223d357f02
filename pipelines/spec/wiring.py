"""The wiring of modules by field names: writers, readers and the order of execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from pipelines.modules.signature import REASONING
from search_spaces.refusals import nearest


def writers(modules: Sequence[Module]) -> dict[str, str]:
    """Which module writes each field; raises PipelineError if two have one name or write one
    field."""
    names: set[str] = set()
    by_field: dict[str, str] = {}
    for index, module in enumerate(modules):
        if module.name in names:
            rule = f"modules must have distinct names, but two are called {module.name!r}"
            raise PipelineError(rule, ("modules", index, "name"))
        names.add(module.name)
        for field in module.writes:
            if field in by_field:
                names_of = (n for n in module.output_fields if module.pipeline_field(n) == field)
                raise PipelineError(
                    f"each field must have one writer, but modules {by_field[field]!r} and "
                    f"{module.name!r} both write {field!r}; give one of them "
                    f"rename={{{next(names_of)!r}: ...}}",
                    ("modules", index),
                )
            by_field[field] = module.name
    return by_field


def dependencies(modules: Sequence[Module]) -> dict[str, tuple[str, ...]]:
    """The modules whose outputs each module reads, in the pipeline's order. Raises PipelineError as
    `writers`, and if a module reads a chain of thought that is not wired."""
    by_field = writers(modules)
    order = {module.name: index for index, module in enumerate(modules)}
    thinker = next((module.name for module in modules if module.keeps_reasoning), None)
    needed = {}
    for module in modules:
        if thinker and REASONING in module.reads and REASONING not in by_field:
            raise PipelineError(
                f"module {module.name!r} reads {REASONING!r}, but module {thinker!r} keeps its "
                f"chain of thought to itself; wire it with rename={{{REASONING!r}: ...}}",
                ("modules", order[module.name]),
            )
        read = {by_field[field] for field in module.reads if field in by_field}
        needed[module.name] = tuple(sorted(read, key=order.__getitem__))
    return needed


def levels(needed: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Module names in groups that read only what earlier ones wrote; PipelineError for a cycle."""
    sorter = TopologicalSorter(needed)
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise PipelineError(
            f"modules must not form a cycle, but {circle} do", ("modules",)
        ) from None
    order = list(needed)
    groups = []
    while ready := sorter.get_ready():
        groups.append(tuple(sorted(ready, key=order.index)))
        sorter.done(*ready)
    return tuple(groups)


def check_outputs(outputs: Sequence[str], by_field: Mapping[str, str]) -> tuple[str, ...]:
    """The requested outputs; raises PipelineError unless each is written, and named once."""
    if isinstance(outputs, str) or not outputs:
        raise PipelineError(f"outputs must be a list of fields, but got {outputs!r}", ("outputs",))
    for index, field in enumerate(outputs):
        if field not in by_field:
            hint = nearest(field, by_field)
            raise PipelineError(f"no module writes the output {field!r}{hint}", ("outputs", index))
        if field in outputs[:index]:
            raise PipelineError(f"outputs name {field!r} twice", ("outputs", index))
    return tuple(outputs)
