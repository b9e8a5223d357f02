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
import numpy as np

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
AUTO = ("bootstrap", "gepa", "mipro")
"""In this order "auto" asks for demos, for instructions, and for both."""
ATTEMPTS = 3
"""So often optimizers try to better one config, with other draws, while none brings anything."""
WORTH_ANOTHER = 0.05
"""They try again in modules whose faults cost so much of the score."""


@dataclass(frozen=True)
class Prompts:
    """The stage that tunes instructions and demos.

    `Prompts("gepa")` names the optimizer: "gepa", "mipro", "copro" or "bootstrap"; "auto" asks
    bootstrap, GEPA and MIPROv2 in turn, until one brings something.

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
        """Tune the modules that are blamed most, one change after the other, until none helps.

        Where none has helped, with other draws all modules whose faults cost much.
        """
        self._compare_listed(study)
        began = study.incumbent
        while self._pass(study, attempt=0):
            pass
        for attempt in range(1, ATTEMPTS):
            if study.incumbent == began:
                self._pass(study, attempt)

    def _pass(self, study: Study, attempt: int) -> bool:
        """Whether any prompt was taken, of the modules whose turn it is."""
        before = study.incumbent
        study.run_on([before], len(study.examples))
        blamed = blamed_modules(study, _examples(study))
        left = 1 - study.evaluator.known(before).mean
        for blame in blamed:
            if blame.share >= (WORTH_ANOTHER / left if attempt else blamed[0].share / 2):
                self._tune(study, blame, attempt)
        return study.incumbent != before

    def _compare_listed(self, study: Study) -> None:
        """Race the instructions that the search space lists, for each config around them once."""
        for module, texts in study.space.instructions.items():
            base = study.incumbent
            around = base.with_knobs(module, instructions=None).key
            if (module, around) not in study.instructed:
                study.instructed.add((module, around))
                listed = [base.with_knobs(module, instructions=text) for text in texts]
                study.race(self.name, [base, *listed], patience=HURRIED, keep=base)

    def _tune(self, study: Study, blame: Blame, attempt: int) -> None:
        """Ask one optimizer after the other about a module, until what one brings is taken."""
        base = study.incumbent
        for name in AUTO if self.optimizer == "auto" else (self.optimizer,):
            asked, runs = (base.key, blame.module, name, attempt), _affordable_runs(study)
            if asked in study.prompted:
                continue
            study.prompted.append(asked)
            fewest = OPTIMIZERS[name].fewest_runs
            if runs < fewest:
                if self.optimizer != "auto" and attempt == 0:
                    told = f"{name} takes {fewest} runs at least, and there is room for {runs}"
                    study.note_failed(self.name, told)
                continue
            room = Room(_writer(study, attempt), min(RUNS, runs), study.evaluator.concurrency,
                        study.seed + attempt)  # fmt: skip
            if found := self._found(study, blame, OPTIMIZERS[name], room):
                study.race(self.name, [base, *found], patience=HURRIED, keep=base)
            if study.incumbent != base:
                return

    def _found(
        self, study: Study, blame: Blame, optimizer: PromptOptimizer, room: Room
    ) -> list[PipelineConfig]:
        """What an optimizer proposes for one module, best first; nothing, where it failed."""
        workbench = Workbench(study, blame.module, _examples(study), blame.reasons)
        try:
            compiled = _compiled(optimizer, workbench, room)
            found = [workbench.config_of(compiled.module), *workbench.ranked()]
        except Exception as error:  # DSPy's optimizers raise what they like
            told = f"{optimizer.name} failed on {blame.module}: {type(error).__name__}: {error}"
            found = []
            if workbench.broken is None:
                study.note_failed(self.name, told)
        if workbench.broken is not None:
            raise workbench.broken
        distinct = {config.key: config for config in found if config != workbench.base}
        return list(distinct.values())[:FINALISTS]


def _compiled(optimizer: PromptOptimizer, workbench: Workbench, room: Room) -> Any:
    # without a trace of its own DSPy appends to one of the whole process
    settings = {"adapter": dspy.ChatAdapter(), "disable_history": True, "trace": None}
    with quiet(), dspy.context(lm=room.writer, **settings):
        return optimizer.compile(workbench, room)


def _writer(study: Study, attempt: int) -> GatewayLM:
    """Who writes prompts: the diagnoser's model, else the one that does best alone."""
    model = study.diagnoser.model if study.diagnoser else study.ablest_model
    session = study.evaluator.session
    return GatewayLM(model, session, temperature=1.0, purpose="prompts", sample=attempt)


def _examples(study: Study) -> Sequence[int]:
    return study.examples[-min(EXAMPLES, max(1, len(study.examples) // 2)) :]


def _affordable_runs(study: Study) -> int:
    """New runs that half of what is left pays for; the races need the other half."""
    left, known = study.evaluator.session.nominal_left(), study.evaluator.known(study.incumbent)
    outcomes = known.outcomes.values()
    judge_usd = float(np.mean([outcome.judge_usd for outcome in outcomes])) if outcomes else 0.0
    usd = known.usd_per_example + judge_usd
    by_calls = left.calls / max(1.0, known.calls_per_example + study.evaluator.metric.calls)
    by_usd = left.usd / usd if usd > 0 else by_calls
    return int(min(by_calls, by_usd, 4.0 * RUNS) / 2)
