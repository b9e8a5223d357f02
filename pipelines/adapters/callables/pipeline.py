"""Any plain Python as a pipeline: a factory takes the models to ask, and returns a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.adapters.callables.handle import Setting
from pipelines.adapters.callables.instances import Factory, made
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


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_SIGNATURE = "messages: list[dict[str, str]] -> reply: str"


@dataclass(frozen=True)
class CodeModule(Module):
    """A place in code that writes its prompts itself: it has a model and a temperature."""

    def __post_init__(self) -> None:
        """Nothing to check: `_code_modules` has."""

    @property
    def knobs(self) -> tuple[str, ...]:
        """What the gateway can set in a call that it is handed."""
        return ("models", "temperature")


@dataclass(frozen=True)
class CallablePipeline(Tunable):
    """Plain Python whose models and temperatures are tuned. `from_callable` makes one."""

    factory: Factory = field(repr=False)
    name: str
    modules: tuple[CodeModule, ...]
    arguments: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    """What it returns; empty if that is only known after a run."""
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
        """See `Tunable.to_yaml`; raises PipelineError if the factory can't be imported by name."""
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
    own = _code_modules(modules)
    called = getattr(factory, "__name__", type(factory).__name__)
    settings = {module.name: Setting(module.model or "any/model", None) for module in own}
    open_litellm()  # before the factory does: as it is imported first, it stays
    instance = made(factory, settings)
    try:
        arguments = _arguments_of(instance.function, inputs, f"{called}(models)")
    finally:
        instance.close()
    returned = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    return CallablePipeline(factory, name or called, own, arguments, returned)


def _code_modules(given: Iterable[str] | Mapping[str, str | None]) -> tuple[CodeModule, ...]:
    """The modules of these names; a mapping has the models that they start with."""
    models = dict(given) if isinstance(given, Mapping) else {}
    names = [given] if isinstance(given, str) else list(given)
    if not names:
        raise PipelineError(
            "modules must name the places where the code asks a model, such as ['plan', 'solve']",
            ("modules",),
        )
    for place, name in enumerate(names):
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise PipelineError(
                f"a module's name must be an identifier, such as 'solve', but got {name!r}",
                ("modules", place),
            )
        if name in names[:place]:
            raise PipelineError(f"two modules are called {name!r}", ("modules", place))
        model = models.get(name)
        if model is not None and (not isinstance(model, str) or not model.strip()):
            raise PipelineError(
                f"module {name!r} must start with a model's name, but got {model!r}",
                ("modules", name),
            )
    return tuple(CodeModule(name, _SIGNATURE, model=models.get(name)) for name in names)


def _arguments_of(
    function: Callable[..., Any], given: Iterable[str] | None, where: str
) -> tuple[str, ...]:
    """The inputs: those given, if the function takes them, or its parameters without a default."""
    expected = inspect.signature(function)
    if given is not None:
        inputs = (given,) if isinstance(given, str) else tuple(given)
        try:
            expected.bind(**dict.fromkeys(inputs))
        except TypeError as error:
            raise PipelineError(
                f"the function {expected} that {where} returns must take the inputs "
                f"({', '.join(inputs)}) by name: {error}",
                ("inputs",),
            ) from None
        return inputs
    parameters = expected.parameters.values()
    needed = tuple(p.name for p in parameters if p.kind in _NAMED and p.default is p.empty)
    if not needed or any(p.kind is p.POSITIONAL_ONLY for p in parameters):
        raise PipelineError(
            f"the function {expected} that {where} returns does not name what it takes: give it "
            "parameters such as (question), or say inputs=['question']",
            ("inputs",),
        )
    return needed
