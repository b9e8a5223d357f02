"""Drop what a check rejects, cluster the rest, and take the largest cluster's best."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import ClassVar

from pipelines.aggregators.aggregator import (
    Aggregator,
    Answer,
    Members,
    Verdict,
    check_one,
    everyone,
    non_empty,
    tally,
    validated,
)
from pipelines.aggregators.role import YES_OR_NO
from pipelines.aggregators.selection.best_of import best
from pipelines.aggregators.selection.checking import (
    FunctionName,
    accepted,
    check_function,
    checks,
    keys,
    scores,
)
from pipelines.modules.module import Module
from search_spaces import ModuleConfig


@validated
class FilterCluster(Aggregator):
    """The best answer of the largest cluster of those that pass a check (AlphaCode 2, 2023).

    Functions are named as `"package.module:name"` and take the module's inputs and outputs by name.
    If nothing passes the check, everything is clustered. Empty answers count only if all are.
    """

    roles: ClassVar = {"filter": YES_OR_NO}

    check_function: FunctionName | None = None
    """Whether an answer may stay, such as by running tests; a `filter` decides without it."""
    key_function: FunctionName | None = None
    """Answers with equal keys (as JSON) are one cluster, such as what a program prints on made-up
    inputs; one on which it raises, or returns None, is alone, behind the others. Without it,
    answers that mean the same are a cluster."""
    score_function: FunctionName | None = None
    """Which answer of the cluster wins: the highest score; without it, the first."""

    @property
    def functions(self) -> Collection[str]:
        return tuple(filter(None, (self.check_function, self.key_function, self.score_function)))

    def check(self, config: ModuleConfig, module: Module) -> None:
        """Either a check or a filter."""
        for function in self.functions:
            check_function(function, module)
        judge = config.roles.get("filter")
        check_one("a check_function or a filter", self.check_function, judge)

    def aggregate(self, members: Members) -> Verdict | None:
        answers = members.ask(everyone(members))
        if not answers:
            return None
        passed = self._passed(members, answers)
        clusters = self._clusters(members, passed or non_empty(answers))
        largest = max(clusters, key=len)  # the first of equals
        return Verdict(self._best(members, largest), len(largest) / len(members.models))

    def _passed(self, members: Members, answers: Sequence[Answer]) -> list[Answer]:
        """Those that the check accepts; equal ones are checked once."""
        groups = tally(answers)
        firsts = [group.first for group in groups]
        if self.check_function:
            verdicts = checks(members, self.check_function, firsts)
        else:
            verdicts = accepted(members, "filter", firsts)
        kept = {first.ballot for first, yes in zip(firsts, verdicts, strict=True) if yes}
        return [answer for answer in answers if answer.ballot in kept]

    def _clusters(self, members: Members, answers: Sequence[Answer]) -> list[list[Answer]]:
        found: Sequence[Hashable] = [answer.ballot for answer in answers]
        if self.key_function:
            found = keys(members, self.key_function, answers)
        clusters: dict[Hashable, list[Answer]] = {}
        alone: list[list[Answer]] = []
        for key, answer in zip(found, answers, strict=True):
            if key is None:
                alone.append([answer])
            else:
                clusters.setdefault(key, []).append(answer)
        return [*clusters.values(), *alone]

    def _best(self, members: Members, cluster: Sequence[Answer]) -> Answer:
        if not self.score_function:
            return cluster[0]
        return best(cluster, scores(members, self.score_function, cluster))
