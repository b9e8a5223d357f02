"""A saved view of an experiment's runs, which MLflow's UI lists under *Views*.

A tag of the experiment holds it, in the form that MLflow 3.17's UI reads; it has no API of its own.
"""

from __future__ import annotations

import json

VIEW = "compound-optimizer"
"""Its id, in the address of the page: `?viewStateShareKey=compound-optimizer`."""
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"

_METRICS = ("score", "score_low", "score_high", "examples", "cost_usd", "latency_s")
_TAGS = ("stage", "status", "changed")
_ALWAYS = ("attributes.`Run Name`", "runDateAndNestInfo")
"""Ids of columns that stand before all others."""


def saved_view(time_ms: int) -> str:
    """The tag's value: the score first among the columns, and the best trial at the top.

    The order is by the lower end of the score's interval, since a trial that was right on its only
    example has a score of 1, too. `time_ms` is its creation, in milliseconds since 1970.
    """
    columns = [*(f"metrics.`{name}`" for name in _METRICS), *(f"tags.`{name}`" for name in _TAGS)]
    state = {
        "selectedColumns": columns,
        "columnOrder": [*_ALWAYS, *columns],
        "orderByKey": "metrics.`score_low`",
        "orderByAsc": False,
    }
    envelope = {"name": "Trials by score", "createdAt": time_ms, "state": json.dumps(state)}
    return json.dumps(envelope)
