"""One run's way into MLflow. The search never waits for MLflow, and never stops because of it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from optimizer.search.records.module_score import ModuleScore
from optimizer.search.records.trial import Trial
from optimizer.tracking.delivery import PATIENCE_S, Delivery
from optimizer.tracking.events import (
    Event,
    Outcome,
    best_event,
    end_event,
    module_scores_event,
    prompt_event,
    start_event,
    trial_event,
)
from optimizer.tracking.store import TrackingStore, chosen_store
from pipelines.llms.gateway import default_cache_folder
from pipelines.llms.secrets import redacted

if TYPE_CHECKING:
    from optimizer.results.result import Result

logger = logging.getLogger(__name__)


class Tracker:
    """Takes what happens in one run, and returns at once. Made by `start`. Safe for threads."""

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

        Args:
            pipeline_name: names the run.
            experiment: MLflow's experiment; the pipeline's name, if not given.
            params: of the parent run.
            tags: of the parent run; `dataset`, a digest, also makes a dataset input.
            files: texts by file name, to be artifacts of the parent run.
        """
        import_mlflow()
        store = chosen_store()
        tracker = cls(store, Delivery(store, default_cache_folder() / "unlogged"))
        name = experiment or pipeline_name
        tracker._delivery.put(start_event(pipeline_name, name, params or {}, tags or {}))
        for event in tracker._file_events("start", files or {}):
            tracker._delivery.put(event)
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
        self._delivery.put(trial_event(trial, took_s=trial.seconds - before))

    def prompt(self, pipeline: str, module: str, text: str, stage: str) -> None:
        """A module's prompt was accepted."""
        tags = {"pipeline": pipeline, "module": module, "stage": stage}
        self._delivery.put(prompt_event(pipeline, module, text, tags))

    def module_scores(self, scores: Sequence[ModuleScore], diagnoser: str | None) -> None:
        """A turn has scored models module by module; `diagnoser` is the label of who rated them."""
        if scores:
            self._delivery.put(module_scores_event(scores, diagnoser))

    def best(self, step: int, score: float) -> None:
        """The best score so far, after so many nominal calls."""
        self._delivery.put(best_event(step, score))

    def finish(self, result: Result) -> None:
        """The run ended with a result: log its figures, artifacts and model, and wait for it."""
        from optimizer.tracking.outputs import file_events, final_figures

        self._delivery.put(final_figures(result))
        try:
            files = file_events(result, self._delivery.folder)
        except Exception:  # hours of search must not be lost to a plot
            logger.warning("the result could not be written up for MLflow", exc_info=True)
            files = []
        # the end goes first, so that files which are refused leave no run that seems to go on
        self._end(end_event("FINISHED", result.stopped), *files)

    def fail(
        self, reason: str, status: Outcome = "FAILED", files: Mapping[str, str] | None = None
    ) -> None:
        """The run ended without a result, but maybe with files; nothing if it had ended already."""
        if not self._ended:
            self._end(end_event(status, reason), *self._file_events("end", files or {}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: Any
    ) -> None:
        """Nothing, if the run was ended; else it failed."""
        killed = isinstance(error, KeyboardInterrupt)
        self.fail(repr(error) if error else "not ended", "KILLED" if killed else "FAILED")

    def _file_events(self, folder: str, files: Mapping[str, str]) -> list[Event]:
        """Write the files below the journal's folder, and say what to log."""
        place = self._delivery.folder / folder
        try:
            for name, text in files.items():
                place.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(redacted(text), encoding="utf-8")
        except OSError as error:  # no search ends for that
            logger.warning("%s can't be kept for MLflow: %s", ", ".join(files), error)
            return []
        return [Event(kind="artifacts", folder=folder)] if files else []

    def _end(self, *events: Any) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            for event in events:
                self._delivery.put(event)
            self._delivery.close()
        except Exception:  # nor to a store that nobody has thought of
            logger.warning("the end of the run could not be logged in MLflow", exc_info=True)


def import_mlflow() -> None:
    """Import what the thread will use, here: two threads that import at once can deadlock.

    MLflow warns about its own type hints and tables while it is imported, which is not our user's
    concern, and would end the thread where warnings are errors.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
        import sqlalchemy.orm

        sqlalchemy.orm.configure_mappers()
