"""What calls in flight share: the event loop, each other, rates, and outages."""

LOOK_S = 0.05
"""Seconds between two checks whether to go on waiting."""
