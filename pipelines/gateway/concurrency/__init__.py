"""What calls in flight share: the event loop, each other, rates, and outages."""
