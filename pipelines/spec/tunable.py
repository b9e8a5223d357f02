"""What can be tuned: named modules with knobs, and a way to run them with values for these."""

from __future__ import annotations

import asyncio
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipelines.aggregators.notation import is_network, parse_network
from pipelines.errors import PipelineError
from pipelines.gateway.model import Model
from pipelines.modules.module import Module
from pipelines.modules.signature import own_instructions, signature_text
from search_spaces import ModuleConfig, PipelineConfig
from search_spaces.refusals import nearest

if TYPE_CHECKING:
    import dspy

    from pipelines.gateway.gateway import Session
    from pipelines.programs.bound_program import BoundProgram, Prediction
    from pipelines.programs.memo import Memo


class Tunable(ABC):
    """What `optimize` tunes: a frozen dataclass that has at least these fields.

    A tuned one carries its config, and is called with it.
    """

    name: str
    modules: Sequence[Module]
    outputs: Sequence[str]
    """The fields that a run returns, or may return where that is only known after a run."""
    config: PipelineConfig | None
    """The values of its knobs, when it is called; None for those of the modules."""
    models: Sequence[Model]
    """What the labels in `config` stand for, where a label is not just a model's name."""
    provenance: Mapping[str, Any]
    """Where the config comes from: plain data, kept in YAML and not interpreted."""

    @property
    def __name__(self) -> str:
        """Its name, for wrappers of functions such as `mlflow.trace(pipeline)`."""
        return self.name

    @property
    def knows_outputs(self) -> bool:
        """Whether runs return just `outputs`; else these are a guess, or nothing is known."""
        return self.is_fixed

    @property
    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """The fields that a run takes from an example."""

    @property
    def optional_inputs(self) -> tuple[str, ...]:
        """Further fields that a call may give."""
        return ()

    @property
    def input_types(self) -> dict[str, Any]:
        """The type of each input; None where no module reads it."""
        read = {
            module.pipeline_field(own): kind
            for module in self.modules
            for own, kind in module.input_fields.items()
        }
        return {field: read.get(field) for field in self.inputs}

    @property
    def dependencies(self) -> Mapping[str, tuple[str, ...]]:
        """For each module, the modules that run before it and may decide what it receives: all that
        come before it, where that is only known after a run."""
        names = [module.name for module in self.modules]
        return {name: tuple(names[:place]) for place, name in enumerate(names)}

    @property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """Module names in groups: a group depends only on earlier groups."""
        return tuple((module.name,) for module in self.modules)

    @property
    def is_fixed(self) -> bool:
        """Whether a run asks every module once, and runs no code but that of function modules; else
        the user's code decides which modules it asks, and how often."""
        return False

    @property
    @abstractmethod
    def identity(self) -> Any:
        """All that decides what it does, but for its config: for keys."""

    @property
    @abstractmethod
    def code(self) -> Sequence[Callable[..., Any]]:
        """The functions and classes of the user's that must be there to load it."""

    @abstractmethod
    def check_writable(self) -> None:
        """Check, without making anything, whether it can be written as YAML.

        Raises:
            PipelineError: as `to_yaml`.
        """

    @property
    @abstractmethod
    def _program_class(self) -> Callable[..., BoundProgram]:
        """What `bind` makes; imported when it is needed."""

    def bind(
        self,
        config: PipelineConfig,
        models: Mapping[str, Model],
        session: Session | None,
        memo: Memo | None = None,
    ) -> BoundProgram:
        """A fresh program with these knobs; what is bound stays as it is.

        Args:
            config: values for every module. Its temperature, demos and width hold as they are;
                instructions of None leave the module's, and params go over the module's.
            models: model by label.
            session: the account at the gateway; None if no module asks a model.
            memo: steps by what decides them, filled and used by every program that shares it;
                for this pipeline and these models only.

        Raises:
            PipelineError: the config does not fit, which names module, knob and rule; or there is
                no session.
        """
        if session is None and self.llm_modules:
            raise PipelineError(f"pipeline {self.name!r} asks models, so bind needs a session")
        return self._program_class(self, config, models, session, memo)

    @abstractmethod
    def to_yaml(self) -> str:
        """The YAML form, from which `Pipeline.load` makes an equal one; holds no secrets.

        Raises:
            PipelineError: something in it can't be imported by name, or is not plain data.
        """

    @property
    def llm_modules(self) -> tuple[Module, ...]:
        """The modules that ask a language model."""
        return tuple(module for module in self.modules if module.is_llm)

    def module(self, name: str) -> Module:
        """The module of that name.

        Raises:
            PipelineError: there is none; names the nearest.
        """
        for module in self.modules:
            if module.name == name:
                return module
        hint = nearest(name, (module.name for module in self.modules))
        raise PipelineError(f"pipeline {self.name!r} has no module {name!r}{hint}")

    def default_config(self, fallback_model: str | None = None) -> PipelineConfig:
        """The config in which every knob has its module's value.

        Args:
            fallback_model: label for the modules that name no model.

        Raises:
            PipelineError: a module names no model, and there is no fallback.
        """
        given = {}
        for index, module in enumerate(self.modules):
            try:
                given[module.name] = self._as_given(module, fallback_model)
            except PipelineError as error:
                raise error.within("modules", index, "model") from error
        return PipelineConfig(modules=given)

    def _as_given(self, module: Module, fallback_model: str | None) -> ModuleConfig:
        if not module.is_llm:
            return ModuleConfig(params=dict(module.params))
        model = module.model or fallback_model
        if model is None:
            raise PipelineError(
                f"module {module.name!r} names no model; give it one, as in "
                f"{self._naming_a_model(module)}"
            )
        knobs: dict[str, Any] = {
            "temperature": module.temperature,
            "instructions": module.instructions,
            "demos": tuple(dict(demo) for demo in module.demos),
            "reply_format": module.reply_format,
        }
        if is_network(model):
            return parse_network(model, **knobs)
        return ModuleConfig(models=(model,), **knobs)

    def _naming_a_model(self, module: Module) -> str:
        """How to give a module a model, in Python."""
        signature = signature_text(module.signature)
        return f"Module({module.name!r}, {signature!r}, model='openai/gpt-4o-mini')"

    def with_config(self, config: PipelineConfig, models: Sequence[Model]) -> Self:
        """A copy that carries this config, and the models that it names."""
        return dataclasses.replace(self, config=config, models=models)  # type: ignore[type-var]

    def with_outputs(self, outputs: Sequence[str]) -> Self:
        """A copy with the output fields that runs returned, where they are not known before."""
        return self

    def with_fallback(self, model: Model) -> Self:
        """A copy whose own code asks this model by default; a spec has no such code."""
        return self

    def with_provenance(self, provenance: Mapping[str, Any]) -> Self:
        """A copy with this provenance."""
        return dataclasses.replace(self, provenance=provenance)  # type: ignore[type-var]

    def named_models(self) -> dict[str, Model]:
        """By label, the models that the config names; a label that the pipeline does not describe
        is a model's name.

        Raises:
            PipelineError: there is no config, and a module names no model.
        """
        given = {model.label: model for model in self.models}
        labels = (self.config or self.default_config()).labels
        return {label: given.get(label) or Model(label) for label in labels}

    def __call__(self, *given: Any, **inputs: Any) -> dspy.Prediction:
        """Run with the attached config, or else the modules' own, through the default gateway.

        Raises:
            ModuleFailed: a module brought no outputs.
            PipelineError: an input is unknown or missing, or a module names no model.
            ModelError: a model has no known provider, no key or no price; otherwise the other
                members would silently decide without it.
        """
        if given:
            by_name = ", ".join(f"{name}=..." for name in self.inputs)
            raise PipelineError(f"inputs go by name: pipeline({by_name}), but got {given[0]!r}")
        return self.ready_for(inputs).prediction_of(inputs)

    def stream(self, **inputs: Any) -> Iterator[Prediction]:
        """As a call, but a quick answer comes as soon as it is there, and better ones after it.

        Each prediction has a `confidence`, and the last one is `final`: what a call returns. Before
        it come those of a cascade's steps, or the first to finish of several that are waited for,
        in a module after which no other asks a model; of DSPy programs and plain Python, none do.
        Closing the iterator before its end cuts off calls in flight. Errors as `__call__`, which
        those of a run are when it is iterated.
        """
        session = self._default_session()
        return self.ready_for(inputs, session).stream(inputs, session)

    async def arun(self, **inputs: Any) -> dspy.Prediction:
        """As a call, awaited; it runs in a thread, and its calls share one event loop with those of
        all others. Cancelling it cuts off calls in flight. Errors as `__call__`.
        """
        session = self._default_session()
        program = await asyncio.to_thread(self.ready_for, inputs, session)  # may import litellm
        return await program.arun(inputs, session)

    def ready_for(self, inputs: Collection[str], session: Session | None = None) -> BoundProgram:
        """The program that a call with these inputs runs; errors as `__call__`.

        `session` pays for its calls: if None, an account without caps at the default gateway.
        """
        self._check_inputs(inputs)
        models = self.named_models()
        if self.llm_modules:
            from pipelines.providers import check_models

            check_models(models.values())
        config = self.config or self.default_config()
        return self.bind(config, models, session or self._default_session())

    def _default_session(self) -> Session | None:
        if not self.llm_modules:
            return None
        from pipelines.gateway.gateway import default_session

        return default_session()

    def _check_inputs(self, given: Collection[str]) -> None:
        known = tuple(dict.fromkeys((*self.inputs, *self.optional_inputs)))
        listed = f"(inputs: {', '.join(known)})"
        for name in given:
            if name not in known:
                hint = nearest(name, known)
                raise PipelineError(f"pipeline {self.name!r} has no input {name!r}{hint} {listed}")
        for name in self.inputs:
            if name not in given:
                raise PipelineError(f"pipeline {self.name!r} needs the input {name!r} {listed}")

    def save(self, path: str | Path) -> None:
        """Write the YAML form to a file, in UTF-8; errors as `to_yaml`."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")

    def describe(self) -> str:
        """A short overview of modules and wiring, for humans and for the diagnoser."""
        inputs, outputs = ", ".join(self.inputs), ", ".join(self.outputs)
        lines = [f"Pipeline {self.name}: {inputs} -> {outputs}"]
        for number, module in enumerate(self.modules, start=1):
            step_by_step = ", step by step" if module.strategy != "predict" else ""
            kind = f"language model{step_by_step}" if module.is_llm else "function"
            lines.append(f"{number}. {module.name} ({kind}): {signature_text(module.signature)}")
            lines += [f"   {detail}" for detail in self._details(module)]
        return "\n".join(lines)

    def _details(self, module: Module) -> Iterator[str]:
        yield from (f"renames {own} to {new}" for own, new in module.rename.items() if own != new)
        earlier = self.dependencies[module.name]
        yield f"after {', '.join(earlier)}" if earlier else "reads the pipeline's inputs only"
        if instructions := module.instructions or own_instructions(module.signature):
            yield f"instructions: {' '.join(instructions.split())}"
        if module.params:
            yield f"params: {dict(module.params)}"
