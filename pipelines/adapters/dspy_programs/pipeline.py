"""Any `dspy.Module` as a pipeline: its predictors are the modules, under DSPy's names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import dspy

from pipelines.adapters.dspy_programs.inspection.arguments import (
    Arguments,
    arguments_of,
    names_in_code,
    outputs_of,
)
from pipelines.adapters.dspy_programs.inspection.identity import (
    classes_of,
    described,
    program_identity,
)
from pipelines.adapters.dspy_programs.inspection.lms import Fallback, as_model, configured_lm
from pipelines.adapters.dspy_programs.inspection.places import tunable_predictors
from pipelines.errors import PipelineError
from pipelines.gateway.model import Model
from pipelines.modules.module import Module
from pipelines.spec.config_checks import check_config
from pipelines.spec.tunable import Tunable
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    from pipelines.adapters.dspy_programs.bound import BoundDSPyProgram


@dataclass(frozen=True)
class PredictorModule(Module):
    """A predictor as a module, with the fields of its signature and the name that DSPy gives it.

    It is not checked, since it already runs in its program.
    """

    predictor: dspy.Predict = field(kw_only=True, repr=False)
    """The original, which is never changed."""

    def __post_init__(self) -> None:
        """Nothing to check."""


@dataclass(frozen=True)
class DSPyPipeline(Tunable):
    """A DSPy program whose predictors are tuned. `from_dspy` makes one.

    The program is never changed: it runs in copies, which share everything but modules with it.
    """

    program: dspy.Module = field(repr=False)
    name: str
    modules: tuple[PredictorModule, ...]
    arguments: Arguments
    outputs: tuple[str, ...]
    """What it returns; unless declared, all fields that its predictors write."""
    _: KW_ONLY
    declared: bool = False
    """Whether the user has declared what it returns."""
    adapter: dspy.Adapter | None = field(default=None, repr=False)
    """How prompts are written, as `dspy.configure` has it; None for DSPy's ordinary one."""
    fallback: Fallback | None = field(default=None, repr=False)
    """What `dspy.configure` has; predictors that are made in `forward` ask it."""
    config: PipelineConfig | None = None
    models: Sequence[Model] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.config is not None:
            check_config(self.modules, self.config, None)

    @property
    def knows_outputs(self) -> bool:
        """See `Tunable.knows_outputs`."""
        return self.declared

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a run takes from an example."""
        return self.arguments.needed

    @property
    def optional_inputs(self) -> tuple[str, ...]:
        """The parameters with a default that no example fills."""
        return self.arguments.optional

    @property
    def code(self) -> Sequence[Callable[..., Any]]:
        """The classes of the program and of the modules in it."""
        return list(dict.fromkeys(classes_of(self.program)))

    def check_writable(self) -> None:
        """See `Tunable.check_writable`: it always can, since loading may be given the program."""

    @cached_property
    def identity(self) -> Any:
        """Its modules and their sources, its predictors, what goes in and out, its adapter and the
        model of `dspy.configure`."""
        predictors = [
            [module.name, repr(module.signature), list(module.demos), module.temperature]
            for module in self.modules
        ]
        adapter = self.adapter and [type(self.adapter).__name__, described(vars(self.adapter))]
        asked = self.fallback and [self.fallback.model.identity, self.fallback.temperature]
        declared = list(self.outputs) if self.declared else None
        program = program_identity(self.program)
        return [program, predictors, self.arguments, declared, adapter, asked]

    def for_columns(self, columns: Sequence[str], marked: Iterable[str] | None) -> Self:
        """For data with these columns: takes the optional arguments that there are columns for.

        Where no predictor writes a field with a column, it may return those that its code names.
        Where
        `forward` takes any keyword, it gets the `marked` columns: those that examples call their
        inputs.
        """
        there = set(columns)
        needed, optional, guessed = self.arguments
        if guessed and marked is not None:
            taking = self.with_inputs(marked)
        else:
            taking = self.with_inputs((*needed, *(name for name in optional if name in there)))
        labels = [name for name in columns if name not in taking.inputs]
        if self.declared or not there.isdisjoint(self.outputs) or not labels:
            return taking
        named = names_in_code(self.program)
        return replace(taking, outputs=(*self.outputs, *(n for n in labels if n in named)))

    def with_inputs(self, inputs: Iterable[str]) -> Self:
        """A copy that takes these from an example."""
        return replace(self, arguments=self.arguments._replace(needed=tuple(inputs)))

    def with_outputs(self, outputs: Sequence[str]) -> Self:
        """See `Tunable.with_outputs`."""
        return self if self.declared else replace(self, outputs=tuple(outputs) or self.outputs)

    def with_fallback(self, model: Model) -> Self:
        """See `Tunable.with_fallback`."""
        return self if self.fallback else replace(self, fallback=Fallback(model))

    def _naming_a_model(self, module: Module) -> str:
        return "dspy.configure(lm=dspy.LM('openai/gpt-4o-mini'))"

    @property
    def _program_class(self) -> type[BoundDSPyProgram]:
        from pipelines.adapters.dspy_programs.bound import BoundDSPyProgram

        return BoundDSPyProgram

    def to_yaml(self) -> str:
        """See `Tunable.to_yaml`.

        Where calling its class does not make the program again, as in a script or for a bare
        `dspy.ChainOfThought(...)`, it says why, and `Pipeline.load(path, program=...)` is given it.
        """
        from pipelines.files.dspy_form import to_yaml

        return to_yaml(self)

    def to_dspy(self) -> dspy.Module:
        """A program of the same class with the config in it, which runs without this library; or a
        `TunedProgram`, which needs it, where DSPy has no form for the config."""
        from pipelines.adapters.dspy_programs.export import to_dspy

        return to_dspy(self)


def from_dspy(
    program: dspy.Module, *, name: str | None = None, outputs: Sequence[str] | None = None
) -> DSPyPipeline:
    """A DSPy program as a pipeline; what `optimize` does with one that it is given.

    Its predictors are the modules, by the names that `program.named_predictors()` has. Their
    instructions, demos and LMs are what the search starts from; predictors without an LM start
    with that of `dspy.configure`, or else with the first model.

    Args:
        program: stays as it is.
        name: names the experiment in MLflow; that of the program's class, if not given.
        outputs: the fields that it returns, or those of them that a metric compares and a judge is
            to see; what its predictors write, if not given.

    Raises:
        PipelineError: it has no predictors, or one that can't be tuned; says which and why.
    """
    if not isinstance(program, dspy.Module):
        meant = f": give {program.__name__}()" if isinstance(program, type) else ""
        raise PipelineError(f"a DSPy program is a dspy.Module, but got {program!r}{meant}")
    predictors = tunable_predictors(program)
    fallback = configured_lm()
    made = [_as_module(name, predictor, fallback) for name, predictor in predictors.items()]
    own = [model for _, model in made if model]
    return DSPyPipeline(
        program,
        name or type(program).__name__,
        tuple(module for module, _ in made),
        arguments_of(program, predictors),
        (outputs,)
        if isinstance(outputs, str)
        else tuple(outputs or outputs_of(predictors.values())),
        declared=bool(outputs),
        adapter=dspy.settings.adapter,
        fallback=fallback,
        models=_distinct([*own, fallback.model] if fallback else own),
    )


def _as_module(
    name: str, predictor: dspy.Predict, fallback: Fallback | None
) -> tuple[PredictorModule, Model | None]:
    """The module, which starts with the fallback if it has no LM, and the model of its own LM."""
    lm = predictor.lm
    model = None if lm is None else as_model(lm, f"predictor {name!r}")
    start = fallback if model is None else Fallback(model, lm.kwargs.get("temperature"))
    temperature = predictor.config.get("temperature", start and start.temperature)
    fields = {*predictor.signature.fields, "augmented"}
    demos = (d.toDict() if isinstance(d, dspy.Example) else d for d in predictor.demos)
    module = PredictorModule(
        name,
        predictor.signature,
        model=start and start.model.label,
        temperature=None if temperature is None else float(temperature),
        demos=tuple({k: v for k, v in demo.items() if k in fields} for demo in demos),
        predictor=predictor,
    )
    return module, model


def _distinct(models: Sequence[Model]) -> tuple[Model, ...]:
    by_label: dict[str, Model] = {}
    for model in models:
        if by_label.setdefault(model.label, model) != model:
            raise PipelineError(
                f"two LMs of the program are {model.label!r} with different settings: take them "
                "away, and name both in `models`, as Model(..., label='...')"
            )
    return tuple(by_label.values())
