"""The shortest answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

from pipelines.aggregators.aggregator import Answer, Members, Selection, distinct, validated
from pipelines.aggregators.role import YES_OR_NO
from pipelines.aggregators.selection.checking import FunctionName, accepted, check_function, checks
from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from search_spaces import ModuleConfig


@validated
class Shortest(Selection):
    """The answer written in the fewest tokens, reasoning included, that is not rejected.

    After laconic decoding. With a `verifier` or a function, answers are checked from the shortest
    on until one is accepted; if none is, the shortest wins. Empty answers count only if all are.
    """

    roles: ClassVar = {"verifier": YES_OR_NO}

    function: FunctionName | None = None
    """`"package.module:name"` of a check: takes the module's inputs and outputs by name."""

    @property
    def functions(self) -> Collection[str]:
        return (self.function,) if self.function else ()

    def check(self, config: ModuleConfig, module: Module) -> None:
        """Not two ways to check."""
        check_function(self.function, module)
        if self.function and "verifier" in config.roles:
            raise PipelineError("needs a function or a verifier to check with, but got both")

    def select(self, members: Members, answers: Sequence[Answer]) -> Answer:
        by_length = distinct(sorted(answers, key=lambda answer: answer.tokens))
        return next((a for a in by_length if self._accepts(members, a)), by_length[0])

    def _accepts(self, members: Members, answer: Answer) -> bool:
        if self.function:
            return checks(members, self.function, [answer])[0]
        return "verifier" not in members.roles or accepted(members, "verifier", [answer])[0]
