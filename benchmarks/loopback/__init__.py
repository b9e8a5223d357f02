"""A fake provider over real HTTP: counts, prices, and is slow, wrong or dead as scripted."""

from __future__ import annotations

from benchmarks.loopback.batches import BatchBehaviour
from benchmarks.loopback.behaviour import (
    Behaviour,
    LoopbackRequest,
    Script,
    dies_after,
    sample_of,
)
from benchmarks.loopback.faults import Fault, Hostile
from benchmarks.loopback.metering import Price, quarter_of_bytes
from benchmarks.loopback.replies import Reply, calling, echo, images_of
from benchmarks.loopback.server import LoopbackServer

__all__ = [
    "BatchBehaviour",
    "Behaviour",
    "Fault",
    "Hostile",
    "LoopbackRequest",
    "LoopbackServer",
    "Price",
    "Reply",
    "Script",
    "calling",
    "dies_after",
    "echo",
    "images_of",
    "quarter_of_bytes",
    "sample_of",
]
