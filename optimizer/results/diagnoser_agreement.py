"""Agreement of the diagnoser's ratings with measured scores."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from optimizer.search.records.module_score import ModuleScore, latest_scores

if TYPE_CHECKING:
    from optimizer.search.state import SearchState


@dataclass(frozen=True)
class DiagnoserAgreement:
    """Agreement of the diagnoser's ratings of one module with measured scores."""

    module: str
    agreement: float | None
    """Share of comparisons in [0, 1] that went the same way; None if there were none."""
    judged: int
    """How many examples it rated the module on, as `examples` in `Result.module_scores` counts them
    in the last turn that rated it; 0 if it rated none."""
    compared: int
    """How many pairs had both a rating and a measured score that differed."""
    asked: int = 0
    """How many questions about the module it was asked, in all turns and also for prompts."""
    unanswered: int = 0
    """How many of these brought no reply, after outages."""
    unread: int = 0
    """How many had a reply that could not be read."""
    truncated: int = 0
    """How many of the unread replies ended at `max_tokens`."""


def diagnoser_agreements(state: SearchState) -> tuple[DiagnoserAgreement, ...]:
    """The agreement for every module that was rated or asked about."""
    failures = state.diagnoser.failures if state.diagnoser else {}
    asked = Counter(module for module, _ in failures)
    failed = [(module, failure) for (module, _), failure in failures.items() if failure]
    unanswered = Counter(module for module, failure in failed if failure.infrastructure)
    unread = Counter(module for module, failure in failed if not failure.infrastructure)
    truncated = Counter(module for module, failure in failed if failure.kind == "truncated")
    by_module: dict[str, list[ModuleScore]] = {}
    for score in latest_scores(state.module_scores):
        if score.rating is not None:
            by_module.setdefault(score.module, []).append(score)
    found = []
    for module in dict.fromkeys((*by_module, *sorted(asked))):
        scores = by_module.get(module, [])
        known = [(score.rating, score.measured) for score in scores
                 if score.agreement is not None and score.measured is not None]  # fmt: skip
        found.append(
            DiagnoserAgreement(
                module=module,
                agreement=scores[0].agreement if scores else None,
                judged=max((score.examples for score in scores), default=0),
                # pairs of models that differ both in rating and in measured score
                compared=sum(a[0] != b[0] and a[1] != b[1] for a, b in combinations(known, 2)),
                asked=asked[module],
                unanswered=unanswered[module],
                unread=unread[module],
                truncated=truncated[module],
            )
        )
    return tuple(found)
