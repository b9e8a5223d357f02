"""What one answered call to a language model was and cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One reply of the gateway, as it appears in a trace."""

    model: str
    """The model's label."""
    input_tokens: int
    output_tokens: int
    usd: float
    """The call's price, also when it came from the cache and was paid earlier."""
    latency_s: float
    """Seconds the model took when it was asked, also when the reply came from the cache."""
    cached: bool
    key: str
    """The call's key in the cache: 64 hexadecimal digits."""
    purpose: str = "task"
    """What the call was for: task, diagnoser, judge or prompts."""
    finish_reason: str = "stop"
    """Why the model stopped: `stop`, `length`, `content_filter`, or what the provider says."""
