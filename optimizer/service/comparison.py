"""The comparison of two searches that are done."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from evaluators.statistics import paired_interval
from optimizer.errors import NotPossible
from optimizer.service import queue
from optimizer.service.database import Database
from optimizer.service.tokens import Token


def compared(database: Database, token: Token, key: str, other: str) -> dict[str, Any]:
    """Figures of two searches that are done, what differs in their configs, and the paired
    difference of their tuned pipelines on held-out examples, where these are the same.

    Raises:
        UnknownSearch: the token has none of this id.
        NotPossible: one is not done.
    """
    both = [queue.searches(database, token, each)[0] for each in (key, other)]
    for search in both:
        if search["result"] is None:
            raise NotPossible(f"search {search['id']} is {search['state']}, not done")
    first, second = (search["result"] for search in both)
    configs = first["config"], second["config"]
    values = {knob: [config.get(knob) for config in configs] for knob in configs[0] | configs[1]}
    difference = None
    if first["holdout_digest"] and first["holdout_digest"] == second["holdout_digest"]:
        scores = [
            _scores(queue.artifact(database, token, each, "examples.json")) for each in (key, other)
        ]
        rows = [row for row in scores[0] if row in scores[1]]
        if len(rows) > 1:
            ours, others = ([score[row] for row in rows] for score in scores)
            difference = {**asdict(paired_interval(others, ours)), "examples": len(rows)}
    return {
        "searches": both,
        "config": {knob: pair for knob, pair in values.items() if pair[0] != pair[1]},
        "difference": difference,
    }


def _scores(examples: bytes) -> dict[int, float]:
    """By row, the score of the tuned pipeline, where it has one."""
    table = json.loads(examples)
    row, score = (table["columns"].index(name) for name in ("row", "tuned_score"))
    return {values[row]: values[score] for values in table["data"] if values[score] is not None}
