"""A predictor of a DSPy program as a module."""

from __future__ import annotations

from dataclasses import dataclass, field

import dspy

from pipelines.adapters.dspy_programs.inspection.lms import as_model
from pipelines.gateway.model import Model
from pipelines.modules.module import Module


@dataclass(frozen=True)
class PredictorModule(Module):
    """A predictor as a module, with the fields of its signature and the name that DSPy gives it.

    It is not checked, since it already runs in its program.
    """

    predictor: dspy.Predict = field(kw_only=True, repr=False)
    """The original, which is never changed."""

    def __post_init__(self) -> None:
        """Nothing to check."""


def as_module(name: str, predictor: dspy.Predict) -> tuple[PredictorModule, Model | None]:
    """The module, and the model of its LM; None if it has no LM.

    Raises:
        PipelineError: its LM can't go through the gateway.
    """
    lm = predictor.lm
    model = None if lm is None else as_model(lm, f"predictor {name!r}")
    own = {} if lm is None else lm.kwargs
    temperature = predictor.config.get("temperature", own.get("temperature"))
    fields = {*predictor.signature.fields, "augmented"}
    demos = (d.toDict() if isinstance(d, dspy.Example) else d for d in predictor.demos)
    module = PredictorModule(
        name,
        predictor.signature,
        model=model.label if model else None,
        temperature=None if temperature is None else float(temperature),
        demos=tuple({k: v for k, v in demo.items() if k in fields} for demo in demos),
        predictor=predictor,
    )
    return module, model
