"""Any plain Python as a pipeline: a factory takes the models to ask, and returns a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.adapters.callables.arguments import arguments_of
from pipelines.adapters.callables.handle import Setting
from pipelines.adapters.callables.instances import Factory, made
from pipelines.adapters.callables.module import CodeModule, code_modules
from pipelines.adapters.entrances import open_litellm
from pipelines.errors import PipelineError
from pipelines.gateway.model import Model
from pipelines.modules.function_identity import function_identity
from pipelines.modules.functions import reference_of
from pipelines.modules.module import Module
from pipelines.spec.config_checks import check_config
from pipelines.spec.tunable import Tunable
from search_spaces import PipelineConfig

if TYPE_CHECKING:
    from pipelines.adapters.callables.bound import BoundCallable


@dataclass(frozen=True)
class CallablePipeline(Tunable):
    """Plain Python whose models and temperatures are tuned. `from_callable` makes one."""

    factory: Factory = field(repr=False)
    name: str
    modules: tuple[CodeModule, ...]
    arguments: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    """What it returns; empty: only running tells."""
    _: KW_ONLY
    config: PipelineConfig | None = None
    models: Sequence[Model] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", tuple(self.models))
        if self.config is not None:
            check_config(self.modules, self.config, None)

    @property
    def knows_outputs(self) -> bool:
        """See `Tunable.knows_outputs`."""
        return bool(self.outputs)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the function takes from an example."""
        return self.arguments

    @property
    def identity(self) -> Any:
        """The factory's source, the modules, and what goes in and out."""
        modules = [[module.name, module.model] for module in self.modules]
        return [function_identity(self.factory), modules, self.arguments, self.outputs]

    @property
    def code(self) -> Sequence[Callable[..., Any]]:
        """The factory."""
        return [self.factory]

    def check_writable(self) -> None:
        """See `Tunable.check_writable`."""
        reference_of(self.factory)

    def _naming_a_model(self, module: Module) -> str:
        return f"from_callable(factory, {{{module.name!r}: 'openai/gpt-4o-mini', ...}})"

    @property
    def _program_class(self) -> type[BoundCallable]:
        from pipelines.adapters.callables.bound import BoundCallable

        return BoundCallable

    def to_yaml(self) -> str:
        """See `Tunable.to_yaml`.

        Raises:
            PipelineError: the factory can't be imported by name.
        """
        from pipelines.files.callable_form import to_yaml

        return to_yaml(self)


def from_callable(
    factory: Factory,
    modules: Iterable[str] | Mapping[str, str | None],
    *,
    name: str | None = None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] = (),
) -> CallablePipeline:
    """Plain Python as a pipeline: `factory(models)` returns a function from inputs to outputs.

    `models` maps each module's name to a `ModelHandle`, which stands where the code would write a
    model's name: `litellm.completion(model=models["plan"], messages=...)`, or
    `OpenAI(base_url=models["plan"].base_url, api_key=models["plan"].api_key)`, or
    `models["plan"].complete(messages)`. So every call goes through the gateway, is counted and
    kept, and appears in traces. What code asks past its handles is neither counted nor seen.

    The factory is called once now, and then once for each concurrent run,
    which identifies its calls: load what is heavy outside of it. It asks no model
    itself.

    Args:
        factory: called with the handles by name; what it returns may be `async`. For the result to
            be saved it must be importable by name.
        modules: names for the places where the code asks a model, in the order in which it
            first does; or a mapping from names to the models that they start with.
        name: names the experiment in MLflow; the factory's, if not given.
        inputs: the columns that the function takes by name; its parameters without defaults, if
            not given.
        outputs: the keys of the mapping that it returns; with one, it may return the bare value.

    Raises:
        PipelineError: a name is no identifier, or the factory makes no function that takes the
            inputs; says which and why.
    """
    if not callable(factory):
        raise PipelineError(f"factory must be callable as factory(models), but got {factory!r}")
    own = code_modules(modules)
    called = getattr(factory, "__name__", type(factory).__name__)
    settings = {module.name: Setting(module.model or "any/model", None) for module in own}
    open_litellm()  # before the factory does: as it is imported first, it stays
    instance = made(factory, settings)
    try:
        arguments = arguments_of(instance.function, inputs, f"{called}(models)")
    finally:
        instance.close()
    returned = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    return CallablePipeline(factory, name or called, own, arguments, returned)
