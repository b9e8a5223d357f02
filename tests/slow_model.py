"""A behaviour of the loopback server whose slow model answers when a test lets it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from benchmarks.loopback import Behaviour, LoopbackRequest


@dataclass
class Slow:
    """Holds back the answers of `slow`."""

    go_on: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    hangs: bool = False
    """Whether it never answers."""

    def __call__(self, request: LoopbackRequest) -> Behaviour:
        if request.model == "slow":
            self.asked.set()
            if self.hangs:
                return Behaviour.hang()
            self.go_on.wait(30)
        return Behaviour()
