"""The estimate of a search: what each stage takes, and which gain the holdout can show."""

from __future__ import annotations

import logging
import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from evaluators.statistics.intervals import fewest_gained
from optimizer.estimates.call_prices import CallPrices
from optimizer.estimates.prompt_sizes import BYTES_PER_TOKEN, RENDERED
from optimizer.estimates.span import Span, exactly, total
from optimizer.estimates.stage_estimates import CALL_S, StageEstimate, stage_estimates
from optimizer.formatting import budget_code, budget_text, counted, dollars
from optimizer.setup.plan import Plan
from pipelines.gateway.budget import Budget

logger = logging.getLogger(__name__)

MOST_DEFAULT_USD = 5.0
"""The highest default budget in dollars, for searches without a budget."""
LONG_REPLIES = 4
"""How many of the longest replies a budget has room for: each is reserved at its worst cost."""
_WIDTH = 96
LOST_SHARE = 0.05
"""The share of held-out examples that are lost in the example of a smaller net gain."""


@dataclass(frozen=True)
class Estimate:
    """What `optimize` would take with the same arguments, estimated without any call.

    `print(estimate)` shows it as a table. Each figure has a least, a typical and a highest value;
    the totals end at the budget, if one was given.
    """

    pipeline: str
    search_examples: int
    holdout_examples: int
    models: int
    stages: tuple[StageEstimate, ...]
    calls: Span
    usd: Span
    seconds: Span
    smallest_gain: float | None
    """The smallest gain in [0, 1] that the held-out examples can show, where each is right or
    wrong and none is lost; None where even all of them are too few."""
    budget: Budget | None
    """The one given."""
    suggested: Budget
    """Twice the typical dollars with room for the longest replies; calls if nothing has a price."""
    default: Budget
    """The cap where no budget is given: the upper end, and at most $5."""
    least_usd: Span
    """What a search takes to begin: the baseline and the final pass over the holdout, the judge
    included, with room for the longest reply."""
    input_tokens: float
    """Mean of a call of the pipeline as given; images count as of a million pixels each."""
    output_tokens: Span
    """Mean of a call of the pipeline as given."""

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain data; of a range, its `low`, `typical` and `high`."""
        plain = {name: _plain(value) for name, value in vars(self).items()}
        plain["stages"] = [
            {name: _plain(value) for name, value in vars(stage).items()} for stage in self.stages
        ]
        return plain

    def __str__(self) -> str:
        return self.text()

    def text(self, *, shell: bool = False) -> str:
        """The table and what it rests on; with `shell`, budgets as options of the command line."""
        lines = [wrapped for line in self._notes(shell) for wrapped in _wrapped(line)]
        return "\n".join([*self._table(), "", *lines]) + "\n"

    def _table(self) -> list[str]:
        head = (
            f"{self.pipeline}: {counted(self.search_examples, 'search example')}, "
            f"{self.holdout_examples:,} held out, {counted(self.models, 'model')} "
            "(estimated, nothing was called)"
        )
        rows: list[tuple[str, ...]] = [("", "calls", "", "dollars", "", "minutes", "")]
        rows += [(s.stage, *_cells(s.calls, s.usd, s.seconds)) for s in self.stages]
        rows.append(("in all", *_cells(self.calls, self.usd, self.seconds)))
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        lines = [
            f"{row[0]:<{widths[0]}}  "
            + "  ".join(
                f"{cell:<{width}}" if place % 2 else f"{cell:>{width}}"
                for place, (cell, width) in enumerate(zip(row[1:], widths[1:], strict=True))
            ).rstrip()
            for row in rows
        ]
        return [head, "", *lines]

    def _notes(self, shell: bool) -> list[str]:
        lines = []
        if self.budget is not None and self.budget != Budget():
            lines.append(f"Totals are capped by the budget: {budget_text(self.budget)}.")
        cap, least = (self.budget or self.default).usd, self.least_usd
        if cap is not None and cap < least.typical:
            lines.append(
                f"THE BUDGET DOES NOT REACH for the baseline and the final pass over the holdout: "
                f"{dollars(cap)} is too little where these, with room for the longest reply, take "
                f"about {dollars(least.typical)} ({dollars(least.low)} to {dollars(least.high)})."
            )
        lines += [
            gain_text(self.holdout_examples),
            f"Suggested budget: {budget_code(self.suggested, shell=shell)}",
        ]
        if self.budget is None:
            lines.append(f"Without one, the search is capped at {budget_text(self.default)}.")
        out = self.output_tokens
        lines += [
            "",
            "What this rests on",
            f"  tokens: {self.input_tokens:,.0f} in and {out.typical:,.0f} out by call "
            f"({out.low:,.0f} to {out.high:,.0f}); prompts of {RENDERED} examples rendered, a "
            f"token every {BYTES_PER_TOKEN} bytes; the length of replies is a guess",
            f"  minutes: {CALL_S.typical:g} s a call ({CALL_S.low:g} to {CALL_S.high:g}), which is "
            "a guess; rate limits come on top",
            *(f"  {stage.stage}: {stage.basis}" for stage in self.stages),
        ]
        return lines


def smallest_gain(held_out: int) -> float | None:
    """The smallest gain that this many held-out examples can show; see `Estimate.smallest_gain`."""
    fewest = fewest_gained(0)
    return fewest / held_out if held_out >= fewest else None


def gain_text(held_out: int) -> str:
    """A sentence on the smallest gain that this many held-out examples can show."""
    if not held_out:
        return "Nothing is held out, so that no gain can be shown."
    clean, least = fewest_gained(0), smallest_gain(held_out)
    test = "by the exact sign test at 2.5% on one side"
    if least is None:
        return (
            f"{counted(held_out, 'held-out example')} can't show any gain: it takes {clean} "
            f"gained and none lost, {test}."
        )
    text = (
        f"Smallest gain that {counted(held_out, 'held-out example')} can show: "
        f"{100 * least:.1f} points ({clean} gained and none lost, {test}"
    )
    lost = max(1, round(LOST_SHARE * held_out))
    gained = fewest_gained(lost)
    if gained + lost <= held_out:
        net = 100 * (gained - lost) / held_out
        text += f"; with {lost} lost, {gained} gained: {net:.1f} points"
    return text + ")."


def estimate(plan: Plan, budget: Budget | None, concurrency: int) -> Estimate:
    """Estimate a search, without any call.

    Args:
        plan: of the search.
        budget: the one given.
        concurrency: most examples in flight.

    Raises:
        ModelError: a model has no known price.
    """
    prices = CallPrices(plan)
    stages = tuple(stage_estimates(plan, prices, concurrency))
    calls, usd, seconds = (
        total(getattr(stage, name) for stage in stages) for name in ("calls", "usd", "seconds")
    )
    capped_usd, capped_calls, capped_seconds = _capped(budget, usd, calls, seconds)
    least = prices.given * (len(plan.search) + plan.final_passes * len(plan.holdout))
    least += prices.judged * plan.metric.human_labels + exactly(prices.worst_given_call)
    return Estimate(
        pipeline=plan.pipeline.name,
        search_examples=len(plan.search),
        holdout_examples=len(plan.holdout),
        models=len({label for labels in plan.space.models.values() for label in labels}),
        stages=stages,
        calls=capped_calls,
        usd=capped_usd,
        seconds=capped_seconds,
        smallest_gain=smallest_gain(len(plan.holdout)),
        budget=budget,
        suggested=_budget(prices, 2 * calls.typical, 2 * usd.typical),
        default=_budget(prices, calls.high, usd.high, MOST_DEFAULT_USD),
        least_usd=least,
        input_tokens=prices.input_tokens,
        output_tokens=Span(
            *map(fmean, zip(*(s.output_tokens for s in prices.sizes.values()), strict=True))
        ),
    )


def largest_estimate(plans: Sequence[Plan], budget: Budget | None, concurrency: int) -> Estimate:
    """The estimate of the pipeline whose search may take the most."""
    estimates = (estimate(plan, budget, concurrency) for plan in plans)
    return max(estimates, key=lambda each: (each.usd.high, each.calls.high))


def with_default_budget(plans: Sequence[Plan], concurrency: int) -> list[Plan]:
    """The plans with the default budget, which a warning names."""
    default = largest_estimate(plans, None, concurrency).default
    logger.warning(
        "NO BUDGET WAS GIVEN: the search is capped at %s. Give %s or another, or budget=Budget() "
        "for no cap; optimize(..., dry_run=True) estimates what a search takes",
        budget_text(default), budget_code(default),
    )  # fmt: skip
    first, *others = (replace(plan, budget=default, budget_is_default=True) for plan in plans)
    return [first, *(replace(other, against=first) for other in others)]


def _budget(prices: CallPrices, calls: float, usd: float, most_usd: float = math.inf) -> Budget:
    """Dollars, with room for the longest replies; calls where nothing has a price."""
    if prices.are_free:
        return Budget(calls=math.ceil(_rounded_up(calls)))
    return Budget(usd=min(most_usd, _rounded_up(usd + LONG_REPLIES * prices.worst_call)))


def _capped(budget: Budget | None, *spans: Span) -> list[Span]:
    """The given dollars, calls and seconds as far as the budget reaches.

    A cap in calls bounds dollars and seconds too. One in dollars or seconds leaves the upper end of
    the others: calls may turn out cheap, or fast.
    """
    caps = (None, None, None) if budget is None else (budget.usd, budget.calls, budget.seconds)
    low = typical = high = 1.0
    for cap, span in zip(caps, spans, strict=True):
        if cap is not None:
            low = min(low, cap / span.low) if span.low else low
            typical = min(typical, cap / span.typical) if span.typical else typical
    if caps[1] is not None and spans[1].high:
        high = min(1.0, caps[1] / spans[1].high)
    return [
        Span(
            min(low * span.low, typical * span.typical),
            typical * span.typical,
            min(high * span.high, math.inf if cap is None else cap),
        )
        for cap, span in zip(caps, spans, strict=True)
    ]


def _cells(calls: Span, usd: Span, seconds: Span) -> list[str]:
    cells = []
    for span, shown in (
        (calls, lambda value: f"{value:,.0f}"),
        (usd, dollars),
        (seconds, lambda value: f"{value / 60:.1f}"),
    ):
        low, typical, high = map(shown, span)
        cells += [typical, f"{low} to {high}" if low != high else ""]
    return cells


def _wrapped(line: str) -> list[str]:
    indent = "    " if line.startswith(" ") else ""
    return textwrap.wrap(line, _WIDTH, subsequent_indent=indent, break_long_words=False) or [""]


def _plain(value: Any) -> Any:
    if isinstance(value, Span):
        return value._asdict()
    return asdict(value) if isinstance(value, Budget) else value


def _rounded_up(value: float) -> float:
    """Two significant digits, upwards."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step - 1e-9) * step:.3g}")
