"""What a search will take, estimated from its plan without any call."""
