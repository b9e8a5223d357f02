"""The result of `optimize`: the tuned pipeline, its gain, and what the search cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluators.metrics.human_labels import JudgeAgreement
from evaluators.objective import QUALITY, Costs, Objective
from evaluators.statistics import Interval
from optimizer.results.examples import Change, ScoredExample, examples_frame, failures_frame
from optimizer.results.held_out_scores import HeldOutScores
from optimizer.results.operating_points import OperatingPoint, Unproven, pick, points_frame
from optimizer.search.pattern_race import PatternScore, patterns_frame
from optimizer.search.records.module_score import ModuleScore, module_scores_frame
from optimizer.search.records.probe import Probe, probes_frame
from optimizer.search.records.trial import Trial, trials_frame
from pipelines import PipelineError, Tunable
from pipelines.gateway.budget import Budget, PurposeSpend
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    import dspy
    import pandas as pd


@dataclass(frozen=True)
class HeldOut:
    """One config's figures on the held-out examples, or on the search's if none were held out."""

    examples: int
    """How many examples were scored."""
    score: Interval
    """Mean score with its 95% interval."""
    usd_per_example: float
    latency_s: float
    """Mean seconds on the critical path."""
    latency_p95_s: float
    """95th percentile of the seconds; see `Evaluation.latency_p95_s`."""
    unscored: int = 0
    """How many examples infrastructure failures left without a score."""
    disqualified: bool = False
    """Whether outages hit too many examples for the mean to be meaningful."""
    agreement: Mapping[str, float] = field(default_factory=dict)
    """Mean share of members that agreed, by wide module."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """How many runs failed, by kind."""
    unread: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By model, how many replies could not be read, and how many there were."""

    @property
    def costs(self) -> Costs:
        """The figures that an objective's limits apply to."""
        return Costs(self.score.mean, self.usd_per_example, self.latency_s, self.latency_p95_s)


@dataclass(frozen=True)
class Withdrawn:
    """The search's choice, which scored below the given pipeline on the held-out examples."""

    pipeline: Tunable
    """With its config and models; `Result.pipeline` is the one as given."""
    figures: HeldOut
    gain: Interval
    """Paired gain over the baseline, with its 95% interval; its mean is below 0."""

    @property
    def config(self) -> PipelineConfig:
        """Its values of the knobs."""
        return self.pipeline.config or self.pipeline.default_config()


@dataclass(frozen=True)
class Spent:
    """The run's spend at recorded prices, every distinct call once, and what was paid now."""

    usd: float
    calls: int
    input_tokens: int
    output_tokens: int
    seconds: float
    by_purpose: Mapping[str, PurposeSpend]
    paid_now_usd: float
    """Paid by this invocation: a resumed or repeated run finds calls in the cache."""
    paid_now_calls: int

    @property
    def tokens(self) -> int:
        """Input and output tokens."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True)
class DiagnoserAgreement:
    """Agreement of the diagnoser's ratings of one module with measured scores."""

    module: str
    agreement: float | None
    """Share of comparisons in [0, 1] that went the same way; None if there were none."""
    judged: int
    """How many examples it rated the module on, as `examples` in `Result.module_scores` counts them
    in the last turn that rated it; 0 if it rated none."""
    compared: int
    """How many pairs had both a rating and a measured score that differed."""
    asked: int = 0
    """How many questions about the module it was asked, in all turns and also for prompts."""
    unanswered: int = 0
    """How many of these brought no reply, after outages."""
    unread: int = 0
    """How many had a reply that could not be read."""
    truncated: int = 0
    """How many of the unread replies ended at `max_tokens`."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A tuned pipeline and the evidence for it.

    `print(result)` summarizes it, `result.pipeline(...)` calls it, `result.save(path)` saves it,
    and `result.report(path)` writes a page with figures, examples and trials.
    """

    pipeline: Tunable
    """Tuned: it carries its config and models, and is ready to be called."""
    baseline_config: PipelineConfig
    config: PipelineConfig
    start_config: PipelineConfig | None = None
    """Where the search of `pipeline` began, if that is another one than was given first."""
    patterns_: tuple[PatternScore, ...] = ()
    withdrawn: Withdrawn | None = None
    """The search's choice, if it scored below the given pipeline on the held-out examples; the
    result is then the pipeline as given."""
    tuned_figures: HeldOut
    baseline_figures: HeldOut
    single_model_figures: HeldOut | None = None
    """The best allocation of one model to all modules; None if none was run, or if there is only
    one, which is the pipeline as given."""
    single_model_label: str | None = None
    gain: Interval
    """Paired gain over the baseline, with its 95% interval."""
    gain_over_single: Interval | None = None
    held_out: bool
    """False with `holdout=0`, or without a final pass: all figures are then the estimates by which
    the search chose, and too good on average."""
    held_out_scores: HeldOutScores | None = None
    """The tuned pipeline's by example, which `save` keeps; None where `held_out` is False."""
    objective: Objective = QUALITY
    points: tuple[OperatingPoint, ...] = ()
    """The front: no config beats another in score, cost and latency at once; best score first."""
    unproven: tuple[Unproven, ...] = ()
    """Configs with a better estimate than the result's that did not earn its place."""
    examples_: tuple[ScoredExample, ...] = ()
    """What baseline, best single model and tuned pipeline answered, with traces and raw replies."""
    trials_: tuple[Trial, ...]
    module_scores_: tuple[ModuleScore, ...] = ()
    probes_: tuple[Probe, ...] = ()
    spent: Spent
    budget: Budget = field(default_factory=Budget)
    """The caps of the search."""
    budget_is_default: bool = False
    """Whether the budget is the default one, which the estimate sets."""
    diagnoser: tuple[DiagnoserAgreement, ...] = ()
    diagnoser_model: str | None = None
    """Label of the model that rated modules; None without a diagnoser."""
    diagnoser_chosen: bool = False
    """Whether it was chosen as the model that did best alone when the search began."""
    judge: JudgeAgreement | None = None
    """The metric's judge; None if it asks none. With human labels, scores and gains are corrected
    for its errors, and their intervals wider; trials and estimates are not."""
    run_id: str | None = None
    """MLflow's parent run; None if the tracking store was away."""
    tracking_uri: str = ""
    stopped: str | None = None
    """Why the search ended early, if it did."""
    left_out: tuple[str, ...] = ()
    """Which models were left out for their price, and why."""
    metric: str = ""
    seed: int = 0
    dataset_digest: str = ""
    """Of the examples that were searched on."""
    holdout_digest: str = ""
    """Of those held out; empty with `holdout=0`."""
    searched: Mapping[str, Any] = field(default_factory=dict)
    """Digests of the `models` to choose from, by label, and the `stages` that ran to their end."""
    example_inputs: Mapping[str, Any] | None = None
    """One example's inputs, logged with the model to show their form; None to leave it out."""
    finished: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def score(self) -> Interval:
        """The tuned pipeline's mean score with its 95% interval."""
        return self.tuned_figures.score

    @property
    def baseline(self) -> Interval:
        """The given pipeline's mean score with its 95% interval."""
        return self.baseline_figures.score

    @property
    def single_model(self) -> Interval | None:
        """Mean score of the best single model in all modules, with its 95% interval."""
        return self.single_model_figures.score if self.single_model_figures else None

    @property
    def began(self) -> PipelineConfig:
        """Where the search of `pipeline` began."""
        return self.start_config or self.baseline_config

    @property
    def patterns(self) -> pd.DataFrame:
        """One row per pipeline that was raced, with the columns of `PatternScore` and the interval
        of its score on the search examples; empty if only one was given."""
        return patterns_frame(self.patterns_)

    @property
    def improved(self) -> bool:
        """Whether a gain over the baseline may be claimed: held-out, its interval above 0, and not
        too many outages."""
        unfit = self.tuned_figures.disqualified or self.baseline_figures.disqualified
        return self.held_out and not unfit and self.gain.low > 0

    @property
    def examples(self) -> pd.DataFrame:
        """One row per held-out example (search example where `held_out` is False), by its row in
        the dataset as given: inputs, labels, and what each finalist answered and scored.

        Columns: `change` ("gained", "lost" or "same" against the baseline, "unscored" after an
        outage), and for each of `baseline`, `single_model`, `tuned` and `withdrawn` that there is,
        `baseline_answer`, `_score`, `_failure`, `_cost_usd`, `_latency_s`, and `_agreement` if it
        has a wide module. A column of the data that is called like one of these gets a `_`.
        Examples that the budget kept from one of baseline and tuned are left out. Embedded images
        are shown as `<image/png, 12 kB>`.
        """
        return examples_frame(self.examples_)

    @property
    def gained(self) -> pd.DataFrame:
        """The rows of `examples` that the tuned pipeline scores higher on than the baseline."""
        return self._changed("gained")

    @property
    def lost(self) -> pd.DataFrame:
        """The rows of `examples` that the tuned pipeline scores lower on than the baseline."""
        return self._changed("lost")

    @property
    def failures(self) -> pd.DataFrame:
        """One row per finalist and example that failed: `row`, `finalist`, `module`, `kind`,
        `message`, and the last raw `reply`."""
        return failures_frame(self.examples_)

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial, with what it changed in which trial; scores are search estimates."""
        return trials_frame(self.trials_)

    @property
    def module_scores(self) -> pd.DataFrame:
        """One row per module, model and turn: its rating, its measured score, and the decision. The
        columns are those of `ModuleScore`, and the diagnoser's model."""
        return module_scores_frame(self.module_scores_, self.diagnoser_model)

    @property
    def probes(self) -> pd.DataFrame:
        """Runs beside the trials: single modules for the diagnoser, and prompts that DSPy's
        optimizers tried. The columns are those of `Probe`."""
        return probes_frame(self.probes_)

    @property
    def pareto(self) -> pd.DataFrame:
        """The configs that no other beats in score, dollars and mean seconds at once, best first.

        `measured_on` is "holdout", or "search" for the estimates by which the search chose, which
        are too good on average. One column per knob that any of them sets.
        """
        return points_frame(self.points)

    def pick(
        self,
        *,
        max_cost_usd: float | None = None,
        max_latency_s: float | None = None,
        max_latency_p95_s: float | None = None,
        within: float | None = None,
        unproven: bool = False,
    ) -> OperatingPoint:
        """One config of the front: the best within limits, or the cheapest that is good enough.

        It is picked by the search's estimates of the score, so that a held-out score stays
        unbiased; limits apply to the point's own dollars and seconds.

        Args:
            max_cost_usd: most dollars per example.
            max_latency_s: most seconds per example.
            max_latency_p95_s: most seconds in 95% of the examples. The front goes by mean seconds;
                to search for a short tail, give the limit to the objective.
            within: pick the cheapest within this much of the best score: 0.01 is a point.
            unproven: pick among `Result.unproven`, what looked better but did not earn its place.

        Raises:
            ValueError: no point meets the limits (the message names the closest), or there is none.
        """
        limits = max_cost_usd, max_latency_s, max_latency_p95_s, within
        if unproven and not self.unproven:
            raise ValueError("nothing looked better than the result")
        points = [each.point for each in self.unproven] if unproven else self.points
        return pick(points, Objective(*limits))

    def save(self, path: str | Path, point: OperatingPoint | None = None) -> None:
        """Write the tuned pipeline as YAML: spec, config, models, and provenance, in which every
        held-out example has its score and a short digest of its inputs, for `evaluate`.

        `Pipeline.load(path)` needs nothing else, and `allow_code=True` where the pipeline names
        functions or classes. Of API keys, only the names of environment variables are written.

        Args:
            path: the file; its folder is made.
            point: one of the front, as `pick` returns it, to be saved instead.

        Raises:
            PipelineError: a function module can't be imported by name.
            ValueError: `point` is not on the front.
        """
        from optimizer.results.provenance import tuned_yaml

        if point is not None and not isinstance(point, OperatingPoint):
            raise ValueError(f"point must be one that result.pick(...) returned, but got {point!r}")
        text = tuned_yaml(self, point)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")

    def to_dspy(self, point: OperatingPoint | None = None) -> dspy.Module:
        """The tuned program as a `dspy.Module`.

        It is one of the program's own class, which runs without this library and which DSPy's
        `save` and `load` understand. Its LMs hold the keys that `Model(api_key_env=...)` names:
        DSPy leaves them out of a `.json`, but not of a pickle (`save_program=True`). Where DSPy has
        no form for the config (several members, a reply format), it is a `TunedProgram` that asks
        through this library; `SearchSpace(exportable=True)` searches without such configs.

        Args:
            point: one of the front, as `pick` returns it, instead of the result's own config.

        Raises:
            PipelineError: what was tuned is no DSPy program.
        """
        from pipelines.adapters.dspy_programs import DSPyPipeline

        pipeline = self.pipeline if point is None else point.pipeline
        if not isinstance(pipeline, DSPyPipeline):
            raise PipelineError(
                f"pipeline {pipeline.name!r} is no DSPy program: call result.pipeline(...) or "
                "save it with result.save(path), of which `compound-optimizer export` makes one"
            )
        return pipeline.to_dspy()

    def _changed(self, change: Change) -> pd.DataFrame:
        examples = self.examples
        return examples[[each.change == change for each in self.examples_]]

    @cached_property
    def plots(self) -> Mapping[str, str]:
        """SVGs by name, drawn once for MLflow and every page."""
        from optimizer.results.report import figures

        return figures(self)

    def report(self, path: str | Path) -> None:
        """Write one self-contained HTML page: the decision, figures, all trials, and examples with
        their traces."""
        from optimizer.results.report import write_report

        write_report(self, path)

    def __str__(self) -> str:
        from optimizer.results.summary_text import summary_text

        return summary_text(self)

    def _repr_html_(self) -> str:
        from optimizer.results.report import summary_html

        return summary_html(self)
