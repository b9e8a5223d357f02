"""The queue of searches: submissions, leases of workers, and outcomes.

Every change is one transaction.
"""

from optimizer.errors import NotPossible, OverBudget, UnknownSearch
from optimizer.service.queue.leases import (
    MOST_LOST,
    Ending,
    Event,
    Leased,
    WorkerFacts,
    end,
    lease,
    record_heartbeat,
    remove_worker,
    renew,
)
from optimizer.service.queue.listing import ENDED, artifact, events_after, searches
from optimizer.service.queue.submissions import add, add_tokens, committed, resume, stop

__all__ = [
    "ENDED", "MOST_LOST", "Ending", "Event", "Leased", "NotPossible", "OverBudget",
    "UnknownSearch", "WorkerFacts", "add", "add_tokens", "artifact", "committed", "end",
    "events_after", "lease", "record_heartbeat", "remove_worker", "renew", "resume", "searches",
    "stop",
]  # fmt: skip
