"""The plan of a search: all arguments of `optimize`, checked before the first call."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, is_dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, get_args

from evaluators.dataset import Dataset
from evaluators.errors import DatasetError
from evaluators.metrics import BoundMetric, JudgedMetric, LabelMetric
from evaluators.metrics.judged import AnyModel
from evaluators.objective import Objective, as_objective
from optimizer.errors import BudgetTooSmall
from optimizer.setup.example_checks import warn_of_labelled, warn_of_repeated, without_demos
from optimizer.setup.judge_choice import bind_metric
from optimizer.setup.space_checks import check_space, resolve
from optimizer.setup.stage import Stage
from optimizer.setup.start import Start
from pipelines import Module, PipelineError, Tunable
from pipelines.aggregators.calls import calls_per_run
from pipelines.aggregators.notation import labels_of
from pipelines.gateway.budget import Budget
from pipelines.gateway.gateway import Gateway
from pipelines.gateway.model import Model, as_models
from pipelines.modules.plain_data import typed_record
from search_spaces import PipelineConfig, SearchSpace
from search_spaces.config import canonical_json
from search_spaces.refusals import check_whole, nearest

if TYPE_CHECKING:
    import dspy

logger = logging.getLogger(__name__)


TUNED_BY: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("temperature", "reasoning_effort", "width", "aggregator"), ("structure",)),
    **dict.fromkeys(("network", "params", "reply_format"), ("structure",)),
    "instructions": ("prompts", "structure"),
}
"""The stages that compare the listed choices, by knob of a search space."""

SEARCH_VERSION = 18
"""Part of a state's key; raised whenever the search would take another path."""


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
    """Empty where the pipeline is only to be scored."""
    diagnoser: Model | Literal["auto"] | None
    seed: int
    key: str
    """Identifies the search, whatever its budget."""
    budget_is_default: bool = False
    """Whether it is the default one."""
    start: Start | None = None
    """The earlier search that this one goes on from."""
    against: Plan | None = None
    """The plan of the pipeline that was given first, where several are raced."""

    @property
    def account(self) -> str:
        """The account at the gateway, so that a run started again counts its earlier spend.

        Another budget has another account: calls that a search with a smaller budget made beside
        this path, such as its own pass over the holdout, do not count against it.
        """
        return hashlib.sha256(canonical_json([self.key, asdict(self.budget)]).encode()).hexdigest()

    @property
    def least_calls(self) -> int:
        """Calls for the baseline on the search examples, the pass over the holdout, and the judge
        of both and of the human labels; 0 if only running tells how often a program asks."""
        if not self.pipeline.is_fixed:
            return 0
        runs = len(self.search) + self.final_passes * len(self.holdout)
        labels = self.metric.human_labels * self.metric.calls
        return runs * (calls_per_run(self.baseline) + self.metric.calls) + labels

    @property
    def final_passes(self) -> int:
        """The fewest configs that the holdout scores: the baseline, and what may replace it."""
        return 2 if self.may_change else 1

    @property
    def may_change(self) -> bool:
        """Whether there is anything to search."""
        return bool(self.stages) and (
            self.space.has_more_than(self.baseline)
            or any(stage.name != "allocation" for stage in self.stages)
        )


def account_of(plans: Sequence[Plan]) -> str:
    """The account at the gateway of a run with these plans."""
    accounts = [plan.account for plan in plans]
    return (
        accounts[0] if len(plans) == 1 else hashlib.sha256("".join(accounts).encode()).hexdigest()
    )


def prepare(
    pipeline: Tunable | dspy.Module,
    dataset: Any,
    models: AnyModel | Sequence[AnyModel] | None,
    *,
    metric: str | LabelMetric | JudgedMetric | Callable[..., Any] = "exact_match",
    budget: Budget | None = None,
    search_space: SearchSpace | None = None,
    stages: Sequence[Stage] = (),
    diagnoser: AnyModel | None = None,
    holdout: float = 0.3,
    seed: int = 0,
    objective: str | Objective = "quality",
    start: Any = None,
) -> Plan:
    """Check all arguments of `optimize` and fit them to each other.

    Raises:
        ValueError: names the value, the rule and the nearest valid choice.
    """
    for value, kind in ((budget, Budget), (search_space, SearchSpace)):
        check_kind(value, kind)
    check_whole("seed", seed, 0)
    if isinstance(dataset, Tunable | Module):
        raise ValueError(
            "optimize(pipeline, dataset, models) takes the pipeline first, but got a "
            f"{type(dataset).__name__} as the dataset"
        )
    data = Dataset.load(dataset, minimum=1 if holdout == 0 else 2)
    pipeline = _tunable(pipeline, data)
    earlier = None if start is None else Start.load(start)
    if earlier is not None:
        pipeline = earlier.applied_to(pipeline)
    data = _with_images(data, pipeline)
    if not pipeline.llm_modules:
        raise ValueError(f"pipeline {pipeline.name!r} calls no model: there is nothing to allocate")
    by_label, temperature = _choices(models, pipeline)
    pipeline = pipeline.with_fallback(next(iter(by_label.values())))
    asking = [module.name for module in pipeline.llm_modules]
    functions = [module.name for module in pipeline.modules if not module.is_llm]
    once = [module.name for module in pipeline.llm_modules if "width" not in module.knobs]
    space = resolve(search_space or SearchSpace()).fit(asking, list(by_label), functions, once)
    baseline = pipeline.config or _as_given(pipeline, next(iter(by_label)), temperature)
    known = {m.label: m for m in pipeline.models} | by_label
    known |= {label: Model(label) for label in baseline.labels if label not in known}
    check_space(space, pipeline, baseline, known)
    sought = as_objective(objective)
    _check_inputs(pipeline, data)
    bound = bind_metric(metric, pipeline, data.columns, known, list(by_label.values()))
    data = _fair_examples(data, bound, pipeline.inputs, baseline)
    search, held_out = data.split(holdout, seed, pipeline.inputs)
    if earlier is not None:
        earlier.check_scores(search, bound.name)
    judge = _diagnoser(diagnoser, known)
    _check_prompts(stages, pipeline)
    identity = [
        SEARCH_VERSION,
        pipeline.identity,
        [model.identity for model in known.values()],
        data.digest,
        bound.identity,
        space.model_dump(mode="json"),
        baseline.canonical_json(),
        [[stage.name, repr(stage) if is_dataclass(stage) else ""] for stage in stages],
        asdict(sought),
        judge.identity if isinstance(judge, Model) else judge,
        holdout,
        seed,
        *([] if earlier is None else [sorted(earlier.searched_among(known))]),
    ]
    key = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
    plan = Plan(
        pipeline, known, search, held_out, bound, space, baseline, sought, budget or Budget(),
        stages, judge, seed, key, start=earlier,
    )  # fmt: skip
    _check_calls(plan)
    if stages:
        _warn_if_not_writable(pipeline)
    _warn_of_unused(search_space, stages)
    return plan


def _fair_examples(
    data: Dataset, metric: BoundMetric, inputs: Sequence[str], baseline: PipelineConfig
) -> Dataset:
    """The examples that the metric can score and no prompt shows; warns of misleading ones."""
    data.require(metric.fields, f"metric {metric.name!r}")
    metric.check(data)
    if inputs:
        data = without_demos(data, inputs, baseline)
        warn_of_repeated(data, inputs)
    if metric.judging and metric.judging.labels:
        warn_of_labelled(data, inputs, metric.judging.labels.answers)
    return data


def _check_calls(plan: Plan) -> None:
    if plan.budget.calls is None or plan.budget.calls >= plan.least_calls:
        return
    each = str(calls_per_run(plan.baseline)) + " each"
    if plan.metric.judging:
        each += f" and {plan.metric.calls} of the judge, which also has {plan.metric.human_labels} "
        each += "human labels"
    runs, more = f"{len(plan.search)} examples", ""
    if plan.stages:
        runs = f"the baseline on {len(plan.search)} search examples and {plan.final_passes} final "
        runs += f"passes over {len(plan.holdout)} held-out ones"
        more = ", and the search itself takes more"
    raise BudgetTooSmall(
        f"a budget of {plan.budget.calls} calls is too small: {runs} take {plan.least_calls} calls "
        f"({each}){more}; give more, or fewer examples"
    )


def _tunable(pipeline: Any, data: Dataset) -> Tunable:
    """The pipeline; for a DSPy program, a pipeline of its predictors."""
    import dspy

    from pipelines.adapters.dspy_programs import DSPyPipeline, from_dspy

    if isinstance(pipeline, dspy.Module):
        pipeline = from_dspy(pipeline)
    if isinstance(pipeline, DSPyPipeline):
        return pipeline.for_columns(data.columns, getattr(data[0], "_input_keys", None))
    if not isinstance(pipeline, Tunable):
        given = " ".join(repr(pipeline).split())[:100]
        raise ValueError(
            "pipeline must be a Pipeline, such as Pipeline('name', [Module(...), ...]), a "
            f"dspy.Module, or from_callable(factory, modules), but got {given}"
            f"{_meant(pipeline)}"
        )
    return pipeline


def _with_images(data: Dataset, pipeline: Tunable) -> Dataset:
    """The data with an image in place of its address, where a module reads an image."""
    import dspy

    read = pipeline.input_types.items()
    types = {n: kind for n, kind in read if dspy.Image in (kind, *get_args(kind))}
    names = types.keys() & set(data.columns)
    changed = (each.copy(**typed_record({n: each[n] for n in names}, types)) for each in data)
    return Dataset(changed, data.columns, data.rows) if names else data


def _meant(given: Any) -> str:
    """How to make a pipeline of something that is none."""
    import dspy

    if isinstance(given, type) and issubclass(given, dspy.Signature):
        return ": dspy.Predict(signature) makes a program of a signature"
    if isinstance(given, type):
        return f": give an instance, such as {given.__name__}()"
    if isinstance(given, str):
        return ": Pipeline.load(path) reads a file, and Module(name, signature) takes a signature"
    if isinstance(given, list | tuple):
        return ": Pipeline('name', [...]) has a list of modules"
    return ": from_callable(factory, ['module', ...]) takes a function" if callable(given) else ""


def check_kind(value: Any, kind: type) -> None:
    """Raises ValueError, with an example, unless the argument is of its class, or None."""
    name, example = {
        Budget: ("budget", "Budget(usd=5, calls=20_000, seconds=3600)"),
        SearchSpace: ("search_space", "SearchSpace(models={'module': ['a', 'b']}, width=(1, 3))"),
        Gateway: ("gateway", "Gateway(cache='answers')"),
    }[kind]
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, such as {example}, but got {value!r}")


def _choices(
    models: AnyModel | Sequence[AnyModel] | None, pipeline: Tunable
) -> tuple[dict[str, Model], float | None]:
    """The models to choose from, by label, and the temperature of the LMs among them.

    Labels of the pipeline's own models stand for these models.
    """
    import dspy

    described = {model.label: model for model in pipeline.models}
    if models is None:
        named = [label for m in pipeline.llm_modules if m.model for label in labels_of(m.model)]
        tuned = pipeline.config.allocation.values() if pipeline.config else ()
        models = list(dict.fromkeys([*described, *named, *(label for t in tuned for label in t)]))
        if not models:
            raise ValueError(
                "models must name the models to choose from, such as ['openai/gpt-4o-mini', "
                f"'anthropic/claude-haiku-4-5'] (--models A,B): pipeline {pipeline.name!r} names "
                "none"
            )
    if isinstance(models, Mapping | Set) or not isinstance(models, Iterable | Model | dspy.BaseLM):
        raise ValueError(
            "models must be a list, such as ['openai/gpt-4o-mini', Model(...)]; choices by module "
            f"go into SearchSpace(models=...), but got {models!r}"
        )
    listed = [models] if isinstance(models, str | Model | dspy.BaseLM) else list(models)
    given = [_model(model, "models") for model in listed]
    by_label = as_models([described.get(m, m) if isinstance(m, str) else m for m in given])
    return by_label, _temperature([lm for lm in listed if isinstance(lm, dspy.BaseLM)])


def _temperature(lms: Sequence[dspy.BaseLM]) -> float | None:
    """The one temperature that these LMs name; None if they name none."""
    named = {lm.model: lm.kwargs.get("temperature") for lm in lms}
    first, *others = dict.fromkeys(t for t in named.values() if t is not None) or [None]
    if others:
        raise ValueError(
            f"models has LMs of different temperatures ({named}), but modules have them: "
            "Module(..., temperature=...) where the search starts, and "
            "SearchSpace(temperature=(...)) for the choices; take them away here"
        )
    return None if first is None else float(first)


def _as_given(pipeline: Tunable, first: str, temperature: float | None) -> PipelineConfig:
    """The config that the modules name; those that name no model start with the first, and with the
    temperature of the LMs among the models."""
    config = pipeline.default_config(first)
    for module in pipeline.llm_modules:
        starts = module.model is None and config.modules[module.name].temperature is None
        if starts and temperature is not None and "temperature" in module.knobs:
            config = config.with_knobs(module.name, temperature=temperature)
    return config


def _model(given: Any, argument: str) -> str | Model:
    import dspy

    from pipelines.adapters.dspy_programs.inspection.lms import as_consulted, as_model

    if isinstance(given, dspy.BaseLM):
        return (as_model if argument == "models" else as_consulted)(given, argument)
    if isinstance(given, str) and "," in given and argument == "models":
        names = [name.strip() for name in given.split(",")]
        raise ValueError(f"models must be a list, such as {names}, but got {given!r}")
    if isinstance(given, Model) or (isinstance(given, str) and given.strip()):
        return given
    raise ValueError(
        f"{argument} must name a model, such as 'openai/gpt-4o-mini' or Model(...), "
        f"but got {given!r}"
    )


def _diagnoser(
    diagnoser: AnyModel | None, models: Mapping[str, Model]
) -> Model | Literal["auto"] | None:
    if diagnoser is None:
        return None
    given = _model(diagnoser, "diagnoser")
    if given == "auto":
        return "auto"
    if isinstance(given, str) and given not in models and given.lower() in ("auto", "none"):
        raise ValueError(f"diagnoser must be a model, 'auto' or None, but got {given!r}")
    return given if isinstance(given, Model) else models.get(given) or Model(given)


def _check_inputs(pipeline: Tunable, data: Dataset) -> None:
    """Raises DatasetError unless every field that no module writes is a column."""
    if not pipeline.is_fixed:
        data.require(pipeline.inputs, f"program {pipeline.name!r}")
        return
    written = [field for module in pipeline.modules for field in module.writes]
    used = {*pipeline.outputs}.union(*(module.reads for module in pipeline.modules))
    unread = [column for column in data.columns if column not in used]
    for module in pipeline.modules:
        for field in module.reads:
            if field in pipeline.inputs and field not in data.columns:
                close = get_close_matches(field, [*written, *data.columns])
                hint = nearest(field, close or unread or [*written, *data.columns])
                some = 0 < len(unread) < len(data.columns)
                listed = f"; that no module reads: {', '.join(unread)}" if some else ""
                raise DatasetError(
                    f"module {module.name!r} reads {field!r}, which no module writes and the "
                    f"dataset has no column for{hint} "
                    f"(columns: {', '.join(data.columns)}{listed})"
                )
    data.require(pipeline.inputs, f"pipeline {pipeline.name!r}")


def _warn_if_not_writable(pipeline: Tunable) -> None:
    """Warn, before anything is paid, that the result can't be saved."""
    try:
        pipeline.check_writable()
    except PipelineError as error:
        logger.warning("the result can be used, but not saved as YAML: %s", error)


def _warn_of_unused(space: SearchSpace | None, stages: Sequence[Stage]) -> None:
    """Warn of choices in the space that none of the stages compares."""
    names = {stage.name for stage in stages}
    if space is None or names - {"allocation", "structure", "prompts"}:  # your own may compare them
        return
    for knob in sorted(space.model_fields_set & TUNED_BY.keys()):
        if names.isdisjoint(TUNED_BY[knob]) and _lists_any(getattr(space, knob)):
            logger.warning(
                "search_space lists choices of %s, which the stage %r compares, but the stages are "
                "%s: they change nothing", knob, TUNED_BY[knob][0], ", ".join(sorted(names)),
            )  # fmt: skip


def _lists_any(choices: Any) -> bool:
    """Whether there is anything to compare, for any module; every module can have width 1."""
    each = choices.values() if isinstance(choices, Mapping) else [choices]
    return any(listed not in (None, (), (1,)) for listed in each)


def _check_prompts(stages: Sequence[Stage], pipeline: Tunable) -> None:
    """Raises ValueError if prompts alone are to be tuned, and the user's code writes them."""
    knobs = {knob for module in pipeline.llm_modules for knob in module.knobs}
    if stages and "instructions" not in knobs and all(stage.name == "prompts" for stage in stages):
        raise ValueError(
            f"stages must name one that has something to tune, but got 'prompts' alone, and the "
            f"code of {pipeline.name!r} writes its prompts itself; 'allocation' has its models"
        )
