"""The prompts that an optimizer tried, as the result lists them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from optimizer.search.records.config_changes import changed_text
from optimizer.search.records.probe import Probe
from optimizer.search.records.trial import models_text
from optimizer.stages.prompts.workbench import Workbench


def prompt_probes(workbench: Workbench, stage: str, optimizer: str) -> Iterator[Probe]:
    """One probe for every prompt but the base's own, with all that is known of it so far."""
    state, module = workbench.state, workbench.module
    base = state.last_trial(workbench.base)
    others = [config for key, config in workbench.tried.items() if key != workbench.base.key]
    for config in sorted(others, key=lambda c: c.canonical_json()):  # threads try in any order
        known = state.evaluator.known(config)
        yield Probe(
            kind="prompt",
            stage=stage,
            turn=state.turn,
            base=base.number if base else None,
            module=module,
            model=models_text(config.modules[module].models),
            examples=len(known.scores),
            score=known.mean if known.scores else None,
            usd=math.fsum(outcome.usd for outcome in known.outcomes.values()),
            detail=f"{optimizer}: {changed_text(workbench.base, config)}",
        )
