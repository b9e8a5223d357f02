"""Members asked one after the other, in the order learned for inputs of this kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from pipelines.aggregators.aggregator import (
    Aggregator,
    Answer,
    Members,
    Verdict,
    elect,
    tally,
    validated,
)
from pipelines.aggregators.normalising import normalised
from pipelines.errors import PipelineError
from pipelines.modules.module import Module
from search_spaces import ModuleConfig
from search_spaces.refusals import nearest

Rates = tuple[Annotated[float, Field(ge=0, le=1)], ...]

SUREST = 0.99
"""No member counts as right more often than this, nor as wrong: a few examples do not show it."""


@validated
class Route(Aggregator):
    """The members most often right on such inputs, until their answers are likely enough.

    The next member is asked only if the probability of the leading answer is below `until`
    (FrugalGPT, arXiv 2305.05176, with a score that is learned from counts). That is naive Bayes
    over the answers given, as if members erred independently: an answer of a member that is right
    with probability p counts `log(p (options - 1) / (1 - p))`.

    An input whose field `by` is missing, or has a value without rates, takes `rates`, which is
    noted.
    """

    rates: Rates = ()
    """By member, how often it is right, in [0, 1]; half the time, if not given."""
    by: str | None = None
    """The input field that groups inputs, such as a category; None treats all alike."""
    rates_by: Mapping[str, Rates] = Field(default_factory=dict)
    """The rates by that field's value, written as `normalised` returns it."""
    until: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The probability that is enough. At 0 that is the first answer that is not empty."""
    options: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 10.0
    """About how many answers a question may have: the fewer, the likelier it is that members agree
    on a wrong one."""
    handicaps: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = ()
    """By member, what its place in the order costs it, in points of its rate: for its price."""

    def check(self, config: ModuleConfig, module: Module) -> None:
        """One rate for each member, and a field to tell inputs apart by."""
        fields = module.input_fields
        if self.by is not None and self.by not in fields:
            raise PipelineError(
                f"by names the unknown input field {self.by!r}{nearest(self.by, fields)}"
            )
        if self.rates_by and self.by is None:
            raise PipelineError("rates_by needs by=, the input field whose values it lists")
        by_value = {f"rates_by, {value!r}": rates for value, rates in self.rates_by.items()}
        for name, given in {"rates": self.rates, "handicaps": self.handicaps, **by_value}.items():
            if len(given) != config.width and (given or name in by_value):
                raise PipelineError(
                    f"{name}: one for each of {config.width} members is needed, but got "
                    f"{list(given)}"
                )
        for value in self.rates_by:
            if value != normalised(value):
                raise PipelineError(
                    f"rates_by: values are compared as {normalised(value)!r}, but got {value!r}"
                )

    def aggregate(self, members: Members) -> Verdict | None:
        value = None if self.by is None else normalised(members.inputs.get(self.by))
        if value is not None and value not in self.rates_by:
            problem = f"has the value {value!r}, which has no rates" if value else "is missing"
            members.failed("no_route", f"the input {self.by!r} {problem}: those for all are used")
        rates = self.rates_for(value, len(members.models))
        answers: list[Answer] = []
        asked = 0
        for member in self.order(rates):
            answers += members.ask([member])
            asked += 1
            if self.decides(rates, answers):
                break
        return elect(self.likeliest(rates, answers)[0], answers, asked) if answers else None

    def rates_for(self, value: str | None, width: int) -> Rates:
        """The rates of the members for inputs with this value of `by`, as `normalised` writes it.

        Args:
            value: None stands for all inputs.
            width: how many members there are.
        """
        rates = self.rates if value is None else self.rates_by.get(value, self.rates)
        return rates or (0.5,) * width

    def order(self, rates: Rates) -> list[int]:
        """The members in the order in which they are asked."""
        handicaps = self.handicaps or (0.0,) * len(rates)
        return sorted(range(len(rates)), key=lambda member: handicaps[member] - rates[member])

    def decides(self, rates: Rates, answers: Sequence[Answer]) -> bool:
        """Whether these answers are enough."""
        if not answers:
            return False
        leading, probability = self.likeliest(rates, answers)
        return not leading.empty and probability >= self.until

    def likeliest(self, rates: Rates, answers: Sequence[Answer]) -> tuple[Answer, float]:
        """Of one answer or more, the likeliest to be right, and its probability."""
        groups = tally(answers, [self._weight(rate) for rate in rates])
        odds = [math.exp(group.votes) for group in groups]
        others = max(0.0, self.options - len(groups))
        return groups[0].first, odds[0] / (sum(odds) + others)

    def _weight(self, rate: float) -> float:
        """The logarithm of how much likelier an answer gets that such a member gives."""
        rate = min(max(rate, 1 - SUREST), SUREST)
        return math.log(rate * (self.options - 1) / (1 - rate))
