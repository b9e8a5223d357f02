"""Counts of a model server, in Prometheus' text format."""

from __future__ import annotations

import bisect
import threading
from collections import Counter
from collections.abc import Iterator, Mapping

from pipelines import Trace

PREFIX = "compound_optimizer"
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper ends of the histograms' buckets, in seconds."""

_HELP = {
    "requests_total": "Requests that were answered, by path and HTTP status.",
    "answers_total": "Predictions that were sent, by whether they were final.",
    "failures_total": "Runs of the pipeline without outputs, by kind.",
    "usd_total": "Dollars that runs paid.",
    "calls_total": "Calls of models in runs, by whether they were paid or came from the cache.",
    "tokens_total": "Tokens of these calls, by direction.",
    "first_answer_seconds": "Seconds until the first prediction, which may be provisional.",
    "final_answer_seconds": "Seconds until the final prediction.",
}


class Metering:
    """Counts what a server does. Safe for threads."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        """By name and labels, these as Prometheus writes them."""
        self._seconds: dict[str, Counter[int]] = {}
        """By histogram and place of the bucket."""
        self._lock = threading.Lock()

    def count(self, name: str, by: float = 1, **labels: object) -> None:
        """Add to a counter."""
        written = ",".join(f'{label}="{_escaped(str(value))}"' for label, value in labels.items())
        with self._lock:
            self._counts[name, written] += by  # type: ignore[assignment]

    def observe(self, name: str, seconds: float) -> None:
        """Add to a histogram."""
        with self._lock:
            self._counts[f"{name}_sum", ""] += seconds  # type: ignore[assignment]
            buckets = self._seconds.setdefault(name, Counter())
            buckets[bisect.bisect_left(BUCKETS, seconds)] += 1

    def count_run(self, trace: Trace) -> None:
        """Count the calls of a run, and its failure if it has one."""
        for call in trace.calls:
            self.count("calls_total", kind="cached" if call.cached else "paid")
            self.count("tokens_total", call.input_tokens, direction="input")
            self.count("tokens_total", call.output_tokens, direction="output")
        self.count("usd_total", sum(call.usd for call in trace.calls if not call.cached))
        if trace.failure is not None:
            self.count("failures_total", kind=trace.failure.kind)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """All counts, and gauges given as help text and value by name."""
        with self._lock:
            return "".join(f"{line}\n" for line in (*self._lines(), *_gauge_lines(gauges)))

    def _lines(self) -> Iterator[str]:
        for name, help_text in _HELP.items():
            kind = "histogram" if name.endswith("_seconds") else "counter"
            yield f"# HELP {PREFIX}_{name} {help_text}"
            yield f"# TYPE {PREFIX}_{name} {kind}"
            if kind == "histogram":
                yield from self._histogram_lines(name)
            for (counted, labels), value in sorted(self._counts.items()):
                if counted == name:
                    yield f"{PREFIX}_{name}{f'{{{labels}}}' if labels else ''} {value:.12g}"

    def _histogram_lines(self, name: str) -> Iterator[str]:
        buckets, below = self._seconds.get(name, Counter()), 0
        for place, end in enumerate((*map(str, BUCKETS), "+Inf")):
            below += buckets[place]
            yield f'{PREFIX}_{name}_bucket{{le="{end}"}} {below}'
        yield f"{PREFIX}_{name}_sum {float(self._counts[f'{name}_sum', '']):.12g}"
        yield f"{PREFIX}_{name}_count {below}"


def _gauge_lines(gauges: Mapping[str, tuple[str, float]]) -> Iterator[str]:
    for name, (help_text, value) in gauges.items():
        yield f"# HELP {PREFIX}_{name} {help_text}"
        yield f"# TYPE {PREFIX}_{name} gauge"
        yield f"{PREFIX}_{name} {value:.12g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
