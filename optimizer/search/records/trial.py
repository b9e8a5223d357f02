"""One config scored on some examples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from evaluators.objective import Costs
from evaluators.statistics import Interval
from optimizer.formatting import setting
from pipelines.aggregators.notation import aggregation_text, network_text
from pipelines.gateway.secrets import redacted
from search_spaces import ModuleConfig, PipelineConfig

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["complete", "promoted", "stopped_early", "disqualified", "cut_off", "failed"]
"""How a trial ended: on all search examples; after a first look at a part of them; because further
runs were expected to gain too little; with too many infrastructure failures for its mean to count;
when the budget, ctrl-C or an error ended its race, with what it had seen; or before it began,
because what should have proposed a config failed."""

_COLUMNS = (
    "number", "stage", "turn", "base", "changed", "status", "score", "score_low", "score_high",
    "examples", "unscored", "failures", "members_failed", "usd_per_example", "calls_per_example",
    "latency_s", "latency_p95_s", "nominal_usd", "nominal_calls", "seconds", "detail",
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """What is known about one config after its race. Scores are search estimates."""

    number: int
    """From 0, which is the baseline."""
    stage: str
    """Which stage proposed it: `baseline`, `single-model`, `allocation`, ..."""
    turn: int
    """The round of the loop, from 1; 0 for what runs before it."""
    base: int | None
    """Number of the trial it departed from: the last one of the incumbent when the race began, or
    of the config that its prompt was written for. None for the baseline."""
    changed: str
    """What differs from the base, as `solve.model: a -> b`; empty where only examples were added to
    the base itself."""
    config: PipelineConfig
    status: Status
    score: Interval | None
    """Mean over the scored examples with its 95% interval; None when none was scored."""
    examples: int
    """How many examples were scored."""
    failures: Mapping[str, int]
    """How many examples failed, by kind: the model's own and the infrastructure's."""
    unscored: int
    """How many examples infrastructure failures left without a score."""
    usd_per_example: float
    """Mean dollars per example, at recorded prices."""
    latency_s: float
    """Mean seconds on the critical path."""
    latency_p95_s: float
    """95th percentile of the seconds; see `Evaluation.latency_p95_s`."""
    calls_per_example: float
    nominal_usd: float
    """The run's nominal spend when the trial ended."""
    nominal_calls: int
    """The run's nominal calls when the trial ended."""
    seconds: float
    """Seconds since the run began when the trial ended."""
    detail: str = ""
    """Why it ended as it did, where the status does not tell."""
    members_failed: Mapping[str, int] = field(default_factory=dict)
    """How often members of wide modules failed, by kind of failure."""
    agreement: Mapping[str, float] = field(default_factory=dict)
    """Mean share of members that agreed, by wide module."""
    usd_by_module: Mapping[str, float] = field(default_factory=dict)
    """Mean dollars per example by module, at recorded prices; they add up to `usd_per_example`."""
    seconds_by_module: Mapping[str, float] = field(default_factory=dict)
    """Mean seconds per example by module; modules that run side by side overlap."""

    def costs(self, score: float) -> Costs:
        """The figures that an objective compares with its limits, with this score."""
        return Costs(score, self.usd_per_example, self.latency_s, self.latency_p95_s)

    @property
    def name(self) -> str:
        """Number, stage and what it changed in one line, at most 80 characters."""
        same = "the pipeline as given" if self.base is None else "more examples"
        return shortened(f"{self.number} {self.stage}: {self.changed or same}", 80)


def last_trials(trials: Iterable[Trial]) -> list[Trial]:
    """Each config's last, which has seen the most examples."""
    return list({trial.config.key: trial for trial in trials}.values())


def trials_frame(trials: Sequence[Trial]) -> pd.DataFrame:
    """One row per trial.

    After the figures come two columns per module, `solve.usd` and `solve.seconds`, and one per knob
    (`solve.model`) that any trial sets. `score`, `score_low` and `score_high` are NaN, `base`
    is NA and a knob None where there is no value. A parameter called `usd` or `seconds` takes the
    place of its module's cost.
    """
    import pandas as pd  # 0.3 s

    rows = [
        _figures(trial) | _costs_by_module(trial) | flat_config(trial.config) for trial in trials
    ]
    costs = [name for trial in trials for name in _costs_by_module(trial)]
    knobs = [knob for trial in trials for knob in flat_config(trial.config)]
    columns = dict.fromkeys([*_COLUMNS, *costs, *knobs])
    frame = pd.DataFrame([columns | row for row in rows], columns=list(columns))
    return frame.astype({"base": "Int64"})


def flat_config(config: PipelineConfig) -> dict[str, Any]:
    """The config as `{"solve.model": "openai/gpt-4o-mini", "solve.temperature": 0.7, ...}`.

    Knobs that are left alone (no temperature, width 1) are not listed; members are joined by
    commas, and demos are counted. A judge's knobs are those of `solve.judge`, and what the first
    member sets itself is listed as `solve.members.0.temperature` and the like.
    """
    return {
        f"{path}.{knob}": value
        for name, top in config.modules.items()
        for path, module in top.walk(name)
        for knob, value in _settings(module)
    }


def config_text(config: PipelineConfig) -> str:
    """Models and temperature of each module: `locate=a, solve=[3x b -> majority_vote] at 0.7`.

    Functions are shown with the parameters that are set: `retrieve(k=3)`.
    """
    texts = []
    for name, module in config.modules.items():
        if module.models:
            heat = "" if module.temperature is None else f" at {module.temperature:g}"
            form = "" if module.reply_format == "chat" else f" in {module.reply_format}"
            texts.append(f"{name}={module_text(module)}{heat}{form}")
        elif module.params:
            params = (f"{param}={setting(value)}" for param, value in module.params.items())
            texts.append(f"{name}({', '.join(params)})")
    return ", ".join(texts)


def module_text(module: ModuleConfig) -> str:
    """A model's label, or a network in brackets."""
    text = network_text(module)
    return f"[{text}]" if module.width > 1 else text


def shortened(text: str, most: int) -> str:
    """The text, cut with an ellipsis to at most `most` characters; never within a secret."""
    if len(text) <= most:
        return text
    text = redacted(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _figures(trial: Trial) -> dict[str, Any]:
    """The columns that every table of trials begins with."""
    score = trial.score or Interval(math.nan, math.nan, math.nan)
    summed = {name: sum(getattr(trial, name).values()) for name in ("failures", "members_failed")}
    figures = vars(trial) | score.named("score") | summed
    return {name: figures[name] for name in _COLUMNS}


def _costs_by_module(trial: Trial) -> dict[str, float]:
    """Dollars and seconds per example, in the order of the config's modules."""
    usd, seconds = trial.usd_by_module, trial.seconds_by_module
    modules = [*(m for m in trial.config.modules if m in usd), *sorted(usd)]
    return {
        name: cost
        for module in modules
        for name, cost in ((f"{module}.usd", usd[module]), (f"{module}.seconds", seconds[module]))
    }


def _settings(module: ModuleConfig) -> Iterator[tuple[str, Any]]:
    if module.models:
        yield "model", ", ".join(module.models)
    for place, member in enumerate(module.members):
        for knob, value in member.own.items():
            yield f"members.{place}.{knob}", len(value) if knob == "demos" else value
    if module.temperature is not None:
        yield "temperature", module.temperature
    if module.width > 1:
        yield "width", module.width
    if module.aggregator is not None:
        yield "aggregator", aggregation_text(module)
    for path, role in module.walk("aggregator"):
        if path != "aggregator" and role.instructions is not None:
            yield f"{path}.instructions", role.instructions
    if module.instructions is not None:
        yield "instructions", module.instructions
    if module.demos:
        yield "demos", len(module.demos)
    if module.reply_format != "chat":
        yield "reply_format", module.reply_format
    yield from module.params.items()
