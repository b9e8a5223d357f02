"""The spec of a pipeline: modules wired by field names. It never changes and runs by binding."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import PipelineError
from pipelines.gateway.model import Model, as_models
from pipelines.modules.function_identity import function_identity
from pipelines.modules.functions import Function
from pipelines.modules.module import Module
from pipelines.modules.signature import signature_identity
from pipelines.spec.config_checks import check_config
from pipelines.spec.tunable import Tunable
from pipelines.spec.wiring import check_outputs, dependencies, levels, writers
from search_spaces import PipelineConfig
from search_spaces.refusals import refusing_with

if TYPE_CHECKING:
    import dspy

    from pipelines.programs.program import Program


@refusing_with(PipelineError)
@dataclass(frozen=True)
class Pipeline(Tunable):
    """Modules wired by the names of their fields, checked when it is made.

    A field that no module writes is an input of the pipeline; a field that no module reads is
    an output, unless `outputs` says which are. A tuned pipeline carries its config, the models
    that the config names, and where it comes from.

    Raises:
        PipelineError: names the module or field, the rule it breaks, and the nearest valid name.
    """

    name: str
    modules: Sequence[Module]
    outputs: Sequence[str] = ()
    """Fields that a run returns; empty: every field that is written and not read."""
    _: KW_ONLY
    config: PipelineConfig | None = None
    """The values of its knobs, when it is called; None for those of the modules."""
    models: Sequence[Model] = ()
    """What the labels in `config` stand for, where a label is not just a model's name."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where the config comes from: plain data, kept in YAML and not interpreted."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise PipelineError(f"a pipeline's name must be text, but got {self.name!r}", ("name",))
        object.__setattr__(self, "modules", _checked_modules(self.modules))
        try:
            models = tuple(as_models(tuple(self.models)).values()) if self.models else ()
        except ValueError as error:
            raise PipelineError(str(error), ("models",)) from error
        object.__setattr__(self, "models", models)
        levels(self.dependencies)  # there must be no cycle
        outputs = check_outputs(self.outputs or self.default_outputs, writers(self.modules))
        object.__setattr__(self, "outputs", outputs)
        object.__setattr__(self, "provenance", dict(self.provenance))
        if self.config is not None:
            plain = [label for label in self.config.labels if "/" in label]  # litellm's names
            labels = [model.label for model in self.models]
            check_config(self.modules, self.config, [*labels, *plain] if labels else None)
        else:
            check_config(self.modules, self.default_config("any/model"), None)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The fields that modules read and no module writes, in the order they are read."""
        written = writers(self.modules)
        read = (field for module in self.modules for field in module.reads)
        return tuple(dict.fromkeys(field for field in read if field not in written))

    @cached_property
    def default_outputs(self) -> tuple[str, ...]:
        """The fields that modules write and no module reads."""
        read = {field for module in self.modules for field in module.reads}
        return tuple(field for field in writers(self.modules) if field not in read)

    @cached_property
    def dependencies(self) -> Mapping[str, tuple[str, ...]]:
        """For each module, the modules whose outputs it reads."""
        return dependencies(self.modules)

    @cached_property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """Module names in groups: a group reads only what earlier groups wrote."""
        return levels(self.dependencies)

    @property
    def is_fixed(self) -> bool:
        """True: that is what a spec is."""
        return True

    @property
    def code(self) -> Sequence[Function]:
        """Those of its function modules."""
        return [module.callable for module in self.modules if not module.is_llm]

    def check_writable(self) -> None:
        """See `Tunable.check_writable`."""
        self.to_yaml()

    def before(self, name: str) -> frozenset[str]:
        """The modules that must run before this one can."""
        needed = self.dependencies[self.module(name).name]
        return frozenset(needed).union(*map(self.before, needed))

    @property
    def identity(self) -> Any:
        """Its modules and outputs; a function counts by its source, since names stay."""
        return [[_identity(module) for module in self.modules], self.outputs]

    @property
    def _program_class(self) -> type[Program]:
        from pipelines.programs.program import Program

        return Program

    def to_yaml(self) -> str:
        """The YAML form, from which `from_yaml` makes an equal pipeline; holds no secrets.

        Raises:
            PipelineError: a function can't be imported by name, a signature is a class, or a value
                is not plain data.
        """
        from pipelines.files.yaml_form import to_yaml

        return to_yaml(self)

    @staticmethod
    def from_yaml(
        text: str,
        source: str | None = None,
        *,
        allow_code: bool = False,
        program: dspy.Module | None = None,
    ) -> Tunable:
        """The pipeline, or the DSPy program, that the text describes.

        Args:
            text: what `to_yaml` writes.
            source: its file, for errors.
            allow_code: import the functions and classes that the text names by
                `package.module:name`, which runs their code; only for text that you trust.
            program: the DSPy program that was tuned, or another one that is made like it; needed
                where the text can't name a class that makes it.

        Raises:
            PipelineError: with the line; for code that is not allowed, with all of its names.
        """
        from pipelines.files.yaml_form import from_yaml

        return from_yaml(text, source, allow_code, program)

    @staticmethod
    def load(
        path: str | Path, *, allow_code: bool = False, program: dspy.Module | None = None
    ) -> Tunable:
        """Read a saved pipeline, ready to be called; errors name the file and the line.

        Args:
            path: the file.
            allow_code: as for `from_yaml`.
            program: as for `from_yaml`.
        """
        from pipelines.files.yaml_form import load

        return load(path, allow_code, program)


def _identity(module: Module) -> dict[str, Any]:
    values = {field.name: getattr(module, field.name) for field in dataclasses.fields(module)}
    if module.function is not None:
        values["function"] = function_identity(module.callable)
    return {**values, "signature": signature_identity(module.signature)}


def _checked_modules(modules: Sequence[Module]) -> tuple[Module, ...]:
    if isinstance(modules, Module):
        raise PipelineError(
            f"modules must be a list, but got {modules!r}; put it in [ ]", ("modules",)
        )
    if not modules:
        raise PipelineError("a pipeline needs at least one module", ("modules",))
    for index, module in enumerate(modules):
        if not isinstance(module, Module):
            raise PipelineError(f"modules must be Modules, but got {module!r}", ("modules", index))
    return tuple(modules)
