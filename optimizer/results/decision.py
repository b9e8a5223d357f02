"""The decision in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from optimizer.formatting import counted, percent, points, setting
from optimizer.search.records.trial import config_text, shortened
from pipelines.aggregators.notation import network_text
from search_spaces import MemberConfig, ModuleConfig

if TYPE_CHECKING:
    from optimizer.results.result import Result

PICKING = "result.pick(...)"
"""How to choose another point, in Python."""
_MOST_PARTS, _LONGEST = 3, 60


def decision(result: Result, picking: str = PICKING) -> str:
    """What changed, what that gains and what it costs; or that the given pipeline was kept.

    `picking` is what to type to choose a cheaper point.
    """
    kept = "Kept the pipeline as given"
    if result.withdrawn is not None:
        chosen = result.withdrawn
        return (
            f"{kept}: what the search chose ({config_text(chosen.config)}) "
            f"scored {percent(chosen.figures.score.mean)} on the held-out examples, "
            f"{percent(result.baseline.mean)} the given one ({points(chosen.gain)})."
        )
    if result.config == result.baseline_config:
        if result.unproven:
            return f"{kept}: what looked better was not shown to be."
        return f"{kept}: no config was found to be better."
    sentence = f"{_changed(result)}: {_gained(result)}{_costs(result)}"
    tuned = result.tuned_figures.usd_per_example
    others = (p for p in result.points if p.config not in (result.config, result.baseline_config))
    if cheaper := sum(point.usd_per_example < tuned for point in others):
        sentence += f"; {counted(cheaper, 'cheaper point')}: {picking}"
    return f"{sentence}."


def _changed(result: Result) -> str:
    """`sim/alder for locate and sim/birch with a new prompt for solve`; the name of the pipeline
    comes first, if it is another one than was given first."""
    modules = result.config.modules
    by_phrase: dict[str, list[str]] = {}
    for name, after in modules.items():
        before = result.began.modules[name]
        if after != before:
            by_phrase.setdefault(_phrase(before, after), []).append(name)
    asking = {name for name, module in modules.items() if module.models}
    parts = [
        f"{phrase} for {_listed(names) if len(asking) < 2 or asking - {*names} else 'all modules'}"
        for phrase, names in by_phrase.items()
    ]
    more = parts[_MOST_PARTS:]
    changed = _listed(parts[:_MOST_PARTS] + ([f"{len(more)} more changes"] if more else []))
    if result.start_config is None:
        return changed
    swapped = f"{result.pipeline.name} in place of {result.patterns_[0].pattern}"
    return f"{swapped}, with {changed}" if changed else swapped


def _phrase(before: ModuleConfig, after: ModuleConfig) -> str:
    """The changes of one module: `sim/birch with a new prompt and temperature 0.7`."""
    asked = network_text(before) != network_text(after)
    settings = list(_settings(before, after))
    if not asked:
        return _listed(settings or ["other settings"])
    who = network_text(after)
    if after.aggregation is not None:
        who = f"{who.partition(' -> ')[0]} by {after.aggregation.name.replace('_', ' ')}"
    return f"{shortened(who, _LONGEST)} with {_listed(settings)}" if settings else who


def _settings(before: ModuleConfig, after: ModuleConfig) -> Iterator[str]:
    if _prompts(before) != _prompts(after):
        yield "a new prompt"
    if before.temperature != after.temperature:
        heat = after.temperature
        yield "the provider's temperature" if heat is None else f"temperature {heat:g}"
    if before.reply_format != after.reply_format:
        yield f"replies in {after.reply_format}"
    for name, value in after.params.items():
        if before.params.get(name) != value:
            yield f"{name}={shortened(setting(value), _LONGEST)}"


def _prompts(module: ModuleConfig) -> set[str]:
    asked: list[MemberConfig | ModuleConfig] = [*module.resolved_members]
    asked += [role for path, role in module.walk("") if path]
    return {repr((each.instructions, each.demos)) for each in asked}


def _gained(result: Result) -> str:
    gain = points(result.gain)
    if not result.held_out:
        return f"estimated at {gain} on the examples that chose it"
    if result.tuned_figures.disqualified or result.baseline_figures.disqualified:
        return "no gain is claimed, since too many held-out examples met outages"
    if result.gain.low > 0 or result.objective.limited:
        return f"{gain} held out"
    return f"{gain} held out, {'worse' if result.gain.high < 0 else 'not shown to be better'}"


def _costs(result: Result) -> str:
    before, after = result.baseline_figures.usd_per_example, result.tuned_figures.usd_per_example
    if not before > 0:
        return ""
    ratio = after / before
    if abs(ratio - 1) < 0.005:
        return ", at the same cost per example"
    times = f"{ratio:.1f}" if ratio > 1 else f"{ratio:.2g}"
    return f", {times}x the cost per example"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
