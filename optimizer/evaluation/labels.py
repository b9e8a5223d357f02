"""Which rows to label next, where labels are scarce: a sample spread over the members' agreement.

Rows on which models agree are mostly right, and rows on which they don't mostly wrong. So rows are
put in the order of agreement and drawn at equal distances, from a random start (a systematic
sample). Every row has the same chance, so that the sample is used like a random one, and its mean
varies less. Kang et al. (2021, PVLDB 14(11), arXiv 2108.06313: ABae) stratify by the quantiles of
such a proxy, and then draw more where a pilot varies more; on recorded answers, with 20 to 100
labels, that second step gains nothing (`python -m benchmarks recorded_labels`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluators.dataset import Dataset
from evaluators.outcome import MOST_UNSCORED
from evaluators.pool import Raised, first_error, run_pool
from optimizer.results.held_out_scores import example_key
from pipelines import Trace, Tunable
from pipelines.aggregators.normalising import normalised
from pipelines.gateway.budget import Budget
from pipelines.gateway.call import BudgetExhausted
from pipelines.gateway.gateway import Gateway, Session, default_gateway
from pipelines.gateway.model import Model, as_models
from pipelines.modules.plain_data import plain_record, typed_record
from pipelines.modules.signature import REASONING
from pipelines.programs.memo import Memo
from search_spaces.refusals import check_whole

logger = logging.getLogger(__name__)

AGREEMENT = "agreement"
"""The column with the share of models, or members, that agree with the pipeline's answer."""


def rows_to_label(
    pipeline: Tunable,
    dataset: Any,
    count: int = 20,
    *,
    models: Sequence[str | Model] = (),
    labelled: Any = None,
    budget: Budget | None = None,
    seed: int = 0,
    concurrency: int = 32,
    gateway: Gateway | None = None,
) -> list[dict[str, Any]]:
    """Choose rows to label, and return them with their `agreement`, in its order.

    Once they have labels, `evaluate(pipeline, rows, strata="agreement")` estimates the score with
    a narrower interval than random rows give.

    Args:
        pipeline: with its config, as `Pipeline.load` reads it.
        dataset: rows with the pipeline's inputs, and any other columns.
        count: how many rows to choose.
        models: others to ask: each takes the place of all the pipeline's models. None are needed
            where a module has several members.
        labelled: rows that have labels already; those with the same inputs are not chosen.
        budget: caps; none by default.
        seed: decides the draw.
        concurrency: most runs in flight.
        gateway: whose cache, limits and retries to use; by default, the user's.

    Raises:
        ValueError: names the value, the rule and the nearest valid choice.
        RuntimeError: the budget ended, or outages hit more than a tenth of the runs.
    """
    check_whole("count", count, 1)
    check_whole("seed", seed, 0)
    data = _unlabelled(pipeline, Dataset.load(dataset, minimum=1), labelled)
    if len(data) < count:
        raise ValueError(f"count must be at most the {len(data)} rows without labels, got {count}")
    runs = _run(
        pipeline, data, models, budget or Budget(), concurrency, gateway or default_gateway()
    )
    agreement = np.array(_agreements(runs))
    if np.ptp(agreement) == 0:
        logger.warning(
            "all rows have the same agreement of %.2f: the draw is a random one", agreement[0]
        )
    chosen = spread(agreement, count, np.random.default_rng(seed))
    return [
        {**plain_record(data[index].toDict()), AGREEMENT: round(float(agreement[index]), 4)}
        for index in chosen
    ]


def spread(agreement: NDArray[np.float64], count: int, generator: np.random.Generator) -> list[int]:
    """Places of a systematic sample, in the order of agreement; equal ones in a random order.

    Each has a chance of exactly `count / agreement.size`.
    """
    order = np.lexsort((generator.random(agreement.size), agreement))
    drawn = (np.arange(count) + generator.random()) * agreement.size / count
    return [int(order[int(place)]) for place in drawn]


def _unlabelled(pipeline: Tunable, data: Dataset, labelled: Any) -> Dataset:
    """The rows whose inputs none of the labelled ones has."""
    data.require(pipeline.inputs, f"pipeline {pipeline.name!r}")
    if AGREEMENT in data.columns:
        raise ValueError(f"rows must not have a column {AGREEMENT!r}, which is added to them")
    if labelled is None:
        return data
    known = Dataset.load(labelled, minimum=0)
    if len(known):
        known.require(pipeline.inputs, "labelled")
    names = pipeline.inputs
    keys = {example_key({name: row[name] for name in names}) for row in known}
    fresh = (i for i, row in enumerate(data) if example_key({n: row[n] for n in names}) not in keys)
    return data.take(fresh)


def _run(
    pipeline: Tunable,
    data: Dataset,
    models: Sequence[str | Model],
    budget: Budget,
    concurrency: int,
    gateway: Gateway,
) -> list[list[Trace]]:
    """The traces of each row, by config: first the pipeline's own, then one for each model."""
    from pipelines.providers import check_models

    config = pipeline.config or pipeline.default_config()
    others = as_models(list(models)) if models else {}
    if not others and not config.is_wide:
        raise ValueError(
            "models must name others to ask, such as ['openai/gpt-4o-mini'], since every module of "
            f"{pipeline.name!r} has one member, which agrees with itself"
        )
    named = pipeline.named_models() | others
    check_models(named.values())
    session, memo = gateway.session(f"label {pipeline.name} {budget}", budget), Memo()
    programs = [
        pipeline.bind(each, named, session, memo)
        for each in [config, *(config.with_single_model(label) for label in others)]
    ]
    rows = [
        typed_record({n: row[n] for n in pipeline.inputs}, pipeline.input_types) for row in data
    ]
    with memo.keeping_all():
        ended = run_pool([p.resumable(row) for p in programs for row in rows], concurrency)
    error = first_error(ended)
    if isinstance(error, BudgetExhausted):
        raise RuntimeError(
            f"the budget ended: {error}; what was answered is not paid for again"
        ) from error
    if error is not None:
        raise error
    traces = [each for each in ended if not isinstance(each, Raised)]
    _check_outages(traces, session)
    return [traces[place :: len(rows)] for place in range(len(rows))]


def _check_outages(traces: Sequence[Trace], session: Session) -> None:
    hit = [each.failure for each in traces if each.failure and each.failure.infrastructure]
    if len(hit) > MOST_UNSCORED * len(traces):
        aside = "; ".join(session.set_aside.values()) or hit[0].message
        raise RuntimeError(f"outages hit {len(hit)} of {len(traces)} runs: {aside}")


def _agreements(runs: Sequence[Sequence[Trace]]) -> list[float]:
    """By row, the share of others that answer as the pipeline does; of its members without
    others; 0 where it failed."""
    found = []
    for own, *others in runs:
        answer = _answer(own)
        if answer is None:
            found.append(0.0)
        elif others:
            found.append(float(np.mean([_answer(each) == answer for each in others])))
        else:
            found.append(own.confidence)
    return found


def _answer(trace: Trace) -> tuple[str, ...] | None:
    """The outputs but for the chain of thought, so that those which mean the same are equal."""
    if trace.outputs is None:
        return None
    names = [name for name in trace.outputs if name != REASONING]
    return tuple(normalised(trace.outputs[name]) for name in names)
