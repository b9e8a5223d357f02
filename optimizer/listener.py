"""Listening to a search: what becomes of its trials and module scores."""

from __future__ import annotations

from collections.abc import Callable

from optimizer.errors import OptimizationError
from optimizer.progress import Progress
from optimizer.results.prompt_changes import prompt_before, prompt_text, prompts_of
from optimizer.search.records.trial import Trial
from optimizer.search.state import SearchState
from optimizer.setup.plan import Plan
from optimizer.tracking import Tracker


def listen(
    state: SearchState,
    plan: Plan,
    tracker: Tracker,
    progress: Progress,
    callback: Callable[[Trial], None] | None,
) -> None:
    """Track trials, prompts that are accepted and module scores, show progress, and call back."""
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

    state.on_trial = on_trial
    state.on_module_scores = lambda scores: tracker.module_scores(scores, state.rater)
