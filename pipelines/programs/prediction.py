"""A pipeline's prediction: its outputs, and how far its members agreed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dspy

from pipelines.programs.failures import ModuleFailed
from pipelines.programs.trace import Trace


class Prediction(dspy.Prediction):
    """A `dspy.Prediction` of the pipeline's outputs that also knows its confidence."""

    _agreement = 1.0

    @classmethod
    def of_trace(cls, trace: Trace, cause: BaseException | None = None) -> Prediction:
        """The outputs of a run.

        Raises:
            ModuleFailed: it has none; from the cause.
        """
        if trace.failure is not None:
            raise ModuleFailed(trace.failure) from cause
        return cls.of(trace.outputs or {}, trace.confidence)

    @classmethod
    def of(cls, outputs: Mapping[str, Any], agreement: float) -> Prediction:
        """These outputs, with that confidence."""
        made = cls(**outputs)
        made._agreement = agreement
        return made

    def copy(self, **changed: Any) -> Prediction:
        """A copy with some outputs changed and the same confidence."""
        made: Prediction = super().copy(**changed)
        made._agreement = self._agreement
        return made

    @property
    def confidence(self) -> Any:
        """Share in [0, 1] of the members that agreed, in the wide module where fewest did.

        1 where no module is wide. An output field of this name goes before it.
        """
        return self["confidence"] if "confidence" in self.keys() else self._agreement
