"""What a call costs in the gateway: answered from the cache, and over loopback HTTP.

And how many a second it takes from 32 threads, where a provider that does nothing stands for one
that is infinitely fast.

python -m benchmarks cache_hit
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

from benchmarks.loopback import LoopbackServer
from pipelines.gateway.call import LMCall, LMReply
from pipelines.gateway.gateway import Gateway, Session
from pipelines.gateway.model import Model

REPEATS = 2000
THREADS = 32


def median_microseconds(work: Callable[[], object], repeats: int) -> float:
    """Median over so many repetitions."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter_ns()
        work()
        times.append(time.perf_counter_ns() - started)
    return statistics.median(times) / 1000


def calls_a_second(session: Session, calls: Sequence[LMCall]) -> float:
    """From so many threads at once."""
    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        shares = [calls[i::THREADS] for i in range(THREADS)]
        list(pool.map(lambda share: [session.complete(call) for call in share], shares))
    return len(calls) / (time.perf_counter() - started)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder, LoopbackServer() as server:
        model = Model(
            "openai/echo", api_base=server.url, input_usd_per_million=1, output_usd_per_million=1
        )
        text = "A prompt of about 1,500 characters. " * 42
        calls = (
            LMCall(model, ({"role": "user", "content": text},), sample=sample)
            for sample in range(10 * REPEATS)
        )
        gateway = Gateway(folder)
        session = gateway.session("benchmark")
        fixed = LMCall(model, ({"role": "user", "content": text},))
        session.complete(fixed)
        paid = median_microseconds(lambda: session.complete(next(calls)), 200)
        hit = median_microseconds(lambda: session.complete(fixed), REPEATS)

        def fresh() -> LMCall:
            return LMCall(model, ({"role": "user", "content": text},))

        keyed = median_microseconds(lambda: session.complete(fresh()), REPEATS)
        many = [
            LMCall(model, ({"role": "user", "content": text},), sample=-i)
            for i in range(1, REPEATS)
        ]
        instant = LMReply("an answer", "stop", 400, 3, 0.0004, 1.0)
        with patch("pipelines.providers.litellm.send", lambda *_: instant):
            paid_rate = calls_a_second(session, many)
        hit_rate = calls_a_second(session, many)
        gateway.close()
    print(f"cache hit, key known         {hit:8.1f} us (goal: under 100)")
    print(f"cache hit, key computed too  {keyed:8.1f} us (goal: under 100)")
    print(f"paid call over loopback HTTP {paid:8.1f} us")
    print(f"paid calls, instant provider {paid_rate:8,.0f} a second, {THREADS} threads")
    print(f"cache hits                   {hit_rate:8,.0f} a second, {THREADS} threads")
