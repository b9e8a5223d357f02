"""Listeners of a search, which hear of its trials and module scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optimizer.errors import OptimizationError
from optimizer.progress import Progress
from optimizer.results.prompt_changes import prompt_before, prompt_text, prompts_of
from optimizer.search.records.module_score import ModuleScore
from optimizer.search.records.trial import Trial
from optimizer.search.state import SearchState
from optimizer.setup.plan import Plan
from optimizer.tracking import Tracker


def trial_listener(
    tracker: Tracker,
    progress: Progress,
    plan: Plan,
    state: SearchState,
    callback: Callable[[Trial], None] | None,
) -> Callable[[Trial], None]:
    """Tracks each trial and the prompts that it got accepted, shows progress, calls back."""
    accepted = prompts_of(plan.pipeline, plan.baseline)

    def track_prompts(stage: str) -> None:
        for module, prompt in prompts_of(plan.pipeline, state.incumbent).items():
            if prompt != prompt_before(module, accepted):
                accepted[module] = prompt
                config = state.incumbent.part(module.partition(".members.")[0])
                model = {"model_name": config.models[0], "temperature": config.temperature}
                tracker.prompt(plan.pipeline.name, module, prompt_text(prompt), stage, model)

    def on_trial(trial: Trial) -> None:
        tracker.record(trial)
        track_prompts(trial.stage)
        known, baseline = map(state.evaluator.known, (state.incumbent, state.baseline))
        session = state.evaluator.session
        tracker.best(session.nominal.calls, known.mean)
        progress.stage(trial.stage, trial.turn)
        progress.update(known.interval, baseline.interval, session.spent, session.seconds)
        try:
            if callback is not None:
                callback(trial)
        except Exception as error:
            raise OptimizationError(
                f"on_trial raised {type(error).__name__}: {error}, at trial {trial.number} "
                f"({trial.stage}), which ended the search; fix it and run again: answers so "
                "far are cached and not paid for twice"
            ) from error

    return on_trial


def module_scores_listener(
    tracker: Tracker, state: SearchState
) -> Callable[[Sequence[ModuleScore]], None]:
    """Tracks the module scores of each turn."""
    return lambda scores: tracker.module_scores(scores, state.rater)
