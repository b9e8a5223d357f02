"""Prompts: DSPy's optimizers write them for the modules that the diagnoser blames.

Whatever they bring meets the best so far in a paired race. A prompt found for one model is not
assumed to serve another: the stages take turns, so that a module whose prompt has changed gets its
models raced again, and one that has got another model its prompt tuned again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from evaluators.stopping import HURRIED
from optimizer.prompts.blame import Blame, blamed_modules
from optimizer.prompts.optimizers import OPTIMIZERS, PromptOptimizer, Room
from optimizer.prompts.quiet import quiet
from optimizer.prompts.workbench import Workbench
from optimizer.study import Study
from pipelines.llms.engine import GatewayLM
from search_spaces import PipelineConfig
from search_spaces.refusals import nearest

EXAMPLES = 24
"""On so many examples prompts are tried, the last of the search's: races begin with the first."""
RUNS = 144
"""So many new runs one optimizer may make on one module, if there is room."""
FINALISTS = 4
"""So many prompts of one run meet the best so far."""


@dataclass(frozen=True)
class Prompts:
    """The stage that tunes instructions and demos.

    `Prompts("gepa")` names the optimizer: "gepa", "mipro", "copro" or "bootstrap"; "auto" takes the
    first of these that the budget has room for.

    Raises:
        ValueError: there is no such optimizer; names the nearest.
    """

    optimizer: str = "auto"
    name: str = "prompts"

    def __post_init__(self) -> None:
        known = ["auto", *OPTIMIZERS]
        if self.optimizer not in known:
            hint = nearest(self.optimizer, known)
            raise ValueError(
                f"there is no prompt optimizer {self.optimizer!r}{hint} "
                f"(optimizers: {', '.join(known)})"
            )

    def improve(self, study: Study) -> None:
        """Tune the blamed modules, most blamed first; each setting of a module once."""
        study.run_on([study.incumbent], len(study.examples))
        for blame in blamed_modules(study, _examples(study)):
            before = study.incumbent.modules[blame.module]
            if (blame.module, before) in study.prompted:
                continue
            found = self._found(study, blame)
            study.prompted.append((blame.module, before))
            if found:
                keep = study.incumbent
                study.race(self.name, [keep, *found], patience=HURRIED, keep=keep)

    def _found(self, study: Study, blame: Blame) -> list[PipelineConfig]:
        """What an optimizer proposes for one module, best first; nothing, where it failed."""
        workbench = Workbench(study, blame.module, _examples(study), blame.reasons)
        chosen = self._chosen(study)
        if chosen is None:
            return []
        optimizer, runs = chosen
        room = Room(_writer(study), runs, study.evaluator.concurrency, study.seed)
        try:
            compiled = _compiled(optimizer, workbench, room)
        except Exception as error:  # DSPy's optimizers raise what they like
            told = f"{optimizer.name} failed on {blame.module}: {type(error).__name__}: {error}"
            study.note_failed(self.name, told)
            return []
        found = [workbench.config_of(compiled.module), *workbench.ranked()]
        distinct = {config.key: config for config in found if config != workbench.base}
        return list(distinct.values())[:FINALISTS]

    def _chosen(self, study: Study) -> tuple[PromptOptimizer, int] | None:
        """The optimizer, and how many runs there is room for; None if there is none."""
        runs = _affordable_runs(study)
        if self.optimizer != "auto":
            return OPTIMIZERS[self.optimizer], min(RUNS, runs)
        for optimizer in OPTIMIZERS.values():
            if runs >= optimizer.fewest_runs:
                return optimizer, min(RUNS, runs)
        return None


def _compiled(optimizer: PromptOptimizer, workbench: Workbench, room: Room) -> Any:
    with quiet(), dspy.context(lm=room.writer, adapter=dspy.ChatAdapter(), disable_history=True):
        return optimizer.compile(workbench, room)


def _writer(study: Study) -> GatewayLM:
    """Who writes prompts: the diagnoser's model, else the one that does best alone."""
    if study.diagnoser is not None:
        model = study.diagnoser.model
    else:
        best = study.single_model or study.incumbent
        model = study.evaluator.models[next(iter(best.allocation.values()))[0]]
    return GatewayLM(model, study.evaluator.session, temperature=1.0, purpose="prompts")


def _examples(study: Study) -> Sequence[int]:
    return study.examples[-min(EXAMPLES, max(1, len(study.examples) // 2)) :]


def _affordable_runs(study: Study) -> int:
    """New runs that half of what is left pays for; the races need the other half."""
    left, known = study.evaluator.session.nominal_left(), study.evaluator.known(study.incumbent)
    by_calls = left.calls / max(1.0, known.calls_per_example)
    by_usd = left.usd / known.usd_per_example if known.usd_per_example > 0 else by_calls
    return int(min(by_calls, by_usd, 4.0 * RUNS) / 2)
