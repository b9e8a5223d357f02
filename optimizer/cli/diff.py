"""`diff A.yaml B.yaml`: what differs of modules and config, and prompts line by line."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator
from typing import Any

from optimizer.cli.targets import print_json
from optimizer.results.provenance import plain_yaml
from optimizer.search.records.config_changes import Change, config_changes
from pipelines import Pipeline, Tunable
from pipelines.modules.signature import own_instructions, signature_text


def diff(options: argparse.Namespace) -> int:
    """Print what differs; nothing is called."""
    before, after = (
        Pipeline.load(path, allow_code=options.allow_code)
        for path in (options.before, options.after)
    )
    if (names := _names(before)) != _names(after):
        raise ValueError(
            f"both must have the same modules, but {options.before} has {', '.join(names)} and "
            f"{options.after} has {', '.join(_names(after))}"
        )
    changes = [*_spec_changes(before, after), *config_changes(_config(before), _config(after))]
    diffs = list(_prompt_diffs(before, after, options.before, options.after))
    if options.json:
        rows = [change._asdict() for change in changes]
        print_json({"changed": rows, "prompts": dict(diffs)}, options.stdout)
        return 0
    if not changes and not diffs:
        print("nothing differs")
    for change in changes:
        print(f"{change.knob}: {change.old} -> {change.new}")
    for name, lines in diffs:
        print(f"\n{name}\n" + "\n".join(lines))
    return 0


def _names(pipeline: Tunable) -> list[str]:
    return [module.name for module in pipeline.modules]


def _config(pipeline: Tunable) -> Any:
    """What it carries; a module that names no model has one called `(none)`."""
    return pipeline.config or pipeline.default_config("(none)")


def _spec_changes(before: Tunable, after: Tunable) -> Iterator[Change]:
    """What differs of the modules themselves and of the outputs, whatever is tuned."""
    old, new = _spec(before), _spec(after)
    yield from (Change(name, old[name], new[name]) for name in old if old[name] != new[name])


def _spec(pipeline: Tunable) -> dict[str, str]:
    spec: dict[str, str] = {}
    for module in pipeline.modules:
        renamed = ", ".join(f"{own}: {field}" for own, field in module.rename.items())
        function = module.function and getattr(module.function, "__qualname__", module.function)
        spec |= {
            f"{module.name}.signature": repr(signature_text(module.signature)),
            f"{module.name}.strategy": module.strategy,
            f"{module.name}.rename": renamed or "none",
            f"{module.name}.function": str(function or "none"),
        }
    return {**spec, "outputs": ", ".join(pipeline.outputs)}


def _prompt_diffs(
    before: Tunable, after: Tunable, old: str, new: str
) -> Iterator[tuple[str, list[str]]]:
    """By module and part of its prompt, the lines of a unified diff."""
    for module in before.llm_modules:
        texts = (_prompt(before, module.name), _prompt(after, module.name))
        for part in dict.fromkeys([*texts[0], *texts[1]]):
            given, tuned = (text.get(part, "").splitlines() for text in texts)
            if lines := list(difflib.unified_diff(given, tuned, old, new, lineterm="")):
                yield f"{module.name}.{part}", lines


def _prompt(pipeline: Tunable, name: str) -> dict[str, str]:
    """Instructions and demos of one module, as text: its own and its members'."""
    module, config = pipeline.module(name), _config(pipeline).modules[name]
    given = (config.instructions, module.instructions, own_instructions(module.signature))
    instructions = next((text for text in given if text is not None), "")
    parts = {"instructions": instructions, "demos": plain_yaml(list(config.demos))}
    for place, member in enumerate(config.members):
        if member.instructions is not None:
            parts[f"members.{place}.instructions"] = member.instructions
        if member.demos:
            parts[f"members.{place}.demos"] = plain_yaml(list(member.demos))
    return parts
