"""Prompts: DSPy's optimizers write them for the modules that the diagnoser blames.

What they find races against the best so far. A prompt found for one model may not suit another, so
the stages take turns: a module's models are searched again after its prompt has changed, and its
prompt is tuned again after its model has changed
(docs/decisions/009-prompts-and-models-take-turns.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy
import numpy as np

from optimizer.search.state import SearchState
from optimizer.stages.prompts.blame import Blame, blamed_modules
from optimizer.stages.prompts.optimizers import OPTIMIZERS, PromptOptimizer, Room
from optimizer.stages.prompts.workbench import Workbench
from pipelines.adapters.dspy_programs.quiet import quiet
from pipelines.programs.adapter import reply_adapter
from pipelines.programs.engine import GatewayLM
from search_spaces import PipelineConfig
from search_spaces.refusals import nearest

EXAMPLES = 24
"""At most this many examples, on which prompts are tried: the last ones, since races begin with the
first."""
RUNS = 144
"""Most new runs of one optimizer on one module."""
FINALISTS = 4
"""How many prompts of one optimizer's run race against the best so far."""
AUTO = ("bootstrap", "gepa", "mipro")
"""The order of "auto": demos, instructions, both."""
ATTEMPTS = 3
"""Most attempts to improve one config, with different draws, while none succeeds."""
WORTH_ANOTHER = 0.05
"""Further attempts go to modules whose faults cost this much of the score, or more."""


@dataclass(frozen=True)
class Prompts:
    """The stage that tunes instructions and demos.

    `Prompts("gepa")` names the optimizer: "gepa", "mipro", "copro" or "bootstrap"; "auto" runs
    bootstrap, GEPA and MIPROv2 in turn, until one finds something better.

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

    def improve(self, state: SearchState) -> None:
        """Tune the modules blamed most, until nothing helps.

        If nothing has helped, try all modules whose faults cost much, with their next best models
        and with different draws.
        """
        self._compare_listed(state)
        began = state.incumbent
        blamed = _blamed(state)
        while self._tune_blamed(state, blamed):
            blamed = _blamed(state)
        for attempt in range(1, ATTEMPTS):
            for rival in (True, False):
                if state.incumbent == began:
                    self._tune_blamed(state, blamed, attempt, rival=rival)

    def _tune_blamed(
        self, state: SearchState, blamed: Sequence[Blame], attempt: int = 0, *, rival: bool = False
    ) -> bool:
        """Tune these modules; true if the incumbent changed."""
        before = state.incumbent
        left = 1 - state.evaluator.known(before).mean
        for blame in blamed:
            if blame.share >= (WORTH_ANOTHER / left if attempt else blamed[0].share / 2):
                base = _next_rival(state, blame.module) if rival else state.incumbent
                if base is not None:
                    self._tune(state, blame, base, attempt)
        return state.incumbent != before

    def _compare_listed(self, state: SearchState) -> None:
        """Race the instructions that the search space lists, where they have not been run yet."""
        for module, texts in state.space.instructions.items():
            raced = {config.key for config in state.raced()}
            listed = [state.incumbent.with_knobs(module, instructions=text) for text in texts]
            if new := [config for config in listed if config.key not in raced]:
                state.race(self.name, new)

    def _tune(self, state: SearchState, blame: Blame, base: PipelineConfig, attempt: int) -> None:
        """Run one optimizer after the other on a module, until a prompt earns its place."""
        before = state.incumbent
        known = [(base, index) for index in _examples(state)]
        state.forecast.check(known)
        state.evaluator.run(known)  # a rival may have been raced on others only
        for name in AUTO if self.optimizer == "auto" else (self.optimizer,):
            asked, runs = (base.key, blame.module, name, attempt), _affordable_runs(state, base)
            if asked in state.prompted:
                continue
            fewest = OPTIMIZERS[name].fewest_runs
            if runs < fewest:
                needed = f"{name} takes at least {fewest} runs"
                state.cut_short = f"{needed}, and the budget has room for {runs}"
                continue
            state.prompted.append(asked)
            threads, seed = state.evaluator.concurrency, state.seed + attempt
            room = Room(_writer(state, attempt), min(RUNS, runs), threads, seed)
            if found := self._found(state, blame, base, OPTIMIZERS[name], room):
                state.race(self.name, found, after=base)
            if state.incumbent != before:
                return

    def _found(
        self,
        state: SearchState,
        blame: Blame,
        base: PipelineConfig,
        optimizer: PromptOptimizer,
        room: Room,
    ) -> list[PipelineConfig]:
        """The configs that an optimizer proposes for one module, best first; none if it failed."""
        workbench = Workbench(state, blame.module, base, _examples(state), blame.reasons)
        if not workbench.examples:  # all of them are in its demos
            return []
        try:
            compiled = _compiled(optimizer, workbench, room)
            found = [workbench.config_of(compiled.module), *workbench.ranked()]
        except Exception as error:  # DSPy's optimizers may raise anything
            found, problem = [], f"{type(error).__name__}: {error}"
            if workbench.broken is None:
                state.note_failed(
                    self.name, f"{optimizer.name} failed on {blame.module}: {problem}"
                )
        finally:
            state.note_probes(workbench.probes(self.name, optimizer.name))
        if workbench.broken is not None:
            raise workbench.broken
        distinct = {config.key: config for config in found if config != workbench.base}
        return list(distinct.values())[:FINALISTS]


def _next_rival(state: SearchState, module: str) -> PipelineConfig | None:
    """The best trial that differs from the incumbent only in this module's models.

    Another model may do better with a prompt of its own than with the one found for the incumbent.
    Configs that were tuned before are left out, and those that could not lead with any prompt.
    """
    had = {key for key, name, *_ in state.prompted if name == module}
    known, leads = state.evaluator.known, state.incumbent
    able = [
        config
        for config in state.raced()
        if config.key not in had
        and [(d.module, d.knob) for d in leads.differences(config)] == [(module, "models")]
        and state.may_lead(config)
        and known(config).works
        and state.objective.meets(known(config).costs)
    ]
    gains = {config.key: known(config).gains_over(known(leads)) or [-1.0] for config in able}
    return max(able, key=lambda config: np.mean(gains[config.key]), default=None)


def _blamed(state: SearchState) -> list[Blame]:
    """The modules at fault where the incumbent falls short, once it ran on all search examples."""
    state.finish(state.incumbent)
    return blamed_modules(state, _examples(state))


def _compiled(optimizer: PromptOptimizer, workbench: Workbench, room: Room) -> Any:
    # without a trace of its own DSPy appends to one of the whole process
    settings = {"adapter": reply_adapter("chat"), "disable_history": True, "trace": None}
    with quiet("dspy", "gepa"), dspy.context(lm=room.writer, **settings):
        return optimizer.compile(workbench, room)


def _writer(state: SearchState, attempt: int) -> GatewayLM:
    """The model that writes prompts: the diagnoser's, else the best single one."""
    model = state.diagnoser.model if state.diagnoser else state.ablest_model
    session = state.evaluator.session
    return GatewayLM(model, session, temperature=1.0, purpose="prompts", sample=attempt)


def _examples(state: SearchState) -> Sequence[int]:
    return state.examples[-min(EXAMPLES, max(1, len(state.examples) // 2)) :]


def _affordable_runs(state: SearchState, config: PipelineConfig) -> int:
    """New runs that half of the remaining budget pays for; the races need the other half."""
    left, known = state.forecast.left(), state.evaluator.known(config)
    outcomes = known.outcomes.values()
    judge_usd = float(np.mean([outcome.judge_usd for outcome in outcomes])) if outcomes else 0.0
    usd = known.usd_per_example + judge_usd
    by_calls = left.calls / max(1.0, known.calls_per_example + state.evaluator.metric.calls)
    by_usd = left.usd / usd if usd > 0 else by_calls
    return int(min(by_calls, by_usd, 4.0 * RUNS) / 2)
