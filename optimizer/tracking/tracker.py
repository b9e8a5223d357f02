"""Logs one run to MLflow. The search never waits for MLflow, and never stops because of it."""

from __future__ import annotations

import json
import logging
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from optimizer.search.records.module_score import ModuleScore
from optimizer.search.records.trial import Trial, shortened
from optimizer.tracking.delivery import PATIENCE_S, Delivery
from optimizer.tracking.events import MOST_KEY, Event, Outcome, end_event, event, trial_event
from optimizer.tracking.store import TrackingStore, chosen_store
from pipelines.gateway.gateway import default_cache_folder
from pipelines.gateway.secrets import redacted

if TYPE_CHECKING:
    from optimizer.results.result import Result
    from optimizer.setup.plan import Plan

logger = logging.getLogger(__name__)

_NOT_IN_PROMPTS = re.compile(r"[^A-Za-z0-9_.\-]+")


class Tracker:
    """Takes the events of one run, and returns at once. Made by `start`. Safe for threads."""

    def __init__(self, store: TrackingStore, delivery: Delivery) -> None:
        self.store = store
        self._delivery = delivery
        self._ended = False
        self._trial_ends = (0.0, 0.0)
        """Seconds at which the last two groups of trials ended; those of one race end together."""

    @classmethod
    def start(
        cls,
        pipeline_name: str,
        experiment: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> Self:
        """Begin a run, and log what earlier ones could not.

        Params, tags and files (texts by name) are those of the parent run. The digests in the tags
        `search` and `holdout` also become dataset inputs. The experiment is named after the
        pipeline by default.
        """
        import_mlflow()
        store = chosen_store()
        tracker = cls(store, Delivery(store, default_cache_folder() / "unlogged"))
        name = f"{pipeline_name} {time.strftime('%Y-%m-%d %H:%M:%S')}"
        where = experiment or pipeline_name
        tracker._put(event("start", name=name, experiment=where, params=params, tags=tags))
        tracker._put(*tracker._file_events("start", files or {}))
        return tracker

    @property
    def run_id(self) -> str | None:
        """The parent run's id, as soon as the store gave it one; None while it is away."""
        return self._delivery.run_id(PATIENCE_S)

    @property
    def tracking_uri(self) -> str:
        """The store's address, without credentials."""
        return self.store.shown

    def record(self, trial: Trial) -> None:
        """A trial ended."""
        before, last = self._trial_ends
        if trial.seconds > last:
            self._trial_ends = before, last = last, trial.seconds
        self._put(trial_event(trial, took_s=trial.seconds - before))

    def prompt(
        self, pipeline: str, module: str, text: str, stage: str, model: Mapping[str, Any]
    ) -> None:
        """A module's prompt was accepted: a version of `pipeline.module` in the registry.

        `stage` proposed it, and `model` is what it was accepted for, as a `PromptModelConfig`.
        """
        name = _NOT_IN_PROMPTS.sub("_", f"{pipeline}.{module}")[:MOST_KEY]
        tags = {"pipeline": pipeline, "module": module, "stage": stage}
        params = {"model": json.dumps(model)}
        self._put(event("prompt", name=name, text=redacted(text), tags=tags, params=params))

    def module_scores(self, scores: Sequence[ModuleScore], diagnoser: str | None) -> None:
        """A turn has scored models module by module; `diagnoser` is its model's label."""
        if scores:
            self._put(module_scores_event(scores, diagnoser))

    def best(self, step: int, score: float) -> None:
        """The best score after `step` nominal calls."""
        self._put(event("figures", metrics={"best_score": score}, step=step))

    def finish(self, result: Result) -> None:
        """The run ended with a result: log its figures, artifacts and model, and wait for it."""
        from optimizer.tracking.outputs import file_events, final_figures

        self._put(final_figures(result))
        try:
            files = file_events(result, self._delivery.folder)
        except Exception:  # a broken plot must not lose hours of search
            logger.warning("the result could not be prepared for MLflow", exc_info=True)
            files = []
        # the end goes first, so that a run whose files are refused does not seem to be running
        self._end(end_event("FINISHED", result.stopped), *files)

    def fail(
        self, reason: str, status: Outcome = "FAILED", files: Mapping[str, str] | None = None
    ) -> None:
        """The run ended without a result, but maybe with files; ignored if it had ended before."""
        if not self._ended:
            self._end(end_event(status, reason), *self._file_events("end", files or {}))

    def _put(self, *events: Event) -> None:
        for each in events:
            self._delivery.put(each)

    def _file_events(self, folder: str, files: Mapping[str, str]) -> list[Event]:
        """Write the files below the journal's folder, and return the event that logs them."""
        place = self._delivery.folder / folder
        try:
            for name, text in files.items():
                place.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(redacted(text), encoding="utf-8")
        except OSError as error:
            logger.warning("%s can't be kept for MLflow: %s", ", ".join(files), error)
            return []
        return [Event(kind="artifacts", folder=folder)] if files else []

    def _end(self, *events: Event) -> None:
        self._ended = True
        try:
            self._put(*events)
            self._delivery.close()
        except Exception:
            logger.warning("the end of the run could not be logged in MLflow", exc_info=True)


def module_scores_event(scores: Sequence[ModuleScore], diagnoser: str | None) -> Event:
    """The scores of one turn, at least one, as metrics with the turn as step."""
    rated = {f"module_score/{score.module}/{score.model}": score.rating for score in scores}
    measured = {f"module_measured/{score.module}/{score.model}": score.measured for score in scores}
    tags = {"diagnoser/model": diagnoser}
    return event("figures", metrics={**rated, **measured}, tags=tags, step=scores[0].turn)


def described(plans: Sequence[Plan]) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """The params, tags and files of the run that describe its arguments."""
    plan = plans[0]
    space = plan.space.model_dump(mode="json", exclude={"exportable"})
    params = {
        "patterns": ", ".join(each.pipeline.name for each in plans) if len(plans) > 1 else None,
        "metric": plan.metric.name,
        "models": ", ".join(plan.models),
        "search_examples": len(plan.search),
        "holdout_examples": len(plan.holdout),
        "seed": plan.seed,
        "budget_usd": plan.budget.usd,
        "budget_calls": plan.budget.calls,
        "budget_seconds": plan.budget.seconds,
        "budget_is_default": plan.budget_is_default or None,
        "diagnoser": getattr(plan.diagnoser, "label", plan.diagnoser),
        "judge/model": plan.metric.judging.model.label if plan.metric.judging else None,
        "objective": str(plan.objective),
        "stages": ", ".join(stage.name for stage in plan.stages),
        **{f"search_space/{knob}": _choices_text(choices) for knob, choices in space.items()},
    }
    tags = {"study": plan.key, "search": plan.search.digest}
    if plan.holdout:
        tags["holdout"] = plan.holdout.digest
    files = {"search_space.json": json.dumps(space, indent=1)}
    if plan.metric.judging:
        files["judge.txt"] = plan.metric.judging.metric.question.instructions
    return params, tags, files


def _choices_text(choices: Mapping[str, Any]) -> str | None:
    """One knob's choices by module, shortened; None where no module has any."""
    given = {module: values for module, values in choices.items() if values}
    return shortened(json.dumps(given), 500) if given else None


def import_mlflow() -> None:
    """Import in the caller's thread what ours will use: concurrent imports can deadlock.

    MLflow warns about its own type hints and tables while it is imported, which would end the
    thread where warnings are errors.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
        import sqlalchemy.orm

        sqlalchemy.orm.configure_mappers()
