"""One step of a pipeline: a call to a language model with a signature, or a plain function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from pipelines.errors import PipelineError
from pipelines.modules.functions import Function
from pipelines.modules.module_checks import CHECKS, checked
from pipelines.modules.signature import REASONING, Strategy, signature_fields
from search_spaces.refusals import refusing_with

if TYPE_CHECKING:
    from pipelines.modules.signature import Signature
    from search_spaces.config import ReplyFormat


LLM_KNOBS = (
    "models", "members", "temperature", "width", "aggregator", "instructions", "demos",
    "reply_format",
)  # fmt: skip
"""The knobs of a module that asks a model, besides its `reasoning_effort`."""


@refusing_with(
    PipelineError,
    instead={
        "prompt": "instructions='...'",
        "system_prompt": "instructions='...'",
        "examples": "demos=[{...}]",
        "models": "model='...' is where the search starts; optimize(models=[...]) has the choices",
        "lm": "model='provider/model'",
        "width": "model='3x name -> majority_vote', or ModuleConfig(width=3, ...)",
    },
)
@dataclass(frozen=True)
class Module:
    """One step of a pipeline, checked when it is made.

    `Module("solve", "task -> answer")` asks a model; with `function=` it calls Python instead.
    Fields of the same name in different modules are wired together; `rename` wires a field of
    this module to a pipeline field of another name.

    Raises:
        PipelineError: names the value, the rule it breaks, and the nearest valid choice.
    """

    name: str
    signature: Signature
    """DSPy's notation, `"table, question: str, k: int -> answers: list[str]"`, or a class of
    DSPy's, which may say more of its fields; YAML has no form for that."""
    _: KW_ONLY
    instructions: str | None = None
    """What the prompt asks for; None leaves DSPy's sentence made of the field names."""
    strategy: Strategy = "predict"
    """`predict`, or `chain_of_thought`, which has the model write `reasoning` first."""
    model: str | None = None
    """Label or name of the model it starts with, or several and their aggregator, such as
    `3x openai/gpt-4o-mini -> majority_vote`; None leaves the choice to the caller."""
    temperature: float | None = None
    """Sampling temperature from 0 to 2; None leaves it to the provider."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """This module's field name to the pipeline's. A chain of thought stays the module's own
    unless its field `reasoning` is given a pipeline name here."""
    function: Function | str | None = None
    """A callable, or `"package.module:name"`; called with the inputs and params by name, it
    returns a mapping of all outputs, or the bare value if there is one output."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """The function's own parameters."""
    demos: Sequence[Mapping[str, Any]] = ()
    """Worked examples for the prompt, by this module's field names."""
    reply_format: ReplyFormat = "chat"
    """How the model writes its outputs: `chat`, `json` or `xml`."""

    def __post_init__(self) -> None:
        for knob in CHECKS:
            try:
                object.__setattr__(self, knob, checked(self, knob))
            except PipelineError as error:
                at = error.at or (knob,)
                raise PipelineError(f"module {self.name!r}: {error.message}", at) from error

    @property
    def is_llm(self) -> bool:
        """Whether it asks a language model."""
        return self.function is None

    @property
    def knobs(self) -> tuple[str, ...]:
        """Those of `LLM_KNOBS` that a config may set."""
        return LLM_KNOBS if self.is_llm else ()

    @property
    def callable(self) -> Function:
        """The function of a function module."""
        return cast(Function, self.function)

    @property
    def input_fields(self) -> dict[str, Any]:
        """Type by field, under this module's own names, as the signature orders them."""
        return dict(signature_fields(self.signature).inputs)

    @property
    def output_fields(self) -> dict[str, Any]:
        """Type by field, under this module's own names; a chain of thought has `reasoning`."""
        own = dict(signature_fields(self.signature).outputs)
        return {REASONING: str, **own} if self._thinks else own

    @property
    def keeps_reasoning(self) -> bool:
        """Whether its chain of thought stays out of the pipeline's fields."""
        return self._thinks and REASONING not in self.rename

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """The pipeline's fields that it reads."""
        return tuple(dict.fromkeys(self.pipeline_field(name) for name in self.input_fields))

    @cached_property
    def writes(self) -> tuple[str, ...]:
        """The pipeline's fields that it writes."""
        kept = {REASONING} if self.keeps_reasoning else set()
        return tuple(self.pipeline_field(name) for name in self.output_fields if name not in kept)

    def pipeline_field(self, name: str) -> str:
        """What the pipeline calls this module's field."""
        return self.rename.get(name, name)

    @property
    def _thinks(self) -> bool:
        return self.strategy == "chain_of_thought"
