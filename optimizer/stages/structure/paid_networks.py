"""Networks whose answers are paid for already: votes and cascades over members that were asked."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from optimizer.search.state import SearchState
from optimizer.stages.structure.knobs import Knobs
from pipelines.aggregators import aggregator
from search_spaces import AggregatorConfig, ModuleConfig, PipelineConfig

MOST_LABELS = 7
"""So many models of a module may be mixed: those that did best by themselves."""
MOST_NETWORKS = 600
"""So many are scored again at a time; each takes some milliseconds of the processor."""
AGREEMENTS = (0.6, 1.0)
"""Shares of a cascade's first step that must agree: most of it, or all."""


@dataclass
class Pool:
    """The answers of one module's members at one setting, as far as they are paid for."""

    setting: ModuleConfig
    """What they have in common: temperature, prompt, parameters."""
    examples: dict[tuple[str, int], int] = field(default_factory=dict)
    """By model and sample, on how many of the search examples, from the first on, it answered."""

    def draws(self, size: int) -> Counter[str]:
        """How many samples of each model there are on so many examples."""
        return Counter(label for (label, _), seen in self.examples.items() if seen >= size)


def paid_networks(
    state: SearchState, knobs: Knobs, module: str, done: set[tuple[str, int]]
) -> Iterator[tuple[int, list[PipelineConfig]]]:
    """Networks of one module that can be scored again for free, with the number of examples.

    The rest of the pipeline is as in the incumbent, so that the module received the same inputs.

    Args:
        done: config keys and numbers of examples that were looked at before; extended.
    """
    for pool in _pools(state, module):
        for size in sorted(set(pool.examples.values()), reverse=True):
            draws = pool.draws(size)
            best = ranked(state, module, list(draws), pool.setting)[:MOST_LABELS]
            found: list[PipelineConfig] = []
            for made in _networks(knobs, module, pool.setting, draws, best):
                config = PipelineConfig(modules={**state.incumbent.modules, module: made})
                if (config.key, size) not in done and knobs.makes_sense(config):
                    done.add((config.key, size))
                    found.append(config)
                if len(found) == MOST_NETWORKS:  # the others come next time
                    break
            if found:
                yield size, found


def _pools(state: SearchState, module: str) -> list[Pool]:
    """By setting, what members of the module have answered on the incumbent's inputs."""
    pools: dict[str, Pool] = {}
    rest = _without(state.incumbent, module)
    for config in state.raced():
        own = config.modules[module]
        if _without(config, module) != rest:
            continue
        setting = own.model_copy(update={"models": (), "width": 1, "aggregator": None})
        pool = pools.setdefault(setting.model_dump_json(), Pool(setting))
        seen = state.seen(config)
        lazy = own.aggregation is not None and own.aggregation.name == "cascade"
        asked: Counter[str] = Counter()
        for label in own.members[:1] if lazy else own.members:
            sample = label, asked[label]
            pool.examples[sample] = max(pool.examples.get(sample, 0), seen)
            asked[label] += 1
    return list(pools.values())


def _without(config: PipelineConfig, module: str) -> Mapping[str, ModuleConfig]:
    return {name: own for name, own in config.modules.items() if name != module}


def ranked(
    state: SearchState, module: str, labels: Sequence[str], setting: ModuleConfig
) -> list[str]:
    """By the score with that model alone in the module, best first; the cheaper of equals.

    Where it was never alone in the module: by the score with it in all modules.
    """

    def merit(label: str) -> tuple[float, float]:
        own = setting.with_members([label], None)
        alone = PipelineConfig(modules={**state.incumbent.modules, module: own})
        for config in (alone, state.singles.get(label, alone)):
            known = state.evaluator.known(config)
            if known.scores:
                return (-known.mean, known.usd_per_example)
        return (0.0, 0.0)

    return sorted(labels, key=merit)


def _networks(
    knobs: Knobs,
    module: str,
    setting: ModuleConfig,
    draws: Mapping[str, int],
    labels: Sequence[str],
) -> Iterator[ModuleConfig]:
    """Every width up to what was sampled, mixes of models, and what needs no model of its own."""
    free = [c for c in knobs.aggregations(module).values() if not c.modules]
    votes = [each for config in free for each in _told(config) if config.name != "cascade"]
    widths = sorted({width for width in knobs.space.of("width", module) if width > 1})
    if not widths:
        return
    alike = [(label,) * width for label in labels for width in range(2, draws[label] + 1)]
    mixed = itertools.chain.from_iterable(itertools.combinations(labels, w) for w in widths)
    for members in itertools.chain(alike, mixed):
        yield from (setting.with_members(members, each) for each in votes)
    for config in free:
        if config.name == "cascade":
            yield from _cascades(config, setting, labels)


def _told(config: AggregatorConfig) -> Iterator[AggregatorConfig]:
    """With all values of its parameters that are worth trying and not given."""
    made = aggregator(config)
    choices = {k: values for k, values in made.choices.items() if k not in config.params}
    for values in itertools.product(*choices.values()):
        params = {**config.params, **dict(zip(choices, values, strict=True))}
        yield AggregatorConfig(name=config.name, params=params)


def _cascades(
    config: AggregatorConfig, setting: ModuleConfig, labels: Sequence[str]
) -> Iterator[ModuleConfig]:
    """Two or three models that agree are believed; else another one is asked."""
    for last in labels:
        others = [label for label in labels if label != last]
        for width in (2, 3):
            for first in itertools.combinations(others, width):
                for share in AGREEMENTS if width > 2 else (1.0,):
                    steps = {"steps": [width, 1], "agreement": share}
                    told = AggregatorConfig(name="cascade", params={**steps, **config.params})
                    yield setting.with_members((*first, last), told)
