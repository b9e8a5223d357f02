"""An unfinished search: what is kept of it, and how to go on with it."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from dataclasses import asdict

from optimizer.results.conclusion import bound
from optimizer.results.provenance import estimated_yaml
from optimizer.search.records.module_score import module_score_rows
from optimizer.search.records.trial import config_text
from optimizer.search.state import SearchState
from optimizer.setup.plan import Plan

logger = logging.getLogger(__name__)


def best_so_far(plan: Plan, state: SearchState) -> dict[str, str]:
    """The module scores and probes of an unfinished search, and its incumbent if it was scored."""
    files = {}
    if state.module_scores:
        rows = module_score_rows(state.module_scores, state.rater)
        files["module_scores.json"] = json.dumps(rows, indent=1, default=str)
    if state.probes:
        probes = [asdict(probe) for probe in state.probes]
        files["probes.json"] = json.dumps(probes, indent=1, default=str)
    known = state.evaluator.known(state.incumbent)
    if known.scores:
        try:
            pipeline = bound(plan, state.incumbent)
            files["config.yaml"] = estimated_yaml(pipeline, known, plan.metric.name)
        except Exception:  # it must not hide the error that ended the search
            logger.exception("the best so far can't be written")
    return files


def end_interrupted(state: SearchState) -> None:
    """Wait for calls in flight, which are paid for, and print how to resume."""
    session = state.evaluator.session
    session.stop()
    if session.in_flight:
        waiting = f"waiting for {session.in_flight} calls in flight; ctrl-C again gives them up"
        with suppress(OSError):  # the terminal may be gone
            print(f"\n{waiting}", file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):
            session.drain()
    with suppress(OSError):
        print(_interrupted(state), file=sys.stderr)


def _interrupted(state: SearchState) -> str:
    """The best so far, what was spent, and how to resume."""
    best = state.evaluator.known(state.incumbent)
    spent = state.evaluator.session.spent
    so_far = (
        f"Best so far: {best.mean:.3f} (search estimate on {len(best.scores)} examples) with "
        f"{config_text(state.incumbent)}"
        if best.scores
        else "Nothing was scored yet"
    )
    lost = state.evaluator.session.in_flight
    given_up = f" {lost} calls were given up, and count at the worst they may cost." if lost else ""
    return (
        f"\ninterrupted. {so_far}. Spent: ${spent.usd:.4f} in {spent.calls} calls.{given_up} "
        "Run the same again to resume: every answer so far is kept, and none is paid for twice."
    )
