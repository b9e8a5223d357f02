"""The outcome of one call of a predictor."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from pipelines.programs.failures import failure_of
from pipelines.programs.trace import ModuleStep


@dataclass
class Visit:
    """A predictor that is running, or has run."""

    returned: Any = None
    """What it returned."""
    raised: BaseException | None = None
    step: ModuleStep | None = None
    """None until it has ended."""

    @property
    def is_shareable(self) -> bool:
        """Whether waiting runs may share it: it ended, and by no error from outside of modules."""
        step, raised = self.step, self.raised
        if step is not None and isinstance(raised, Exception):
            return failure_of(raised, step.calls, step.module) is not None
        return step is not None and raised is None

    @property
    def lasts(self) -> bool:
        """Whether the memo may keep it: it met no outage."""
        return self.step is None or self.step.lasts()

    def copied(self) -> Visit:
        """Another one: programs write into predictions, and raising an error writes into it."""
        raised = None if self.raised is None else _copied_error(self.raised)
        return Visit(copy.deepcopy(self.returned), raised, self.step)


def _copied_error(error: BaseException) -> BaseException:
    copied = type(error).__new__(type(error), *error.args)
    vars(copied).update(vars(error))
    copied.__cause__ = error.__cause__
    return copied
