"""Validation at the door: everything `optimize` is given, checked before the first call."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, is_dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

from evaluators.dataset import Dataset
from evaluators.errors import DatasetError
from evaluators.metrics import BoundMetric, JudgedMetric, LabelMetric
from evaluators.objective import Objective, as_objective
from optimizer.errors import BudgetTooSmall
from optimizer.setup.example_checks import warn_of_labelled, warn_of_repeated, without_demos
from optimizer.setup.judge_choice import bind_metric
from optimizer.setup.space_checks import check_space, named_models, resolve
from optimizer.setup.stage import Stage
from pipelines import PipelineError, Tunable
from pipelines.aggregators.calls import calls_per_run
from pipelines.aggregators.notation import labels_of
from pipelines.llms.budget import Budget
from pipelines.llms.gateway import Gateway
from pipelines.llms.model import Model, as_models
from search_spaces import PipelineConfig, SearchSpace
from search_spaces.config import canonical_json
from search_spaces.refusals import nearest

if TYPE_CHECKING:
    import dspy

logger = logging.getLogger(__name__)

TUNED_BY: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("temperature", "reasoning_effort", "width", "aggregator"), ("structure",)),
    **dict.fromkeys(("network", "params"), ("structure",)),
    "instructions": ("prompts", "structure"),
}
"""For knobs of a search space, the stages that compare what it lists."""

SEARCH_VERSION = 8
"""Part of a state's key: raised when the search itself would take another path."""


@dataclass(frozen=True)
class Plan:
    """One search, fully specified."""

    pipeline: Tunable
    models: Mapping[str, Model]
    search: Dataset
    holdout: Dataset
    metric: BoundMetric
    space: SearchSpace
    baseline: PipelineConfig
    objective: Objective
    budget: Budget
    stages: Sequence[Stage]
    diagnoser: Model | Literal["auto"] | None
    seed: int
    key: str
    """Identifies the state, so that a run started again counts what it spent before."""

    @property
    def least_calls(self) -> int:
        """Calls for the baseline on the search examples and for the pass over the holdout.

        And those to the judge, if there is one, for their answers and the human labels. 0 where
        only running tells how often a program asks.
        """
        if not self.pipeline.is_fixed:
            return 0
        runs = len(self.search) + self.final_passes * len(self.holdout)
        labels = self.metric.human_labels * self.metric.calls
        return runs * (calls_per_run(self.baseline) + self.metric.calls) + labels

    @property
    def final_passes(self) -> int:
        """How many configs the holdout is for: baseline, best single model and winner."""
        return 3 if self.may_change else 1

    @property
    def may_change(self) -> bool:
        """Whether there is anything to search."""
        return self.space.has_more_than(self.baseline) or any(
            stage.name != "allocation" for stage in self.stages
        )


def prepare(
    pipeline: Tunable | dspy.Module,
    dataset: Any,
    models: str | Model | Sequence[str | Model] | None,
    metric: str | LabelMetric | JudgedMetric | Callable[..., Any],
    budget: Budget | None,
    search_space: SearchSpace | None,
    stages: Sequence[Stage],
    diagnoser: str | Model | None,
    holdout: float,
    seed: int,
    objective: str | Objective = "quality",
) -> Plan:
    """Check all arguments of `optimize` and make them fit each other.

    Raises:
        ValueError: names the value, the rule, and the nearest valid choice.
    """
    for value, kind in ((budget, Budget), (search_space, SearchSpace)):
        check_kind(value, kind)
    _check_numbers(holdout, seed)
    data = Dataset.load(dataset, minimum=1 if holdout == 0 else 2)
    pipeline = _tunable(pipeline, data)
    if not pipeline.llm_modules:
        raise ValueError(f"pipeline {pipeline.name!r} calls no model: there is nothing to allocate")
    by_label = _choices(models, pipeline)
    pipeline = pipeline.with_fallback(next(iter(by_label.values())))
    names = [module.name for module in pipeline.llm_modules]
    functions = [module.name for module in pipeline.modules if not module.is_llm]
    once = [module.name for module in pipeline.llm_modules if "width" not in module.knobs]
    space = resolve(search_space or SearchSpace()).fit(names, list(by_label), functions, once)
    baseline = pipeline.config or pipeline.default_config(next(iter(by_label)))
    known = {**{m.label: m for m in pipeline.models}, **by_label}
    for labels in baseline.allocation.values():
        known.update({label: Model(label) for label in labels if label not in known})
    check_space(space, pipeline, baseline, known)
    sought = as_objective(objective)
    _check_inputs(pipeline, data)
    bound = bind_metric(metric, pipeline, data.columns, known, list(by_label.values()))
    data.require(bound.fields, f"metric {bound.name!r}")
    bound.check(data)
    if pipeline.inputs:
        data = without_demos(data, pipeline.inputs, baseline)
        warn_of_repeated(data, pipeline.inputs)
    if bound.judging and bound.judging.labels:
        warn_of_labelled(data, pipeline.inputs, bound.judging.labels.answers)
    search, held_out = data.split(holdout, seed, pipeline.inputs)
    judge = _diagnoser(diagnoser, known)
    _check_prompts(stages, pipeline)
    identity = [
        SEARCH_VERSION,
        pipeline.identity,
        [asdict(model) for model in known.values()],
        data.digest,
        bound.identity,
        space.model_dump(mode="json"),
        baseline.canonical_json(),
        [[stage.name, repr(stage) if is_dataclass(stage) else ""] for stage in stages],
        asdict(sought),
        asdict(judge) if isinstance(judge, Model) else judge,
        holdout,
        seed,
    ]
    key = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
    plan = Plan(
        pipeline, known, search, held_out, bound, space, baseline, sought, budget or Budget(),
        stages, judge, seed, key,
    )  # fmt: skip
    _check_calls(plan)
    _warn_if_not_writable(pipeline)
    _warn_of_unused(search_space, stages)
    return plan


def check_concurrency(concurrency: int) -> None:
    """There must be room for one example in flight.

    Raises:
        ValueError: there is none.
    """
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise ValueError(f"`concurrency >= 1` must hold (a whole number), but got {concurrency!r}")


def _check_numbers(holdout: Any, seed: Any) -> None:
    """They are numbers at all; whether the holdout leaves enough examples, they themselves say."""
    if isinstance(holdout, bool) or not isinstance(holdout, Real):
        raise ValueError(f"`0 <= holdout < 1` must hold (a fraction), but got {holdout!r}")
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"`seed >= 0` must hold (a whole number), but got {seed!r}")


def check_calls_can_be_made(plan: Plan) -> None:
    """Unknown models, missing prices and API keys, all found before the first call.

    Raises:
        ModelError: names every model that can't be called, and why.
    """
    from pipelines.llms.prices import ModelError, check_models

    labels = {label for labels in plan.space.models.values() for label in labels}
    labels |= {label for labels in plan.baseline.allocation.values() for label in labels}
    labels |= set(named_models(plan.space))
    used = {label: plan.models[label] for label in plan.models if label in labels}
    check_models(used.values())
    judging = plan.metric.judging
    for role, model in (("diagnoser", plan.diagnoser), ("judge", judging and judging.model)):
        if isinstance(model, Model):
            try:
                check_models([model])
            except ModelError as error:
                raise ModelError(f"as {role}: {error}") from None


def _check_calls(plan: Plan) -> None:
    calls = plan.budget.calls
    if calls is not None and calls < plan.least_calls:
        each = f"{calls_per_run(plan.baseline)} each"
        if plan.metric.judging:
            each += f" and {plan.metric.calls} of the judge, which also has "
            each += f"{plan.metric.human_labels} human labels"
        raise BudgetTooSmall(
            f"a budget of {calls} calls is too small: the baseline on {len(plan.search)} search "
            f"examples and {plan.final_passes} final passes over {len(plan.holdout)} held-out ones "
            f"take {plan.least_calls} calls ({each}), and the search "
            "itself takes more; give more, or fewer examples"
        )


def _tunable(pipeline: Any, data: Dataset) -> Tunable:
    """A pipeline as it is, of whichever kind; a DSPy program by its predictors.

    Raises:
        ValueError: it is neither.
        PipelineError: the program can't be tuned; says why.
    """
    import dspy

    from pipelines.dspy_programs import DSPyPipeline, from_dspy

    if isinstance(pipeline, dspy.Module):
        pipeline = from_dspy(pipeline)
    if isinstance(pipeline, DSPyPipeline):
        return pipeline.for_columns(data.columns, getattr(data[0], "_input_keys", None))
    if not isinstance(pipeline, Tunable):
        raise ValueError(
            "pipeline must be a Pipeline, such as Pipeline('name', [Module(...), ...]), a "
            f"dspy.Module, or from_callable(factory, modules), but got {pipeline!r}"
        )
    return pipeline


def check_kind(value: Any, kind: type) -> None:
    """The argument is what its name says, or left out.

    Raises:
        ValueError: it is something else; says what is meant.
    """
    if isinstance(value, kind) or value is None:
        return
    name = {Budget: "budget", SearchSpace: "search_space", Gateway: "gateway"}[kind]
    example = {
        Budget: "Budget(usd=5, calls=20_000, seconds=3600)",
        SearchSpace: "SearchSpace(models={'module': ['model', ...]}, width=(1, 3))",
        Gateway: "Gateway(cache='answers')",
    }[kind]
    raise ValueError(f"{name} must be a {kind.__name__}, such as {example}, but got {value!r}")


def _choices(
    models: str | Model | Sequence[str | Model] | None, pipeline: Tunable
) -> dict[str, Model]:
    """The models to choose from, by label; a label that the pipeline describes means that model.

    Raises:
        ValueError: none is given and the pipeline names none, or two share a label.
    """
    described = {model.label: model for model in pipeline.models}
    if models is None:
        named = [label for m in pipeline.llm_modules if m.model for label in labels_of(m.model)]
        tuned = pipeline.config.allocation.values() if pipeline.config else ()
        models = list(dict.fromkeys([*described, *named, *(label for t in tuned for label in t)]))
        if not models:
            raise ValueError(
                "models must name the models to choose from, such as ['openai/gpt-4o-mini', "
                f"'anthropic/claude-haiku-4-5']: pipeline {pipeline.name!r} names none"
            )
    given = _listed(models)
    return as_models([described.get(m, m) if isinstance(m, str) else m for m in given])


def _listed(models: Any) -> list[str | Model]:
    """The models given, in their order; one alone is a list of one."""
    if isinstance(models, Mapping | Set) or not isinstance(models, Iterable | Model):
        raise ValueError(
            "models must be a list, such as ['openai/gpt-4o-mini', Model(...)]; choices by module "
            f"go into SearchSpace(models=...), but got {models!r}"
        )
    given = [models] if isinstance(models, str | Model) else models
    return [_model(model, "models") for model in given]


def _model(given: Any, argument: str) -> str | Model:
    if isinstance(given, Model) or (isinstance(given, str) and given.strip()):
        return given
    raise ValueError(
        f"{argument} must name a model, such as 'openai/gpt-4o-mini' or Model(...), "
        f"but got {given!r}"
    )


def _diagnoser(
    diagnoser: str | Model | None, models: Mapping[str, Model]
) -> Model | Literal["auto"] | None:
    if diagnoser is None:
        return None
    given = _model(diagnoser, "diagnoser")
    if given == "auto":
        return "auto"
    return given if isinstance(given, Model) else models.get(given) or Model(given)


def _check_inputs(pipeline: Tunable, data: Dataset) -> None:
    """A field that no module writes is a column, or misspelt."""
    if not pipeline.is_fixed:
        data.require(pipeline.inputs, f"program {pipeline.name!r}")
        return
    written = [field for module in pipeline.modules for field in module.writes]
    for module in pipeline.modules:
        for field in module.reads:
            if field in pipeline.inputs and field not in data.columns:
                raise DatasetError(
                    f"module {module.name!r} reads {field!r}, which no module writes and the "
                    f"dataset has no column for{nearest(field, [*written, *data.columns])} "
                    f"(columns: {', '.join(data.columns)})"
                )
    data.require(pipeline.inputs, f"pipeline {pipeline.name!r}")


def _warn_if_not_writable(pipeline: Tunable) -> None:
    """Before anything is paid: what can't be written down can't be saved in the end."""
    try:
        pipeline.check_writable()
    except PipelineError as error:
        logger.warning("the result can be used, but not saved as YAML: %s", error)


def _warn_of_unused(space: SearchSpace | None, stages: Sequence[Stage]) -> None:
    """Choices that the space lists, and that none of the stages compares."""
    names = {stage.name for stage in stages}
    if space is None or not names <= {
        "allocation",
        "structure",
        "prompts",
    }:  # who knows what the user's own does
        return
    for knob in sorted(space.model_fields_set & TUNED_BY.keys()):
        if names.isdisjoint(TUNED_BY[knob]) and _lists_any(getattr(space, knob)):
            logger.warning(
                "search_space lists choices of %s, which the stage %r compares, but the stages are "
                "%s: they change nothing", knob, TUNED_BY[knob][0], ", ".join(sorted(names)),
            )  # fmt: skip


def _lists_any(choices: Any) -> bool:
    """Whether anything is there to compare, for any module; width 1 is that of every module."""
    each = choices.values() if isinstance(choices, Mapping) else [choices]
    return any(listed not in (None, (), (1,)) for listed in each)


def _check_prompts(stages: Sequence[Stage], pipeline: Tunable) -> None:
    """Code that writes its prompts itself has none to tune.

    Raises:
        ValueError: nothing else is to be tuned.
    """
    knobs = {knob for module in pipeline.llm_modules for knob in module.knobs}
    if "instructions" not in knobs and all(stage.name == "prompts" for stage in stages):
        raise ValueError(
            f"stages must name one that has something to tune, but got 'prompts' alone, and the "
            f"code of {pipeline.name!r} writes its prompts itself; 'allocation' has its models"
        )
